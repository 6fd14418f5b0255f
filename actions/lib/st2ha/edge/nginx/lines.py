"""A site's own nginx file: crossplane finds the lines that say where clients go, and exactly these are changed. Pure.

These are the server lines of an upstream block; where there is none, as in StackStorm's own file, the lines
`proxy_pass http://127.0.0.1:9101/`, which then name an upstream of the pack's file. crossplane's builder would drop
blank lines and alignment; so it only reads, and each changed line keeps all but the address.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from st2ha.errors import BadInput

SERVER = re.compile(rb"^(\s*server\s+)([^\s;]+)(.*;[^;]*)$", re.DOTALL)
PASS = re.compile(rb"^(\s*proxy_pass\s+http://)([^\s;/]+)([^;]*;[^;]*)$", re.DOTALL)
HERE = frozenset({"127.0.0.1", "localhost", "[::1]"})


def read(text: bytes) -> list[dict[str, Any]]:
    """The directives of one file, includes not followed; BadInput where crossplane cannot parse it."""
    import crossplane

    with tempfile.NamedTemporaryFile(prefix="st2ha-nginx-") as file:
        file.write(text)
        file.flush()
        found = crossplane.parse(file.name, single=True, check_ctx=False, check_args=False, comments=False)
    if found["errors"]:
        reason = str(found["errors"][0]["error"]).replace(file.name, "").strip()
        raise BadInput(f"the nginx file cannot be parsed: {reason[:160]}")
    directives: list[dict[str, Any]] = found["config"][0]["parsed"]
    return directives


def walk(directives: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """All directives, those in blocks as well."""
    for each in directives:
        yield each
        yield from walk(each.get("block") or ())


def servers(directives: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Upstream -> addresses of its servers."""
    return {
        each["args"][0]: tuple(inner["args"][0] for inner in each.get("block") or () if inner["directive"] == "server")
        for each in walk(directives)
        if each["directive"] == "upstream" and each["args"]
    }


def passed(directives: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Hosts or upstreams that a `proxy_pass` names."""
    targets = (each["args"][0] for each in walk(directives) if each["directive"] == "proxy_pass" and each["args"])
    return frozenset(re.split(r"[/:]", target.partition("://")[2] or target)[0] for target in targets)


def edit(
    text: bytes,
    upstreams: Mapping[str, int],
    nodes: Sequence[str],
    path: str,
    known: Collection[str] = (),
    mine: Collection[str] = (),
) -> bytes:
    """`text` with the servers of `upstreams` replaced by `nodes`; BadInput where that is not a matter of lines.

    An upstream without a block in it must be in `mine`, or is passed to directly, on this host or one of `known`.
    """
    lines, directives = text.splitlines(keepends=True), read(text)
    blocks = {each["args"][0]: each for each in walk(directives) if each["directive"] == "upstream" and each["args"]}
    direct = {name: _direct(directives, port, HERE | set(known)) for name, port in upstreams.items()}
    named = passed(directives) & set(mine)
    if absent := [name for name in upstreams if name not in blocks and not direct[name] and name not in named]:
        raise BadInput(
            f"{path} has no upstream {', '.join(absent)}: write the upstream blocks there and pass to them, or leave "
            "edge.nginx.site_file away and pass to the upstreams of the pack's own file"
        )
    for name in upstreams.keys() - blocks.keys():
        _pass_to(lines, direct[name], name, path)
    # From the last block to the first, so that line numbers stay what they are.
    for name in sorted(upstreams.keys() & blocks.keys(), key=lambda name: -int(blocks[name]["line"])):
        numbers = [each["line"] for each in blocks[name]["block"] if each["directive"] == "server"]
        _replace(lines, numbers, [f"{node}:{upstreams[name]}" for node in nodes], f"upstream {name} in {path}")
    return b"".join(lines)


def _direct(directives: Sequence[Mapping[str, Any]], port: int, hosts: Collection[str]) -> list[int]:
    """Lines of a `proxy_pass` to a service itself."""
    targets = ((each["line"], each["args"][0]) for each in walk(directives) if each["directive"] == "proxy_pass")
    found = ((line, re.fullmatch(rf"http://(.+?):{port}(/[^$]*)?", target)) for line, target in targets)
    return [line for line, match in found if match is not None and match[1] in hosts]


def _pass_to(lines: list[bytes], numbers: Sequence[int], name: str, path: str) -> None:
    for number in numbers:
        match = PASS.match(lines[number - 1])
        if match is None:
            raise BadInput(f"line {number} of {path} cannot be edited: write each proxy_pass on a line of its own")
        lines[number - 1] = match[1] + name.encode() + match[3]


def _replace(lines: list[bytes], numbers: Sequence[int], addresses: Sequence[str], where: str) -> None:
    """Line by line; a group with more nodes repeats the last line's form, one with fewer drops the last lines."""
    matches = [SERVER.match(lines[number - 1]) for number in numbers]
    if not numbers or not all(matches) or len(set(numbers)) < len(numbers):
        raise BadInput(f"{where} cannot be edited by line: write each server on a line of its own")
    if any(re.search(rb"\b(down|backup)\b", match[3]) for match in matches if match):
        raise BadInput(
            f"{where} has servers that are `down` or `backup`, which this pack does not choose: edit it by hand"
        )
    for number, match in reversed(list(zip(numbers, matches))[len(addresses) :]):
        assert match is not None
        del lines[number - 1]
    for index in range(len(addresses) - 1, -1, -1):
        match = matches[min(index, len(matches) - 1)]
        assert match is not None
        line = match[1] + addresses[index].encode() + match[3]
        if index < len(numbers):
            lines[numbers[index] - 1] = line
        else:
            lines.insert(numbers[-1], line if line.endswith(b"\n") else line + b"\n")
