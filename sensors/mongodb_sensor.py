import _library  # noqa: F401 - first: it makes st2ha importable

from st2ha.watcher import Watcher


class MongodbSensor(Watcher):
    """Tells what becomes of the replica sets of all deployments."""

    service = "mongodb"
    observer = "st2ha.mongodb.watch"
