"""Puts the pack's library on sys.path: StackStorm does that for actions only."""

import os
import sys

LIBRARY = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "actions", "lib")
if LIBRARY not in sys.path:
    sys.path.insert(0, LIBRARY)
