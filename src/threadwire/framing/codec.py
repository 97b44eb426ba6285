"""What every framing is made of: a description, and a codec for each connection.

A :class:`Framing` says how messages lie in a byte stream. It is an immutable
value that any number of connections share. Its :meth:`~Framing.codec` makes a
:class:`Codec`, which holds what one connection's stream needs: the bytes that
are not yet a whole message.

Codecs do no I/O, know no clock and belong to one thread at a time; only
``encode`` may be called by another thread beside the owner.

Rules that every codec keeps:

- *Incomplete input is a value.* ``next_message()`` returns ``None`` until a
  whole message is there; only a violation raises, and it raises again however
  often it is asked.
- *No rescanning.* A byte is searched once, whatever the chunking; the bytes of a
  message are moved a bounded number of times.
- *The limit comes first.* A message larger than ``max_message`` is refused when
  that can be known, at the latest one chunk after the limit was passed. A
  message of exactly ``max_message`` bytes is allowed; the framing's own bytes do
  not count.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from ..errors import FramingError, TruncatedMessage, UsageError
from ..limits import MAX_MESSAGE
from ..value import Value

__all__ = ["BufferedCodec", "BytesLike", "Codec", "Framing", "SettleTime", "require_bytes"]

BytesLike: TypeAlias = bytes | bytearray | memoryview
"""What may be sent as a message; what is received is always ``bytes``."""


class Framing(Value, ABC):
    """How messages lie in a byte stream; compare, hash and share it freely."""

    __slots__: tuple[str, ...] = ()

    @abstractmethod
    def codec(self, max_message: int = MAX_MESSAGE.whole) -> Codec:
        """A new codec, for one connection.

        ``max_message``: the most bytes a received message may have [1 MiB].
        """

    @abstractmethod
    def __str__(self) -> str:
        """The framing as ``--framing`` takes it, as far as that can say it."""


class Codec(ABC):
    """One connection's decoder and encoder."""

    __slots__ = ()

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the peer, cut anywhere."""

    @abstractmethod
    def end(self) -> None:
        """Take note that the peer will send no more."""

    @abstractmethod
    def next_message(self) -> bytes | None:
        """The next whole message, or ``None`` if more bytes are needed.

        Raises :class:`~threadwire.FramingError` at a violation, after all the
        messages before it have been returned.
        """

    def only_message(self, data: bytes) -> bytes | None:
        """The message, if ``data`` is exactly one whole message and nothing is unread.

        Equivalent to ``feed(data)``, ``next_message()`` and a ``next_message()`` that
        returns ``None``, in one call: a short cut for the most frequent case. Otherwise
        ``None``, with nothing changed; then ``feed(data)``, which also tells what is
        wrong with it. A codec without a short cut always returns ``None``.
        """
        return None

    def messages(self, data: bytes) -> list[bytes]:
        """Feed ``data``, and return all the messages that are whole by now.

        A violation after them is raised by the next :meth:`next_message`.
        """
        self.feed(data)
        found: list[bytes] = []
        try:
            while (message := self.next_message()) is not None:
                found.append(message)
        except FramingError:
            pass  # it is raised again, however often it is asked for
        return found

    @abstractmethod
    def encode(self, message: bytes) -> bytes:
        """``message`` with its framing, ready to be sent.

        Raises :class:`~threadwire.UnencodableMessage` if the peer could not read
        it back as the same message.
        """

    def encode_all(self, messages: list[bytes]) -> bytes:
        """All of ``messages`` with their framing, one behind the other; raises as ``encode``."""
        return b"".join(map(self.encode, messages))

    @property
    @abstractmethod
    def unread(self) -> int:
        """Bytes fed that are not yet part of a returned message."""

    @property
    def patience(self) -> float | None:
        """Seconds, from the first bytes, after which the owner must call :meth:`settle`.

        ``None``, the rule, when bytes alone decide. A framing that must guess
        asks this way for the passage of time, since it has no clock itself.
        """
        return None

    def settle(self) -> None:  # noqa: B027 - most codecs have nothing to settle
        """Decide with what has come so far: :attr:`patience` seconds went by."""


class SettleTime:
    """When a codec that has to guess must do so. Its owner has the clock; time is an argument."""

    __slots__ = ("_at", "_codec")

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._at: float | None = None

    def before(self, deadline: float | None, clock: Callable[[], float]) -> float | None:
        """The time by which to stop waiting for bytes: ``deadline``, or sooner to settle."""
        patience = self._codec.patience
        if patience is None:
            return deadline
        if self._at is None:
            self._at = clock() + patience
        return self._at if deadline is None else min(deadline, self._at)


class BufferedCodec(Codec):
    """A codec over one buffer: what the length- and delimiter-based ones share.

    ``_buffer[_start:]`` is what is unread. Mostly the buffer is ``bytes``, from which
    messages are cut fastest: the very object that was fed, uncopied, or, where less was
    unread than is fed, both joined. Only where more is unread does it become a
    ``bytearray``, which grows in amortised constant time a byte. Its used part is cut off
    when it outweighs the rest. So the moving stays linear, whatever the chunking.

    Where the buffer is empty, nothing is known about an unfinished message either.
    """

    __slots__ = ("_buffer", "_ended", "_limit", "_passed", "_start")

    def __init__(self, max_message: int) -> None:
        self._limit = max_message
        self._buffer: bytes | bytearray = b""
        self._start = 0  # index in _buffer of the first unread byte
        self._passed = 0  # bytes of the stream before _buffer[0]
        self._ended = False

    def feed(self, data: bytes) -> None:
        buffer, start = self._buffer, self._start
        unread = len(buffer) - start
        if not unread:
            self._passed += start
            self._buffer, self._start = bytes(data), 0  # no copy where data is bytes
        elif isinstance(buffer, bytearray):
            if start > unread:
                self._passed += start
                self._start = 0
                del buffer[:start]
            buffer += data
        elif unread <= len(data):
            self._passed += start
            self._buffer, self._start = b"".join((memoryview(buffer)[start:], data)), 0
        else:
            self._passed += start
            self._start = 0
            self._buffer = bytearray(memoryview(buffer)[start:])
            self._buffer += data

    def end(self) -> None:
        self._ended = True

    @property
    def unread(self) -> int:
        return len(self._buffer) - self._start

    def hand_over(self) -> bytes:
        """The bytes that are unread, for another codec; this one is of no more use."""
        return self._cut(self._start, len(self._buffer))

    @property
    def _position(self) -> int:
        """Where in the stream the message that is being read begins."""
        return self._passed + self._start

    def _cut(self, begin: int, end: int) -> bytes:
        """``_buffer[begin:end]`` as bytes, copied once."""
        buffer = self._buffer
        if isinstance(buffer, bytes):
            return buffer[begin:end]
        return bytes(memoryview(buffer)[begin:end])

    def _incomplete(self, unread: int) -> None:
        """No whole message is there: a value, or, at the end of the stream, a violation.

        What is used up is let go of here, once a read instead of once a message, so that
        a peer that now falls silent costs no more than what it left unfinished.
        """
        start = self._start
        if not unread:
            self._passed += start
            self._buffer, self._start = b"", 0
        elif self._ended:
            raise TruncatedMessage(unread, self._position)
        elif start > unread:
            self._passed += start
            self._buffer, self._start = self._cut(start, start + unread), 0


def require_bytes(message: object) -> None:
    """Raise the caller's error unless ``message`` can be encoded."""
    if not isinstance(message, bytes | bytearray | memoryview):
        hint = "; encode text first, as in text.encode()" if isinstance(message, str) else ""
        raise UsageError(f"a message must be bytes, not {type(message).__name__}{hint}")
