from st2ha.stackstorm import Operation, answered


class StackstormCheck(Operation):
    @answered
    def run(self, deployment=None, fail_on="never", timeout_s=None):
        from st2ha.platform.operations import check

        return check(self.deployment(deployment), timeout_s).result()
