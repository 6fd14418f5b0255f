"""Redis with replicas and Sentinel: what StackStorm's coordination, and leases of sensors, stand on."""
