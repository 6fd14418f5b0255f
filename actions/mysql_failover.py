from st2ha.stackstorm import Operation, answered


class MysqlFailover(Operation):
    @answered
    def run(
        self, member, deployment, dry_run=False, force=False, acknowledge=False, deadline_s=120, after_promotion=None
    ):
        from st2ha.mysql.changes import failover

        where = self.deployment(deployment)
        return failover(where, member, force, acknowledge, dry_run, deadline_s, after_promotion)
