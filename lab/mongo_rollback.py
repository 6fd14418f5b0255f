"""A real rollback: writes that a primary acknowledged and the replica set then lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pymongo import WriteConcern
from pymongo.errors import PyMongoError

from lab.cluster import Member
from lab.wait import wait_for

if TYPE_CHECKING:
    from lab.mongodb import MongoCluster


@dataclass(frozen=True)
class Rollback:
    """``lost`` documents were acknowledged with w:1 by ``member``; rolling them back raised its rollback id."""

    member: Member
    new_primary: Member
    lost: int
    rbid_before: int
    rbid_after: int


def make_rollback(rs: MongoCluster, documents: int) -> Rollback:
    """Let the primary acknowledge writes alone, elect another, bring the old one back.

    They go to ``lab_rollback.lost``. The set is healthy afterwards. Raises WaitTimeout.
    """
    old = rs.primary()
    before = _rollback_id(rs, old)
    lost = rs.admin(old.name).lab_rollback.lost
    # It exists on every member, so that the rollback concerns documents and not the making of the collection.
    lost.with_options(write_concern=WriteConcern("majority", wtimeout=10_000)).insert_one({"kept": True})
    rs.cut_off(old.name, keep_clients=True)
    try:
        # Now: it steps down after the election timeout.
        lost.with_options(write_concern=WriteConcern(1)).insert_many([{"lost": i} for i in range(documents)])
        new = wait_for(lambda: rs.find_primary(besides=old.name), 30, f"a primary besides {old.name}")
    finally:
        rs.heal(old.name)
    wait_for(
        lambda: _rollback_id(rs, old) > before,
        60,
        f"{old.name} to roll back",
        retry_on=(PyMongoError,),
    )
    rs.wait_healthy(60)
    return Rollback(old, new, documents, before, _rollback_id(rs, old))


def _rollback_id(rs: MongoCluster, member: Member) -> int:
    return int(rs.command(member.name, "replSetGetRBID")["rbid"])
