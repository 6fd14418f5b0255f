from st2ha.stackstorm import Operation, answered


class MysqlSwitchover(Operation):
    @answered
    def run(self, member, deployment, dry_run=False, force=False, deadline_s=120, after_promotion=None):
        from st2ha.mysql import changes

        return changes.switchover(self.deployment(deployment), member, force, dry_run, deadline_s, after_promotion)
