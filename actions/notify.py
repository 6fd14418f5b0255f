from st2ha.stackstorm import Operation, answered


class Notify(Operation):
    @answered
    def run(self, message, severity="warning", details=None):
        from st2ha.notify import notify

        return notify(message, severity, details)
