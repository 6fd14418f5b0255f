"""What the RabbitMQ part of the lab gives a node: environment, configuration, secrets."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.certs import Authority
from lab.cluster import Member
from lab.errors import LabError

SCRIPTS = Path("/usr/lib/rabbitmq/bin")
# Who may what: the first shows what a check needs, the second what an operation needs; the third is StackStorm's.
TAGS = {"st2ha_check": "monitoring", "st2ha": "administrator", "st2": ""}
ROOT_USER = "lab_root"


@dataclass(frozen=True)
class Login:
    """A user of the cluster; the password is also in a file of mode 0600."""

    username: str
    password_file: Path
    password: str = field(repr=False)


def scripts(root: Path | None = None) -> Path:
    """Where the server's scripts are. Raises LabError that tells how to get them."""
    path = (root or Path("/")) / SCRIPTS.relative_to("/")
    if not (path / "rabbitmq-server").exists():
        raise LabError(f"no {path}/rabbitmq-server: run make setup, or apt install rabbitmq-server")
    return SCRIPTS


def node_name(member: Member) -> str:
    """The node's Erlang name: all nodes live on one host, so the first half tells them apart."""
    return f"{member.name}@localhost"


def environment(directory: Path, member: Member, epmd_port: int, settings: dict[str, Any]) -> dict[str, str]:
    """What the start script reads; the VM replaces the script, so that its pid is the child's."""
    kernel = f"-kernel net_ticktime {settings['net_ticktime_s']} -kernel inet_dist_use_interface {{127,0,0,1}}"
    return {
        **tool_environment(directory, epmd_port),
        "RABBITMQ_NODENAME": node_name(member),
        "RABBITMQ_DIST_PORT": str(member.ports[2]),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
        "RABBITMQ_FEATURE_FLAGS_FILE": str(directory / "feature_flags"),
        "RUNNING_UNDER_SYSTEMD": "true",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none {kernel}",
    }


def tool_environment(directory: Path, epmd_port: int) -> dict[str, str]:
    """What rabbitmqctl and its like need to reach a node: the cookie under HOME, and epmd's port."""
    return {
        "HOME": str(directory),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "LANG": "C.UTF-8",
    }


def configuration(member: Member, seed: str, settings: dict[str, Any], password: str, directory: Path) -> str:
    """rabbitmq.conf; holds the root user's password, so it belongs in a file of mode 0600."""
    lines = [
        "cluster_formation.peer_discovery_backend = classic_config",
        f"cluster_formation.classic_config.nodes.1 = {seed}",
        f"cluster_partition_handling = {settings['partition_handling']}",
        "loopback_users = none",
        f"default_user = {ROOT_USER}",
        f"default_pass = {password}",
        "disk_free_limit.absolute = 50MB",
        f"vm_memory_high_watermark.absolute = {settings['memory_limit_mb']}MB",
        "log.file = false",
        "log.console = true",
        "log.console.level = warning",
        "collect_statistics_interval = 1000",
    ]
    if settings["tls"]:
        files = f"cacertfile = {directory}/ca.pem|certfile = {directory}/server.pem|keyfile = {directory}/server.pem"
        lines += ["listeners.tcp = none", f"listeners.ssl.1 = 127.0.0.1:{member.ports[0]}"]
        lines += [f"management.ssl.port = {member.ports[1]}", "management.ssl.ip = 127.0.0.1"]
        lines += [f"{section}.{line}" for section in ("ssl_options", "management.ssl") for line in files.split("|")]
    else:
        lines += [f"listeners.tcp.1 = 127.0.0.1:{member.ports[0]}"]
        lines += [f"management.tcp.port = {member.ports[1]}", "management.tcp.ip = 127.0.0.1"]
    return "\n".join(lines) + "\n"


def write_secrets(directory: Path) -> None:
    """The passwords of all users and the cluster's cookie, each in a file of mode 0600, in a new ``directory``."""
    directory.mkdir(mode=0o700)
    for name in [*TAGS, ROOT_USER, "cookie"]:
        path = directory / name
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(20))


def read_logins(directory: Path) -> dict[str, Login]:
    """The users by name, from what ``write_secrets`` wrote."""
    files = {name: directory / name for name in [*TAGS, ROOT_USER]}
    return {name: Login(name, file, file.read_text()) for name, file in files.items()}


def write_member_files(directory: Path, text: str, cookie: str, authority: Authority | None) -> list[Path]:
    """What a node needs before its first start; the paths, to be handed to its user."""
    contents = {
        ".erlang.cookie": cookie,
        "rabbitmq.conf": text,
        "enabled_plugins": "[rabbitmq_management].\n",
    }
    if authority is not None:
        contents["server.pem"] = authority.server(directory.name).read_text()
        contents["ca.pem"] = authority.ca_file.read_text()
    for name, content in contents.items():
        (directory / name).touch(mode=0o600)
        (directory / name).write_text(content)
    (directory / ".erlang.cookie").chmod(0o400)
    for name in ("data", "log"):
        (directory / name).mkdir(mode=0o700)
    return [directory / name for name in (*contents, "data", "log")]
