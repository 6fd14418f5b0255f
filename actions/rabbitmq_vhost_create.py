from st2ha.stackstorm import Operation, answered


class RabbitmqVhostCreate(Operation):
    @answered
    def run(self, vhost, user, deployment, configure=".*", write=".*", read=".*", default_queue_type="unchanged",
            copy_policies_from=None, dry_run=False, deadline_s=120):  # fmt: skip
        from st2ha.rabbitmq import changes

        rights = {"configure": configure, "write": write, "read": read}
        more = {**rights, "default_queue_type": default_queue_type, "copy_policies_from": copy_policies_from}
        return changes.vhost_create(self.deployment(deployment), vhost, user, more, dry_run, deadline_s)
