"""A stand-in for StackStorm's datastore: one SQLite file, the same names and the same methods.

Safe for several processes at once (WAL, one statement a change). Values are strings, names local to an action or a
sensor are `<pack>.<Class>:<name>`, a value past its TTL (seconds) is gone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from st2ha.local import MASK

if TYPE_CHECKING:
    import sqlite3  # imported where it is used: most actions never open the datastore

SYSTEM_SCOPE = "system"
_SCOPES = (SYSTEM_SCOPE, "st2kv.system")

_TABLE = """CREATE TABLE IF NOT EXISTS value (
    name TEXT PRIMARY KEY, value TEXT NOT NULL, secret INTEGER NOT NULL, expires_at REAL)"""
_LIVE = "(expires_at IS NULL OR expires_at > ?)"


class KeyValuePair(NamedTuple):
    """What list_values() returns, with the attributes of st2client's class of that name."""

    name: str
    value: str
    secret: bool = False
    scope: str = SYSTEM_SCOPE
    expire_timestamp: float | None = None

    @property
    def id(self) -> str:
        return self.name


class Store:
    """The file. It is made, readable by its owner alone, at the first write."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now

    def _connect(self, create: bool) -> sqlite3.Connection | None:
        import sqlite3

        if not self._path.exists():
            if not create:
                return None
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(str(self._path), timeout=10, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(_TABLE)
        return connection

    def _run(self, statement: str, values: tuple[Any, ...], write: bool = False) -> tuple[list[Any], int]:
        connection = self._connect(create=write)
        if connection is None:
            return [], 0
        try:
            cursor = connection.execute(statement, values)
            return cursor.fetchall(), cursor.rowcount
        finally:
            connection.close()

    def get(self, name: str) -> KeyValuePair | None:
        statement = f"SELECT name, value, secret, expires_at FROM value WHERE name = ? AND {_LIVE}"
        rows, _ = self._run(statement, (name, self._now()))
        return _pair(rows[0]) if rows else None

    def set(self, name: str, value: str, ttl: float | None = None, secret: bool = False) -> None:
        expires = self._now() + ttl if ttl else None
        self._run("DELETE FROM value WHERE expires_at <= ?", (self._now(),), write=True)
        self._run("INSERT OR REPLACE INTO value VALUES (?, ?, ?, ?)", (name, value, int(secret), expires), write=True)

    def delete(self, name: str) -> bool:
        """False where there was nothing to delete."""
        _, count = self._run(f"DELETE FROM value WHERE name = ? AND {_LIVE}", (name, self._now()))
        return count > 0

    def list(self, prefix: str = "", limit: int = 100, offset: int = 0) -> list[KeyValuePair]:
        statement = (
            "SELECT name, value, secret, expires_at FROM value WHERE substr(name, 1, ?) = ? "
            f"AND {_LIVE} ORDER BY name LIMIT ? OFFSET ?"
        )
        rows, _ = self._run(statement, (len(prefix), prefix, self._now(), limit, offset))
        return [_pair(row) for row in rows]


def _pair(row: tuple[str, str, int, float | None]) -> KeyValuePair:
    return KeyValuePair(name=row[0], value=row[1], secret=bool(row[2]), expire_timestamp=row[3])


class DatastoreService:
    """The datastore methods of StackStorm's ActionService and SensorService."""

    def __init__(self, store: Store, pack: str, class_name: str) -> None:
        self._store = store
        self._prefix = f"{pack}.{class_name}:"

    @property
    def datastore_service(self) -> DatastoreService:
        return self

    def get_user_info(self) -> dict[str, Any]:
        from getpass import getuser

        return {"username": getuser(), "rbac": {"enabled": False}, "authentication": {"method": "local"}}

    def list_values(
        self, local: bool = True, prefix: str | None = None, limit: int | None = None, offset: int | None = None
    ) -> list[KeyValuePair]:
        whole = (self._prefix if local else "") + (prefix or "")
        return [_encrypted(pair) for pair in self._store.list(whole, limit or 100, offset or 0)]

    def get_value(self, name: str, local: bool = True, scope: str = SYSTEM_SCOPE, decrypt: bool = False) -> str | None:
        pair = self._store.get(self._name(name, local, scope))
        if pair is None:
            return None
        return pair.value if decrypt else _encrypted(pair).value

    def set_value(
        self,
        name: str,
        value: Any,
        ttl: float | None = None,
        local: bool = True,
        scope: str = SYSTEM_SCOPE,
        encrypt: bool = False,
    ) -> bool:
        self._store.set(self._name(name, local, scope), str(value), ttl=ttl, secret=encrypt)
        return True

    def delete_value(self, name: str, local: bool = True, scope: str = SYSTEM_SCOPE) -> bool:
        return self._store.delete(self._name(name, local, scope))

    def _name(self, name: str, local: bool, scope: str) -> str:
        if scope not in _SCOPES:
            raise ValueError(f"Scope {scope} is unsupported.")
        return self._prefix + name if local else name


def _encrypted(pair: KeyValuePair) -> KeyValuePair:
    """StackStorm gives the ciphertext of a secret without decrypt=True; code that forgets it must not work here."""
    return KeyValuePair(pair.name, MASK, True, pair.scope, pair.expire_timestamp) if pair.secret else pair


def reader(path: Path, on_error: Callable[[str], None] | None = None) -> Callable[[str], str | None]:
    """A function that reads a key for templates; scope prefixes are accepted, secrets are decrypted."""

    def read(name: str) -> str | None:
        import sqlite3

        short = name.removeprefix("system.")
        try:
            pair = Store(path).get(short)
        except sqlite3.Error as error:
            if on_error:
                on_error(f"the datastore {path} cannot be read ({error})")
            return None
        return pair.value if pair else None

    return read
