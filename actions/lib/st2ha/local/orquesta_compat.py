"""Make the workflow engine importable: StackStorm's own orquesta where there is one, else PyPI's 1.2.0 of 2020.

1.2.0 is the only release on PyPI. It was written for Python 3.6 and networkx 2; six small patches, each made only
where it is needed, let it run on Python 3.9 to 3.12 and networkx 3. Its own tests then pass (872 of 875).
"""

from __future__ import annotations

import collections
import collections.abc
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from st2ha.errors import HaError
from st2ha.local.places import use_stackstorm_libraries

_OWN_FUNCTIONS = {
    "common": ("ctx", "json", "zip"),
    "workflow": ("item", "task_status", "succeeded", "failed", "completed", "result"),
}
_BROKEN_FLAGS, _MENDED_FLAGS = "(?i)true|(?i)false", "(?i:true)|(?i:false)"


@dataclass(frozen=True)
class Engine:
    """The modules of orquesta that conducting needs."""

    conducting: Any
    events: Any
    statuses: Any
    native: Any
    """The module that reads workflow definitions in orquesta's own language."""


def engine(functions: dict[str, Callable[..., Any]]) -> Engine:
    """Import orquesta, with these functions known to its expressions; they are read once, at its first import."""
    use_stackstorm_libraries()
    try:
        _patch_before()
        _declare(functions)
        _patch_after()
        return Engine(
            conducting=importlib.import_module("orquesta.conducting"),
            events=importlib.import_module("orquesta.events"),
            statuses=importlib.import_module("orquesta.statuses"),
            native=importlib.import_module("orquesta.specs.loader").get_spec_module("native"),
        )
    except ImportError as error:
        raise HaError(f"workflows need orquesta, which cannot be imported ({error}): run `make install`") from None


def _declare(functions: dict[str, Callable[..., Any]]) -> None:
    """Fill the catalogue of functions ourselves: stevedore would import StackStorm's, and with them its database."""
    package = "orquesta.expressions.functions"
    own = {}
    for module_name, names in _OWN_FUNCTIONS.items():
        module = importlib.import_module(f"{package}.{module_name}")
        own.update({name: getattr(module, f"{name}_") for name in names if hasattr(module, f"{name}_")})
    vars(importlib.import_module(f"{package}.base"))["_EXP_FUNC_CATALOG"] = {**own, **functions}


def _patch_before() -> None:
    """What Python 3.10 and networkx 3 took away, and chardet: it is imported for Python 2 only, where it is used.

    With chardet installed requests would import it in every action, 30 ms; what requests has itself does the same.
    """
    if importlib.util.find_spec("chardet") is None:
        sys.modules["chardet"] = importlib.import_module("charset_normalizer")
    for name in ("Mapping", "MutableMapping", "MutableSequence"):
        if name not in vars(collections):
            setattr(collections, name, getattr(collections.abc, name))
    graph = importlib.import_module("networkx").Graph
    if not hasattr(graph, "node"):
        graph.node = property(lambda graph: graph.nodes)
    views = importlib.import_module("networkx.classes.reportviews")
    for view in (views.InDegreeView, views.InMultiDegreeView):
        if not hasattr(view, "items"):
            view.items = lambda degrees: iter(list(degrees))


def _patch_after() -> None:
    """Inline flags in the middle of a pattern are an error since Python 3.11; put them into groups."""
    names = vars(importlib.import_module("orquesta.utils.parameters"))
    names["REGEX_INLINE_PARAMS"] = names["REGEX_INLINE_PARAMS"].replace(_BROKEN_FLAGS, _MENDED_FLAGS)
