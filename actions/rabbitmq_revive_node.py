from st2ha.stackstorm import Operation, answered


class RabbitmqReviveNode(Operation):
    @answered
    def run(self, node, deployment, dry_run=False, deadline_s=300):
        from st2ha.rabbitmq import changes

        return changes.revive_node(self.deployment(deployment), node, dry_run, deadline_s)
