from st2ha.stackstorm import Operation, answered


class MongodbCopyDatabase(Operation):
    @answered
    def run(self, source, target, deployment, max_mb_per_s=None, verify="auto", dry_run=False, deadline_s=3600):
        from st2ha.mongodb.copy import operations

        deployment = self.deployment(deployment)
        return operations.copy_database(deployment, source, target, max_mb_per_s, verify, dry_run, deadline_s)
