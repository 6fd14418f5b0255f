from st2ha.stackstorm import Operation, answered


class UpgradePrepare(Operation):
    @answered
    def run(self, deployment, force=False, dry_run=False, deadline_s=7200):
        from st2ha.upgrade import operations

        return operations.prepare(self.deployment(deployment), force, dry_run, deadline_s)
