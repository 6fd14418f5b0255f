from st2ha.stackstorm import Operation, answered


class HaproxySwitchUndo(Operation):
    @answered
    def run(self, deployment, dry_run=False, force=False, deadline_s=120):
        from st2ha.edge.haproxy import operations

        return operations.undo(self.deployment(deployment), force, dry_run, deadline_s)
