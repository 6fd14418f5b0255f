"""What a node tells of itself. This file is sent to a node and run there by its own Python 3: standard library only.

    python3 - DEADLINE_S packs|- CONF... <onnode.py        prints one JSON object

Nothing is written. The key's digest leaves the node, the key does not.
"""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, Optional

BASE = "/opt/stackstorm"
LARGEST = 8 * 1024 * 1024
SKIPPED = (".git", "__pycache__", ".mypy_cache", ".pytest_cache")
WRAPPER = "sensor_wrapper.py"


def texts(paths: Iterable[str]) -> list[str]:
    """The configuration files; a missing one is an OSError."""
    found = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            found.append(file.read())
    return found


def option(configs: Iterable[str], section: str, name: str, default: str) -> str:
    """The last value of an option that is no secret and has no quirks: a path."""
    value = default
    for text in configs:
        parser = configparser.RawConfigParser(strict=False, default_section="\0", allow_no_value=True)
        try:
            parser.read_string(text)
        except configparser.Error:
            continue
        if parser.has_option(section, name) and parser.get(section, name):
            value = parser.get(section, name).strip().strip("\"'")
    return value


def key_digest(path: str) -> Optional[str]:
    """Of the key, however its JSON is laid out. None: it cannot be read; "": there is none."""
    if not path:
        return ""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST)
    except FileNotFoundError:
        return ""
    except OSError:
        return None
    with contextlib.suppress(ValueError):
        data = json.dumps(json.loads(data.decode()), sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def pack_facts(directory: str, until: float) -> Optional[list[str]]:
    """[version, digest of the files]; None where the time is over."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(directory):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        for name in sorted(files):
            if time.monotonic() > until:
                return None
            if name.endswith(".pyc"):
                continue
            path = os.path.join(folder, name)
            digest.update(os.path.relpath(path, directory).encode("utf-8", "surrogateescape") + b"\0")
            digest.update(content(path) + b"\0")
    return [version(os.path.join(directory, "pack.yaml")), digest.hexdigest()]


def content(path: str) -> bytes:
    """What is compared of one file: its own bytes' digest, a link's target, or only the size of a huge one."""
    try:
        if os.path.islink(path):
            return os.readlink(path).encode("utf-8", "surrogateescape")
        if os.path.getsize(path) > LARGEST:
            return str(os.path.getsize(path)).encode()
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).digest()
    except OSError as error:
        return str(error.errno).encode()


def version(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            found = re.search(r"^version\s*:\s*[\"']?([^\s\"'#]+)", file.read(), re.MULTILINE)
    except (OSError, ValueError):
        return "?"
    return found.group(1) if found else "?"


def installed(base: str) -> Optional[str]:
    """StackStorm's own version, as its package says; None where there is none."""
    library = os.path.join(base, "st2", "lib")
    names = sorted(os.listdir(library)) if os.path.isdir(library) else []
    for name in names:
        path = os.path.join(library, name, "site-packages", "st2common", "__init__.py")
        with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
            found = re.search(r"^__version__\s*=\s*[\"']([^\"']+)", file.read(), re.MULTILINE)
            if found:
                return found.group(1)
    return None


def packs(bases: Iterable[str], until: float) -> Optional[dict[str, list[str]]]:
    """Pack -> its facts, of all directories with packs; None if they cannot all be read in time."""
    found: dict[str, list[str]] = {}
    for base in filter(os.path.isdir, bases):
        for name in sorted(os.listdir(base)):
            directory = os.path.join(base, name)
            if not os.path.isfile(os.path.join(directory, "pack.yaml")):
                continue
            facts = pack_facts(directory, until)
            if facts is None:
                return None
            found[name] = facts
    return found


def running() -> Optional[list[str]]:
    """References of the sensors that have a process here; None where processes cannot be seen."""
    found = set()
    try:
        numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return None
    if "1" not in numbers:  # mounted with hidepid
        return None
    for number in numbers:
        try:
            with open(f"/proc/{number}/cmdline", "rb") as file:
                words = file.read().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if any(os.path.basename(word) == WRAPPER for word in words[:3]):
            options = dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)
            if options.get("pack") and options.get("class-name"):
                found.add(f"{options['pack']}.{options['class-name']}")
    return sorted(found)


def main(arguments: Sequence[str]) -> None:
    """`DEADLINE_S packs|- CONF...`"""
    told: dict[str, Any] = {"time": time.time()}
    until = time.monotonic() + float(arguments[0])
    with_packs, paths = arguments[1] == "packs", arguments[2:]
    try:
        told["configs"] = configs = texts(paths)
    except (OSError, ValueError) as error:
        told["error"] = str(error)
        configs = []
    told["key"] = key_digest(option(configs, "keyvalue", "encryption_key_path", ""))
    told["running"] = running()
    base = option(configs, "system", "base_path", BASE)
    told["version"] = installed(base)
    bases = [option(configs, "content", "system_packs_base_path", os.path.join(base, "packs"))]
    bases += [path for path in option(configs, "content", "packs_base_paths", "").split(":") if path]
    told["packs"] = packs(bases, until) if with_packs else None
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
