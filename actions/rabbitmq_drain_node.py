from st2ha.stackstorm import Operation, answered


class RabbitmqDrainNode(Operation):
    @answered
    def run(self, node, deployment, dry_run=False, force=False, deadline_s=300):
        from st2ha.rabbitmq import changes

        return changes.drain_node(self.deployment(deployment), node, force, dry_run, deadline_s)
