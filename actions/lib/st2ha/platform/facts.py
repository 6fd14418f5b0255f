"""What is known of StackStorm's own services at one moment: frozen facts, parsed once. Silence is a fact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Optional, Union

from st2ha.probe import Silent


@dataclass(frozen=True)
class Unread:
    """What should have been read and was not; `status` is the API's HTTP code, 0 if there was no answer."""

    reason: str
    status: int = 0


@dataclass(frozen=True, order=True)
class Member:
    """A live process in a group of the service registry."""

    host: str
    pid: int

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


@dataclass(frozen=True)
class Group:
    """One service in the registry. `known` is False if it has never joined it."""

    members: tuple[Member, ...] = ()
    known: bool = True


@dataclass(frozen=True)
class Execution:
    """An execution that is not over. `since`: when it came into its status, epoch seconds.

    `runner` took it; a workflow's runner has nothing more to do with it, the workflow engine has.
    """

    id: str
    action: str
    status: str
    since: float
    workflow: bool = False
    runner: Optional[Member] = None


@dataclass(frozen=True)
class Backlog:
    """The executions in one status: how many there are, and the oldest of them."""

    total: int
    oldest: tuple[Execution, ...] = ()


@dataclass(frozen=True)
class TriggerInstance:
    """An event, and how far the rules engine has come with it."""

    id: str
    trigger: str
    status: str
    at: float


@dataclass(frozen=True)
class Rule:
    """An enabled rule. `trigger_type` is None if its trigger is gone from the database."""

    ref: str
    action: str
    trigger: str
    trigger_type: Optional[str]


@dataclass(frozen=True)
class Answer:
    """An endpoint that answered as its service does. Its clock less ours is from `earliest_s` to `latest_s`."""

    latency_s: float
    version: Optional[str] = None
    earliest_s: Optional[float] = None
    latest_s: Optional[float] = None


@dataclass(frozen=True)
class Sick:
    """An endpoint that answered, but not as its service does: nginx without it, an error, something else."""

    reason: str


@dataclass(frozen=True)
class Inside:
    """What a node told from inside. None: could not be told.

    `key_digest` is of the datastore key's content, "" if there is no key, and is never shown. `packs`: pack ->
    (version, digest of its files); `running`: references of its sensor processes.
    """

    version: Optional[str] = None
    clock_offset_s: Optional[float] = None
    clock_error_s: float = 0.0
    key_digest: Optional[str] = field(default=None, repr=False)
    packs: Optional[Mapping[str, tuple[str, str]]] = None
    running: Optional[frozenset[str]] = None
    database: Optional[Database] = None
    broker: Optional[Broker] = None
    coordination: Optional[str] = None  # the driver's name; "": none is configured


@dataclass(frozen=True)
class Database:
    """[database]: the servers it names (`host:port`, none if a name is to be resolved by SRV), and the patience."""

    hosts: tuple[str, ...]
    timeout_s: float


@dataclass(frozen=True)
class Broker:
    """[messaging]: the brokers it names, as `host:port`."""

    hosts: tuple[str, ...]


Asked = Union[Answer, Sick, Silent]


@dataclass(frozen=True)
class Snapshot:
    """All that was read at `at` (epoch seconds). `endpoints`: (node or `vip`, service) -> how it answered."""

    at: float
    groups: Mapping[str, Union[Group, Unread]]
    backlogs: Mapping[str, Union[Backlog, Unread]]
    triggers: Union[tuple[TriggerInstance, ...], Unread]
    rules: Union[tuple[Rule, ...], Unread]
    actions: Union[frozenset[str], Unread]
    trigger_types: Union[frozenset[str], Unread]
    sensors: Union[tuple[str, ...], Unread]  # the enabled ones
    endpoints: Mapping[tuple[str, str], Asked] = field(default_factory=dict)
    insides: Mapping[str, Union[Inside, Unread]] = field(default_factory=dict)

    def members(self, service: str) -> Optional[tuple[Member, ...]]:
        """The live processes of a service; None if they could not be read."""
        group = self.groups.get(service)
        return group.members if isinstance(group, Group) else None

    @property
    def registry(self) -> Optional[bool]:
        """Whether StackStorm registers its services; None if that could not be read.

        Without a coordination service st2api knows of nothing but itself.
        """
        if any(_known(group) for service, group in self.groups.items() if service != "api"):
            return True
        return None if any(isinstance(group, Unread) for group in self.groups.values()) else False

    def unread(self) -> dict[str, Unread]:
        """What the API did not tell, by a word for it."""
        parts: dict[str, Any] = {f"the registry's {name}": group for name, group in self.groups.items()}
        parts.update({f"executions in {status}": backlog for status, backlog in self.backlogs.items()})
        parts.update({"trigger instances": self.triggers, "rules": self.rules, "actions": self.actions})
        parts.update({"trigger types": self.trigger_types, "sensors": self.sensors})
        return {name: part for name, part in parts.items() if isinstance(part, Unread)}

    @property
    def silent(self) -> Optional[Unread]:
        """The reason if the API told nothing at all."""
        unread = self.unread()
        parts = len(self.groups) + len(self.backlogs) + 5
        return next(iter(unread.values())) if len(unread) == parts else None

    def rows(self) -> dict[str, Any]:
        """As facts of a result."""
        return {
            "services": {
                name: [str(m) for m in self.members(name) or ()] for name in self.groups if self.members(name)
            },
            "executions": {s: b.total for s, b in self.backlogs.items() if isinstance(b, Backlog)},
            "endpoints": [
                {"at": place, "service": service, **_endpoint_row(asked)}
                for (place, service), asked in self.endpoints.items()
            ],
            "inside": [
                {
                    "node": name,
                    "version": inside.version,
                    "packs": len(inside.packs) if inside.packs is not None else None,
                }
                for name, inside in self.insides.items()
                if isinstance(inside, Inside)
            ],
        }


def _known(group: Union[Group, Unread]) -> bool:
    return isinstance(group, Group) and group.known


def _endpoint_row(asked: Asked) -> dict[str, Any]:
    if isinstance(asked, Answer):
        return {"answers": True, "version": asked.version, "latency_s": round(asked.latency_s, 4)}
    return {"answers": False, "reason": asked.reason}


def group_from(body: Any) -> Group:
    """The reply to /v1/service_registry/groups/<group>/members."""
    rows = body.get("members") if isinstance(body, Mapping) else None
    found = [row.get("capabilities") for row in rows or () if isinstance(row, Mapping)]
    return Group(tuple(sorted(member for row in found if (member := _member(row)) is not None)))


def _member(row: Any) -> Optional[Member]:
    if not isinstance(row, Mapping) or not row.get("hostname"):
        return None
    return Member(str(row["hostname"]), int(row.get("pid") or 0))


def execution_from(row: Mapping[str, Any]) -> Execution:
    """A row of /v1/executions."""
    action, live = (row[name] if isinstance(row.get(name), Mapping) else {} for name in ("action", "liveaction"))
    status = str(row.get("status"))
    turns = [each for each in row.get("log") or () if isinstance(each, Mapping) and each.get("status") == status]
    workflow = bool(live.get("action_is_workflow")) or action.get("runner_type") in ("orquesta", "mistral-v2")
    return Execution(
        id=str(row.get("id")),
        action=str(action.get("ref") or live.get("action") or "?"),
        status=status,
        since=seconds(str(turns[-1].get("timestamp") if turns else row.get("start_timestamp"))),
        workflow=workflow or action.get("runner_type") == "action-chain",
        runner=_member(live.get("runner_info")),
    )


def trigger_instances_from(rows: Iterable[Mapping[str, Any]]) -> tuple[TriggerInstance, ...]:
    """Rows of /v1/triggerinstances."""
    return tuple(
        TriggerInstance(
            str(r.get("id")), str(r.get("trigger")), str(r.get("status")), seconds(str(r["occurrence_time"]))
        )
        for r in rows
        if r.get("occurrence_time")
    )


def rules_from(rows: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """The enabled ones of the rows of /v1/rules. A rule whose trigger is gone has a text in its place."""
    found = []
    for row in rows:
        action, trigger = row.get("action"), row.get("trigger")
        if row.get("enabled") is not True:
            continue
        whole = trigger if isinstance(trigger, Mapping) else {}
        found.append(
            Rule(
                ref=str(row.get("ref")),
                action=str(action.get("ref")) if isinstance(action, Mapping) else "",
                trigger=str(whole.get("ref") or trigger),
                trigger_type=str(whole["type"]) if whole.get("type") else None,
            )
        )
    return tuple(found)


def seconds(text: str) -> float:
    """`2026-11-22T21:08:14.774000Z` as epoch seconds; 0 for what is no time."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
