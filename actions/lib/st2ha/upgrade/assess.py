"""Rules of a preflight: may this upgrade begin? Pure."""

from __future__ import annotations

from collections.abc import Iterator

from st2ha.report import Finding, Severity
from st2ha.st2conf import Options
from st2ha.upgrade import conf
from st2ha.upgrade.decide import downgrade
from st2ha.upgrade.drain import listed
from st2ha.upgrade.ledger import NEW
from st2ha.upgrade.names import parse_version
from st2ha.upgrade.preflight import Inside, Preflight

CLOCK_S = 1.0
SERVICE_BYTES = 100_000_000
"""Of memory, for each of StackStorm's services: an estimate, each is a Python process with StackStorm's libraries."""
ACTIVE, ADMINISTRATOR = "active", "administrator"
TIMERS, SENSORS = "st2timersengine", "st2sensorcontainer"
CRITICAL, UNKNOWN, WARNING = Severity.CRITICAL, Severity.UNKNOWN, Severity.WARNING


def assess(it: Preflight, force: bool = False) -> tuple[Finding, ...]:
    """All findings; a critical one means that the upgrade would fail or do harm."""
    rules = (_clusters, _nodes, _content, _files, _services, _memory, _back, _work)
    return tuple([*_names(it, force), *(finding for rule in rules for finding in rule(it))])


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
    if it.broker_tags is not None and ADMINISTRATOR not in it.broker_tags:
        words = "the user of rabbitmq.username has no tag administrator: it can make no vhost"
        yield Finding("BrokerRightsMissing", CRITICAL, "upgrade/rabbitmq", words, "rabbitmqctl set_user_tags")


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


def _files(it: Preflight) -> Iterator[Finding]:
    """The old nodes' st2.conf: one side, which says one thing."""
    wanted = it.scene.old_database, it.scene.old_vhost
    for node in it.scene.upgrade.old.nodes:
        options, subject = it.confs.get(node.name), f"upgrade/{node.name}"
        if options is None:
            continue
        named = conf.database_of(options), conf.vhost_of(conf.broker_urls(options, subject)[0])
        if named != wanted:
            words = "it uses database {} and vhost {}, the first old node {} and {}".format(*named, *wanted)
            yield Finding(
                "OldSideApart", CRITICAL, subject, words, "correct [database] and [messaging] of its st2.conf"
            )
        both = conf.databases_named(options)
        if len(both) > 1:
            words = "[database] host names the database {}, db_name {}: StackStorm takes the first".format(*both)
            yield Finding("DatabaseNamedTwice", CRITICAL, subject, words, "make db_name of its st2.conf the same")


def _services(it: Preflight) -> Iterator[Finding]:
    """Which run, and which would run too often."""
    upgrade = it.scene.upgrade
    started = it.scene.entry.did("start_work")
    for node in upgrade.nodes:
        inside, subject = it.nodes.get(node.name), f"upgrade/{node.name}"
        if not isinstance(inside, Inside):
            continue
        if inside.states is None:
            words = "it does not tell which services run there"
            yield Finding("ServicesUntold", WARNING, subject, words, "have upgrade.service_command know is-active")
            continue
        active = [name for name, state in inside.states.items() if state == ACTIVE]
        if node.side == "new" and active and not started:
            words = f"{', '.join(active)} run there already: they would work with what their st2.conf said before"
            yield Finding("NewSideRuns", CRITICAL, subject, words, "stop and disable them there")
        idle = [name for name in inside.states if name not in (*active, *upgrade.late)]
        if node.side == "old" and idle and not it.scene.entry.did("stop_inflow"):
            severity = CRITICAL if set(idle) & set(upgrade.inflow) else WARNING
            words = f"{', '.join(idle)} do not run there, and a rollback would start them"
            yield Finding("ServiceIdle", severity, subject, words, "list what it runs in upgrade.old.nodes: services")
    yield from _twice(it)


def _twice(it: Preflight) -> Iterator[Finding]:
    """Timers fire on every node that has them; sensors run on every node unless they are shared out."""
    new = it.scene.upgrade.new.nodes
    timers = [node.name for node in new if TIMERS in node.of(it.scene.upgrade.inflow)]
    sensors = [
        node.name for node in new
        if SENSORS in node.of(it.scene.upgrade.inflow) and not _shares(it.confs.get(node.name, {}))
    ]  # fmt: skip
    for names, service, what in ((timers, TIMERS, "each timer fires"), (sensors, SENSORS, "each event is handled")):
        if len(names) > 1:
            words = f"{service} would be started on {', '.join(names)}: {what} {len(names)} times"
            remedy = "list what each node runs in upgrade.new.nodes: services"
            if service == SENSORS:
                remedy += ", or set [sensorcontainer] partition_provider"
            yield Finding("StartedTwice", CRITICAL, f"upgrade/{service}", words, remedy)


def _shares(options: Options) -> bool:
    provider = options.get("sensorcontainer", {}).get("partition_provider", "")
    return bool(provider) and "default" not in provider


def _memory(it: Preflight) -> Iterator[Finding]:
    for node in it.scene.upgrade.new.nodes:
        inside = it.nodes.get(node.name)
        if isinstance(inside, Inside) and inside.free_bytes is not None and inside.states is not None:
            needed = SERVICE_BYTES * len(inside.states)
            if inside.free_bytes < needed and not it.scene.entry.did("start_work"):
                words = f"{_mb(inside.free_bytes)} of memory are free there, its services take {_mb(needed)}"
                yield Finding(
                    "MemoryShort", WARNING, f"upgrade/{node.name}", words, "give it more, or stop others there"
                )
    for cache in it.caches:
        if cache.cache_bytes < 2 * it.index_bytes:
            both = _mb(2 * it.index_bytes)
            words = f"its cache of {_mb(cache.cache_bytes)} does not hold both databases' indexes, {both}"
            remedy = "enlarge it, or expect slower queries until the old side is retired"
            yield Finding("CacheShort", WARNING, f"upgrade/{cache.host}", words, remedy)


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _back(it: Preflight) -> Iterator[Finding]:
    for name, reasons in it.rehearsed.items():
        words = f"the way back was tried on a copy and does not work: {'; '.join(reasons)}"
        yield Finding("WayBackClosed", CRITICAL, f"upgrade/{name}", words, "correct that, then preflight again")


def _work(it: Preflight) -> Iterator[Finding]:
    if isinstance(it.open, str):
        yield Finding("WorkUnread", UNKNOWN, "upgrade/drain", it.open, "run rabbitmq_check and mongodb_check")
    else:
        would = "would be waited for at the cutover"
        if it.open.inquiries:
            words = f"{len(it.open.inquiries)} inquiries {would}: {listed(it.open.inquiries)}"
            remedy = "answer or cancel them, or upgrade_cutover inquiries=carry or inquiries=abort"
            yield Finding("InquiriesWaiting", WARNING, "upgrade/drain", words, remedy)
        if it.open.paused:
            words = f"{len(it.open.paused)} paused executions {would}: {listed(it.open.paused)}"
            remedy = "resume or cancel them, or upgrade_cutover paused=carry or paused=abort"
            yield Finding("ExecutionsPaused", WARNING, "upgrade/drain", words, remedy)
    if not it.scene.upgrade.switched:
        words = "no balancers are configured: nothing is switched at the cutover"
        yield Finding(
            "BalancersUnset", WARNING, "upgrade/balancers", words, "set group on both sides, or upgrade.switch"
        )
