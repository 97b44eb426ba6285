"""The short cuts: one message, or all of them, in one call."""

from __future__ import annotations

import pytest

from threadwire import (
    Auto,
    Codec,
    Delimited,
    Framing,
    FramingError,
    LengthPrefixed,
    Lines,
    MessageTooLarge,
    Netstring,
    Raw,
)

from .support import take

LIMIT = 10

MARKED: list[Framing] = [
    Lines(),
    Lines(newline=b"\r\n"),
    Lines(unterminated=True),
    Delimited(b"\0"),
    Delimited(b"--"),
    LengthPrefixed(),
    LengthPrefixed(1, "little", inclusive=True),
    LengthPrefixed(2, offset=3),
    LengthPrefixed(2, offset=3, inclusive=True),
    Netstring(),
]

marked = pytest.mark.parametrize("framing", MARKED, ids=repr)
every = pytest.mark.parametrize("framing", [*MARKED, Raw(), Auto()], ids=repr)


class Records(Framing):
    """A framing as a user writes one: what is abstract, and no short cut."""

    __slots__ = ()

    def codec(self, max_message: int = LIMIT) -> Codec:
        return RecordsCodec()

    def __str__(self) -> str:
        return "records"


class RecordsCodec(Codec):
    """Records of two bytes; none may begin with ``!``."""

    def __init__(self) -> None:
        self.buffer = b""

    def feed(self, data: bytes) -> None:
        self.buffer += data

    def end(self) -> None:
        pass

    def next_message(self) -> bytes | None:
        if self.buffer.startswith(b"!"):
            raise FramingError(0)
        message, rest = self.buffer[:2], self.buffer[2:]
        if len(message) < 2:
            return None
        self.buffer = rest
        return message

    def encode(self, message: bytes) -> bytes:
        return message

    @property
    def unread(self) -> int:
        return len(self.buffer)


def after_a_line(framing: Framing) -> Codec:
    """A codec of ``framing`` that has nothing to decide any more."""
    codec = framing.codec(LIMIT)
    if framing == Auto():
        codec.feed(b"first\n")
        assert list(take(codec)) == [b"first"]
    return codec


@every
@pytest.mark.parametrize("message", [b"hello", b"123", b"0123456789", b"\xff\r\xfe"])
def test_one_whole_message(framing: Framing, message: bytes) -> None:
    codec = after_a_line(framing)
    wire = codec.encode(message)
    for _ in range(3):
        got = codec.only_message(wire)
        assert (got, type(got)) == (message, bytes)
        assert codec.unread == 0
        assert codec.next_message() is None
    codec.end()
    assert codec.next_message() is None


@pytest.mark.parametrize(
    ("framing", "wire"),
    [
        (Lines(), b"\n"),
        (Lines(), b"\r\n"),
        (Delimited(b"--"), b"--"),
        (LengthPrefixed(2), b"\0\0"),
        (LengthPrefixed(2, inclusive=True), b"\0\2"),
        (Netstring(), b"0:,"),
    ],
)
def test_the_empty_message_is_a_message(framing: Framing, wire: bytes) -> None:
    assert framing.codec().only_message(wire) == b""


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (b"hello\n", b"hello"),
        (b"hello\r\n", b"hello"),
        (b"hello\r\r\n", b"hello\r"),
        (b"\r\r\n", b"\r"),
        (b"a\rb\n", b"a\rb"),
        (b"\ra\r\n", b"\ra"),
        (b"0123456789\n", b"0123456789"),
        (b"0123456789\r\n", b"0123456789"),
        (b"01234567\r\r\n", b"01234567\r"),
    ],
)
def test_one_cr_belongs_to_the_end_of_a_line(wire: bytes, message: bytes) -> None:
    assert Lines().codec(LIMIT).only_message(wire) == message
    assert after_a_line(Auto()).only_message(wire) == message


# With max_message 10: what is no whole message, more than one, or wrong.
OTHERS: list[tuple[Framing, bytes]] = [
    (Lines(), b"hello"),
    (Lines(), b"hello\r"),
    (Lines(), b"hello\nx"),
    (Lines(), b"one\ntwo\n"),
    (Lines(), b"\n\n"),
    (Lines(), b"\nhello"),
    (Lines(), b"0123456789x\n"),
    (Lines(), b"0123456789x\r\n"),
    (Lines(), b"0123456789\r\r\n"),
    (Lines(unterminated=True), b"last"),
    (Delimited(b"\0"), b"0123456789x\0"),
    (Delimited(b"--"), b"a-"),
    (Delimited(b"--"), b"a---"),
    (Delimited(b"--"), b"a----"),
    (Delimited(b"--"), b"-"),
    (Delimited(b"aa"), b"baaa"),
    (LengthPrefixed(2), b"\0"),
    (LengthPrefixed(2), b"\0\5hell"),
    (LengthPrefixed(2), b"\0\5hello!"),
    (LengthPrefixed(2), b"\0\x0b0123456789x"),
    (LengthPrefixed(2, "little"), b"\0\5hello"),
    (LengthPrefixed(2, inclusive=True), b"\0\5hello"),
    (LengthPrefixed(2, inclusive=True), b"\0\0"),
    (LengthPrefixed(2, inclusive=True), b"\0\1"),
    (LengthPrefixed(2, inclusive=True), b"\0\x0d0123456789x"),
    (LengthPrefixed(2, offset=2), b"ab\0"),
    (LengthPrefixed(2, offset=2), b"ab\0\x09012345678"),
    (Netstring(), b"5:hello"),
    (Netstring(), b"5:hello,0:,"),
    (Netstring(), b"5:hello!"),
    (Netstring(), b"4:hello,"),
    (Netstring(), b"6:hello,"),
    (Netstring(), b"11:0123456789x,"),
    (Netstring(), b"05:hello,"),
    (Netstring(), b"+5:hello,"),
    (Netstring(), b" 5:hello,"),
    (Netstring(), b":,"),
    (Netstring(), b":"),
    (Netstring(), b","),
    (Netstring(), b"0:"),
    (Netstring(), b"-1:"),
    (Netstring(), b"-1:,"),
    (Netstring(), b"-1,"),
    (Netstring(), b"-1"),
    (Netstring(), b"1,"),
    (Raw(), b"0123456789x"),
    (Auto(), b"hello"),
    (Auto(), b"one\ntwo\n"),
    (Auto(), b"0123456789x\n"),
]


@pytest.mark.parametrize(("framing", "data"), [*OTHERS, *((f, b"") for f in MARKED)])
def test_anything_else_is_none_and_changes_nothing(framing: Framing, data: bytes) -> None:
    quick, plain = framing.codec(LIMIT), framing.codec(LIMIT)
    for _ in range(2):
        assert quick.only_message(data) is None
        assert (quick.unread, quick.patience) == (0, None)
    outcomes = []
    for codec in (quick, plain):
        outcome: list[object] = []
        outcomes.append(outcome)
        codec.feed(data)
        try:
            outcome.extend(take(codec))
            codec.end()
            outcome.extend(take(codec))
        except FramingError as error:
            outcome.append((type(error), vars(error), codec.unread))
    assert outcomes[0] == outcomes[1]


@every
def test_no_bytes_are_no_message(framing: Framing) -> None:
    assert framing.codec().only_message(b"") is None
    assert after_a_line(framing).only_message(b"") is None
    assert framing.codec().messages(b"") == []


@marked
def test_not_while_a_message_is_unfinished(framing: Framing) -> None:
    codec = framing.codec(LIMIT)
    wire = codec.encode(b"hello")
    for size in range(1, len(wire)):
        begun = wire[:size]
        codec.feed(begun)
        assert codec.next_message() is None
        assert codec.only_message(wire) is None
        assert codec.only_message(wire[size:]) is None
        assert codec.unread == size
        codec.feed(wire[size:])
        assert list(take(codec)) == [b"hello"]
        assert codec.only_message(wire) == b"hello"


@every
def test_not_while_messages_have_not_been_taken(framing: Framing) -> None:
    codec = after_a_line(framing)
    one, two = codec.encode(b"one"), codec.encode(b"two")
    codec.feed(one)
    assert codec.only_message(two) is None
    codec.feed(two)
    assert list(take(codec)) == [b"one", b"two"]
    assert codec.only_message(one) == b"one"


@marked
def test_later_positions_count_the_messages_taken_at_once(framing: Framing) -> None:
    codec = framing.codec(LIMIT)
    wire = codec.encode(b"hello")
    for _ in range(3):
        assert codec.only_message(wire) == b"hello"
    begun = wire[:2]
    assert codec.messages(wire * 2 + begun) == [b"hello", b"hello"]
    assert codec.messages(wire[2:] + begun) == [b"hello"]
    assert codec.messages(wire[2:]) == [b"hello"]
    assert codec.only_message(wire) == b"hello"
    codec.feed(framing.codec().encode(b"0123456789x"))
    with pytest.raises(MessageTooLarge) as caught:
        codec.next_message()
    assert caught.value.position == len(wire) * 8


def test_a_raw_message_is_what_was_read_itself() -> None:
    data = b"hello"
    assert Raw().codec(5).only_message(data) is data
    assert Raw().codec(4).only_message(data) is None


def test_a_line_at_once_decides_and_bytes_without_a_newline_do_not() -> None:
    codec = Auto().codec()
    assert codec.only_message(b"hello") is None
    assert codec.patience is None
    assert codec.only_message(b"hello\r\n") == b"hello"
    codec.feed(b"begun")
    assert codec.patience is None, "these are lines, whatever time goes by"
    codec.settle()
    assert codec.next_message() is None


def test_what_was_begun_before_the_decision_is_not_forgotten() -> None:
    codec = Auto().codec()
    codec.feed(b"hel")
    assert codec.only_message(b"lo\n") is None
    assert codec.patience is not None
    assert codec.messages(b"lo\nhello\n") == [b"hello", b"hello"]
    assert codec.only_message(b"hello\n") == b"hello"


def test_after_settling_every_read_is_a_message_at_once() -> None:
    codec = Auto().codec()
    codec.feed(b"hello")
    codec.settle()
    assert codec.only_message(b"one\ntwo\n") is None, "hello has not been taken"
    assert list(take(codec)) == [b"hello"]
    assert codec.only_message(b"one\ntwo\n") == b"one\ntwo\n"
    assert codec.messages(b"\n") == [b"\n"]


def test_a_codec_without_short_cuts_needs_none() -> None:
    codec = Records().codec()
    assert codec.only_message(b"ab") is None
    assert codec.unread == 0
    assert codec.messages(b"abcde") == [b"ab", b"cd"]
    assert codec.only_message(b"f") is None
    assert codec.messages(b"f!") == [b"ef"]
    with pytest.raises(FramingError):
        codec.next_message()


@every
def test_all_messages_at_once(framing: Framing) -> None:
    codec = after_a_line(framing)
    wire = codec.encode(b"one") + codec.encode(b"two") + codec.encode(b"three")
    if framing == Raw():
        assert codec.messages(wire) == [b"onetwothre", b"e"]
        return
    for size in range(1, len(wire)):
        whole = codec.messages(wire[:size])
        assert codec.unread == size - sum(len(codec.encode(message)) for message in whole)
        assert whole + codec.messages(wire[size:]) == [b"one", b"two", b"three"]
        assert codec.unread == 0


@marked
def test_all_messages_before_a_violation_at_once(framing: Framing) -> None:
    codec = framing.codec(LIMIT)
    fine = codec.encode(b"one") + codec.encode(b"two")
    wrong = framing.codec().encode(b"0123456789x")
    assert codec.messages(fine + wrong + fine) == [b"one", b"two"]
    for _ in range(2):
        with pytest.raises(MessageTooLarge) as caught:
            codec.next_message()
        assert (caught.value.size, caught.value.position) == (LIMIT + 1, len(fine))
        assert codec.messages(fine) == []


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([b"a\r", b"\n\r\nb\r\r\n"], [[], [b"a", b"", b"b\r"]]),
        ([b"\r", b"\n"], [[], [b""]]),
        ([b"0123456789\r", b"\n\n"], [[], [b"0123456789", b""]]),
        ([b"a\nb", b"c\nd", b"\n"], [[b"a"], [b"bc"], [b"d"]]),
        ([b"a\n", b"\n", b"\r\nb\n"], [[b"a"], [b""], [b"", b"b"]]),
        ([b"a", b"b", b"c", b"d\ne\nf", b"g\n"], [[], [], [], [b"abcd", b"e"], [b"fg"]]),
    ],
)
def test_all_lines_at_once_whatever_they_end_with(
    chunks: list[bytes], expected: list[list[bytes]]
) -> None:
    codec = Lines().codec(LIMIT)
    got = [codec.messages(chunk) for chunk in chunks]
    assert got == expected
    assert {type(message) for messages in got for message in messages} == {bytes}
