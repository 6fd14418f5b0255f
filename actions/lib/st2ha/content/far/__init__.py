"""The program that runs on a node, whether the pack is there or not: `program` joins these modules into one text.

It goes through the door into `python3 -I -S -`: Python 3.6, the standard library, no import that takes long; therefore
annotations are strings. `REQUEST = {...}` stands before the text. The answer is a line of JSON for each fact, an array in
ASCII: names may be no UTF-8. Every root is read in a child, one for each mount: a mount that hangs costs the silence
that is allowed, once, and the child is killed.
"""

from __future__ import annotations

import os
from typing import Any

MODULES = ("tree", "said", "main")


def program(request: dict[str, Any]) -> bytes:
    """The whole program for one request; see main.main for what is in it."""
    texts = []
    for module in MODULES:
        with open(os.path.join(os.path.dirname(__file__), f"{module}.py"), encoding="utf-8") as file:
            texts.append("".join(line for line in file if not line.startswith("from st2ha.")))
    return "\n".join([f"REQUEST = {request!r}", *texts]).encode("utf-8", "backslashreplace")
