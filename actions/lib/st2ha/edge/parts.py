"""What a script on a balancer prints in parts, taken apart again. Pure."""

from __future__ import annotations

import re


def parts(output: str, boundary: str) -> list[tuple[str, str]]:
    """Name and text of each part, in order; a part begins with a line of the boundary and its name."""
    pieces = re.split(rf"^{re.escape(boundary)} (.*)$", output, flags=re.MULTILINE)
    return [(name, text.strip("\n")) for name, text in zip(pieces[1::2], pieces[2::2])]
