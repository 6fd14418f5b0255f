"""Who is in the lab's directories: every shape of name, password, membership and account state that a sign-in meets."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

PASSWORD = "C0rrect-horse"
REALM = "ad.lab.test"
CROWD = 1510
"""More members than AD gives in one answer."""


@dataclass(frozen=True)
class Person:
    """A user: `name` is the account (sAMAccountName or uid), `state` what is wrong with it."""

    name: str
    cn: str = ""
    password: str = field(default=PASSWORD, repr=False)
    upn: str = ""
    display: str = ""
    state: str = ""
    primary: str = ""

    def as_json(self) -> dict[str, Any]:
        cn = self.cn or self.name.title()
        return {**asdict(self), "cn": cn, "upn": self.upn or f"{self.name}@{REALM}", "display": self.display or cn}


@dataclass(frozen=True)
class Group:
    """A group of people and groups; `crowded` has the crowd as members, too."""

    name: str
    members: tuple[str, ...] = ()
    security: bool = True
    crowded: bool = False


PEOPLE = (
    Person("service"),
    Person("alice", "Alice Direct"),
    Person("bob", "Bob Nested"),
    Person("carol", "Carol Deep"),
    Person("dave", "Dave Cycle"),
    Person("erin", "Erin Contractor"),
    Person("frank", "Frank Outside"),
    Person("grace", "Grace Primary", primary="st2primary"),
    Person("heidi", "Heidi Otherwise", upn="h.otherwise@corp.example"),
    Person("ivan", "Ivan Both"),
    Person("judy", "Judy Distribution"),
    Person("mallory", "Mallory Twin", display="victim"),
    Person("victim", "Victim Twin"),
    Person("j.müller", "Jürgen Müller"),
    Person("comma", "Lastname, First"),
    Person("parens", "Smith (Admin)"),
    Person("backslash", "Back\\slash"),
    Person("hash", "#hash = plus+"),
    Person("o'neil & co", "O'Neil"),
    Person("crowded", "Crowded"),
    Person("wide", "Wide Password", password="\uff30\uff41ss-w0rd1"),
    Person("nbsp", "NBSP Password", password="Pass\u00a0w0rd-1"),
    Person("spaces", "Spaces Password", password=" Sp4ced word "),
    Person("dollar", "Dollar Password", password='pa$$"w0rd\\{x}%s'),
    Person("disabled", state="disabled"),
    Person("mustchange", state="must change"),
    Person("pwexpired", state="password expired"),
    Person("expired", state="account expired"),
    Person("hours", state="hours"),
    Person("workstation", state="workstation"),
    Person("lockme"),
    Person("counted"),
    Person("lockmetoo"),
)
STATES = ("disabled", "mustchange", "pwexpired", "expired", "hours", "workstation", "lockme", "counted", "lockmetoo")
ODD_NAMES = ("j.müller", "comma", "parens", "backslash", "hash", "o'neil & co")
ODD_PASSWORDS = ("wide", "nbsp", "spaces", "dollar")
GROUPS = (
    Group(
        "st2users", ("alice", "team", "erin", "heidi", "ivan", "mallory", "victim", *STATES, *ODD_NAMES, *ODD_PASSWORDS)
    ),
    Group("team", ("bob", "squad")),
    Group("squad", ("carol",)),
    Group("ring1", ("ring2", "st2cycle")),
    Group("ring2", ("ring3",)),
    Group("ring3", ("ring1", "dave")),
    Group("st2cycle", ("ring1",)),
    Group("st2primary", ("grace",)),
    Group("st2admins", ("ivan", "alice")),
    Group("contractors", ("erin",)),
    Group("Ops, (EMEA) #1", ("alice",)),
    Group("newsletter", ("judy", "letters"), security=False),
    Group("letters", ("alice",), security=False),
    Group("crowd", ("crowded",), crowded=True),
    Group("empty"),
)


def person(name: str) -> Person:
    return next(each for each in PEOPLE if each.name == name)


def as_json() -> dict[str, Any]:
    return {"people": [each.as_json() for each in PEOPLE], "groups": [asdict(each) for each in GROUPS], "crowd": CROWD}
