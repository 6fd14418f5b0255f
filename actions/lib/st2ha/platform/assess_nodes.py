"""From facts to findings: what the nodes are configured to do, and what lies on them. Of a key only that it differs."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator, Sequence

from st2ha.naming import count
from st2ha.platform.facts import Unread
from st2ha.platform.scene import Scene, some
from st2ha.report import Finding, Severity

TOYS = ("file", "zake")
"""Coordination drivers of tooz that know of one node only (st2common/services/coordination.py)."""
CONF = "correct st2.conf there, restart its services"


def unreadable(scene: Scene) -> Iterator[Finding]:
    """Only where a door is configured: who configured none is not nagged."""
    for name, inside in scene.snapshot.insides.items():
        if isinstance(inside, Unread):
            yield scene.finding(
                "NodeUnreadable", Severity.UNKNOWN, f"its st2.conf, key and packs are unknown: {inside.reason[:240]}",
                "correct command and st2_conf of the node in the layer `stackstorm`", name,
            )  # fmt: skip


def crypto_key(scene: Scene) -> Iterator[Finding]:
    """None of them could be read, or no two differ: silence. The digests themselves are nobody's business."""
    digests = {node.name: inside.key_digest for node, inside in scene.insides()}
    for name, digest in digests.items():
        if digest is None:
            yield scene.finding(
                "CryptoKeyUnreadable", Severity.UNKNOWN, "its datastore key cannot be read: is it the others'?",
                "let the node's `command` read the file of [keyvalue] encryption_key_path, for example with sudo", name,
            )  # fmt: skip
    odd = _odd({name: digest for name, digest in digests.items() if digest is not None})
    if odd:
        missing = [name for name in odd if not digests[name]]
        words = f"{some(missing)} has none" if missing == odd else f"{some(odd)} has another one"
        yield scene.finding(
            "CryptoKeysDiffer", Severity.CRITICAL,
            f"the nodes have not the same datastore key ({words}): secrets saved by one cannot be read by the other",
            "copy the right key to the file of [keyvalue] encryption_key_path on all nodes, restart their services",
        )  # fmt: skip


def _odd(values: dict[str, str]) -> list[str]:
    """Who differs from what most have; where two are as many, from the first."""
    if len(set(values.values())) < 2:
        return []
    usual = Counter(values.values()).most_common(1)[0][0]
    return [name for name, value in values.items() if value != usual]


def packs(scene: Scene) -> Iterator[Finding]:
    """Left to the layer `content` where there is one."""
    told = {node.name: inside.packs for node, inside in scene.insides() if inside.packs is not None}
    if len(told) < 2 or "content" in scene.elsewhere:
        return
    words: list[str] = []
    for pack in sorted({pack for found in told.values() for pack in found}):
        versions = {name: found[pack][0] if pack in found else "none" for name, found in told.items()}
        digests = {name: found.get(pack, ("", ""))[1] for name, found in told.items()}
        if odd := _odd(versions):
            usual = next(version for name, version in versions.items() if name not in odd)
            words.append(f"{pack} {versions[odd[0]]} on {some(odd, 2)}, {usual} elsewhere")
        elif odd := _odd(digests):
            words.append(f"{pack} has other files on {some(odd, 2)}")
    if words:
        yield scene.finding(
            "PacksDiffer", Severity.WARNING,
            f"{count(len(words), 'pack')} differ between nodes ({some(words, 3)}): actions do different things",
            "install the pack on every node, or share /opt/stackstorm/packs", "packs",
        )  # fmt: skip


def coordination(scene: Scene) -> Iterator[Finding]:
    drivers = {node.name: inside.coordination for node, inside in scene.insides()}
    lost = [name for name, driver in drivers.items() if driver in ("", *TOYS)]
    if lost:
        yield scene.finding(
            "CoordinationMissing", Severity.CRITICAL if len(scene.settings.nodes) > 1 else Severity.WARNING,
            f"{some(lost)} without a coordination service: concurrency policies let executions overlap, nobody sees "
            "which services live",
            "set [coordination] url = redis://... in st2.conf of all nodes, restart all services", "coordination",
        )  # fmt: skip


def database(scene: Scene) -> Iterator[Finding]:
    for node, inside in scene.insides():
        if inside.database is None:
            continue
        patience_s, hosts = inside.database.timeout_s, inside.database.hosts
        if scene.databases and patience_s <= scene.limits.election_s:
            yield scene.finding(
                "DatabaseImpatient", Severity.WARNING,
                f"[database] connection_timeout is {patience_s:g} s, an election takes {scene.limits.election_s:g} s: "
                "when the primary dies, requests fail and executions are lost meanwhile",
                f"set connection_timeout = {scene.limits.election_s * 1500:.0f} under [database]; {CONF}", node.name,
            )  # fmt: skip
        missing = _missing(scene.databases, hosts)
        if missing:
            yield scene.finding(
                "DatabaseHostsMissing", Severity.WARNING,
                f"[database] host names {len(hosts)} of {len(scene.databases)} members, not {some(missing)}: it cannot "
                "start while those are down",
                f"name all of them: host = mongodb://{','.join(scene.databases)}/?replicaSet=...; {CONF}", node.name,
            )  # fmt: skip


def broker(scene: Scene) -> Iterator[Finding]:
    for node, inside in scene.insides():
        hosts = inside.broker.hosts if inside.broker is not None else ()
        missing = _missing(scene.brokers, hosts)
        if not missing:
            continue
        if len(hosts) == 1:
            yield scene.finding(
                "OneBrokerUrl", Severity.WARNING,
                f"[messaging] names one broker ({hosts[0]}) of {len(scene.brokers)}: without it the node stands still",
                f"set cluster_urls under [messaging] to all of them; {CONF}", node.name,
            )  # fmt: skip
        else:
            yield scene.finding(
                "BrokersMissing", Severity.WARNING,
                f"[messaging] cluster_urls names {len(hosts)} of {len(scene.brokers)} brokers, not {some(missing)}",
                f"add them to cluster_urls; {CONF}", node.name,
            )  # fmt: skip


def _missing(members: Sequence[str], named: Sequence[str]) -> list[str]:
    """Members that are not named. None where no name is known: a load balancer, DNS, or other names for the same."""
    known = [name for name in named if name in members or _here(name)]
    return [member for member in members if member not in named] if known and len(named) < len(members) else []


def _here(server: str) -> bool:
    """An address of the node itself cannot be a load balancer for all."""
    name = server.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


RULES = (unreadable, crypto_key, packs, coordination, database, broker)
