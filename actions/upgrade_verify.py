from st2ha.stackstorm import Operation, answered


class UpgradeVerify(Operation):
    @answered
    def run(self, deployment, force=False, dry_run=False, deadline_s=600):
        from st2ha.upgrade import operations

        return operations.verify(self.deployment(deployment), force, dry_run, deadline_s)
