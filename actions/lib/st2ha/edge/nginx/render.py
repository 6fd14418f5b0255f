"""The file that this pack owns whole: upstreams, and a small server that tells which of these files runs. Pure.

The server's port answers `/__generation` with the generation and the group, `/<upstream>` with what the upstream says
to a request without a login, and `/<upstream>/<node>` the same of one node. Only these exact paths: it opens no more.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from st2ha.edge.content import PROBES, service_of

GENERATION = "/__generation"
HEAD = re.compile(rb"^# st2ha generation=([0-9a-f]+) group=(\S+)$", re.MULTILINE)
CONNECT_S, READ_S = 2, 4
SERVER = """\
server {{
    listen {port};
    access_log off;
    keepalive_timeout 0;
    proxy_next_upstream off;
    proxy_http_version 1.1;
    proxy_pass_request_body off;
    proxy_pass_request_headers off;
    proxy_set_header Content-Length "";
    proxy_set_header Connection "";
    proxy_connect_timeout {connect_s}s;
    proxy_read_timeout {read_s}s;
    proxy_buffering off;
    add_header X-St2ha-Upstream $upstream_addr always;
    location = {generation} {{
        default_type application/json;
        return 200 '@MARKER@';
    }}
{probes}    location / {{
        return 404;
    }}
}}
"""


@dataclass(frozen=True)
class Stamp:
    """What a rendered file says of itself."""

    generation: str
    group: str


def render(
    group: str,
    nodes: Sequence[str],
    upstreams: Mapping[str, int],
    port: int,
    site: Optional[bytes],
    elsewhere: Collection[str] = (),
) -> bytes:
    """The file for a group. `site` is the site's own file as it will be; upstreams `elsewhere` are not here."""
    blocks = [_upstream(name, at, nodes) for name, at in upstreams.items() if name not in elsewhere]
    body = "\n".join([*blocks, _server(nodes, upstreams, port)])
    generation = hashlib.sha256(body.encode() + b"\0" + (site or b"") + group.encode()).hexdigest()[:16]
    head = (
        "# Written by nginx_switch of StackStorm's pack ha, which will write it again: do not edit.\n"
        f"# st2ha generation={generation} group={group}\n\n"
    )
    marker = f'{{"generation": "{generation}", "group": "{group}", "balancer": "$hostname"}}'
    return (head + body.replace("@MARKER@", marker)).encode()


def stamp(content: Optional[bytes]) -> Optional[Stamp]:
    """Generation and group of a file that this pack rendered; None for any other."""
    found = HEAD.search(content or b"")
    return Stamp(found[1].decode(), found[2].decode()) if found else None


def _upstream(name: str, port: int, nodes: Sequence[str]) -> str:
    servers = "".join(f"    server {node}:{port};\n" for node in nodes)
    return f"upstream {name} {{\n{servers}}}\n"


def _server(nodes: Sequence[str], upstreams: Mapping[str, int], port: int) -> str:
    probes = [_probe(f"/{name}", name, name) for name in upstreams]
    probes += [_probe(f"/{name}/{node}", f"{node}:{at}", name) for name, at in upstreams.items() for node in nodes]
    return SERVER.format(port=port, connect_s=CONNECT_S, read_s=READ_S, generation=GENERATION, probes="".join(probes))


def _probe(path: str, to: str, upstream: str) -> str:
    probe = PROBES[service_of(upstream)]
    return (
        f"    location = {path} {{\n        proxy_method {probe.method};\n"
        f"        proxy_pass http://{to}{probe.path};\n    }}\n"
    )
