"""How people name a member, and how numbers are told: shared by all services."""

from __future__ import annotations

from collections.abc import Mapping

from st2ha.config import Host
from st2ha.errors import BadInput


def named(names: Mapping[str, Host], wanted: str, parameter: str, whole: str) -> str:
    """The member that `wanted` means: its name, its configured address, or the host alone where that is unambiguous.

    `names`: each member's name and its configured address; `whole` is what they are members of, for the message.
    """
    text = wanted.strip().lower()
    for name, host in names.items():
        if text in (name, str(host), name.rsplit(":", 1)[0], host.name) and _unambiguous(text, names):
            return name
    shown = "a URL with a login" if "@" in wanted else repr(wanted)
    raise BadInput(f"parameter `{parameter}` is {shown}, no member of {whole}: use one of {', '.join(names)}")


def _unambiguous(text: str, names: Mapping[str, Host]) -> bool:
    return ":" in text or sum(text in (name.rsplit(":", 1)[0], host.name) for name, host in names.items()) == 1


def given(member: object, example: str) -> str:
    """An empty target is refused: st2web drops a value it does not understand and runs the action without it."""
    if not isinstance(member, str) or not member.strip():
        raise BadInput(f"parameter `member` is {member!r}: name the member, for example {example}")
    return member.strip().lower()


def count(number: int, noun: str) -> str:
    """`1 member`, `2 members`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
