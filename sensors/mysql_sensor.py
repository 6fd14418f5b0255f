import _library  # noqa: F401 - first: it makes st2ha importable

from st2ha.watcher import Watcher


class MysqlSensor(Watcher):
    """Tells what becomes of the MySQL and MariaDB servers of all deployments."""

    service = "mysql"
    observer = "st2ha.mysql.watch"
