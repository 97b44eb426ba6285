"""Accepting connections, for all listeners, within the turns of one loop.

Nothing that a peer does ends it. What ``accept`` can fail with is sorted:

- the peer's affair (it was gone before it was accepted): on to the next;
- lack of capacity (descriptors, memory): rest for ``accept_pause``, say so once an
  episode, go on; the listen backlog holds the clients meanwhile;
- anything else: said each time, and rested on like lack of capacity, so that an
  unforeseen error can neither end the service nor spin.

A permit is taken before a connection is accepted, so that ``max_clients`` is kept
by leaving clients in the backlog.
"""

from __future__ import annotations

import errno
import functools
import threading
import time
from collections.abc import Callable, Sequence

from .. import events
from ..limits import ACCEPT_PAUSE
from ..transport import Listener, Stream
from .loop import Loop

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
_EPISODE = 1.0  # seconds without a rest after which an episode is over


class Permits:
    """How many clients may be served at once. Any thread; every field under ``_lock``."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._free = most
        self._wanted: Callable[[], None] | None = None

    def take(self, when_freed: Callable[[], None]) -> bool:
        """Take one; if there is none, ``when_freed`` is called once when one is given back.

        It is called by whoever gives back, under the lock: it must not block.
        """
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            self._wanted = when_freed
            return False

    def give_back(self) -> None:
        with self._lock:
            self._free += 1
            wanted, self._wanted = self._wanted, None
            if wanted is not None:
                wanted()  # under the lock, so that forget() leaves no call under way

    def forget(self) -> None:
        """After this, the last ``when_freed`` is neither called nor being called."""
        with self._lock:
            self._wanted = None


class Acceptor:
    """Owns the listeners from ``start`` on; hands every accepted stream to ``admit``.

    ``admit`` takes over the stream and a permit, or raises, for lack of memory or whatever
    else; then the client is refused.

    All but :meth:`start` and :meth:`stop` is called by the leader of ``loop``, to whom
    every field belongs.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        permits: Permits,
        admit: Callable[[Stream], None],
        loop: Loop,
    ) -> None:
        self._listeners = listeners
        self._permits = permits
        self._admit = admit
        self._loop = loop
        self._permit = False  # one is held, for the next client
        self._awaited: list[Listener] = []  # where the loop tells of clients that wait
        self._closed = False
        # An episode of resting, and what it cost.
        self._in_episode = False
        self._last_pause = 0.0
        self._refused = 0

    def start(self) -> None:
        self._loop.post(self._resume)

    def stop(self) -> None:
        """Stop accepting, from any thread, and close the listeners.

        What the system had already queued is accepted first, as far as there are
        permits: those clients hold a connection and would be reset otherwise. May be
        called again, as after an interruption.
        """
        self._loop.call(self._close)
        self._permits.forget()

    # The leader.

    def _resume(self) -> None:
        if self._closed or self._awaited:
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

    def _accept(self, listener: Listener) -> None:
        """Accept what waits at one listener."""
        for n in range(_BURST):
            # It may have been closed or put to rest since clients were seen to wait.
            if not self._awaited:
                return
            if not self._have_permit():
                if n == 0:  # else it is not known whether anybody waits
                    self._pause(f"max_clients={self._permits.most}")
                return
            try:
                stream = listener.accept()
            except (OSError, MemoryError) as error:
                self._failed(listener, error)
                continue
            if stream is None:
                return
            if self._admitted(listener, stream):
                self._permit = False
                self._end_episode()

    def _have_permit(self) -> bool:
        if not self._permit:
            self._permit = self._permits.take(self._permit_freed)
        return self._permit

    def _permit_freed(self) -> None:
        """Whoever gives one back."""
        self._loop.post(self._resume)

    def _admitted(self, listener: Listener, stream: Stream) -> bool:
        try:
            self._admit(stream)
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
            events.accept_paused(reason)

    def _end_episode(self) -> None:
        """A client was admitted: the episode is over if it has not just been resting."""
        if self._in_episode and time.monotonic() - self._last_pause > _EPISODE:
            events.accept_resumed(self._refused)
            self._in_episode, self._refused = False, 0

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._rest()
        for listener in self._listeners:
            try:
                self._accept_backlog(listener)
            finally:
                listener.close()
        if self._permit:
            self._permits.give_back()

    def _accept_backlog(self, listener: Listener) -> None:
        while self._permit or self._permits.take(lambda: None):
            self._permit = True
            try:
                stream = listener.accept()
                if stream is None:
                    return
            except (OSError, MemoryError) as error:
                if isinstance(error, OSError) and error.errno in _PEER_ERRORS:
                    continue
                events.accept_failed(listener.address, error)
                return
            try:
                self._admit(stream)
            except Exception as error:  # noqa: BLE001 - as above
                stream.close()
                events.accept_failed(listener.address, error)
                return
            self._permit = False
