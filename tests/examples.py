"""How much the long unit tests try: everything in `make test`, a fifth of it in `make check`."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

FEWER = 5 if os.environ.get("ST2HA_TEST_QUICK") else 1


def examples(number: int, **more: Any) -> settings:
    """A property test's settings; no deadline, because the machine is shared."""
    return settings(max_examples=number // FEWER, deadline=None, **more)
