"""What a supervisor says in the environment: sockets passed, and whom to tell."""

from __future__ import annotations

import math
import os

from threadwire import UsageError
from threadwire.activation import _passed
from threadwire.notify import Notifier

__all__ = ["environment"]

_VARIABLES = (
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "NOTIFY_SOCKET",
)
_PID = 4711
_UNSET = b"-"


def environment(data: bytes) -> None:
    """The values of the variables, with zero bytes between; "-" is none, "me" our process."""
    environ: dict[str, str] = {}
    for variable, value in zip(_VARIABLES, data.split(b"\0"), strict=False):
        if value == b"me":
            environ[variable] = str(os.getpid() if variable == "WATCHDOG_PID" else _PID)
        elif value != _UNSET:
            environ[variable] = os.fsdecode(value)
    _check_sockets(environ)
    _check_notifier(environ)


def _check_sockets(environ: dict[str, str]) -> None:
    try:
        passed = _passed(environ, _PID)
    except UsageError as error:
        assert "LISTEN_" in str(error)
        return
    for number, (fd, name) in enumerate(passed, 3):
        assert fd == number
        assert ":" not in name
    if passed:
        assert len(passed) == int(environ["LISTEN_FDS"])
        assert int(environ["LISTEN_PID"]) == _PID


def _check_notifier(environ: dict[str, str]) -> None:
    try:
        notifier = Notifier(environ=environ)
    except UsageError as error:
        assert any(name in str(error) for name in _VARIABLES[3:])
        return
    assert notifier.active == bool(environ.get("NOTIFY_SOCKET"))
    assert environ.get("NOTIFY_SOCKET") not in ("/", "@"), "that is no name"
    if notifier.watchdog is not None:
        assert 0 < notifier.watchdog < math.inf
