"""Auto: the first bytes, or the time after them, decide between lines and raw."""

from __future__ import annotations

import pytest

from threadwire import Auto, MessageTooLarge, UnencodableMessage, UsageError

from .support import in_pieces, messages, take


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (b"hello\n", [b"hello"]),
        (b"hello\r\n", [b"hello"]),
        (b"\n", [b""]),
        (b"one\ntwo\nthr", [b"one", b"two"]),
    ],
)
def test_a_newline_in_the_first_bytes_means_lines(first: bytes, expected: list[bytes]) -> None:
    codec = Auto().codec()
    codec.feed(first)
    assert codec.patience is None
    assert list(take(codec)) == expected
    codec.settle()
    codec.feed(b"ee\nmore")
    assert list(take(codec))[-1].endswith(b"ee")
    assert codec.next_message() is None, "still lines, for good"


def test_a_newline_in_later_bytes_before_settling_means_lines() -> None:
    codec = Auto().codec()
    codec.feed(b"hel")
    assert codec.next_message() is None
    codec.feed(b"lo")
    assert codec.next_message() is None
    codec.feed(b"\nrest")
    assert list(take(codec)) == [b"hello"]
    assert codec.unread == 4


def test_settling_means_raw_for_good() -> None:
    codec = Auto().codec()
    codec.feed(b"hel")
    codec.feed(b"lo")
    codec.settle()
    assert list(take(codec)) == [b"hello"]
    codec.feed(b"one\ntwo\n")
    assert list(take(codec)) == [b"one\ntwo\n"]


def test_settling_before_the_first_bytes_decides_nothing() -> None:
    codec = Auto().codec()
    codec.settle()
    codec.feed(b"one\ntwo\n")
    assert list(take(codec)) == [b"one", b"two"]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], []),
        ([b""], []),
        ([b"hello"], [b"hello"]),
        ([b"hel", b"lo"], [b"hello"]),
        ([b"one\n"], [b"one"]),
        ([b"one\nlast"], [b"one", b"last"]),
        ([b"one\nla", b"st\r"], [b"one", b"last\r"]),
    ],
)
def test_at_the_end_what_is_left_is_a_message(chunks: list[bytes], expected: list[bytes]) -> None:
    assert messages(Auto(), chunks, end=True) == expected


def test_more_bytes_than_the_limit_without_a_newline_mean_raw() -> None:
    codec = Auto().codec(10)
    codec.feed(b"0123456789")
    assert codec.next_message() is None
    codec.feed(b"abc")
    assert codec.patience is None
    assert list(take(codec)) == [b"0123456789", b"abc"]


def test_a_first_line_at_the_limit_is_a_line_in_whatever_pieces_it_comes() -> None:
    for size in range(1, 14):
        chunks = in_pieces(size)(b"0123456789\nab\n")
        assert messages(Auto(), chunks, limit=10) == [b"0123456789", b"ab"]


def test_a_first_line_over_the_limit_is_refused() -> None:
    codec = Auto().codec(10)
    codec.feed(b"0123456789a\n")
    for _ in range(2):
        with pytest.raises(MessageTooLarge) as caught:
            codec.next_message()
        assert (caught.value.limit, caught.value.size, caught.value.position) == (10, 11, 0)


def test_patience_is_asked_for_only_while_bytes_await_the_decision() -> None:
    codec = Auto(patience=0.25).codec()
    asked = [codec.patience]
    for chunk in (b"", b"hello", b" again"):
        codec.feed(chunk)
        asked.append(codec.patience)
    codec.settle()
    asked.append(codec.patience)
    codec.feed(b"more")
    asked.append(codec.patience)
    assert asked == [None, None, 0.25, 0.25, None, None]


def test_patience_is_ten_milliseconds_by_default() -> None:
    codec = Auto().codec()
    codec.feed(b"hello")
    assert codec.patience == Auto().patience == 0.010


@pytest.mark.parametrize("patience", [-1.0, float("nan"), True, "1", None])
def test_patience_is_a_time(patience: float) -> None:
    with pytest.raises(UsageError, match=r"^patience must be 0 or more seconds, not "):
        Auto(patience=patience)


def test_before_the_decision_messages_are_encoded_as_lines() -> None:
    codec = Auto().codec()
    assert codec.encode(b"welcome") == b"welcome\n"
    codec.feed(b"undecided")
    assert codec.encode(b"welcome") == b"welcome\n"
    with pytest.raises(UnencodableMessage):
        codec.encode(b"two\nlines")


def test_after_the_decision_they_are_encoded_as_what_was_chosen() -> None:
    lines, raw = Auto().codec(), Auto().codec()
    lines.feed(b"hello\n")
    raw.feed(b"hello")
    raw.settle()
    assert lines.encode(b"reply") == b"reply\n"
    assert raw.encode(b"reply") == b"reply"
    assert raw.encode(b"two\nlines") == b"two\nlines"


def test_unread_counts_the_bytes_before_and_after_the_decision() -> None:
    codec = Auto().codec()
    assert codec.unread == 0
    codec.feed(b"hel")
    assert codec.unread == 3
    codec.feed(b"lo\nrest")
    assert codec.unread == 10
    assert codec.next_message() == b"hello"
    assert codec.unread == 4
