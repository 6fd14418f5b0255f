"""Record tests/facts/mongodb anew: each situation is made on real servers, each member's raw replies are kept.

`python -m tests.record [CASE ...]` writes <case>/facts.json; the expect.yaml beside it is written by hand.
Addresses are renamed by role, so that expectations survive a new recording: mongo1 was the primary before the fault,
mongo2 is the one after it (if there is another), then come the others, those that nobody syncs from last.
"""

from __future__ import annotations

from lab import venv  # noqa: F401

# isort: split

import contextlib
import json
import platform
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

from bson import json_util
from pymongo import WriteConcern
from pymongo.errors import PyMongoError

from lab import mongod
from lab.mongodb import MongoCluster
from lab.wait import wait_for
from st2ha.config import Host, Mongodb, parse_hosts, select
from st2ha.mongodb.facts import Denied, Member, Outsider, Snapshot
from st2ha.mongodb.gather import gather

FACTS = Path(__file__).parent / "facts" / "mongodb"
TIMEOUT_S = 0.8
Condition = Callable[[Snapshot], object]


def leaves_last(rs: MongoCluster) -> list[Any]:
    """The secondaries, those that nobody syncs from at the end: without one of these the others lose no source."""
    secondaries = rs.secondaries()
    sources = {rs.command(member.name, "replSetGetStatus").get("syncSourceHost") for member in secondaries}
    return sorted(secondaries, key=lambda member: member.address not in sources)


class Case:
    """One case in the making: the looks taken so far, and who was who."""

    def __init__(self, rs: MongoCluster, **settings: Any) -> None:
        mongodb = select({"deployments": [rs.deployment()]}).require_mongodb()
        self.rs = rs
        self.settings: Mongodb = replace(mongodb, timeout_s=TIMEOUT_S, **settings)
        self.first = rs.primary()
        self.others = leaves_last(rs)
        self.looks: list[dict[str, Any]] = []
        self.primary_name = ""

    def look(self, until: Condition = lambda snapshot: True, deadline_s: float = 30) -> None:
        """Gather until the snapshot shows what the case is about, and keep that one."""
        wait_for(lambda: self._look(until), deadline_s, "the situation", interval_s=0.1)

    def _look(self, until: Condition) -> bool:
        replies: dict[Host, dict[str, Any]] = {}
        snapshot = gather(self.settings, record=replies.__setitem__)
        if not until(snapshot):
            return False
        if snapshot.primary:
            self.primary_name = snapshot.primary.name
        answers = {str(host): self._answer(answer, replies.get(host)) for host, answer in snapshot.answers.items()}
        self.looks.append({"at": snapshot.at, "answers": answers})
        return True

    def _answer(self, answer: Any, replies: Optional[dict[str, Any]]) -> dict[str, Any]:
        if isinstance(answer, Member):
            replies = replies or {"hello": self._hello(answer.host)}  # an arbiter knows no users and says only this
            more = {"clock_offset_s": answer.clock_offset_s, "tls_expires_at": answer.tls_expires_at}
            return {"kind": "member", **more, "replies": replies}
        if isinstance(answer, Outsider):
            return {"kind": "outsider", "set_name": answer.set_name, "reason": answer.reason}
        if isinstance(answer, Denied):
            return {"kind": "denied", "name": answer.name, "writable": answer.writable, "reason": answer.reason}
        return {"kind": "silent", "silence": answer.kind.value, "reason": answer.reason, "after_s": answer.after_s}

    def _hello(self, host: Host) -> dict[str, Any]:
        member = next(member for member in self.rs.members if member.port == host.port)
        return self.rs.command(member.name, "hello")

    def save(self, name: str) -> None:
        """Write facts.json: one line a reply, so that a new recording can be compared with the old one."""
        after = [member.address for member in self.rs.members if member.address == self.primary_name]
        rest = [member.address for member in self.others + self.rs.members] + [
            str(host) for host in self.settings.hosts
        ]
        names = {
            address: f"mongo{number}:27017"
            for number, address in enumerate(dict.fromkeys([self.first.address, *after, *rest]), 1)
        }
        for look in self.looks:  # in the order of their new names
            look["answers"] = {host: look["answers"][host] for host in names if host in look["answers"]}
        text = _lines({"replica_set": self.settings.replica_set, "looks": self.looks})
        for address, new in names.items():
            text = text.replace(address, new).replace(f"{platform.node()}:{address.split(':')[1]}", new)
        folder = FACTS / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "facts.json").write_text(text)
        print(f"{name}: {len(text) // 1024} kB", flush=True)


def _lines(value: Any, depth: int = 0) -> str:
    """JSON, broken into lines down to one reply."""
    if depth == 6 or not isinstance(value, (dict, list)) or not value:
        return json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS)
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {_lines(item, depth + 1)}" for key, item in value.items()]
    else:
        parts = [_lines(item, depth + 1) for item in value]
    pad = " " * depth
    start, end = "{}" if isinstance(value, dict) else "[]"
    return f"{start}\n{pad} " + f",\n{pad} ".join(parts) + f"\n{pad}{end}" + ("" if depth else "\n")


@contextlib.contextmanager
def writing(rs: MongoCluster) -> Iterator[None]:
    """Write all the time, so that there is something to be behind by."""
    client, end = rs.client(), threading.Event()
    collection = client.st2ha_canary.get_collection("load", write_concern=WriteConcern(1))

    def write() -> None:
        while not end.wait(0.1):
            with contextlib.suppress(PyMongoError):
                collection.insert_one({"at": time.time()})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        end.set()
        writer.join()
        client.close()


def reconfigure(rs: MongoCluster, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the set's configuration on the primary; `rs.restore()` puts it back."""
    primary = rs.primary().name
    config = rs.command(primary, "replSetGetConfig")["config"]
    change(config)
    config["version"] += 1
    rs.command(primary, {"replSetReconfig": config})


def sees(state: str, name: str) -> Condition:
    """Every other member that answers believes `name` to be in `state`."""
    return lambda snapshot: {view.state for _, view in snapshot.views_of(name)} == {state}


DOWN = "(not reachable/healthy)"


# -- the situations of three members


def healthy3(case: Case) -> None:
    case.look()


def one_down(case: Case) -> None:
    case.rs.kill(case.others[-1].name)
    case.look(sees(DOWN, case.others[-1].address))


def primary_killed(case: Case) -> None:
    case.rs.kill(case.first.name)
    case.look(lambda snapshot: sees(DOWN, case.first.address)(snapshot) and not snapshot.primaries)


def primary_killed_elected(case: Case) -> None:
    case.rs.kill(case.first.name)
    case.look(_elected_and_followed(case))


def _elected_and_followed(case: Case) -> Condition:
    def settled(snapshot: Snapshot) -> bool:
        secondaries = [member for member in snapshot.members if not member.writable]
        followed = all(member.sync_source not in ("", case.first.address) for member in secondaries)
        return bool(snapshot.primary) and followed and sees("PRIMARY", snapshot.primary.name)(snapshot)

    return settled


def primary_hung(case: Case) -> None:
    case.rs.hang(case.first.name)
    case.look()


def primary_hung_elected(case: Case) -> None:
    case.rs.hang(case.first.name)
    case.look(_elected_and_followed(case))


def secondary_hung(case: Case) -> None:
    case.rs.hang(case.others[-1].name)
    case.look()


def primary_cut_off(case: Case) -> None:
    """From the other members only: we see both sides."""
    case.rs.cut_off(case.first.name, keep_clients=True)
    case.look(
        lambda snapshot: (
            len(snapshot.primaries) == 1
            and snapshot.primaries[0].name != case.first.address
            and sees(DOWN, case.first.address)(snapshot)
        )
    )


def primary_unreachable(case: Case) -> None:
    """The others still see it: so it looks as if it were cut off from here only."""
    case.rs.cut_off(case.first.name)
    case.look()


def quorum_just_lost(case: Case) -> None:
    """The primary does not know yet that it cannot stay."""
    for member in case.others:
        case.rs.kill(member.name)
    case.look(lambda snapshot: snapshot.primary and all(sees(DOWN, m.address)(snapshot) for m in case.others))


def two_down(case: Case) -> None:
    for member in case.others:
        case.rs.kill(member.name)
    case.look(lambda snapshot: not snapshot.primaries)


def secondary_delayed(case: Case) -> None:
    def delay(config: dict[str, Any]) -> None:
        last = next(member for member in config["members"] if member["host"] == case.others[-1].address)
        last.update(priority=0, secondaryDelaySecs=4)

    reconfigure(case.rs, delay)
    with writing(case.rs):
        case.look(_behind(case.others[-1].address, 3))
        time.sleep(1.2)
        case.look()


def secondary_stuck(case: Case) -> None:
    case.rs.fsync_lock(case.others[-1].name)
    with writing(case.rs):
        case.look(_behind(case.others[-1].address, 3))
        time.sleep(1.2)
        case.look()


def _behind(name: str, seconds: float) -> Condition:
    def behind(snapshot: Snapshot) -> bool:
        member = snapshot.member(name)
        return member is not None and (snapshot.lag_s(member) or 0) >= seconds

    return behind


def member_removed(case: Case) -> None:
    gone = case.others[-1].address
    reconfigure(case.rs, lambda config: config.update(members=[m for m in config["members"] if m["host"] != gone]))
    case.look(lambda snapshot: any(snapshot.of(Outsider)))


def member_not_configured(case: Case) -> None:
    hosts = [member.address for member in (case.first, case.others[0])]
    case.settings = replace(case.settings, hosts=parse_hosts(hosts, "hosts"))
    case.look()


def low_priority(case: Case) -> None:
    def lower(config: dict[str, Any]) -> None:
        for member in config["members"]:
            member["priority"] = {case.first.address: 2, case.others[0].address: 1}.get(member["host"], 0)

    reconfigure(case.rs, lower)
    case.look()


def wrong_password(case: Case) -> None:
    case.settings = replace(case.settings, password="not-it")
    case.look()


def standalone(case: Case) -> None:
    with Standalone(members=1) as other:
        user = {"createUser": case.rs.username, "pwd": case.rs.password, "roles": mongod.ROLES["st2ha"]}
        other.client(username=None, password=None).admin.command(user)
        case.settings = replace(case.settings, hosts=(*case.settings.hosts, *parse_hosts(other.hosts, "hosts")))
        case.look()


def secondary_crashed(case: Case) -> None:
    """It is back, and as well as ever."""
    case.rs.kill(case.others[-1].name)
    case.rs.start(case.others[-1].name)
    case.rs.wait_healthy()
    case.look()


def rollback(case: Case) -> None:
    case.rs.make_rollback()
    case.look()


class Standalone(MongoCluster):
    """A mongod that knows nothing of replica sets."""

    def _command(self, member: Any) -> list[str]:
        command = super()._command(member)
        for option in ("--replSet", "--keyFile"):
            at = command.index(option)
            del command[at : at + 2]
        return command

    def _launch(self) -> None:
        for member in self.members:
            super(MongoCluster, self)._await_start(member.name, 30)

    def _connect(self, name: Optional[str], options: dict[str, Any]) -> Any:
        return super()._connect(name or self.members[0].name, options)


# -- other sets


def arbiter(case: Case) -> None:
    case.look()


def arbiter_secondary_down(case: Case) -> None:
    case.rs.kill(case.others[0].name)
    case.look(sees(DOWN, case.others[0].address))


def five(case: Case) -> None:
    case.look()


def five_two_down(case: Case) -> None:
    for member in case.others[-2:]:
        case.rs.kill(member.name)
    case.look(lambda snapshot: all(sees(DOWN, member.address)(snapshot) for member in case.others[-2:]))


def two(case: Case) -> None:
    case.look()


def default_times(case: Case) -> None:
    case.look()


SETS: tuple[tuple[dict[str, int], tuple[Callable[[Case], None], ...]], ...] = (
    (
        {"members": 3},
        (
            healthy3, one_down, primary_killed, primary_killed_elected, primary_hung, primary_hung_elected,
            secondary_hung, primary_cut_off, primary_unreachable, quorum_just_lost, two_down, secondary_delayed,
            secondary_stuck, member_removed, member_not_configured, low_priority, wrong_password, standalone,
        ),
    ),
    ({"members": 3}, (secondary_crashed, rollback)),
    ({"members": 2, "arbiters": 1}, (arbiter, arbiter_secondary_down)),
    ({"members": 5}, (five, five_two_down)),
    ({"members": 2}, (two,)),
    ({"members": 3, "election_timeout_ms": 10_000, "heartbeat_ms": 2000}, (default_times,)),
)  # fmt: skip


def main(wanted: list[str]) -> int:
    known = [record.__name__ for _, records in SETS for record in records]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        print(f"no case {', '.join(unknown)}: there are {', '.join(known)}", file=sys.stderr)
        return 64
    for shape, records in SETS:
        chosen = [record for record in records if not wanted or record.__name__ in wanted]
        if not chosen:
            continue
        with MongoCluster(**shape) as rs:
            for record in chosen:
                case = Case(rs)
                record(case)
                case.save(record.__name__)
                if record is not chosen[-1]:
                    rs.restore()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
