from st2ha.stackstorm import Operation, answered


class ContentCheck(Operation):
    @answered
    def run(self, deployment=None, fail_on="never", timeout_s=None):
        from st2ha.content import operations

        return operations.check(self.deployment(deployment), timeout_s).result()
