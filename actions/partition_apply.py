from st2ha.stackstorm import Operation, answered


class PartitionApply(Operation):
    @answered
    def run(self, deployment, provider="configured", dry_run=False, nodes=None, moves="few", cost_by="equal",
            target=None, as_read=None, instead_of=None, force=False, deadline_s=600):  # fmt: skip
        from st2ha.partition.changes import apply

        what = {"provider": provider, "nodes": nodes, "target": target, "as_read": as_read, "moves": moves}
        how = {
            "instead_of": instead_of,
            "cost_by": cost_by,
            "force": bool(force),
            "dry_run": bool(dry_run),
            "deadline_s": deadline_s,
        }
        return apply(self.deployment(deployment), **what, **how)
