"""keepalived: who holds the VIP, how long a takeover takes, and the VIP moved by plan."""
