from st2ha.stackstorm import Operation, answered


class HaproxyCheck(Operation):
    @answered
    def run(self, deployment=None, fail_on="never", timeout_s=None):
        from st2ha.edge.haproxy import operations

        return operations.check(self.deployment(deployment), timeout_s).result()
