"""A stand-in for one StackStorm node behind the balancers: `python edge_node.py ADDRESS GROUP NAME`.

It answers as st2web (80), st2auth (9100), st2api (9101) and st2stream (9102) answer somebody without a token, and says
in the header X-Lab-Node which node and group it is. `?token=lab` makes a stream of events of st2stream. One event loop
and no framework: several of these share the machine with what is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

PORTS = {"st2web": 80, "st2auth": 9100, "st2api": 9101, "st2stream": 9102}
REFUSED = {
    "st2api": "Unauthorized - One of Token or API key required.",
    "st2auth": "Invalid or missing credentials",
    "st2stream": "Unauthorized - One of Token or API key required.",
}
PAGE = "<!DOCTYPE html><html><head><title>StackStorm</title></head><body></body></html>"
EVENT_S = 0.1
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def handler(service: str, who: str) -> Handler:
    """Connections of one service: requests without a body, one after the other."""
    html, body = ("text/html", PAGE) if service == "st2web" else ("application/json", "")
    if service != "st2web":
        body = json.dumps({"faultstring": REFUSED[service]})
    status = "200 OK" if service == "st2web" else "401 Unauthorized"
    head = f"HTTP/1.1 {status}\r\nContent-Type: {html}\r\nContent-Length: {len(body)}\r\nX-Lab-Node: {who}\r\n\r\n"
    answer = (head + body).encode()
    events = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Lab-Node: {who}\r\n\r\n".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                line = request.split(b"\r\n", 1)[0]
                if service == "st2stream" and b"token=lab" in line:
                    writer.write(events)
                    while not writer.is_closing():
                        writer.write(f"event: lab\ndata: {who}\n\n".encode())
                        await writer.drain()
                        await asyncio.sleep(EVENT_S)
                    return
                writer.write(answer)
                await writer.drain()
                if b"HTTP/1.0" in line or b"connection: close" in request.lower():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    return serve


async def main(address: str, group: str, name: str) -> None:
    """Serve for ever."""
    servers = [
        await asyncio.start_server(handler(service, f"{name} {group}"), address, port, backlog=1024)
        for service, port in PORTS.items()
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
