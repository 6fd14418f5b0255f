"""The second way to another group of nodes, where a site balances with haproxy: its runtime socket.

haproxy changes the address of a server at once, for new connections, without a reload and without an error for anybody.
A change at run time is gone after a reload of haproxy: write the group into haproxy.cfg afterwards; haproxy_check tells
as ConfigNotRunning what a reload would change. A `server-state-file` does not help: it gives back ports and states, and
no address (measured with 2.6).

Backends have the names of edge.upstreams, their servers are slots: a group has no more nodes than there are slots, and
slots without a node are put into maintenance. Invariant: the balancer without the VIP first, each proved by content.
"""
