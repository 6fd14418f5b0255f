"""What the MongoDB part of the lab passes to mongod: command line, replica set configuration, users."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.certs import Authority
from lab.install import mongod_path

REPLICA_SET = "rs0"
# The states of a member that is well.
STATES = {1: "PRIMARY", 2: "SECONDARY", 7: "ARBITER"}
# Who may what. The first shows which rights a check needs, the second which an operation needs; root is for tests.
ROLES: dict[str, list[dict[str, str]]] = {
    "st2ha_check": [{"role": "clusterMonitor", "db": "admin"}],
    "st2ha": [
        {"role": "clusterManager", "db": "admin"},
        {"role": "clusterMonitor", "db": "admin"},
        {"role": "readWrite", "db": "st2ha_canary"},
    ],
    "st2ha_upgrade": [
        {"role": "clusterManager", "db": "admin"},
        {"role": "clusterMonitor", "db": "admin"},
        {"role": "readWrite", "db": "st2ha_canary"},
        {"role": "readWrite", "db": "st2ha_upgrade"},
        *({"role": role, "db": name} for role in ("readWrite", "dbAdmin") for name in ("st2", "st2_v2_5")),
    ],
    "lab_root": [{"role": "root", "db": "admin"}],
}


@dataclass(frozen=True)
class Login:
    """A user of the replica set; the password is also in a file of mode 0600."""

    username: str
    password_file: Path
    password: str = field(repr=False)


def command_line(directory: Path, port: int, *, tls: bool) -> list[str]:
    """The argv of a small mongod with its files in ``directory``; no secret in it."""
    command = [
        str(mongod_path()),
        *("--dbpath", str(directory / "data"), "--port", str(port), "--bind_ip", "127.0.0.1"),
        *("--replSet", REPLICA_SET, "--keyFile", str(directory / "keyfile"), "--nounixsocket", "--quiet"),
        *("--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "200"),
        *("--wiredTigerEngineConfigString", "log=(file_max=8MB,prealloc=false)"),  # disk of three: 902 MB -> 26 MB
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),  # stop: 16 s -> 1 s
    ]
    if tls:
        certs = ("--tlsCertificateKeyFile", str(directory / "server.pem"), "--tlsCAFile", str(directory / "ca.pem"))
        command += ["--tlsMode", "requireTLS", *certs, "--tlsAllowConnectionsWithoutCertificates"]
    return command


def write_secrets(directory: Path) -> None:
    """The passwords of all users and the set's key, each in a file of mode 0600, in a new ``directory``."""
    directory.mkdir(mode=0o700)
    for name in [*ROLES, "keyfile"]:
        path = directory / name
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(24))


def read_logins(directory: Path) -> dict[str, Login]:
    """The users by name, from what ``write_secrets`` wrote."""
    files = {name: directory / name for name in ROLES}
    return {name: Login(name, file, file.read_text()) for name, file in files.items()}


def write_member_files(directory: Path, keyfile: Path, authority: Authority | None) -> list[Path]:
    """What a member needs before its first start; the paths, to be handed to its user."""
    paths = [directory / "data", directory / "keyfile"]
    paths[0].mkdir(mode=0o700)
    paths[1].touch(mode=0o600)
    paths[1].write_text(keyfile.read_text())
    if authority is not None:
        paths += [directory / "server.pem", directory / "ca.pem"]
        paths[2].touch(mode=0o600)
        paths[2].write_bytes(authority.server(directory.name).read_bytes())
        paths[3].write_bytes(authority.ca_file.read_bytes())
    return paths


def configuration(hosts: Sequence[str], settings: dict[str, Any]) -> dict[str, Any]:
    """The replica set's configuration as the lab makes and restores it; arbiters are the last hosts."""
    members: list[dict[str, Any]] = [{"_id": i, "host": host} for i, host in enumerate(hosts)]
    for member in members[settings["members"] :]:
        member.update(arbiterOnly=True, priority=0)
    times = {
        "electionTimeoutMillis": settings["election_timeout_ms"],
        "heartbeatIntervalMillis": settings["heartbeat_ms"],
        "heartbeatTimeoutSecs": settings["heartbeat_timeout_s"],
    }
    return {"_id": REPLICA_SET, "members": members, "settings": times}


def differs(actual: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a configuration read from the set differs in what ``configuration`` decides."""

    def shape(config: dict[str, Any]) -> list[tuple[Any, ...]]:
        keys = {"arbiterOnly": False, "priority": 1, "votes": 1, "hidden": False, "secondaryDelaySecs": 0}
        return [(m["_id"], m["host"], *(m.get(k, default) for k, default in keys.items())) for m in config["members"]]

    return shape(actual) != shape(wanted) or any(actual["settings"][k] != v for k, v in wanted["settings"].items())
