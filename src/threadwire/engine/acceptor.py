"""Accepting connections: one thread for all listeners.

Nothing that a peer does ends this thread. What ``accept`` can fail with is sorted:

- the peer's affair (it was gone before it was accepted): on to the next;
- lack of capacity (descriptors, memory): rest for ``accept_pause``, say so once an
  episode, go on; the listen backlog holds the clients meanwhile;
- anything else: said each time, and rested on like lack of capacity, so that an
  unforeseen error can neither end the service nor spin.

A permit is taken before a connection is accepted, so that ``max_clients`` is kept
by leaving clients in the backlog.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence

from .. import events
from ..limits import ACCEPT_PAUSE
from ..transport import Listener, Stream

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

    ``admit`` takes over the stream and a permit, or raises, for lack of a thread or of
    memory; then the client is refused.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        permits: Permits,
        admit: Callable[[Stream], None],
        name: str,
        on_start: Callable[[], None] | None = None,
    ) -> None:
        self._listeners = listeners
        self._permits = permits
        self._admit = admit
        self._on_start = on_start
        self._stopping = False  # set by stop(), read by the thread
        # Had before the thread starts, so that a lack of descriptors is the caller's to see.
        with contextlib.ExitStack() as stack:
            self._wake_reader, self._wake_writer = map(stack.enter_context, socket.socketpair())
            self._wake_reader.setblocking(False)
            self._wake_writer.setblocking(False)
            self._listening = stack.enter_context(selectors.DefaultSelector())
            self._waking = stack.enter_context(selectors.DefaultSelector())
            self._waking.register(self._wake_reader, selectors.EVENT_READ)
            self._listening.register(self._wake_reader, selectors.EVENT_READ)
            for listener in listeners:
                self._listening.register(listener, selectors.EVENT_READ, listener)
            self._resources = stack.pop_all()
        # The thread's own: an episode of resting, and what it cost.
        self._in_episode = False
        self._last_pause = 0.0
        self._refused = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the listeners are still the caller's if this raises for lack of a thread."""
        try:
            self._thread.start()
        except BaseException:
            self._resources.close()
            raise

    def stop(self) -> None:
        """Stop accepting, from any thread, and close the listeners.

        What the system had already queued is accepted first, as far as there are
        permits: those clients hold a connection and would be reset otherwise. May be
        called again, as after an interruption.
        """
        self._stopping = True
        self._wake()
        self._thread.join()
        self._permits.forget()
        self._resources.close()

    def _wake(self) -> None:
        # Full, so it will wake anyway; or stopped before, so there is nobody to wake.
        with contextlib.suppress(OSError):
            self._wake_writer.send(b"\0")

    def _run(self) -> None:
        try:
            if self._on_start is not None:
                self._on_start()
            self._accept_all()
        finally:
            for listener in self._listeners:
                listener.close()

    def _accept_all(self) -> None:
        permit = False
        while not self._stopping:
            if not permit and not (permit := self._permits.take(self._wake)):
                # Said, and waited out, only when somebody has to wait for it.
                if not any(key.data is None for key, _ in self._listening.select()):
                    self._pause(f"max_clients={self._permits.most}", None)
                self._drain_wake()
                continue
            for key, _ in self._listening.select():
                if key.data is None:
                    self._drain_wake()
                else:
                    permit = self._accept_burst(key.data, permit)
        self._accept_backlog(permit)

    def _accept_burst(self, listener: Listener, permit: bool) -> bool:
        """Accept what waits at one listener; returns whether a permit is still held."""
        for _ in range(_BURST):
            if not permit and not (permit := self._permits.take(self._wake)):
                return False
            try:
                stream = listener.accept()
            except (OSError, MemoryError) as error:
                self._accept_failed(listener, error)
                continue
            if stream is None:
                return permit
            permit = not self._admitted(listener, stream)
            if not permit:
                self._resume()
        return permit

    def _admitted(self, listener: Listener, stream: Stream) -> bool:
        try:
            self._admit(stream)
        except Exception as error:  # noqa: BLE001 - nothing may end the accepting
            stream.close()
            self._refused += 1
            self._accept_failed(listener, error)
            return False
        return True

    def _accept_failed(self, listener: Listener, error: Exception) -> None:
        number = error.errno if isinstance(error, OSError) else None
        if number in _PEER_ERRORS or self._stopping:
            return
        if number not in _CAPACITY_ERRORS and not isinstance(error, RuntimeError | MemoryError):
            events.accept_failed(listener.address, error)
        self._pause(str(error), ACCEPT_PAUSE.default)

    def _pause(self, reason: str, seconds: float | None) -> None:
        """Rest until woken or ``seconds`` have gone by; one line an episode."""
        if not self._in_episode:
            self._in_episode = True
            events.accept_paused(reason)
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._stopping:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            if self._waking.select(left):
                self._drain_wake()
                if deadline is None:
                    break
        self._last_pause = time.monotonic()

    def _resume(self) -> None:
        """A client was admitted: the episode is over if it has not just been resting."""
        if self._in_episode and time.monotonic() - self._last_pause > _EPISODE:
            events.accept_resumed(self._refused)
            self._in_episode, self._refused = False, 0

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_reader.recv(4096):
                pass

    def _accept_backlog(self, permit: bool) -> None:
        for listener in self._listeners:
            while permit or (permit := self._permits.take(lambda: None)):
                try:
                    stream = listener.accept()
                except (OSError, MemoryError) as error:
                    if isinstance(error, OSError) and error.errno in _PEER_ERRORS:
                        continue
                    events.accept_failed(listener.address, error)
                    break
                if stream is None:
                    break
                try:
                    self._admit(stream)
                except Exception as error:  # noqa: BLE001 - as above
                    stream.close()
                    events.accept_failed(listener.address, error)
                    break
                permit = False
        if permit:
            self._permits.give_back()
