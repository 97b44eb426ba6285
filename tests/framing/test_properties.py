"""What holds for any messages and any bytes, however they are cut.

Every property runs over all the framings; each framing says what messages it
can carry and what pieces near-correct streams of it are made of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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

from .support import in_pieces, take

NOISE_LIMIT = 10

# No clock decides whether a test passes.
modest = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Messages of few different bytes, those that matter to some framing among them, and any.
contents = st.one_of(
    st.lists(st.sampled_from(b"ab\r\n\0,:0\xff"), max_size=20).map(bytes),
    st.binary(max_size=300),
)


@dataclass(frozen=True)
class Case:
    framing: Framing
    carries: Callable[[bytes], bool]
    pieces: tuple[bytes, ...]

    @property
    def messages(self) -> st.SearchStrategy[list[bytes]]:
        return st.lists(contents.filter(self.carries), max_size=8)

    @property
    def noise(self) -> st.SearchStrategy[bytes]:
        """Streams that are nearly right, and some that are not at all."""
        likely = st.sampled_from([*self.pieces, b"", b"a", b"\0", b"x" * NOISE_LIMIT])
        return st.lists(likely | st.binary(max_size=15), max_size=15).map(b"".join)


def everything(_message: bytes) -> bool:
    return True


def lines(framing: Lines) -> Case:
    return Case(framing, lambda message: b"\n" not in message, (b"\n", b"\r\n", b"\r", b"ab\n"))


def delimited(delimiter: bytes) -> Case:
    def carries(message: bytes) -> bool:
        return (message + delimiter).index(delimiter) == len(message)

    parts = (delimiter, delimiter[:1], delimiter[1:], delimiter[:-1])
    return Case(Delimited(delimiter), carries, parts)


def length(framing: LengthPrefixed) -> Case:
    added = framing.offset + framing.size if framing.inclusive else 0

    def carries(message: bytes) -> bool:
        after = len(message) - framing.offset
        return after >= 0 and after + added < 256**framing.size

    fields = [n.to_bytes(framing.size, framing.byteorder) for n in (0, 1, 4, 10, 11, 20, 255)]
    return Case(framing, carries, (bytes(framing.offset), *fields))


MARKED = [
    lines(Lines()),
    lines(Lines(newline=b"\r\n")),
    lines(Lines(unterminated=True)),
    delimited(b"\0"),
    delimited(b"\r\n"),
    delimited(b"aa"),
    delimited(b"aba"),
    delimited(b"abaab"),
    length(LengthPrefixed()),
    length(LengthPrefixed(1)),
    length(LengthPrefixed(1, inclusive=True)),
    length(LengthPrefixed(2, "little")),
    length(LengthPrefixed(2, offset=2, inclusive=True)),
    length(LengthPrefixed(3, "little", offset=5)),
    length(LengthPrefixed(8, inclusive=True)),
    Case(Netstring(), everything, (*(b"0123456789:,"[i : i + 1] for i in range(12)), b"2:ab,")),
]
RAW = Case(Raw(), everything, (b"x" * 11, b"x" * 30))
AUTO = Case(Auto(), lambda message: b"\n" not in message, (b"\n", b"\r\n", b"ab\n"))

marked = pytest.mark.parametrize("case", MARKED, ids=lambda case: repr(case.framing))
every = pytest.mark.parametrize("case", [*MARKED, RAW, AUTO], ids=lambda case: repr(case.framing))


@st.composite
def chunked(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """``data`` cut anywhere, into pieces of one size or of many; some may be empty."""
    if draw(st.booleans()):
        return in_pieces(draw(st.integers(1, 16)))(data)
    ends = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[i:j] for i, j in zip([0, *ends], [*ends, len(data)], strict=True)]


def outcome(codec: Codec, chunks: list[bytes], now: list[bool]) -> tuple[list[bytes], object]:
    """The messages, and the violation they end with: its class and place.

    Where ``now`` says no, messages are left in the codec until later.
    """
    messages: list[bytes] = []
    try:
        for chunk, taking in zip(chunks, now, strict=True):
            codec.feed(chunk)
            if taking:
                messages.extend(take(codec))
        codec.end()
        messages.extend(take(codec))
    except FramingError as error:
        return messages, (type(error), error.position)
    return messages, None


def booleans(count: int) -> st.SearchStrategy[list[bool]]:
    return st.lists(st.booleans(), min_size=count, max_size=count)


@marked
@modest
@given(data=st.data())
def test_what_is_encoded_is_decoded_however_it_is_cut(case: Case, data: st.DataObject) -> None:
    expected = data.draw(case.messages)
    codec = case.framing.codec()
    stream = b"".join(codec.encode(message) for message in expected)
    chunks = data.draw(chunked(stream))
    now = data.draw(booleans(len(chunks)))
    assert outcome(codec, chunks, now) == (expected, None)


@every
@modest
@given(message=contents)
def test_a_message_is_encoded_so_that_it_is_read_back_or_not_at_all(
    case: Case, message: bytes
) -> None:
    codec = case.framing.codec()
    if case.carries(message):
        codec.feed(codec.encode(message))
        codec.end()
        assert b"".join(take(codec)) == message
    else:
        with pytest.raises(UnencodableMessage) as caught:
            codec.encode(message)
        assert caught.value.size == len(message)


@marked
@modest
@given(data=st.data())
def test_how_any_bytes_are_cut_changes_neither_messages_nor_violation(
    case: Case, data: st.DataObject
) -> None:
    stream = data.draw(case.noise)
    chunks = data.draw(chunked(stream))
    now = data.draw(booleans(len(chunks)))
    at_once = outcome(case.framing.codec(NOISE_LIMIT), [stream], [True])
    assert outcome(case.framing.codec(NOISE_LIMIT), chunks, now) == at_once


@every
@modest
@given(data=st.data())
def test_any_bytes_are_messages_or_a_violation_and_never_larger_than_allowed(
    case: Case, data: st.DataObject
) -> None:
    stream = data.draw(case.noise)
    codec = case.framing.codec(NOISE_LIMIT)
    messages: list[bytes] = []
    fed = 0
    violation = None
    try:
        for chunk in data.draw(chunked(stream)):
            codec.feed(chunk)
            fed += len(chunk)
            while (message := codec.next_message()) is not None:
                messages.append(message)
                assert len(messages) <= fed, "messages come from nowhere"
            assert codec.unread <= fed - sum(map(len, messages))
            if data.draw(st.booleans()):
                codec.settle()
        codec.end()
        messages.extend(take(codec))
        assert codec.unread == 0
    except FramingError as error:
        violation = error
    assert violation is None or 0 <= violation.position <= fed
    assert all(len(message) <= NOISE_LIMIT for message in messages)


Way = Callable[[Codec, bytes], list[bytes]]


def fed(codec: Codec, chunk: bytes) -> list[bytes]:
    codec.feed(chunk)
    return []


def only(codec: Codec, chunk: bytes) -> list[bytes]:
    """As a loop does that serves many clients: the frequent case in one call."""
    message = codec.only_message(chunk)
    if message is None:
        return fed(codec, chunk)
    return [message]


def at_once(codec: Codec, chunk: bytes) -> list[bytes]:
    return codec.messages(chunk)


def history(codec: Codec, steps: list[tuple[bytes, Way, bool, bool]]) -> list[object]:
    """All that can be seen of a codec while chunks are taken apart, each in its way."""
    seen: list[object] = []
    try:
        for chunk, way, taking, settling in steps:
            taken = way(codec, chunk)
            if taking:
                taken.extend(take(codec))
            assert all(type(message) is bytes for message in taken)
            seen.extend(taken)
            seen.append((codec.unread, codec.patience))
            if settling:
                codec.settle()
        codec.end()
        seen.extend(take(codec))
    except FramingError as error:
        seen.append((type(error), vars(error), str(error)))
    return [*seen, codec.unread, codec.encode(b"reply")]


@every
@settings(modest, max_examples=100)
@given(data=st.data())
def test_the_short_cuts_take_nothing_apart_otherwise(case: Case, data: st.DataObject) -> None:
    framing = case.framing
    encode = framing.codec().encode
    short = contents.map(lambda message: message[: NOISE_LIMIT + 2]).filter(case.carries)
    message = short.map(encode)
    messages = st.lists(message, max_size=4).map(b"".join)
    chunks = data.draw(st.lists(message | messages | case.noise, max_size=8))
    if data.draw(st.booleans()):
        chunks = data.draw(chunked(b"".join(chunks)))
    steps: list[tuple[bytes, Way, bool, bool]] = []
    plain: list[tuple[bytes, Way, bool, bool]] = []
    for chunk in chunks:
        way = data.draw(st.sampled_from([only, only, at_once, fed]))
        settling = data.draw(st.booleans())
        taking = way is not fed or data.draw(st.booleans())
        steps.append((chunk, way, taking, settling))
        plain.append((chunk, fed, taking, settling))
    quick = history(framing.codec(NOISE_LIMIT), steps)
    assert quick == history(framing.codec(NOISE_LIMIT), plain)


@pytest.mark.parametrize("delimiter", [b"\0", b"\r\n", b"aa", b"aba", b"abaab"])
@modest
@given(data=st.data())
def test_decoding_by_a_delimiter_is_splitting(delimiter: bytes, data: st.DataObject) -> None:
    pieces = st.sampled_from([delimiter, b"a", b"b", b"\r", b"\n", b"\0"])
    stream = data.draw(st.lists(pieces, max_size=30).map(b"".join))
    codec = Delimited(delimiter).codec()
    got: list[bytes] = []
    for chunk in data.draw(chunked(stream)):
        codec.feed(chunk)
        got.extend(take(codec))
    *expected, rest = stream.split(delimiter)
    assert got == expected
    assert codec.unread == len(rest)


@modest
@given(data=st.data())
def test_decoding_lines_is_splitting_and_dropping_one_cr(data: st.DataObject) -> None:
    stream = data.draw(st.lists(st.sampled_from(b"a\r\n\0"), max_size=40).map(bytes))
    codec = Lines().codec()
    got: list[bytes] = []
    for chunk in data.draw(chunked(stream)):
        codec.feed(chunk)
        got.extend(take(codec))
    *expected, rest = stream.split(b"\n")
    assert got == [line.removesuffix(b"\r") for line in expected]
    assert codec.unread == len(rest)


@modest
@given(data=st.data())
def test_raw_loses_and_joins_nothing(data: st.DataObject) -> None:
    chunks = data.draw(st.binary(max_size=200).flatmap(chunked))
    codec = Raw().codec(NOISE_LIMIT)
    for chunk in chunks:
        codec.feed(chunk)
    assert list(take(codec)) == [p for chunk in chunks for p in in_pieces(NOISE_LIMIT)(chunk)]


@modest
@given(data=st.data())
def test_auto_with_a_newline_is_lines_however_it_is_cut(data: st.DataObject) -> None:
    expected = data.draw(st.lists(contents.filter(AUTO.carries), min_size=1, max_size=8))
    codec = Auto().codec()
    stream = b"".join(codec.encode(message) for message in expected)
    chunks = data.draw(chunked(stream))
    now = data.draw(booleans(len(chunks)))
    assert outcome(codec, chunks, now) == (expected, None)


@modest
@given(data=st.data())
def test_auto_that_settles_is_raw_and_loses_nothing(data: st.DataObject) -> None:
    first = data.draw(st.binary(min_size=1, max_size=300).filter(lambda b: b"\n" not in b))
    rest = data.draw(st.binary(max_size=300))
    codec = Auto().codec()
    for chunk in data.draw(chunked(first)):
        codec.feed(chunk)
    codec.settle()
    for chunk in data.draw(chunked(rest)):
        codec.feed(chunk)
    assert b"".join(take(codec)) == first + rest
