"""A lease's record in Redis: one hash on the primary, replaced by a script that compares first.

What asynchronous replication can guarantee, and what not. A write counts here only when a majority of the configured
servers has it (WAIT), and all that a contender has seen counts only for the replication history (`master_replid`) in
which it was seen: whoever meets another one, after a failover or a restart, lets `Terms.settle_s` and a whole ttl pass
before it takes over, because the new primary may have lost the last writes. So a failover, a restart without data, and
an old primary cut off with a minority lead to nobody holding for a while, not to two. Two holders remain possible
where Sentinel promotes a replica while the old primary keeps a majority of the servers, and clients, for longer than
settle_s: with a Sentinel beside each server, and a quorum of their majority, that needs a network that is cut in one
direction only. Then the fencing token helps: it rises with each holder, so a receiver that remembers the highest one
can refuse the older holder. MongoDB as the backend has no such gap.

Redis' own expiry of keys is not used: it follows the server's wall clock, which may be set.
"""

from __future__ import annotations

from typing import Any, Optional

from st2ha.config import Host
from st2ha.errors import HaError
from st2ha.partition.lease.rule import Record
from st2ha.redis import client as driver
from st2ha.redis.find import primary_host
from st2ha.redis.settings import Redis

PREFIX = "st2ha:lease:"
SCRIPT = """
local info = redis.call('INFO', 'replication')
local place = string.match(info, 'master_replid:(%w+)')
local found = redis.call('HMGET', KEYS[1], 'holder', 'token', 'beat')
local same = ARGV[1] == place and (found[1] or '?') == ARGV[2] and (found[2] or '') == ARGV[3]
  and (found[3] or '') == ARGV[4]
if ARGV[5] and same then
  redis.call('HSET', KEYS[1], 'holder', ARGV[5], 'token', ARGV[6], 'beat', ARGV[7])
end
return {string.find(info, 'role:master', 1, true) and place or '', found[1] or '?', found[2] or '', found[3] or '',
  same and 1 or 0}
"""
NOTHING = ("?", "", "")


class Store:
    """The record called `name`. Methods raise HaError if there was no answer, or none that counts."""

    def __init__(self, settings: Redis, name: str, timeout_s: float) -> None:
        self._settings, self._key, self._timeout_s = settings, PREFIX + name, timeout_s
        self._session: Optional[driver.Session] = None
        self._acknowledged_by = len(settings.hosts) // 2  # replicas, besides the primary

    def look(self) -> tuple[Optional[Record], str]:
        """The record, and the replication history it belongs to."""
        (reply,) = self._ask((*self._script(), "", "", "", ""))
        place, holder, token, beat, _ = reply
        return (Record(holder, int(token), int(beat)) if holder != "?" else None), place

    def replace(self, old: Optional[Record], new: Record, place: str) -> bool:
        """Replace the record if it still is `old`, in the same history; whether it was."""
        words = [place, *_words(old), *_words(new)]
        wait = ("WAIT", self._acknowledged_by, max(1, int(self._timeout_s * 500)))
        reply, acknowledged = self._ask((*self._script(), *words), wait)
        if reply[4] and acknowledged < self._acknowledged_by:
            raise HaError(f"{acknowledged} of {self._acknowledged_by} replicas took the write in time")
        return bool(reply[4])

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = None

    def _script(self) -> tuple[Any, ...]:
        return ("EVAL", SCRIPT, 1, self._key)

    def _ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        """The replies of the primary; the connection ends with anything that is not as it should be."""
        host: Optional[Host] = None
        try:
            if self._session is None:
                host = primary_host(self._settings, self._timeout_s)
                self._session = driver.Session(self._settings, host, self._timeout_s)
            host = self._session.host
            replies = self._session.together(*commands)
        except driver.DriverError as error:
            self.close()
            raise driver.sentence(host, error) if host else HaError(driver.words(error)) from None
        broken = next((why for why in map(driver.is_error, replies) if why), None)
        if broken is None and not replies[0][0]:
            broken = "it is the primary no longer"
        if broken is not None:
            self.close()
            raise HaError(f"{host}: {broken}")
        return replies


def _words(record: Optional[Record]) -> tuple[str, str, str]:
    return NOTHING if record is None else (record.holder, str(record.token), str(record.beat))
