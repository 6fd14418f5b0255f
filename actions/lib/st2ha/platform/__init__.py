"""StackStorm itself, seen through its API."""
