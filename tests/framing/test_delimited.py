"""Delimited: any delimiter, split anywhere, overlapping itself."""

from __future__ import annotations

import pytest

from threadwire import Delimited, MessageTooLarge, UnencodableMessage, UsageError

from .support import Cut, decode, every_cut, messages


@every_cut
@pytest.mark.parametrize(
    ("delimiter", "stream", "expected"),
    [
        (b"\0", b"one\0two\0thr", [b"one", b"two"]),
        (b"\0", b"\0\0", [b"", b""]),
        (b"\x03", b"\x02a\n\x03", [b"\x02a\n"]),
        (b"\n", b"keeps its\r\n", [b"keeps its\r"]),
        (b"\r\n", b"one\r\ntwo\rx\ny\r\n", [b"one", b"two\rx\ny"]),
        (b"\r\n", b"\r\r\n", [b"\r"]),
        (b"\r\n", b"\r\n\r\n", [b"", b""]),
        (b"----", b"a---b----c-----d", [b"a---b", b"c"]),
        (b"\r\n\r\n", b"a: 1\r\nb: 2\r\n\r\nbody", [b"a: 1\r\nb: 2"]),
        (b"aa", b"aaa", [b""]),
        (b"aa", b"aaaa", [b"", b""]),
        (b"aa", b"baab", [b"b"]),
        (b"aa", b"abaaabaa", [b"ab", b"ab"]),
        (b"aba", b"ababa", [b""]),
        (b"aba", b"abbaba", [b"abb"]),
        (b"aba", b"xabxababa", [b"xabx"]),
        (b"aba", b"ababaaba", [b"", b"ba"]),
        (b"aab", b"aaab", [b"a"]),
        (b"abc", b"ababc", [b"ab"]),
    ],
)
def test_decoding(delimiter: bytes, stream: bytes, expected: list[bytes], cut: Cut) -> None:
    assert messages(Delimited(delimiter), cut(stream)) == expected


@pytest.mark.parametrize("delimiter", [b"\r\n", b"aa", b"aba", b"----"])
def test_a_delimiter_may_be_split_at_any_place(delimiter: bytes) -> None:
    stream = b"one" + delimiter
    for i in range(len(stream) + 1):
        for j in range(i, len(stream) + 1):
            chunks = [stream[:i], stream[i:j], stream[j:]]
            assert messages(Delimited(delimiter), chunks) == [b"one"]


@pytest.mark.parametrize(
    ("delimiter", "message", "wire"),
    [
        (b"\0", b"", b"\0"),
        (b"\0", b"one", b"one\0"),
        (b"\r\n", b"a\rb\nc", b"a\rb\nc\r\n"),
        (b"\r\n", b"ends with \r", b"ends with \r\r\n"),
        (b"aab", b"a", b"aaab"),
    ],
)
def test_encoding(delimiter: bytes, message: bytes, wire: bytes) -> None:
    framing = Delimited(delimiter)
    assert framing.codec().encode(message) == wire
    assert messages(framing, [wire]) == [message]


@pytest.mark.parametrize(
    ("delimiter", "message", "problem"),
    [
        (b"\0", b"\0", "contains the delimiter"),
        (b"\0", b"a\0b", "contains the delimiter"),
        (b"\r\n", b"a\r\n", "contains the delimiter"),
        (b"\r\n", b"\r\nb", "contains the delimiter"),
        (b"aa", b"baab", "contains the delimiter"),
        (b"aa", b"ba", "hold an earlier delimiter"),
        (b"aba", b"ab", "hold an earlier delimiter"),
        (b"aba", b"xab", "hold an earlier delimiter"),
    ],
)
def test_what_would_be_read_back_otherwise_cannot_be_encoded(
    delimiter: bytes, message: bytes, problem: str
) -> None:
    with pytest.raises(UnencodableMessage, match=problem) as caught:
        Delimited(delimiter).codec().encode(message)
    assert caught.value.size == len(message)
    assert repr(delimiter) in caught.value.framing


@every_cut
@pytest.mark.parametrize("delimiter", [b"\0", b"\r\n", b"aba", b"0123456789"])
def test_the_delimiter_does_not_count_toward_the_limit(delimiter: bytes, cut: Cut) -> None:
    stream = b"12345" + delimiter
    assert messages(Delimited(delimiter), cut(stream), limit=5) == [b"12345"]


@every_cut
@pytest.mark.parametrize("delimiter", [b"\0", b"\r\n", b"aba", b"0123456789"])
def test_a_longer_message_is_refused(delimiter: bytes, cut: Cut) -> None:
    ok = b"ok" + delimiter
    decoded = decode(Delimited(delimiter), cut(ok + b"123456" + delimiter), limit=5)
    assert decoded.messages == [b"ok"]
    assert isinstance(decoded.error, MessageTooLarge)
    assert (decoded.error.limit, decoded.error.size) == (5, 6)
    assert decoded.error.position == len(ok)


@pytest.mark.parametrize(("delimiter", "wrong"), [(b"\0", 1), (b"\r\n", 2), (b"aba", 3)])
def test_without_a_delimiter_it_is_refused_as_soon_as_none_can_begin_within_the_limit(
    delimiter: bytes, wrong: int
) -> None:
    codec = Delimited(delimiter).codec(5)
    codec.feed(b"x" * (5 + wrong - 1))
    assert codec.next_message() is None
    codec.feed(b"x")
    with pytest.raises(MessageTooLarge) as caught:
        codec.next_message()
    assert caught.value.size == 6


@pytest.mark.parametrize("delimiter", [b"", "\n", None, 3, bytearray(b"\0")])
def test_a_delimiter_is_one_or_more_bytes(delimiter: bytes) -> None:
    with pytest.raises(UsageError, match=r"^delimiter must be one or more bytes, not "):
        Delimited(delimiter)
