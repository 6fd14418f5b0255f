"""Names, DNs, SIDs and filters, without a directory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.operation.search import MATCH_EQUAL, parse_filter
from ldap3.protocol.convert import prepare_filter_for_sending

from st2auth_ldap3.names import (
    escape_dn,
    escape_filter,
    parse_dn,
    rdn_value,
    sid_bytes,
    sid_text,
    unfit_name,
    unfit_password,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize(
    "name",
    ["", " alice", "alice ", "alice\0", "alice\0junk", "al\x07ice", "alice\n", "\u00a0alice", "al\u2028ice", "a\ud800",
     "a" * 257],
)  # fmt: skip
def test_names_that_a_directory_would_take_for_another_one_are_not_asked(name: str) -> None:
    assert unfit_name(name)


@pytest.mark.parametrize("name", [None, 7, b"alice", ["alice"]])
def test_what_is_no_text_is_no_name_and_no_password(name: object) -> None:
    assert unfit_name(name) and unfit_password(name)


@pytest.mark.parametrize("name", ["alice", "j.müller", "o'neil & co", "CORP\\alice", "a@b", "*", "(x)", "日本"])
def test_odd_names_are_asked(name: str) -> None:
    assert unfit_name(name) is None


@pytest.mark.parametrize("password", ["", "x\0", "x\0junk", "x\n", "\x01", "y" * 1025, "\ud800"])
def test_passwords_that_are_cut_or_ignored_are_not_sent(password: str) -> None:
    assert unfit_password(password)


@pytest.mark.parametrize("password", [" spaces ", "Pass\u00a0word", "\uff30ass", "p" * 1024])
def test_odd_passwords_are_sent(password: str) -> None:
    assert unfit_password(password) is None


@given(TEXT)
def test_an_escaped_value_stays_one_value_of_a_filter(value: str) -> None:
    root = parse_filter(f"(cn={escape_filter(value)})", None, False, False, None, False).elements[0]
    assert root.tag == MATCH_EQUAL and prepare_filter_for_sending(root.assertion["value"]) == value.encode()


@given(TEXT.filter(lambda text: text.strip(" ") != ""), TEXT.filter(lambda text: text.strip(" ") != ""))
def test_an_escaped_value_stays_one_value_of_a_dn(one: str, other: str) -> None:
    parsed = parse_dn(f"cn={escape_dn(one)},ou={escape_dn(other)}")
    assert parsed is not None and len(parsed) == 2 and all(len(rdn) == 1 for rdn in parsed)
    assert rdn_value(f"cn={escape_dn(one)},dc=x", "CN") == one


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CN=A b,DC=x", "cn=a  B , dc=X"),
        ("CN=a\\, b,DC=x", "cn=a\\2C b,dc=x"),
        ("CN=Müller,DC=x", "cn=M\\C3\\BCller,dc=x"),
        ("CN=a+OU=b,DC=x", "ou=B+cn=A,dc=x"),
    ],
)
def test_one_dn_in_two_spellings_is_one(one: str, other: str) -> None:
    assert parse_dn(one) == parse_dn(other) is not None


@pytest.mark.parametrize("text", ["", "cn", "cn=a,", "=a", "cn=a\\", "cn=\\ff"])
def test_what_is_no_dn_is_none(text: str) -> None:
    assert parse_dn(text) is None


@given(TEXT)
def test_no_text_breaks_the_parsers(text: str) -> None:
    parse_dn(text)
    rdn_value(text, "cn")
    sid_bytes(text)


@given(st.binary(max_size=40))
def test_a_sid_survives_both_ways(data: bytes) -> None:
    text = sid_text(data)
    if text is not None and data[0] == 1 and data[1]:
        assert sid_bytes(text) == data


def test_a_known_sid() -> None:
    assert sid_text(bytes.fromhex("01020000000000052000000020020000")) == "S-1-5-32-544"
