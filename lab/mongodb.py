"""A MongoDB replica set on one machine, with authentication, optional TLS and arbiters, and the faults of it.

with MongoCluster(members=3) as rs:
    rs.client().st2ha_canary.things.insert_one({"x": 1})
    rs.kill(rs.primary().name)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from lab import mongod
from lab.certs import Authority
from lab.cluster import Cluster, Member
from lab.errors import NotYet
from lab.mongo_rollback import Rollback, make_rollback
from lab.wait import wait_for

Client = MongoClient[dict[str, Any]]
# replSetStepUp before the member may run for primary: it has not yet applied the new configuration.
NOT_READY = 125


class MongoCluster(Cluster):
    """A replica set ``rs0`` of ``members`` data members and ``arbiters``, named mongo1, mongo2, ... in this order.

    ``directory`` None: a new one under /tmp/st2ha-lab; ``base_port`` 0: free ports; times in milliseconds. The
    default login (``username``, ``password_file``) is the operator's; see ``logins`` for the others.
    """

    service = "mongodb"
    prefix = "mongo"

    def __init__(
        self,
        directory: Path | str | None = None,
        members: int = 3,
        *,
        arbiters: int = 0,
        base_port: int = 0,
        tls: bool = False,
        election_timeout_ms: int = 2000,
        heartbeat_ms: int = 500,
        heartbeat_timeout_s: int = 10,
    ) -> None:
        settings = {
            "members": members,
            "arbiters": arbiters,
            "tls": tls,
            "election_timeout_ms": election_timeout_ms,
            "heartbeat_ms": heartbeat_ms,
            "heartbeat_timeout_s": heartbeat_timeout_s,
        }
        super().__init__(directory, members + arbiters, settings, base_port)
        self.data_members = members
        self.tls = tls
        self._clients: list[Client] = []
        self._direct: dict[str, Client] = {}

    # -- connecting

    @property
    def hosts(self) -> list[str]:
        """``host:port`` of every member."""
        return [m.address for m in self.members]

    @property
    def logins(self) -> dict[str, mongod.Login]:
        """``st2ha`` (operator, the default), ``st2ha_check`` (reads only), ``lab_root`` (everything)."""
        return mongod.read_logins(self.directory / "secrets")

    @property
    def username(self) -> str:
        """The operator's."""
        return "st2ha"

    @property
    def password(self) -> str:
        """The operator's."""
        return self.logins["st2ha"].password

    @property
    def password_file(self) -> Path:
        """The operator's."""
        return self.logins["st2ha"].password_file

    @property
    def ca_file(self) -> Path | None:
        """What a client must trust; None without TLS."""
        return self.directory / "certs" / "ca.pem" if self.tls else None

    def client(self, name: str | None = None, *, login: str = "st2ha", **options: Any) -> Client:
        """A client of the whole set, or of one member directly; ended with the cluster at the latest.

        Timeouts: 5 s to select a server, 2 s to connect, 5 s for a reply; ``options`` of MongoClient override all.
        """
        who = self.logins[login]
        client = self._connect(name, {"username": who.username, "password": who.password, **options})
        self._clients.append(client)
        return client

    def close_clients(self) -> None:
        """End all clients given out by ``client``."""
        for client in self._clients:
            client.close()
        self._clients.clear()

    def deployment(self) -> dict[str, Any]:
        """This cluster as the pack's configuration names it."""
        mongodb: dict[str, Any] = {
            "hosts": self.hosts,
            "replica_set": mongod.REPLICA_SET,
            "username": self.username,
            "password_file": str(self.password_file),
        }
        if self.ca_file is not None:
            mongodb["tls"] = {"enabled": True, "ca_file": str(self.ca_file)}
        return {"name": "lab", "mongodb": mongodb}

    def write_config(self, path: Path | str) -> Path:
        """Write a pack configuration with this cluster as its one deployment; holds no secret."""
        text = yaml.safe_dump({"deployments": [self.deployment()], "default_deployment": "lab"}, sort_keys=False)
        Path(path).write_text(text)
        return Path(path)

    def facts(self) -> dict[str, str]:
        """What a person needs to connect."""
        tls = f"&tls=true&tlsCAFile={self.ca_file}" if self.tls else ""
        users = ", ".join(f"{name} (password in {who.password_file})" for name, who in self.logins.items())
        url = f"mongodb://{','.join(self.hosts)}/?replicaSet={mongod.REPLICA_SET}{tls}"
        return {**super().facts(), "url": url, "users": users, "config": str(self.directory / "ha.yaml")}

    # -- looking

    def primary(self, deadline_s: float = 20) -> Member:
        """The writable primary of the newest election, waiting for one. Raises WaitTimeout."""
        return wait_for(self.find_primary, deadline_s, f"a primary of {', '.join(self.hosts)}")

    def find_primary(self, besides: str = "") -> Member | None:
        """Of several that call themselves primary, the one of the newest election."""
        claims = []
        for member in self.members[: self.data_members]:
            if member.name == besides or member.name in self.network.silent:
                continue
            if self.servers[member.name].state == "running":
                try:
                    hello = self.command(member.name, "hello")
                except PyMongoError:
                    continue
                if hello.get("isWritablePrimary"):
                    claims.append((hello["electionId"], member))
        return max(claims, key=lambda claim: claim[0])[1] if claims else None

    def secondaries(self) -> list[Member]:
        """The data members that are not the primary, whatever their state."""
        primary = self.primary()
        return [m for m in self.members[: self.data_members] if m != primary]

    def admin(self, name: str) -> Client:
        """A direct connection as the set's internal user: it works before there are users, and on arbiters."""
        if name not in self._direct:
            key = (self.directory / "secrets" / "keyfile").read_text()
            system = {"username": "__system", "password": key, "authSource": "local", "authMechanism": "SCRAM-SHA-256"}
            short = {"serverSelectionTimeoutMS": 1000, "connectTimeoutMS": 1000, "socketTimeoutMS": 3000}
            self._direct[name] = self._connect(name, {**system, **short})
        return self._direct[name]

    def command(self, name: str, command: str | dict[str, Any], **arguments: Any) -> dict[str, Any]:
        """An admin command sent to one member with all rights; the raw reply. Raises PyMongoError."""
        return self.admin(name).admin.command(command, **arguments)

    def wait_healthy(self, deadline_s: float = 30) -> None:
        """Return when all members agree on one primary and a write reaches every data member. Raises WaitTimeout."""
        wait_for(self._healthy, deadline_s, "a healthy replica set", retry_on=(PyMongoError,))

    # -- faults of MongoDB

    def fsync_lock(self, name: str) -> None:
        """Freeze a member's writes; it stays SECONDARY with health 1."""
        self.command(name, "fsync", lock=True)

    def fsync_unlock(self, name: str) -> None:
        """Undo every fsync_lock of a member; harmless if there is none."""
        try:
            while self.command(name, "fsyncUnlock")["lockCount"] > 0:
                pass
        except OperationFailure as error:
            if "not locked" not in str(error):  # the reply has no code
                raise

    def make_rollback(self, documents: int = 100) -> Rollback:
        """Make the primary roll back ``documents`` writes it acknowledged; see lab.mongo_rollback."""
        return make_rollback(self, documents)

    def restore(self) -> None:
        """Undo every fault: network, hung, dead and locked members, a changed configuration; wait healthy."""
        self.undo_faults()
        wait_for(self._restore_settings, 60, "the set to take its settings back", retry_on=(PyMongoError,))
        self.wait_healthy(60)

    # -- inside

    def _restore_settings(self) -> bool:
        for member in self.members[: self.data_members]:
            self.fsync_unlock(member.name)
        primary = self.find_primary()
        one = primary or self.members[0]
        actual = self.command(one.name, "replSetGetConfig")["config"]
        wanted = mongod.configuration(self.hosts, self._settings)
        if mongod.differs(actual, wanted):
            wanted["version"] = actual["version"] + 1
            # By force: a safe reconfiguration changes one voter at a time, and needs a primary.
            self.command(one.name, {"replSetReconfig": wanted, "force": True})
            raise NotYet("reconfigured")
        for member in self.members[: self.data_members]:
            if member != primary:
                self.command(member.name, {"replSetFreeze": 0})  # also ends the pause after a replSetStepDown
        if primary is None:
            raise NotYet("no primary")
        return True

    def _healthy(self) -> bool:
        for server in self.servers.values():
            server.check_alive()
        primary = self.find_primary()
        if primary is None:
            raise NotYet("no primary")
        for row in self.command(primary.name, "replSetGetStatus")["members"]:
            if row["state"] not in mongod.STATES:
                raise NotYet(f"{row['name']} is {row['stateStr']}")
        concern = {"w": self.data_members, "wtimeout": 1000}
        reply = self.command(primary.name, {"appendOplogNote": 1, "data": {"lab": "healthy?"}, "writeConcern": concern})
        if "writeConcernError" in reply:
            raise NotYet("a write does not reach every data member")
        for member in self.members:
            seen = self.command(member.name, "hello").get("primary")
            if seen != primary.address:
                raise NotYet(f"{member.name} takes {seen} for the primary, not {primary.address}")
        return True

    def _connect(self, name: str | None, options: dict[str, Any]) -> Client:
        where: dict[str, Any] = {"host": self.hosts, "replicaSet": mongod.REPLICA_SET}
        if name is not None:
            where = {"host": self.member(name).address, "directConnection": True}
        tls = {"tls": True, "tlsCAFile": str(self.ca_file)} if self.tls else {}
        times = {"serverSelectionTimeoutMS": 5000, "connectTimeoutMS": 2000, "socketTimeoutMS": 5000}
        return MongoClient(**{**where, **tls, **times, **options})

    def _command(self, member: Member) -> list[str]:
        return mongod.command_line(self.directory / member.name, member.port, tls=self.tls)

    def _prepare(self) -> None:
        mongod.write_secrets(self.directory / "secrets")
        authority = Authority(self.directory / "certs") if self.tls else None
        for member in self.members:
            keyfile = self.directory / "secrets" / "keyfile"
            for path in mongod.write_member_files(self.directory / member.name, keyfile, authority):
                self._give(path, member)

    def _launch(self) -> None:
        for member in self.members:
            self._await_start(member.name, 30)
        first = self.members[0].name
        self.command(first, {"replSetInitiate": mongod.configuration(self.hosts, self._settings)})
        wait_for(lambda: self._step_up(first), 30, f"{first} to become primary")
        for username, login in self.logins.items():
            user = {"createUser": username, "pwd": login.password, "roles": mongod.ROLES[username]}
            self.command(first, {**user, "writeConcern": {"w": 1}})
        self.wait_healthy(60)
        self.write_config(self.directory / "ha.yaml")

    def _step_up(self, name: str) -> bool:
        """Do not wait for an election timeout: ask for an election, again until the member may run."""
        try:
            self.command(name, "replSetStepUp")
        except OperationFailure as error:
            if error.code != NOT_READY:
                raise
        return self.find_primary() is not None

    def _await_start(self, name: str, deadline_s: float) -> None:
        super()._await_start(name, deadline_s)
        wait_for(lambda: self.command(name, "ping"), deadline_s, f"{name} to answer", retry_on=(PyMongoError,))

    def _disconnect(self) -> None:
        self.close_clients()
        for client in self._direct.values():
            client.close()
        self._direct.clear()
