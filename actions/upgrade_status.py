from st2ha.stackstorm import Operation, answered


class UpgradeStatus(Operation):
    @answered
    def run(self, deployment=None):
        from st2ha.upgrade import operations

        return operations.status(self.deployment(deployment))
