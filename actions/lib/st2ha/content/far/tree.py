"""A tree's digests. (Part of the program of st2ha.content.far.)

A directory's digest is over its entries in order: name, type, mode, and content, link target or the digest below. The
cache has for each directory a digest of what lstat says of its files (size, mtime, ctime, inode, mode): while that
stands, none of them is read again. What was changed in the last 2 s is not believed to stand.
"""

import marshal
import os
import sys
import time
from _blake2 import blake2b

MYPY = False
if MYPY:
    from typing import Any

    Row = tuple[str, int, str, int]

MAGIC = b"st2ha content 2\n"
RACY_NS = 2 * 10**9
KIND, DIRECTORY, REGULAR, LINK = 0o170000, 0o040000, 0o100000, 0o120000
NAMES = sys.getfilesystemencoding()
BLOCK = 1 << 20
SAMPLES = 5
CLOSED = bytes(32)


def encoded(name: "str") -> "bytes":
    return name.encode(NAMES, "surrogateescape")


def digest(data: "bytes") -> "bytes":
    return blake2b(data, digest_size=32).digest()


class Cache:
    """What is known of one root's directories: nothing if a file is not ours alone, broken or of another kind.

    `known` and `kept`: path -> (digest of lstat's words, digest of the files, their bytes, of the root what `details`
    has), in a file that is read each time. `details`: path -> marshalled [lstat's words, digests] of the files, in a
    file that is read where something changed.
    """

    def __init__(self, directory: "str", name: "str") -> "None":
        self.path = os.path.join(directory, name) if usable(directory) else None
        self.kept: "dict[str, tuple[bytes, bytes, int, bytes]]" = {}
        self.known: "dict[str, tuple[bytes, bytes, int, bytes]]" = self.load("")
        self.inside: "dict[str, bytes] | None" = None
        self.changed = False

    def details(self) -> "dict[str, bytes]":
        if self.inside is None:
            self.inside = self.load(".files")
        return self.inside

    def keep(self, path: "str", known: "tuple[bytes, bytes, int, bytes]", blob: "bytes") -> "None":
        self.kept[path] = known
        self.details()[path] = blob
        self.changed = True

    def load(self, part: "str") -> "dict[str, Any]":
        try:
            return self.read(part)
        except (OSError, ValueError, EOFError, TypeError):
            return {}

    def read(self, part: "str") -> "dict[str, Any]":
        if self.path is None:
            return {}
        fd = os.open(self.path + part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if status.st_uid != os.geteuid() or status.st_mode & (KIND | 0o077) != REGULAR:
                return {}
            data = file.read()
        body = data[len(MAGIC) : -32]
        if not data.startswith(MAGIC) or digest(body) != data[-32:]:
            return {}
        found: "dict[str, Any]" = marshal.loads(body)
        return found

    def save(self) -> "None":
        """Each file in one step. What has no details is read again next time."""
        if self.path is None or not (self.changed or len(self.kept) != len(self.known)):
            return
        details = self.details()
        kept = {path: known for path, known in self.kept.items() if path in details}
        self.write(".files", {path: details[path] for path in kept})
        self.write("", kept)

    def write(self, part: "str", content: "dict[str, Any]") -> "None":
        body, target = marshal.dumps(content, 2), f"{self.path}{part}"
        draft = f"{target}.{os.getpid()}"
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(MAGIC + body + digest(body))
            os.rename(draft, target)
        except OSError:  # no room: it is a cache
            try:
                os.unlink(draft)
            except OSError:
                pass


def usable(directory: "str") -> "bool":
    """Whether it is a directory that only we can change; made if need be."""
    try:
        os.makedirs(os.path.dirname(directory) or "/", mode=0o755, exist_ok=True)
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            pass
        status = os.lstat(directory)
    except OSError:
        return False
    return status.st_mode & KIND == DIRECTORY and status.st_uid == os.geteuid() and not status.st_mode & 0o022


class Scan:
    """One root being read. `beat` is called now and then with the path; entries in `told` are listed whole, all if it has `*`.

    `crossings`: directory to a mount in it, which may hang as soon as it is looked at.

    `tops` and `rows`: (path, mode, digest, mtime_ns) of what is in the root, and of all that is in entries told.
    """

    def __init__(
        self, cache: "Cache", skip: "list[str]", beat: "Beat", told: "list[str]", crossings: "dict[str, str]"
    ) -> "None":
        self.crossings = crossings
        self.cache, self.skip, self.beat, self.told = cache, frozenset(skip), beat, frozenset(told)
        self.files = self.bytes = self.read = self.unreadable = 0
        self.samples: "list[tuple[str, str | None]]" = []
        self.tops: "list[tuple[str, int, str, int]]" = []
        self.rows: "list[tuple[str, int, str, int]]" = []
        self.racy_ns = int(time.time() * 1e9) - RACY_NS

    def directory(self, fd: "int", path: "str", mode: "int", tell: "bool") -> "bytes":
        """The digest of the directory open at `fd`, which is closed; the root's path is empty."""
        self.beat(path)
        try:
            if path in self.crossings:
                self.beat(self.crossings[path], True)
            stats, below = self.look(fd)
            if path in self.crossings:
                self.beat(path, True)
            own, rows = self.own(fd, path, stats, tell or not path)
            if tell or not path:
                (self.rows if path else self.tops).extend(rows)
            parts = [b"%o " % mode, own]
            for name, its_mode, modified in sorted(below, key=first):
                inner = path + "/" + name if path else name
                its = self.below(fd, name, inner, its_mode, tell or (not path and self.tells(name)))
                parts += (encoded(name), b"\0", its)
                if tell or not path:
                    (self.rows if path else self.tops).append((inner, its_mode, its.hex(), modified))
            return digest(b"".join(parts))
        except OSError as error:
            return self.failed(path, error)
        finally:
            os.close(fd)

    def tells(self, name: "str") -> "bool":
        return name in self.told or "*" in self.told

    def look(self, fd: "int") -> "tuple[list[str | int], list[tuple[str, int, int]]]":
        """lstat of a directory's files (6 items each) and its directories, as the file system has them in order."""
        stats: "list[str | int]" = []
        below, skip = [], self.skip
        with os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                if name in skip or name.endswith(".pyc"):
                    continue
                s = entry.stat(follow_symlinks=False)
                mode = s.st_mode
                if mode & KIND == DIRECTORY:
                    below.append((name, mode, s.st_mtime_ns))
                else:
                    stats += (name, mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)
        return stats, below

    def below(self, fd: "int", name: "str", path: "str", mode: "int", tell: "bool") -> "bytes":
        try:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        except OSError as error:
            return self.failed(path, error)
        return self.directory(inner, path, mode, tell)

    def failed(self, path: "str", error: "OSError") -> "bytes":
        """What stands for the digest of what cannot be read."""
        self.unreadable += 1
        if len(self.samples) < SAMPLES:
            self.samples.append((path, error.strerror))
        return CLOSED

    def own(self, fd: "int", path: "str", stats: "list[str | int]", listed: "bool") -> "tuple[bytes, list[Row]]":
        """The digest of a directory's own files; and they themselves, if they are to be listed."""
        seen = blake2b(marshal.dumps(stats, 2), digest_size=16).digest()
        known = self.cache.known.get(path)
        self.files += len(stats) // 6
        if known is not None and known[0] == seen:
            blob = (known[3] or self.cache.details().get(path)) if listed else b""
            if blob is not None:
                self.cache.kept[path] = known
                self.bytes += known[2]
                return known[1], rows_of(path, *marshal.loads(blob)) if blob else []
        before = former(self.cache.details().get(path))
        found: "list[bytes]" = []
        parts: "list[bytes]" = []
        files = sorted((tuple(stats[n : n + 6]) for n in range(0, len(stats), 6)), key=first)
        for file in files:
            name, mode = str(file[0]), int(file[1])
            its = before.get(file) or self.content(fd, path, name, mode & KIND)
            found.append(its)
            parts += (encoded(name), b"\0%o " % mode, its)
        own, size = digest(b"".join(parts)), sum(int(file[2]) for file in files)
        self.bytes += size
        if CLOSED not in found and max([int(file[4]) for file in files], default=0) < self.racy_ns:
            blob = marshal.dumps([files, found], 2)
            self.cache.keep(path, (seen, own, size, b"" if path else blob), blob)
        return own, rows_of(path, files, found)

    def content(self, fd: "int", path: "str", name: "str", kind: "int") -> "bytes":
        try:
            if kind == LINK:
                return digest(encoded(os.readlink(name, dir_fd=fd)))
            return self.regular(fd, name, path) if kind == REGULAR else digest(b"neither file nor link")
        except OSError as error:
            return self.failed(path + "/" + name if path else name, error)

    def regular(self, fd: "int", name: "str", path: "str") -> "bytes":
        inner = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
        try:
            hashing = blake2b(digest_size=32)
            while True:
                block = os.read(inner, BLOCK)
                if not block:
                    return hashing.digest()
                self.read += len(block)
                hashing.update(block)
                self.beat(path)
        finally:
            os.close(inner)


def rows_of(path: "str", files: "list[tuple[Any, ...]]", found: "list[bytes]") -> "list[Row]":
    return [(path + "/" + f[0] if path else f[0], f[1], its.hex(), f[3]) for f, its in zip(files, found)]


def former(blob: "bytes | None") -> "dict[object, bytes]":
    """What lstat said of each file as it was known, to its digest."""
    return dict(zip(*marshal.loads(blob))) if blob else {}


def first(item: "tuple[Any, ...]") -> "bytes":
    """Entries in an order that does not depend on the node's locale."""
    return encoded(item[0])


class Beat:
    """The type of Scan's `beat`; `now`: it must be heard of."""

    def __call__(self, path: "str", now: "bool" = False) -> "None":
        """Do nothing."""
