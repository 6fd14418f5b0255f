"""An account's state from its attributes; tests/integration/test_auth_explain.py asks a real controller."""

from __future__ import annotations

from typing import Union

import pytest

from st2auth_ldap3.explain import account_states
from st2auth_ldap3.link import Entry

SUNDAY = 1_795_305_600.0  # 22 November 2026, 00:00 UTC
WEEK = b"\xff" * 21


def states(now: float = SUNDAY, controller: str = "dc1.example.com", **values: Union[str, bytes]) -> list[str]:
    raw = {name.lower(): [value if isinstance(value, bytes) else value.encode()] for name, value in values.items()}
    return account_states(Entry("CN=x", raw), now, controller)[0]


def test_a_plain_account() -> None:
    assert states() == []
    assert states(userAccountControl="512", accountExpires="0", pwdLastSet="133000000000000000", logonHours=WEEK) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"userAccountControl": "514"}, ["account disabled (533)"]),
        ({"userAccountControl": "512", "pwdLastSet": "0"}, ["must change its password (773)"]),
        ({"userAccountControl": "66048", "pwdLastSet": "0"}, []),  # a password that never expires
        ({"userWorkstations": "DC2, DC1"}, []),
        ({"userWorkstations": "DC2"}, ["not from this workstation (531)"]),
        ({"pwdAccountLockedTime": "20260101000000Z"}, ["account locked"]),
        ({"nsAccountLock": "TRUE"}, ["account disabled"]),
        ({"pwdReset": "TRUE"}, ["must change its password"]),
        ({"userAccountControl": "nonsense", "accountExpires": b"\xff", "logonHours": b"\x00"}, []),
    ],
)
def test_states(values: dict[str, Union[str, bytes]], expected: list[str]) -> None:
    assert states(**values) == expected


def test_computed_flags_and_their_order() -> None:
    computed = {"msDS-User-Account-Control-Computed": str(0x800010)}
    found = states(**computed, userAccountControl="514", pwdLastSet="133000000000000000")
    assert found == ["account locked (775)", "account disabled (533)", "password expired (532)"]
    assert states(**computed, pwdLastSet="0") == ["account locked (775)", "must change its password (773)"]


def test_an_account_expires_at_its_second() -> None:
    ticks = str((int(SUNDAY) + 11_644_473_600) * 10_000_000)
    assert states(SUNDAY - 1, accountExpires=ticks) == []
    assert states(SUNDAY, accountExpires=ticks) == ["account expired (701)"]


@pytest.mark.parametrize("hour", [0, 7, 8, 23, 24, 100, 167])
def test_hours_are_counted_from_sunday_in_utc(hour: int) -> None:
    bits = (1 << hour).to_bytes(21, "little")
    assert states(SUNDAY + hour * 3600, logonHours=bits) == []
    assert states(SUNDAY + hour * 3600 + 3599, logonHours=bits) == []
    for other in (hour * 3600 - 1, hour * 3600 + 3600):
        assert states(SUNDAY + other, logonHours=bits) == ["outside its logon hours (530)"]
