import _library  # noqa: F401 - first: it makes st2ha importable

from st2ha.watcher import Watcher


class EdgeSensor(Watcher):
    """Tells what becomes of the balancers and the VIP of all deployments."""

    service = "edge"
    observer = "st2ha.edge.watch"
