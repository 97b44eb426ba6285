"""Telling the supervisor: ready, reloading, stopping, still alive.

The protocol is that of sd_notify(3): datagrams of ``NAME=value`` lines to the unix socket that
``NOTIFY_SOCKET`` names, a path or ``@`` and an abstract name. systemd's ``Type=notify`` speaks
it, and so do other supervisors. Where the variable is not set, everything here does nothing.

A server does not stop because its supervisor cannot be told something: that is reported once
and things go on.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from .errors import UsageError
from .limits import JOIN_GRACE

__all__ = ["Heartbeat", "Notifier"]

# Seconds. A supervisor reads at once; one whose queue stays full this long is stuck.
_SEND_TIMEOUT = 5.0
# Characters. systemd ignores a datagram of more than 4,096 bytes.
_LONGEST_STATUS = 1000
_LONGEST_PATH = 107  # bytes: sun_path, less the NUL at its end or, if abstract, at its start
_NEVER = 2**64 - 1  # systemd's infinity


class Notifier:
    """Speaks to the supervisor that ``environ`` names; any thread may call it.

    ``report`` is called, on the thread that tried, with the error when something could not
    be sent; not again before something could.

    Raises :class:`~threadwire.UsageError`, naming the variable, if a value in ``environ`` is
    malformed; its methods raise nothing. The variables stay set: a child process that speaks
    for the service, too, is for the supervisor to accept or refuse (``NotifyAccess=``).

    Within ``with`` it has a socket of its own all the time, so that a process that is out of
    descriptors can still say that it lives; otherwise one for each thing it says.
    """

    def __init__(
        self,
        report: Callable[[OSError], None] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._report = report
        self._target = _target(environ.get("NOTIFY_SOCKET"))
        self._lock = threading.Lock()
        self._failing = False  # under the lock: the last attempt failed, which has been said
        self._socket: socket.socket | None = None  # set by the owner, before and after all others
        self.watchdog: float | None = _watchdog(environ)
        """Seconds within which the supervisor wants a sign of life; ``None`` if it wants none."""

    @property
    def active(self) -> bool:
        """Whether there is a supervisor to be told anything."""
        return self._target is not None

    def __enter__(self) -> Self:
        if self._target is not None:
            with contextlib.suppress(OSError):  # then there may be one later
                self._socket = _open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self, status: str = "", mainpid: int | None = None) -> bool:
        """The service is up, or has reloaded; returns, as all of these do, whether it was sent.

        ``mainpid``: the process that is the service from now on, if it is not the one that
        the supervisor has started. By default only that one is listened to, so an old
        process says it of the new one.
        """
        lines = ["READY=1", *_status(status)]
        if mainpid is not None:
            lines.append(f"MAINPID={mainpid}")
        return self._send(lines)

    def reloading(self, status: str = "") -> bool:
        """A reload begins; :meth:`ready` has to follow, whether it went well or not."""
        # When this was said, by which systemd (from 253 on) tells it from an earlier reload.
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._send(["RELOADING=1", f"MONOTONIC_USEC={now}", *_status(status)])

    def stopping(self, status: str = "") -> bool:
        """The service as a whole stops; not for a process that has been replaced."""
        return self._send(["STOPPING=1", *_status(status)])

    def status(self, text: str) -> bool:
        """One line for people: what the service is doing."""
        return self._send(_status(text) or ["STATUS="])

    def alive(self) -> bool:
        """A sign of life, see :class:`Heartbeat`."""
        return self._send(["WATCHDOG=1"])

    def _send(self, lines: list[str]) -> bool:
        if self._target is None:
            return False
        data = "\n".join(lines).encode(errors="replace")
        failure: OSError | None = None
        try:
            kept = self._socket
            with _open() if kept is None else contextlib.nullcontext(kept) as sending:
                # Connected, since only then does the system wait for room in its queue. Each
                # time anew: the supervisor may have been started anew.
                sending.connect(self._target)
                sending.send(data)
        except OSError as error:
            failure = error
        with self._lock:
            news = failure is not None and not self._failing
            self._failing = failure is not None
        if news and failure is not None and self._report is not None:
            self._report(failure)
        return failure is None


class Heartbeat:
    """Sends a sign of life twice in each of the supervisor's intervals, while all is well.

    ``healthy`` is asked before each, on a thread of this object's own. If it says no, or
    raises, none is sent, and the supervisor will in time do what it was told to
    (``WatchdogSec=``, ``Restart=on-watchdog``). ``report`` is called with what was raised,
    on the same thread; not again before ``healthy`` has returned.

    Where the supervisor wants no signs of life it does nothing.
    """

    def __init__(
        self,
        notifier: Notifier,
        healthy: Callable[[], bool],
        report: Callable[[Exception], None] | None = None,
    ) -> None:
        self._notifier = notifier
        self._healthy = healthy
        self._report = report
        self._failing = False  # the thread's own: healthy() has raised, which has been said
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None  # start() and stop(), by the owner

    def start(self) -> Self:
        """Begin; the first sign is sent at once. Raises RuntimeError if no thread is to be had."""
        interval = self._notifier.watchdog
        if interval is not None and self._notifier.active:
            if self._thread is not None:
                raise UsageError("a Heartbeat starts once; make another one")
            thread = threading.Thread(
                target=self._run, args=(interval / 2,), name="threadwire-heartbeat", daemon=True
            )
            thread.start()
            self._thread = thread
        return self

    def stop(self) -> bool:
        """Send no more, and wait for the thread; whether it has ended.

        A ``healthy`` that does not return keeps its thread, until the process ends.
        """
        self._stop.set()
        if self._thread is None:
            return True
        self._thread.join(JOIN_GRACE.default)
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self, pause: float) -> None:
        while not self._stop.is_set():
            if self._is_healthy():
                self._notifier.alive()
            self._stop.wait(min(pause, threading.TIMEOUT_MAX))

    def _is_healthy(self) -> bool:
        try:
            healthy = self._healthy()
        except Exception as error:  # noqa: BLE001 - the user's function; unhealthy, and said so
            if not self._failing and self._report is not None:
                self._report(error)
            self._failing = True
            return False
        self._failing = False
        return healthy


def _open() -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    opened.settimeout(_SEND_TIMEOUT)
    return opened


def _status(text: str) -> list[str]:
    """A status line, or none. A line break in it would begin another assignment."""
    line = " ".join(text[: 2 * _LONGEST_STATUS].split())[:_LONGEST_STATUS]
    return [f"STATUS={line}"] if line else []


def _target(name: str | None) -> str | None:
    """The socket's address for ``connect``; ``None`` where no supervisor listens."""
    if not name:
        return None
    if name[0] not in "/@" or len(name) == 1 or "\0" in name:
        raise UsageError(f"NOTIFY_SOCKET must be /PATH or @NAME, not {name!r}")
    size = len(os.fsencode(name))
    if size > _LONGEST_PATH:
        raise UsageError(f"NOTIFY_SOCKET must have at most {_LONGEST_PATH} bytes, not {size}")
    return "\0" + name[1:] if name[0] == "@" else name


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Seconds, from ``WATCHDOG_USEC``, unless ``WATCHDOG_PID`` is another process."""
    text = environ.get("WATCHDOG_USEC")
    if text is None:
        return None
    pid = environ.get("WATCHDOG_PID")
    if pid is not None and _positive("WATCHDOG_PID", pid) != os.getpid():
        return None
    microseconds = _positive("WATCHDOG_USEC", text)
    return None if microseconds >= _NEVER else microseconds / 1e6


def _positive(variable: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) > 0):
        raise UsageError(f"{variable} must be a number from 1 on, not {text!r}")
    return int(text)
