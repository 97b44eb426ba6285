"""A pool: connections that are made when needed, used again, and replaced when they are dead.

There are ``size`` places. A place is free, idle (it holds a connection that nobody uses) or in
use (by one thread, which has its connection for itself or is making it). The thread that is
given a place gives it back, with the connection if that is still good.

Rules
-----
- *First come, first served.* Whoever wants a place joins the waiters, and the first of them
  gets the next one. It never happens that there are waiters and places for them.
- *The latest first.* Of the idle connections the one that was used last is used next, so that
  those which are not needed grow old, and are closed.
- *No connection is trusted.* Before it is used again it is looked at, without waiting: one
  that the server has closed, or on which something unasked has come, is dropped. Nothing was
  sent on it, so nothing is lost or done twice.
- *A message is sent twice only if the caller allows it.* A connection that could not be made
  is tried again for every request. One that ended before the reply came, and a server that was
  busy, are tried again for requests that the caller called repeatable. Nothing else ever is.

Who may touch what
------------------
- ``_waiters``, ``_idle``, ``_lent``, ``_used``, ``_serving`` and ``_serve_again`` are guarded by
  ``_lock``, which is never held while waiting or connecting. It is reentrant, since the
  collector may end a generator, and with it give a place back, anywhere; so whatever is done
  under it goes on rightly if a place is given back in its midst.
- A lent :class:`Client` belongs to the thread that has the place. Only ``close()`` may be called
  by another one, which closes the pool.
- ``_closing`` is set once, under ``_lock``; any thread reads it.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from .address import Address
from .dialled import Client
from .errors import (
    CloseReason,
    ConnectError,
    ConnectionClosed,
    ServerBusy,
    ThreadwireError,
    TimeLimitError,
    UsageError,
)
from .framing import BytesLike, require_bytes
from .retry import Retry, Retrying

__all__ = ["Pool"]

T = TypeVar("T")

_LOST_OR_REFUSED = (ConnectError, ConnectionClosed, ServerBusy)


class _Waiter:
    """A thread that wants a place; its fields are guarded by the pool's lock."""

    __slots__ = ("client", "fresh", "served", "turn")

    def __init__(self, fresh: bool) -> None:
        # Released, once, to wake the thread: a lock remembers it, whoever comes first.
        self.turn = threading.Lock()
        self.turn.acquire()
        self.fresh = fresh  # whether it wants a new connection
        self.served = False  # whether it has been given its place
        self.client: Client | None = None  # and the connection in it, if there is one


class Pool:
    """Connections to a server, made by :func:`connect` as they are needed; for any thread.

    Each request has a connection for itself. A timeout given to a method takes the place of
    the pool's own, and is for all of it: the wait for a free connection, connecting, every
    attempt and the back-offs between them.
    """

    def __init__(
        self,
        make: Callable[[float | None], Client],
        address: Address,
        size: int,
        timeout: float | None,
        idle_seconds: float,
        retry: Retry,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        uniform: Callable[[float, float], float] | None = None,
    ) -> None:
        self._make = make
        self._address = address
        self._size = size
        self._timeout = timeout
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._closing = threading.Event()
        self._retrying = Retrying(
            retry, clock=clock, sleep=sleep or self._closing.wait, uniform=uniform
        )
        self._lock = threading.RLock()
        self._waiters: deque[_Waiter] = deque()
        self._idle: deque[tuple[float, Client]] = deque()  # with the time when they became so
        self._lent: set[Client] = set()  # the connections in the places in use
        self._used = 0  # places in use
        self._serving = False  # whether _serve() is running
        self._serve_again = False  # whether something has changed meanwhile

    def open(self) -> Self:
        """Make the first connection, so that a wrong address is found out at once."""
        seconds, deadline = self._deadline(None)
        self._give_back(self._try(lambda: self._take(seconds, deadline), deadline))
        return self

    @property
    def address(self) -> Address:
        """The server's address, as it was given."""
        return self._address

    @property
    def size(self) -> int:
        """How many connections there may be at once."""
        return self._size

    @property
    def closed(self) -> bool:
        """Whether ``close()`` has been called."""
        return self._closing.is_set()

    def request(
        self, message: BytesLike, timeout: float | None = None, *, repeatable: bool = False
    ) -> bytes:
        """Send ``message`` and return the reply to it.

        ``repeatable`` says that it does no harm if the server handles the message twice;
        then it may be sent again when its connection has ended before the reply, or when the
        server was busy. A message that is not repeatable is sent once at most.

        Raises what the last attempt did: ConnectError, ConnectionClosed, ServerBusy; or
        TimeLimitError when an attempt met the deadline; or, without a further attempt,
        FramingError and UsageError.
        """
        require_bytes(message)
        seconds, deadline = self._deadline(timeout)

        def attempt() -> bytes:
            client = self._take(seconds, deadline)
            try:
                left = self._left(deadline)
                if left is None:
                    return client._request(message, seconds, None)
                if left <= 0:
                    raise TimeLimitError("reply", seconds or 0.0)
                return client._request(message, seconds, time.monotonic() + left)
            finally:
                self._give_back(client)

        return self._try(attempt, deadline, repeatable)

    @contextlib.contextmanager
    def client(self, timeout: float | None = None) -> Iterator[Client]:
        """A :class:`Client` for everything that is more than a request, as a context manager.

        It has a connection of its own, which is one of the pool's, new, and closed at the
        end. ``timeout`` is for making it; retries are for making it, too.
        """
        seconds, deadline = self._deadline(timeout)
        client = self._try(lambda: self._take(seconds, deadline, fresh=True), deadline)
        try:
            yield client
        finally:
            client.close()
            self._give_back(client)

    def close(self) -> None:
        """Close all connections; from any thread, any number of times.

        A thread that waits in another method gets ConnectionClosed.
        """
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()  # from here on, what is given back is closed, and nobody served
            for client in [*self._lent, *(client for _, client in self._idle)]:
                client.close()
            self._idle.clear()
            for waiter in self._waiters:
                waiter.turn.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        with self._lock:
            state = "closed" if self.closed else f"{self._used} in use, {len(self._idle)} idle"
        return f"<Pool of {self._size} to {self._address}: {state}>"

    # What may be tried again.

    def _try(self, attempt: Callable[[], T], deadline: float | None, repeatable: bool = False) -> T:
        retried = _LOST_OR_REFUSED if repeatable else ConnectError

        def may_retry(error: ThreadwireError) -> bool:
            return isinstance(error, retried) and not self.closed

        return self._retrying.run(attempt, may_retry, deadline)

    # Time.

    def _deadline(self, timeout: float | None) -> tuple[float | None, float | None]:
        """The seconds that count, and when they will be over on the pool's clock."""
        if timeout is not None and not timeout >= 0:
            raise UsageError(f"timeout must be 0 or more seconds, not {timeout!r}")
        seconds = self._timeout if timeout is None else timeout
        if seconds is None or seconds == math.inf:
            return seconds, None
        return seconds, self._clock() + seconds

    def _left(self, deadline: float | None) -> float | None:
        return None if deadline is None else deadline - self._clock()

    # Places and connections.

    def _take(
        self, seconds: float | None, deadline: float | None, *, fresh: bool = False
    ) -> Client:
        """A place in use with a connection that is good; see :meth:`_give_back`."""
        client = self._wait_for_place(seconds, deadline, fresh)
        try:
            while client is not None and not client._reusable():
                self._drop(client)
                client = self._another()
            if client is None:
                client = self._connect(deadline)
            return client
        except BaseException:
            self._give_back(client)
            raise

    def _connect(self, deadline: float | None) -> Client:
        """In a place in use: a new connection."""
        self._require_open()
        left = self._left(deadline)
        if left is not None:  # rounded, since an error may show it
            left = max(1, math.ceil(min(left, threading.TIMEOUT_MAX) * 1000)) / 1000
        client = self._make(left)
        try:
            with self._lock:
                self._require_open()
                self._lent.add(client)
        except BaseException:
            client.close()
            raise
        return client

    def _require_open(self) -> None:
        if self._closing.is_set():
            raise ConnectionClosed(CloseReason.HANDLER_CLOSED)

    def _another(self) -> Client | None:
        """In a place in use: an idle connection, whose own place is freed thereby."""
        with self._lock:
            if not self._idle:
                return None
            _, client = self._idle.pop()
            self._lent.add(client)
            return client

    def _drop(self, client: Client) -> None:
        client.close()
        with self._lock:
            self._lent.discard(client)

    def _give_back(self, client: Client | None) -> None:
        """The end of a place's use; its connection is kept if it is still open."""
        with self._lock:
            self._used -= 1
            if client is not None:
                self._lent.discard(client)
                if self.closed or client.closed:
                    client.close()
                else:
                    self._idle.append((self._clock(), client))
            self._serve()

    def _wait_for_place(
        self, seconds: float | None, deadline: float | None, fresh: bool
    ) -> Client | None:
        """Wait for a place, and take it with the connection in it, if there is one."""
        waiter = _Waiter(fresh)
        with self._lock:
            self._require_open()
            self._close_old()
            self._waiters.append(waiter)
            self._serve()
        try:
            left = self._left(deadline)
            waiter.turn.acquire(
                timeout=-1 if left is None else min(max(0.0, left), threading.TIMEOUT_MAX)
            )
            with self._lock:
                if not waiter.served:
                    self._require_open()
                    raise TimeLimitError("free connection", seconds or 0.0)
        except BaseException:
            with self._lock:
                if waiter.served:
                    self._give_back(waiter.client)
                else:
                    self._waiters.remove(waiter)
            raise
        return waiter.client

    def _close_old(self) -> None:
        """Lock held: close what has been idle for too long."""
        since = self._clock() - self._idle_seconds
        while self._idle and self._idle[0][0] <= since:
            self._idle.popleft()[1].close()

    def _serve(self) -> None:
        """Lock held: give places to waiters, as long as there are both."""
        self._serve_again = True
        if self._serving:
            return  # in the midst of this, which will see what has changed
        self._serving = True
        try:
            while self._serve_again:
                self._serve_again = False
                while self._waiters and not self.closed and self._make_room(self._waiters[0]):
                    self._used += 1
                    waiter = self._waiters.popleft()
                    waiter.served = True
                    waiter.turn.release()
        finally:
            self._serving = False

    def _make_room(self, waiter: _Waiter) -> bool:
        """Lock held: whether there is a place for ``waiter``, free or made so."""
        if self._idle and not waiter.fresh:
            _, waiter.client = self._idle.pop()
            self._lent.add(waiter.client)
        elif self._used + len(self._idle) == self._size:
            if not self._idle:
                return False
            self._idle.popleft()[1].close()
        return True
