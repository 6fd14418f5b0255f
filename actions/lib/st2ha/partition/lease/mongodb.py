"""A lease's record in MongoDB: one document, replaced by compare and set, acknowledged by a majority.

An election forgets no acknowledged write, so the proof in `rule` holds. A read may come from a primary that has been
replaced already: what it tells is old, which only delays. A write to such a one is never acknowledged.
"""

from __future__ import annotations

from typing import Optional

from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from st2ha.config import Mongodb
from st2ha.errors import HaError
from st2ha.mongodb import client as driver
from st2ha.partition.lease.rule import Record

COLLECTION = "st2ha_lease"
"""In the canary database, on which our user has readWrite anyway."""
PLACE = "replica set"
"""Always the same: nothing acknowledged is ever lost."""


class Store:
    """The record called `name`. Methods raise HaError if there was no answer, or none that counts."""

    def __init__(self, settings: Mongodb, name: str, timeout_s: float) -> None:
        self._name = name
        self._client = driver.set_client(settings, timeout_s, retryWrites=False, retryReads=False, maxPoolSize=2)
        concern = WriteConcern(w="majority", wtimeout=max(1, int(timeout_s * 1000)))
        database = self._client[settings.canary_database]
        self._records = database.get_collection(COLLECTION, write_concern=concern, read_concern=ReadConcern("majority"))

    def look(self) -> tuple[Optional[Record], str]:
        """The record, and where it is."""
        try:
            found = self._records.find_one({"_id": self._name})
        except PyMongoError as error:
            raise HaError(driver.words(error)) from None
        return (Record(found["holder"], found["token"], found["beat"]) if found else None), PLACE

    def replace(self, old: Optional[Record], new: Record, place: str) -> bool:
        """Replace the record if it still is `old`; whether it was."""
        content = {"holder": new.holder, "token": new.token, "beat": new.beat}
        try:
            if old is None:
                self._records.insert_one({"_id": self._name, **content})
                return True
            expected = {"_id": self._name, "holder": old.holder, "token": old.token, "beat": old.beat}
            return self._records.update_one(expected, {"$set": content}).matched_count == 1
        except DuplicateKeyError:
            return False
        except PyMongoError as error:
            raise HaError(driver.words(error)) from None

    def close(self) -> None:
        self._client.close()
