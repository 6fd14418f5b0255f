"""Clients of the edge: `python edge_load.py new|kept ADDRESS RATE [PORT [STATUS]]`, until its input ends; then JSON.

`new` opens a connection for each request; `kept` has 50 connections and looks, before it uses one again, whether the
server has closed it. A request fails if its answer does not come whole, or has another STATUS than StackStorm's 401.
"""

from __future__ import annotations

import asyncio
import collections
import json
import selectors
import socket
import sys
import time

REQUEST = b"GET /api/v1/actions HTTP/1.1\r\nHost: st2.lab.test\r\n%s\r\n"
END = b"\r\n\r\n"
CONNECTIONS, PATIENCE_S = 50, 5.0


class Told:
    """What clients were told: groups that `answered`, and `failures` by their words, each with a count."""

    def __init__(self, status: str) -> None:
        self.answered: collections.Counter[str] = collections.Counter()
        self.failures: collections.Counter[str] = collections.Counter()
        self._status = f"HTTP/1.1 {status}".encode()

    def fields(self, head: bytes) -> dict[str, str]:
        """Headers by their names in small letters. ValueError if it is no answer, or has another status."""
        if not head.startswith(self._status):
            raise ValueError(head.split(b"\r\n")[0])
        return dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:] if ": " in line)

    def success(self, fields: dict[str, str]) -> None:
        self.answered[fields.get("x-lab-node", "unnamed").split()[-1]] += 1

    def failure(self, error: Exception) -> None:
        self.failures[repr(error)[:80]] += 1


class New:
    """A request every 1/rate seconds, whatever became of those before. Without asyncio, which takes twice the time."""

    def __init__(self, address: str, rate: float, port: int, told: Told) -> None:
        self._at, self._rate, self._told = (address, port), rate, told
        self._selector = selectors.DefaultSelector()
        self._open: dict[socket.socket, tuple[float, bytearray]] = {}

    def run(self) -> None:
        """Until standard input ends and the last answer is there."""
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        due, ending = time.monotonic(), False
        while self._open or not ending:
            now = time.monotonic()
            while due <= now and not ending:
                self._begin(now)
                due += 1 / self._rate
            for late in [each for each, (until, _) in self._open.items() if until < now]:
                self._end(late, TimeoutError())
            for key, events in self._selector.select(max(0.0, min(due - now, PATIENCE_S)) if not ending else 0.1):
                if key.fileobj is sys.stdin:
                    ending = True
                    self._selector.unregister(sys.stdin)
                elif isinstance(key.fileobj, socket.socket):
                    self._go_on(key.fileobj, events)

    def _begin(self, now: float) -> None:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._open[connection] = (now + PATIENCE_S, bytearray())
        self._selector.register(connection, selectors.EVENT_WRITE)
        connection.connect_ex(self._at)

    def _go_on(self, connection: socket.socket, events: int) -> None:
        seen = self._open[connection][1]
        try:
            if events & selectors.EVENT_WRITE:  # connected, or the request is what tells why not
                connection.send(REQUEST % b"Connection: close\r\n")
                self._selector.modify(connection, selectors.EVENT_READ)
            elif data := connection.recv(65536):
                seen += data
            else:
                self._end(connection)
        except OSError as error:
            self._end(connection, error)

    def _end(self, connection: socket.socket, error: Exception | None = None) -> None:
        self._selector.unregister(connection)
        connection.close()
        head, _, body = bytes(self._open.pop(connection)[1]).partition(END)
        try:
            if error is not None:
                raise error
            fields = self._told.fields(head)
            if len(body) != int(fields["content-length"]):
                raise EOFError(f"{len(body)} bytes of a body")
            self._told.success(fields)
        except (OSError, EOFError, ValueError, KeyError) as why:
            self._told.failure(why)


class Kept:
    """Each connection asks and rests in turn."""

    def __init__(self, address: str, rate: float, port: int, told: Told) -> None:
        self._address, self._rate, self._port, self._told = address, rate, port, told

    async def run(self) -> None:
        """Until standard input ends."""
        ending = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ending.set)
        await asyncio.gather(*(self._one(ending) for _ in range(CONNECTIONS)))

    async def _one(self, ending: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection(self._address, self._port)
        while not ending.is_set():
            if reader.at_eof() or writer.is_closing():
                writer.close()
                reader, writer = await asyncio.open_connection(self._address, self._port)
            if not await self._ask(reader, writer):
                writer.close()
                reader, writer = await asyncio.open_connection(self._address, self._port)
            await asyncio.sleep(CONNECTIONS / self._rate)
        writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            writer.write(REQUEST % b"")
            fields = self._told.fields(await asyncio.wait_for(reader.readuntil(END), PATIENCE_S))
            await asyncio.wait_for(reader.readexactly(int(fields["content-length"])), PATIENCE_S)
        except (OSError, EOFError, ValueError, KeyError, asyncio.TimeoutError) as error:
            self._told.failure(error)
            return False
        self._told.success(fields)
        return True


def main(kind: str, address: str, rate: str, port: str = "80", status: str = "401") -> None:
    """Run until standard input ends."""
    told = Told(status)
    if kind == "new":
        New(address, float(rate), int(port), told).run()
    else:
        asyncio.run(Kept(address, float(rate), int(port), told).run())
    print(json.dumps({"answered": told.answered, "failures": told.failures}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
