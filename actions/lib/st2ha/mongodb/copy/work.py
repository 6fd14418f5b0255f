"""What a copy's verbs are made of: a collection's documents, its options and indexes, a killed copy's leftovers."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Any, Optional

from st2ha.change import wait_until
from st2ha.mongodb import client as driver
from st2ha.mongodb.copy.facts import Part
from st2ha.mongodb.copy.gather import both_parts, read_parts
from st2ha.mongodb.copy.stream import found
from st2ha.plan import Journal

BATCH = 1000
LEFTOVERS_S = 40.0


@dataclass(frozen=True)
class Clients:
    """Both of the set. `patient` waits for a whole collection's copy, `quick` for no more than a moment."""

    quick: driver.Client
    patient: driver.Client


class Work:
    """For one pair of databases. `rate_bytes_s` 0: as fast as the server copies by itself.

    `without`: collections that get their options and indexes, but no documents.
    """

    def __init__(
        self, clients: Clients, source: str, target: str, rate_bytes_s: float, without: frozenset[str] = frozenset()
    ) -> None:
        self.client, self.patient = clients.quick, clients.patient
        self.source, self.target = source, target
        self.rate_bytes_s, self.without = rate_bytes_s, without
        self.tag = f"st2ha copy to {target}"

    def copy_at(self, part: Part, concern: dict[str, Any]) -> int:
        """Anew, as a read concern shows it; the number of documents.

        A small one gets its indexes while it is empty, which is one entry of the oplog: an index build on documents is
        agreed on by all members, which takes longer than those documents.
        """
        self.client[self.target].drop_collection(part.name)
        if part.small:
            self._make_like(part, None)
        else:
            self.create(part)
        if part.name in self.without:
            return 0
        if part.small or part.capped or self.rate_bytes_s:
            return self._through_here(part, concern)
        return self._on_server(part, concern)

    def _on_server(self, part: Part, concern: dict[str, Any]) -> int:
        """`$out` keeps the options of the empty collection that it replaces; the indexes come afterwards (faster)."""
        out = {"$out": {"db": self.target, "coll": part.name}}
        self.patient[self.source].command(
            "aggregate", part.name, pipeline=[{"$match": {}}, out], cursor={}, readConcern=concern, comment=self.tag,
            writeConcern={"w": "majority", "wtimeout": 0}, bypassDocumentValidation=True,
        )  # fmt: skip
        return self.client[self.target][part.name].estimated_document_count()

    def _through_here(self, part: Part, concern: dict[str, Any]) -> int:
        """In batches, as fast as allowed: small ones, throttled ones, and capped ones, which `$out` refuses."""
        cursor = found(self.client, self.source, part.name, {}, concern, BATCH)
        collection = self.client[self.target].get_collection(part.name, write_concern=driver.majority())
        began, sent, documents = time.monotonic(), 0, 0
        while batch := list(itertools.islice(cursor, BATCH)):
            collection.insert_many(batch, ordered=True, bypass_document_validation=True, comment=self.tag)
            documents += len(batch)
            sent += sum(len(document.raw) for document in batch)
            if self.rate_bytes_s:
                Journal.from_environment().write(event="progress", target=part.name, bytes=sent, of=part.data_bytes)
                time.sleep(max(0.0, sent / self.rate_bytes_s - (time.monotonic() - began)))
        return documents

    def create(self, part: Part) -> None:
        options = {key: value for key, value in part.options.items() if key != "uuid"}
        self.client[self.target].command("create", part.name, **options)

    def structure(self, name: str) -> None:
        """A collection's options and indexes, or a view, as the source has them now."""
        part = read_parts(self.client, self.source, name, sizes=False).get(name)
        if part is not None:  # not dropped since
            self._make_like(part, read_parts(self.client, self.target, name, sizes=False).get(name))

    def _make_like(self, part: Part, existing: Optional[Part]) -> None:
        if existing is None:
            self.create(part)
        missing = [spec for key, spec in part.indexes.items() if existing is None or key not in existing.indexes]
        if missing:
            self.patient[self.target].command(
                "createIndexes",
                part.name,
                indexes=missing,
                writeConcern={"w": "majority", "wtimeout": 0},
                comment=self.tag,
            )

    def even_structure(self) -> None:
        """Collections and indexes that came to the source since its copy; an index that went there goes here."""
        ours, theirs = both_parts(self.client, self.target, self.source)
        for name, part in theirs.items():
            self._make_like(part, ours.get(name))
            for index in set(ours[name].indexes if name in ours else ()) - set(part.indexes):
                self.client[self.target][name].drop_index(index)

    def end_leftovers(self) -> None:
        """Operations of a killed copy may still run on the server, and `$out` would replace what we make now."""
        mine: list[dict[str, Any]] = [
            {"$currentOp": {"allUsers": False, "localOps": True}},
            {"$match": {"command.comment": self.tag}},
        ]

        def running() -> Optional[str]:
            found = [each["opid"] for each in self.client.admin.aggregate(mine)]
            for number in found:
                self.client.admin.command("killOp", op=number)
            return f"{len(found)} of them run" if found else None

        wait_until(running, LEFTOVERS_S, "operations of an earlier copy to end", pause_s=0.1)
