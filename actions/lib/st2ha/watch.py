"""From what a watcher sees to what it tells: each change once, no flapping, nothing repeated after a restart.

Pure: `update` and `update_role` take a State and a look at the world and return the next State and the changes to
tell. Invariants, for each finding (a `Finding.key`) and whatever is seen:

- `appeared` and `cleared` are told in turns, beginning with `appeared`; `changed` is told only in between;
- a State that went through `dump` and `load` goes on exactly as it would have without;
- a change that is derived again, because the State after it was never saved, has the same id.

Times are epoch seconds: they must outlive the process. A clock that is set back starts the waits anew.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from st2ha.report import Finding, Severity, clip

REMEMBERED = 50
"""Findings that are over, of which the State keeps the count (for ids) and the times (for flapping)."""
TEXT = 500


@dataclass(frozen=True)
class Patience:
    """How long to wait before a change is believed. A serious finding must not wait: `confirm_s` is one more look."""

    confirm_s: float = 0.25
    settle_s: float = 10.0
    flaps: int = 3
    flap_window_s: float = 600.0
    calm_s: float = 120.0


@dataclass(frozen=True)
class Known:
    """What is known of one finding. `told`: an `appeared` was told and no `cleared` yet.

    `since`: while it is not told, when it was first seen; while it is told, since when it looks otherwise than told
    (away, or of another severity). `starts`: when it appeared, came back or got worse, within the flap window.
    `number`: of its next change; never used twice.
    """

    finding: Finding
    number: int
    told: bool = False
    away: bool = False
    since: Optional[float] = None
    starts: tuple[float, ...] = ()
    flapping: bool = False


@dataclass(frozen=True)
class Role:
    """Who was told to have a role. `since`: from when on another one claims it with an older term."""

    name: Optional[str]
    term: Optional[int]
    number: int = 0
    since: Optional[float] = None


@dataclass(frozen=True)
class State:
    """All that is told of one deployment's service. `born` and `floor` keep ids unique when records are dropped."""

    born: float
    floor: int = 0
    known: Mapping[str, Known] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)

    @property
    def standing(self) -> list[Finding]:
        """The findings that were told and are not over."""
        return [known.finding for known in self.known.values() if known.told]


@dataclass(frozen=True)
class Change:
    """One thing to tell: of a finding (appeared, cleared, changed) or of a role (moved)."""

    change: str
    key: str
    number: int
    at: float
    content: Mapping[str, Any]

    def payload(self, state: State, deployment: str, service: str) -> dict[str, Any]:
        """As a trigger's payload; `id` is the same however often this change is derived from the same history."""
        text = json.dumps([state.born, deployment, service, self.key, self.change, self.number])
        at = datetime.datetime.fromtimestamp(self.at, datetime.timezone.utc).isoformat(timespec="milliseconds")
        more = {
            "deployment": deployment,
            "service": service,
            "at": at,
            "id": hashlib.sha256(text.encode()).hexdigest()[:20],
        }
        return {**self.content, **more}


def update(
    state: State,
    findings: Iterable[Finding],
    now: float,
    patience: Patience = Patience(),
    confirm_s: Optional[Mapping[str, float]] = None,
) -> tuple[State, tuple[Change, ...]]:
    """Take a look that found `findings`. `confirm_s`: seconds for codes that need longer than the patience says."""
    seen = {finding.key: finding for finding in findings}
    known, changes = dict(state.known), []
    for key in [*known, *(key for key in seen if key not in known)]:
        finding = seen.get(key)
        before = known.get(key) or Known(seen[key], state.floor)
        wait_s = max(patience.confirm_s, (confirm_s or {}).get(before.finding.code, 0.0))
        if before.told:
            after, change = _told(before, finding, now, patience)
        else:
            after, change = _untold(before, finding, now, replace(patience, confirm_s=wait_s))
        if change:
            changes.append(Change(change, key, after.number, now, _finding_content(change, after)))
            after = replace(after, number=after.number + 1, flapping=after.flapping and change != "cleared")
        known[key] = after
    return _bounded(replace(state, known=known)), tuple(changes)


def _untold(known: Known, finding: Optional[Finding], now: float, patience: Patience) -> tuple[Known, str]:
    """It appears when it has been there for `confirm_s`, in looks without a gap."""
    if finding is None:
        return replace(known, since=None), ""
    since = _since(known.since, now)
    known = replace(known, finding=_short(finding), since=since)
    if now - since < patience.confirm_s:
        return known, ""
    known = _started(replace(known, told=True, away=False, since=None), now, patience)
    return known, "appeared"


def _told(known: Known, finding: Optional[Finding], now: float, patience: Patience) -> tuple[Known, str]:
    """It clears when it was away for `settle_s`, or for `calm_s` if it flaps; worse is told at once, better late."""
    patient_s = patience.calm_s if known.flapping else patience.settle_s
    if finding is None:
        since = _since(known.since if known.away else None, now)
        known = replace(known, away=True, since=since)
        return (replace(known, told=False, since=None), "cleared") if now - since >= patient_s else (known, "")
    if known.away:
        return _again(known, finding, now, patience)
    if known.flapping and now - known.starts[-1] >= patience.calm_s:
        known = replace(known, flapping=False)
    severity = known.finding.severity
    if finding.severity == severity:
        return replace(known, finding=_short(finding), since=None), ""
    since = _since(known.since, now)
    if now - since < (patience.confirm_s if finding.severity > severity else patient_s):
        return replace(known, since=since), ""
    worse = finding.severity > severity
    known = replace(known, finding=_short(finding), since=None)
    return _started(known, now, patience) if worse else known, "changed"


def _again(known: Known, finding: Finding, now: float, patience: Patience) -> tuple[Known, str]:
    """It is back before it was told to be over: that is told only when it begins to flap."""
    after = _started(replace(known, away=False, since=None), now, patience)
    if after.flapping and not known.flapping:
        return replace(after, finding=_short(finding)), "changed"
    return after, ""


def _started(known: Known, now: float, patience: Patience) -> Known:
    recent = [at for at in known.starts if now - patience.flap_window_s < at <= now]
    starts = (*recent[-patience.flaps :], now)
    return replace(known, starts=starts, flapping=known.flapping or len(starts) > patience.flaps)


def _since(since: Optional[float], now: float) -> float:
    return now if since is None or since > now else since


def _short(finding: Finding) -> Finding:
    return replace(finding, message=clip(finding.message, TEXT), remedy=clip(finding.remedy, TEXT))


def _finding_content(change: str, known: Known) -> dict[str, Any]:
    return {"change": change, **known.finding.as_dict(), "flapping": known.flapping}


def update_role(
    state: State, subject: str, role: str, name: str, term: Optional[int], now: float, patience: Patience = Patience()
) -> tuple[State, tuple[Change, ...]]:
    """Take a look that found `name` in the role of `subject`. The first one is learned and not told.

    An older term is a member that has not heard of its successor: no news, unless it stays so for long (`calm_s`),
    as after a set was built anew.
    """
    before = state.roles.get(subject)
    if before is None:
        return _with_role(state, subject, Role(name, term, state.floor)), ()
    stale = term is not None and before.term is not None and term < before.term
    if stale:
        since = _since(before.since, now)
        if now - since < patience.calm_s:
            return _with_role(state, subject, replace(before, since=since)), ()
    if name == before.name:
        return _with_role(state, subject, replace(before, term=term, since=None)), ()
    message = f"{name} is the {role} now" + (f" (term {term})" if term is not None else "") + f"; it was {before.name}"
    content = {
        "subject": subject,
        "role": role,
        "former": before.name,
        "current": name,
        "term": term,
        "message": message,
    }
    change = Change("moved", subject, before.number, now, content)
    return _with_role(state, subject, Role(name, term, before.number + 1)), (change,)


def _with_role(state: State, subject: str, role: Role) -> State:
    return replace(state, roles={**state.roles, subject: role})


def _bounded(state: State) -> State:
    """Drop what was neither told nor is seen: at once if it never was told, else the oldest beyond REMEMBERED."""
    known = {key: each for key, each in state.known.items() if each.told or each.since is not None or each.starts}
    over = sorted((each.starts[-1], key) for key, each in known.items() if not each.told and each.since is None)
    dropped = {key for _, key in over[: max(0, len(over) - REMEMBERED)]}
    floor = max([state.floor, *(known[key].number for key in dropped)])
    return replace(state, floor=floor, known={key: each for key, each in known.items() if key not in dropped})


def dump(state: State) -> str:
    """The State as JSON text, for the datastore."""
    return json.dumps({"version": 1, **dataclasses.asdict(state)}, separators=(",", ":"))


def load(text: str) -> State:
    """The State that `dump` wrote. ValueError if it is none."""
    try:
        data = json.loads(text)
        if data["version"] != 1:
            raise ValueError(f"it has version {data['version']}")
        known = {key: _load_known(each) for key, each in data["known"].items()}
        roles = {subject: Role(**each) for subject, each in data["roles"].items()}
        return State(float(data["born"]), int(data["floor"]), known, roles)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no saved state: {type(error).__name__} {error}") from None


def _load_known(data: dict[str, Any]) -> Known:
    return Known(**{**data, "finding": load_finding(data["finding"]), "starts": tuple(data["starts"])})


def load_finding(row: Mapping[str, Any]) -> Finding:
    """A Finding from a row: `severity` is its number, or its word as in `Finding.as_dict`."""
    given = row["severity"]
    severity = Severity[given.upper()] if isinstance(given, str) else Severity(given)
    return Finding(row["code"], severity, row["subject"], row["message"], row["remedy"])
