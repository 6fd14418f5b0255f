"""st2.conf read and edited: what stays, what changes, what is refused, and that no secret shows."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st2ha.errors import BadInput
from st2ha.st2conf import MASK, diff_of, edit, is_true, mask, read, refuse_doubles

CONF = """\
# Managed by hand; see the wiki.
[DEFAULT]

[Messaging]
# url = amqp://guest:OLDPW@mq0/
url = amqp://guest:p@SS,W@mq1:5672/,amqp://u:S2@mq2/   
cluster_urls=

[sensorcontainer]
; the talk says so
sensor_node_name: node1
partition_provider = name:hash, hash_ranges:MIN..1024|
    4096..MAX

[database]
host = mongodb://u:DBPW@db1/?authSource=admin&password=QUERYPW
password = HUNTER2
    MORE2
[auth]
backend_kwargs = {"bind_dn": "cn=st2", "bind_password":
    "JSON\\"PW", "port": 636}
api_key = 'KEYPW'
token_ttl = 3600
"""  # noqa: W291 - a space at a line's end must survive, too
SECRETS = ("OLDPW", "p@SS", "SS,W", "S2", "DBPW", "QUERYPW", "HUNTER2", "MORE2", "JSON", "KEYPW")


def test_reads_as_stackstorm_does() -> None:
    found = read(CONF)
    assert found["messaging"]["cluster_urls"] == ""
    assert found["sensorcontainer"]["sensor_node_name"] == "node1"
    assert found["sensorcontainer"]["partition_provider"] == "name:hash, hash_ranges:MIN..1024|\n4096..MAX"
    assert found["auth"]["api_key"] == "KEYPW"
    assert read('[a]\nx = 1\n[A]\nx = "$$2"\n') == {"a": {"x": "$2"}}
    assert [is_true(text, True) for text in (None, "", "False", "ON")] == [True, True, False, True]


def test_an_edit_changes_its_lines_alone() -> None:
    changes = {
        "messaging": {"url": "amqp://guest:NEWPW@mq3/", "cluster_urls": None},
        "sensorcontainer": {"partition_provider": "name:kvstore", "log": "/x"},
        "coordination": {"url": "redis://:REDISPW@r1?db=1"},
    }
    edited = edit(CONF, changes, "node1:/etc/st2/st2.conf")
    assert edited.changed == (
        "[messaging] url", "[messaging] cluster_urls", "[sensorcontainer] partition_provider", "[sensorcontainer] log",
        "[coordination] url",
    )  # fmt: skip
    removed, added = ([row[1:] for row in edited.diff.splitlines()[2:] if row[:1] == sign] for sign in "-+")
    assert removed == [
        f"url = amqp://guest:{MASK}@mq1:5672/,amqp://u:{MASK}@mq2/   ", "cluster_urls=",
        "partition_provider = name:hash, hash_ranges:MIN..1024|", "    4096..MAX",
    ]  # fmt: skip
    assert [row for row in added if row] == [
        f"url = amqp://guest:{MASK}@mq3/", "partition_provider = name:kvstore", "log = /x",
        "[coordination]", f"url = redis://:{MASK}@r1?db=1",
    ]  # fmt: skip
    kept = [line for line in CONF.splitlines() if line and line not in removed and "mq1" not in line]
    assert [line for line in edited.text.splitlines() if line in kept] == kept
    assert edit(edited.text, changes) == type(edited)(edited.text, "")


def test_no_secret_shows() -> None:
    shown = mask(CONF)
    assert not [secret for secret in SECRETS if secret in shown]
    assert len(shown.splitlines()) == len(CONF.splitlines())
    assert "token_ttl = 3600" in shown and '"port": 636' in shown and "guest:********@mq1:5672" in shown
    diff = edit(CONF, {"database": {"password": "NEWPW"}}).diff
    assert "-password = ********\n-    ********\n+password = ********" in diff and "NEWPW" not in diff
    assert diff_of("a\n", "a\n") == ""


def test_line_ends_and_a_missing_last_one() -> None:
    assert edit("[a]\r\nx = 1\r\n", {"a": {"y": "2"}}).text == "[a]\r\nx = 1\r\ny = 2\r\n"
    assert edit("[a]\nx = 1", {"a": {"y": "2"}}).text == "[a]\nx = 1\ny = 2\n"
    assert edit("[a]\nx = 1", {"b": {"y": "2"}}).text == "[a]\nx = 1\n\n[b]\ny = 2\n"
    assert edit("", {"b": {"y": "2"}}).text == "[b]\ny = 2\n"
    assert edit("[a]\n# only\n", {"a": {"y": "2"}}).text == "[a]\ny = 2\n# only\n"
    assert edit("# nothing yet\n", {"b": {"y": "2"}}).text == "# nothing yet\n[b]\ny = 2\n"
    assert edit("[a]\nx = 1\n", {"a": {"y": None}, "b": {"y": None}}).text == "[a]\nx = 1\n"


@pytest.mark.parametrize(
    ("text", "changes", "words"),
    [
        ("x = SECRET\n", {"a": {"x": "1"}}, "st2.conf cannot be read: line 1 comes before any [section]; correct it"),
        ("[a]\nSECRET\n", {"a": {"x": "1"}}, "st2.conf cannot be read: line 2 is no `option = value`; correct it"),
        ("[a]\nx = 1\n[b]\n[A]\n", {"a": {"x": "2"}}, "has the section [a] twice: join them"),
        ("[a]\nx = 1\n[b]\nx = 1\n[a]\ny = 2\n", {"a": {"x": None}}, "has the section [a] twice"),
        ("[b]\nx = 1\n[A]\nx = 1\nx: 2\n", {"a": {"x": "3"}}, "has [a] x twice: keep the last, which counts"),
        ("[a]\n", {"a": {"x": "1\n2"}}, "the value for [a] x has a line end"),
        ("[a]\n", {"a": {"x": " 1"}}, "or spaces around it"),
        ("[a]\n", {"a]": {"x": "1"}}, "'a]' is no name of a section"),
        ("[a]\n", {"a": {"": "1"}}, "'' is no name of a option"),
    ],
)
def test_refused_with_one_sentence(text: str, changes: dict[str, dict[str, str]], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        edit(text, changes)
    assert words in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_what_is_twice_elsewhere_is_nobodys_business() -> None:
    text = "[a]\nx = 1\n[b]\ny = 1\ny = 2\n[b]\n"
    assert edit(text, {"a": {"x": "2"}}).text == text.replace("x = 1", "x = 2")


names = st.text(string.ascii_lowercase + "_", min_size=1, max_size=6)
values = st.text(string.ascii_letters + "0123456789 .:/=,|#;[]{}'\"$%", max_size=20).map(str.strip)
lines = st.one_of(
    st.sampled_from(["", "# note", ";note", "   ", "# password = x"]),
    st.tuples(names, st.sampled_from(["=", " = ", ":", " : "]), values).map("".join),
)
sections = st.dictionaries(
    names, st.lists(lines, max_size=6, unique_by=lambda line: line.split("=")[0].split(":")[0].strip())
)
changed = st.dictionaries(names, st.dictionaries(names, st.none() | values, max_size=4), max_size=3)


@given(sections, changed, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_whatever_is_edited_all_else_stays(
    parts: dict[str, list[str]], changes: dict[str, dict[str, str | None]], end: str, ended: bool
) -> None:
    rows = [row for name, body in parts.items() for row in (f"[{name}]", *body)]
    text = end.join(rows) + end * ended
    before = read(text)
    edited = edit(text, changes)
    assert edit(edited.text, changes).text == edited.text
    after = read(edited.text)
    touched = {(section, option) for section, options in changes.items() for option in options}
    flat = [{(s, o): v for s, options in found.items() for o, v in options.items()} for found in (before, after)]
    assert {k: v for k, v in flat[0].items() if k not in touched} == {
        k: v for k, v in flat[1].items() if k not in touched
    }
    for section, option in touched:
        assert ((section, option) in flat[1]) is (changes[section][option] is not None)
    comments = [row for row in rows if row[:1] in "#;" and row]
    assert [row for row in edited.text.split(end) if row in comments] == comments
    assert (edited.diff == "") is (edited.changed == ())
    assert (edited.text == text) or edited.changed


@given(st.text(alphabet="[]=:#; \n\tab\"'\r\\@/"))
def test_any_text_is_edited_or_refused(text: str) -> None:
    try:
        edited = edit(text, {"a": {"b": "1"}, "c": {"d": "2"}})
    except BadInput as error:
        assert "\n" not in str(error)
    else:
        assert read(edited.text)["a"]["b"] == "1" and read(edited.text)["c"]["d"] == "2"


@pytest.mark.parametrize("text, words", [
    ("[a]\nx = 1\n[b]\ny = 1\ny = 2\n", None),
    ("[a]\nx = 1\n[b]\n[A]\ny = 1\n", "has the section [a] twice"),
    ("[a]\r\nx = 1\r\nx = 2\r\n", "has [a] x twice"),
    ("x = 1\n", "line 1 comes before any"),
])  # fmt: skip
def test_what_is_there_twice_is_refused_where_it_matters(text: str, words: str | None) -> None:
    if words is None:
        return refuse_doubles(text, ["a", "c"])
    with pytest.raises(BadInput, match=re.escape(words)):
        refuse_doubles(text, ["a", "c"])
