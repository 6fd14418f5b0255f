import _library  # noqa: F401 - first: it makes st2ha importable

from st2ha.watcher import Watcher


class ContentSensor(Watcher):
    """Tells what becomes of the content on the nodes of all deployments."""

    service = "content"
    observer = "st2ha.content.watch"
