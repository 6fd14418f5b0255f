import _library  # noqa: F401 - first: it makes st2ha importable

from st2ha.watcher import Watcher


class PartitionSensor(Watcher):
    """Tells what becomes of StackStorm's own services and sensors in all deployments."""

    service = "stackstorm"
    observer = "st2ha.fleet_watch"
