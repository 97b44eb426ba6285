"""One connection through a :class:`FaultProxy`: two sockets, and a flow each way.

The holder of the proxy's lock may touch everything here; only the proxy's thread touches the
sockets, which do not block. A link is attended to when one of its sockets is ready or its time has
come; it does what can be done then, and says in ``wake_at`` when to come again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import selectors
import socket
import struct
import termios
import time

from ..errors import describe_os_error
from .flow import End, Flow
from .targets import Target

__all__ = ["Link"]

_READ_SIZE = 64 << 10
_PIECES = 256  # sent each way before the other links have their turn
_CONNECT_SECONDS = 10.0  # how long the server may take
_RETRY_SECONDS = 0.01  # between two looks at a full backlog, which nothing announces
# A reset discards what the system has not delivered yet. So it waits for that, but no longer
# than this for a receiver that does not read; between looks, which nothing announces.
_DELIVER_SECONDS = 1.0
_DELIVER_POLL = 0.001
_TCP_CLOSE = 7  # the state of a connection that is over (linux/tcp_states.h)


class _Way:
    """One direction: where its bytes come from and go to."""

    def __init__(self, source: socket.socket, target: socket.socket, flow: Flow) -> None:
        self.source = source
        self.target = target
        self.flow = flow
        self.blocked = False  # the target takes no more for now
        self.told = False  # the target knows that the stream has ended

    def read(self) -> None:
        flow = self.flow
        if flow.source_ended or flow.room <= 0:
            return
        try:
            data = self.source.recv(min(flow.room, _READ_SIZE))
        except BlockingIOError:
            return
        except OSError:
            flow.finish(reset=True)
            return
        if data:
            flow.feed(data)
        else:
            flow.finish()

    def write(self, now: float) -> bool:
        """Send what is to be sent now; whether there is more."""
        flow, self.blocked = self.flow, False
        for _ in range(_PIECES):
            piece = flow.piece(now)
            if not piece:
                return False
            try:
                count = self.target.send(piece)
            except BlockingIOError:
                self.blocked = True
                return False
            except OSError:
                flow.give_up(End.LOST)
                return False
            flow.sent(count, now)
        return True

    def tell_end(self) -> None:
        if not self.told and self.flow.end in (End.FINISHED, End.TRUNCATED):
            self.told = True
            with contextlib.suppress(OSError):  # it has gone itself
                self.target.shutdown(socket.SHUT_WR)


class Link:
    """From an accepted ``client`` to the first of ``targets`` that takes it.

    problem
        Why there is no connection to the server, or an empty string.
    over
        Both sockets are closed.
    """

    def __init__(
        self,
        number: int,
        client: socket.socket,
        targets: list[Target],
        up: Flow,
        down: Flow,
        selector: selectors.BaseSelector,
    ) -> None:
        self.number = number
        self.up = up
        self.down = down
        self.problem = ""
        self.over = False
        self.wake_at: float | None = None
        self._client = client
        self._server: socket.socket | None = None  # while connecting, and later
        self._targets = list(targets)
        self._connect_by = 0.0
        self._ways: tuple[_Way, _Way] | None = None  # when connected
        self._reset_by: float | None = None  # when resetting
        self._selector = selector
        self._registered: dict[socket.socket, int] = {}
        _set_up(client)

    def attend(self, now: float) -> None:
        """Do what can be done now."""
        self.wake_at = None
        if self._reset_by is None and self._ways is None:
            self._connect(now)
        if self._reset_by is None and self._ways is not None:
            self._converse(self._ways)
        if self._reset_by is not None:
            self._reset_when_delivered(now)
        if not self.over:
            self._register()

    def abandon(self) -> None:
        """Reset the connection, if it is not over."""
        if not self.over:
            for each in self._sockets():
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._close()

    # Connecting.

    def _connect(self, now: float) -> None:
        if self._server is None:
            self._connect_by = now + _CONNECT_SECONDS
        while self._targets:
            family, name = self._targets[0]
            try:
                if self._server is None:
                    self._server = socket.socket(family, socket.SOCK_STREAM)
                    _set_up(self._server)
                number = self._server.connect_ex(name)  # type: ignore[arg-type]
            except OSError as error:
                number = error.errno or errno.EIO
            if number in (0, errno.EISCONN):
                assert self._server is not None
                self._ways = (
                    _Way(self._client, self._server, self.up),
                    _Way(self._server, self._client, self.down),
                )
                return
            waiting = number in (errno.EINPROGRESS, errno.EALREADY, errno.EAGAIN)
            if waiting and now < self._connect_by:
                # A unix socket whose listener's backlog is full announces nothing.
                full = number == errno.EAGAIN
                self.wake_at = now + _RETRY_SECONDS if full else self._connect_by
                return
            number = errno.ETIMEDOUT if waiting else number
            self.problem = describe_os_error(OSError(number, os.strerror(number)))
            self._targets.pop(0)
            self._forget_server()
        self._reset_by = now

    def _forget_server(self) -> None:
        if self._server is not None:
            self._unregister(self._server)
            self._server.close()
            self._server = None

    # Conversing.

    def _converse(self, ways: tuple[_Way, _Way]) -> None:
        for way in ways:
            way.read()
        now = time.monotonic()  # after what has been read, so that no wait is shorter than it says
        more = False
        for way in ways:
            more = way.write(now) or more
            way.tell_end()
        ends = [way.flow.end for way in ways]
        if End.RESET in ends or (End.LOST in ends and None not in ends):
            self._reset_by = now + _DELIVER_SECONDS
        elif None not in ends and all(way.flow.source_ended for way in ways):
            self._close()
        elif more:
            self.wake_at = now
        else:
            times = [way.flow.wake_at(now) for way in ways if not way.blocked]
            self.wake_at = min((time for time in times if time is not None), default=None)

    # Ending.

    def _reset_when_delivered(self, now: float) -> None:
        assert self._reset_by is not None
        for flow in (self.up, self.down):
            flow.give_up(End.RESET)
        if now >= self._reset_by or not any(map(_undelivered, self._sockets())):
            self.abandon()
        else:
            self.wake_at = now + _DELIVER_POLL

    def _close(self) -> None:
        self.over = True
        for each in self._sockets():
            self._unregister(each)
            each.close()

    def _sockets(self) -> list[socket.socket]:
        return [self._client] if self._server is None else [self._client, self._server]

    # What to be woken for. A socket that nothing is wanted of is not watched at all: it would
    # report again and again that its peer has gone.

    def _register(self) -> None:
        wanted = dict.fromkeys(self._sockets(), 0)
        if self._reset_by is not None:
            pass
        elif self._ways is not None:
            for way in self._ways:
                if not way.flow.source_ended and way.flow.room > 0:
                    wanted[way.source] |= selectors.EVENT_READ
                if way.blocked:
                    wanted[way.target] |= selectors.EVENT_WRITE
        elif self._server is not None and self.wake_at == self._connect_by:
            wanted[self._server] = selectors.EVENT_WRITE
        for each, mask in wanted.items():
            before = self._registered.get(each, 0)
            if mask and not before:
                self._selector.register(each, mask, self)
            elif mask and mask != before:
                self._selector.modify(each, mask, self)
            elif before and not mask:
                self._selector.unregister(each)
            self._registered[each] = mask

    def _unregister(self, each: socket.socket) -> None:
        if self._registered.pop(each, 0):
            self._selector.unregister(each)


def _set_up(connected: socket.socket) -> None:
    connected.setblocking(False)
    if connected.family != socket.AF_UNIX:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _undelivered(connected: socket.socket) -> int:
    """Bytes that the other end's system has not acknowledged."""
    if connected.family == socket.AF_UNIX:
        return 0  # there they are delivered at once
    if connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE:
        return 0  # and never will
    answer = fcntl.ioctl(connected, termios.TIOCOUTQ, b"\0" * 4)
    return int(struct.unpack("i", answer)[0])
