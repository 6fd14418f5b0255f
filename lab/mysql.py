"""A MySQL or MariaDB primary with replicas on one machine: GTID, semi-synchronous, and the faults of it.

with MysqlCluster() as pair:
    pair.query("db1", "CREATE DATABASE app")
    pair.kill("db1")
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import yaml
from pymysql.cursors import DictCursor

from lab.certs import Authority
from lab.cluster import Cluster, Member
from lab.errors import LabError, NotYet
from lab.mysql_flavors import FLAVORS, USERS, Flavor
from lab.wait import wait_for

Row = dict[str, Any]


@dataclass(frozen=True)
class Login:
    """A user of the servers; the password is also in a file of mode 0600."""

    username: str
    password_file: Path
    password: str = field(repr=False)


class MysqlCluster(Cluster):
    """db1 is the primary, the others replicate from it. ``flavor`` is ``mariadb`` or ``mysql9``.

    ``directory`` None: a new one under /tmp/st2ha-lab; ``base_port`` 0: free ports. The default login is the
    operator's; see ``logins`` for the others.
    """

    service = "mysql"
    prefix = "db"

    def __init__(
        self,
        directory: Path | str | None = None,
        members: int = 2,
        *,
        flavor: str = "mariadb",
        tls: bool = False,
        base_port: int = 0,
    ) -> None:
        super().__init__(directory, members, {"members": members, "flavor": flavor, "tls": tls}, base_port)
        self.flavor: Flavor = FLAVORS[flavor]()
        self.tls = tls

    # -- connecting

    @property
    def hosts(self) -> list[str]:
        """``host:port`` of every member."""
        return [m.address for m in self.members]

    @property
    def logins(self) -> dict[str, Login]:
        """``st2ha`` (operator), ``st2ha_check`` (reads only), ``repl`` (replicas), ``app``, ``lab_root``."""
        files = {name: self.directory / "secrets" / name for name in USERS}
        return {name: Login(name, file, file.read_text()) for name, file in files.items()}

    @property
    def ca_file(self) -> Path | None:
        """What a client must trust; None without TLS."""
        return self.directory / "certs" / "ca.pem" if self.tls else None

    @contextmanager
    def client(self, name: str, login: str = "lab_root", timeout_s: float = 5, **options: Any) -> Iterator[Any]:
        """A PyMySQL connection to one member, in autocommit; ended with the ``with``."""
        connection = self.connect(name, login, timeout_s, **options)
        try:
            yield connection
        finally:
            connection.close()

    def connect(self, name: str, login: str = "lab_root", timeout_s: float = 5, **options: Any) -> Any:
        """A PyMySQL connection to one member, in autocommit. Close it."""
        member, who = self.member(name), self.logins[login]
        # Left to itself PyMySQL reads all authorities of the machine for each connection: 35 ms of processor time.
        tls = {"ssl": {"ca": str(self.ca_file)}} if self.tls else {"ssl_disabled": True}
        return pymysql.connect(
            host=member.host, port=member.port, user=who.username, password=who.password, autocommit=True,
            connect_timeout=timeout_s, read_timeout=timeout_s, write_timeout=timeout_s, cursorclass=DictCursor,
            **{**tls, **options},
        )  # fmt: skip

    def query(self, name: str, *statements: str, login: str = "lab_root") -> list[Row]:
        """Run statements on one member; the rows of the last one. Raises pymysql.MySQLError."""
        with self.client(name, login) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def value(self, name: str, expression: str) -> Any:
        """The value of an SQL expression on one member."""
        return self.query(name, f"SELECT {expression} AS value")[0]["value"]

    def deployment(self, login: str = "st2ha") -> dict[str, Any]:
        """This cluster as the pack's configuration names it."""
        mysql: dict[str, Any] = {
            "hosts": self.hosts,
            "username": login,
            "password_file": str(self.logins[login].password_file),
            "replication_username": "repl",
            "replication_password_file": str(self.logins["repl"].password_file),
        }
        if self.ca_file is not None:
            mysql["tls"] = {"enabled": True, "ca_file": str(self.ca_file)}
        return {"name": "lab", "mysql": mysql}

    def write_config(self, path: Path | str, login: str = "st2ha") -> Path:
        """Write a pack configuration with this cluster as its one deployment; holds no secret."""
        config = {"deployments": [self.deployment(login)], "default_deployment": "lab"}
        Path(path).write_text(yaml.safe_dump(config, sort_keys=False))
        return Path(path)

    def facts(self) -> dict[str, str]:
        """What a person needs to connect."""
        users = ", ".join(f"{name} (password in {who.password_file})" for name, who in self.logins.items())
        return {**super().facts(), "users": users, "config": str(self.directory / "ha.yaml")}

    # -- looking

    def writable(self) -> list[str]:
        """The members that accept writes of ordinary users, of those that run."""
        running = [m.name for m in self.members if self.servers[m.name].state == "running"]
        return [name for name in running if not self.value(name, "@@read_only")]

    def replica_status(self, name: str) -> Row:
        """SHOW REPLICA STATUS (or SLAVE), empty if it is no replica."""
        word = "SLAVE" if self.flavor.name == "mariadb" else "REPLICA"
        rows = self.query(name, f"SHOW {word} STATUS")
        return rows[0] if rows else {}

    def wait_healthy(self, deadline_s: float = 30) -> None:
        """Return when db1 takes writes and every replica has them. Raises WaitTimeout."""
        wait_for(self._healthy, deadline_s, "a healthy primary with its replicas", retry_on=(pymysql.MySQLError,))

    # -- faults of replication

    def errant(self, name: str, count: int = 3) -> None:
        """Write to a replica what its primary does not have."""
        closed = ["SET GLOBAL read_only=1"]
        if self.flavor.name != "mariadb":
            closed.append("SET GLOBAL super_read_only=1")
        made = ["CREATE DATABASE IF NOT EXISTS app", "CREATE TABLE IF NOT EXISTS app.errant (n INT)"]
        writes = [f"INSERT INTO app.errant VALUES ({number})" for number in range(count - len(made))]
        self.query(name, "SET GLOBAL read_only=0", *made, *writes, *closed)

    def restore(self) -> None:
        """Back to the beginning, whatever has happened: every member gets new data; db1 is primary (2 s)."""
        for name, server in self.servers.items():
            self.network.heal(name)
            server.kill()
        for member in self.members:
            self._seed(member)
            self.servers[member.name].start()
        self._launch()

    # -- inside

    def _healthy(self) -> bool:
        for server in self.servers.values():
            server.check_alive()
        if self.writable() != [self.members[0].name]:
            raise NotYet(f"writable: {', '.join(self.writable()) or 'nobody'}")
        for replica in self.members[1:]:
            status = self.replica_status(replica.name)
            threads = [value for key, value in status.items() if key.endswith(("IO_Running", "SQL_Running"))]
            if threads != ["Yes", "Yes"]:
                raise NotYet(f"{replica.name} does not replicate: {threads}")
        return True

    def _command(self, member: Member) -> list[str]:
        pem = self.directory / member.name / "server.pem" if self.tls else None
        number = int(member.name[len(self.prefix) :])
        return self.flavor.command_line(self.directory / member.name, member.port, number, pem)

    def _prepare(self) -> None:
        why = self.flavor.limitation()
        if why:
            raise LabError(why)
        passwords = self._write_secrets()
        script = self.directory / "secrets" / "users.sql"
        script.touch(mode=0o600)
        script.write_text(self.flavor.users(passwords))
        self.flavor.initialize(self.directory / "seed", script)
        authority = Authority(self.directory / "certs") if self.tls else None
        for member in self.members:
            self._seed(member)
            if authority is not None:
                pem = self.directory / member.name / "server.pem"
                pem.write_bytes(authority.server(member.name).read_bytes())
                self._give(pem, member)

    def _write_secrets(self) -> dict[str, str]:
        directory = self.directory / "secrets"
        directory.mkdir(mode=0o700)
        passwords = {user: secrets.token_hex(12) for user in USERS}
        for user, password in passwords.items():
            (directory / user).touch(mode=0o600)
            (directory / user).write_text(password)
        return passwords

    def _seed(self, member: Member) -> None:
        data = self.directory / member.name / "data"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(self.directory / "seed", data)
        for path in [data, *data.rglob("*")]:
            self._give(path, member)

    def _launch(self) -> None:
        for member in self.members:
            self._await_start(member.name, 30)
        first = self.members[0]
        self.query(first.name, "SET GLOBAL read_only=0")
        password = self.logins["repl"].password
        for replica in self.members[1:]:
            self.query(replica.name, *self.flavor.change_source(first.host, first.port, password))
        self.query(first.name, "CREATE DATABASE app")
        self.wait_healthy(30)
        self.write_config(self.directory / "ha.yaml")

    def _await_start(self, name: str, deadline_s: float) -> None:
        super()._await_start(name, deadline_s)
        wait_for(lambda: self.value(name, "1"), deadline_s, f"{name} to answer", retry_on=(pymysql.MySQLError,))
