"""What is known of a database and of its copy: frozen, typed, parsed once from the server's own replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from st2ha.naming import count

Reply = Mapping[str, Any]

LEDGER = "st2ha_upgrade"
"""Our own database on the replica set: what was begun and how far it came, written with majority."""

READING = ("find", "listCollections", "listIndexes", "collStats", "dbStats", "dbHash", "changeStream")
WRITING = (
    "find", "insert", "update", "remove", "createCollection", "dropCollection", "createIndex", "dropIndex",
    "listCollections", "listIndexes", "collStats", "dbStats", "dbHash", "collMod", "bypassDocumentValidation",
)  # fmt: skip
KEEPING = ("find", "insert", "update", "remove", "createCollection", "listCollections")

SMALL_BYTES = 1_000_000
"""Smaller collections are copied many at once, through us: for them the server's own way is all overhead."""

Timestamp = tuple[int, int]
"""A cluster time: seconds, increment."""


@dataclass(frozen=True)
class Part:
    """A collection or view of a database. `indexes` are all but that of `_id`, by name, as createIndexes takes them."""

    name: str
    kind: str = "collection"
    options: Mapping[str, Any] = field(default_factory=dict)
    indexes: Mapping[str, Reply] = field(default_factory=dict)
    documents: int = 0
    data_bytes: int = 0
    disk_bytes: int = 0

    @property
    def capped(self) -> bool:
        return bool(self.options.get("capped"))

    @property
    def small(self) -> bool:
        return self.kind == "collection" and self.data_bytes < SMALL_BYTES

    @property
    def empty(self) -> bool:
        return self.kind == "collection" and not self.documents


@dataclass(frozen=True)
class Record:
    """What the ledger keeps of a copy. `parts`: the collections that were copied, and the cluster time of each."""

    source: str
    target: str
    state: str
    at: Timestamp
    parts: Mapping[str, Timestamp]

    @property
    def times(self) -> int:
        """At how many cluster times the base was read: one, unless it outlasted the server's history."""
        return len(set(self.parts.values()) | {self.at})


@dataclass(frozen=True)
class World:
    """Both databases, and what a copy needs. `missing_rights`: words such as `read on st2 (changeStream)`."""

    source: str
    target: str
    source_parts: Mapping[str, Part]
    target_parts: Mapping[str, Part]
    record: Optional[Record]
    free_bytes: Mapping[str, Optional[int]]  # each data member's disk; None: it did not say
    missing_rights: tuple[str, ...]
    oplog_window_s: Optional[float]
    version: str

    @property
    def needed_bytes(self) -> int:
        return sum(part.disk_bytes for part in self.source_parts.values())

    def rows(self) -> list[dict[str, Any]]:
        """A row a large collection or view, one for all small collections in a state: documents on both sides."""
        copied = self.record.parts if self.record else {}
        rows: list[dict[str, Any]] = []
        small: dict[str, list[dict[str, Any]]] = {}
        for name, part in sorted(self.source_parts.items()):
            other = self.target_parts.get(name)
            state = "copied" if name in copied or (part.kind == "view" and other) else "to copy"
            row: dict[str, Any] = {"name": name, "kind": part.kind, "state": state, "documents": part.documents}
            row = {**row, "copied": other.documents if other else 0, "indexes": len(part.indexes)}
            (small.setdefault(state, []) if part.small else rows).append(row)
        for state, some in sorted(small.items()):
            sums = {key: sum(row[key] for row in some) for key in ("documents", "copied", "indexes")}
            rows.append({"name": small_words(len(some)), "kind": "collection", "state": state, **sums})
        return rows


def small_words(number: int) -> str:
    """So many small collections, where they are told as one."""
    return f"{count(number, 'collection')} under {SMALL_BYTES / 1e6:g} MB"


def parse_part(row: Reply, indexes: list[Reply], size: Optional[Reply]) -> Part:
    """From a row of listCollections, its listIndexes and its collStats; the last is None for a view."""
    wanted = {
        str(each["name"]): {key: value for key, value in each.items() if key not in ("ns", "background")}
        for each in indexes
        if each["name"] != "_id_"
    }
    found = size or {}
    return Part(
        name=str(row["name"]),
        kind=str(row.get("type", "collection")),
        options=dict(row.get("options") or {}),
        indexes=wanted,
        documents=int(found.get("count", 0)),
        data_bytes=int(found.get("size", 0)),
        disk_bytes=int(found.get("storageSize", 0)) + int(found.get("totalIndexSize", 0)),
    )


def parse_record(head: Optional[Reply], parts: list[Reply]) -> Optional[Record]:
    """From the ledger's documents."""
    if head is None:
        return None
    return Record(
        source=str(head["source"]),
        target=str(head["target"]),
        state=str(head["state"]),
        at=moment(head["at"]),
        parts={str(each["name"]): moment(each["at"]) for each in parts},
    )


def moment(timestamp: Any) -> Timestamp:
    """A BSON timestamp as (seconds, increment)."""
    return int(timestamp.time), int(timestamp.inc)


def missing_rights(privileges: Optional[list[Reply]], source: str, target: str) -> tuple[str, ...]:
    """From connectionStatus' authenticatedUserPrivileges; None: the set asks nobody for a login."""
    if privileges is None:
        return ()
    wanted = (
        (source, READING, "read and dbAdmin"),
        (target, WRITING, "readWrite and dbAdmin"),
        (LEDGER, KEEPING, "readWrite"),
    )
    found = []
    for database, actions, role in wanted:
        allowed = _allowed(privileges, database)
        missing = [action for action in actions if action not in allowed]
        if missing:
            found.append(f"{role} on {database} ({', '.join(missing)})")
    return tuple(found)


def _allowed(privileges: list[Reply], database: str) -> set[str]:
    allowed: set[str] = set()
    for each in privileges:
        resource = each["resource"]
        anywhere = resource.get("anyResource") or (resource.get("db") == "" and resource.get("collection") == "")
        if anywhere or (resource.get("db") == database and resource.get("collection") == ""):
            allowed.update(map(str, each["actions"]))
    return allowed
