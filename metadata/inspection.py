"""Orquesta's own look at workflows, in a process of its own.

StackStorm makes this inspection only when a workflow runs. Orquesta takes its expression functions once, at its first
import, so it must not be imported where the pack's local runner may want it later with the real functions.
``python -m metadata.inspection FILE...`` prints JSON: file -> list of [place, message].
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metadata.load import WORKFLOWS, Pack, parse
from metadata.problem import Problem

HOME = Path(__file__).resolve().parent.parent
NO_ORQUESTA = 3
DEADLINE_S = 120


def problems(pack: Pack) -> Iterator[Problem]:
    """What orquesta says about the pack's workflows; nothing where it cannot be imported."""
    files = {str((pack.root / workflow.path).resolve()): workflow.path for workflow in pack.folders[WORKFLOWS]}
    if not files:
        return
    command = [sys.executable, "-m", "metadata.inspection", *files]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    if done.returncode == NO_ORQUESTA:
        print(f"metadata: workflows not inspected by orquesta: {done.stderr.strip()}", file=sys.stderr)
        return
    if done.returncode:
        yield Problem(
            WORKFLOWS, f"orquesta's inspection broke: {done.stderr.strip()[-300:]}", "see metadata/inspection.py"
        )
        return
    for file, entries in json.loads(done.stdout).items():
        for place, message in entries:
            yield Problem(files[file], f"orquesta rejects {place}: {message}", "correct it")


def native_language() -> Any:
    """Orquesta's module for workflow definitions. PyPI's release needs the patches of ``st2ha.local`` first."""
    sys.path.append(str(HOME / "actions" / "lib"))
    compat = importlib.import_module("st2ha.local.orquesta_compat")
    return compat.engine({"st2kv": lambda *_: ""}).native


def inspect(language: Any, file: str) -> list[tuple[str, str]]:
    """(place, message) of each thing orquesta finds in one file."""
    data, _ = parse(file, Path(file).read_text(encoding="utf-8"))
    try:
        report = language.instantiate(data).inspect(app_ctx={"st2": {}, "parent": {}})
    except Exception as error:  # noqa: BLE001 - its parsers raise many kinds on a broken text
        return [("the file", f"{type(error).__name__}: {error}")]
    return [
        (str(entry.get("spec_path") or kind), " ".join(str(entry.get("message")).split()))
        for kind, entries in sorted(report.items())
        for entry in entries
    ]


def main(files: list[str]) -> int:
    """Prints the findings of the files as JSON."""
    try:
        language = native_language()
    except Exception as error:  # noqa: BLE001 - not installed, or too old: say so, let the other checks stand
        print(error, file=sys.stderr)
        return NO_ORQUESTA
    print(json.dumps({file: inspect(language, file) for file in files}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
