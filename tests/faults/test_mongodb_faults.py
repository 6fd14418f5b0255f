"""What breaks on a real replica set is found, named and told within the timeout, and nothing else is."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.certs import Authority
from lab.mongodb import MongoCluster
from lab.network import Network
from lab.proxy import Proxy
from lab.wait import wait_for
from st2ha.mongodb.assess import assess
from st2ha.mongodb.gather import gather
from tests.real import codes, config_of, run, settings_of
from tests.record import Standalone, leaves_last

TIMEOUT_S = 1.0
LOOSE_S = 10.0
"""Servers asked one after the other, or without a deadline, take longer; a busy machine does not."""
needs_root = pytest.mark.skipif(Network.limitation() is not None, reason=str(Network.limitation()))


def check(config: dict[str, Any]) -> dict[str, Any]:
    """mongodb_check's result; it takes its timeout at the most, and a second look where a replica is behind."""
    began = time.monotonic()
    result = run(config, "mongodb_check", timeout_s=TIMEOUT_S)[1]
    took_s = time.monotonic() - began
    assert took_s < 2 * LOOSE_S, f"the check took {took_s:.1f} s"
    return result


def found(rs: MongoCluster, **mongodb: Any) -> set[tuple[str, str]]:
    return codes(check(config_of(rs, **mongodb)))


def comes(rs: MongoCluster, wanted: set[tuple[str, str]], deadline_s: float = 20) -> None:
    """Wait until exactly this is found: the members need their heartbeats to agree."""
    last: list[Any] = []

    def same() -> bool:
        last[:] = [found(rs)]
        return last[0] == wanted

    try:
        wait_for(same, deadline_s, "the findings")
    except TimeoutError:
        assert last[0] == wanted


ONE_MORE = ("warning OneFailureFromNoMajority", "rs0")


# -- processes


def test_a_killed_secondary_is_down(mongo: MongoCluster) -> None:
    lost = mongo.secondaries()[0]
    mongo.kill(lost.name)
    comes(mongo, {ONE_MORE, ("warning MemberDown", lost.address)})


def test_a_killed_primary_is_down_and_missed_until_another_is_elected(mongo: MongoCluster) -> None:
    lost = mongo.primary()
    mongo.kill(lost.name)
    down = {ONE_MORE, ("warning MemberDown", lost.address)}
    first = check(config_of(mongo))
    assert codes(first) >= down
    if ("critical NoPrimary", "rs0") in codes(first):
        assert first["summary"].startswith("CRITICAL MongoDB: NoPrimary, 2 of 3 members answer, none is primary")
    comes(mongo, down)
    assert mongo.primary() != lost


def test_a_hung_secondary_is_hung(mongo: MongoCluster) -> None:
    lost = leaves_last(mongo)[-1]
    mongo.hang(lost.name)
    assert found(mongo) == {ONE_MORE, ("warning MemberHung", lost.address)}


def test_a_hung_primary_is_critical_until_another_takes_over(mongo: MongoCluster) -> None:
    lost = mongo.primary()
    mongo.hang(lost.name)
    assert found(mongo) >= {ONE_MORE, ("critical MemberHung", lost.address)}
    comes(mongo, {ONE_MORE, ("warning MemberHung", lost.address)}, 40)


def test_two_of_three_down_stop_writes(mongo: MongoCluster) -> None:
    one, two = mongo.secondaries()
    mongo.kill(one.name)
    mongo.kill(two.name)
    down = {("warning MemberDown", one.address), ("warning MemberDown", two.address)}
    assert found(mongo) >= {("critical NoMajority", "rs0"), *down}
    comes(mongo, {("critical NoMajority", "rs0"), ("critical NoPrimary", "rs0"), *down})


def test_all_down(mongo: MongoCluster) -> None:
    for member in mongo.members:
        mongo.kill(member.name)
    result = check(config_of(mongo))
    assert codes(result) == {("critical NoPrimary", "rs0"), *(("warning MemberDown", m.address) for m in mongo.members)}
    assert result["summary"].startswith("CRITICAL MongoDB: NoPrimary, 0 of 3 members answer")


def test_a_member_that_crashed_and_is_back_is_forgotten(mongo: MongoCluster) -> None:
    lost = mongo.secondaries()[0]
    mongo.kill(lost.name)
    mongo.restore()
    assert mongo.command(lost.name, "serverStatus")["repl"]["rbid"] > 1, "a crash raises the rollback id"
    assert found(mongo, reviewed_rollbacks=None) == set()


# -- network


@needs_root
def test_a_primary_that_is_cut_off_is_lost_to_us_and_to_the_others(mongo: MongoCluster) -> None:
    lost = mongo.primary()
    mongo.cut_off(lost.name)
    first = found(mongo)  # the others may not have noticed yet
    assert {subject for _, subject in first} & {lost.address, "rs0"}
    comes(mongo, {ONE_MORE, ("warning MemberDown", lost.address)})


@needs_root
def test_a_primary_that_only_the_others_lost_is_seen_from_both_sides(mongo: MongoCluster) -> None:
    lost = mongo.primary()
    mongo.cut_off(lost.name, keep_clients=True)

    def isolated() -> bool:
        now = found(mongo)
        return now >= {ONE_MORE, ("warning MemberCutOff", lost.address)} and not any("critical" in c for c, _ in now)

    wait_for(isolated, 20, "the isolation to be told")
    assert mongo.primary() != lost
    passed, result = run(config_of(mongo), "mongodb_switchover", member=lost.address, force=True, deployment="lab")
    assert not passed and f"{lost.address} is cut off: no other member reaches it" in result["error"]


@needs_root
def test_a_secondary_that_is_cut_off(mongo: MongoCluster) -> None:
    lost = mongo.secondaries()[0]
    mongo.cut_off(lost.name)
    comes(mongo, {ONE_MORE, ("warning MemberDown", lost.address)})


@needs_root
def test_a_secondary_that_only_the_others_lost(mongo: MongoCluster) -> None:
    lost = mongo.secondaries()[0]
    mongo.cut_off(lost.name, keep_clients=True)
    wait_for(lambda: found(mongo) >= {ONE_MORE, ("warning MemberCutOff", lost.address)}, 20, "the isolation to be told")


@pytest.mark.parametrize("mode", ["drip", "hang"])
def test_a_member_behind_a_slow_line_costs_the_timeout_once(mongo: MongoCluster, mode: str) -> None:
    """The proxy's address is none of the set's, hence ConfigDrift; it must not be called down."""
    behind = mongo.secondaries()[0]
    with Proxy((behind.host, behind.port), mode=mode) as proxy:
        hosts = [proxy.address if address == behind.address else address for address in mongo.hosts]
        now = found(mongo, hosts=hosts)
    assert ("warning MemberHung", proxy.address) in now
    assert now <= {("warning MemberHung", proxy.address), ("warning ConfigDrift", "rs0")}


# -- data


def test_a_locked_secondary_is_stuck(mongo: MongoCluster) -> None:
    """Healthy to the others, and its optime stands still."""
    locked = mongo.secondaries()[0]
    mongo.fsync_lock(locked.name)
    collection = mongo.client(w=1).st2ha_canary.load  # the other secondary may sync from the locked one: no majority
    config = config_of(mongo, limits={"lag_s": 0.5})

    def stuck() -> bool:
        collection.insert_one({})
        return ("warning ReplicaStuck", locked.address) in codes(run(config, "mongodb_check")[1])

    wait_for(stuck, 20, "the standstill to be told")


def test_a_rollback_is_told_until_it_was_reviewed(fresh_replica_set: MongoCluster) -> None:
    """The other secondary may have had some of the lost writes, too: then it rolls back as well."""
    rs = fresh_replica_set
    rolled = rs.make_rollback().member
    result = check(config_of(rs, reviewed_rollbacks=None))
    assert {finding["code"] for finding in result["details"]} == {"RollbackHappened"}
    told = {finding["subject"]: finding["message"] for finding in result["details"]}
    assert "undid 100 writes" in told[f"mongodb/rs0/{rolled.address}"]
    assert found(rs, reviewed_rollbacks=dict.fromkeys(rs.hosts, 2)) == set()


def test_the_same_snapshot_gives_the_same_findings_at_any_time(mongo: MongoCluster) -> None:
    """assess has no clock: `now` is an argument, and only certificates look at it."""
    mongo.kill(mongo.secondaries()[0].name)
    settings = settings_of(mongo)
    snapshot = gather(settings)
    first = assess(snapshot, settings.limits, snapshot.at)
    time.sleep(0.2)
    assert (
        assess(snapshot, settings.limits, snapshot.at) == assess(snapshot, settings.limits, snapshot.at + 1e9) == first
    )


# -- being let in


def test_a_wrong_password_is_unknown_and_never_shown(mongo: MongoCluster, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("wr0ng-S3cret\n")
    result = check(config_of(mongo, password_file=str(secret)))
    assert codes(result) == {("unknown AuthFailed", address) for address in mongo.hosts}
    assert "wr0ng-S3cret" not in str(result)
    passed, refused = run(
        config_of(mongo, password_file=str(secret)), "mongodb_switchover", member="best", force=True, deployment="lab"
    )
    assert not passed and refused["kind"] == "refused" and "does not let us in" in refused["error"]


def test_a_user_without_rights_is_unknown(mongo: MongoCluster) -> None:
    root = mongo.client(login="lab_root").admin
    root.command("createUser", "nobody", pwd="n0body-pw", roles=[])
    try:
        result = check(config_of(mongo, username="nobody", password="n0body-pw", password_file=None))
    finally:
        root.command("dropUser", "nobody")
    assert codes(result) == {("unknown AuthFailed", address) for address in mongo.hosts}
    assert "not authorized" in result["details"][0]["message"] and "n0body-pw" not in str(result)


def test_no_login_at_all_is_unknown(mongo: MongoCluster) -> None:
    assert found(mongo, username=None, password_file=None) == {("unknown AuthFailed", a) for a in mongo.hosts}


def test_a_server_outside_the_set_that_does_not_know_us(mongo: MongoCluster) -> None:
    with Standalone(members=1) as other:
        outside = other.hosts[0]
        assert found(mongo, hosts=[*mongo.hosts, outside]) == {("warning RemovedMember", outside)}


# -- TLS


@contextlib.contextmanager
def tls_server(certificate: Path) -> Iterator[str]:
    """Something that speaks TLS with this certificate, as a mongod would that nobody restarted since it ended (a new
    one refuses to start with it); its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            with contextlib.suppress(OSError), connection, context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_tls_is_verified_and_its_end_is_known(tls_replica_set: MongoCluster) -> None:
    assert found(tls_replica_set) == set()
    assert {code for code, _ in found(tls_replica_set, limits={"tls_days": 60})} == {"warning TlsExpiring"}


def test_another_authority_is_not_trusted(tls_replica_set: MongoCluster, tmp_path: Path) -> None:
    other = Authority(tmp_path / "ca")
    result = check(config_of(tls_replica_set, tls={"enabled": True, "ca_file": str(other.ca_file)}))
    members = {("unknown TlsFailed", address) for address in tls_replica_set.hosts}
    assert codes(result) == {("unknown PrimaryUnknown", "rs0"), *members}
    assert result["severity"] == "unknown"


def test_a_tls_only_server_asked_in_plain(tls_replica_set: MongoCluster) -> None:
    result = check(config_of(tls_replica_set, tls=None))
    assert {code for code, _ in codes(result)} == {"unknown PrimaryUnknown", "unknown MemberUnreadable"}
    assert "mongodb.tls.enabled" in str(result["details"])


def test_a_plain_server_asked_with_tls(mongo: MongoCluster, tls_replica_set: MongoCluster) -> None:
    result = check(config_of(mongo, tls={"enabled": True, "ca_file": str(tls_replica_set.ca_file)}))
    assert {code for code, _ in codes(result)} == {"unknown PrimaryUnknown", "unknown TlsFailed"}


@pytest.mark.parametrize(("kind", "words"), [("expired", "certificate has expired"), ("wrong_name", "not valid for")])
def test_a_bad_certificate_of_one_member(tls_replica_set: MongoCluster, tmp_path: Path, kind: str, words: str) -> None:
    """Signed by an authority that we trust, and bad all the same."""
    rs, authority = tls_replica_set, Authority(tmp_path / "ca")
    bundle = tmp_path / "both.pem"
    assert rs.ca_file is not None
    bundle.write_bytes(rs.ca_file.read_bytes() + authority.ca_file.read_bytes())
    behind = rs.secondaries()[0].address
    with tls_server(getattr(authority, kind)("bad")) as address:
        hosts = [address if host == behind else host for host in rs.hosts]
        result = check(config_of(rs, hosts=hosts, tls={"enabled": True, "ca_file": str(bundle)}))
    assert codes(result) == {("unknown TlsFailed", address), ("warning ConfigDrift", "rs0")}
    assert words in next(each["message"] for each in result["details"] if each["code"] == "TlsFailed")
