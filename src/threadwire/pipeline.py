"""Many requests under way at once, in bounded memory, without a deadlock.

A client that only sends while its server only answers fills both ends' buffers, and
then both wait for ever. So one thread here does all the I/O and never blocks in a
write: the caller's, inside the generator. A second one, the feeder, does nothing
but take messages from the source, which may block as it likes, encode them and put
them into the outbox.

Shared state, all under ``_lock``: the outbox and its size, how many messages are
unanswered, whether the source has come to its end and with what, whether the
caller has left, and whether it sleeps. The feeder waits for room in the window or
the outbox; the caller, before it sleeps with an empty outbox, says so, and then the
feeder wakes it through a pipe.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator

from .errors import CloseReason, ConnectionClosed, FramingError, TimeLimitError
from .framing import BytesLike, Codec, require_bytes
from .framing.codec import SettleTime
from .limits import LINGER_TIMEOUT, PIPELINE_BYTES
from .transport import Stream

_CHUNK = 256 << 10  # bytes offered to the system at a time


class Pipeline:
    """One run of :meth:`threadwire.Client.pipeline`; the caller holds the client's locks."""

    def __init__(
        self,
        stream: Stream,
        codec: Codec,
        window: int,
        timeout: float | None,
        half_close: bool,
    ) -> None:
        self._stream = stream
        self._codec = codec
        self._settle_time = SettleTime(codec)
        self._window = window
        self._timeout = timeout
        self._half_close = half_close
        self._lock = threading.RLock()  # reentrant: the collector may end a dropped generator
        self._room = threading.Condition(self._lock)
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._unanswered = 0
        self._source_ended = False
        self._source_error: BaseException | None = None
        self._left = False
        self._asleep = False
        self._violation: FramingError | None = None  # the caller's thread
        self._wake_reader, self._wake_writer = -1, -1

    def run(self, messages: Iterable[BytesLike]) -> Iterator[list[bytes]]:
        """Yield the replies, those that came together in one list."""
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        feeder = threading.Thread(
            target=self._feed, args=(messages,), name="threadwire-pipeline", daemon=True
        )
        try:
            feeder.start()
            yield from self._pump()
        finally:
            with self._lock:
                self._left = True
                self._room.notify()
                os.close(self._wake_reader)
                os.close(self._wake_writer)
        if self._source_error is not None:
            raise self._source_error

    # The feeder's thread.

    def _feed(self, messages: Iterable[BytesLike]) -> None:
        error: BaseException | None = None
        try:
            for message in messages:
                require_bytes(message)
                if not self._put(self._codec.encode(bytes(message))):
                    return
        except BaseException as caught:  # noqa: BLE001 - raised again in the caller's thread
            error = caught
        finally:
            with self._lock:
                self._source_ended, self._source_error = True, error
                self._wake()

    def _put(self, data: bytes) -> bool:
        """Wait for room and add to the outbox; ``False`` when the caller has left."""
        with self._lock:
            while not self._left and (
                self._unanswered >= self._window or self._outbox_bytes >= PIPELINE_BYTES.whole
            ):
                self._room.wait()
            if self._left:
                return False
            self._unanswered += 1
            self._outbox.append(data)
            self._outbox_bytes += len(data)
            self._wake()
            return True

    def _wake(self) -> None:
        """Lock held: wake the caller if it sleeps; at most one byte is in the pipe."""
        if self._asleep and not self._left:
            self._asleep = False
            os.write(self._wake_writer, b"\0")

    # The caller's thread.

    def _pump(self) -> Iterator[list[bytes]]:
        stream = self._stream
        sending = memoryview(b"")
        progress = time.monotonic()
        half_closed = False
        while True:
            if not sending:
                sending = memoryview(self._take_outbox())
            if sending and (sent := self._send(sending[:_CHUNK])):
                sending = sending[sent:]
                progress = time.monotonic()
            replies, ended = self._receive()
            if replies:
                progress = time.monotonic()
                yield replies
            with self._lock:
                idle = not self._outbox and not sending
                finished = self._source_ended and idle
                due = bool(self._unanswered) or not idle
            if self._violation is not None:
                raise self._violation
            if ended:
                if due or not finished:
                    raise ConnectionClosed(CloseReason.PEER_CLOSED)
                return
            if finished and self._half_close and not half_closed:
                stream.shutdown_write()
                half_closed = True
            if finished and not due and not half_closed:
                return
            if not replies and not self._sleep(
                progress, writing=bool(sending), due=due, finished=finished, half_closed=half_closed
            ):
                return

    def _send(self, data: memoryview) -> int:
        try:
            return self._stream.write_nowait(data)
        except OSError as error:
            raise ConnectionClosed(CloseReason.PEER_RESET) from error

    def _take_outbox(self) -> bytes:
        with self._lock:
            data = b"".join(self._outbox)
            self._outbox.clear()
            self._outbox_bytes = 0
            self._room.notify()
        return data

    def _receive(self) -> tuple[list[bytes], bool]:
        """The replies that are there now, and whether the server has ended its side."""
        codec = self._codec
        try:
            data = self._stream.read_nowait()
        except OSError as error:
            raise ConnectionClosed(CloseReason.PEER_RESET) from error
        if data:
            codec.feed(data)
        elif data is not None:
            codec.end()
        replies = []
        try:
            while (reply := codec.next_message()) is not None:
                replies.append(reply)
        except FramingError as error:
            self._violation = error  # raised once the replies before it have been given
        if replies:
            with self._lock:
                # A handler may give several replies to a message.
                self._unanswered = max(0, self._unanswered - len(replies))
                self._room.notify()
        return replies, data == b""

    def _sleep(
        self, progress: float, *, writing: bool, due: bool, finished: bool, half_closed: bool
    ) -> bool:
        """Wait until there is something to do; ``False`` if nothing more can be expected.

        The flags are what the caller last saw. Whatever the feeder has done since, it has
        done before this takes the lock, and is looked at here, or it will find ``_asleep``.
        """
        with self._lock:
            # What came into the outbox since is sent first, unless something waits before it.
            if not writing and (self._outbox or self._source_ended != finished):
                return True
            self._asleep = not writing
        now = time.monotonic()
        # When all is answered, what is still to come is more than was asked for.
        limit = LINGER_TIMEOUT.default if half_closed else None
        if due:
            limit = self._timeout
        deadline = None if limit is None else progress + limit
        until = self._settle_time.before(deadline, time.monotonic)
        left = None if until is None else until - now
        ready = self._stream.wait(left, readable=True, writable=writing, wake=self._wake_reader)
        with self._lock:
            self._asleep = False
        # Nothing to read: the feeder found this thread awake.
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_reader, 16)
        if any(ready):
            return True
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            if due:
                raise TimeLimitError("reply", limit or 0.0)
            return False
        if until is not None and now >= until:
            self._codec.settle()
        return True
