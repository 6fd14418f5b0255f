from st2ha.stackstorm import Operation, answered


class RabbitmqVhostDelete(Operation):
    @answered
    def run(self, vhost, deployment, dry_run=False, force=False, deadline_s=120):
        from st2ha.rabbitmq import changes

        return changes.vhost_delete(self.deployment(deployment), vhost, force, dry_run, deadline_s)
