from st2ha.stackstorm import Operation, answered


class UpgradePlan(Operation):
    @answered
    def run(self, deployment=None, force=False):
        from st2ha.upgrade import operations

        return operations.plan(self.deployment(deployment), force)
