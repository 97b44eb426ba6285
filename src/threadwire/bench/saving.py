"""Results in files: written as a whole or not at all, and read back."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from ..errors import UsageError, describe_os_error
from .results import Result

__all__ = ["json_of", "load", "require_writable", "save"]


def json_of(result: Result) -> str:
    """The result as one JSON object on one line of ASCII; docs/bench.md has the schema."""
    return json.dumps(result.to_json())


def require_writable(path: str) -> None:
    """Fail before the load rather than after it; raises :class:`~threadwire.UsageError`."""
    if not path:
        raise UsageError("'' is not the name of a file")
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise UsageError(f"{path!r} is a directory; a file is wanted")
    if not os.path.isdir(folder):
        raise UsageError(f"{path!r}: there is no directory {folder!r}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{path!r}: nothing can be written to {folder!r}")


def save(path: str, text: str) -> None:
    """Write ``text`` to ``path``: who reads it finds the old content or all of the new.

    Raises OSError. The file has the mode that a new one has, or the old one's. What is no text,
    as in names of files, is spelled out.
    """
    # A pipe or a device, as /dev/stdout, cannot be replaced; it is written to.
    if os.path.exists(path) and not os.path.isfile(path):
        Path(path).write_text(text, encoding="utf-8", errors="backslashreplace")
        return
    path = os.path.realpath(path)  # a link stays one
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".threadwire-")
    try:
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            os.fchmod(file.fileno(), _mode(path))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def load(path: str) -> Result:
    """The result that ``--save`` has written to ``path``; raises UsageError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {describe_os_error(error)}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a saved result: it is not UTF-8") from None
    try:
        return Result.from_json(json.loads(text))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}: not a saved result: {error}") from None
    except RecursionError:
        raise UsageError(f"{path}: not a saved result: it is nested too deeply") from None
    except (UsageError, ValueError) as error:
        raise UsageError(f"{path}: not a saved result: {error}") from None


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
