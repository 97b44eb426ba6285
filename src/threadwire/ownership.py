"""Who owns a connection, and how it is told what becomes of it.

Who may touch what
------------------
At every instant a connection has one owner: the loop it belongs to, which means the thread
that holds that loop's baton; or a thread of its own; or nobody, once it has been released.
Every field has one of these beside it:

- *owner*: the thread that reads the socket, decodes and calls the handler.
- *loop*: the holder of the baton, whether the loop owns the connection now or not.
- *send lock*: whoever holds ``_send_lock``. Any thread may send; a message is encoded
  before the lock is taken and written whole while it is held, so messages interleave
  only at their boundaries.
- *state lock*: whoever holds ``_state_lock``; it is never held while waiting.

How it is told things
---------------------
``close()``, a drain and a cut come from any thread. None of them closes the descriptor:
under the state lock they note what is wanted. If the connection has a thread of its own,
which may be waiting in a read, they shut down one or both directions of the socket, which
wakes it; otherwise they ask the loop to attend to it. ``_own`` says which, under the same
lock, so whoever makes a connection change hands either sees what was noted or is woken.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from .errors import CloseReason, ConnectionClosed, TimeLimitError, TlsError
from .framing import Codec
from .outgoing import Outgoing
from .rules import Rules
from .transport import Stream

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from contextvars import Context

    from .engine.farewell import Farewell
    from .engine.opening import Opening
    from .engine.timers import Timer
    from .proxy_protocol import ProxyHeader

__all__ = ["Home", "Owned"]

_RESET = struct.pack("ii", 1, 0)  # linger no time at all


class Home(Protocol):
    """The loop that a connection belongs to."""

    def attend(self, connection: Any, /) -> None:
        """Any thread: have a look at it, its state has changed."""


class Owned(Outgoing):
    """A connection as the engine has it: its owner, its state, and its end."""

    __slots__ = (
        "_aborted",
        "_close_reason",
        "_context",
        "_farewell",
        "_fd",
        "_here",
        "_home",
        "_idle",
        "_interest",
        "_opened_clock",
        "_opening",
        "_own",
        "_parked",
        "_proven",
        "_quick",
        "_reading",
        "_receive_lock",
        "_released",
        "_rest",
        "_rules",
        "_scope",
        "_site",
        "_state",
        "_state_lock",
        "_strikes",
        "_taken",
        "_thread",
        "_timer",
        "active_at",
        "admitted",
        "busy_since",
        "id",
        "opened_at",
        "peer",
        "proxy",
    )

    def __init__(
        self,
        connection_id: int,
        stream: Stream,
        codec: Codec,
        home: Home,
        *,
        session: bool,
        rules: Rules,
    ) -> None:
        super().__init__(stream, codec)
        self.id = connection_id  # constant
        self.peer = stream.peer  # constant from the opening on; a PROXY header may change it before
        self.proxy: ProxyHeader | None = None  # the same
        self._site: str | int | None = None  # whoever admits it: as what its peer is counted
        self.admitted = True  # constant once it is the loop's: it holds a permit
        self.opened_at = time.time()  # constant
        self._opened_clock = time.monotonic()  # constant
        self._fd = stream.fileno()  # constant; ours until the release
        self._home = home  # constant
        self._rules = rules  # constant
        self._state: dict[str, Any] | None = None  # the user's; made by the state lock's holder
        # Who opens it and who closes it, for the hooks; the context is copied by others.
        self._context: Context | None = None
        self._scope: AbstractContextManager[object] | None = None

        # Owner to set, any thread to read; seconds of the monotonic clock.
        self.active_at = 0.0  # when its last message came, as a turn's begin; 0.0 for never
        # Since when the thread of its own is inside the handler, 0.0 if it is not; also set by
        # whoever gives it that thread, before the thread is told. It is not inside while it
        # waits for its peer: in a session's receive(), in STARTTLS, or to send a reply.
        self.busy_since = 0.0

        self._here = False  # loop: it is the one that serves it
        self._interest = 0  # loop: what its poller waits for on this connection
        self._proven = False  # loop: its handler has been quick once, and not slow since
        self._strikes = 0  # loop, or the own thread: how often its handler has proved slow
        self._timer: Timer | None = None  # loop: what is due if nothing happens before
        self._taken = 0  # loop: bytes that the peer has read since that timer was set
        self._opening: Opening | None = None  # loop: what comes before its first message
        self._farewell: Farewell | None = None  # loop: how far its ending has come

        # Loop: what is still to be answered when the peer has taken the replies so far.
        self._rest: tuple[Iterator[bytes] | None, Iterator[bytes]] | None = None
        # Held by the one thread that receives; a session's alone.
        self._receive_lock = threading.Lock() if session else None

        # One that may be taken again: the collector can run a finalizer that closes this.
        self._state_lock = threading.RLock()
        self._own = session  # state lock: a thread of its own serves it
        self._thread: int | None = None  # state lock: that thread's ident
        self._idle = False  # state lock: the own thread may wait in a read, nothing begun
        # Own thread to set, any thread to read, as a hint: it waits for the peer.
        self._reading = False
        # State lock to set, the loop alone to read: nothing keeps a message from being handled
        # the short way. It may be False for long, and then all else is looked at, too.
        self._quick = False
        self._parked = False  # state lock: the loop waits until a sender has left
        self._aborted = False  # state lock to set; nothing is delivered any more
        self._released = False  # state lock; nobody touches the descriptor from here on
        self._close_reason: CloseReason | None = None  # state lock; the first reason stays

    # Any thread.

    @property
    def owner(self) -> int | None:
        """The ident of the thread that serves it alone, ``None`` while the loop does."""
        return self._thread

    @property
    def age(self) -> float:
        """Seconds since it was accepted."""
        return time.monotonic() - self._opened_clock

    def drain(self) -> None:
        """Finish what was begun, then close."""
        with self._state_lock:
            self._draining = True
            self._quick = False
            if self._released:
                return
            if self._own:
                if self._idle:
                    self._deafen()
                return
        self._home.attend(self)

    def abort(self, reason: CloseReason) -> None:
        """Close at once, whatever is under way."""
        with self._state_lock:
            self._note_close(reason)
            self._aborted = True
            if self._released:
                return
            if reason is CloseReason.WRITE_TIMEOUT:
                self._forget_unsent()
            self._stream.shutdown()
        self._home.attend(self)

    # A thread of its own.

    def own(self, thread: int | None) -> None:
        """From here on a thread serves it alone. Called by who gives it, and by that thread."""
        with self._state_lock:
            self._own = True
            self._quick = False
            self._thread = thread

    def disown(self, reason: CloseReason | None = None) -> None:
        """The own thread has done with it; with ``reason``, it is to end."""
        with self._state_lock:
            if reason is not None:
                self._note_close(reason)
            self._own = self._idle = False
            self._thread = None

    # The loop, when it is the owner.

    def note_quick(self) -> None:
        """The loop: messages may be handled the short way, if nothing is in the way."""
        with self._state_lock:
            self._quick = not (
                self._draining or self._closing or self._own or self._tls is not None
            )

    def park(self, parked: bool) -> None:
        """The loop: whether senders are to call for attention when they leave."""
        with self._state_lock:
            self._parked = parked

    def note_end(self, reason: CloseReason) -> None:
        """It ends; ``reason`` stands unless there was one before."""
        with self._state_lock:
            self._note_close(reason)

    def release(self) -> bool:
        """Free the descriptor, when nobody can be using it any more.

        Whoever still reads or writes is woken; ``False`` if somebody has not left yet,
        then call again.
        """
        with self._state_lock:
            self._released = True  # from here on nobody else shuts it down
        receiving = self._receive_lock
        if self._send_lock.acquire(blocking=False):
            try:
                if receiving is None or receiving.acquire(blocking=False):
                    self._stream.close()
                    self._forget_errors()
                    if receiving is not None:
                        receiving.release()
                    return True
            finally:
                self._send_lock.release()
        self._stream.shutdown()
        return False

    def _forget_errors(self) -> None:
        """Their tracebacks lead back here, and such a circle, with all that was read, would wait
        for the collector: the memory of clients that have long gone.
        """
        self._violation = None
        if self._tls is not None:
            self._tls.failure = None

    # Send lock held.

    def write_pending_now(self) -> None:
        """Write what is pending as far as there is room."""
        try:
            data = self.take_pending()
            count = self._stream.write_nowait(data) if data else 0
        except (OSError, TlsError) as error:
            self._abort_for(error)
        else:
            if count < len(data):
                self.put_back(memoryview(data)[count:])

    def _write(self, data: bytes) -> None:
        """Write what is pending, and ``data``, waiting for the peer."""
        if self._released or self._aborted:
            raise self._closed_error()
        self._written += len(data)  # from here on, as what the loop writes
        timeout = self._rules.write_timeout
        try:
            if self._pending or self._raw or self._tls is not None:
                self._stream.write(self.take_pending(data), timeout)
            else:
                self._stream.write(data, timeout)
        except BaseException as error:
            # Part of it may have gone out: the stream is of no more use.
            if isinstance(error, TimeLimitError):
                self.abort(CloseReason.WRITE_TIMEOUT)
            elif isinstance(error, OSError | TlsError):
                self._abort_for(error)
            else:  # a sender was interrupted, as by KeyboardInterrupt
                self.abort(CloseReason.HANDLER_FAILED)
                raise
            raise self._closed_error() from error

    def _abort_for(self, error: OSError | TlsError) -> None:
        """Nothing can be sent any more."""
        if isinstance(error, TlsError):
            self._violation = error
        broken = isinstance(self._violation, TlsError)  # and not the socket
        self.abort(CloseReason.TLS_ERROR if broken else CloseReason.PEER_RESET)

    # State lock held.

    def _note_close(self, reason: CloseReason) -> None:
        """Nothing more is sent; the first reason stays."""
        self._closing = True
        self._quick = False
        if self._close_reason is None:
            self._close_reason = reason

    def _forget_unsent(self) -> None:
        """Have the closing reset it: the system would keep for minutes what nobody reads.

        That may be megabytes, and nobody counts them. Nor is half a reply followed by an end
        that looks like the reply's.
        """
        with contextlib.suppress(OSError):  # not connected any more
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def _deafen(self) -> None:
        self._deaf = True
        self._stream.shutdown_read()

    # Inner workings.

    def _closed_error(self) -> ConnectionClosed:
        reason = self._close_reason or self._end_reason or CloseReason.PEER_CLOSED
        error = ConnectionClosed(reason)
        error.connection = self
        return error
