"""The new process's side: the listening sockets of an old one are taken."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from types import TracebackType
from typing import Any, Self

from ..errors import TakeoverError, TimeLimitError, UsageError
from ..limits import ANSWER_TIMEOUT
from .wire import (
    MOST_DESCRIPTORS,
    VERSION,
    Handed,
    Unintelligible,
    check_path,
    close_all,
    connect,
    in_short,
    other_end,
    receive,
    send,
    trusted,
)

__all__ = ["Taken", "take"]

# What a refusal's word means to whoever catches the error.
_REFUSALS = {"busy": errno.EBUSY, "denied": errno.EPERM, "version": errno.EPROTONOSUPPORT}


class Taken:
    """What a process has taken from an old one; used by one thread, closed by ``with``.

    ``listeners`` are those that have not been adopted yet; ``pid`` is the old process.
    """

    def __init__(self, path: str, connected: socket.socket, listeners: list[Handed]) -> None:
        self.listeners = listeners
        self.pid, _ = other_end(connected)
        self._path = path
        self._socket = connected
        self._told = False  # the old process, how it went

    def adopt(self, address: str) -> list[Handed]:
        """Those that stand for ``address``, in their order; to close them is the caller's affair.

        Empty if there are none.
        """
        adopted = [listener for listener in self.listeners if listener.address == address]
        self.listeners = [listener for listener in self.listeners if listener.address != address]
        return adopted

    def serving(self, timeout: float = ANSWER_TIMEOUT.default) -> None:
        """Tell the old process to go; returns when it accepts no more, or has ended.

        ``timeout``: seconds to wait for that [10]. Raises :class:`~threadwire.TakeoverError`
        if the old process goes on serving: because it has waited for too long, has withdrawn
        its offer or cannot stop. After a :class:`~threadwire.TimeLimitError` it may do
        either. As long as both accept no client is lost.
        """
        seconds = ANSWER_TIMEOUT.check(timeout)
        self._tell({"say": "serving"})
        answer, _ = _answer(self._path, self._socket, time.monotonic() + seconds, seconds)
        if answer is not None and answer["say"] != "stopped":
            raise _confused(self._path, f"said {in_short(answer['say'])}, out of turn")

    def failed(self, reason: str) -> None:
        """Tell the old process to go on, and why."""
        self._tell({"say": "failed", "reason": in_short(reason)})

    def close(self) -> None:
        """Close what was not adopted; the old process, if it was told nothing, goes on."""
        if not self._told:
            self.failed("it gave up")
        self._socket.close()
        for listener in self.listeners:
            listener.socket.close()
        self.listeners = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and not self._told:
            self.failed(repr(error))
        self.close()

    def _tell(self, message: dict[str, Any]) -> None:
        if self._told:
            raise UsageError("the old process has been told already")
        self._told = True
        _say(self._socket, message)


def take(path: str, timeout: float = ANSWER_TIMEOUT.default) -> Taken | None:
    """Take the listening sockets that a process offers at ``path``.

    ``timeout``: seconds for all of it [10]. ``None`` if nobody lives there: there is no
    such file, or a dead process has left it. The caller adopts what it wants, begins to
    accept, and then says :meth:`Taken.serving`; or :meth:`Taken.failed`.

    Raises :class:`~threadwire.TakeoverError` if the process there refuses (``errno`` is
    ``EBUSY`` if another one is taking over already), is not of this user, or does not
    speak this protocol; :class:`~threadwire.TimeLimitError` if it does not answer.
    """
    path = check_path(path)
    seconds = ANSWER_TIMEOUT.check(timeout)
    deadline = time.monotonic() + seconds
    try:
        connected = connect(path)
    except OSError as error:
        raise TakeoverError(path, _connect_problem(error)) from error
    if connected is None:
        return None
    listeners: list[Handed] = []
    try:
        pid, user = other_end(connected)
        if not trusted(user):
            problem = f"process {pid} there runs as user {user}, neither {os.geteuid()} nor root"
            raise TakeoverError(path, OSError(errno.EPERM, problem))
        say, left = "take", 1
        while left:
            _say(connected, {"say": say})
            answer, fds = _answer(path, connected, deadline, seconds, MOST_DESCRIPTORS)
            sockets = _listening(path, fds)
            try:
                described, left = _described(path, answer, len(sockets))
            except TakeoverError:
                for one in sockets:
                    one.close()
                raise
            for (address, options), one in zip(described, sockets, strict=True):
                listeners.append(Handed(address, one, options))
            say = "more"
        return Taken(path, connected, listeners)
    except BaseException:
        connected.close()
        for listener in listeners:
            listener.socket.close()
        raise


def _connect_problem(error: OSError) -> OSError:
    if error.errno == errno.EPROTOTYPE:
        return OSError(error.errno, "another kind of socket is there, not a handover's")
    if error.errno == errno.EAGAIN:
        return OSError(error.errno, "the process there does not answer")
    return error


def _say(connected: socket.socket, message: dict[str, Any]) -> None:
    # If the other process has refused, or ended, that can still be read.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        send(connected, message)


def _answer(
    path: str, connected: socket.socket, deadline: float, seconds: float, most: int = 0
) -> tuple[dict[str, Any] | None, list[int]]:
    """The old process's answer, and descriptors, now the caller's; ``None`` if it has ended."""
    try:
        message, fds = _receive_by(connected, deadline, most)
    except TimeoutError as error:
        raise TimeLimitError("answer of the process at " + path, seconds) from error
    except Unintelligible as error:
        raise TakeoverError(path, f"the process there speaks another protocol: {error}") from error
    if message is None:
        return None, []
    if message["say"] == "refused":
        close_all(fds)
        problem = f"the process there refuses: {in_short(message.get('problem'))}"
        number = _REFUSALS.get(str(message.get("why")))
        raise TakeoverError(path, problem if number is None else OSError(number, problem))
    if message.get("handover") != VERSION:
        close_all(fds)
        raise _confused(path, f"speaks version {in_short(message.get('handover'))} of the handover")
    return message, fds


def _receive_by(
    connected: socket.socket, deadline: float, most: int
) -> tuple[dict[str, Any] | None, list[int]]:
    for _ in range(2):
        # Zero would not mean to wait for nothing, but not to wait.
        connected.settimeout(max(1e-3, deadline - time.monotonic()))
        # Closed there without reading what we said; what was said before can still be read.
        with contextlib.suppress(ConnectionResetError):
            return receive(connected, most)
    return None, []


def _listening(path: str, fds: list[int]) -> list[socket.socket]:
    """The descriptors as sockets; raises, having closed them, if any is not for listening."""
    sockets: list[socket.socket] = []
    try:
        for fd in fds:
            made = socket.socket(fileno=fd)
            sockets.append(made)
            if made.type != socket.SOCK_STREAM or not made.getsockopt(
                socket.SOL_SOCKET, socket.SO_ACCEPTCONN
            ):
                raise OSError(errno.EINVAL, "not a listening stream socket")
    except OSError as error:
        for made in sockets:
            made.close()
        close_all(fds[len(sockets) :])
        raise _confused(path, f"passed what is not for listening: {error}") from error
    return sockets


def _described(
    path: str, answer: dict[str, Any] | None, sockets: int
) -> tuple[list[tuple[str, dict[str, Any]]], int]:
    """Address and options of each socket that has come, and how many are still to come."""
    match answer:
        case None:
            raise _confused(path, "ended without an answer")
        case {"say": "listeners", "listeners": list(entries), "left": int(left)} if left >= 0:
            if not sockets or sockets != len(entries):
                raise _confused(path, f"described {len(entries)} sockets and passed {sockets}")
        case _:
            raise _confused(path, f"said {in_short(answer)}, out of turn")
    described = []
    for entry in entries:
        match entry:
            case {"address": str(address), "options": dict(options)}:
                described.append((address, options))
            case _:
                raise _confused(path, f"described a socket as {in_short(entry)}")
    return described, left


def _confused(path: str, what: str) -> TakeoverError:
    return TakeoverError(path, f"the process there {what}")
