"""Sign-in: st2auth on each node, what it is configured to ask, and the directory behind it."""
