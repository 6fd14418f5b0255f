"""The picture of a partition: 0 to 2^32 as a ring, a colour a node, a dot a sensor; as text and SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from st2ha.naming import count
from st2ha.partition.hash import SPACE

LINES = 200
DOTS = 2000
"""More arcs as text, or sensors as dots, are told as a number."""
WIDTH = 40
RADIUS, SIZE = 150, 400


@dataclass(frozen=True)
class Slice:
    """A piece of the ring, as shares of it (0 to 1), its node, how many sensors are there, and its bounds in words."""

    begin: float
    end: float
    node: str
    sensors: int
    label: str


def as_rows(slices: Sequence[Slice]) -> list[dict[str, Any]]:
    """A row a slice: where it begins and ends, its node, its part of the ring as a bar."""
    return [
        {
            "range": each.label,
            "node": each.node,
            "part": round(each.end - each.begin, 4),
            "sensors": each.sensors,
            "bar": "#" * max(each.end > each.begin, round(WIDTH * (each.end - each.begin))),
        }
        for each in slices[:LINES]
    ]


def as_text(slices: Sequence[Slice]) -> str:
    """The rows as lines."""
    rows = as_rows(slices)
    label, node = (max((len(row[name]) for row in rows), default=0) for name in ("range", "node"))
    lines = [
        f"{row['range']:<{label}}  {row['node']:<{node}}  {100 * row['part']:5.1f} %  "
        f"{count(row['sensors'], 'sensor'):<11}  {row['bar']}".rstrip()
        for row in rows
    ]
    more = len(slices) - len(rows)
    return "\n".join([*lines, f"... and {more} more"] if more else lines)


def as_svg(title: str, slices: Sequence[Slice], nodes: Sequence[str], hashes: Sequence[int] = ()) -> str:
    """One SVG document: a colour a node, its names at the side, a dot for each of `hashes`."""
    colours = {node: f"hsl({360 * place // max(1, len(nodes))}, 65%, 50%)" for place, node in enumerate(nodes)}
    middle = SIZE / 2
    height = max(SIZE, 60 + 20 * len(nodes))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE + 220} {height}" font-family="sans-serif" '
        f'font-size="13"><title>{escape(title)}</title>'
    ]
    parts += [_arc(each, colours[each.node], middle) for each in slices if each.end > each.begin]
    if len(hashes) <= DOTS:
        for number in hashes:
            x, y = _point(number / SPACE, RADIUS + 24, middle)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    held = dict.fromkeys(nodes, 0)
    for each in slices:
        held[each.node] += each.sensors
    for place, node in enumerate(nodes):
        y = 40 + 20 * place
        parts.append(f'<rect x="{SIZE + 10}" y="{y - 10}" width="12" height="12" fill="{colours[node]}"/>')
        parts.append(f'<text x="{SIZE + 30}" y="{y}">{escape(node)}: {count(held[node], "sensor")}</text>')
    parts.append(f'<text x="{middle}" y="{middle}" text-anchor="middle">{escape(title)}</text></svg>')
    return "\n".join(parts) + "\n"


def _arc(each: Slice, colour: str, middle: float) -> str:
    """An arc as a stroke; a whole ring has no begin and needs a circle."""
    style = f'fill="none" stroke="{colour}" stroke-width="26"'
    tip = f"<title>{escape(each.node)} {escape(each.label)}: {count(each.sensors, 'sensor')}</title>"
    if each.end - each.begin >= 1 - 1e-9:
        return f'<circle cx="{middle}" cy="{middle}" r="{RADIUS}" {style}>{tip}</circle>'
    (x1, y1), (x2, y2) = _point(each.begin, RADIUS, middle), _point(each.end, RADIUS, middle)
    large = int(each.end - each.begin > 0.5)
    path = f"M {x1:.2f} {y1:.2f} A {RADIUS} {RADIUS} 0 {large} 1 {x2:.2f} {y2:.2f}"
    return f'<path d="{path}" {style}>{tip}</path>'


def _point(part: float, radius: float, middle: float) -> tuple[float, float]:
    """A point of the ring, 0 at the top, clockwise."""
    angle = 2 * math.pi * part
    return middle + radius * math.sin(angle), middle - radius * math.cos(angle)
