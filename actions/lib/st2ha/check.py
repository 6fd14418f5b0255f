"""One verdict over all layers of a deployment: which layer fails, what follows from it, what to do next."""

from __future__ import annotations

import importlib
import time
from functools import partial
from typing import Any, Callable, Optional

from st2ha.apart import apart
from st2ha.config import Deployment
from st2ha.errors import BadInput, HaError
from st2ha.report import Finding, Report, Severity

LAYERS = ("mongodb", "mysql", "rabbitmq", "redis", "stackstorm", "sensors", "edge", "auth", "content")
"""Layers of the configuration, that with the largest driver first; `st2ha.<package>.operations` has its
`check(deployment, timeout_s) -> Report`."""
PACKAGES = {"stackstorm": "platform", "sensors": "partition"}
"""Layers whose package has another name."""
SHARED = (
    "st2ha.reach", "st2ha.probe", "st2ha.naming",
    "inspect", "hashlib", "importlib.metadata", "concurrent.futures", "decimal", "subprocess", "encodings.idna",
)  # fmt: skip
"""What several layers and their drivers import: once, before all but the first part, instead of by each of them."""
PATIENCE, SPARE_S = 3.0, 5.0
"""A layer asks once or twice, each time within its time-out; so many of them and some seconds more it is waited for."""


def check(deployment: Deployment, timeout_s: Optional[float] = None) -> Report:
    """Check all configured layers at once; a layer that cannot be checked is an UNKNOWN finding, not an end."""
    began = time.monotonic()
    layers = [layer for layer in LAYERS if getattr(deployment, layer) is not None]
    if not layers:
        raise BadInput(f"deployment {deployment.name!r} has no layer to check: add one of {', '.join(LAYERS)} to it")
    patience_s = PATIENCE * (timeout_s or max(getattr(deployment, layer).timeout_s for layer in layers)) + SPARE_S
    answers = apart([partial(_checked, layer, deployment, timeout_s) for layer in layers], patience_s, _import_shared)
    reports = [answer or _unchecked(layer, "its check did not end") for layer, answer in zip(layers, answers)]
    facts: dict[str, Any] = {
        "layers": [
            {
                "layer": layer,
                "severity": report.severity.word,
                "summary": report.summary,
                "elapsed_s": round(report.elapsed_s, 4),
            }
            for layer, report in zip(layers, reports)
        ]
    }
    for layer, report in zip(layers, reports):
        facts.update({f"{layer}_{name}": value for name, value in report.facts.items()})
    findings = tuple(finding for report in reports for finding in report.findings)
    healthy = "; ".join(f"{report.title} {report.healthy}" for report in reports)
    return Report(deployment.name, healthy, findings, facts, time.monotonic() - began)


def _import_shared() -> None:
    for module in SHARED:
        importlib.import_module(module)


def _checked(layer: str, deployment: Deployment, timeout_s: Optional[float]) -> Report:
    began = time.monotonic()
    try:
        module = importlib.import_module(f"st2ha.{PACKAGES.get(layer, layer)}.operations")
        check_layer: Callable[[Deployment, Optional[float]], Report] = module.check
        return check_layer(deployment, timeout_s)
    except HaError as error:
        return _unchecked(layer, str(error), time.monotonic() - began)


def _unchecked(layer: str, why: str, elapsed_s: float = 0.0) -> Report:
    action = {"sensors": "partition_check"}.get(layer, f"{layer}_check")
    finding = Finding("LayerUnchecked", Severity.UNKNOWN, layer, why, f"correct it, then run {action}")
    return Report(layer, "", (finding,), {}, elapsed_s)
