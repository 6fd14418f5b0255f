from st2ha.stackstorm import Operation, answered


class RabbitmqRebalance(Operation):
    @answered
    def run(self, deployment, dry_run=False, force=False, deadline_s=300):
        from st2ha.rabbitmq import changes

        return changes.rebalance(self.deployment(deployment), force, dry_run, deadline_s)
