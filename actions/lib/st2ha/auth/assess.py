"""From facts to findings: nodes and VIP (the rest: assess_setup, assess_directory). No clock, no network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Union

from st2ha.auth import assess_directory, assess_setup
from st2ha.auth.facts import CREATED, UNAUTHORIZED, Answer, Snapshot
from st2ha.auth.scene import Scene
from st2ha.auth.settings import Auth
from st2ha.naming import count
from st2ha.probe import Silence, Silent
from st2ha.report import Finding, Severity

VIP = "vip"
SECONDS_A_DAY = 86_400


def assess(snapshot: Snapshot, settings: Auth, now: float) -> tuple[Finding, ...]:
    """All findings of a snapshot; `now` in epoch seconds."""
    scene = Scene(snapshot, settings, now)
    rules = (*RULES, *assess_setup.RULES, *assess_directory.RULES)
    return tuple(finding for rule in rules for finding in rule(scene))


def healthy_words(snapshot: Snapshot) -> str:
    """What was proved when nothing was found."""
    what = "sign a test user in" if snapshot.with_user else "answer (no test user is configured)"
    words = [f"{count(len(snapshot.nodes), 'node')} {what}"]
    working = sum(len(each.working) for each in snapshot.directories)
    if working:
        words.append(f"{count(working, 'directory server')} work")
    return ", ".join(words)


def nodes_down(scene: Scene) -> Iterator[Finding]:
    """A node that does not answer as st2auth does; where none does, nobody signs in."""
    nodes = scene.snapshot.nodes
    working = [node.name for node in nodes if node.works]
    if not working:
        yield scene.finding(
            "NoSignIn", Severity.CRITICAL, f"st2auth works on none of {count(len(nodes), 'node')}: nobody signs in",
            f"on {nodes[0].name}: systemctl status st2auth nginx",
        )  # fmt: skip
    for node in nodes:
        if not node.works:
            others = f"; {', '.join(working)} {'works' if len(working) == 1 else 'work'}" if working else ""
            yield scene.finding(
                "AuthDown", Severity.WARNING, f"st2auth does not work here: {_words(node.answer)}{others}",
                _remedy(node.answer, node.name), node.name,
            )  # fmt: skip


def vip_down(scene: Scene) -> Iterator[Finding]:
    answer = scene.snapshot.vip
    if answer is None or (isinstance(answer, Answer) and answer.status in (CREATED, UNAUTHORIZED)):
        return
    working = [node.name for node in scene.snapshot.nodes if node.works]
    others = f"although it works on {', '.join(working)}" if working else "and on no node"
    where = scene.settings.vip.text if scene.settings.vip else VIP
    yield scene.finding(
        "VipAuthDown", Severity.CRITICAL,
        f"no sign-in where users go ({where}): {_words(answer)}, {others}",
        "look at who holds the VIP (ip addr) and at nginx there", VIP,
    )  # fmt: skip


def token_refused(scene: Scene) -> Iterator[Finding]:
    """The test user with the right password: one node that refuses it refuses others, too."""
    if not scene.snapshot.with_user:
        return
    places = _places(scene.snapshot)
    accepted = [name for name, answer in places if isinstance(answer, Answer) and answer.status == CREATED]
    for name, answer in places:
        if isinstance(answer, Answer) and answer.status == UNAUTHORIZED:
            elsewhere = f", accepted by {', '.join(accepted)}" if accepted else " everywhere"
            yield scene.finding(
                "TokenRefused", Severity.CRITICAL,
                f"the test user {scene.settings.test_username!r} is refused (401){elsewhere}",
                f"auth_explain user={scene.settings.test_username}; st2auth's audit log tells why", name,
            )  # fmt: skip


def another_user(scene: Scene) -> Iterator[Finding]:
    """Who signs in as one and becomes another has two people's roles, or none."""
    for name, answer in _places(scene.snapshot):
        if isinstance(answer, Answer) and answer.user not in (None, scene.settings.test_username):
            yield scene.finding(
                "TokenOfAnother", Severity.CRITICAL,
                f"{scene.settings.test_username!r} signed in, the token is for {str(answer.user)[:60]!r}",
                "look for a proxy before st2auth that sets X-Forwarded-User", name,
            )  # fmt: skip


def slow(scene: Scene) -> Iterator[Finding]:
    for name, answer in _places(scene.snapshot):
        if isinstance(answer, Answer) and answer.latency_s > scene.limits.latency_s:
            yield scene.finding(
                "AuthSlow", Severity.WARNING,
                f"a request for a token takes {answer.latency_s:.1f} s, more than {scene.limits.latency_s:g} s",
                "see which directory server is slow or down: a login waits for it", name,
            )  # fmt: skip


def certificates(scene: Scene) -> Iterator[Finding]:
    """Those of the nodes and of the VIP; assess_directory has the servers'."""
    for name, answer in _places(scene.snapshot):
        if isinstance(answer, Answer) and answer.tls_expires_at is not None:
            days = (answer.tls_expires_at - scene.now) / SECONDS_A_DAY
            if days < scene.limits.tls_days:
                yield scene.finding(
                    "TlsExpiring", Severity.WARNING,
                    f"its certificate ends in {days:.0f} days, then browsers and clients refuse it",
                    "renew it and reload nginx", name,
                )  # fmt: skip


def _places(snapshot: Snapshot) -> list[tuple[str, Union[Answer, Silent]]]:
    vip = [] if snapshot.vip is None else [(VIP, snapshot.vip)]
    return [(node.name, node.answer) for node in snapshot.nodes] + vip


def _words(answer: Union[Answer, Silent]) -> str:
    if isinstance(answer, Silent):
        return {
            Silence.REFUSED: "connection refused",
            Silence.TLS: f"TLS failed ({answer.reason})",
        }.get(answer.kind, answer.reason)
    return MEANINGS.get(answer.status, f"answers {answer.status}")


def _remedy(answer: Union[Answer, Silent], name: str) -> str:
    if isinstance(answer, Silent) and answer.kind is Silence.TLS:
        return "correct the certificate, or auth.tls.ca_file"
    if isinstance(answer, Answer) and answer.status in WRONG_URL:
        return f"correct the url of {name} in auth.nodes"
    return f"on {name}: systemctl status st2auth nginx"


MEANINGS = {
    200: "answers 200, which st2auth never does",
    301: "answers 301, a redirection",
    308: "answers 308, a redirection",
    400: "answers 400, the backend failed or the request is not understood",
    404: "answers 404, nothing is at this URL",
    500: "answers 500, st2auth failed",
    502: "answers 502, nginx does not reach st2auth",
    503: "answers 503, nginx does not reach st2auth",
    504: "answers 504, st2auth is too slow for nginx",
}
WRONG_URL = (200, 301, 302, 307, 308, 404, 405)
RULES = (nodes_down, vip_down, token_refused, another_user, slow, certificates)
