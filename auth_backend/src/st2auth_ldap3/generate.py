"""`python -m st2auth_ldap3 config`: ask the directory, show the `[auth]` section, test it, and only then write it."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from st2auth_ldap3 import conf
from st2auth_ldap3.backend import Engine, Ldap3AuthenticationBackend
from st2auth_ldap3.deadline import Deadline
from st2auth_ldap3.directory import Reader
from st2auth_ldap3.errors import AuthError, Misconfigured
from st2auth_ldap3.servers import Server
from st2auth_ldap3.settings import parse

GOOD, BAD, USAGE = 0, 1, 64
PLACEHOLDER_BASE = "DC=unknown"


def parser() -> argparse.ArgumentParser:
    """No argument holds a password: they come from files or are asked for."""
    made = argparse.ArgumentParser(prog="python -m st2auth_ldap3 config", description=__doc__)
    add = made.add_argument
    add("--from", dest="source", type=Path, help="st2.conf with the [auth] section of st2-auth-ldap or PAM to convert")
    add("--host", help="servers, separated by commas")
    add("--srv-domain", help="find the servers by DNS")
    add("--srv-site", help="the Active Directory site of this node")
    add("--port", type=int)
    add("--starttls", action="store_true", help="StartTLS instead of LDAPS")
    add("--cacert", help="file of the authority that signed the servers' certificates; default: the system's store")
    add("--bind-dn", help="service account")
    add("--bind-password-file", help="file with its password")
    add("--user-bind-pattern", help="without a service account, e.g. {username}@ad.example.com")
    add("--base", help="where the users are; default: what the server names")
    add("--id-attr", help="attribute of the user name; default: sAMAccountName on AD, else uid")
    add("--username-format", choices=["account", "upn", "domain"])
    add("--domain", help="NetBIOS name, for --username-format domain")
    add("--group", action="append", help="required group: DN, RDN or SID; may be repeated")
    add("--any-of", action="store_true", help="one of the groups is enough")
    add("--deny", action="append", help="denied group; may be repeated")
    add("--any-user", action="store_true", help="no group is required")
    add("--test-user", help="try a login; its password is asked for")
    add("--test-password-file", help="... or read from a file")
    add(
        "--write",
        type=Path,
        help="replace the settings in this st2.conf, if every test is passed; keeps a .before-ldap3",
    )
    return made


def main(argv: Sequence[str]) -> int:
    """0: all tests passed (and the file is written, if that was asked for); 1: not; 64: usage."""
    if list(argv[:1]) != ["config"]:
        print("usage: python -m st2auth_ldap3 config --help", file=sys.stderr)
        return USAGE
    arguments = parser().parse_args(argv[1:])
    try:
        kwargs = _kwargs(arguments)
        kwargs = _with_base(kwargs)
        print(conf.section(kwargs))
        passed = _tested(kwargs, arguments)
    except (AuthError, OSError, ValueError) as error:
        print(f"FAILED  {_words(error)}")
        return BAD
    if passed and arguments.write:
        _write(arguments.write, kwargs)
        print(f"written to {arguments.write}: restart st2auth")
    elif arguments.write:
        print(f"{arguments.write} is left as it was")
    return GOOD if passed else BAD


def _kwargs(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the arguments say, over what the old section has."""
    kwargs, said = _converted(arguments.source)
    given = {
        "host": arguments.host,
        "srv_domain": arguments.srv_domain,
        "srv_site": arguments.srv_site,
        "port": arguments.port,
        "use_ssl": None if arguments.source and not arguments.host else not arguments.starttls,
        "use_tls": arguments.starttls or None,
        "cacert": arguments.cacert,
        "bind_dn": arguments.bind_dn,
        "bind_password_file": arguments.bind_password_file,
        "user_bind_pattern": arguments.user_bind_pattern,
        "base_ou": arguments.base,
        "id_attr": arguments.id_attr,
        "username_format": arguments.username_format,
        "domain": arguments.domain,
        "group_dns": arguments.group,
        "group_dns_check": "or" if arguments.any_of else None,
        "denied_group_dns": arguments.deny,
        "allow_any_user": arguments.any_user or None,
    }
    if arguments.bind_password_file:
        kwargs.pop("bind_password", None)
    for line in said:
        print(f"note: {line}")
    return {**kwargs, **{name: value for name, value in given.items() if value is not None}}


def _converted(source: Optional[Path]) -> tuple[dict[str, Any], list[str]]:
    if source is None:
        return {}, []
    auth = conf.read_auth(source.read_text())
    backend = auth.get("backend", "")
    if backend in ("ldap", "ldap3"):
        try:
            return conf.convert(json.loads(auth.get("backend_kwargs") or "{}"))
        except (ValueError, AttributeError):
            raise Misconfigured([f"backend_kwargs in {source} is no JSON object"]) from None
    return {}, [f"the backend was {backend or 'not set'!s}: nothing of its settings is used"]


def _with_base(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The server's own naming context where no base was given."""
    if kwargs.get("base_ou"):
        return kwargs
    engine = Engine(parse({**kwargs, "base_ou": PLACEHOLDER_BASE}))
    deadline = Deadline(engine.settings.login_s, "asking the directory")

    def ask(server: Server) -> str:
        with contextlib.closing(engine.directory.open(server, deadline)) as link:
            engine.directory.identify(server, link)
        return server.root

    root = engine.directory.anywhere(ask, deadline)
    if root == PLACEHOLDER_BASE:
        raise Misconfigured(["the server names no base: give --base"])
    return {**kwargs, "base_ou": root}


def _tested(kwargs: dict[str, Any], arguments: argparse.Namespace) -> bool:
    """Each server by itself, the groups, and a login if a user was given. Prints a line for each."""
    engine = Engine(parse(kwargs))
    settings, passed = engine.settings, True
    for remark in settings.remarks:
        print(f"note: {remark}")
    for server in engine.directory.servers(Deadline(settings.login_s, "finding the servers")):
        passed &= _told(f"{server}: TLS" + (" and service account" if settings.bind_dn else ""), engine, server)
    if passed and settings.bind_dn:
        for group in (*settings.required, *settings.denied, *settings.optional):
            passed &= _group(engine, group)
    if arguments.test_user:
        password = _password(arguments)
        backend = Ldap3AuthenticationBackend(**kwargs)
        signed_in = backend.authenticate(arguments.test_user, password)
        print(f"{'ok    ' if signed_in else 'FAILED'}  login of {arguments.test_user} (the line above says why)")
        passed &= signed_in
    return passed


def _told(what: str, engine: Engine, server: Server) -> bool:
    try:
        engine.directory.look(server)
    except AuthError as error:
        print(f"FAILED  {what}: {error}")
        return False
    kind = {True: "Active Directory", False: "LDAP", None: "not asked"}[server.is_ad]
    print(f"ok      {what} ({kind})")
    return True


def _group(engine: Engine, group: str) -> bool:
    deadline = Deadline(engine.settings.login_s, "looking for a group")

    def look(reader: Reader) -> bool:
        return engine.groups.exists(reader, group)

    found = engine.directory.anywhere(lambda server: engine.directory.reading(server, look, deadline), deadline)
    print(f"{'ok    ' if found else 'FAILED'}  group {group}" + ("" if found else " does not exist"))
    return found


def _password(arguments: argparse.Namespace) -> str:
    if arguments.test_password_file:
        return Path(arguments.test_password_file).read_text().rstrip("\r\n")
    return getpass.getpass(f"password of {arguments.test_user}: ")


def _write(file: Path, kwargs: dict[str, Any]) -> None:
    """Whole or not at all, with the owner and mode that it had."""
    old = file.read_text()
    status = file.stat()
    shutil.copy2(file, file.with_name(file.name + ".before-ldap3"))
    draft = file.with_name(file.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as stream:
        stream.write(conf.replace_auth(old, kwargs))
    os.chmod(draft, status.st_mode & 0o7777)
    with contextlib.suppress(PermissionError):
        os.chown(draft, status.st_uid, status.st_gid)
    draft.replace(file)


def _words(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
