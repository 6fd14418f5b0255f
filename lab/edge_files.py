"""What lies on the lab's balancers: nginx as a site has it before it knows this pack, and keepalived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lab.edge_node import PORTS

NGINX_CONF = """\
worker_processes 2;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log notice;
events { worker_connections 4096; }
http {
    access_log off;
    default_type text/plain;
    include /etc/nginx/conf.d/*.conf;
    include /etc/nginx/sites-enabled/*;
}
"""
SITE = """\
# The site's own file. As in StackStorm's, a dead st2stream is a 200 with a retry.
server {
    listen *:80 default_server;
    listen *:443 ssl;
    ssl_certificate     /etc/nginx/ssl/st2.pem;
    ssl_certificate_key /etc/nginx/ssl/st2.pem;

    location @api_down {
        default_type application/json;
        return 503 '{"faultstring": "st2api does not answer"}';
    }
    location @auth_down {
        default_type application/json;
        return 503 '{"faultstring": "st2auth does not answer"}';
    }
    location @stream_down {
        default_type text/event-stream;
        return 200 "retry: 1000\\n\\n";
    }
    location /api/ {
        error_page 502 504 = @api_down;
        proxy_pass http://st2api/;
    }
    location /auth/ {
        error_page 502 504 = @auth_down;
        proxy_pass http://st2auth/;
    }
    location /stream/ {
        error_page 502 504 = @stream_down;
        proxy_pass http://st2stream/;
        proxy_http_version 1.1;
        proxy_set_header Connection '';
        proxy_buffering off;
    }
    location / {
        proxy_pass http://st2web;
    }
}
"""
CHECK_SCRIPT = """\
#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/80
"""


def upstreams(addresses: Sequence[str]) -> str:
    """Upstreams as somebody wrote them by hand, with blank lines and alignment of his own."""
    blocks = []
    for name, port in PORTS.items():
        servers = "".join(f"    server   {address}:{port}   max_fails=1;\n" for address in addresses)
        blocks.append(f"upstream {name} {{\n{servers}}}\n")
    return "# upstreams of StackStorm\n\n" + "\n".join(blocks)


def keepalived_conf(
    name: str,
    address: str,
    peers: Sequence[str],
    vip: str,
    *,
    priority: int,
    advert_s: float = 0.2,
    virtual_router_id: int = 77,
    script: Mapping[str, int] | None = None,
    more: Sequence[str] = (),
) -> str:
    """One balancer's file, one statement a line; `more` are further lines of the instance, such as `nopreempt`."""
    script = script or {"interval": 1, "timeout": 1, "fall": 2, "rise": 2, "weight": 0}
    lines = [
        "global_defs {",
        f"    router_id {name}",
        "    vrrp_version 3",
        "    enable_script_security",
        "    script_user root",
        "}",
        "vrrp_script check_nginx {",
        '    script "/etc/keepalived/check_nginx"',
        *(f"    {key} {value}" for key, value in script.items()),
        "}",
        "vrrp_instance st2 {",
        "    state BACKUP",
        "    interface eth0",
        f"    virtual_router_id {virtual_router_id}",
        f"    priority {priority}",
        f"    advert_int {advert_s:g}",
        f"    unicast_src_ip {address}",
        "    unicast_peer {",
        *(f"        {peer}" for peer in peers),
        "    }",
        "    virtual_ipaddress {",
        f"        {vip}/24",
        "    }",
        "    track_script {",
        "        check_nginx",
        "    }",
        *(f"    {line}" for line in more),
        "}",
    ]
    return "\n".join(lines) + "\n"
