"""The one door to StackStorm: what its loader and runner expect of an action's class.

StackStorm registers any class that has the right methods (abc's virtual subclasses), so nothing of `st2common` is
imported: an action starts as fast, and runs the same, under StackStorm and under bin/st2ha.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable, Optional

from st2ha.config import Deployment, select
from st2ha.errors import BadInput, HaError, internal
from st2ha.report import FAIL_ON, Severity, clip

if TYPE_CHECKING:
    import logging

Result = dict[str, Any]
HEADS = {"bad_input": "WRONG INPUT", "refused": "REFUSED", "failed": "FAILED"}
"""How the summary of an action that could not do its job begins, by kind."""


class Operation:
    """Base of every action. StackStorm calls `run` with all parameters; those not given arrive as None."""

    def __init__(self, config: Optional[Mapping[str, Any]] = None, action_service: Any = None) -> None:
        self.config: Mapping[str, Any] = config or {}
        self.action_service = action_service

    def deployment(self, name: Optional[str]) -> Deployment:
        """The deployment that this run is about, parsed; BadInput if the configuration is wrong."""
        return select(self.config, name)


class Sensor:
    """Base of every sensor. Unlike StackStorm's own services, these methods raise when they could not do their work."""

    def __init__(self, sensor_service: Any, config: Optional[Mapping[str, Any]] = None) -> None:
        self.sensor_service = self._sensor_service = sensor_service
        self.config: Mapping[str, Any] = config or {}
        self.logger: logging.Logger = sensor_service.get_logger(type(self).__name__)

    def setup(self) -> None:
        """Called once before `run`."""

    def run(self) -> None:
        """Must not return: a sensor that ends is not started again."""
        raise NotImplementedError

    def cleanup(self) -> None:
        """Called after `run` ended; StackStorm does not call it on SIGTERM."""

    def add_trigger(self, trigger: Any) -> None:
        """A trigger without parameters needs no care; neither do its changes."""

    def update_trigger(self, trigger: Any) -> None:
        """See add_trigger."""

    def remove_trigger(self, trigger: Any) -> None:
        """See add_trigger."""

    def dispatch(self, trigger: str, payload: Mapping[str, Any]) -> None:
        """Hand a trigger over to StackStorm, or raise.

        SensorService.dispatch says nothing when it drops a trigger, which it does whenever its type cannot be read:
        while StackStorm's database has no primary. What lies behind it raises if it is asked to (st2common/services/
        trigger_dispatcher.py). Held back until then is better anyway: the rules engine loses what it cannot save.
        """
        inner = getattr(self.sensor_service, "_trigger_dispatcher_service", None)
        if inner is None:
            self.sensor_service.dispatch(trigger=trigger, payload=payload)
        else:
            inner.dispatch(trigger, payload=payload, throw_on_validation_error=True)

    def stored(self, name: str) -> Optional[str]:
        """A value of this sensor's own from the datastore, None if there is none.

        get_value hides a failure, so the list, which raises one, is asked, too. The list alone will not do: it has only
        what `sensor_service` has a role for, also where [rbac] names a backend that is not enabled.
        """
        value = self.sensor_service.get_value(name, local=True)
        if value is not None:
            return str(value)
        pairs = self.sensor_service.list_values(local=True, prefix=name)
        # Whatever the prefix, StackStorm gives a user with a role all keys that the role allows.
        whole = f".{type(self).__name__}:{name}"
        return next((str(pair.value) for pair in pairs if str(pair.name).endswith(whole)), None)

    def store(self, name: str, value: str) -> None:
        """Keep a value of this sensor's own in the datastore, or raise."""
        self.sensor_service.set_value(name, value, local=True)


def answered(run: Callable[..., Result]) -> Callable[..., tuple[bool, Result]]:
    """Make a `run` that returns a result (or raises HaError) into one that StackStorm understands.

    The status says whether we could do our job; `severity` says how the cluster is; `fail_on` joins the two.
    An error is one sentence under `error`, never a traceback: an exception's text could hold a secret.
    """

    @functools.wraps(run)
    def answering(self: Operation, **parameters: Any) -> tuple[bool, Result]:
        gc.set_threshold(50_000)  # importing a driver sets off dozens of collections that find nothing: 10 ms
        try:
            check_fail_on(parameters.get("fail_on"))
            result = run(self, **parameters)
        except HaError as error:
            return False, failure(str(error), error.kind)
        except Exception as error:  # noqa: BLE001 - the last net: a bug of ours must not print a traceback
            return False, failure(internal(error), "failed")
        if "error" in result:
            return False, result
        return _passes(Severity[str(result["severity"]).upper()], parameters.get("fail_on")), result

    return answering


def failure(sentence: str, kind: str, **more: Any) -> Result:
    """The result of an action that could not do its job; `kind` is bad_input, refused or failed."""
    severity = Severity.CRITICAL if kind == "refused" else Severity.UNKNOWN
    return {
        "summary": clip(f"{HEADS[kind]} {sentence}"),
        "severity": severity.word,
        "error": sentence,
        "kind": kind,
        **more,
    }


def _passes(severity: Severity, fail_on: Optional[str]) -> bool:
    if fail_on in (None, "", "never"):
        return True
    return severity < Severity[str(fail_on).upper()]


def check_fail_on(value: Optional[str]) -> None:
    """BadInput unless `value` is one of FAIL_ON; st2web may send anything."""
    if value not in (None, "", *FAIL_ON):
        raise BadInput(f"parameter `fail_on` is {value!r}: use one of {', '.join(FAIL_ON)}")
