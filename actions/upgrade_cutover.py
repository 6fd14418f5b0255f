from st2ha.stackstorm import Operation, answered


class UpgradeCutover(Operation):
    @answered
    def run(self, deployment, inquiries="wait", paused="wait", force=False, dry_run=False, deadline_s=600):
        from st2ha.upgrade import operations

        return operations.cutover(self.deployment(deployment), inquiries, paused, force, dry_run, deadline_s)
