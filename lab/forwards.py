"""Ports of this machine's loopback that boxes have on theirs: `python -m lab.forwards PORT,PORT... PID...`.

PIDs are processes in the boxes. So what runs in a box reaches servers that were started outside it by the same address.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

from lab.boxes import enter_network


def listeners(ports: list[int], pids: list[int]) -> list[tuple[int, socket.socket]]:
    """A socket stays in the network in which it was made."""
    found = []
    with open("/proc/thread-self/ns/net") as home:
        for pid in pids:
            with open(f"/proc/{pid}/ns/net") as there:
                enter_network(there.fileno())
            found += [(port, socket.create_server(("127.0.0.1", port), backlog=256)) for port in ports]
        enter_network(home.fileno())
    return found


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side ends or breaks, of which the other is told at once."""
    try:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()


async def serve(port: int, listener: socket.socket) -> None:
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return writer.close()
        await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(forward, sock=listener)
    await server.serve_forever()


async def main(ports: str, *pids: str) -> None:
    found = listeners([int(port) for port in ports.split(",")], [int(pid) for pid in pids])
    print("ready", flush=True)
    await asyncio.gather(*(serve(*each) for each in found))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
