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
from _operator import attrgetter

MAGIC = b"st2ha content 1\n"
RACY_NS = 2 * 10**9
KIND, DIRECTORY, REGULAR, LINK = 0o170000, 0o040000, 0o100000, 0o120000
NAMES = sys.getfilesystemencoding()
BLOCK = 1 << 20
SAMPLES = 5
CLOSED = bytes(32)
NAME = attrgetter("name")


def encoded(name: "str") -> "bytes":
    return name.encode(NAMES, "surrogateescape")


def digest(data: "bytes") -> "bytes":
    return blake2b(data, digest_size=32).digest()


class Cache:
    """What is known of one root's directories: nothing if the file is not ours alone, broken or of another kind.

    `known` and `kept`: path -> (digest of lstat's words, digest of the files, marshalled [lstat's words, digests]).
    """

    def __init__(self, directory: "str", name: "str") -> "None":
        self.path = os.path.join(directory, name) if usable(directory) else None
        self.kept: "dict[str, tuple[bytes, bytes, bytes]]" = {}
        self.changed = False
        try:
            self.known = self.load()
        except (OSError, ValueError, EOFError, TypeError):
            self.known = {}

    def load(self) -> "dict[str, tuple[bytes, bytes, bytes]]":
        if self.path is None:
            return {}
        fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if status.st_uid != os.geteuid() or status.st_mode & (KIND | 0o077) != REGULAR:
                return {}
            data = file.read()
        body = data[len(MAGIC) : -32]
        if not data.startswith(MAGIC) or digest(body) != data[-32:]:
            return {}
        known: "dict[str, tuple[bytes, bytes, bytes]]" = marshal.loads(body)
        return known

    def save(self) -> "None":
        """In one step, so that two that read at once do no harm."""
        if self.path is None or not (self.changed or len(self.kept) != len(self.known)):
            return
        body = marshal.dumps(self.kept, 2)
        draft = f"{self.path}.{os.getpid()}"
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(MAGIC + body + digest(body))
            os.rename(draft, self.path)
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
    """One root being read. `beat` is called now and then with the path; entries in `told` are listed whole.

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
            names, stats, below, newest = self.look(fd)
            if path in self.crossings:
                self.beat(path, True)
            own, found = self.own(fd, path, names, stats, newest)
            if tell or not path:
                self.list(path, names, stats, found or marshal.loads(self.cache.kept[path][2])[1])
            parts = [b"%o " % mode, own]
            for name, its_mode, modified in below:
                inner = path + "/" + name if path else name
                its = self.below(fd, name, inner, its_mode, tell or (not path and name in self.told))
                parts += (encoded(name), b"\0", its)
                if tell or not path:
                    (self.rows if path else self.tops).append((inner, its_mode, its.hex(), modified))
            return digest(b"".join(parts))
        except OSError as error:
            return self.failed(path, error)
        finally:
            os.close(fd)

    def look(self, fd: "int") -> "tuple[list[str], list[str | int], list[tuple[str, int, int]], int]":
        """Names and lstat of a directory's files (6 items each), its directories, and the newest ctime."""
        names: "list[str]" = []
        stats: "list[str | int]" = []
        below, newest, size = [], 0, 0
        with os.scandir(fd) as found:
            entries = sorted(found, key=NAME)
        try:
            "".join(map(NAME, entries)).encode("ascii")
        except UnicodeEncodeError:  # the order must not depend on the node's locale
            entries.sort(key=by_name)
        for entry in entries:
            name = entry.name
            if name in self.skip or name.endswith(".pyc"):
                continue
            s = entry.stat(follow_symlinks=False)
            mode = s.st_mode
            if mode & KIND == DIRECTORY:
                below.append((name, mode, s.st_mtime_ns))
                continue
            changed = s.st_ctime_ns
            if changed > newest:
                newest = changed
            size += s.st_size
            names.append(name)
            stats += (name, mode, s.st_size, s.st_mtime_ns, changed, s.st_ino)
        self.files += len(names)
        self.bytes += size
        return names, stats, below, newest

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

    def own(
        self, fd: "int", path: "str", names: "list[str]", stats: "list[str | int]", newest: "int"
    ) -> "tuple[bytes, list[bytes] | None]":
        """The digest of a directory's own files; and theirs, if it was not as the cache has it."""
        seen = blake2b(marshal.dumps(stats, 2), digest_size=16).digest()
        known = self.cache.known.get(path)
        if known is not None and known[0] == seen:
            self.cache.kept[path] = known
            return known[1], None
        before = former(known)
        found: "list[bytes]" = []
        parts: "list[bytes]" = []
        for number, name in enumerate(names):
            status = tuple(stats[6 * number + 1 : 6 * number + 6])
            mode = int(status[0])
            its = before.get((name, status)) or self.content(fd, path, name, mode & KIND)
            found.append(its)
            parts += (encoded(name), b"\0%o " % mode, its)
        own = digest(b"".join(parts))
        self.cache.changed = True
        if CLOSED not in found and newest < self.racy_ns:
            self.cache.kept[path] = (seen, own, marshal.dumps([stats, found], 2))
        return own, found

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

    def list(self, path: "str", names: "list[str]", stats: "list[str | int]", found: "list[bytes]") -> "None":
        rows = self.rows if path else self.tops
        for number, name in enumerate(names):
            inner = path + "/" + name if path else name
            rows.append((inner, int(stats[6 * number + 1]), found[number].hex(), int(stats[6 * number + 3])))


def former(known: "tuple[bytes, bytes, bytes] | None") -> "dict[object, bytes]":
    """(name, what lstat said) of each file as it was known, to its digest."""
    if known is None:
        return {}
    stats, found = marshal.loads(known[2])
    return {(stats[6 * n], tuple(stats[6 * n + 1 : 6 * n + 6])): its for n, its in enumerate(found)}


def by_name(entry: "os.DirEntry[str]") -> "bytes":
    return encoded(entry.name)


class Beat:
    """The type of Scan's `beat`; `now`: it must be heard of."""

    def __call__(self, path: "str", now: "bool" = False) -> "None":
        """Do nothing."""
