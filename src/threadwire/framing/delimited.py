"""Messages that end with a delimiter: lines, and any other sequence of bytes."""

from __future__ import annotations

from ..errors import MessageTooLarge, UnencodableMessage, UsageError
from ..limits import MAX_MESSAGE
from .codec import BufferedCodec, Codec, Framing

__all__ = ["Delimited", "LineCodec", "Lines"]


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
        return LineCodec(max_message, self)

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

    __slots__ = ("_delimiter", "_searched")

    def __init__(self, max_message: int, delimiter: bytes) -> None:
        super().__init__(max_message)
        self._delimiter = delimiter
        self._searched = 0

    def next_message(self) -> bytes | None:
        buffer, start = self._buffer, self._start
        found = buffer.find(self._delimiter, start + self._searched)
        if found < 0:
            unread = len(buffer) - start
            slack = len(self._delimiter) - 1  # the last bytes may prove to be the delimiter's
            if unread - slack > self._limit:
                raise MessageTooLarge(self._limit, unread - slack, self._position)
            self._searched = max(0, unread - slack)
            self._incomplete(unread)
            return None
        if found - start > self._limit:
            raise MessageTooLarge(self._limit, found - start, self._position)
        self._start = found + len(self._delimiter)
        self._searched = 0
        return buffer[start:found] if type(buffer) is bytes else self._cut(start, found)

    def only_message(self, data: bytes) -> bytes | None:
        message, delimiter, rest = data.partition(self._delimiter)
        if rest or not delimiter or self._buffer or len(message) > self._limit:
            return None
        self._passed += len(data)
        return message

    def encode(self, message: bytes) -> bytes:
        framed = message + self._delimiter
        if framed.find(self._delimiter) != len(message):
            problem = "it contains the delimiter"
            if self._delimiter not in message:
                problem = "its end and the delimiter together hold an earlier delimiter"
            raise UnencodableMessage(
                f"framing delimited by {self._delimiter!r}", problem, len(message)
            )
        return framed


class LineCodec(BufferedCodec):
    """``_searched`` unread bytes are known to hold no newline."""

    __slots__ = ("_framing", "_searched")

    def __init__(self, max_message: int, framing: Lines) -> None:
        super().__init__(max_message)
        self._framing = framing
        self._searched = 0

    def next_message(self) -> bytes | None:
        buffer, start = self._buffer, self._start
        found = buffer.find(b"\n", start + self._searched)
        if found < 0:
            return self._without_newline()
        end = found
        if buffer[found - 1] == 13 and found > start:
            end -= 1
        if end - start > self._limit:
            raise MessageTooLarge(self._limit, end - start, self._position)
        self._start = found + 1
        self._searched = 0
        return buffer[start:end] if type(buffer) is bytes else self._cut(start, end)

    def only_message(self, data: bytes) -> bytes | None:
        message, newline, rest = data.partition(b"\n")
        if rest or not newline or self._buffer:
            return None
        if message and message[-1] == 13:
            message = message[:-1]
        if len(message) > self._limit:
            return None
        self._passed += len(data)
        return message

    def messages(self, data: bytes) -> list[bytes]:
        lines = data.split(b"\n")
        rest = lines.pop()
        buffer, start = self._buffer, self._start
        unread = len(buffer) - start
        if not lines or self._searched != unread or type(buffer) is not bytes:
            return super().messages(data)
        if unread:
            lines[0] = buffer[start:] + lines[0]
        if unread or 13 in data:
            lines = [line[:-1] if line and line[-1] == 13 else line for line in lines]
        # No line is longer than all of it, so mostly there is nothing to measure.
        if unread + len(data) > self._limit and max(map(len, lines)) > self._limit:
            return super().messages(data)
        self._passed += len(buffer) + len(data) - len(rest)
        self._buffer, self._start, self._searched = rest, 0, len(rest)
        return lines

    def encode(self, message: bytes) -> bytes:
        if 10 in message:  # a byte is found several times as fast as bytes are
            raise UnencodableMessage("lines", "it contains a newline", len(message))
        if message and message[-1] == 13:
            return message + b"\r\n"
        return message + self._framing.newline

    def encode_all(self, messages: list[bytes]) -> bytes:
        joined = b"".join(messages)
        if 10 in joined or 13 in joined:
            return super().encode_all(messages)
        newline = self._framing.newline
        return newline.join(messages) + newline if messages else b""

    def _without_newline(self) -> bytes | None:
        unread = self._searched = len(self._buffer) - self._start
        if unread - 1 > self._limit:  # the last byte may be the CR of the line's end
            raise MessageTooLarge(self._limit, unread - 1, self._position)
        if self._ended and self._framing.unterminated and unread:
            if unread > self._limit:
                raise MessageTooLarge(self._limit, unread, self._position)
            message = self._cut(self._start, self._start + unread)
            self._start += unread
            self._searched = 0
            return message
        self._incomplete(unread)
        return None
