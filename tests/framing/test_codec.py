"""The rules that every framing keeps."""

from __future__ import annotations

import pytest

from threadwire import (
    Auto,
    Delimited,
    Framing,
    FramingError,
    LengthPrefixed,
    Lines,
    MessageTooLarge,
    Netstring,
    Raw,
    TruncatedMessage,
    UsageError,
)
from threadwire.framing import require_bytes

from .support import Cut, decode, every_cut, in_pieces, messages, take, with_empty_chunks

MARKED: list[Framing] = [  # those that mark where a message ends
    Lines(),
    Lines(newline=b"\r\n"),
    Lines(unterminated=True),
    Delimited(b"\0"),
    Delimited(b"\r\n"),
    Delimited(b"aba"),
    LengthPrefixed(),
    LengthPrefixed(2, "little"),
    LengthPrefixed(8, inclusive=True),
    LengthPrefixed(2, offset=2, inclusive=True),
    Netstring(),
]
ALL: list[Framing] = [*MARKED, Raw(), Auto()]
TO_THE_LAST_BYTE = [framing for framing in MARKED if framing != Lines(unterminated=True)]

marked = pytest.mark.parametrize("framing", MARKED, ids=repr)
to_the_last_byte = pytest.mark.parametrize("framing", TO_THE_LAST_BYTE, ids=repr)
every = pytest.mark.parametrize("framing", ALL, ids=repr)


def wire(framing: Framing, *contents: bytes) -> bytes:
    codec = framing.codec()
    return b"".join(codec.encode(message) for message in contents)


def shortest(framing: Framing) -> bytes:
    """The empty message, or what comes nearest to it."""
    return b"--"[: framing.offset] if isinstance(framing, LengthPrefixed) else b""


@marked
@every_cut
def test_a_message(framing: Framing, cut: Cut) -> None:
    assert messages(framing, cut(wire(framing, b"hello"))) == [b"hello"]


@marked
@every_cut
def test_the_shortest_message_is_a_message(framing: Framing, cut: Cut) -> None:
    least = shortest(framing)
    stream = wire(framing, least, b"full", least)
    assert messages(framing, cut(stream), end=True) == [least, b"full", least]


@marked
@every_cut
def test_binary_zeros_are_carried(framing: Framing, cut: Cut) -> None:
    content = b"z\0z" if framing == Delimited(b"\r\n") else b"zz"
    assert messages(framing, cut(wire(framing, content))) == [content]


@marked
def test_many_messages_in_one_chunk_come_in_order(framing: Framing) -> None:
    expected = [b"message %d" % n for n in range(1000)]
    assert messages(framing, [wire(framing, *expected)]) == expected


@marked
def test_the_bytes_after_a_message_wait_for_the_rest(framing: Framing) -> None:
    stream = wire(framing, b"hello", b"world")
    size = len(stream) // 2
    for extra in range(size):
        codec = framing.codec()
        codec.feed(stream[: size + extra])
        assert codec.next_message() == b"hello"
        assert codec.next_message() is None
        assert codec.unread == extra
        codec.feed(stream[size + extra :])
        assert list(take(codec)) == [b"world"]
        assert codec.unread == 0


@marked
def test_chunks_may_be_fed_before_any_message_is_taken(framing: Framing) -> None:
    codec = framing.codec()
    stream = wire(framing, b"one", b"two", b"three")
    for chunk in with_empty_chunks(stream):
        codec.feed(chunk)
    assert codec.unread == len(stream)
    assert codec.next_message() == b"one"
    codec.feed(wire(framing, b"four"))
    assert list(take(codec)) == [b"two", b"three", b"four"]


@marked
def test_short_messages_are_found_after_a_long_one_that_came_in_parts(framing: Framing) -> None:
    stream = wire(framing, b"x" * 100, b"one", b"two", b"three")
    codec = framing.codec()
    codec.feed(stream[:90])
    assert codec.next_message() is None
    codec.feed(stream[90:])
    assert list(take(codec)) == [b"x" * 100, b"one", b"two", b"three"]


@marked
def test_more_may_be_fed_after_a_long_message_before_the_short_ones_are_taken(
    framing: Framing,
) -> None:
    first = wire(framing, b"x" * 100, b"one", b"two")
    codec = framing.codec(100)
    codec.feed(first[:80])
    assert codec.next_message() is None
    codec.feed(first[80:85])
    codec.feed(first[85:])
    assert codec.next_message() == b"x" * 100
    codec.feed(b"")
    assert codec.unread == len(wire(framing, b"one", b"two"))
    codec.feed(wire(framing, b"x" * 101))
    assert codec.next_message() == b"one"
    assert codec.next_message() == b"two"
    with pytest.raises(MessageTooLarge) as caught:
        codec.next_message()
    assert caught.value.position == len(first)


@marked
@every_cut
@pytest.mark.parametrize("limit", [2, 3, 10, 255, 256])
def test_a_message_at_the_limit_is_allowed_and_one_more_byte_is_not(
    framing: Framing, limit: int, cut: Cut
) -> None:
    content = b"x" * limit
    first = wire(framing, b"ok")
    assert messages(framing, cut(wire(framing, content)), limit=limit) == [content]
    decoded = decode(framing, cut(first + wire(framing, content + b"x")), limit=limit)
    assert decoded.messages == [b"ok"]
    assert isinstance(decoded.error, MessageTooLarge)
    assert decoded.error.limit == limit
    assert decoded.error.size == limit + 1
    assert decoded.error.position == len(first)


@marked
def test_the_error_for_too_large_a_message_names_the_limit(framing: Framing) -> None:
    error = decode(framing, [wire(framing, b"x" * 11)], limit=10).failure
    assert isinstance(error, MessageTooLarge)
    assert error.limit_name == "max_message"
    assert "max_message (10 bytes)" in str(error)


VIOLATIONS = [
    (Lines(), b"x" * 50),
    (Lines(), b"x" * 50 + b"\n"),
    (Lines(unterminated=True), b"x" * 50),
    (Delimited(b"aba"), b"x" * 50),
    (Delimited(b"aba"), b"x" * 50 + b"aba"),
    (LengthPrefixed(), b"\xff\0\0\0"),
    (LengthPrefixed(2, inclusive=True), b"\0\0"),
    (Netstring(), b"05:hello,"),
    (Netstring(), b"x"),
    (Netstring(), b":,"),
    (Netstring(), b"999:"),
    (Netstring(), b"2:okay,"),
]


@pytest.mark.parametrize(("framing", "wrong"), VIOLATIONS)
@every_cut
def test_the_messages_before_a_violation_are_returned(
    framing: Framing, wrong: bytes, cut: Cut
) -> None:
    before = [b"one", b"two", b"three"]
    decoded = decode(framing, cut(wire(framing, *before) + wrong), limit=10)
    assert decoded.messages == before
    assert decoded.failure.position == len(wire(framing, *before))


@pytest.mark.parametrize(("framing", "wrong"), VIOLATIONS)
def test_a_violation_is_raised_whenever_asked_and_whatever_follows(
    framing: Framing, wrong: bytes
) -> None:
    decoded = decode(framing, [wire(framing, b"one") + wrong], limit=10)
    codec, error = decoded.codec, decoded.failure
    for more in (b"", wire(framing, b"two"), b"\n"):
        codec.feed(more)
        with pytest.raises(type(error)) as again:
            codec.next_message()
        assert again.value.position == error.position
    codec.end()
    with pytest.raises(type(error)):
        codec.next_message()


@to_the_last_byte
@every_cut
def test_the_stream_may_not_end_within_a_message(framing: Framing, cut: Cut) -> None:
    first, last = wire(framing, b"first"), wire(framing, b"last")
    for size in range(1, len(last)):
        decoded = decode(framing, cut(first + last[:size]), end=True)
        assert decoded.messages == [b"first"]
        assert isinstance(decoded.error, TruncatedMessage)
        assert (decoded.error.size, decoded.error.position) == (size, len(first))


@to_the_last_byte
def test_a_truncation_is_raised_whenever_asked(framing: Framing) -> None:
    codec = framing.codec()
    codec.feed(wire(framing, b"hello")[:-1])
    codec.end()
    for _ in range(3):
        with pytest.raises(TruncatedMessage):
            codec.next_message()


@to_the_last_byte
def test_messages_that_came_before_the_end_can_be_taken_after_it(framing: Framing) -> None:
    codec = framing.codec()
    codec.feed(wire(framing, b"one", b"two") + wire(framing, b"three")[:-1])
    codec.end()
    assert codec.next_message() == b"one"
    assert codec.next_message() == b"two"
    with pytest.raises(TruncatedMessage):
        codec.next_message()


@every
def test_an_empty_stream_may_end(framing: Framing) -> None:
    codec = framing.codec()
    assert codec.next_message() is None
    codec.end()
    assert codec.next_message() is None
    assert codec.unread == 0


@marked
@every_cut
def test_a_stream_may_end_after_a_message(framing: Framing, cut: Cut) -> None:
    decoded = decode(framing, cut(wire(framing, b"one", b"two")), end=True)
    assert decoded.messages == [b"one", b"two"]
    assert decoded.error is None
    assert decoded.codec.next_message() is None


@every
@every_cut
def test_every_message_is_bytes_and_so_is_what_is_encoded(framing: Framing, cut: Cut) -> None:
    encoded = framing.codec().encode(b"hello")
    assert type(encoded) is bytes
    taken = decode(framing, cut(encoded), end=True).messages
    assert taken
    assert {type(message) for message in taken} == {bytes}


@every
def test_encoding_does_not_touch_what_is_being_decoded(framing: Framing) -> None:
    codec = framing.codec()
    stream = codec.encode(b"hello")
    codec.feed(stream[:3])
    codec.encode(b"something else")
    assert codec.unread == 3


@pytest.mark.parametrize("framing", [*MARKED, Raw()], ids=repr)
def test_there_is_nothing_to_settle_where_bytes_decide(framing: Framing) -> None:
    codec = framing.codec()
    codec.feed(wire(framing, b"hello")[:3])
    assert codec.patience is None
    codec.settle()
    codec.feed(wire(framing, b"hello")[3:])
    assert b"".join(take(codec)) == b"hello"


PIECE = 1024
TEN_KIB = 10 * 1024
LONG = b"x" * (64 * PIECE)


@pytest.mark.parametrize(
    ("framing", "stream"),
    [
        (Lines(), LONG + b"\n"),
        (Lines(newline=b"\r\n"), LONG + b"\r\n"),
        (Lines(unterminated=True), LONG),
        (Delimited(b"\0"), LONG + b"\0"),
        (Delimited(b"--end--"), LONG + b"--end--"),
        (LengthPrefixed(), wire(LengthPrefixed(), LONG)),
        (LengthPrefixed(offset=16), wire(LengthPrefixed(offset=16), LONG)),
        (Netstring(), wire(Netstring(), LONG)),
        (Auto(), b"\n" + LONG),
    ],
    ids=str,
)
def test_too_large_a_message_is_refused_before_it_is_buffered(
    framing: Framing, stream: bytes
) -> None:
    decoded = decode(framing, in_pieces(PIECE)(stream), limit=TEN_KIB, end=True)
    assert isinstance(decoded.error, MessageTooLarge)
    assert decoded.codec.unread <= TEN_KIB + PIECE


@pytest.mark.parametrize("framing", [Raw(), Auto()], ids=str)
def test_where_nothing_is_refused_nothing_is_held_either(framing: Framing) -> None:
    codec = framing.codec(TEN_KIB)
    taken = 0
    for chunk in in_pieces(PIECE)(LONG):
        codec.feed(chunk)
        taken += sum(map(len, take(codec)))
        assert codec.unread <= TEN_KIB
    assert taken == len(LONG)


def test_the_default_limit_is_one_mebibyte() -> None:
    codec = LengthPrefixed().codec()
    codec.feed(b"\x00\x10\x00\x00")
    assert codec.next_message() is None
    codec = LengthPrefixed().codec()
    codec.feed(b"\x00\x10\x00\x01")
    with pytest.raises(MessageTooLarge, match=r"max_message \(1048576 bytes\)"):
        codec.next_message()


@every
def test_codecs_of_one_framing_do_not_know_each_other(framing: Framing) -> None:
    one, other = framing.codec(), framing.codec()
    one.feed(b"\0\0\0")
    assert other.unread == 0
    assert other.next_message() is None


@every
def test_framings_are_values(framing: Framing) -> None:
    twins = [other for other in ALL if other == framing]
    assert twins == [framing]
    assert {framing: 1}[framing] == 1
    for name in framing.__slots__:
        with pytest.raises(AttributeError):
            setattr(framing, name, None)


def test_framings_are_equal_where_their_settings_are() -> None:
    assert LengthPrefixed(2, "little") == LengthPrefixed(size=2, byteorder="little")
    assert hash(LengthPrefixed(2)) == hash(LengthPrefixed(2))
    assert Lines() != Lines(newline=b"\r\n")


@pytest.mark.parametrize("message", [b"hello", bytearray(b"hello"), memoryview(b"hello"), b""])
def test_messages_are_bytes_of_any_kind(message: object) -> None:
    require_bytes(message)


@pytest.mark.parametrize("message", [None, 3, ["hello"], [104], object()])
def test_other_objects_are_not_messages(message: object) -> None:
    with pytest.raises(UsageError, match=f"must be bytes, not {type(message).__name__}$"):
        require_bytes(message)


def test_whoever_sends_text_is_told_to_encode_it() -> None:
    with pytest.raises(UsageError, match=r"must be bytes, not str; encode text first.*encode\(\)"):
        require_bytes("hello")


def test_a_violation_is_never_taken_for_the_callers_fault() -> None:
    assert not issubclass(FramingError, ValueError | OSError)
