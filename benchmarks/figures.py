"""One measured number, its limit, and how a set of them is shown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """`value` must not be above `limit`, both in `unit`; `beside` is the raw floor or the peer, from the same run."""

    name: str
    value: float
    limit: float
    unit: str
    beside: str = ""
    how: str = ""

    @property
    def ok(self) -> bool:
        """Within its limit; a value that is no number is not."""
        return self.value <= self.limit


def worst(values: Iterable[float]) -> float:
    """The largest; no number if any of them is none."""
    found = list(values)
    return math.nan if any(map(math.isnan, found)) else max(found)


def as_json(figures: Iterable[Figure]) -> str:
    """All figures as one object; `null` for a value that is no number."""
    rows = {
        figure.name: {
            "value": None if math.isnan(figure.value) else round(figure.value, 4),
            "limit": round(figure.limit, 4),
            "unit": figure.unit,
            "ok": figure.ok,
        }
        for figure in figures
    }
    return json.dumps(rows, indent=1)


def as_table(figures: Iterable[Figure]) -> Table:
    """All figures for people."""
    table = Table(show_lines=False)
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("beside it, in the same run")
    table.add_column("how")
    for figure in figures:
        colour = "green" if figure.ok else "bold red"
        value = f"[{colour}]{_shown(figure.value)} {figure.unit}[/]"
        table.add_row(figure.name, value, f"{_shown(figure.limit)} {figure.unit}", figure.beside, figure.how)
    return table


def exit_code(figures: Iterable[Figure]) -> int:
    """1 if a limit is broken."""
    return 0 if all(figure.ok for figure in figures) else 1


def _shown(number: float) -> str:
    return f"{number:.0f}" if float(number).is_integer() or abs(number) >= 100 else f"{number:.2f}"
