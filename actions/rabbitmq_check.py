from st2ha.stackstorm import Operation, answered


class RabbitmqCheck(Operation):
    @answered
    def run(self, deployment=None, canary=False, fail_on="never", timeout_s=None):
        from st2ha.rabbitmq import operations

        return operations.check(self.deployment(deployment), timeout_s, canary).result()
