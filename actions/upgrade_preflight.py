from st2ha.stackstorm import Operation, answered


class UpgradePreflight(Operation):
    @answered
    def run(self, deployment=None, fail_on="never", force=False):
        from st2ha.upgrade import operations

        return operations.check_before(self.deployment(deployment), force).result()
