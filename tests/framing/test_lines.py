"""Lines: LF, CRLF, what a lone CR is, and the line without an end."""

from __future__ import annotations

import pytest

from threadwire import Lines, MessageTooLarge, TruncatedMessage, UnencodableMessage, UsageError

from .support import Cut, decode, every_cut, messages


@every_cut
@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", []),
        (b"hello\n", [b"hello"]),
        (b"hello\r\n", [b"hello"]),
        (b"\n", [b""]),
        (b"\r\n", [b""]),
        (b"\n\n\r\n\n", [b"", b"", b"", b""]),
        (b"one\ntwo\r\nthree\n", [b"one", b"two", b"three"]),
        (b"one\ntwo", [b"one"]),
        (b"a\rb\n", [b"a\rb"]),
        (b"\ra\n", [b"\ra"]),
        (b"a\r\r\n", [b"a\r"]),
        (b"\r\r\n", [b"\r"]),
        (b"\n\r\n\r", [b"", b""]),
        (b"\0\xff\0\n", [b"\0\xff\0"]),
        (b"\xc3\xa9\n", [b"\xc3\xa9"]),
        (b" spaces stay \n", [b" spaces stay "]),
        (b"form\x0cfeed\x0b\x85\x1c\n", [b"form\x0cfeed\x0b\x85\x1c"]),
    ],
)
def test_decoding(stream: bytes, expected: list[bytes], cut: Cut) -> None:
    assert messages(Lines(), cut(stream)) == expected
    assert messages(Lines(newline=b"\r\n"), cut(stream)) == expected


@pytest.mark.parametrize(
    ("message", "lf", "crlf"),
    [
        (b"hello", b"hello\n", b"hello\r\n"),
        (b"", b"\n", b"\r\n"),
        (b"a\rb", b"a\rb\n", b"a\rb\r\n"),
        (b"\0\xff", b"\0\xff\n", b"\0\xff\r\n"),
    ],
)
def test_encoding(message: bytes, lf: bytes, crlf: bytes) -> None:
    assert Lines().codec().encode(message) == lf
    assert Lines(newline=b"\r\n").codec().encode(message) == crlf


@pytest.mark.parametrize("message", [b"\r", b"hello\r", b"\r\r"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_message_that_ends_with_cr_is_given_crlf_so_that_it_keeps_it(
    message: bytes, newline: bytes
) -> None:
    framing = Lines(newline)
    wire = framing.codec().encode(message)
    assert wire == message + b"\r\n"
    assert messages(framing, [wire]) == [message]


@pytest.mark.parametrize("message", [b"\n", b"two\nlines", b"end\n", b"\r\n"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_message_with_a_newline_cannot_be_encoded(message: bytes, newline: bytes) -> None:
    with pytest.raises(UnencodableMessage, match="contains a newline") as caught:
        Lines(newline).codec().encode(message)
    assert caught.value.framing == "lines"
    assert caught.value.size == len(message)


@every_cut
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_at_the_limit_is_taken_with_either_end(end: bytes, cut: Cut) -> None:
    assert messages(Lines(), cut(b"12345" + end), limit=5) == [b"12345"]


@every_cut
@pytest.mark.parametrize(
    "stream", [b"123456\n", b"123456\r\n", b"12345\rx\n", b"1234567", b"12345\r\r\n"]
)
def test_a_longer_line_is_refused_whether_or_not_it_ends(stream: bytes, cut: Cut) -> None:
    decoded = decode(Lines(), cut(b"ok\n" + stream), limit=5)
    assert decoded.messages == [b"ok"]
    assert isinstance(decoded.error, MessageTooLarge)
    assert decoded.error.limit == 5
    assert decoded.error.position == 3
    assert 5 < decoded.error.size <= len(stream)


def test_a_cr_past_the_limit_may_yet_belong_to_the_end() -> None:
    codec = Lines().codec(5)
    codec.feed(b"12345\r")
    assert codec.next_message() is None
    codec.feed(b"\n")
    assert codec.next_message() == b"12345"


@every_cut
@pytest.mark.parametrize("stream", [b"half", b"half\r", b"\r"])
def test_by_default_a_line_without_its_end_is_truncated(stream: bytes, cut: Cut) -> None:
    decoded = decode(Lines(), cut(b"one\n" + stream), end=True)
    assert decoded.messages == [b"one"]
    assert isinstance(decoded.error, TruncatedMessage)
    assert (decoded.error.size, decoded.error.position) == (len(stream), 4)


@every_cut
@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", []),
        (b"last", [b"last"]),
        (b"one\nlast", [b"one", b"last"]),
        (b"one\n", [b"one"]),
        (b"one\n\n", [b"one", b""]),
        (b"last\r", [b"last\r"]),
    ],
)
def test_unterminated_takes_the_bytes_after_the_last_newline_at_the_end(
    stream: bytes, expected: list[bytes], cut: Cut
) -> None:
    assert messages(Lines(unterminated=True), cut(stream), end=True) == expected


def test_unterminated_waits_for_the_end() -> None:
    codec = Lines(unterminated=True).codec()
    codec.feed(b"last")
    assert codec.next_message() is None
    codec.end()
    assert codec.next_message() == b"last"
    assert codec.next_message() is None
    assert codec.unread == 0


@every_cut
def test_unterminated_at_the_limit_is_taken_and_one_more_byte_is_refused(cut: Cut) -> None:
    assert messages(Lines(unterminated=True), cut(b"12345"), limit=5, end=True) == [b"12345"]
    decoded = decode(Lines(unterminated=True), cut(b"123456"), limit=5, end=True)
    assert isinstance(decoded.error, MessageTooLarge)
    assert (decoded.error.limit, decoded.error.size, decoded.error.position) == (5, 6, 0)


@pytest.mark.parametrize("newline", [b"", b"\r", b"\n\r", b"\0", "\n", None])
def test_a_newline_is_lf_or_crlf(newline: bytes) -> None:
    with pytest.raises(UsageError, match=r"^newline must be b'\\n' or b'\\r\\n', not "):
        Lines(newline)
