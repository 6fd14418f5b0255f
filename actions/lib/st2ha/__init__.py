"""The library of the `ha` pack: every check, decision and change is made here, once."""

__version__ = "0.3.0"
