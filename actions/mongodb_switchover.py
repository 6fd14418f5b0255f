from st2ha.stackstorm import Operation, answered


class MongodbSwitchover(Operation):
    @answered
    def run(self, member, deployment, dry_run=False, force=False, deadline_s=120):
        from st2ha.mongodb import changes

        return changes.switchover(self.deployment(deployment), member, force, dry_run, deadline_s)
