from st2ha.stackstorm import Operation, answered


class HaproxySwitch(Operation):
    @answered
    def run(self, group, deployment, dry_run=False, force=False, deadline_s=120):
        from st2ha.edge.haproxy import operations

        return operations.switch(self.deployment(deployment), group, force, dry_run, deadline_s)
