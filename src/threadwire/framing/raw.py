"""No framing at all, and the guess between that and lines."""

from __future__ import annotations

from collections import deque

from ..errors import UsageError
from ..limits import MAX_MESSAGE
from .codec import Codec, Framing
from .delimited import Lines

__all__ = ["Auto", "Raw"]


class Raw(Framing):
    """What one read returns is a message, as in the classic exercise.

    Where the bytes are cut is the network's choice, so a message can be half of
    what the peer sent, or several sends glued together. A read larger than
    ``max_message`` is cut into pieces of that size.
    """

    __slots__ = ()

    def codec(self, max_message: int = MAX_MESSAGE.whole) -> Codec:
        return _RawCodec(max_message)

    def __str__(self) -> str:
        return "raw"


class Auto(Framing):
    """Lines or raw, decided once a connection from its first bytes.

    A newline in them, or within ``patience`` seconds of them [0.01], means
    :class:`Lines`; none means :class:`Raw`. So a program that ends its messages
    with newlines and one that does not are both served without a setting. Since
    the peer is as likely a person as a program, a last line without its newline
    is answered too.

    What is encoded before the decision is encoded as lines.
    """

    __slots__ = ("patience",)

    def __init__(self, patience: float = 0.010) -> None:
        given: object = patience
        if isinstance(given, bool) or not isinstance(given, int | float) or not given >= 0:
            raise UsageError(f"patience must be 0 or more seconds, not {given!r}")
        self.patience = patience

    def codec(self, max_message: int = MAX_MESSAGE.whole) -> Codec:
        return _AutoCodec(max_message, self.patience)

    def __str__(self) -> str:
        return "auto"


class _RawCodec(Codec):
    __slots__ = ("_chunks", "_limit", "_unread")

    def __init__(self, max_message: int) -> None:
        self._limit = max_message
        self._chunks: deque[bytes] = deque()
        self._unread = 0

    def feed(self, data: bytes) -> None:
        limit = self._limit
        self._unread += len(data)
        if 0 < len(data) <= limit:
            self._chunks.append(bytes(data))
        else:
            self._chunks.extend(bytes(data[i : i + limit]) for i in range(0, len(data), limit))

    def end(self) -> None:
        """A raw stream may end anywhere."""

    def next_message(self) -> bytes | None:
        if not self._chunks:
            return None
        message = self._chunks.popleft()
        self._unread -= len(message)
        return message

    def encode(self, message: bytes) -> bytes:
        return bytes(message)

    @property
    def unread(self) -> int:
        return self._unread


class _AutoCodec(Codec):
    """Holds the first bytes until they decide, then hands everything to the codec chosen."""

    __slots__ = ("_chosen", "_held", "_limit", "_lines", "_patience")

    def __init__(self, max_message: int, patience: float) -> None:
        self._limit = max_message
        self._patience = patience
        self._lines = Lines(unterminated=True).codec(max_message)
        self._chosen: Codec | None = None
        self._held = bytearray()

    def feed(self, data: bytes) -> None:
        if self._chosen is not None:
            self._chosen.feed(data)
            return
        self._held += data
        if b"\n" in data:
            self._choose(self._lines)
        elif len(self._held) > self._limit:
            self.settle()

    def end(self) -> None:
        self.settle()
        if self._chosen is not None:
            self._chosen.end()

    def next_message(self) -> bytes | None:
        return None if self._chosen is None else self._chosen.next_message()

    def encode(self, message: bytes) -> bytes:
        return (self._chosen or self._lines).encode(message)

    @property
    def unread(self) -> int:
        return len(self._held) if self._chosen is None else self._chosen.unread

    @property
    def patience(self) -> float | None:
        return self._patience if self._held else None

    def settle(self) -> None:
        if self._chosen is None and self._held:
            self._choose(Raw().codec(self._limit))

    def _choose(self, codec: Codec) -> None:
        codec.feed(bytes(self._held))
        self._held.clear()
        self._chosen = codec
