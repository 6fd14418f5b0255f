from st2ha.stackstorm import Operation, answered


class SensorTakeover(Operation):
    @answered
    def run(self, node, deployment, direction="take", dry_run=False, grace_s=None, force=False, deadline_s=600):
        from st2ha.partition.changes import takeover

        where = self.deployment(deployment)
        return takeover(where, node, direction, grace_s, bool(force), bool(dry_run), deadline_s)
