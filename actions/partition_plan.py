from st2ha.stackstorm import Operation, answered


class PartitionPlan(Operation):
    @answered
    def run(self, provider="hash", nodes=None, sensors_file=None, sensors=None, today=None, moves="few",
            preferred=None, never=None, cost_by="equal", partition_file=None, deployment=None):  # fmt: skip
        from st2ha.partition import operations

        given = {"provider": provider, "nodes": nodes, "sensors_file": sensors_file, "sensors": sensors}
        how = {"today": today, "moves": moves, "cost_by": cost_by, "partition_file": partition_file}
        wishes = {"preferred": preferred, "never": never}
        return operations.make_plan(lambda: self.deployment(deployment), bool(deployment), **given, **how, **wishes)
