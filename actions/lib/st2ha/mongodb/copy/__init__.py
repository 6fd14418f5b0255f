"""A database copied on its replica set while it is written to: at one cluster time, then kept up by a change stream."""
