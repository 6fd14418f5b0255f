"""Real clusters on one machine: start, stop, kill, hang and cut off their servers.

For tests, the demo and benchmarks. Imports nothing of the pack. ``python -m lab --help`` is the shell's way in;
``with lab.mongodb.MongoCluster() as rs:`` is Python's.
"""
