"""Rules of a preflight: may this upgrade begin? Pure."""

from __future__ import annotations

from collections.abc import Iterator

from st2ha.report import Finding, Severity
from st2ha.upgrade.decide import downgrade
from st2ha.upgrade.ledger import NEW
from st2ha.upgrade.names import parse_version
from st2ha.upgrade.preflight import Inside, Preflight

CLOCK_S = 1.0
CRITICAL, UNKNOWN, WARNING = Severity.CRITICAL, Severity.UNKNOWN, Severity.WARNING


def assess(it: Preflight, force: bool = False) -> tuple[Finding, ...]:
    """All findings; a critical one means that the upgrade would fail or do harm."""
    return tuple([*_names(it, force), *_clusters(it), *_nodes(it), *_content(it), *_work(it)])


def _names(it: Preflight, force: bool) -> Iterator[Finding]:
    scene = it.scene
    for words in downgrade(scene):
        severity = WARNING if force else CRITICAL
        yield Finding(
            "DowngradeAsked", severity, "upgrade/versions", words, "correct upgrade.new.version, or force=true"
        )
    if scene.entry.state == NEW and not scene.entry.begun:
        for words in it.against_copy:
            yield Finding(
                "CopyImpossible",
                CRITICAL,
                f"upgrade/{scene.names.database}",
                words,
                "correct that, then preflight again",
            )
        if it.vhost_exists:
            message = "the vhost exists, and this upgrade did not make it"
            remedy = "set upgrade.vhost to another name, or rabbitmq_vhost_delete it"
            yield Finding("VhostTaken", CRITICAL, f"upgrade/{scene.names.vhost}", message, remedy)
    if it.vhost_exists is None:
        words = "the broker's vhosts could not be read"
        yield Finding("VhostsUnread", UNKNOWN, "upgrade/rabbitmq", words, "run rabbitmq_check")


def _clusters(it: Preflight) -> Iterator[Finding]:
    for finding in it.health.findings:
        if finding.severity >= UNKNOWN:
            message = f"{finding.code} {finding.subject}: {finding.message}"
            yield Finding("LayerUnwell", finding.severity, "upgrade/layers", message, finding.remedy)


def _nodes(it: Preflight) -> Iterator[Finding]:
    new = {node.name for node in it.scene.upgrade.new.nodes}
    for name, inside in it.nodes.items():
        subject = f"upgrade/{name}"
        if isinstance(inside, str):
            yield Finding("NodeUnasked", UNKNOWN, subject, inside, "correct upgrade.command, or start the node")
            continue
        if abs(inside.clock_s) > CLOCK_S:
            words = f"its clock is {inside.clock_s:+.1f} s off ours: tokens and timers go by it"
            yield Finding("NodeClockApart", WARNING, subject, words, "synchronise it, then preflight again")
        if name in new and inside.unreached:
            words = f"it does not reach {', '.join(inside.unreached)}"
            yield Finding("ServerUnreachedByNode", CRITICAL, subject, words, "open the way from the node to it")
        if name in new:
            yield from _version(it, subject, inside)


def _version(it: Preflight, subject: str, inside: Inside) -> Iterator[Finding]:
    wanted = it.scene.upgrade.new.version
    words = ".".join(map(str, wanted))
    if inside.version is None:
        message = f"no StackStorm package was found there, {words} is expected"
        yield Finding("VersionUnread", WARNING, subject, message, "install the packages of the new version")
    elif parse_version(inside.version, subject)[: len(wanted)] != wanted:
        message = f"StackStorm {inside.version} is installed there, {words} is expected"
        yield Finding(
            "VersionOther", CRITICAL, subject, message, "install that version, or correct upgrade.new.version"
        )


def _content(it: Preflight) -> Iterator[Finding]:
    """The new nodes against the first old one that answered."""
    sides = {node.name: node.side for node in it.scene.upgrade.nodes}
    old = next((each for name, each in it.nodes.items() if sides[name] == "old" and isinstance(each, Inside)), None)
    if old is None:
        return
    for name, inside in it.nodes.items():
        if sides[name] != "new" or isinstance(inside, str):
            continue
        if inside.key != old.key:
            words = "its datastore crypto key is not that of the old side: encrypted keys could not be read"
            yield Finding("CryptoKeyOther", CRITICAL, f"upgrade/{name}", words, "copy the key file from an old node")
        missing = [path for path in old.content if path not in inside.content]
        if missing:
            words = f"{', '.join(missing)} is missing or empty there, the old side has it"
            yield Finding("ContentMissing", CRITICAL, f"upgrade/{name}", words, "mount or copy it there")
        if None not in (inside.python, old.python) and inside.python != old.python:
            words = f"it has Python {inside.python}, the old side {old.python}: packs' virtualenvs must not be shared"
            yield Finding(
                "PythonOther", WARNING, f"upgrade/{name}", words, "give the new side a virtualenvs directory of its own"
            )


def _work(it: Preflight) -> Iterator[Finding]:
    if isinstance(it.open, str):
        yield Finding("WorkUnread", UNKNOWN, "upgrade/drain", it.open, "run rabbitmq_check and mongodb_check")
    elif it.open.waiting:
        words = f"{it.open.waiting} inquiries or paused executions would be waited for at the cutover"
        remedy = "answer or cancel them, or upgrade_cutover leftovers=carry"
        yield Finding("ExecutionsWaiting", WARNING, "upgrade/drain", words, remedy)
    if not it.scene.upgrade.switched:
        words = "no balancers are configured: nothing is switched at the cutover"
        yield Finding(
            "BalancersUnset", WARNING, "upgrade/balancers", words, "set group on both sides, or upgrade.switch"
        )
