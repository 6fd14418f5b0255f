"""The second way to another group of nodes, where a site balances with haproxy: its runtime socket.

haproxy changes the address of a server at once, for new connections, without a reload and without an error for anybody.
A change at run time is gone after a restart of haproxy: have `server-state-file` with `load-server-state-from-file
global`, or write the group into haproxy.cfg afterwards.

Backends have the names of edge.upstreams, their servers are slots: a group has no more nodes than there are slots, and
slots without a node are put into maintenance. Invariant: the balancer without the VIP first, each proved by content.
"""
