"""Sockets that this process was started with: systemd's socket activation.

Whoever starts the process has them open, from descriptor 3 on, and says so in its environment
(sd_listen_fds(3)): ``LISTEN_FDS`` is how many there are, ``LISTEN_FDNAMES`` their names with
colons between, which may be missing, and ``LISTEN_PID`` the process they are meant for.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import NamedTuple

from .errors import ListenError, UsageError

__all__ = ["Inherited", "inherited", "named"]

_FIRST = 3  # SD_LISTEN_FDS_START
_NAMELESS = "unknown"  # what systemd calls them, too
# The last one, which newer versions add, tells processes apart that have had the same number.
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")

_lock = threading.Lock()
_found: list[Inherited] | None = None  # any thread, under the lock; None until first asked for


class Inherited(NamedTuple):
    """One descriptor that was passed, and its name (``FileDescriptorName=``)."""

    fd: int
    name: str


def inherited() -> list[Inherited]:
    """The descriptors that were passed to this process, in their order; mostly none.

    The first call takes them: no program that is started from here inherits them any more,
    nor the variables that announce them. Later calls return the same list. What was meant
    for another process (a ``LISTEN_PID`` that is not ours) is left alone.

    Raises :class:`~threadwire.UsageError`, naming the variable, for values that are
    malformed or do not fit together; nothing has been taken then.
    """
    global _found  # noqa: PLW0603 - the process has one environment
    with _lock:
        if _found is None:
            passed = _passed(os.environ, os.getpid())
            for fd, _ in passed:
                os.set_inheritable(fd, False)
            if passed:
                for variable in _VARIABLES:
                    os.environ.pop(variable, None)
            _found = passed
        return list(_found)


def named(name: str) -> list[int]:
    """The descriptors called ``name``, in their order: what ``fd://NAME`` stands for.

    One socket unit gives all its sockets the same name. Raises
    :class:`~threadwire.ListenError` if there is none, saying which there are.
    """
    everything = inherited()
    found = [fd for fd, called in everything if called == name]
    if not found:
        raise ListenError(f"fd://{name}", _what_there_is(everything))
    return found


def _what_there_is(everything: list[Inherited]) -> str:
    if everything:
        names = ", ".join(dict.fromkeys(called for _, called in everything))
        return f"no socket of this name was passed to this process, only {names}"
    meant_for = os.environ.get("LISTEN_PID")
    if meant_for is not None:
        return (
            f"sockets were passed to process {meant_for}, but this is process {os.getpid()}; "
            "a shell in between has to use exec"
        )
    return "no sockets were passed to this process (LISTEN_FDS is not set)"


def _passed(environ: Mapping[str, str], pid: int) -> list[Inherited]:
    """What ``environ`` announces to process ``pid``."""
    if "LISTEN_PID" not in environ or "LISTEN_FDS" not in environ:
        return []
    if _positive(environ, "LISTEN_PID") != pid:
        return []
    count = _positive(environ, "LISTEN_FDS")
    names = environ["LISTEN_FDNAMES"].split(":") if "LISTEN_FDNAMES" in environ else None
    if names is not None and len(names) != count:
        raise UsageError(
            f"LISTEN_FDNAMES must have a name for each of the {count} descriptors of LISTEN_FDS, "
            f"not {len(names)}"
        )
    passed = []
    for n in range(count):  # ends at the first that is not there, however many are claimed
        fd = _FIRST + n
        try:
            os.fstat(fd)
        except OSError as error:
            raise UsageError(
                f"LISTEN_FDS announces {count} descriptors from {_FIRST} on, but {fd} is not open"
            ) from error
        passed.append(Inherited(fd, _NAMELESS if names is None else names[n]))
    return passed


def _positive(environ: Mapping[str, str], variable: str) -> int:
    text = environ[variable]
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise UsageError(f"{variable} must be a number from 1 on, not {text!r}")
    return int(text)
