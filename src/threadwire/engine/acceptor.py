"""Accepting connections, for all listeners, within the turns of one loop.

Nothing that a peer does ends it. What ``accept`` can fail with is sorted:

- the peer's affair (it was gone before it was accepted): on to the next;
- lack of capacity (descriptors, memory): rest for ``accept_pause``, say so once an
  episode, go on; the listen backlog holds the clients meanwhile;
- anything else: said each time, and rested on like lack of capacity, so that an
  unforeseen error can neither end the service nor spin.

A permit is taken before a connection is accepted, so that ``max_clients`` is kept by leaving
clients in the backlog; or, where they are to be refused, by accepting them without one.

Stopping does not reset those who wait in the backlog. They hold a connection and may have sent
something: the queue is closed to newcomers, and then emptied as permits become free, until
:meth:`Acceptor.finish`. Where another process has the same listening sockets, it is left to it.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import functools
import time
from collections.abc import Callable, Sequence

from .. import events
from ..errors import CloseReason
from ..limits import ACCEPT_PAUSE, LINGER_BYTES, OFF
from ..transport import Listener, Stream
from .gate import Gate
from .loop import Loop

__all__ = ["Acceptor"]

# accept(2): errors already pending on the new socket are passed on by Linux.
_PEER_ERRORS = frozenset(
    (
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.EPERM,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.ECONNRESET,
        errno.ETIMEDOUT,
    )
)
_CAPACITY_ERRORS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_BURST = 64  # accepts from one listener before the others have their turn
_MOST_BURSTS = 64  # for those who wait when accepting ends: as many as a backlog has, and more
_EPISODE = 1.0  # seconds without a rest after which an episode is over


class _State(enum.Enum):
    ACCEPTING = "accepting"
    SUSPENDED = "suspended"
    EMPTYING = "emptying"  # the backlogs, on the way to being closed
    CLOSED = "closed"


class Acceptor:
    """Owns the listeners from ``start`` on; hands every accepted stream to ``admit``.

    ``admit`` is called with the stream, its listener, and why the client is refused if it is. It
    takes over the stream, and says whether it has taken over a permit, too; or it raises, for
    lack of memory or whatever else; then the client is refused.

    ``start``, ``suspend``, ``resume``, ``stop``, ``finish`` and ``hand_over`` may be called by
    any thread, and again, as after an interruption. All else is called by the leader of
    ``loop``, to whom every field belongs.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        gate: Gate,
        admit: Callable[[Stream, Listener, CloseReason | None], bool],
        loop: Loop,
    ) -> None:
        self._listeners = list(listeners)  # those that are open
        self._where = ", ".join(str(listener.address) for listener in listeners)
        self._gate = gate
        self._admit = admit
        self._loop = loop
        self._state = _State.ACCEPTING
        self._permit = False  # one is held, for the next client
        self._awaited: list[Listener] = []  # where the loop tells of clients that wait
        self._dismissed = 0  # by finish(), from the backlogs
        # Of those who may come this second, as many as are left; and since when.
        self._tokens = 0.0
        self._filled = 0.0
        # An episode of resting, and what it cost.
        self._in_episode = False
        self._last_pause = 0.0
        self._refused = 0

    def start(self) -> None:
        self._loop.post(self._resume)

    def suspend(self) -> None:
        """Accept nobody any more, until :meth:`resume`; who waits already is accepted first."""
        self._loop.call(self._suspend)

    def resume(self) -> None:
        self._loop.call(self._unsuspend)

    def stop(self) -> None:
        """Accept who waits already, as far as there are permits; then close the listeners.

        When it returns, one is still open only if clients wait there for a permit. They are
        accepted as permits become free.
        """
        self._loop.call(self._begin_emptying)

    def finish(self) -> int:
        """Close what is left; returns how many clients had to be dismissed from the backlogs."""
        self._loop.call(self._finish)
        self._gate.permits.forget()
        return self._dismissed

    def hand_over(self) -> None:
        """Another process accepts from the same sockets: close them, and nothing else."""
        self._loop.call(self._hand_over)

    @property
    def closed(self) -> bool:
        """Whether no listener is open any more; any thread."""
        return self._state is _State.CLOSED

    @property
    def suspended(self) -> bool:
        """Whether it has been told to accept nobody for the time being; any thread."""
        return self._state is _State.SUSPENDED

    # The leader.

    def _resume(self) -> None:
        if self._state in (_State.CLOSED, _State.SUSPENDED) or self._awaited:
            return
        for listener in self._listeners:
            try:
                self._loop.await_clients(listener, functools.partial(self._accept, listener))
            except OSError as error:  # the system has no place left in its poller
                self._failed(listener, error)
                return
            self._awaited.append(listener)

    def _rest(self) -> None:
        while self._awaited:
            self._loop.ignore_clients(self._awaited.pop())

    def _accept(self, listener: Listener) -> bool:
        """Accept what waits at one listener, up to a burst; whether nobody waits any more."""
        for n in range(_BURST):
            # It may have been closed or put to rest since clients were seen to wait.
            if listener not in self._awaited:
                return False
            if self._state is _State.EMPTYING and self._closed_empty(listener):
                return True
            refused = None
            if not self._have_permit():
                if not self._gate.refuse:
                    if n == 0:  # else it is not known whether anybody waits
                        self._pause(f"max_clients={self._gate.permits.most}")
                    return False
                refused = CloseReason.BUSY
            if self._gate.rate != OFF and not self._have_token():
                if n == 0:
                    self._await_token()
                return False
            try:
                stream = listener.accept()
            except (OSError, MemoryError) as error:
                self._failed(listener, error)
                continue
            if stream is None:
                self._tokens += 1
                return True
            if self._admitted(listener, stream, refused):
                self._end_episode()
        return False

    def _have_permit(self) -> bool:
        if not self._permit:
            self._permit = self._gate.permits.take(self._permit_freed)
        return self._permit

    def _permit_freed(self) -> None:
        """Whoever gives one back."""
        self._loop.post(self._resume)

    def _have_token(self) -> bool:
        """Whether the rate allows for one more; then it is used up."""
        rate = self._gate.rate
        now = self._loop.now()
        most = max(1.0, rate)  # a second's worth may come at once
        self._tokens = min(most, self._tokens + (now - self._filled) * rate)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _await_token(self) -> None:
        rate = self._gate.rate
        self._pause(f"accept_rate={rate:g}")
        self._loop.later((1 - self._tokens) / rate, self._resume)

    def _admitted(self, listener: Listener, stream: Stream, refused: CloseReason | None) -> bool:
        try:
            if self._admit(stream, listener, refused):
                self._permit = False
        except Exception as error:  # noqa: BLE001 - nothing may end the accepting
            stream.close()
            self._refused += 1
            self._failed(listener, error)
            return False
        return True

    def _failed(self, listener: Listener, error: Exception) -> None:
        number = error.errno if isinstance(error, OSError) else None
        if number in _PEER_ERRORS:
            return
        if number not in _CAPACITY_ERRORS and not isinstance(error, RuntimeError | MemoryError):
            events.accept_failed(listener.address, error)
        self._pause(str(error))
        self._loop.later(ACCEPT_PAUSE.default, self._resume)

    def _pause(self, reason: str) -> None:
        """Rest until resumed; one line an episode."""
        self._rest()
        self._last_pause = time.monotonic()
        if not self._in_episode:
            self._in_episode = True
            events.accept_paused(reason, self._where)

    def _end_episode(self) -> None:
        """A client was admitted: the episode is over if it has not just been resting."""
        if self._in_episode and time.monotonic() - self._last_pause > _EPISODE:
            events.accept_resumed(self._refused, self._where)
            self._in_episode, self._refused = False, 0

    # Stopping.

    def _suspend(self) -> None:
        if self._state is _State.ACCEPTING:
            self._accept_waiting()
            self._rest()
            self._state = _State.SUSPENDED

    def _unsuspend(self) -> None:
        if self._state is _State.SUSPENDED:
            self._state = _State.ACCEPTING
            self._resume()

    def _begin_emptying(self) -> None:
        if self._state in (_State.ACCEPTING, _State.SUSPENDED):
            self._state = _State.EMPTYING
            for listener in list(self._listeners):
                listener.admit_no_more()
                self._closed_empty(listener)
            self._resume()
            self._accept_waiting()
            for listener in list(self._listeners):
                if listener.shared:  # others have it, too, and may accept who comes yet
                    self._close(listener)

    def _accept_waiting(self) -> None:
        """Accept until nobody waits, or something is wanting."""
        for listener in list(self._listeners):
            for _ in range(_MOST_BURSTS):
                if listener not in self._awaited or self._accept(listener):
                    break

    def _closed_empty(self, listener: Listener) -> bool:
        """Close it if nobody waits there; asked without a permit to accept anybody with."""
        if listener.anybody_waits():
            return False
        self._close(listener)
        return True

    def _close(self, listener: Listener) -> None:
        if listener in self._awaited:
            self._awaited.remove(listener)
            self._loop.ignore_clients(listener)
        self._listeners.remove(listener)
        listener.close()
        if not self._listeners:
            self._have_closed()

    def _have_closed(self) -> None:
        self._state = _State.CLOSED
        if self._permit:
            self._permit = False
            self._gate.permits.give_back()

    def _finish(self) -> None:
        self._begin_emptying()
        self._rest()
        for listener in list(self._listeners):
            try:
                self._dismiss(listener)
            except (OSError, MemoryError) as error:
                events.accept_failed(listener.address, error)
            self._close(listener)

    def _dismiss(self, listener: Listener) -> None:
        """End those who still wait there, each as gently as that can be done at once."""
        for _ in range(_MOST_BURSTS * _BURST):
            try:
                stream = listener.accept()
            except OSError as error:
                if error.errno not in _PEER_ERRORS:
                    raise
                continue
            if stream is None:
                return
            self._dismissed += 1
            left = LINGER_BYTES.whole
            with contextlib.suppress(OSError):  # bytes that are not read would make it a reset
                while left > 0 and (data := stream.read_nowait()):
                    left -= len(data)
            stream.close()

    def _hand_over(self) -> None:
        if self._state is not _State.CLOSED:
            self._rest()
            for listener in list(self._listeners):
                listener.leave_in_place()
                self._close(listener)
