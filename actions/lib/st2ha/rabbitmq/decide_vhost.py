"""From a Snapshot and a goal about vhosts to a Plan or a Refusal, and what becomes of the queues. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from st2ha.errors import BadInput, HaError
from st2ha.naming import count
from st2ha.plan import Decision, Plan, Refused, Step
from st2ha.rabbitmq.content import MIRRORING, Content, Permission
from st2ha.rabbitmq.decide import blind_spots, known_vhost, limitation
from st2ha.rabbitmq.facts import Snapshot
from st2ha.rabbitmq.settings import Rabbitmq

QUEUE_TYPES = ("quorum", "classic")
UNCHANGED = "unchanged"
MOST_NAME = 255


@dataclass(frozen=True)
class Wanted:
    """A vhost as it is to be. `copy_from` None: no policies."""

    vhost: str
    user: str
    configure: str = ".*"
    write: str = ".*"
    read: str = ".*"
    queue_type: Optional[str] = None
    copy_from: Optional[str] = None


def checked_vhost(value: Any, parameter: str = "vhost") -> str:
    """The name, or BadInput. A slash or a percent sign belongs to the name: `/st2` is another vhost than `st2`."""
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"parameter `{parameter}` is {value!r}: name the vhost, for example st2_v2_5")
    name = value.strip()
    if len(name.encode()) > MOST_NAME or not name.isprintable():
        raise BadInput(f"parameter `{parameter}` is no name of a vhost: at most {MOST_NAME} printable characters")
    if "%2f" in name.lower():
        raise BadInput(f"parameter `{parameter}` is {name!r}: write the name itself, not as in a URL: / and not %2F")
    return name


def wanted_from(vhost: Any, user: str, more: Mapping[str, Any]) -> Wanted:
    """From the action's parameters: configure, write, read, default_queue_type, copy_policies_from."""
    rights = {}
    for name in ("configure", "write", "read"):
        rights[name] = ".*" if more.get(name) is None else more[name]
        try:
            re.compile(rights[name])
        except (re.error, TypeError) as error:
            raise BadInput(f"parameter `{name}` is {rights[name]!r}: no regular expression ({error})") from None
    kind, source = more.get("default_queue_type") or UNCHANGED, more.get("copy_policies_from")
    if kind not in (UNCHANGED, *QUEUE_TYPES):
        raise BadInput(f"parameter `default_queue_type` is {kind!r}: use one of {UNCHANGED}, {', '.join(QUEUE_TYPES)}")
    copy_from = checked_vhost(source, "copy_policies_from") if source else None
    return Wanted(
        checked_vhost(vhost), user, **rights, queue_type=None if kind == UNCHANGED else kind, copy_from=copy_from
    )


def create(snapshot: Snapshot, wanted: Wanted) -> Decision:
    """Make the vhost, the user's permissions and copies of another vhost's policies what they are to be."""
    goal = f"vhost {wanted.vhost} for {wanted.user}"
    hard, content = blind_spots(snapshot), snapshot.content
    if hard or content is None:
        return Refused(goal, tuple(hard))
    _check_names(content, wanted)
    if content.permissions is None:
        return Refused(goal, ("the user of rabbitmq.username has no tag administrator: permissions are unknown",))
    absent = [name for name in snapshot.members if name not in snapshot.sides[0]]
    if absent:
        return Refused(goal, (f"{', '.join(absent)} is not running: a vhost made now would be missing there",))
    steps = [
        *_vhost_steps(content, wanted),
        *_permission_steps(content, wanted),
        *_policy_steps(snapshot, content, wanted),
    ]
    if not steps:
        return Plan(f"{goal}: all is as wanted", ())
    return Plan(goal, (*steps, Step("vhost_works", wanted.vhost, "it must run on every node", {})))


def _check_names(content: Content, wanted: Wanted) -> None:
    if content.users is not None and wanted.user not in content.users:
        raise BadInput(
            f"parameter `user` is {wanted.user!r}: there is no such user, use one of {', '.join(content.users)}"
        )
    if wanted.copy_from is not None:
        known_vhost(content, wanted.copy_from, "copy_policies_from")


def _vhost_steps(content: Content, wanted: Wanted) -> list[Step]:
    existing = content.vhost(wanted.vhost)
    if existing is None:
        kind = f", new queues are {wanted.queue_type}" if wanted.queue_type else ""
        return [Step("put_vhost", wanted.vhost, f"it does not exist{kind}", {"queue_type": wanted.queue_type})]
    if wanted.queue_type and existing.default_queue_type != wanted.queue_type:
        because = f"new queues are {existing.default_queue_type or 'classic'}, wanted {wanted.queue_type}"
        return [Step("put_vhost", wanted.vhost, because, {"queue_type": wanted.queue_type})]
    return []


def _permission_steps(content: Content, wanted: Wanted) -> list[Step]:
    now = next((p for p in content.permissions or () if (p.vhost, p.user) == (wanted.vhost, wanted.user)), None)
    goal = Permission(wanted.vhost, wanted.user, wanted.configure, wanted.write, wanted.read)
    if now == goal:
        return []
    words = f'configure "{goal.configure}" write "{goal.write}" read "{goal.read}"'
    because = f"{words}; before: " + (f'"{now.configure}" "{now.write}" "{now.read}"' if now else "none")
    return [Step("put_permission", f"{wanted.vhost} {wanted.user}", because, {"permission": goal})]


def _policy_steps(snapshot: Snapshot, content: Content, wanted: Wanted) -> list[Step]:
    if wanted.copy_from is None:
        return []
    # RabbitMQ 4 answers a policy with a mirroring key with HTTP 400.
    without = MIRRORING if any((node.version or "0").split(".")[0] >= "4" for node in snapshot.nodes) else ()
    existing = {p.name: p.body() for p in content.policies if p.vhost == wanted.vhost}
    steps = []
    for policy in content.policies:
        body = policy.body(without)
        if policy.vhost == wanted.copy_from and body["definition"] and existing.get(policy.name) != body:
            because = f"as in {wanted.copy_from}; before: " + ("another one" if policy.name in existing else "none")
            expect = {"vhost": wanted.vhost, "policy": policy.name, "body": body}
            steps.append(Step("put_policy", f"{wanted.vhost} {policy.name}", because, expect))
    return steps


def delete(snapshot: Snapshot, settings: Rabbitmq, vhost: str, force: bool = False) -> Decision:
    """Remove a vhost with all that is in it; it cannot be brought back."""
    goal = f"deletion of vhost {vhost}"
    hard, content = blind_spots(snapshot), snapshot.content
    if vhost == settings.vhost:
        hard.append("this deployment's StackStorm uses it: set rabbitmq.vhost to the new one first")
    if hard or content is None:
        return Refused(goal, tuple(hard))
    if content.vhost(vhost) is None:
        return Plan(f"{goal}: there is none", ())
    if content.connections is None:
        return Refused(goal, ("its connections could not be read",))
    queues = content.in_vhost(vhost)
    messages, connections = sum(queue.messages for queue in queues), content.connections.get(vhost, 0)
    soft = [f"it has {count(connections, 'connection')}"] if connections else []
    soft += [f"it holds {count(messages, 'message')} in {count(len(queues), 'queue')}"] if messages else []
    if soft and not force:
        return Refused(goal, (), tuple(soft))
    inside = f"{count(len(queues), 'queue')}, {count(messages, 'message')} and {count(connections, 'connection')}"
    because = f"{inside} end with it"
    expect = {"messages": messages, "connections": connections, "force": force}
    return Plan(goal, (Step("delete_vhost", vhost, because, expect),))


def quorum_rows(snapshot: Snapshot, vhost: str) -> list[dict[str, Any]]:
    """What becomes of each queue of a vhost: one flat row a queue."""
    content = snapshot.content
    if content is None:
        raise HaError("; ".join(blind_spots(snapshot)))
    known_vhost(content, vhost)
    rows = []
    for queue in sorted(content.in_vhost(vhost), key=lambda each: each.name):
        why = limitation(queue)
        verdict = "is" if queue.kind == "quorum" else "cannot" if why else "becomes"
        row = {"queue": queue.name, "verdict": verdict, "why": why or "", "messages": queue.messages}
        rows.append({**row, "copies": len(queue.members)})
    return rows
