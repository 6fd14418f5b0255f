from st2ha.stackstorm import Operation, answered


class MongodbUnfreeze(Operation):
    @answered
    def run(self, member, deployment, dry_run=False):
        from st2ha.mongodb import changes

        return changes.freeze(self.deployment(deployment), member, 0, dry_run)
