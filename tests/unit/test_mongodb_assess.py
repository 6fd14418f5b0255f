"""Rules whose cause the lab cannot make: a recorded healthy set, changed in one fact."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

import pytest

from st2ha.config import MongodbLimits
from st2ha.mongodb import assess as assess_module
from st2ha.mongodb import assess_members
from st2ha.mongodb.assess import assess, healthy_words
from st2ha.mongodb.facts import ConfigMember, Denied, OpTime, Outsider, Rollback, SetConfig, Snapshot
from st2ha.probe import Silence, Silent
from st2ha.report import Finding, Severity, worst
from tests import recorded
from tests.recorded import answered, changed, everywhere, host

HEALTHY = recorded.snapshot("healthy3")
NOW = HEALTHY.at
ROLLBACK = Rollback(4, "2026-11-22T01:02:03Z", 7, "/data/rollback/lost")
DAY_S = 86_400
DOWN = Silent(Silence.REFUSED, "connection refused", 0.001)
LOST = Silent(Silence.UNREACHABLE, "no connection within 3 s", 3.0)
BAD_TLS = Silent(Silence.TLS, "certificate has expired", 0.01)
NONSENSE = Silent(Silence.BROKEN, "connection closed", 0.01)


def behind(base: Snapshot, name: str, seconds: int, **facts: Any) -> Snapshot:
    optime = base.primary.optime if base.primary else None
    assert optime is not None
    return changed(base, name, optime=optime._replace(seconds=optime.seconds - seconds), **facts)


def silent_everywhere(silent: Silent) -> Snapshot:
    return replace(HEALTHY, answers=dict.fromkeys(HEALTHY.answers, silent))


def two_primaries() -> Snapshot:
    assert HEALTHY.primary is not None
    term = (HEALTHY.primary.term or 0) + 1
    return changed(HEALTHY, "mongo2", writable=True, state="PRIMARY", term=term)


@dataclass(frozen=True)
class Made:
    """One situation: what is found, and words that its message must have."""

    snapshot: Snapshot
    expected: str
    says: str
    earlier: Optional[Snapshot] = None
    reviewed: Mapping[str, int] = field(default_factory=dict)

    def findings(self) -> tuple[Finding, ...]:
        return assess(self.snapshot, MongodbLimits(), self.snapshot.at, self.earlier, dict(self.reviewed))


def later(base: Snapshot, seconds: float) -> Snapshot:
    return replace(base, at=base.at + seconds)


M1, M2, M3 = (f"mongodb/rs0/mongo{number}:27017" for number in (1, 2, 3))
SET = "mongodb/rs0"
MADE = {
    "tls ends in five days": Made(
        changed(HEALTHY, "mongo2", tls_expires_at=NOW + 5 * DAY_S), f"WARNING TlsExpiring {M2}", "5.0 days"
    ),
    "clock 4 s ahead": Made(
        changed(HEALTHY, "mongo3", clock_offset_s=4.0), f"WARNING ClockSkew {SET}", "mongo3.*4.0 s"
    ),
    "clock 4 s behind": Made(
        changed(HEALTHY, "mongo1", clock_offset_s=-4.0), f"WARNING ClockSkew {SET}", "mongo1.*-4.0 s"
    ),
    "flow control": Made(
        changed(HEALTHY, "mongo1", flow_limited=True), f"WARNING FlowControlEngaged {M1}", "throttles"
    ),
    "disk 90 %": Made(changed(HEALTHY, "mongo2", disk_used=0.9), f"WARNING DiskLow {M2}", "90%"),
    "disk 97 %": Made(changed(HEALTHY, "mongo2", disk_used=0.97), f"CRITICAL DiskLow {M2}", "97%"),
    "connections 900 of 1000": Made(
        changed(HEALTHY, "mongo1", connections=(900, 1000)), f"WARNING ConnectionsNearLimit {M1}", "900 of 1000"
    ),
    "oplog 1.5 h": Made(
        changed(HEALTHY, "mongo3", oplog_window_s=5400.0, oplog_wrapped=True),
        f"WARNING OplogWindowShort {M3}", r"1\.5 h of oplog \(limit 3 h\)",
    ),
    "version mix": Made(changed(HEALTHY, "mongo3", version="5.0.9"), f"WARNING VersionMix {SET}", "mongo3:27017 5.0.9"),
    "initial sync": Made(changed(HEALTHY, "mongo3", state="STARTUP2"), f"WARNING InitialSync {M3}", "copying"),
    "rollback runs": Made(changed(HEALTHY, "mongo3", state="ROLLBACK"), f"WARNING RollbackRunning {M3}", "undoing"),
    "recovering": Made(changed(HEALTHY, "mongo3", state="RECOVERING"), f"WARNING MemberNotReady {M3}", "RECOVERING"),
    "two primaries": Made(two_primaries(), f"CRITICAL SplitBrain {SET}", r"mongo2:27017 \(term \d+\), mongo1:27017"),
    "lagging": Made(behind(HEALTHY, "mongo3", 60), f"WARNING ReplicaLagging {M3}", r"60 s behind.*limit 10 s"),
    "lagging, but moving": Made(
        later(behind(HEALTHY, "mongo3", 60), 1.5), f"WARNING ReplicaLagging {M3}", "60 s behind",
        earlier=behind(HEALTHY, "mongo3", 62),
    ),
    "stuck": Made(
        later(behind(HEALTHY, "mongo3", 60), 1.5), f"WARNING ReplicaStuck {M3}", "60 s behind",
        earlier=behind(HEALTHY, "mongo3", 60),
    ),
    "two looks too close to tell": Made(
        later(behind(HEALTHY, "mongo3", 60), 0.5), f"WARNING ReplicaLagging {M3}", "60 s",
        earlier=behind(HEALTHY, "mongo3", 60),
    ),
    "not syncing": Made(behind(HEALTHY, "mongo3", 4, sync_source=""), f"WARNING NotSyncing {M3}", "4 s behind"),
    "rollback id above the reviewed": Made(
        changed(HEALTHY, "mongo1", rollback=ROLLBACK),
        f"WARNING RollbackHappened {M1}", "undid 7 writes that only it had, at 2026-11-22T01:02:03Z",
        reviewed={"mongo1:27017": 3},
    ),
    "certificate refused": Made(
        answered(HEALTHY, "mongo2", BAD_TLS), f"UNKNOWN TlsFailed {M2}", "certificate has expired"
    ),
    "answers nonsense": Made(
        answered(HEALTHY, "mongo2", NONSENSE), f"UNKNOWN MemberUnreadable {M2}", "connection closed"
    ),
    "one host by two names": Made(
        answered(HEALTHY, "alias", HEALTHY.answers[host("mongo1")]), f"WARNING ConfigDrift {SET}",
        "mongo1:27017 and alias:27017 are one member",
    ),
    "a host of another set": Made(
        answered(HEALTHY, "mongo4", Outsider(host("mongo4"), "rs9", "it is in the set 'rs9'")),
        "WARNING RemovedMember mongodb/rs0/mongo4:27017", "rs9",
    ),
    "a host that is not in the set": Made(
        answered(HEALTHY, "mongo4", DOWN), f"WARNING ConfigDrift {SET}", "mongo4:27017 is configured here but not in"
    ),
    "unreachable secondary, seen by the others": Made(
        answered(HEALTHY, "mongo3", LOST), f"WARNING MemberUnreachableFromHere {M3}", "mongo1:27017, mongo2:27017 see"
    ),
    "hung, and a secondary still follows it": Made(
        changed(recorded.snapshot("primary_hung_elected"), "mongo3", sync_source="mongo1:27017"),
        f"CRITICAL MemberHung {M1}", "mongo3:27017 still syncs from it, so majority writes wait",
        reviewed={f"mongo{number}:27017": 99 for number in (1, 2, 3)},
    ),
    "no trusted TLS anywhere": Made(
        silent_everywhere(BAD_TLS), f"UNKNOWN PrimaryUnknown {SET}", "mongo1:27017 or mongo2:27017 or"
    ),
    "all killed": Made(silent_everywhere(DOWN), f"CRITICAL NoPrimary {SET}", "0 of 3 members answer"),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_made(name: str) -> None:
    made = MADE[name]
    by_line = {f"{each.severity.name} {each.code} {each.subject}": each for each in made.findings()}
    assert made.expected in by_line
    finding = by_line[made.expected]
    assert re.search(made.says, finding.message), finding.message
    assert finding.remedy


ALONE = {
    "tls ends in five days", "clock 4 s ahead", "flow control", "disk 90 %", "connections 900 of 1000", "oplog 1.5 h",
    "version mix", "initial sync", "rollback runs", "recovering", "two primaries", "lagging", "stuck", "not syncing",
    "one host by two names", "a host of another set", "unreachable secondary, seen by the others",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ALONE))
def test_one_cause_is_one_finding(name: str) -> None:
    assert len(MADE[name].findings()) == 1


def test_every_code_is_found_in_some_test() -> None:
    sources = [Path(str(module.__file__)).read_text() for module in (assess_module, assess_members)]
    codes = {code for source in sources for code in re.findall(r'scene\.finding\(\s*"(\w+)"', source)}
    tested = {made.expected.split()[1] for made in MADE.values()}
    for case in recorded.CASES:
        tested |= {line.split()[1] for line in recorded.expectations(case)["findings"]}
    assert len(codes) > 25 and codes == tested


# -- what must not be found

QUIET = {
    "at the limit of lag": behind(HEALTHY, "mongo3", 10),
    "a young oplog is short, too": everywhere(HEALTHY, oplog_window_s=60.0, oplog_wrapped=False),
    "a certificate of 22 days": everywhere(HEALTHY, tls_expires_at=NOW + 22 * DAY_S),
    "clocks that are wrong together": everywhere(HEALTHY, clock_offset_s=90.0),
    "one clock known": changed(everywhere(HEALTHY, clock_offset_s=None), "mongo1", clock_offset_s=90.0),
    "a secondary ahead of the primary as it was read": behind(HEALTHY, "mongo2", -2),
    "facts not told": everywhere(
        HEALTHY, version=None, rollback=None, oplog_window_s=None, connections=None, disk_used=None
    ),
}


@pytest.mark.parametrize("name", QUIET)
def test_nothing_is_found(name: str) -> None:
    assert assess(QUIET[name], MongodbLimits(), NOW) == ()


def test_what_holds_when_nothing_is_found() -> None:
    assert healthy_words(HEALTHY) == "3 members, primary mongo1:27017"


def test_a_rollback_that_was_reviewed_is_not_told_again() -> None:
    snapshot = changed(HEALTHY, "mongo2", rollback=ROLLBACK)
    assert [each.code for each in assess(snapshot, MongodbLimits(), NOW)] == ["RollbackHappened"]
    assert assess(snapshot, MongodbLimits(), NOW, reviewed_rollbacks={"mongo2:27017": 4}) == ()


def test_time_is_an_argument() -> None:
    """The same snapshot gives the same findings whenever it is assessed, and others for another `now` only by it."""
    snapshot = changed(HEALTHY, "mongo2", tls_expires_at=NOW + 30 * DAY_S)
    assert assess(snapshot, MongodbLimits(), NOW) == assess(snapshot, MongodbLimits(), NOW) == ()
    assert [each.code for each in assess(snapshot, MongodbLimits(), NOW + 20 * DAY_S)] == ["TlsExpiring"]


def test_the_limits_are_arguments() -> None:
    patient = MongodbLimits(client_patience_s=11)
    assert assess(recorded.snapshot("default_times"), patient, NOW) == ()
    strict = [each.code for each in assess(HEALTHY, MongodbLimits(client_patience_s=1), NOW)]
    assert strict == ["ElectionTimeoutBeyondClients"]


# -- whom to believe


def test_a_split_brain_names_the_older_term_as_the_one_to_be_kept_from_clients() -> None:
    (finding,) = MADE["two primaries"].findings()
    assert finding.remedy == "keep clients from mongo1:27017 and mend the network to mongo2:27017"


def test_the_primary_is_the_one_of_the_newest_term() -> None:
    primary = two_primaries().primary
    assert primary is not None and primary.name == "mongo2:27017"


def test_a_denied_member_says_all_the_same_that_it_is_not_primary() -> None:
    denied = [Denied(each, str(each), False, "Authentication failed.") for each in HEALTHY.answers]
    snapshot = replace(HEALTHY, answers={each.host: each for each in denied})
    assert worst(assess(snapshot, MongodbLimits(), NOW)) is Severity.CRITICAL


def test_a_forced_configuration_is_newer_although_it_has_no_term() -> None:
    """replSetReconfig with force sets the term to -1; then the server compares versions."""
    config = HEALTHY.config
    assert config is not None
    forced = replace(config, version=config.version + 10_000, term=-1)
    assert changed(HEALTHY, "mongo3", config=forced).config == forced


def test_a_member_that_only_a_stale_one_sees_is_not_believed_to_be_primary() -> None:
    """Its port is closed: whatever the others remember, it is down."""
    snapshot = answered(HEALTHY, "mongo1", DOWN)
    assert [each.code for each in assess(snapshot, MongodbLimits(), NOW)] == [
        "NoPrimary", "OneFailureFromNoMajority", "MemberDown",
    ]  # fmt: skip


def test_lag_is_not_reported_for_the_delay_that_was_asked_for() -> None:
    def with_delay(delay_s: float) -> Snapshot:
        config = HEALTHY.config
        assert config is not None
        members = tuple(replace(m, delay_s=delay_s) if m.name == "mongo3:27017" else m for m in config.members)
        return everywhere(behind(HEALTHY, "mongo3", 3605), config=replace(config, members=members))

    assert assess(with_delay(3600), MongodbLimits(), NOW) == ()
    assert [each.code for each in assess(with_delay(0), MongodbLimits(), NOW)] == ["ReplicaLagging"]


# -- facts


def test_optimes_are_ordered_by_term_first() -> None:
    assert OpTime(2, 100, 1) > OpTime(1, 200, 9)


@pytest.mark.parametrize(
    ("votes", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)], ids=lambda number: str(number)
)
def test_majority(votes: int, needed: int) -> None:
    members = tuple(ConfigMember(f"mongo{number}", 1, 1.0) for number in range(votes))
    hidden = ConfigMember("mongo9", 0, 0.0, hidden=True)
    assert SetConfig(1, 1, (*members, hidden), 2.0).majority == needed


def test_rows_are_a_flat_table() -> None:
    rows = answered(HEALTHY, "mongo3", DOWN).rows()
    assert [(row["host"], row["state"], row["lag_s"]) for row in rows] == [
        ("mongo1:27017", "PRIMARY", None),
        ("mongo2:27017", "SECONDARY", 0.0),
        ("mongo3:27017", "refused", None),
    ]
