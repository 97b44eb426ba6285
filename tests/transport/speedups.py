"""The module in C that is tested: the installed one, or another, as one with sanitizers."""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType

__all__ = ["SPEEDUPS"]


def speedups() -> ModuleType | None:
    path = os.environ.get("THREADWIRE_SPEEDUPS")
    if path is None:
        try:
            return importlib.import_module("threadwire.transport._speedups")
        except ImportError:
            return None
    spec = importlib.util.spec_from_file_location("threadwire.transport._speedups", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SPEEDUPS = speedups()
