"""Importing this goes on in the repository's own virtualenv, with the pack's library at hand (`make setup` makes both).

For `python -m lab`, `benchmarks`, `demo` and `tests.record`, whichever python is called.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".venv"

if Path(sys.prefix).resolve() != HOME.resolve():
    if not (HOME / "bin" / "python").exists():
        sys.exit("the virtualenv is missing: run `make setup` first")
    os.chdir(ROOT)
    python = str(HOME / "bin" / "python")
    name = getattr(sys.modules["__main__"].__spec__, "name", "lab")
    os.execv(python, [python, "-m", name, *sys.argv[1:]])  # its whole path: by that it knows its virtualenv
sys.path.insert(1, str(ROOT / "actions" / "lib"))
