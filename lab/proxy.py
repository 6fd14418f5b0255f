"""A TCP proxy that misbehaves on command, for faults of many servers without many servers.

Modes, switchable at any time and for the connections that exist:
  pass       forwards
  hang       accepts, then silence in both directions; what was sent meanwhile arrives when the mode is ``pass`` again
  drip       forwards one byte a second in each direction
  refuse     connections are reset, new ones refused
  blackhole  as hang, and new connections get no answer at all (the connect itself times out)
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
MODES = ("pass", "hang", "drip", "refuse", "blackhole")
DRIP_S = 1.0


class Proxy:
    """Listens on ``127.0.0.1:port`` (``port`` 0: a free one) for ``target``; a context manager.

    All proxies of a process share one thread.
    """

    def __init__(self, target: tuple[str, int], *, port: int = 0, mode: str = "pass") -> None:
        _check(mode)
        self.target = target
        # Bound and never listening: keeps the port ours while nothing listens.
        self._reserve = _bound(port)
        self.host, self.port = self._reserve.getsockname()
        self._mode = mode
        self._server: asyncio.base_events.Server | None = None
        self._full: list[socket.socket] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        _run(self._apply())

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port} -> {self.target[0]}:{self.target[1]}, {self._mode})"

    @property
    def address(self) -> str:
        """``host:port`` where it listens."""
        return f"{self.host}:{self.port}"

    @property
    def mode(self) -> str:
        """One of MODES; setting it takes effect before the assignment returns."""
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        _check(mode)
        self._mode = mode
        _run(self._apply())

    def close(self) -> None:
        """End all connections and free the port. Can be repeated."""
        self._mode = "refuse"
        _run(self._apply())
        self._reserve.close()

    # -- inside: everything below runs in the loop's thread

    async def _apply(self) -> None:
        while self._full:
            self._full.pop().close()
        listening = self._mode in ("pass", "hang", "drip")
        if listening and self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=_bound(self.port), backlog=256)
        if not listening and self._server is not None:
            self._server.close()
            self._server = None
        if self._mode == "refuse":
            for writer in list(self._writers):
                _reset(writer)
            for task in list(self._tasks):
                task.cancel()
        if self._mode == "blackhole":
            self._fill_backlog()

    def _fill_backlog(self) -> None:
        """Linux drops a SYN for a listener whose queue of connections is full: listen, and fill it ourselves."""
        listener = _bound(self.port)
        listener.listen(0)
        self._full.append(listener)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))
            self._full.append(filler)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            while self._mode == "hang":
                await asyncio.sleep(0.02)
            there_reader, there_writer = await asyncio.open_connection(*self.target)
            self._writers.add(there_writer)
            try:
                await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))
            finally:
                self._writers.discard(there_writer)
                there_writer.close()
        except OSError:
            _reset(writer)
        except asyncio.CancelledError:
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            while data:
                if self._mode in ("hang", "blackhole"):
                    await asyncio.sleep(0.02)
                    continue
                if self._mode == "drip":
                    await asyncio.sleep(DRIP_S)
                size = 1 if self._mode == "drip" else len(data)
                writer.write(data[:size])
                await writer.drain()
                data = data[size:]
        while self._mode in ("hang", "blackhole"):
            await asyncio.sleep(0.02)
        with contextlib.suppress(OSError):
            writer.write_eof()


def _check(mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"no mode {mode!r}: one of {', '.join(MODES)}")


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a died server's kernel does."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


_loop: asyncio.AbstractEventLoop | None = None
_loop_lock = threading.Lock()


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run in the one loop of all proxies, from any thread."""
    global _loop
    with _loop_lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="lab-proxy", daemon=True).start()
    return asyncio.run_coroutine_threadsafe(work, _loop).result(timeout=10)
