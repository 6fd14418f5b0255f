"""`python -m benchmarks [AREA ...] [--json]`; exit code 1: a broken limit, 3: could not be measured, 64: usage."""

from __future__ import annotations

from lab import venv  # noqa: F401

# isort: split

import importlib
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Callable

from rich.console import Console

from benchmarks.figures import Figure, as_json, as_table, exit_code
from lab.errors import LabError

AREAS = (
    "mongodb",
    "mysql",
    "rabbitmq",
    "check",
    "auth",
    "redis",
    "partition",
    "content",
    "upgrade",
    "platform",
    "edge",
)
"""`benchmarks.<area>` has its `measure(say) -> Iterator[Figure]`; `say` takes a line about what is being measured."""
UNMEASURED, USAGE = 3, 64
Say = Callable[[str], None]


def main(argv: Sequence[str]) -> int:
    """Measure the named areas, all if none is named."""
    if "--help" in argv or "-h" in argv:
        print(f"usage: python -m benchmarks [--json] [AREA ...]\nareas: {', '.join(AREAS)} (default: all)")
        return 0
    wrong = [word for word in argv if word not in AREAS and word != "--json"]
    if wrong:
        print(f"benchmarks: there is no area {wrong[0]!r}: use one of {', '.join(AREAS)}", file=sys.stderr)
        return USAGE
    areas = [area for area in AREAS if area in argv] or list(AREAS)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        figures = list(measured(areas, lambda line: print(f"... {line}", file=sys.stderr, flush=True)))
    except LabError as error:
        print(f"benchmarks: could not be measured: {error}", file=sys.stderr)
        return UNMEASURED
    except KeyboardInterrupt:
        return 130
    if "--json" in argv:
        print(as_json(figures))
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(as_table(figures))
    return exit_code(figures)


def measured(areas: Sequence[str], say: Say) -> Iterator[Figure]:
    """The figures of the areas, in order, as they are measured."""
    for area in areas:
        yield from importlib.import_module(f"benchmarks.{area}").measure(say)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C: what was started must end."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
