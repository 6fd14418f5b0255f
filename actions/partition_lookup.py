from st2ha.stackstorm import Operation, answered


class PartitionLookup(Operation):
    @answered
    def run(self, refs, deployment=None, today=None):
        from st2ha.partition import operations

        return operations.lookup(lambda: self.deployment(deployment), bool(deployment), refs, today)
