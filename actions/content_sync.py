from st2ha.stackstorm import Operation, answered


class ContentSync(Operation):
    @answered
    def run(self, path, source, target, deployment, delete=False, dry_run=False, force=False, deadline_s=600):
        from st2ha.content import operations

        where = self.deployment(deployment)
        return operations.sync(where, source, target, path, delete, force, dry_run, deadline_s)
