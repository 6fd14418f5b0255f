"""One verdict over all layers of a deployment: which layer fails, what follows from it, what to do next."""

from __future__ import annotations

import importlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Optional

from st2ha.config import Deployment
from st2ha.errors import BadInput, HaError
from st2ha.report import Finding, Report, Severity

LAYERS = ("mongodb", "mysql", "rabbitmq", "auth")
"""Layers of the configuration; `st2ha.<layer>.operations` has its `check(deployment, timeout_s) -> Report`."""


def check(deployment: Deployment, timeout_s: Optional[float] = None) -> Report:
    """Check all configured layers at once; a layer that cannot be checked is an UNKNOWN finding, not an end."""
    began = time.monotonic()
    layers = [layer for layer in LAYERS if getattr(deployment, layer) is not None]
    if not layers:
        raise BadInput(f"deployment {deployment.name!r} has no layer to check: add one of {', '.join(LAYERS)} to it")
    with ThreadPoolExecutor(len(layers)) as pool:
        reports = list(pool.map(lambda layer: _checked(layer, deployment, timeout_s), layers))
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


def _checked(layer: str, deployment: Deployment, timeout_s: Optional[float]) -> Report:
    began = time.monotonic()
    try:
        module = importlib.import_module(f"st2ha.{layer}.operations")
        check_layer: Callable[[Deployment, Optional[float]], Report] = module.check
        return check_layer(deployment, timeout_s)
    except HaError as error:
        finding = Finding("LayerUnchecked", Severity.UNKNOWN, layer, str(error), f"correct it, then run {layer}_check")
        return Report(layer, "", (finding,), {}, time.monotonic() - began)
