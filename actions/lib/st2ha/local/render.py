"""Results for people: what to show as data (Block), and two ways to show it, plain text and rich."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from st2ha.stackstorm import HEADS

STYLES = {"OK": "bold green", "WARNING": "bold yellow", "CRITICAL": "bold red", "UNKNOWN": "bold magenta"}


@dataclass(frozen=True)
class Block:
    """A line of text, or a table with a title."""

    text: str
    style: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = field(default=())


def clean(text: str) -> str:
    """The text without control characters: what a server says must not drive the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def cell(value: Any) -> str:
    """One value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(item) for item in value)
    if isinstance(value, dict):
        return clean(json.dumps(value, default=str))
    return clean(str(value))


def is_table(value: Any) -> bool:
    """A list of flat objects is shown as a table; a list inside a row may hold plain values."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, dict) and row and not any(_deep(item) for item in row.values()) for row in value)
    )


def _deep(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value))


def table(title: str, rows: Sequence[dict[str, Any]], columns: Sequence[str] = ()) -> Block:
    names = tuple(columns) or tuple(dict.fromkeys(name for row in rows for name in row))
    return Block(title, columns=names, rows=tuple(tuple(cell(row.get(name)) for name in names) for row in rows))


def result_blocks(result: Any) -> Iterator[Block]:
    """An action's result: verdict, findings, plan, tables; the rest is for --json."""
    if not isinstance(result, dict):
        yield Block(result if isinstance(result, str) else json.dumps(result, indent=2, default=str))
        return
    told = {"summary", "severity", "findings", "details", "facts", "elapsed_s", "plan", "steps_done", "before", "after"}
    error = str(result.get("error") or "")
    summary = _whole(str(result.get("summary") or ""), f"{HEADS.get(str(result.get('kind')), '')} {error}")
    if summary:
        yield Block(clean(summary), STYLES.get(str(result.get("severity")).upper(), ""))
    if error and error not in summary:
        yield Block(clean(error))
    for finding in result.get("findings") or []:
        text = clean(str(finding))
        yield Block("  " + text, STYLES.get(text.split(" ", 1)[0], "").replace("bold ", ""))
    yield from _plan_blocks(result)
    facts = result.get("facts") if isinstance(result.get("facts"), dict) else {}
    for name, value in [*((k, result.get(k)) for k in ("before", "after")), *(facts or {}).items()]:
        if is_table(value):
            yield table(name, value)
    if not summary and not error:
        rest = {name: value for name, value in result.items() if name not in told}
        yield Block(json.dumps(rest or result, indent=2, default=str))


def _whole(summary: str, sentence: str) -> str:
    """The sentence that the summary was clipped from, else the summary."""
    return sentence if summary.endswith("…") and sentence.startswith(summary[:-1]) else summary


def _plan_blocks(result: dict[str, Any]) -> Iterator[Block]:
    plan = result.get("plan")
    if not isinstance(plan, dict):
        return
    done = {row.get("number"): row for row in result.get("steps_done") or [] if isinstance(row, dict)}
    yield Block(f"plan: {clean(str(plan.get('goal') or ''))}", "bold")
    steps = plan.get("steps") or []
    if not steps:
        yield Block("  nothing to do")
    for number, step in enumerate(steps, start=1):
        if not isinstance(step, dict):
            continue
        line = f"  {number}. {cell(step.get('verb'))} {cell(step.get('target'))}: {cell(step.get('because'))}"
        row = done.get(number)
        if row is None:
            yield Block(line)
            continue
        took = f" ({row['took_s']:.2f} s)" if isinstance(row.get("took_s"), (int, float)) else ""
        note = f": {cell(row['note'])}" if row.get("note") else ""
        yield Block(f"{line} [done{took}{note}]", "green")


def show(blocks: Iterable[Block], stream: TextIO | None = None) -> None:
    """Rich on a terminal, plain text in a pipe."""
    stream = stream or sys.stdout
    if stream.isatty():
        _show_rich(blocks, stream)
    else:
        for block in blocks:
            stream.write(plain(block))
    stream.flush()


def plain(block: Block) -> str:
    """A block as plain text with its line ends."""
    if not block.columns:
        return block.text + "\n"
    widths = [max(len(row[n]) for row in (block.columns, *block.rows)) for n in range(len(block.columns))]
    lines = [f"\n{block.text}"] if block.text else []
    for row in (block.columns, *block.rows):
        lines.append("  " + "  ".join(value.ljust(width) for value, width in zip(row, widths)).rstrip())
    return "\n".join(lines) + "\n"


def _show_rich(blocks: Iterable[Block], stream: TextIO) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream)
    for block in blocks:
        if not block.columns:
            console.print(Text(block.text, style=block.style))
            continue
        grid = Table(title=Text(block.text, style="bold"), box=SIMPLE_HEAD, title_justify="left")
        for name in block.columns:
            grid.add_column(Text(name))
        for row in block.rows:
            grid.add_row(*(Text(value, style=STYLES.get(value.upper(), "")) for value in row))
        console.print(grid)


def show_json(value: Any) -> None:
    """One JSON document on stdout."""
    try:
        import orjson

        text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str).decode()
    except ImportError:
        text = json.dumps(value, indent=2, default=str)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
