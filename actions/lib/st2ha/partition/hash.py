"""StackStorm's own hash of a sensor's reference, which is not mmh3, in a tenth of its time.

The rule (st2reactor/container/hash_partitioner.py): the MD5 of the reference as a decimal number; its digits from the
last to the first; for each of them the 32-bit value turns left by five bits and takes the digit in by exclusive or.

So the digit at place k from the left has been turned by 5 * k bits when all is done. A digit needs four of five bits:
the reversed digits read as a number of base 32 hold each digit at bit 5 * k, none touching another, and folding that
number into 32 bits by exclusive or is the hash. tests/unit/test_partition_hash.py compares it with the literal rule.
"""

from __future__ import annotations

from hashlib import md5

SPACE = 2**32
"""Hashes are 0 to SPACE - 1; ranges cover 0 to SPACE, the end not included."""

_LOW = SPACE - 1


def sensor_hash(ref: str) -> int:
    """The hash of a reference `pack.ClassName`: 0 to 2^32 - 1."""
    digits = str(int.from_bytes(md5(ref.encode(), usedforsecurity=False).digest(), "big"))
    wide = int(digits[::-1], 32)  # at most 195 bits: seven words
    wide ^= wide >> 128
    wide ^= wide >> 64
    return (wide ^ wide >> 32) & _LOW
