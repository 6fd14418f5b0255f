"""A Redis primary with replicas and Sentinels on one machine, and the faults of it.

with RedisCluster() as cluster:
    cluster.kill("redis1")
    cluster.await_primary(other_than="redis1")
"""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
import yaml

from lab.certs import Authority
from lab.cluster import Cluster, Member
from lab.errors import LabError, NotYet
from lab.wait import wait_for

MASTER_NAME = "st2"
SERVER, SENTINEL = "redis", "sentinel"
BINARIES = {SERVER: "redis-server", SENTINEL: "redis-sentinel"}
READS = "resetchannels -@all +ping +info +role +hello +client|setname"
LOOKS = ("masters", "replicas", "sentinels", "ckquorum", "get-master-addr-by-name")
RIGHTS = {
    "st2ha": dict.fromkeys((SERVER, SENTINEL), "~* &* +@all"),
    "st2ha_check": {
        SERVER: f"{READS} +config|get",
        SENTINEL: " ".join([READS, *(f"+sentinel|{word}" for word in LOOKS)]),
    },
}
"""User to what a server's and a Sentinel's access list say of it."""
DRIVER = (redis.RedisError, OSError)


@dataclass(frozen=True)
class Login:
    """A user of servers and Sentinels; the password is also in a file of mode 0600."""

    username: str
    password_file: Path
    password: str = field(repr=False)


class RedisCluster(Cluster):
    """redis1 is the primary, the other servers replicate from it; sentinel1, sentinel2, ... watch over them.

    ``directory`` None: a new one under /tmp/st2ha-lab; ``base_port`` 0: free ports.
    """

    service = "redis"
    prefix = SERVER

    def __init__(
        self,
        directory: Path | str | None = None,
        members: int = 3,
        *,
        sentinels: int = 3,
        tls: bool = False,
        down_after_ms: int = 1000,
        base_port: int = 0,
    ) -> None:
        settings = {"members": members, "sentinels": sentinels, "tls": tls, "down_after_ms": down_after_ms}
        super().__init__(directory, members + sentinels, settings, base_port)
        self.tls = tls
        self.changed = False  # whether a setting was
        self._names = [f"{SERVER}{n}" for n in range(1, members + 1)]
        self._names += [f"{SENTINEL}{n}" for n in range(1, sentinels + 1)]

    # -- connecting

    @property
    def redises(self) -> list[Member]:
        """The servers without the Sentinels."""
        return [m for m in self.members if m.name.startswith(SERVER)]

    @property
    def sentinels(self) -> list[Member]:
        """The Sentinels."""
        return [m for m in self.members if m.name.startswith(SENTINEL)]

    @property
    def logins(self) -> dict[str, Login]:
        """``st2ha`` (operator), ``st2ha_check`` (reads only), ``default`` (everything, as StackStorm connects)."""
        files = {name: self.directory / "secrets" / name for name in (*RIGHTS, "default")}
        return {name: Login(name, file, file.read_text()) for name, file in files.items()}

    @property
    def ca_file(self) -> Path | None:
        """What a client must trust; None without TLS."""
        return self.directory / "certs" / "ca.pem" if self.tls else None

    def client(self, name: str, login: str = "default", timeout_s: float = 2) -> redis.Redis:
        """A client of one member, server or Sentinel; it connects when it is used. Close it."""
        member, who = self.member(name), self.logins[login]
        tls: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(self.ca_file)} if self.tls else {}
        return redis.Redis(
            host=member.host, port=member.port, username=who.username, password=who.password, socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s, decode_responses=True, **tls,
        )  # fmt: skip

    def ask(self, name: str, *words: str | int) -> Any:
        """The reply of one member to one command. Raises redis.RedisError."""
        with self.client(name) as client:
            return client.execute_command(*words)

    def deployment(self, login: str = "st2ha") -> dict[str, Any]:
        """This cluster as the pack's configuration names it."""
        who = self.logins[login]
        layer: dict[str, Any] = {
            "hosts": [m.address for m in self.redises],
            "sentinels": [m.address for m in self.sentinels],
            "master_name": MASTER_NAME,
            "username": who.username,
            "password_file": str(who.password_file),
            "sentinel_username": who.username,
            "sentinel_password_file": str(who.password_file),
        }
        if self.ca_file is not None:
            layer["tls"] = {"enabled": True, "ca_file": str(self.ca_file)}
        return {"name": "lab", "redis": layer}

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

    def primary(self) -> Member:
        """The server that the Sentinels which answer name as the primary, all of them the same. Raises NotYet."""
        named = set()
        for sentinel in self.sentinels:
            if self.servers[sentinel.name].state == "running" and not self.network.is_cut_off(sentinel.name):
                host, port = self.ask(sentinel.name, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
                named.add(f"{host}:{port}")
        found = [m for m in self.redises if m.address in named]
        if len(named) != 1 or not found:
            raise NotYet(f"the Sentinels name {', '.join(sorted(named)) or 'nobody'}")
        return found[0]

    def await_primary(self, deadline_s: float = 30, *, other_than: str = "") -> Member:
        """Return when the Sentinels name one primary, which says itself that it is. Raises WaitTimeout."""

        def settled() -> Member:
            member = self.primary()
            if member.name == other_than or self.ask(member.name, "ROLE")[0] != "master":
                raise NotYet(f"{member.name} is not it yet")
            return member

        return wait_for(settled, deadline_s, "a primary", retry_on=DRIVER)

    def wait_healthy(self, deadline_s: float = 30) -> None:
        """Return when all replicas are in step with one primary and all Sentinels know all. Raises WaitTimeout."""
        wait_for(self._healthy, deadline_s, "a healthy primary with replicas and Sentinels", retry_on=DRIVER)

    # -- faults of Redis

    def configure(self, name: str, **settings: str) -> None:
        """CONFIG SET on one server; ``restore`` undoes it. ``_`` in a setting's name stands for ``-``."""
        self.changed = True
        for setting, value in settings.items():
            self.ask(name, "CONFIG", "SET", setting.replace("_", "-"), value)

    def restore(self) -> None:
        """Back to the beginning, whatever has happened: every member is empty; redis1 is the primary (2 s)."""
        for name, server in self.servers.items():
            self.network.heal(name)
            server.kill()
        self.changed = False
        for member in self.members:
            self._write_files(member)
        self._start_all()
        self._launch()

    # -- inside

    def _healthy(self) -> bool:
        for server in self.servers.values():
            server.check_alive()
        primary = self.primary()
        replicas = [m.name for m in self.redises if m != primary]
        for name in replicas:
            role = self.ask(name, "ROLE")
            if role[0] != "slave" or (int(role[2]), role[3]) != (primary.port, "connected"):
                raise NotYet(f"{name} is {role}")
        for sentinel in self.sentinels:
            pairs = self.ask(sentinel.name, "SENTINEL", "MASTER", MASTER_NAME)
            row = pairs if isinstance(pairs, dict) else dict(zip(pairs[::2], pairs[1::2]))
            seen = int(row["num-slaves"]), int(row["num-other-sentinels"]), str(row["flags"])
            if seen[:2] != (len(replicas), len(self.sentinels) - 1) or "down" in seen[2]:
                raise NotYet(f"{sentinel.name} knows {seen}")
        return True

    def _name(self, number: int) -> str:
        return self._names[number - 1]

    def _command(self, member: Member) -> list[str]:
        kind = member.name.rstrip("0123456789")
        return [BINARIES[kind], str(self.directory / member.name / "redis.conf")]

    def _prepare(self) -> None:
        missing = [binary for binary in BINARIES.values() if shutil.which(binary) is None]
        if missing:
            raise LabError(f"there is no {missing[0]}: apt install redis-server redis-sentinel")
        # Sentinel asks access(2) for its file; that one ignores the capability by which servers pass our 0700.
        for path in (self.directory, self.directory.parent):
            if path.stat().st_uid == os.geteuid():
                path.chmod(path.stat().st_mode | 0o011)
        directory = self.directory / "secrets"
        directory.mkdir(mode=0o700)
        for user in (*RIGHTS, "default"):
            (directory / user).touch(mode=0o600)
            (directory / user).write_text(secrets.token_hex(12))
        authority = Authority(self.directory / "certs") if self.tls else None
        for member in self.members:
            if authority is not None:
                for name, source in (("ca.pem", authority.ca_file), ("server.pem", authority.server(member.name))):
                    shutil.copy(source, self.directory / member.name / name)
                    self._give(self.directory / member.name / name, member)
            self._write_files(member)

    def _write_files(self, member: Member) -> None:
        """A new configuration and no data: both kinds of server rewrite their file."""
        directory = self.directory / member.name
        shutil.rmtree(directory / "data", ignore_errors=True)
        (directory / "data").mkdir(mode=0o700)
        lines = self._server_lines(member) if member in self.redises else self._sentinel_lines()
        path = directory / "redis.conf"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text("\n".join([*self._common_lines(member), *lines]) + "\n")
        for each in (directory / "data", path):
            self._give(each, member)

    def _common_lines(self, member: Member) -> list[str]:
        kind = SERVER if member in self.redises else SENTINEL
        users = [f"user {name} on >{self.logins[name].password} {rights[kind]}" for name, rights in RIGHTS.items()]
        port = ["port 0", f"tls-port {member.port}", "tls-replication yes", "tls-auth-clients no"]
        pem, ca = (self.directory / member.name / name for name in ("server.pem", "ca.pem"))
        port += [f"tls-cert-file {pem}", f"tls-key-file {pem}", f"tls-ca-cert-file {ca}"]
        return [
            "bind 127.0.0.1", f"dir {self.directory / member.name / 'data'}", f"requirepass {self._password}", *users,
            *(port if self.tls else [f"port {member.port}"]),
        ]  # fmt: skip

    def _server_lines(self, member: Member) -> list[str]:
        first = self.redises[0]
        return [
            "save ''", "appendonly yes", "appendfsync everysec", "maxmemory 64mb", "maxmemory-policy noeviction",
            f"masterauth {self._password}", "min-replicas-to-write 1", "min-replicas-max-lag 5",
            "repl-diskless-sync-delay 0", "repl-ping-replica-period 1", "repl-timeout 5", "repl-backlog-size 8mb",
            *([f"replicaof {first.host} {first.port}"] if member != first else []),
        ]  # fmt: skip

    def _sentinel_lines(self) -> list[str]:
        first, quorum = self.redises[0], len(self.sentinels) // 2 + 1
        return [
            f"sentinel monitor {MASTER_NAME} {first.host} {first.port} {quorum}",
            f"sentinel auth-pass {MASTER_NAME} {self._password}", f"sentinel sentinel-pass {self._password}",
            f"sentinel down-after-milliseconds {MASTER_NAME} {self._settings['down_after_ms']}",
            f"sentinel failover-timeout {MASTER_NAME} 5000", f"sentinel parallel-syncs {MASTER_NAME} 2",
        ]  # fmt: skip

    @property
    def _password(self) -> str:
        return self.logins["default"].password

    def _start_all(self) -> None:
        """The Sentinels last: they look for replicas at once, and then only every ten seconds."""
        for member in self.redises:
            self.servers[member.name].start()
        for member in self.redises:
            self._await_start(member.name, 30)
        for member in self.redises[1:]:
            wait_for(
                lambda name=member.name: "connected" in self.ask(name, "ROLE"), 30,  # type: ignore[misc]
                f"{member.name} to replicate", interval_s=0.02, retry_on=DRIVER,
            )  # fmt: skip
        for member in self.sentinels:
            self.servers[member.name].start()

    def _launch(self) -> None:
        for member in self.sentinels:
            self._await_start(member.name, 30)
        self.wait_healthy(30)
        self.write_config(self.directory / "ha.yaml")

    def _await_start(self, name: str, deadline_s: float) -> None:
        super()._await_start(name, deadline_s)
        wait_for(lambda: self._answers(name), deadline_s, f"{name} to answer", interval_s=0.02, retry_on=DRIVER)

    def _answers(self, name: str) -> bool:
        self.servers[name].check_alive()
        return bool(self.ask(name, "PING"))
