"""Rules about how the cluster is set up: policies, vhost, rights, versions, certificates. Pure, as assess.py."""

from __future__ import annotations

from collections.abc import Iterator

from st2ha.rabbitmq.content import Policy
from st2ha.rabbitmq.scene import Scene
from st2ha.report import Finding, Severity

DAY_S = 86_400


def promotion(scene: Scene) -> Iterator[Finding]:
    """By default a mirror without the messages takes over when the leader fails (measured: 300 became 0)."""
    content = scene.snapshot.content
    if content is None:
        return
    used = {(queue.vhost, queue.policy) for queue in content.queues if queue.kind == "classic"}
    risky = [p for p in content.policies if p.mirrors and (p.vhost, p.name) in used and _drops_messages(p)]
    for policy in risky:
        yield scene.finding(
            "PromoteOnFailureRisk", Severity.WARNING,
            f"policy {policy.name}: ha-sync-mode manual, so a mirror without the messages may take over and drop them",
            "set ha-sync-mode automatic, or ha-promote-on-failure when-synced", f"vhost/{policy.vhost}",
        )  # fmt: skip


def _drops_messages(policy: Policy) -> bool:
    wanted = policy.definition
    return (wanted.get("ha-sync-mode", "manual"), wanted.get("ha-promote-on-failure", "always")) == ("manual", "always")


def partition_handling(scene: Scene) -> Iterator[Finding]:
    """As configured here: the management API does not tell it."""
    mode, members = scene.settings.partition_handling, len(scene.snapshot.members)
    if mode == "ignore" and members > 1:
        yield scene.finding(
            "PartitionHandlingRisk", Severity.WARNING,
            "cluster_partition_handling is ignore: a partition never mends itself and mirrored queues lose messages",
            "set pause_minority (three nodes) or autoheal (two) in rabbitmq.conf",
        )  # fmt: skip
    elif mode == "pause_minority" and members == 2:
        yield scene.finding(
            "PartitionHandlingRisk", Severity.WARNING,
            "pause_minority with two nodes: when either is lost, the other one pauses and all stands still",
            "add a third node, or set autoheal",
        )  # fmt: skip


def classic_mirroring(scene: Scene) -> Iterator[Finding]:
    content = scene.snapshot.content
    if content is None:
        return
    policies = [policy for policy in content.policies if policy.mirrors]
    newest = max((_major(node.version) for node in scene.snapshot.nodes), default=0)
    target = _major(scene.settings.upgrade_to)
    if policies and max(newest, target) >= 4:
        names = ", ".join(f"{policy.vhost}:{policy.name}" for policy in policies)
        when = "this version has" if newest >= 4 else f"version {scene.settings.upgrade_to} will have"
        yield scene.finding(
            "ClassicMirroringRemoved", Severity.WARNING,
            f"{when} no mirrored queues; policies {names} will do nothing and their queues have one copy",
            "rabbitmq_quorum_plan",
        )  # fmt: skip


def vhost(scene: Scene) -> Iterator[Finding]:
    content, settings = scene.snapshot.content, scene.settings
    if content is None:
        return
    mine = content.vhost(settings.vhost)
    if mine is None:
        known = ", ".join(sorted(vhost.name for vhost in content.vhosts)[:5]) or "none"
        yield scene.finding(
            "VhostMissing", Severity.CRITICAL, f"there is no such vhost (there are {known}): StackStorm cannot connect",
            f"rabbitmq_vhost_create vhost={settings.vhost}, or correct rabbitmq.vhost", f"vhost/{settings.vhost}",
        )  # fmt: skip
    for each in content.vhosts:
        if each.down_on:
            yield scene.finding(
                "VhostDown", Severity.CRITICAL, f"does not work on {', '.join(each.down_on)}: it refuses clients",
                f"rabbitmqctl restart_vhost -p {each.name} on {each.down_on[0]}", f"vhost/{each.name}",
            )  # fmt: skip
    user, rights = settings.stackstorm_user, content.permissions
    if mine and user and rights is not None and not any(r.user == user and r.vhost == mine.name for r in rights):
        yield scene.finding(
            "PermissionMissing", Severity.CRITICAL, f"user {user} has no permissions: StackStorm cannot connect",
            f"rabbitmq_vhost_create vhost={mine.name} user={user}", f"vhost/{mine.name}",
        )  # fmt: skip


def default_credentials(scene: Scene) -> Iterator[Finding]:
    content = scene.snapshot.content
    if content and content.default_login:
        yield scene.finding(
            "DefaultCredentials", Severity.WARNING, "user guest still has the password guest",
            "rabbitmqctl delete_user guest, or give it another password",
        )  # fmt: skip


def versions(scene: Scene) -> Iterator[Finding]:
    """Different versions, or nodes that do not know each other at all (which is what a wrong cookie looks like)."""
    nodes = scene.snapshot.sighted
    told = {node.name: f"{node.version} on Erlang {node.erlang}" for node in nodes if node.name}
    if len(set(told.values())) > 1:
        yield scene.finding(
            "CookieOrVersionMix", Severity.WARNING,
            "different versions: " + ", ".join(f"{name} {version}" for name, version in sorted(told.items())),
            "finish the upgrade of the cluster",
        )  # fmt: skip
        return
    clusters = {frozenset(view.name for view in node.views) for node in nodes}
    strangers = [node for node in nodes if any(other.view(node.name or "") is None for other in nodes)]
    if len(clusters) > 1 and strangers:
        names = ", ".join(str(node.name) for node in strangers)
        yield scene.finding(
            "CookieOrVersionMix", Severity.CRITICAL,
            f"{names} are not members of one cluster: each works alone, with queues of its own",
            "give all the same .erlang.cookie, then rabbitmqctl join_cluster; or correct rabbitmq.hosts",
        )  # fmt: skip


def certificates(scene: Scene) -> Iterator[Finding]:
    for node in scene.snapshot.nodes:
        if node.tls_expires_at is None:
            continue
        days = (node.tls_expires_at - scene.now) / DAY_S
        if days < scene.limits.tls_days:
            name = scene.snapshot.name_of(node.host)
            yield scene.finding(
                "TlsExpiring", Severity.WARNING, f"its certificate ends in {days:.0f} days: then nobody connects",
                f"renew the certificate of {name}", name,
            )  # fmt: skip


def _major(version: object) -> int:
    head = str(version or "0").split(".")[0]
    return int(head) if head.isdigit() else 0


RULES = (
    promotion, partition_handling, classic_mirroring, vhost, default_credentials, versions, certificates,
)  # fmt: skip
