"""`st2ha history`: what writing actions planned and did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from st2ha.local import journal, render
from st2ha.local.render import Block, cell

STYLES = {"done": "green", "failed": "bold red", "stopped": "yellow", "unfinished": "magenta"}


def show(path: Path, last: int | None, as_json: bool) -> int:
    """Print the runs, the latest last."""
    runs = [run.as_dict() for run in journal.read(path, last)]
    if as_json:
        render.show_json(runs)
    elif runs:
        render.show(block for run in runs for block in _blocks(run))
    else:
        render.show([Block(f"no writing action was run here yet ({path})")])
    return 0


def _blocks(run: dict[str, Any]) -> Iterator[Block]:
    status = run["status"]
    head = [run["at"][:19].replace("T", " "), run["action"], run["user"], status]
    exit_code = f"exit {run['exit']}" if run["exit"] is not None else ""
    yield Block("  ".join(cell(part) for part in (*head, exit_code) if part), STYLES.get(status, ""))
    if run["parent"]:
        yield Block(f"    part of {run['parent']}")
    if run["parameters"]:
        yield Block("    " + " ".join(f"{name}={cell(value)}" for name, value in run["parameters"].items()))
    if run["goal"]:
        yield Block(f"    plan: {cell(run['goal'])}")
    for step in run["steps"]:
        took = f" ({step['took_s']:.2f} s)" if isinstance(step.get("took_s"), float) else ""
        note = f": {cell(step['note'])}" if step.get("note") else ""
        what = f"    {cell(step.get('number'))}. {cell(step.get('verb'))} {cell(step.get('target'))}"
        yield Block(f"{what} [{cell(step.get('state'))}{took}{note}]")
    for text in (run["reason"], run["summary"]):
        if text:
            yield Block(f"    {cell(text)}")
