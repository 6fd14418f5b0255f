from st2ha.stackstorm import Operation, answered


class VrrpSwitchover(Operation):
    @answered
    def run(self, balancer, deployment, dry_run=False, deadline_s=120):
        from st2ha.edge.vrrp import operations

        return operations.switchover(self.deployment(deployment), balancer, dry_run, deadline_s)
