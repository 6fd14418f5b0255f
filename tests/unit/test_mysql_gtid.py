"""What one server has that another has not, in both dialects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st2ha.mysql.gtid import Gtids

mariadb, mysql = Gtids.mariadb_position, Gtids.mysql_set
A, B = "8b25a43a-e6dd-11f1-a480-02fc00000001", "9c25a43a-e6dd-11f1-a480-02fc00000002"


@pytest.mark.parametrize(
    "mine, theirs, beyond, count",
    [
        ("0-1-100", "0-1-100", "", 0),
        ("0-1-90", "0-1-100", "", 0),
        ("0-1-356", "0-1-345,0-2-360", "0-1-346..356", 11),  # a crashed primary's own
        ("0-1-100,0-2-105", "0-1-200", "0-2-101..105", 5),  # written on a replica
        ("0-1-100,0-2-101", "0-1-200", "0-2-101", 1),
        ("0-1-100,0-2-200", "0-2-200", "", 0),  # the other was copied and does not know the older origin
        ("0-1-100,1-1-7", "0-1-100", "1-1-1..7", 7),  # another domain
        ("0-1-5", "", "0-1-1..5", 5),
        ("", "0-1-5", "", 0),
    ],
)
def test_mariadb_beyond(mine: str, theirs: str, beyond: str, count: int) -> None:
    found = mariadb(mine).beyond(mariadb(theirs))
    assert (str(found), found.count, bool(found)) == (beyond, count, bool(count))


def test_mariadb_behind_counts_by_domain() -> None:
    assert mariadb("0-1-90").behind(mariadb("0-1-95,0-2-100,7-1-3")) == 13
    assert mariadb("0-2-100").behind(mariadb("0-1-95,0-2-100")) == 0


def test_mysql_sets_are_read_and_written() -> None:
    text = f"{A}:1-5:7:tag:1-3,\n{B}:4"
    assert str(mysql(text)) == f"{A}:1-5:7, {A}:tag:1-3, {B}:4"
    assert mysql(text).count == 10


def test_mysql_beyond_and_behind() -> None:
    assert str(mysql(f"{A}:1-10,{B}:1").beyond(mysql(f"{A}:3-8"))) == f"{A}:1-2:9-10, {B}:1"
    assert mysql(f"{A}:1-7").behind(mysql(f"{A}:1-10")) == 3


numbers = st.sets(st.integers(1, 40), max_size=30)


def as_set(found: set[int]) -> Gtids:
    return mysql(",".join(f"{A}:{number}" for number in sorted(found)))


@given(numbers, numbers)
def test_mysql_sets_are_sets(mine: set[int], theirs: set[int]) -> None:
    assert as_set(mine).beyond(as_set(theirs)) == as_set(mine - theirs)
    assert as_set(mine).union(as_set(theirs)) == as_set(mine | theirs)
    assert as_set(mine).behind(as_set(theirs)) == len(theirs - mine)


positions = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(1, 50)), max_size=6).map(
    lambda parts: mariadb(",".join("-".join(map(str, part)) for part in parts))
)


@given(positions, positions)
def test_mariadb_positions_of_one_are_never_beyond_what_holds_both(mine: Gtids, theirs: Gtids) -> None:
    both = mine.union(theirs)
    assert not mine.beyond(both) and mine.behind(mine) == 0 and both.behind(theirs) == 0
