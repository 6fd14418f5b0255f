from st2ha.stackstorm import Operation, answered


class St2confRender(Operation):
    @answered
    def run(self, node, deployment, database=None, vhost=None, dry_run=False, deadline_s=60):
        from st2ha.upgrade import render

        return render.render(self.deployment(deployment), node, database, vhost, dry_run, deadline_s)
