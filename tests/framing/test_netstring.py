"""Netstring: the rules of https://cr.yp.to/proto/netstrings.txt."""

from __future__ import annotations

import pytest

from threadwire import MalformedMessage, MessageTooLarge, Netstring, TruncatedMessage

from .support import Cut, decode, every_cut, messages


@every_cut
@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", []),
        (b"12:hello world!,", [b"hello world!"]),
        (b"0:,", [b""]),
        (b"0:,0:,0:,", [b"", b"", b""]),
        (b"1:,,", [b","]),
        (b"4:1:a,,", [b"1:a,"]),
        (b"3:\0\xff\n,", [b"\0\xff\n"]),
        (b"5:hello,5:wor", [b"hello"]),
        (b"5:hello,5", [b"hello"]),
        (b"10:0123456789,1:a,", [b"0123456789", b"a"]),
    ],
)
def test_decoding(stream: bytes, expected: list[bytes], cut: Cut) -> None:
    assert messages(Netstring(), cut(stream)) == expected


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"", b"0:,"),
        (b"hello", b"5:hello,"),
        (b"\0,:\n", b"4:\0,:\n,"),
        (b"x" * 1000, b"1000:" + b"x" * 1000 + b","),
    ],
)
def test_encoding(message: bytes, wire: bytes) -> None:
    assert Netstring().codec().encode(message) == wire


@every_cut
@pytest.mark.parametrize(
    ("stream", "problem"),
    [
        (b"05:hello,", "leading zero"),
        (b"00:,", "leading zero"),
        (b"+5:hello,", "digits"),
        (b"-5:hello,", "digits"),
        (b" 5:hello,", "digits"),
        (b"5 :hello,", "digits"),
        (b"5\n:hello,", "digits"),
        (b"0x5:hello,", "digits"),
        (b"5.0:hello,", "digits"),
        (b"1_0:0123456789,", "digits"),
        (b"\xd9\xa5:hello,", "digits"),  # an Arabic five, as UTF-8
        (b"\xb2:ab,", "digits"),  # a superscript two, as Latin-1
        (b"hello", "digits"),
        (b",", "digits"),
        (b"\0", "digits"),
        (b":hello,", "without a length"),
        (b":", "without a length"),
        (b"5:hello;", "no comma"),
        (b"5:hello world,", "no comma"),
        (b"4:hello,", "no comma"),
        (b"0:\n", "no comma"),
        (b"0:0:,", "no comma"),
    ],
)
def test_malformed(stream: bytes, problem: str, cut: Cut) -> None:
    decoded = decode(Netstring(), cut(b"2:ok," + stream))
    assert decoded.messages == [b"ok"]
    assert isinstance(decoded.error, MalformedMessage)
    assert problem in decoded.error.problem
    assert decoded.error.position == 5


@every_cut
@pytest.mark.parametrize("limit", [1, 9, 10, 99, 100])
def test_the_limit(limit: int, cut: Cut) -> None:
    message = b"x" * limit
    assert messages(Netstring(), cut(b"%d:%b," % (limit, message)), limit=limit) == [message]
    decoded = decode(Netstring(), cut(b"%d:%bx," % (limit + 1, message)), limit=limit)
    assert isinstance(decoded.error, MessageTooLarge)
    assert (decoded.error.limit, decoded.error.size) == (limit, limit + 1)


@pytest.mark.parametrize(("limit", "header"), [(10, b"11"), (10, b"100"), (1000, b"99999")])
def test_too_large_a_length_is_refused_before_its_colon(limit: int, header: bytes) -> None:
    codec = Netstring().codec(limit)
    codec.feed(header)
    with pytest.raises(MessageTooLarge) as caught:
        codec.next_message()
    assert caught.value.size == int(header)
    assert codec.unread == len(header)


@every_cut
def test_a_length_without_end_is_refused_after_few_digits(cut: Cut) -> None:
    decoded = decode(Netstring(), cut(b"1" * 100_000), limit=999)
    assert isinstance(decoded.error, MessageTooLarge)
    assert decoded.error.size == 1111


@every_cut
def test_a_length_too_large_is_so_even_where_no_digit_follows(cut: Cut) -> None:
    decoded = decode(Netstring(), cut(b"12x:"), limit=10)
    assert isinstance(decoded.error, MessageTooLarge)


@every_cut
@pytest.mark.parametrize("part", [b"5", b"5:", b"5:hel", b"5:hello", b"0", b"0:"])
def test_the_stream_may_not_end_within_a_netstring(part: bytes, cut: Cut) -> None:
    decoded = decode(Netstring(), cut(b"2:ok," + part), end=True)
    assert decoded.messages == [b"ok"]
    assert isinstance(decoded.error, TruncatedMessage)
    assert (decoded.error.size, decoded.error.position) == (len(part), 5)
