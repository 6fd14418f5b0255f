"""docs/findings.md tells of exactly the findings that the code can make."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "actions" / "lib" / "st2ha"


def test_every_finding_is_documented_and_every_documented_one_exists() -> None:
    sources = [
        *LIBRARY.glob("**/assess*.py"),
        *LIBRARY.glob("**/operations.py"),
        *LIBRARY.glob("**/act.py"),
        LIBRARY / "check.py",
        LIBRARY / "watcher.py",
    ]
    text = "\n".join(source.read_text() for source in sources)
    raised = set(re.findall(r'(?:finding|Finding)\(\s*"([A-Z]\w+)"', text))
    documented = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "findings.md").read_text(), re.MULTILINE))
    assert len(raised) > 25
    assert raised == documented
