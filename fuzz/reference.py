"""What each framing means, said once more in the plainest way: from the whole stream at once.

Slow, and with no thought of chunks, of memory or of who asks when; to be compared with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from threadwire import (
    Auto,
    Delimited,
    Framing,
    FramingError,
    LengthPrefixed,
    Lines,
    MalformedMessage,
    MessageTooLarge,
    Netstring,
    Raw,
    TruncatedMessage,
)

__all__ = ["Decoded", "Fed", "decode", "overhead"]


class Fed(NamedTuple):
    """A piece of the stream, and whether time went by behind it, so that who must guess does."""

    chunk: bytes
    settling: bool = False


class Decoded(NamedTuple):
    """What a stream comes to.

    ``ends`` says of each message how many bytes of the stream have to be there for it, in
    rising order; one that needs the stream's end has a byte more than there are.
    ``violation`` is its class and place, ``None`` if the stream breaks no rule.
    """

    messages: list[bytes]
    ends: list[int]
    violation: tuple[type[FramingError], int] | None


class _Stopped(Exception):
    """No further message: ``None``, or the class of the violation."""

    def __init__(self, violation: type[FramingError] | None) -> None:
        self.violation = violation


# From a place in the stream: the message that begins there, and where it ends.
_Rule = Callable[[int], tuple[bytes, int]]


def decode(framing: Framing, limit: int, fed: Sequence[Fed]) -> Decoded:
    """What becomes of a stream that came in these pieces and has ended."""
    stream = b"".join(piece.chunk for piece in fed)
    if isinstance(framing, Raw):
        return _raw([piece.chunk for piece in fed], limit)
    if isinstance(framing, Auto):
        return _auto(fed, limit)
    return _repeat(_rule(framing, stream, limit))


def overhead(framing: Framing, limit: int) -> int:
    """How many bytes more than ``max_message`` a codec may hold that has no whole message."""
    match framing:
        case Lines() | Auto():
            return 1  # the CR of CRLF
        case Delimited():
            return len(framing.delimiter) - 1
        case LengthPrefixed():
            return framing.offset + framing.size
        case Netstring():
            return len(str(limit)) + 1  # the length and its colon; the comma completes it
        case _:
            return 0


def _rule(framing: Framing, stream: bytes, limit: int) -> _Rule:
    match framing:
        case Lines():
            return lambda at: _line(stream, at, limit, unterminated=framing.unterminated)
        case Delimited():
            return lambda at: _delimited(stream, at, limit, framing.delimiter)
        case LengthPrefixed():
            return lambda at: _length_prefixed(stream, at, limit, framing)
        case Netstring():
            return lambda at: _netstring(stream, at, limit)
        case _:
            raise AssertionError(f"no reference for {framing}")


def _repeat(rule: _Rule) -> Decoded:
    decoded = Decoded([], [], None)
    at = 0
    while True:
        try:
            message, end = rule(at)
        except _Stopped as stopped:
            violation = None if stopped.violation is None else (stopped.violation, at)
            return decoded._replace(violation=violation)
        decoded.messages.append(message)
        decoded.ends.append(end)
        at = end


def _cut_short(stream: bytes, at: int) -> _Stopped:
    return _Stopped(TruncatedMessage if at < len(stream) else None)


def _line(stream: bytes, at: int, limit: int, *, unterminated: bool) -> tuple[bytes, int]:
    end = stream.find(b"\n", at)
    line = (stream[at:] if end < 0 else stream[at:end]).removesuffix(b"\r")
    if len(line) > limit and end >= 0:
        raise _Stopped(MessageTooLarge)
    if end >= 0:
        return line, end + 1
    rest = stream[at:]
    if len(rest) > limit + (not unterminated):
        raise _Stopped(MessageTooLarge)
    if rest and unterminated:
        return rest, len(stream) + 1  # only when the stream has ended
    raise _cut_short(stream, at)


def _delimited(stream: bytes, at: int, limit: int, delimiter: bytes) -> tuple[bytes, int]:
    end = stream.find(delimiter, at)
    size = (len(stream) - len(delimiter) + 1 if end < 0 else end) - at
    if size > limit:
        raise _Stopped(MessageTooLarge)
    if end < 0:
        raise _cut_short(stream, at)
    return stream[at:end], end + len(delimiter)


def _length_prefixed(
    stream: bytes, at: int, limit: int, framing: LengthPrefixed
) -> tuple[bytes, int]:
    field, body = at + framing.offset, at + framing.offset + framing.size
    if len(stream) < body:
        raise _cut_short(stream, at)
    length = int.from_bytes(stream[field:body], framing.byteorder)
    after = length - (body - at if framing.inclusive else 0)
    if after < 0:
        raise _Stopped(MalformedMessage)
    if framing.offset + after > limit:
        raise _Stopped(MessageTooLarge)
    if len(stream) < body + after:
        raise _cut_short(stream, at)
    return stream[at:field] + stream[body : body + after], body + after


def _netstring(stream: bytes, at: int, limit: int) -> tuple[bytes, int]:
    found = re.compile(rb"[0-9]*").match(stream, at)
    assert found is not None
    digits = found[0]
    if len(digits) > 1 and digits.startswith(b"0"):
        raise _Stopped(MalformedMessage)
    if len(digits) > 20 or (digits and int(digits) > limit):
        raise _Stopped(MessageTooLarge)
    colon = at + len(digits)
    if colon == len(stream):
        raise _cut_short(stream, at)
    if stream[colon : colon + 1] != b":" or not digits:
        raise _Stopped(MalformedMessage)
    comma = colon + 1 + int(digits)
    if comma >= len(stream):
        raise _cut_short(stream, at)
    if stream[comma : comma + 1] != b",":
        raise _Stopped(MalformedMessage)
    return stream[colon + 1 : comma], comma + 1


def _raw(pieces: Sequence[bytes], limit: int) -> Decoded:
    decoded = Decoded([], [], None)
    end = 0
    for piece in pieces:
        for begin in range(0, len(piece), limit):
            message = piece[begin : begin + limit]
            end += len(message)
            decoded.messages.append(message)
            decoded.ends.append(end)
    return decoded


def _auto(fed: Sequence[Fed], limit: int) -> Decoded:
    first = b""
    for number, (chunk, settling) in enumerate(fed, 1):
        first += chunk
        later = [piece.chunk for piece in fed[number:]]
        if b"\n" in chunk:
            return decode(Lines(unterminated=True), limit, [Fed(first), *map(Fed, later)])
        if len(first) > limit or (settling and first):
            return _raw([first, *later], limit)
    return _raw([first], limit)
