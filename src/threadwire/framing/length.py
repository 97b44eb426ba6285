"""Messages preceded by their length: binary fields, and netstrings."""

from __future__ import annotations

from typing import Literal

from ..errors import MalformedMessage, MessageTooLarge, UnencodableMessage, UsageError
from ..limits import MAX_MESSAGE
from .codec import BufferedCodec, Codec, Framing

__all__ = ["LengthPrefixed", "Netstring"]


class LengthPrefixed(Framing):
    """Messages preceded by a binary length field.

    size
        The field's width in bytes, 1 to 8 [4].
    byteorder
        ``"big"`` (network order, the default) or ``"little"``.
    offset
        How many bytes stand before the field [0]. They belong to the message,
        which is what remains of the frame when the field is taken out; so a
        message to be sent has at least ``offset`` bytes.
    inclusive
        ``False`` (the default): the length counts the bytes that follow the
        field. ``True``: it counts the whole frame, the bytes before the field and
        the field itself included, as in TPKT (RFC 1006:
        ``LengthPrefixed(2, offset=2, inclusive=True)``) and BGP (RFC 4271:
        ``LengthPrefixed(2, offset=16, inclusive=True)``).
    """

    __slots__ = ("byteorder", "inclusive", "offset", "size")

    def __init__(
        self,
        size: int = 4,
        byteorder: Literal["big", "little"] = "big",
        offset: int = 0,
        inclusive: bool = False,
    ) -> None:
        if type(size) is not int or size not in range(1, 9):
            raise UsageError(f"size must be 1 to 8 bytes, not {size!r}")
        if byteorder not in ("big", "little"):
            raise UsageError(f"byteorder must be 'big' or 'little', not {byteorder!r}")
        if type(offset) is not int or offset < 0:
            raise UsageError(f"offset must be 0 or more bytes, not {offset!r}")
        self.size = size
        self.byteorder = byteorder
        self.offset = offset
        self.inclusive = inclusive

    def codec(self, max_message: int = MAX_MESSAGE.whole) -> Codec:
        return _LengthCodec(max_message, self)

    def __str__(self) -> str:
        parts = ["length", str(self.size), self.byteorder]
        if self.offset:
            parts.append(f"offset={self.offset}")
        if self.inclusive:
            parts.append("inclusive")
        return ":".join(parts)


class Netstring(Framing):
    """``5:hello,`` (D. J. Bernstein, https://cr.yp.to/proto/netstrings.txt).

    As that text rules, the length has no leading zeros and no sign, and the empty
    message is ``0:,``.
    """

    __slots__ = ()

    def codec(self, max_message: int = MAX_MESSAGE.whole) -> Codec:
        return _NetstringCodec(max_message)

    def __str__(self) -> str:
        return "netstring"


_from_bytes = int.from_bytes  # to look it up would take longer than to call it


class _LengthCodec(BufferedCodec):
    """``_frame`` is the length of the frame being read, 0 until its header has come."""

    __slots__ = ("_frame", "_framing", "_header")

    def __init__(self, max_message: int, framing: LengthPrefixed) -> None:
        super().__init__(max_message)
        self._framing = framing
        self._header = framing.offset + framing.size
        self._frame = 0

    def next_message(self) -> bytes | None:
        buffer, start = self._buffer, self._start
        unread = len(buffer) - start
        frame = self._frame
        if unread < (frame or self._header):
            self._incomplete(unread)
            return None
        if not frame:
            frame = self._read_header(start)
            if unread < frame:
                self._frame = frame
                self._incomplete(unread)
                return None
        body, end = start + self._header, start + frame
        message = buffer[body:end] if type(buffer) is bytes else self._cut(body, end)
        offset = self._framing.offset
        if offset:
            message = self._cut(start, start + offset) + message
        self._start = end
        self._frame = 0
        return message

    def only_message(self, data: bytes) -> bytes | None:
        framing, header, size = self._framing, self._header, len(data)
        if size < header or self._buffer or size - framing.size > self._limit:
            return None
        offset = framing.offset
        length = _from_bytes(data[offset:header], framing.byteorder)
        if size != (length if framing.inclusive else length + header):
            return None
        self._passed += size
        return data[:offset] + data[header:] if offset else data[header:]

    def encode(self, message: bytes) -> bytes:
        framing = self._framing
        offset = framing.offset
        after = len(message) - offset
        if after < 0:
            problem = f"it is shorter than the {offset} bytes before the length"
            raise UnencodableMessage("length-prefixed framing", problem, len(message))
        length = after + self._header if framing.inclusive else after
        try:
            field = length.to_bytes(framing.size, framing.byteorder)
        except OverflowError:
            problem = f"its length does not fit in {framing.size} bytes"
            raise UnencodableMessage("length-prefixed framing", problem, len(message)) from None
        if offset:
            return b"".join((message[:offset], field, message[offset:]))
        return field + message

    def _read_header(self, start: int) -> int:
        """The frame's length in bytes, found lawful."""
        framing, header = self._framing, self._header
        field = self._buffer[start + framing.offset : start + header]
        length = _from_bytes(field, framing.byteorder)
        frame = length if framing.inclusive else length + header
        if frame < header:
            problem = f"length {length} does not cover the header of {header} bytes"
            raise MalformedMessage(problem, self._position)
        if frame - framing.size > self._limit:
            raise MessageTooLarge(self._limit, frame - framing.size, self._position)
        return frame


class _NetstringCodec(BufferedCodec):
    """``_body`` and ``_comma`` are offsets from ``_start``, known when ``_comma`` is not 0."""

    __slots__ = ("_body", "_comma", "_digits")

    def __init__(self, max_message: int) -> None:
        super().__init__(max_message)
        self._digits = len(str(max_message))  # a longer number is larger, without being read
        self._body = 0
        self._comma = 0

    def next_message(self) -> bytes | None:
        buffer, start = self._buffer, self._start
        unread = len(buffer) - start
        if unread <= self._comma:
            self._incomplete(unread)
            return None
        if not self._comma and not (self._read_header(start) and unread > self._comma):
            self._incomplete(unread)
            return None
        body, end = start + self._body, start + self._comma
        if buffer[end] != 44:
            raise MalformedMessage("no comma after the netstring", self._position)
        self._start = end + 1
        self._comma = 0
        return buffer[body:end] if type(buffer) is bytes else self._cut(body, end)

    def only_message(self, data: bytes) -> bytes | None:
        digits, _, rest = data.partition(b":")
        length = len(rest) - 1
        if (
            length > self._limit
            or digits != b"%d" % length  # the one lawful way to write it
            or data[-1] != 44
            or self._buffer
        ):
            return None
        self._passed += len(data)
        return rest[:-1]

    def encode(self, message: bytes) -> bytes:
        return b"%d:%b," % (len(message), message)

    def _read_header(self, start: int) -> bool:
        """Whether the length has come whole; a number is at most ``_digits`` bytes long."""
        header = bytes(self._buffer[start : start + self._digits + 1])
        rest = header.lstrip(b"0123456789")
        digits = header[: len(header) - len(rest)]
        # In the order of the bytes, so that their chunking makes no difference.
        if len(digits) > 1 and digits.startswith(b"0"):
            raise MalformedMessage("a netstring's length has a leading zero", self._position)
        if len(digits) > self._digits or (digits and int(digits) > self._limit):
            raise MessageTooLarge(self._limit, int(digits), self._position)
        if not rest:
            return False
        if not rest.startswith(b":"):
            raise MalformedMessage("a netstring's length must be digits alone", self._position)
        if not digits:
            raise MalformedMessage("a netstring without a length", self._position)
        self._body = len(digits) + 1
        self._comma = self._body + int(digits)
        return True
