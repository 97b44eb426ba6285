"""Raw: every read is a message, and a large one is several."""

from __future__ import annotations

import pytest

from threadwire import Raw

from .support import decode, in_pieces, messages


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [b"hello"],
        [b"one", b"two"],
        [b"\n", b"\r\n", b"\0"],
        [b"a"] * 50,
        [bytes(range(256))],
    ],
)
def test_chunks_are_messages(chunks: list[bytes]) -> None:
    assert messages(Raw(), chunks, end=True) == chunks


def test_an_empty_chunk_is_no_message() -> None:
    assert messages(Raw(), [b"", b"a", b"", b"b", b""]) == [b"a", b"b"]


@pytest.mark.parametrize("size", [1, 9, 10, 11, 19, 20, 21, 100])
def test_a_chunk_is_cut_at_the_limit(size: int) -> None:
    chunk = bytes(range(size))
    assert messages(Raw(), [chunk], limit=10) == in_pieces(10)(chunk)


def test_small_chunks_are_not_joined() -> None:
    assert messages(Raw(), [b"abc", b"defgh", b"i"], limit=4) == [b"abc", b"defg", b"h", b"i"]


def test_unread_counts_the_bytes_not_yet_taken() -> None:
    codec = Raw().codec(10)
    codec.feed(b"x" * 25)
    codec.feed(b"y")
    left = []
    while codec.next_message() is not None:
        left.append(codec.unread)
    assert left == [16, 6, 1, 0]


def test_a_stream_may_end_anywhere() -> None:
    decoded = decode(Raw(), [b"half a mess"], end=True)
    assert decoded.messages == [b"half a mess"]
    assert decoded.codec.next_message() is None


def test_messages_that_came_before_the_end_can_be_taken_after_it() -> None:
    codec = Raw().codec()
    codec.feed(b"late")
    codec.end()
    assert codec.next_message() == b"late"
    assert codec.next_message() is None


@pytest.mark.parametrize("message", [b"", b"hello", b"a\nb\r\n", b"\0\xff"])
def test_encoding_adds_nothing(message: bytes) -> None:
    assert Raw().codec().encode(message) == message
