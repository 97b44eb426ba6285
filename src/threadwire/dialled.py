"""The client's end of one connection: requests, messages, pipelines, in any framing.

Who may touch what
------------------
- ``_exchange`` is held by whoever needs replies matched to requests: ``request()`` from
  sending to receiving, ``pipeline()`` from its first message to its last reply.
- Writing belongs to the holder of ``_send_lock``, reading and the decoder to the
  holder of ``_receive_lock``. They are taken in that order, after ``_exchange``.
- ``_closed`` and ``_users`` are guarded by ``_state_lock``, which is never held while
  waiting. ``close()`` marks the client closed and shuts the socket down, which wakes
  whoever waits in it; the descriptor is freed by the last user to leave, so nobody
  ever acts on a number that has been given to another file.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from types import TracebackType
from typing import Self

from . import limits
from .address import Address
from .errors import (
    CloseReason,
    ConnectionClosed,
    FramingError,
    ServerBusy,
    ThreadwireError,
    TimeLimitError,
    TlsError,
    UsageError,
)
from .framing import BytesLike, Framing, require_bytes
from .framing.codec import SettleTime
from .pipeline import Pipeline
from .transport import Stream

__all__ = ["Client"]


class Client:
    """A connection to a server, made by :func:`connect`; usable from several threads.

    A timeout given to a method takes the place of the client's own. After a
    :class:`~threadwire.FramingError`, a :class:`~threadwire.ServerBusy`, a failed send,
    or a ``request`` that timed out, the client is closed: what would come next could be
    the answer to something else.
    """

    def __init__(
        self,
        stream: Stream,
        framing: Framing,
        timeout: float | None,
        max_message: int,
        busy_reply: bytes | None = None,
    ) -> None:
        self._stream = stream
        self._codec = framing.codec(max_message)  # receive lock; encode() by any thread
        self._timeout = timeout  # constant
        self._busy_reply = busy_reply  # constant
        self._exchange = threading.Lock()
        self._send_lock = threading.Lock()
        self._receive_lock = threading.Lock()
        self._settle_time = SettleTime(self._codec)  # receive lock
        self._ended = False  # receive lock: the server has ended its side
        # Reentrant: a pipeline that is dropped may be ended by the collector, anywhere.
        self._state_lock = threading.RLock()
        self._closed = False  # state lock to set; read by any thread
        self._users = 0  # state lock: threads that may be using the stream

    @property
    def peer(self) -> Address:
        """The server's end."""
        return self._stream.peer

    @property
    def local(self) -> Address:
        """This end."""
        return self._stream.local

    @property
    def closed(self) -> bool:
        """Whether this end has been closed, by ``close()`` or after a failure."""
        return self._closed

    def request(self, message: BytesLike, timeout: float | None = None) -> bytes:
        """Send ``message`` and return the reply to it.

        Several threads may do so; each gets its own reply. The timeout, in seconds,
        is for the whole exchange, the wait for its turn included. Raises
        TimeLimitError, ConnectionClosed, ServerBusy, FramingError, UsageError.
        """
        return self._request(message, *self._deadline(timeout))

    def _request(self, message: BytesLike, seconds: float | None, deadline: float | None) -> bytes:
        with self._turn(self._exchange, seconds, deadline):
            self._send(message, seconds, deadline)
            try:
                return self._receive("reply", seconds, deadline)
            except BaseException:
                # Whatever it was, Ctrl-C too: the reply may yet come, and would answer
                # the next request.
                self.close()
                raise

    def send(self, message: BytesLike, timeout: float | None = None) -> None:
        """Send ``message``, waiting for nothing but room to send it.

        Many sends without a receive fill both ends' buffers and block; use
        :meth:`pipeline`, or receive in another thread.
        """
        self._send(message, *self._deadline(timeout))

    def receive(self, timeout: float | None = None) -> bytes:
        """The next message; a timeout loses nothing, so it may be called again.

        Raises ConnectionClosed when the server has ended its side.
        """
        return self._receive("message", *self._deadline(timeout))

    def __iter__(self) -> Iterator[bytes]:
        """The messages to come, however long they take; ends when the server does."""
        while True:
            try:
                message = self._receive("message", None, None)
            except ConnectionClosed:
                return
            yield message

    def pipeline(
        self,
        messages: Iterable[BytesLike],
        *,
        window: int = limits.PIPELINE_WINDOW.whole,
        timeout: float | None = None,
    ) -> Generator[bytes, None, None]:
        """Send many messages without waiting for each reply; yields the replies in order.

        ``messages`` is consumed by a helper thread, so it may block: replies are
        yielded as they come all the same. At most ``window`` messages [1,024] are
        unanswered, and 1 MiB unsent; memory stays bounded however many there are.
        ``timeout``: seconds to wait for a reply that is due.

        What ``messages`` raises is raised here, after the replies to what it gave
        before. A pipeline that fails or is left before its end closes the client,
        since replies are still on their way.
        """
        return self._each(self.pipeline_batches(messages, window=window, timeout=timeout))

    def pipeline_batches(
        self,
        messages: Iterable[BytesLike],
        *,
        window: int = limits.PIPELINE_WINDOW.whole,
        timeout: float | None = None,
        half_close: bool = False,
    ) -> Generator[list[bytes], None, None]:
        """Like :meth:`pipeline`, yielding lists: the replies that came together.

        ``half_close`` ends this side after the last message, and yields what comes
        until the server ends its own: for services that do not answer one to one.
        """
        limits.PIPELINE_WINDOW.check_whole(window)
        self._deadline(timeout)  # a wrong one fails here, not when the first reply is asked for
        return self._run_pipeline(messages, window, timeout, half_close)

    @staticmethod
    def _each(batches: Generator[list[bytes], None, None]) -> Generator[bytes, None, None]:
        with contextlib.closing(batches):
            for batch in batches:
                yield from batch

    def _run_pipeline(
        self,
        messages: Iterable[BytesLike],
        window: int,
        timeout: float | None,
        half_close: bool,
    ) -> Generator[list[bytes], None, None]:
        seconds, deadline = self._deadline(timeout)
        with (
            self._turn(self._exchange, seconds, deadline),
            self._turn(self._send_lock, seconds, deadline),
            self._turn(self._receive_lock, seconds, deadline),
            self._using(),
        ):
            pipeline = Pipeline(self._stream, self._codec, window, seconds, half_close)
            busy = self._busy_reply
            done = False
            try:
                for batch in pipeline.run(messages):
                    if busy is not None and busy in batch:
                        if before := batch[: batch.index(busy)]:
                            yield before
                        raise ServerBusy(busy)
                    yield batch
                done = True
            except ConnectionClosed as error:
                if self._closed:  # from here, and not by the server
                    raise self._lost() from error
                if (refusal := self._refusal()) is not None:
                    raise refusal from error
                raise
            finally:
                if not done:
                    self.close()

    def close(self) -> None:
        """Close the connection; from any thread, any number of times.

        A thread that waits in another method gets ConnectionClosed.
        """
        with self._state_lock:
            if self._closed:
                return
            self._closed = True
            self._stream.shutdown()
            self._free_if_unused()

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
        return f"<Client {self.local} to {self.peer}{' closed' if self._closed else ''}>"

    # Inner workings.

    def _deadline(self, timeout: float | None) -> tuple[float | None, float | None]:
        """The seconds that count, and when they will be over on the monotonic clock."""
        if timeout is not None and timeout < 0:
            raise UsageError(f"timeout must be 0 or more seconds, not {timeout!r}")
        seconds = self._timeout if timeout is None else timeout
        return seconds, None if seconds is None else time.monotonic() + seconds

    @contextlib.contextmanager
    def _turn(
        self, lock: threading.Lock, seconds: float | None, deadline: float | None
    ) -> Iterator[None]:
        left = -1.0 if deadline is None else max(0.0, deadline - time.monotonic())
        # Clipped: a lock takes no more seconds than fit the system's counter.
        if not lock.acquire(timeout=min(left, threading.TIMEOUT_MAX)):
            raise TimeLimitError("turn on the connection", seconds or 0.0)
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        with self._state_lock:
            if self._closed:
                raise ConnectionClosed(CloseReason.HANDLER_CLOSED)
            self._users += 1
        try:
            yield
        finally:
            with self._state_lock:
                self._users -= 1
                self._free_if_unused()

    def _free_if_unused(self) -> None:
        """State lock held."""
        if self._closed and not self._users:
            self._stream.close()

    def _send(self, message: BytesLike, seconds: float | None, deadline: float | None) -> None:
        require_bytes(message)
        data = self._codec.encode(bytes(message))
        with self._turn(self._send_lock, seconds, deadline), self._using():
            try:
                self._stream.write(data, None, math.inf if deadline is None else deadline)
            except BaseException as error:
                lost = self._lost()
                refusal: ServerBusy | None = None
                # Where another thread receives, it comes upon the refusal itself.
                if isinstance(error, OSError) and self._receive_lock.acquire(blocking=False):
                    try:
                        refusal = self._refusal()
                    finally:
                        self._receive_lock.release()
                self.close()  # part of the message may be on its way
                if refusal is not None:
                    raise refusal from error
                if isinstance(error, TimeLimitError):
                    raise TimeLimitError("room to send a message", seconds or 0.0) from None
                if isinstance(error, OSError):
                    raise lost from error
                raise

    def _receive(self, what: str, seconds: float | None, deadline: float | None) -> bytes:
        with self._turn(self._receive_lock, seconds, deadline), self._using():
            try:
                while (message := self._codec.next_message()) is None:
                    if self._ended:
                        by = CloseReason.HANDLER_CLOSED if self._closed else CloseReason.PEER_CLOSED
                        raise ConnectionClosed(by)
                    if not self._read(deadline):
                        raise TimeLimitError(what, seconds or 0.0)
            except (FramingError, TlsError):
                self.close()
                raise
            except OSError as error:
                if isinstance(error, TimeLimitError):
                    raise
                lost = self._lost()
                self.close()
                raise lost from error
            if message == self._busy_reply:
                self.close()
                raise ServerBusy(message)
            return message

    def _read(self, deadline: float | None) -> bool:
        """Receive lock held: one read; ``False`` when the deadline has passed."""
        data = self._stream.read_until(self._settle_time.before(deadline, time.monotonic))
        if data:
            self._codec.feed(data)
        elif data is not None:
            self._ended = True
            if not self._closed:  # else the half of a message is nobody's fault
                self._codec.end()
        elif deadline is not None and time.monotonic() >= deadline:
            return False
        else:
            self._codec.settle()
        return True

    def _refusal(self) -> ServerBusy | None:
        """Receive lock held: the server's busy reply, if it is among what has arrived.

        For a connection that has broken: a server that refuses does not wait to be asked.
        """
        if self._busy_reply is None:
            return None
        ended = False
        try:
            while True:
                while (message := self._codec.next_message()) is not None:
                    if message == self._busy_reply:
                        return ServerBusy(message)
                if ended or (data := self._stream.read_nowait()) is None:
                    return None
                if data:
                    self._codec.feed(data)
                else:
                    ended = True
                    self._codec.end()
        except (FramingError, OSError, TlsError):
            return None  # what has broken the connection is told

    def _reusable(self) -> bool:
        """Whether the next message would be the answer to the next request.

        Asked by a pool, which lends the client to one thread at a time: it has to be open
        and silent. Does not wait, and may lose what it finds.
        """
        try:
            with self._receive_lock, self._using():
                return not self._codec.unread and self._stream.read_nowait() is None
        except (ThreadwireError, OSError):
            return False

    def _lost(self) -> ConnectionClosed:
        """What an error of the socket means."""
        closed_here = self._closed
        return ConnectionClosed(
            CloseReason.HANDLER_CLOSED if closed_here else CloseReason.PEER_RESET
        )
