from st2ha.stackstorm import Operation, answered


class MysqlRejoin(Operation):
    @answered
    def run(self, member, deployment, dry_run=False):
        from st2ha.mysql import changes

        return changes.rejoin(self.deployment(deployment), member, dry_run)
