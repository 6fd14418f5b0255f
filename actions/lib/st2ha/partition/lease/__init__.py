"""A lease for sensors: the sensor runs on every node, and only the one that holds the lease polls and dispatches.

For a sensor of any pack that lies beside this one (see docs/leases.md):

    sys.path.insert(0, "/opt/stackstorm/packs/ha/actions/lib")
    from st2ha.partition.lease import Leased

    class MySensor(Leased, PollingSensor):
        lease_name = "mypack.MySensor"
"""

from st2ha.partition.lease.leased import Leased as Leased
from st2ha.partition.lease.leased import LeaseLost as LeaseLost
