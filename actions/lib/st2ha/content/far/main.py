"""Roots, each mount's in a child that may hang. (Part of the program of st2ha.content.far.)"""

import errno
import gc
import json
import os
import select
import signal
import sys
import time
from _blake2 import blake2b

from st2ha.content.far.said import covering, mounts, packs, secrets, virtualenvs
from st2ha.content.far.tree import BLOCK, NAMES, Beat, Cache, Scan, encoded, usable

MYPY = False
if MYPY:
    from collections.abc import Iterator
    from typing import IO, Any

BEAT_S = 0.1
SAYINGS = {"packs": packs, "virtualenvs": virtualenvs, "configs": secrets}
GONE = (errno.ENOENT, errno.ENOTDIR)


def read_root(
    name: "str", path: "str", request: "dict[str, Any]", table: "list[tuple[str, ...]]", beat: "Beat"
) -> "Iterator[tuple[Any, ...]]":
    """The facts of one root."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        mode = os.fstat(fd).st_mode
    except OSError as error:
        yield ("absent", name) if error.errno in GONE else ("error", name, error.strerror)
        return
    real = os.readlink(f"/proc/self/fd/{fd}")
    yield ("mount", name, *covering(real, table))
    label = blake2b(encoded(f"{request['node']}\0{real}"), digest_size=16).hexdigest()
    cache = Cache(request["cache"], label)
    inside = [mount[0][len(real) + 1 :] for mount in table if mount[0].startswith(real + "/")]
    crossings = {os.path.dirname(point): point for point in inside}
    scan = Scan(cache, request["skip"], beat, request["told"].get(name, []), crossings)
    whole = scan.directory(fd, "", mode, False)
    cache.save()
    yield "root", name, whole.hex(), scan.files, scan.bytes, scan.read, scan.unreadable, scan.samples
    for top in scan.tops:
        yield ("top", name, *top)
    for row in scan.rows:
        yield ("row", name, *row)
    yield from SAYINGS[name](path, scan.tops)


class Pulse(Beat):
    """Tells now and then where the reader is, so that a silence means that it hangs."""

    def __init__(self, out: "IO[bytes]", root: "str") -> "None":
        self.out, self.root, self.last = out, root, 0.0

    def __call__(self, path: "str", now: "bool" = False) -> "None":
        at = time.monotonic()
        if now or at - self.last > BEAT_S:
            self.last = at
            self.out.write(b"@" + encoded(self.root + "/" + path if path else self.root).replace(b"\n", b"?") + b"\n")
            self.out.flush()


class Child:
    """A process that reads roots of one mount and tells over a pipe; `at` is where it was heard of last."""

    def __init__(
        self, roots: "list[tuple[str, str]]", request: "dict[str, Any]", table: "list[tuple[str, ...]]"
    ) -> "None":
        self.roots = list(roots)
        self.lines: "list[bytes]" = []
        self.rest = b""
        self.heard, self.at = time.monotonic(), self.roots[0][1]
        self.pipe, writer = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(writer)
            return
        try:
            os.close(self.pipe)
            work(self.roots, request, table, writer)
        finally:
            os._exit(0)

    def hear(self) -> "bool":
        """Whether there may be more. A line is a fact, or says where the child is, or that a root is done."""
        data = os.read(self.pipe, BLOCK)
        self.heard = time.monotonic()
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"@"):
                self.at = line[1:].decode(NAMES, "surrogateescape")
            elif line == b"done":
                self.roots.pop(0)
                sys.stdout.buffer.write(b"".join(self.lines))
                self.lines = []
            else:
                self.lines.append(line + b"\n")
        return bool(data)

    def end(self) -> "None":
        os.close(self.pipe)
        os.kill(self.pid, signal.SIGKILL)
        for _ in range(20):  # one that hangs in the kernel may not die: nobody waits for it
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                return
            time.sleep(0.005)


def work(
    roots: "list[tuple[str, str]]", request: "dict[str, Any]", table: "list[tuple[str, ...]]", writer: "int"
) -> "None":
    """What the child does. It holds none of the door's ends: the far side must not wait for it."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    out = os.fdopen(writer, "wb", BLOCK)
    for name, path in roots:
        beat = Pulse(out, path)
        beat("")
        try:
            for fact in read_root(name, path, request, table, beat):
                out.write(line_of(fact))
        except Exception as error:  # noqa: BLE001 - told as a fact
            out.write(line_of(("error", name, f"{type(error).__name__} of the reader: {error}"[:200])))
        out.write(b"done\n")
        out.flush()


def main(request: "dict[str, Any]") -> "None":
    """Tell all facts and end. `request`: node, roots [(packs, path) ...], told {root: entries}, skip, cache, silence_s."""
    sys.setrecursionlimit(5000)
    gc.disable()  # nothing here goes in circles
    with open("/proc/self/mountinfo", "rb") as file:
        table = mounts(file.read())
    groups: "dict[tuple[str, ...], list[tuple[str, str]]]" = {}
    for name, path in request["roots"]:
        groups.setdefault(covering(path, table), []).append((name, path))
    children = [Child(roots, request, table) for roots in groups.values()]
    while children:
        wait_s = min(child.heard for child in children) + request["silence_s"] - time.monotonic()
        ready = select.select([child.pipe for child in children], [], [], max(0.0, wait_s))[0]
        for child in list(children):
            if child.pipe in ready:
                if child.hear():
                    continue
                for name, _ in child.roots:
                    tell("error", name, "its reader died")
            elif time.monotonic() - child.heard < request["silence_s"]:
                continue
            else:
                children += given_up(child, request, table)
            child.end()
            children.remove(child)
    tell("node", ".".join(map(str, sys.version_info[:3])), os.geteuid(), usable(request["cache"]))
    sys.stdout.buffer.flush()
    os._exit(0)


def given_up(child: "Child", request: "dict[str, Any]", table: "list[tuple[str, ...]]") -> "list[Child]":
    """Tell that a root hangs; the others of its mount with it, unless it is a mount further down that hangs."""
    (name, path), left = child.roots[0], child.roots[1:]
    hung = covering(child.at, table)
    tell("hung", name, child.at, *hung)
    if hung != covering(path, table):
        return [Child(left, request, table)] if left else []
    for other, _ in left:
        tell("hung", other, child.at, *hung)
    return []


def tell(*fact: "Any") -> "None":
    sys.stdout.buffer.write(line_of(fact))


def line_of(fact: "Any") -> "bytes":
    return json.dumps(fact).encode("ascii") + b"\n"


if "REQUEST" in globals():
    main(globals()["REQUEST"])
