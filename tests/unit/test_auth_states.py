"""What a refused bind means."""

from __future__ import annotations

import pytest

from st2auth_ldap3.link import Reply
from st2auth_ldap3.states import PASSWORD_EXPIRED, PASSWORD_POLICY, refusal

AD = "80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data {}, v4563"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("52e", "wrong password"),
        ("52E", "wrong password"),
        ("533", "disabled"),
        ("701", "account expired"),
        ("532", "password expired"),
        ("773", "must change"),
        ("775", "locked"),
        ("530", "logon hours"),
        ("531", "workstation"),
        ("999", "refused"),
    ],
)
def test_ad_sub_codes(code: str, said: str) -> None:
    words = refusal(Reply(49, AD.format(code)))
    assert words and said in words and code.lower() in words


@pytest.mark.parametrize(("error", "said"), [(0, "expired"), (1, "locked"), (2, "must change")])
@pytest.mark.parametrize("code", [0, 49])
def test_a_granted_bind_with_a_policy_error_is_a_refusal(code: int, error: int, said: str) -> None:
    value = bytes([0x30, 0x06, 0xA0, 0x01, 0x00, 0x81, 0x01, error])
    words = refusal(Reply(code, "", {PASSWORD_POLICY: value}))
    assert words and said in words


def test_389_ds_grants_an_expired_password_and_says_so_in_a_control() -> None:
    assert refusal(Reply(0, "", {PASSWORD_EXPIRED: b"0"}))


@pytest.mark.parametrize("value", [b"", b"0", b"\x30\x00", b"\x30\x03\xa0\x01\x00", b"\x30\x06\x81\xff"])
def test_a_control_without_an_error_is_none(value: bytes) -> None:
    assert refusal(Reply(0, "", {PASSWORD_POLICY: value})) is None


@pytest.mark.parametrize("code", range(1, 130))
def test_no_result_but_success_is_success(code: int) -> None:
    assert refusal(Reply(code, ""))
