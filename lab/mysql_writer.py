"""The load of a MySQL or MariaDB pair: rows, written by an application that looks for the primary by itself."""

from __future__ import annotations

from typing import Any

import pymysql

from lab.load import Load
from lab.mysql import MysqlCluster


class MysqlWriter(Load):
    """One row in a transaction; when a write fails, the next one goes to the next server."""

    errors = (pymysql.MySQLError, OSError)

    def __init__(self, pair: MysqlCluster, name: str = "writes", pause_s: float = 0.01) -> None:
        super().__init__(name, pause_s)
        self._pair, self._table = pair, f"app.{name}"
        self._names = [member.name for member in pair.members]
        self._connection: Any = None

    def start(self) -> MysqlWriter:
        """See Load.start; the table is made anew."""
        primary = self._pair.writable()[0]
        self._names.remove(primary)
        self._names.insert(0, primary)
        definition = f"CREATE TABLE {self._table} (n INT PRIMARY KEY) ENGINE=InnoDB"
        self._pair.query(primary, f"DROP TABLE IF EXISTS {self._table}", definition)
        return super().start()

    def stop(self, deadline_s: float = 30) -> None:
        """See Load.stop."""
        super().stop(deadline_s)
        self._forget()

    def write(self, number: int) -> None:
        """One row."""
        try:
            if self._connection is None:
                self._connection = self._pair.connect(self._names[0], "app", timeout_s=2)
            self._connection.cursor().execute(f"INSERT INTO {self._table} VALUES (%s)", (number,))
        except self.errors:
            self._forget()
            self._names.append(self._names.pop(0))
            raise

    def present(self) -> set[int]:
        """What the primary has."""
        return self.present_on(self._pair.writable()[0])

    def present_on(self, name: str) -> set[int]:
        """What one server has."""
        return {row["n"] for row in self._pair.query(name, f"SELECT n FROM {self._table}")}

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection._force_close()
            self._connection = None
