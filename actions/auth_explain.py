from st2ha.stackstorm import Operation, answered


class AuthExplain(Operation):
    @answered
    def run(self, user, deployment=None, node=None, fail_on="never", timeout_s=None):
        from st2ha.auth import operations

        return operations.explain(self.deployment(deployment), user, node or "", timeout_s).result()
