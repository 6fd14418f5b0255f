"""``python -m metadata [PACK_DIR] [--write-readme]``: one line for each problem; exits 1 if there is one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from metadata import readme
from metadata.check import check
from metadata.load import load_pack


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    purpose = "Finds what is wrong with a pack's metadata."
    parser = argparse.ArgumentParser(prog="python -m metadata", description=purpose)
    parser.add_argument("pack_dir", nargs="?", type=Path, default=Path(), help="the pack's directory (default: here)")
    parser.add_argument("--write-readme", action="store_true", help="renew the table of actions in README.md")
    options = parser.parse_args(arguments)
    if not options.pack_dir.is_dir():
        parser.error(f"{options.pack_dir} is no directory")
    if options.write_readme:
        return _write(options.pack_dir)
    pack, problems = check(options.pack_dir)
    for problem in problems:
        print(problem)
    if not problems:
        print(f"metadata: {len(pack.documents)} files, no problem")
    return 1 if problems else 0


def _write(root: Path) -> int:
    pack = load_pack(root)
    if readme.write(pack):
        print(f"{readme.FILE}: table of {len(pack.actions)} actions")
        return 0
    print(f"{readme.FILE}: no lines {readme.BEGIN} and {readme.END}; add them where the table belongs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
