"""The pack's sign-in actions. Entry files call these."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Optional

from st2ha.auth import explanation as telling
from st2ha.auth.assess import assess, healthy_words
from st2ha.auth.facts import Config, Unread
from st2ha.auth.gather import gather, read_configs
from st2ha.auth.rbac import Files, read_files
from st2ha.auth.settings import Auth
from st2ha.config import MASKED, Deployment
from st2ha.errors import BadInput, HaError
from st2ha.report import Report

TITLE = "Sign-in"


def settings_of(deployment: Deployment, timeout_s: Optional[float] = None) -> Auth:
    """The deployment's layer, with the timeout of this run if one is given."""
    settings: Auth = deployment.require("auth", timeout_s)
    return settings


def check(deployment: Deployment, timeout_s: Optional[float] = None) -> Report:
    """Ask every node, the VIP, and every directory server behind them."""
    began = time.monotonic()
    settings = settings_of(deployment, timeout_s)
    snapshot = gather(settings)
    findings = assess(snapshot, settings, snapshot.at)
    return Report(TITLE, healthy_words(snapshot), findings, snapshot.rows(), time.monotonic() - began)


def explain(deployment: Deployment, user: str, node: str = "", timeout_s: Optional[float] = None) -> Report:
    """Why a user may sign in or not, by the settings of `node` (else of the first one that asks a directory)."""
    began = time.monotonic()
    settings, name = settings_of(deployment, timeout_s), _user(user)
    configured, config = _config(settings, node)
    files = read_files(settings.rbac_directory) if settings.rbac_directory else Files()
    explained = _explain(settings, configured, config, name)
    told = telling.tell(name, explained, config, files, settings.rbac_directory is not None)
    facts = {"user": name, "node": configured, "backend": config.backend, **told.facts}
    return Report(TITLE, told.healthy, told.findings, facts, time.monotonic() - began)


def _user(user: object) -> str:
    if not isinstance(user, str) or not user.strip() or user == MASKED:
        raise BadInput(f"parameter `user` is {user!r}: give the name as the user types it, for example alice")
    return user


def _config(settings: Auth, wanted: Optional[str]) -> tuple[str, Config]:
    """The node whose settings decide. BadInput where there is none."""
    inside = {node.name for node in settings.nodes if node.prefix is not None}
    names = ", ".join(sorted(inside))
    if not inside:
        raise BadInput("auth has no node with a `command`: set it (`local` for this node), st2.conf is read through it")
    wanted = (wanted or "").strip()
    if wanted and wanted not in inside:
        raise BadInput(f"parameter `node` is {wanted[:60]!r}: use one of {names}")
    if wanted:
        settings = replace(settings, nodes=tuple(node for node in settings.nodes if node.name == wanted))
    configs = read_configs(settings)
    for name, config in configs.items():
        if isinstance(config, Config) and config.asks_directory:
            return name, config
    raise HaError(_no_directory(configs))


def _no_directory(configs: Mapping[str, object]) -> str:
    words = [
        f"{name}: {config.reason[:300]}" if isinstance(config, Unread)
        else f"{name} asks {config.backend} in mode {config.mode}"
        for name, config in configs.items() if isinstance(config, (Config, Unread))
    ]  # fmt: skip
    return f"no node asks a directory, which auth_explain is about ({'; '.join(words)}): see auth_check"


def _explain(settings: Auth, node_name: str, config: Config, user: str) -> Any:
    from st2ha.auth import backend as ldap
    from st2ha.auth.inside import usable_here

    node = next(node for node in settings.nodes if node.name == node_name)
    if config.broken_options:
        raise HaError(f"backend_kwargs of {node_name} is no JSON object: correct st2.conf, auth_check tells more")
    try:
        with usable_here(config.options, node, settings.timeout_s) as options:
            parsed = ldap.parse(options)
            deadline = ldap.Deadline(settings.timeout_s, "explaining")
            return ldap.explaining.explain(parsed, user, deadline, time.time())
    except ldap.Misconfigured as error:
        raise HaError(f"backend_kwargs of {node_name} cannot be used: {error}; correct st2.conf") from None
    except ldap.AuthError as error:
        raise HaError(f"the directory does not tell: {error}; auth_check tells which server is ill") from None
