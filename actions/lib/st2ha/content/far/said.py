"""What packs, virtualenvs, configurations and mounts say of themselves. (Part of the program of st2ha.content.far.)"""

import os
import select
import signal

from st2ha.content.far.tree import DIRECTORY, KIND, LINK, NAMES, REGULAR

SMALL = 1 << 16
PATIENCE_S = 2.0
SECRET = ("password", "passwd", "passphrase", "secret", "token", "api_key", "apikey", "private_key", "access_key")
NO_SECRET = ("file", "path", "url", "ttl", "name")
NO_VALUE = ("", "true", "false", "null", "~", "|", ">", "{}", "[]")
Tops = "list[tuple[str, int, str, int]]"


def packs(root: "str", tops: "list[tuple[str, int, str, int]]") -> "list[tuple[str | int, ...]]":
    """("pack", directory, ref, version, when its requirements changed or 0) of each pack."""
    found: "list[tuple[str | int, ...]]" = []
    for name, mode, _, _ in tops:
        place = os.path.join(root, name)
        if mode & KIND in (DIRECTORY, LINK) and not name.startswith("."):
            values = dict(pair for pair in pairs(text(os.path.join(place, "pack.yaml"))) if not pair[0][:1].isspace())
            wanted = text(os.path.join(place, "requirements.txt")).splitlines()
            real = [line for line in wanted if line.strip() and not line.lstrip().startswith("#")]
            since = modified(os.path.join(place, "requirements.txt")) if real else 0
            ref = values.get("ref") or values.get("name") or ""
            found.append(("pack", name, ref, values.get("version", ""), since))
    return found


def virtualenvs(root: "str", tops: "list[tuple[str, int, str, int]]") -> "list[tuple[str | int, ...]]":
    """("venv", name, why its python cannot be run or "", version it was made for, version it runs, when it was made)."""
    versions: "dict[str, str]" = {}
    found: "list[tuple[str | int, ...]]" = []
    for name, mode, _, _ in tops:
        if mode & KIND != DIRECTORY or name.startswith("."):
            continue
        place = os.path.join(root, name)
        python, why = os.path.join(place, "bin", "python"), ""
        library = sorted(each[6:] for each in listed(os.path.join(place, "lib")) if each.startswith("python3."))
        made = library[-1] if library else ""
        real = os.path.realpath(python)
        try:
            os.stat(python)
        except OSError as error:
            why = f"{real}: {error.strerror}"
        if not why and real not in versions:
            versions[real] = version_of(real)
        inside = os.path.join(place, "lib", "python" + made, "site-packages")
        when = max(modified(inside), modified(os.path.join(place, "pyvenv.cfg")))
        found.append(("venv", name, why, made, versions.get(real, ""), when))
    return found


def version_of(python: "str") -> "str":
    """By its name, else by asking it; "" if it does not say."""
    base = os.path.basename(python)
    if base.startswith("python3.") and base[8:].isdigit():
        return base[6:]
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.dup2(writer, 1)
            os.execv(python, [python, "-ISc", "import sys; print('%d.%d' % sys.version_info[:2])"])
        finally:
            os._exit(127)
    os.close(writer)
    ready = select.select([reader], [], [], PATIENCE_S)[0]
    said = os.read(reader, 20).decode("ascii", "replace").strip() if ready else ""
    os.close(reader)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return said


def secrets(root: "str", tops: "list[tuple[str, int, str, int]]") -> "list[tuple[str | int, ...]]":
    """("secret", file, key) for each secret in the clear in a file that everybody can read; never its value."""
    found: "list[tuple[str | int, ...]]" = []
    if not os.stat(root).st_mode & 0o001:
        return found
    for name, mode, _, _ in tops:
        if mode & KIND == REGULAR and mode & 0o004 and name.endswith((".yaml", ".yml")):
            for key, value in pairs(text(os.path.join(root, name))):
                key = key.strip().lower()
                if value in NO_VALUE or "{{" in value or key.rpartition("_")[2] in NO_SECRET:
                    continue
                if any(word in key for word in SECRET):
                    found.append(("secret", name, key))
    return found


def pairs(content: "str") -> "list[tuple[str, str]]":
    """(key, value) of each line of a YAML text, the key with its indentation."""
    found = []
    for line in content.splitlines():
        key, colon, value = line.partition(":")
        if colon and not line.lstrip().startswith("#"):
            found.append((key.replace("- ", "  ", 1).rstrip(), value.partition(" #")[0].strip().strip("'\"")))
    return found


def text(path: "str") -> "str":
    """The beginning of a file; nothing of one that cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, SMALL).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def modified(path: "str") -> "int":
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def listed(path: "str") -> "list[str]":
    try:
        return os.listdir(path)
    except OSError:
        return []


def mounts(table: "bytes") -> "list[tuple[str, ...]]":
    """(mount point, type, source, options, super options) of each mount, of /proc/self/mountinfo."""
    found = []
    for line in table.split(b"\n"):
        left, dash, right = line.partition(b" - ")
        if dash:
            one, two = left.split(b" "), [*right.split(b" "), b"", b""]
            found.append(tuple(map(plain, (one[4], two[0], two[1], one[5], two[2]))))
    return found


def plain(word: "bytes") -> "str":
    """Without the octal escapes of the kernel."""
    head, *parts = word.split(b"\\")
    for part in parts:
        head += bytes([int(part[:3], 8)]) + part[3:] if part[:3].isdigit() else b"\\" + part
    return head.decode(NAMES, "surrogateescape")


def covering(path: "str", table: "list[tuple[str, ...]]") -> "tuple[str, ...]":
    """The mount in which a path lies; of two at one place the later one hides the other."""
    best: "tuple[str, ...]" = ("/", "", "", "", "")
    for mount in table:
        point = mount[0]
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best[0]):
            best = mount
    return best
