"""The framings: what a peer's stream is taken apart into, however it is cut."""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from threadwire import (
    Auto,
    Codec,
    Delimited,
    Framing,
    FramingError,
    LengthPrefixed,
    Lines,
    Netstring,
    Raw,
    UnencodableMessage,
)

from .inputs import BYTE_BY_BYTE, PLAN, Input, chunks
from .reference import Decoded, Fed, decode, overhead

__all__ = ["auto", "check", "delimited", "length_prefixed", "lines", "netstring", "raw"]

_LIMITS = (1 << 20, 10, 1, 2, 9, 64, 99, 100, 1000, 4096, 65536)
_TIMES = (1, 1, 1, 2, 20, 300, 1, 1)  # how often the stream is repeated
_FEW = 100  # bytes, that are fed one by one, too
_LONGEST = 1 << 15  # bytes of a stream, repeated or not


def lines(data: bytes) -> None:
    given = Input(data)
    framing = given.pick((Lines(), Lines(unterminated=True), Lines(newline=b"\r\n")))
    _check_rest(framing, given)


def delimited(data: bytes) -> None:
    given = Input(data)
    _check_rest(Delimited(given.take(1 + given.byte() % 5) or b"\0"), given)


def length_prefixed(data: bytes) -> None:
    given = Input(data)
    size = 1 + given.byte() % 8
    offset = given.pick((0, 0, 1, 2, 16, 100))
    flags = given.byte()
    byteorder: Literal["big", "little"] = "little" if flags & 1 else "big"
    _check_rest(LengthPrefixed(size, byteorder, offset, bool(flags & 2)), given)


def netstring(data: bytes) -> None:
    _check_rest(Netstring(), Input(data))


def raw(data: bytes) -> None:
    _check_rest(Raw(), Input(data))


def auto(data: bytes) -> None:
    _check_rest(Auto(), Input(data))


def _check_rest(framing: Framing, given: Input) -> None:
    limit, times = given.pick(_LIMITS), given.pick(_TIMES)
    plan = given.take(PLAN)
    check(framing, limit, plan, (given.rest() * times)[:_LONGEST])


def check(framing: Framing, limit: int, plan: bytes, stream: bytes) -> None:
    """Take ``stream`` apart whole and as ``plan`` says; raise for whatever is not as promised."""
    whole = decode(framing, limit, [Fed(stream)])
    at_once = [_Step(stream, only=False, at_once=True, taking=True, settling=False)]
    _History(framing, limit).follow(at_once, whole, short_cuts=True)
    steps = list(_steps(plan, stream, whole.ends))
    expected = decode(framing, limit, [Fed(step.chunk, step.settling) for step in steps])
    if not isinstance(framing, Raw | Auto):
        assert expected == whole, "how it is cut matters"
    plain, quick = _History(framing, limit), _History(framing, limit)
    plain.follow(steps, expected, short_cuts=False)
    quick.follow(steps, expected, short_cuts=True)
    assert quick.seen == plain.seen, "the short cuts take it apart otherwise"
    if len(stream) < _FEW:
        steps = list(_steps(BYTE_BY_BYTE, stream, ()))
        expected = decode(framing, limit, [Fed(step.chunk) for step in steps])
        _History(framing, limit).follow(steps, expected, short_cuts=False)
    _check_encoding(framing, limit, expected.messages)
    _check_message(framing, stream)


class _Step(NamedTuple):
    """One piece of the stream, and what its owner does with it.

    ``only`` and ``at_once`` say which short cut is taken, where any is; ``taking``, whether
    messages are asked for at all.
    """

    chunk: bytes
    only: bool
    at_once: bool
    taking: bool
    settling: bool


def _steps(plan: bytes, stream: bytes, marks: Sequence[int]) -> Iterator[_Step]:
    for chunk, code in chunks(plan, stream, marks):
        way = code >> 3 & 3
        only, at_once = way in (0, 1), way == 2
        taking = only or at_once or bool(code & 0x20)
        yield _Step(chunk, only, at_once, taking, settling=bool(code & 0x40))


class _History:
    """All that can be seen of a codec while a stream is taken apart."""

    def __init__(self, framing: Framing, limit: int) -> None:
        self.seen: list[object] = []
        self._framing = framing
        self._limit = limit
        self._codec = framing.codec(limit)
        self._messages: list[bytes] = []

    def follow(self, steps: Sequence[_Step], expected: Decoded, *, short_cuts: bool) -> None:
        violation = None
        fed = 0
        try:
            for step in steps:
                self._take(step, short_cuts=short_cuts)
                fed += len(step.chunk)
                if step.taking:
                    self._check_progress(expected, fed)
                if step.settling:
                    self._codec.settle()
            self._codec.end()
            self._messages.extend(_messages(self._codec))
            assert self._codec.unread == 0, "something is left at the end"
        except FramingError as error:
            violation = type(error), error.position
            self._note_violation(error)
        found = self._messages, violation
        wanted = expected.messages, expected.violation
        assert found == wanted, f"{found!r:.500} instead of {wanted!r:.500}"
        self.seen.append((self._messages, self._codec.unread, self._encoded()))

    def _take(self, step: _Step, *, short_cuts: bool) -> None:
        codec = self._codec
        if short_cuts and step.only:
            message = codec.only_message(step.chunk)
            if message is not None:
                self._messages.append(message)
            else:
                codec.feed(step.chunk)
        elif short_cuts and step.at_once:
            self._messages += codec.messages(step.chunk)
        else:
            codec.feed(step.chunk)
        if step.taking:
            self._messages.extend(_messages(codec))

    def _encoded(self) -> bytes:
        """A reply, as it would be sent now: who has to guess encodes as was decided."""
        with contextlib.suppress(UnencodableMessage):
            return self._codec.encode(b"a reply")
        return b""

    def _check_progress(self, expected: Decoded, fed: int) -> None:
        codec, found = self._codec, len(self._messages)
        if not isinstance(self._framing, Auto):  # which waits until it has decided
            complete = bisect.bisect_right(expected.ends, fed)
            assert found >= complete, "a message that is complete is held back"
        most = self._limit + overhead(self._framing, self._limit)
        assert codec.unread <= most, f"{codec.unread} bytes are held, more than {most}"
        held = len(getattr(codec, "_buffer", b""))
        assert held <= 2 * most, f"a buffer of {held} bytes is held, more than twice {most}"
        self.seen.append((found, codec.unread, codec.patience))

    def _note_violation(self, error: FramingError) -> None:
        self.seen.append((type(error), vars(error), str(error)))
        for _ in range(2):
            try:
                message = self._codec.next_message()
            except FramingError as again:
                assert (type(again), vars(again)) == (type(error), vars(error))
            else:
                raise AssertionError(f"{message!r} follows a violation")


def _messages(codec: Codec) -> Iterator[bytes]:
    """Those that are there; a violation is raised after those before it."""
    while (message := codec.next_message()) is not None:
        yield message


def _check_encoding(framing: Framing, limit: int, messages: list[bytes]) -> None:
    """What was decoded is encoded so that it is decoded again; its limits are kept."""
    assert all(type(message) is bytes and len(message) <= limit for message in messages)
    if isinstance(framing, Auto):
        if any(b"\n" in message for message in messages):
            return  # it was taken for raw, and would be encoded as lines
        framing = Lines(unterminated=True)
    codec = framing.codec(limit)
    stream = codec.encode_all(messages)
    assert stream == b"".join(map(codec.encode, messages))
    codec.feed(stream)
    codec.end()
    again = list(_messages(codec))
    if isinstance(framing, Raw):
        assert b"".join(again) == b"".join(messages)
    else:
        assert again == messages


def _check_message(framing: Framing, message: bytes) -> None:
    """Any bytes, taken for a message: they are read back, or refused."""
    codec = framing.codec(max(1, len(message)))
    try:
        stream = codec.encode(message)
    except UnencodableMessage as error:
        assert error.size == len(message)
        return
    assert codec.only_message(stream) in (message, None)
    codec = framing.codec(max(1, len(message)))
    codec.feed(stream)
    codec.end()
    expected = [] if isinstance(framing, Raw) and not message else [message]
    assert list(_messages(codec)) == expected
