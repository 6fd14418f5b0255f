"""st2.conf as StackStorm reads it (oslo.config): which backend a node asks, and with which options."""

from __future__ import annotations

import configparser
import json
from collections.abc import Sequence
from typing import Any

from st2ha.auth.facts import Config
from st2ha.st2conf import is_true, value_of


def parse_conf(texts: Sequence[str]) -> Config:
    """`texts` of the configuration files in order; a later one wins. ValueError if one is no such file.

    A value in quotes loses them; `$$` is one dollar; a name after a single `$` is left as it is if it means nothing.
    """
    parser = configparser.ConfigParser(
        interpolation=None, strict=False, allow_no_value=True, default_section="\0", delimiters=("=", ":")
    )
    for text in texts:
        try:
            parser.read_string(text)
        except configparser.Error as error:
            raise ValueError(f"no configuration file ({type(error).__name__})") from None  # its text shows the line
    auth, rbac = (_section(parser, name) for name in ("auth", "rbac"))
    options, broken = _options(auth.get("backend_kwargs", ""))
    return Config(
        enabled=_flag(auth, "enable", True),
        mode=auth.get("mode") or "standalone",
        backend=auth.get("backend") or "flat_file",
        options=options,
        broken_options=broken,
        rbac=_flag(rbac, "enable", False),
        rbac_backend=rbac.get("backend") or "noop",
        role_sync=_flag(rbac, "sync_remote_groups", False),
    )


def _section(parser: configparser.ConfigParser, name: str) -> dict[str, str]:
    if not parser.has_section(name):
        return {}
    return {key: value_of(value or "") for key, value in parser.items(name)}


def _flag(section: dict[str, str], name: str, default: bool) -> bool:
    return is_true(section.get(name), default)


def _options(text: str) -> tuple[dict[str, Any], bool]:
    if not text or text == "None":
        return {}, False
    try:
        options = json.loads(text)
    except ValueError:
        return {}, True
    return (options, False) if isinstance(options, dict) else ({}, True)
