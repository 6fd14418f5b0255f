from st2ha.stackstorm import Operation, answered


class RabbitmqForgetNode(Operation):
    @answered
    def run(self, node, deployment, dry_run=False, force=False, deadline_s=120):
        from st2ha.rabbitmq import changes

        return changes.forget_node(self.deployment(deployment), node, force, dry_run, deadline_s)
