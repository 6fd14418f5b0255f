from st2ha.stackstorm import Operation, answered


class UpgradeRollback(Operation):
    @answered
    def run(self, deployment, purge=False, force=False, export_to="/var/tmp", dry_run=False, deadline_s=600):
        from st2ha.upgrade import operations

        return operations.rollback(self.deployment(deployment), purge, force, export_to, dry_run, deadline_s)
