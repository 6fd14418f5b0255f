"""What a new node's st2.conf must say, from what an old one's says: the same brokers, logins and database servers,
another vhost, another database. Pure.

A database in a `mongodb://` URI wins over `db_name` (StackStorm hands the URI to the driver): it is taken out of the
URI, and named as authSource where the login depended on it. Redis keeps both sides apart by a namespace: of
`redis://host/1` the path is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from st2ha.errors import BadInput
from st2ha.st2conf import Changes, Options

SAME = {
    "database": (
        "username", "password", "port", "ssl", "ssl_ca_certs", "ssl_keyfile", "ssl_certfile", "tls", "tls_ca_file",
        "tls_certificate_key_file", "authentication_mechanism",
    ),
    "messaging": ("ssl", "ssl_ca_certs", "ssl_keyfile", "ssl_certfile", "login_method"),
    "auth": ("mode", "backend", "backend_kwargs", "enable", "sso", "sso_backend", "sso_backend_kwargs"),
    "keyvalue": ("encryption_key_path", "enable_encryption"),
}  # fmt: skip
"""Options in which both sides are the same, because what they name is shared or must be equal."""
SECTIONS = (*SAME, "coordination")
DEFAULT_DATABASE = "st2"
LOOPBACK = frozenset(("127.0.0.1", "::1", "localhost"))


@dataclass(frozen=True)
class Names:
    """What is the new side's own."""

    database: str
    vhost: str


@dataclass(frozen=True)
class Apis:
    """The names of the old side's nodes and of the host of its API, and the new side's API where it is configured."""

    old_hosts: frozenset[str] = frozenset()
    new_url: Optional[str] = None


def changes(old: Options, new: Options, names: Names, where: str = "st2.conf", apis: Optional[Apis] = None) -> Changes:
    """Section -> option -> value; None takes an option out. Only what differs from `new`."""
    wanted: dict[str, dict[str, Optional[str]]] = {section: {} for section in ("messaging", "database")}
    urls = broker_urls(old, where)
    moved = [with_vhost(url, names.vhost) for url in urls]
    wanted["messaging"]["url"] = moved[0]
    wanted["messaging"]["cluster_urls"] = ",".join(moved) if "cluster_urls" in old.get("messaging", {}) else None
    wanted["database"]["host"] = without_database(old.get("database", {}).get("host", "127.0.0.1"))
    wanted["database"]["db_name"] = names.database
    coordination = old.get("coordination", {}).get("url")
    if coordination:
        wanted["coordination"] = {"url": with_namespace(coordination, names.database)}
    for section, options in SAME.items():
        for option in options:
            value = old.get(section, {}).get(option)
            if value is not None:
                wanted.setdefault(section, {})[option] = value
    api_url = own_api_url(old, new, apis or Apis())
    if api_url is not None:
        wanted.setdefault("auth", {})["api_url"] = api_url
    return {
        section: {
            option: _written(value) for option, value in options.items() if new.get(section, {}).get(option) != value
        }
        for section, options in wanted.items()
    }


def own_api_url(old: Options, new: Options, apis: Apis) -> Optional[str]:
    """[auth] api_url of a new node, which its sensors and actions ask: a balancer's as on the old side, else its own.

    Never the old side's: that one refuses the new side's tokens, and sensors would begin from nothing again.
    """
    theirs, mine = (each.get("auth", {}).get("api_url") for each in (old, new))
    if theirs and _host(theirs) not in apis.old_hosts | LOOPBACK:
        return theirs
    if mine and _host(mine) not in apis.old_hosts - LOOPBACK:
        return mine
    if theirs and _host(theirs) in LOOPBACK:
        return theirs
    if (theirs or mine) and apis.new_url is None:
        raise BadInput(f"[auth] api_url is {theirs or mine}, the old side's own: set upgrade.new.api_url")
    return apis.new_url if theirs or mine else None


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def broker_urls(options: Options, where: str) -> list[str]:
    """`cluster_urls` if it is set, else `url`: what StackStorm connects to."""
    section = options.get("messaging")
    if section is None:
        raise BadInput(f"{where} has no section [messaging]: correct the file, then run this again")
    text = section.get("cluster_urls") or section.get("url") or ""
    urls = [each.strip() for each in text.strip("[]").split(",") if each.strip()]
    if not urls:
        raise BadInput(f"{where} has no [messaging] url: correct the file, then run this again")
    return urls


def vhost_of(url: str) -> str:
    """The vhost that a broker URL names; `amqp://host` and `amqp://host/` are both `/` for StackStorm's kombu."""
    return unquote(urlsplit(url).path[1:]) or "/"


def with_vhost(url: str, vhost: str) -> str:
    """The URL of the same broker and login with another vhost."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, "/" + quote(vhost, safe=""), parts.query, ""))


def database_of(options: Options) -> str:
    """The database that StackStorm really uses: that of the URI, else db_name."""
    section = options.get("database", {})
    host = section.get("host", "")
    inside = _split(host)[1] if "://" in host else ""
    return inside or section.get("db_name") or DEFAULT_DATABASE


def databases_named(options: Options) -> tuple[str, ...]:
    """The databases that the URI and db_name name, where they are not the same; the first one counts."""
    section = options.get("database", {})
    host = section.get("host", "")
    inside, name = _split(host)[1] if "://" in host else "", section.get("db_name", "")
    return (inside, name) if inside and name and inside != name else ()


def without_database(host: str) -> str:
    """A `mongodb://` URI without its database; a login that was looked up there is still looked up there."""
    if "://" not in host:
        return host
    head, database, query = _split(host)
    if not database:
        return host
    options = parse_qsl(query, keep_blank_values=True)
    if "@" in head and "authsource" not in [name.lower() for name, _ in options]:
        options.append(("authSource", database))
    return f"{head}/" + (f"?{urlencode(options)}" if options else "")


def with_namespace(url: str, name: str) -> str:
    """A coordination URL whose keys are apart from the other side's; only Redis has namespaces."""
    parts = urlsplit(url)
    if not parts.scheme.startswith("redis"):
        return url
    options = [(key, value) for key, value in parse_qsl(parts.query) if key != "namespace"]
    query = urlencode([*options, ("namespace", name)])
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def _split(uri: str) -> tuple[str, str, str]:
    """`mongodb://user@host1,host2`, the database, the query."""
    rest, _, query = uri.partition("?")
    scheme, _, rest = rest.partition("://")
    hosts, _, database = rest.rpartition("/") if "/" in rest else (rest, "", "")
    return f"{scheme}://{hosts}", unquote(database), query


def _written(value: Optional[str]) -> Optional[str]:
    """As it stands in the file: oslo.config takes `$` for a reference."""
    return None if value is None else value.replace("$", "$$")


def summary_of(options: Options) -> Mapping[str, str]:
    """What a person wants to know of a node's file; no login."""
    urls = options.get("messaging", {})
    vhosts = sorted({vhost_of(url) for url in broker_urls(options, "st2.conf")}) if urls else []
    return {"database": database_of(options), "vhost": ", ".join(vhosts)}
