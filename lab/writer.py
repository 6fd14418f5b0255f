"""The load of a replica set: documents with majority concern."""

from __future__ import annotations

from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from lab.load import Load

DATABASE = "st2ha_canary"
MAJORITY = WriteConcern(w="majority", wtimeout=20_000)


class Writer(Load):
    """``client`` decides whether the driver retries, and needs a socketTimeoutMS. The collection is emptied first."""

    errors = (PyMongoError,)

    def __init__(self, client: MongoClient[dict[str, Any]], name: str = "writes", pause_s: float = 0.01) -> None:
        super().__init__(name, pause_s)
        self._collection = client[DATABASE].get_collection(
            name, write_concern=MAJORITY, read_concern=ReadConcern("majority")
        )

    def start(self) -> Writer:
        """See Load.start."""
        self._collection.delete_many({})
        return super().start()

    def write(self, number: int) -> None:
        """One document."""
        self._collection.insert_one({"_id": number})

    def present(self) -> set[int]:
        """By a majority read."""
        return {row["_id"] for row in self._collection.find({}, {"_id": 1})}
