"""No framing at all, and the guess between that and lines."""

from __future__ import annotations

from collections import deque

from ..errors import UsageError
from ..limits import MAX_MESSAGE
from .codec import Codec, Framing
from .delimited import LineCodec, Lines

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
    """``_next`` is the next message, ``_later`` the rest: mostly there is none, and no queue."""

    __slots__ = ("_later", "_limit", "_next", "_unread")

    def __init__(self, max_message: int) -> None:
        self._limit = max_message
        self._next: bytes | None = None
        self._later: deque[bytes] | None = None
        self._unread = 0

    def feed(self, data: bytes) -> None:
        size, limit = len(data), self._limit
        if size <= limit and not self._unread:
            self._next = bytes(data) or None
        elif size:
            if self._later is None:
                self._later = deque()
            self._later.extend(bytes(data[i : i + limit]) for i in range(0, size, limit))
            if self._next is None:
                self._next = self._later.popleft()
        self._unread += size

    def end(self) -> None:
        """A raw stream may end anywhere."""

    def next_message(self) -> bytes | None:
        message = self._next
        if message is None:
            return None
        self._unread -= len(message)
        self._next = None
        if self._later is not None:
            self._next = self._later.popleft()
            if not self._later:
                self._later = None
        return message

    def only_message(self, data: bytes) -> bytes | None:
        return data if 0 < len(data) <= self._limit and not self._unread else None

    def encode(self, message: bytes) -> bytes:
        return bytes(message)

    @property
    def unread(self) -> int:
        return self._unread


class _AutoCodec(Codec):
    """Holds the first bytes as lines do, in ``_undecided``, until they decide.

    All else is up to ``_codec``, which is the same one until then, and what was chosen after.
    """

    __slots__ = ("_codec", "_limit", "_patience", "_undecided")

    def __init__(self, max_message: int, patience: float) -> None:
        self._limit = max_message
        self._patience = patience
        self._undecided: LineCodec | None = LineCodec(max_message, _LINES)
        self._codec: Codec = self._undecided

    def feed(self, data: bytes) -> None:
        self._codec.feed(data)
        if self._undecided is not None:
            if 10 in data:
                self._undecided = None
            elif self._codec.unread > self._limit:
                self.settle()

    def end(self) -> None:
        self.settle()
        self._codec.end()

    def next_message(self) -> bytes | None:
        return self._codec.next_message() if self._undecided is None else None

    def only_message(self, data: bytes) -> bytes | None:
        message = self._codec.only_message(data)
        if message is not None:
            self._undecided = None  # where nothing was decided, only a line is a message
        return message

    def messages(self, data: bytes) -> list[bytes]:
        if self._undecided is None:
            return self._codec.messages(data)
        return super().messages(data)

    def encode(self, message: bytes) -> bytes:
        return self._codec.encode(message)

    @property
    def unread(self) -> int:
        return self._codec.unread

    @property
    def patience(self) -> float | None:
        return self._patience if self._undecided is not None and self.unread else None

    def settle(self) -> None:
        undecided = self._undecided
        if undecided is not None and undecided.unread:
            raw = _RawCodec(self._limit)
            raw.feed(undecided.hand_over())
            self._codec = raw
            self._undecided = None


_LINES = Lines(unterminated=True)
