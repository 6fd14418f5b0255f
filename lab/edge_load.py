"""Clients of the edge: `python edge_load.py new|kept ADDRESS RATE [PORT [STATUS]]`, until its input ends; then JSON.

`new` opens a connection for each request; `kept` has 50 connections and looks, before it uses one again, whether the
server has closed it. A request fails if its answer does not come whole, or has another STATUS than StackStorm's 401.
"""

from __future__ import annotations

import asyncio
import collections
import json
import sys
import time

REQUEST = b"GET /api/v1/actions HTTP/1.1\r\nHost: st2.lab.test\r\n%s\r\n"
CONNECTIONS, PATIENCE_S = 50, 5.0


class Clients:
    """`answered` counts the groups that answered."""

    def __init__(self, address: str, rate: float, port: int, status: str) -> None:
        self.address, self.rate, self.port, self.status = address, rate, port, f"HTTP/1.1 {status}".encode()
        self.answered: collections.Counter[str] = collections.Counter()
        self.failures: collections.Counter[str] = collections.Counter()
        self.ending = asyncio.Event()

    async def new(self) -> None:
        """A request every 1/rate seconds, whatever became of those before."""
        began, number, running = time.monotonic(), 0, set()
        while not self.ending.is_set():
            number += 1
            task = asyncio.ensure_future(self._once())
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(max(0.0, began + number / self.rate - time.monotonic()))
        await asyncio.gather(*running)

    async def kept(self) -> None:
        """Each connection asks and rests in turn."""
        await asyncio.gather(*(self._one_kept() for _ in range(CONNECTIONS)))

    async def _once(self) -> None:
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(self.address, self.port), PATIENCE_S)
        except (OSError, asyncio.TimeoutError) as error:
            self.failures[f"connect: {error!r}"] += 1
            return
        await self._ask(reader, writer, b"Connection: close\r\n")
        writer.close()

    async def _one_kept(self) -> None:
        reader, writer = await asyncio.open_connection(self.address, self.port)
        while not self.ending.is_set():
            if reader.at_eof() or writer.is_closing():
                writer.close()
                reader, writer = await asyncio.open_connection(self.address, self.port)
            if not await self._ask(reader, writer, b""):
                writer.close()
                reader, writer = await asyncio.open_connection(self.address, self.port)
            await asyncio.sleep(CONNECTIONS / self.rate)
        writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, header: bytes) -> bool:
        try:
            writer.write(REQUEST % header)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
            fields = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:] if ": " in line)
            await asyncio.wait_for(reader.readexactly(int(fields["content-length"])), PATIENCE_S)
            if not head.startswith(self.status):
                raise ValueError(head.split(b"\r\n")[0])
        except (OSError, EOFError, ValueError, KeyError, asyncio.TimeoutError) as error:
            self.failures[repr(error)[:80]] += 1
            return False
        self.answered[fields.get("x-lab-node", "unnamed").split()[-1]] += 1
        return True


async def main(kind: str, address: str, rate: str, port: str = "80", status: str = "401") -> None:
    """Run until standard input ends."""
    clients = Clients(address, float(rate), int(port), status)
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), clients.ending.set)
    await (clients.new() if kind == "new" else clients.kept())
    print(json.dumps({"answered": clients.answered, "failures": clients.failures}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
