"""The documents say what the code does."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_links_of_the_readme_lead_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
