"""The batching poller in Python: what :mod:`.poller` gives where the C twin cannot be had.

One :meth:`Poller.wait` asks which of many sockets are ready and receives from each of
them; one :meth:`Poller.write` sends to many. The sockets stay in blocking mode, so every
system call says ``MSG_DONTWAIT``.

A poller is owned by one thread at a time; :meth:`Poller.wake` alone may be called by any
thread, or by a signal's handler, at any time. The C twin notices when two threads use it
at once, this one does not. A signal's handler that returns lets this one wait on, as
every wait in Python does, while the C twin's wait returns early.
"""

from __future__ import annotations

import contextlib
import errno
import math
import operator
import os
import select
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias, final

__all__ = [
    "ACCEPT",
    "END",
    "READ",
    "READY",
    "WRITE",
    "Poller",
    "accept_now",
    "hang_up",
    "send_now",
]

READ: Final = 1  # wait for bytes, and receive them
WRITE: Final = 2  # wait for room to write; report only
ACCEPT: Final = 3  # wait until readable; report only
END: Final = 0  # notice: the stream has ended
READY: Final = -1  # notice: what was waited for (WRITE, ACCEPT) may be tried now

_Receive: TypeAlias = Callable[[int, int], bytes]
_Data: TypeAlias = bytes | memoryview
_Send: TypeAlias = Callable[[_Data, int], int]
_Ready: TypeAlias = list[tuple[int, int]]

_MOST_BYTES = 1 << 20  # received by a call, offered by a send
_MOST_BATCH = 1 << 16
_LONGEST_WAIT = 2_000_000.0  # seconds; epoll takes a C int of milliseconds
_LARGEST_DESCRIPTOR = (1 << 31) - 1
_DONTWAIT = socket.MSG_DONTWAIT
_SENDING = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)
_IN = 1  # EPOLLIN; events of Selector are these two as well
_OUT = 4  # EPOLLOUT


class _Readiness(Protocol):
    """What the poller needs of :class:`select.epoll`."""

    def register(self, fd: int, eventmask: int, /) -> None: ...
    def modify(self, fd: int, eventmask: int, /) -> None: ...
    def unregister(self, fd: int, /) -> None: ...
    def poll(self, timeout: float | None, maxevents: int, /) -> _Ready: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class Selector:
    """The standard library's best selector, for systems without epoll."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._turn = 0  # where in the ready ones the last poll stopped, so that all get a turn

    def register(self, fd: int, eventmask: int, /) -> None:
        self._selector.register(fd, self._events(eventmask))

    def modify(self, fd: int, eventmask: int, /) -> None:
        self._selector.modify(fd, self._events(eventmask))

    def unregister(self, fd: int, /) -> None:
        with contextlib.suppress(KeyError):  # forgotten already, by a modify that failed
            self._selector.unregister(fd)

    def poll(self, timeout: float | None, maxevents: int, /) -> _Ready:
        ready = [(key.fd, events) for key, events in self._selector.select(timeout)]
        if len(ready) <= maxevents:
            return ready
        self._turn %= len(ready)
        ready = ready[self._turn :] + ready[: self._turn]
        self._turn += maxevents
        return ready[:maxevents]

    def fileno(self) -> int:
        number: Callable[[], int] = getattr(self._selector, "fileno", lambda: -1)
        return number()

    def close(self) -> None:
        self._selector.close()

    @staticmethod
    def _events(mask: int) -> int:
        return selectors.EVENT_WRITE if mask & _OUT else selectors.EVENT_READ


class _Wakeup:
    """Something to poll for that any thread can make readable: an eventfd, or two sockets."""

    def __init__(self) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None
        # A signal's handler may call wake() while its thread is inside wake() or close().
        self._lock = threading.RLock()
        self._open = False  # under the lock
        self._woken = False  # written or about to be; so need not be written again
        if hasattr(os, "eventfd"):
            self.number = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self._pair = socket.socketpair()
            for end in self._pair:
                end.setblocking(False)
            self.number = self._pair[0].fileno()
        self._open = True

    def wake(self) -> None:
        if self._woken:
            return
        with self._lock:
            if self._open:
                try:
                    self._woken = True
                    self._write()
                except BaseException:  # of a signal's handler
                    self._woken = False
                    raise

    def _write(self) -> None:
        if self._pair is None:
            os.eventfd_write(self.number, 1)
        else:
            with contextlib.suppress(BlockingIOError):
                self._pair[1].send(b"\0")

    def drain(self, size: int, flags: int) -> bytes:
        """Take part in a batch as a socket's ``recv`` does, one that never has anything."""
        with contextlib.suppress(BlockingIOError):
            if self._pair is None:
                os.eventfd_read(self.number)
            else:
                self._pair[0].recv(4096)
        # After the reading: a wake() in between writes nothing, but wait() is about to return.
        self._woken = False
        raise BlockingIOError

    def close(self) -> None:
        with self._lock:
            if self._open:
                self._open = False
                if self._pair is None:
                    os.close(self.number)
                else:
                    for end in self._pair:
                        end.close()

    def __del__(self) -> None:
        self.close()


@final
class Poller:
    """Owned by one thread at a time, except :meth:`wake`.

    ``read_size`` is the most that is received from a socket at a time, ``batch`` the most
    sockets that a call of :meth:`wait` deals with. ``hold`` is for the C twin.
    """

    def __init__(
        self,
        read_size: int = 65536,
        batch: int = 512,
        *,
        hold: bool = True,
        readiness: Callable[[], _Readiness] | None = None,
    ) -> None:
        self._read_size = operator.index(read_size)
        self._batch = operator.index(batch)
        if not 1 <= self._read_size <= _MOST_BYTES:
            raise ValueError(f"read_size must be from 1 to {_MOST_BYTES}, not {read_size}")
        if not 1 <= self._batch <= _MOST_BATCH:
            raise ValueError(f"batch must be from 1 to {_MOST_BATCH}, not {batch}")
        # By descriptor. In _added what the owner added; in _known what wait() needs, the
        # wakeup included: None for `receive` means report only.
        self._added: dict[int, tuple[int, _Receive, _Send]] = {}
        self._known: dict[int, tuple[_Receive | None, Any]] = {}
        self._rest: _Ready = []  # was ready, but did not fit into the last call
        self._closed = False
        self._new_readiness: Callable[[], _Readiness] = readiness or _best_readiness
        self._readiness = self._new_readiness()
        try:
            self._wakeup = _Wakeup()
        except OSError:
            self._readiness.close()
            raise
        self._known[self._wakeup.number] = (self._wakeup.drain, None)
        self._readiness.register(self._wakeup.number, _IN)

    def add(self, sock: socket.SocketType, key: object, interest: int, /) -> None:
        """Wait for ``sock`` too; ``key`` is kept, and stands for it in what is reported."""
        mask = _mask(interest)
        try:
            fd, receive, send = sock.fileno(), sock.recv, sock.send
        except AttributeError:
            raise TypeError(f"a socket is needed, not {type(sock).__name__}") from None
        if fd < 0:
            raise ValueError("the socket is closed")
        self._check_open()
        if fd in self._added:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._readiness.register(fd, mask)
        self._added[fd] = interest, receive, send
        self._known[fd] = receive if interest == READ else None, key

    def modify(self, fd: int, interest: int, /) -> None:
        """Wait for something else of a socket that was added."""
        mask = _mask(interest)
        self._check_open()
        before, receive, send = self._added[operator.index(fd)]
        if interest != before:
            self._readiness.modify(fd, mask)
            self._forget_readiness(fd)
            self._added[fd] = interest, receive, send
            self._known[fd] = receive if interest == READ else None, self._known[fd][1]

    def remove(self, fd: int, /) -> None:
        """Forget a socket, best before it is closed."""
        self._check_open()
        del self._added[operator.index(fd)]
        with contextlib.suppress(OSError):  # closed already
            self._readiness.unregister(fd)
        self._forget_readiness(fd)
        del self._known[fd]

    def wait(
        self, timeout: float | None, /
    ) -> tuple[list[tuple[Any, bytes]], list[tuple[Any, int]]]:
        """Wait for the sockets, at most ``timeout`` seconds, and receive once from each.

        Returns the data, as ``(key, bytes)``, and the notices, as ``(key, notice)``: ``END``,
        ``READY``, or the ``errno`` of a failed receive. At most a batch of sockets and 1 MiB of
        data; the rest comes with the next call. If memory runs out the data is lost.
        """
        seconds = None if timeout is None else _seconds(timeout)
        self._check_open()
        # What did not fit into the last call comes before anything else may, so that those
        # who send a lot do not keep the others waiting.
        fetched = not self._rest
        ready = self._readiness.poll(seconds, self._batch) if fetched else self._rest
        self._rest = []
        known = self._known
        size = self._read_size
        room = _MOST_BYTES
        data: list[tuple[Any, bytes]] = []
        notices: list[tuple[Any, int]] = []
        stale = False
        events = iter(ready)
        for fd, mask in events:
            try:
                receive, key = known[fd]
            except KeyError:
                stale = fetched
                continue
            if receive is None:
                notices.append((key, READY))
                continue
            if room < size:
                self._rest = [(fd, mask), *events]
                break
            try:
                received = receive(size, _DONTWAIT)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                notices.append((key, error.errno or errno.EIO))
                continue
            if received:
                room -= len(received)
                data.append((key, received))
            else:
                notices.append((key, END))
        if stale:
            self._renew_readiness()
        return data, notices

    def write(self, pairs: list[tuple[int, _Data]], /) -> list[int] | None:
        """Send each ``(fd, data)`` what there is room for now, at most 1 MiB.

        ``None`` if all was sent whole; else for each the number of bytes, or ``-errno``.
        """
        if not isinstance(pairs, list):
            raise TypeError(f"a list is needed, not {type(pairs).__name__}")
        self._check_open()
        added = self._added
        whole = True
        sent: list[int] = []
        for fd, data in pairs:
            if type(data) is not bytes or len(data) > _MOST_BYTES or not data:
                count, complete = self._write_other(fd, data)
                whole = whole and complete
            else:
                try:
                    count = added[fd][2](data, _SENDING)
                except KeyError:
                    count = _send_by_number(fd, data)
                except (BlockingIOError, InterruptedError):
                    count = 0
                except OSError as error:
                    count = -(error.errno or errno.EIO)
                if count != len(data):
                    whole = False
            sent.append(count)
        return None if whole else sent

    def _write_other(self, fd: int, data: _Data) -> tuple[int, bool]:
        with memoryview(data) as given, given.cast("B") as view, view[:_MOST_BYTES] as offered:
            count = _send_by_number(fd, offered) if offered else 0
            return count, count == len(view)

    def wake(self) -> None:
        """Make the wait that is going on, or else the next one, return; any thread."""
        self._wakeup.wake()

    def lock_waits(self) -> None:
        """How long the interpreter's lock was waited for, of which nothing is known here."""

    def fileno(self) -> int:
        """A descriptor that is readable when :meth:`wait` has something."""
        self._check_open()
        return self._readiness.fileno()

    def close(self) -> None:
        """Let go of everything; the sockets stay open."""
        if not self._closed:
            self._closed = True
            self._wakeup.close()
            self._readiness.close()
            self._rest = []
            self._added = {}
            self._known = {}

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("this poller is closed")

    def _forget_readiness(self, fd: int) -> None:
        if self._rest:
            self._rest = [event for event in self._rest if event[0] != fd]

    def _renew_readiness(self) -> None:
        """A descriptor that was closed before its removal stays in an epoll, unremovable, for
        as long as a duplicate of it is open: take all the others over, under the same number.
        """
        # Without descriptors for it, the next event of the stale one tries again.
        with contextlib.suppress(OSError), contextlib.closing(self._new_readiness()) as fresh:
            fresh.register(self._wakeup.number, _IN)
            for fd, (interest, _, _) in self._added.items():
                with contextlib.suppress(OSError):  # closed as well
                    fresh.register(fd, _mask(interest))
            os.dup2(fresh.fileno(), self._readiness.fileno(), inheritable=False)


def send_now(sock: socket.SocketType, fd: int, data: _Data, /) -> int:
    """Send what there is room for now, at most 1 MiB; returns the number of bytes."""
    if type(data) is not bytes or len(data) > _MOST_BYTES:
        data = memoryview(data).cast("B")[:_MOST_BYTES]
    try:
        return sock.send(data, _SENDING)
    except (BlockingIOError, InterruptedError):
        return 0


def accept_now(sock: socket.socket, _fd: int, /) -> tuple[int, Any] | None:
    """Accept from a listening socket in non-blocking mode: the descriptor and the peer's name.

    ``None`` if nobody waits; raises OSError as accept(2) does.
    """
    try:
        connected, name = sock.accept()
    except (BlockingIOError, InterruptedError):
        return None
    return connected.detach(), name


def hang_up(sock: socket.SocketType, /) -> None:
    """Shut down both directions, and close.

    The first is for the peer of a descriptor that has a duplicate, as in a process that was
    forked. What fails is no news any more: the descriptor is freed.
    """
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        sock.close()


def _best_readiness() -> _Readiness:
    return select.epoll() if hasattr(select, "epoll") else Selector()


def _seconds(timeout: float) -> float:
    if timeout > 0:
        return min(timeout, _LONGEST_WAIT)
    if math.isnan(timeout):
        raise ValueError("timeout must be a number of seconds, not nan")
    return 0


def _mask(interest: int) -> int:
    if operator.index(interest) not in (READ, WRITE, ACCEPT):
        raise ValueError(f"interest must be READ, WRITE or ACCEPT, not {interest!r}")
    return _OUT if interest == WRITE else _IN


def _send_by_number(fd: int, data: _Data) -> int:
    """Send to what need not have been added: the number of bytes, or ``-errno``."""
    if not 0 <= operator.index(fd) <= _LARGEST_DESCRIPTOR:
        return -errno.EBADF
    try:
        lent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=fd)
        try:
            return lent.send(data, _SENDING)
        finally:
            lent.detach()
    except (BlockingIOError, InterruptedError):
        return 0
    except OSError as error:
        return -(error.errno or errno.EIO)
