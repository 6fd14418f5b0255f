from st2ha.stackstorm import Operation, answered


class MongodbFreeze(Operation):
    @answered
    def run(self, member, deployment, seconds=600, dry_run=False):
        from st2ha.mongodb import changes

        return changes.freeze(self.deployment(deployment), member, seconds, dry_run)
