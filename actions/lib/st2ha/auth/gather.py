"""Read all of sign-in: every node and the VIP at once, then every directory server at once."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Optional, Union

from st2ha.auth.client import request_token
from st2ha.auth.facts import Answer, Config, Controller, Directory, Node, Snapshot, Unread
from st2ha.auth.inside import read_config, usable_here
from st2ha.auth.settings import Auth, AuthNode, Url
from st2ha.config import Host
from st2ha.errors import HaError
from st2ha.probe import Attempt, Silent, ask_all

VIP = "vip"


@dataclass(frozen=True)
class Question:
    """One of the things that are asked at once: `inside` a node, or for a token at its URL (no node: the VIP)."""

    inside: bool
    url: Url
    node: Optional[AuthNode] = None

    def __str__(self) -> str:
        return f"{self.node.name if self.node else VIP}{' inside' if self.inside else ''}"


def gather(settings: Auth) -> Snapshot:
    """The nodes, the VIP, and each directory that the nodes are configured to ask."""
    questions = [Question(False, node.url, node) for node in settings.nodes]
    questions += [Question(True, node.url, node) for node in settings.nodes if node.prefix is not None]
    if settings.vip is not None:
        questions.append(Question(False, settings.vip))

    def ask(question: Question, attempt: Attempt) -> Union[Answer, Config, Unread]:
        if question.inside and question.node is not None:
            return read_config(question.node, attempt)
        return request_token(question.url, attempt, settings.test_username, settings.test_password, settings.ca_file)

    found: dict[Question, Any] = ask_all(questions, ask, settings.timeout_s)
    nodes = tuple(
        Node(node.name, found[Question(False, node.url, node)], _config(found.get(Question(True, node.url, node))))
        for node in settings.nodes
    )
    return Snapshot(
        nodes=nodes,
        at=time.time(),
        vip=found[questions[-1]] if settings.vip is not None else None,
        directories=tuple(_directory(settings, each) for each in directories_of(nodes)),
        with_user=settings.test_username is not None,
    )


def read_configs(settings: Auth) -> dict[str, Union[Config, Unread]]:
    """What the nodes are configured to do, of those that we may look into, in order."""
    inside = [node for node in settings.nodes if node.prefix is not None]
    found = ask_all(inside, read_config, settings.timeout_s)
    return {node.name: _config(found[node]) or Unread("nothing was read") for node in inside}


def _config(found: Union[Config, Unread, Silent, None]) -> Union[Config, Unread, None]:
    return Unread(found.reason) if isinstance(found, Silent) else found


def directories_of(nodes: Iterable[Node]) -> list[Directory]:
    """One for each different set of options: nodes that are configured alike ask the same directory."""
    alike: dict[tuple[str, str], list[tuple[str, Config]]] = {}
    for node in nodes:
        config = node.config
        if isinstance(config, Config) and config.asks_directory and not config.broken_options:
            key = config.backend, json.dumps(config.options, sort_keys=True)
            alike.setdefault(key, []).append((node.name, config))
    return [
        Directory(backend, tuple(name for name, _ in members), members[0][1].options)
        for (backend, _), members in alike.items()
    ]


def _directory(settings: Auth, directory: Directory) -> Directory:
    """The directory with all that its servers say."""
    from dataclasses import replace

    from st2ha.auth import backend as ldap

    node = next(node for node in settings.nodes if node.name == directory.nodes[0])
    try:
        with usable_here(directory.options, node, settings.timeout_s) as options:
            parsed = ldap.parse(options)
            hosts = _servers(parsed, settings.timeout_s)
            controllers = _look_at(parsed, hosts, settings.timeout_s)
    except ldap.Misconfigured as error:
        return replace(directory, problems=error.problems)
    except (ldap.AuthError, HaError) as error:
        return replace(directory, problems=(str(error),))
    return replace(
        directory,
        controllers=controllers,
        addresses=_addresses(hosts[0]) if len(hosts) == 1 else 0,
        require_all=parsed.require_all,
    )


def _servers(parsed: Any, timeout_s: float) -> list[Host]:
    """As the settings list them, or DNS."""
    from st2ha.auth import backend as ldap

    found = ldap.Names(parsed)(ldap.Deadline(timeout_s, "asking DNS"))
    return list(dict.fromkeys(Host(name, port or parsed.default_port) for name, port in found))


def _look_at(parsed: Any, hosts: list[Host], timeout_s: float) -> dict[str, Union[Controller, Silent]]:
    from st2ha.auth.controllers import look
    from st2ha.auth.gate import Gate

    gate = Gate()
    found = ask_all(hosts, lambda host, attempt: look(parsed, host, gate, attempt), timeout_s)
    return {str(host): answer for host, answer in found.items()}


def _addresses(host: Host) -> int:
    try:
        return len({each[4][0] for each in socket.getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM)})
    except OSError:
        return 0
