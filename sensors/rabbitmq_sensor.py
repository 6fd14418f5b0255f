import _library  # noqa: F401 - first: it makes st2ha importable

from st2ha.watcher import Watcher


class RabbitmqSensor(Watcher):
    """Tells what becomes of the RabbitMQ clusters of all deployments."""

    service = "rabbitmq"
    observer = "st2ha.rabbitmq.watch"
