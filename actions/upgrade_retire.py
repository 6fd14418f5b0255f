from st2ha.stackstorm import Operation, answered


class UpgradeRetire(Operation):
    @answered
    def run(self, deployment, confirm, dry_run=False, deadline_s=600):
        from st2ha.upgrade import operations

        return operations.retire(self.deployment(deployment), confirm, dry_run, deadline_s)
