"""Load entry files as StackStorm's loader does (st2common/util/loader.py): without an entry in sys.modules."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import FunctionType, ModuleType


def load_module(path: Path) -> ModuleType:
    """The module of one entry file; its directory goes last on sys.path."""
    directory = os.path.dirname(os.path.realpath(path))
    if directory not in sys.path:
        sys.path.append(directory)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first_action_class(module: ModuleType) -> type:
    """The alphabetically first class of the module that has a method `run`."""
    for _, found in sorted(vars(module).items()):
        if not isinstance(found, type) or found.__module__ != module.__name__:
            continue
        run = getattr(found, "run", None)
        if isinstance(run, FunctionType) and not getattr(run, "__isabstractmethod__", False):
            return found
    raise ImportError(f"{module.__file__} has no class with a method run()")
