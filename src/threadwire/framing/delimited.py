"""Messages that end with a delimiter: lines, and any other sequence of bytes."""

from __future__ import annotations

from ..errors import MessageTooLarge, UnencodableMessage, UsageError
from ..limits import MAX_MESSAGE
from .codec import BufferedCodec, Codec, Framing

__all__ = ["Delimited", "Lines"]


class Lines(Framing):
    r"""Lines that end with LF or CRLF; the message is the line without its end.

    newline
        What ``encode`` ends lines with: ``b"\n"`` (the default) or ``b"\r\n"``.
        Both are always understood. A message that itself ends with CR is given
        CRLF, so that the peer does not take its last byte for the line's end.
    unterminated
        Whether bytes after the last newline, at the end of the stream, are a line
        too. ``False`` by default: a peer that vanished within a line sent half a
        command, and half of ``delete 100`` is ``delete 10``.
    """

    __slots__ = ("newline", "unterminated")

    def __init__(self, newline: bytes = b"\n", unterminated: bool = False) -> None:
        if newline not in (b"\n", b"\r\n"):
            raise UsageError(rf"newline must be b'\n' or b'\r\n', not {newline!r}")
        self.newline = newline
        self.unterminated = unterminated

    def codec(self, max_message: int = MAX_MESSAGE.whole) -> Codec:
        return _LineCodec(max_message, self)

    def __str__(self) -> str:
        return "lines" if self.newline == b"\n" else "lines:crlf"


class Delimited(Framing):
    """Messages that end with ``delimiter``, one or more bytes, which they may not contain."""

    __slots__ = ("delimiter",)

    def __init__(self, delimiter: bytes) -> None:
        given: object = delimiter
        if not isinstance(given, bytes) or not given:
            raise UsageError(f"delimiter must be one or more bytes, not {given!r}")
        self.delimiter = delimiter

    def codec(self, max_message: int = MAX_MESSAGE.whole) -> Codec:
        return _DelimiterCodec(max_message, self.delimiter)

    def __str__(self) -> str:
        return "delimited:" + repr(self.delimiter)[2:-1]


class _DelimiterCodec(BufferedCodec):
    """``_searched`` unread bytes are known to hold no beginning of a whole delimiter."""

    __slots__ = ("_delimiter", "_searched", "_slack")

    def __init__(self, max_message: int, delimiter: bytes) -> None:
        super().__init__(max_message)
        self._delimiter = delimiter
        self._searched = 0
        # How many unread bytes, past the limit, may yet prove to be the delimiter's.
        self._slack = len(delimiter) - 1

    def next_message(self) -> bytes | None:
        start = self._start
        found = self._buffer.find(self._delimiter, start + self._searched)
        if found < 0:
            unread = len(self._buffer) - start
            if unread > self._limit + self._slack:
                raise MessageTooLarge(self._limit, unread - self._slack, self._position)
            self._searched = max(0, unread - len(self._delimiter) + 1)
            return self._at_end()
        end = self._end_of_message(start, found)
        if end - start > self._limit:
            raise MessageTooLarge(self._limit, end - start, self._position)
        message = self._cut(start, end)
        self._start = found + len(self._delimiter)
        self._searched = 0
        return message

    def encode(self, message: bytes) -> bytes:
        framed = b"".join((message, self._delimiter))
        if framed.find(self._delimiter) != len(message):
            problem = "it contains the delimiter"
            if self._delimiter not in message:
                problem = "its end and the delimiter together hold an earlier delimiter"
            raise UnencodableMessage(
                f"framing delimited by {self._delimiter!r}", problem, len(message)
            )
        return framed

    def _end_of_message(self, _start: int, found: int) -> int:
        return found

    def _at_end(self) -> bytes | None:
        self._incomplete()
        return None


class _LineCodec(_DelimiterCodec):
    __slots__ = ("_newline", "_unterminated")

    def __init__(self, max_message: int, framing: Lines) -> None:
        super().__init__(max_message, b"\n")
        self._slack = 1  # a CR that may belong to the line's end
        self._newline = framing.newline
        self._unterminated = framing.unterminated

    def encode(self, message: bytes) -> bytes:
        if b"\n" in message:
            raise UnencodableMessage("lines", "it contains a newline", len(message))
        newline = b"\r\n" if message[-1:] == b"\r" else self._newline
        return b"".join((message, newline))

    def _end_of_message(self, start: int, found: int) -> int:
        if found > start and self._buffer[found - 1] == 13:  # CR
            return found - 1
        return found

    def _at_end(self) -> bytes | None:
        if self._ended and self._unterminated and self.unread:
            if self.unread > self._limit:
                raise MessageTooLarge(self._limit, self.unread, self._position)
            message = self._cut(self._start, len(self._buffer))
            self._start = len(self._buffer)
            return message
        self._incomplete()
        return None
