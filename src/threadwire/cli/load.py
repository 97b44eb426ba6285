"""Finding the handler that ``MODULE:HANDLER`` names."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any

from ..errors import HandlerError


def load_handler(spec: str) -> Any:
    """The object ``spec`` names, imported with the current directory on the path.

    Raises :class:`~threadwire.HandlerError`, whose text is one line.
    """
    module_name, colon, path = spec.partition(":")
    if not (colon and module_name and path):
        raise HandlerError(f"handler {spec!r}: write MODULE:HANDLER, as in app:handle")
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise HandlerError(f"handler {spec!r}: no module named {error.name!r}") from error
        raise HandlerError(f"handler {spec!r}: {_one_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise HandlerError(f"handler {spec!r}: {_one_line(error)}") from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise HandlerError(f"handler {spec!r}: {module_name} has no {path!r}") from None
    if not callable(found):
        raise HandlerError(f"handler {spec!r} is not a function, but {type(found).__name__}")
    return found


def _one_line(error: BaseException) -> str:
    """What went wrong in the user's module, and in which line of it."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"importing it failed with {type(error).__name__}: {error}{where}"
