from st2ha.stackstorm import Operation, answered


class RabbitmqSyncQueues(Operation):
    @answered
    def run(self, deployment, vhost=None, dry_run=False, force=False, deadline_s=600):
        from st2ha.rabbitmq import changes

        return changes.sync_queues(self.deployment(deployment), vhost, force, dry_run, deadline_s)
