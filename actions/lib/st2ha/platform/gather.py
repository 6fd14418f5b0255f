"""Read all of StackStorm at once: its API's lists, each node's endpoints and the VIP's, each node's inside."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Callable, NamedTuple, Optional

from st2ha.errors import HaError
from st2ha.platform import endpoints, facts
from st2ha.platform.api import PAGE, Api, ApiError
from st2ha.platform.facts import Group, Snapshot, Unread
from st2ha.platform.inside import read_inside
from st2ha.platform.settings import SERVICES, Stackstorm, Url
from st2ha.probe import Attempt, Silent, ask_all

VIP = "vip"
STATUSES = ("requested", "scheduled", "delayed", "running", "pausing", "paused", "resuming", "canceling")
"""Statuses that an execution leaves by itself, or that somebody must end. `pending` waits for a person's answer."""
EXECUTION = (
    "status,start_timestamp,log,action.ref,action.runner_type,liveaction.runner_info,liveaction.action_is_workflow"
)
LEAST_S = 0.05
SELDOM = {"rules": "rules", "actions": "actions", "types": "trigger_types"}
"""Kinds of questions whose answers may be an earlier look's, and where a Snapshot has them."""


class Question(NamedTuple):
    """One thing that is asked: `kind` is one of READERS, `endpoint` or `inside`."""

    kind: str
    name: str = ""
    service: str = ""


def gather(
    settings: Stackstorm, elsewhere: frozenset[str] = frozenset(), earlier: Optional[Snapshot] = None
) -> Snapshot:
    """All questions in parallel. `elsewhere`: other layers of the deployment, which ask some things themselves.

    What seldom changes and costs most (rules, actions, trigger types, the insides of nodes) is taken from `earlier`.
    """
    at = time.time()
    urls = _urls(settings, "auth" in elsewhere)
    doors = {node.name: node for node in settings.nodes if node.prefix is not None and earlier is None}
    with_packs = "content" not in elsewhere and len(doors) > 1
    questions = [Question("group", service) for service in SERVICES] + [Question("status", each) for each in STATUSES]
    questions += [Question(kind) for kind in READERS if kind not in ("group", "status", *(SELDOM if earlier else ()))]
    questions += [Question("endpoint", place, service) for place, service in urls]
    questions += [Question("inside", name) for name in doors]

    def ask(question: Question, attempt: Attempt) -> Any:
        if question.kind == "endpoint":
            where = urls[question.name, question.service]
            return endpoints.ask(question.service, where, settings, attempt)
        if question.kind == "inside":
            return read_inside(doors[question.name], attempt, with_packs)
        return _read(settings, question, at - settings.limits.trigger_s, attempt)

    found: dict[Question, Any] = ask_all(questions, ask, settings.timeout_s)

    if earlier is not None:
        found.update({Question(kind): getattr(earlier, name) for kind, name in SELDOM.items()})

    def part(kind: str, name: str = "") -> Any:
        answer = found[Question(kind, name)]
        return Unread(answer.reason) if isinstance(answer, Silent) else answer

    return Snapshot(
        at=at,
        groups={service: part("group", service) for service in SERVICES},
        backlogs={status: part("status", status) for status in STATUSES},
        triggers=part("triggers"),
        rules=part("rules"),
        actions=part("actions"),
        trigger_types=part("types"),
        sensors=part("sensors"),
        endpoints={(q.name, q.service): found[q] for q in questions if q.kind == "endpoint"},
        insides={name: part("inside", name) for name in doors} if earlier is None else earlier.insides,
    )


def _urls(settings: Stackstorm, without_auth: bool) -> dict[tuple[str, str], Url]:
    """Where to ask. Sign-in is left to the layer `auth` if there is one: it really signs in."""
    places = [(VIP, settings.vip), *((node.name, node.endpoints) for node in settings.nodes)]
    return {
        (place, service): url
        for place, urls in places
        for service, url in urls
        if not (without_auth and service == "auth")
    }


def _read(settings: Stackstorm, question: Question, before: float, attempt: Attempt) -> Any:
    """One list of the API; what is in the way is a fact. A little less time than there is, so that it tells why."""
    timely = dataclasses.replace(settings, timeout_s=max(LEAST_S, attempt.left_s() * 0.95))
    try:
        with Api(timely) as api:
            return READERS[question.kind](api, question.name, before)
    except ApiError as error:
        return Unread(str(error), error.status)
    except HaError as error:
        return Unread(str(error))


def _group(api: Api, service: str, before: float) -> Group:
    try:
        body, _ = api.get(f"/v1/service_registry/groups/{service}/members")
    except ApiError as error:
        if error.status == 404:
            return Group(known=False)
        raise
    return facts.group_from(body)


def _status(api: Api, status: str, before: float) -> facts.Backlog:
    """The oldest ones: who is stuck is among them."""
    body, headers = api.get("/v1/executions", status=status, limit=PAGE, sort_asc="true", include_attributes=EXECUTION)
    rows = _rows(body, "/v1/executions")
    found = tuple(facts.execution_from(row) for row in rows if row.get("status") == status)
    return facts.Backlog(int(headers.get("X-Total-Count", len(found))), found)


def _triggers(api: Api, _: str, before: float) -> tuple[facts.TriggerInstance, ...]:
    """The latest of those from before `before`. The API has no filter for their status: it would silently give all."""
    wanted = "id,status,occurrence_time,trigger"
    body, _headers = api.get("/v1/triggerinstances", limit=PAGE, include_attributes=wanted, timestamp_lt=_time(before))
    return facts.trigger_instances_from(_rows(body, "/v1/triggerinstances"))


def _rules(api: Api, _: str, before: float) -> tuple[facts.Rule, ...]:
    return facts.rules_from(api.rows("/v1/rules", enabled="true", include_attributes="ref,enabled,action,trigger"))


def _refs(path: str) -> Callable[[Api, str, float], frozenset[str]]:
    def read(api: Api, _: str, before: float) -> frozenset[str]:
        return frozenset(str(row.get("ref")) for row in api.rows(path, include_attributes="ref"))

    return read


def _sensors(api: Api, _: str, before: float) -> tuple[str, ...]:
    return tuple(sorted(str(row.get("ref")) for row in api.sensors() if row.get("enabled") is True))


READERS: Mapping[str, Callable[[Api, str, float], Any]] = {
    "group": _group,
    "status": _status,
    "triggers": _triggers,
    "rules": _rules,
    "actions": _refs("/v1/actions"),
    "types": _refs("/v1/triggertypes"),
    "sensors": _sensors,
}
"""Kind of question -> how the API answers it."""


def _rows(body: Any, path: str) -> list[Mapping[str, Any]]:
    if not isinstance(body, list) or not all(isinstance(row, dict) for row in body):
        raise HaError(f"StackStorm's API gave no list for {path}: check api_url")
    return body


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
