from st2ha.stackstorm import Operation, answered


class RabbitmqQuorumPlan(Operation):
    @answered
    def run(self, deployment=None, vhost=None, timeout_s=None):
        from st2ha.rabbitmq import changes

        return changes.quorum_plan(self.deployment(deployment), vhost, timeout_s)
