"""The mixin: a sensor of any pack that runs on every node and works on one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Optional

from st2ha.partition.lease.lease import Lease
from st2ha.partition.lease.lease import LeaseLost as LeaseLost
from st2ha.partition.lease.settings import configured


class Guarded:
    """A sensor service that dispatches only while the lease is held, and raises LeaseLost otherwise."""

    def __init__(self, inner: Any, lease: Lease) -> None:
        self._inner, self._lease = inner, lease

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def dispatch(self, *args: Any, **more: Any) -> Any:
        self._lease.check()
        return self._inner.dispatch(*args, **more)

    def dispatch_with_context(self, *args: Any, **more: Any) -> Any:
        self._lease.check()
        return self._inner.dispatch_with_context(*args, **more)


class Leased:
    """Before a sensor's base: `class MySensor(Leased, PollingSensor)`. Without a section `lease` in the pack's
    configuration nothing changes.

    A polling sensor polls only while the lease is held, at once when it comes to hold it; a poll that dispatches too
    late ends there. A sensor with a `run` of its own asks `self.lease`: `wait()` before it begins, `check()` (or a
    dispatch, which does it) before each effect. `lease.token` is the fencing token.
    """

    lease_name = ""
    """One for all nodes, and for no other sensor: `pack.Class`. Empty: the name of the class."""

    def __init__(self, sensor_service: Any, config: Optional[Mapping[str, Any]] = None, **more: Any) -> None:
        self.lease: Optional[Lease] = None
        settings = configured(config or {})
        if settings is not None:
            name = self.lease_name or type(self).__name__
            log = sensor_service.get_logger(type(self).__name__)
            self.lease = Lease(settings, config or {}, name, log)
            sensor_service = Guarded(sensor_service, self.lease)
        super().__init__(sensor_service, config=config, **more)  # type: ignore[call-arg]

    def run(self) -> None:
        """Poll while the lease is held."""
        lease = self.lease
        if lease is None:
            super().run()  # type: ignore[misc]
            return
        while True:
            lease.wait()
            try:
                self.poll()  # type: ignore[attr-defined]
            except LeaseLost:
                continue
            time.sleep(self._poll_interval)  # type: ignore[attr-defined]

    def cleanup(self) -> None:
        """Give the lease back; a sensor with a `cleanup` of its own calls this one at its end."""
        if self.lease is not None:
            self.lease.end()
