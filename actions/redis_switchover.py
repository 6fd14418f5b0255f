from st2ha.stackstorm import Operation, answered


class RedisSwitchover(Operation):
    @answered
    def run(self, member, deployment, dry_run=False, force=False, deadline_s=120):
        from st2ha.redis import operations

        return operations.switchover(self.deployment(deployment), member, force, dry_run, deadline_s)
