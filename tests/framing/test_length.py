"""LengthPrefixed: every width, both orders, bytes before the field, whole-frame lengths."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from threadwire import (
    LengthPrefixed,
    MalformedMessage,
    MessageTooLarge,
    TruncatedMessage,
    UnencodableMessage,
    UsageError,
)

from .support import Cut, decode, every_cut, messages

TPKT = LengthPrefixed(2, offset=2, inclusive=True)  # RFC 1006: version, reserved, length
BGP = LengthPrefixed(2, offset=16, inclusive=True)  # RFC 4271: marker, length, type
MARKER = b"\xff" * 16

ORDERS: tuple[Literal["big", "little"], ...] = ("big", "little")
SIZES = range(1, 9)


@every_cut
@pytest.mark.parametrize(
    ("framing", "wire", "message"),
    [
        (LengthPrefixed(), b"\0\0\0\x05hello", b"hello"),
        (LengthPrefixed(), b"\0\0\0\0", b""),
        (LengthPrefixed(byteorder="little"), b"\x05\0\0\0hello", b"hello"),
        (LengthPrefixed(1), b"\x05hello", b"hello"),
        (LengthPrefixed(1), b"\x03\0\xff\0", b"\0\xff\0"),
        (LengthPrefixed(2), b"\x01\0" + b"x" * 256, b"x" * 256),
        (LengthPrefixed(2, "little"), b"\0\x01" + b"x" * 256, b"x" * 256),
        (LengthPrefixed(3), b"\0\0\x05hello", b"hello"),
        (LengthPrefixed(8, "little"), b"\x05" + bytes(7) + b"hello", b"hello"),
        (LengthPrefixed(1, offset=1), b"T\x05hello", b"Thello"),
        (LengthPrefixed(1, offset=3), b"abc\0", b"abc"),
        (LengthPrefixed(2, inclusive=True), b"\0\x07hello", b"hello"),
        (LengthPrefixed(2, inclusive=True), b"\0\x02", b""),
        (LengthPrefixed(2, "little", 2, True), b"ab\x09\0hello", b"abhello"),
        (TPKT, b"\x03\0\0\x09hello", b"\x03\0hello"),
        (TPKT, b"\x03\0\0\x07\x02\xf0\x80", b"\x03\0\x02\xf0\x80"),
        (BGP, MARKER + b"\0\x13\x04", MARKER + b"\x04"),  # KEEPALIVE, the shortest: 19 bytes
    ],
)
def test_decoding_and_encoding(
    framing: LengthPrefixed, wire: bytes, message: bytes, cut: Cut
) -> None:
    assert messages(framing, cut(wire)) == [message]
    assert messages(framing, cut(wire + wire + wire[:-1])) == [message, message]
    assert framing.codec().encode(message) == wire


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", SIZES)
def test_every_width_in_both_orders(size: int, order: Literal["big", "little"]) -> None:
    framing = LengthPrefixed(size, order)
    wire = framing.codec().encode(b"hello")
    field = bytes(size - 1) + b"\x05" if order == "big" else b"\x05" + bytes(size - 1)
    assert wire == field + b"hello"
    assert messages(framing, [wire]) == [b"hello"]


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", SIZES)
def test_a_field_of_all_ones_is_the_largest_length_and_not_a_negative_one(
    size: int, order: Literal["big", "little"], inclusive: bool
) -> None:
    codec = LengthPrefixed(size, order, inclusive=inclusive).codec(100)
    codec.feed(b"\xff" * size)
    with pytest.raises(MessageTooLarge) as caught:
        codec.next_message()
    assert caught.value.size == 256**size - 1 - (size if inclusive else 0)
    assert caught.value.limit == 100


def test_a_field_of_all_ones_within_the_limit_is_a_length() -> None:
    assert messages(LengthPrefixed(1), [b"\xff" + b"x" * 255]) == [b"x" * 255]


@every_cut
@pytest.mark.parametrize("framing", [LengthPrefixed(2), LengthPrefixed(2, inclusive=True), TPKT])
def test_the_field_does_not_count_toward_the_limit_but_the_bytes_before_it_do(
    framing: LengthPrefixed, cut: Cut
) -> None:
    wire = framing.codec().encode(b"123456")
    assert messages(framing, cut(wire), limit=6) == [b"123456"]
    decoded = decode(framing, cut(wire), limit=5)
    assert isinstance(decoded.error, MessageTooLarge)
    assert (decoded.error.limit, decoded.error.size, decoded.error.position) == (5, 6, 0)


def test_too_large_a_length_is_refused_with_only_the_header_read() -> None:
    codec = LengthPrefixed(4).codec(1000)
    codec.feed(b"\0\0\x03")
    assert codec.next_message() is None
    codec.feed(b"\xe9")  # 1001
    with pytest.raises(MessageTooLarge, match="1001"):
        codec.next_message()
    assert codec.unread == 4


@every_cut
@pytest.mark.parametrize(
    ("framing", "header", "length"),
    [
        (LengthPrefixed(1, inclusive=True), b"\0", 0),
        (LengthPrefixed(2, inclusive=True), b"\0\x01", 1),
        (LengthPrefixed(4, "little", inclusive=True), b"\x03\0\0\0", 3),
        (TPKT, b"\x03\0\0\x03", 3),
        (BGP, MARKER + b"\0\x11", 17),
    ],
)
def test_a_whole_frame_shorter_than_its_header_is_malformed(
    framing: LengthPrefixed, header: bytes, length: int, cut: Cut
) -> None:
    first = framing.codec().encode(MARKER)
    decoded = decode(framing, cut(first + header))
    assert decoded.messages == [MARKER]
    assert isinstance(decoded.error, MalformedMessage)
    assert decoded.error.position == len(first)
    assert f"length {length} does not cover the header" in decoded.error.problem


@every_cut
@pytest.mark.parametrize("framing", [LengthPrefixed(2), TPKT, BGP])
def test_the_stream_may_not_end_within_a_frame(framing: LengthPrefixed, cut: Cut) -> None:
    wire = framing.codec().encode(MARKER + b"x")
    for size in range(1, len(wire)):
        decoded = decode(framing, cut(wire + wire[:size]), end=True)
        assert decoded.messages == [MARKER + b"x"]
        assert isinstance(decoded.error, TruncatedMessage)
        assert (decoded.error.size, decoded.error.position) == (size, len(wire))


@pytest.mark.parametrize(
    ("framing", "most"),
    [
        (LengthPrefixed(1), 255),
        (LengthPrefixed(1, inclusive=True), 254),
        (LengthPrefixed(1, offset=3), 258),
        (LengthPrefixed(1, offset=3, inclusive=True), 254),
        (LengthPrefixed(2, "little"), 65535),
        (TPKT, 65533),
    ],
)
def test_a_message_too_long_for_the_field_cannot_be_encoded(
    framing: LengthPrefixed, most: int
) -> None:
    codec = framing.codec()
    assert messages(framing, [codec.encode(b"x" * most)], limit=most) == [b"x" * most]
    with pytest.raises(UnencodableMessage, match="does not fit in") as caught:
        codec.encode(b"x" * (most + 1))
    assert caught.value.size == most + 1


@pytest.mark.parametrize("inclusive", [False, True])
def test_a_message_without_the_bytes_before_the_field_cannot_be_encoded(inclusive: bool) -> None:
    codec = LengthPrefixed(2, offset=4, inclusive=inclusive).codec()
    assert codec.encode(b"abcd").startswith(b"abcd")
    with pytest.raises(UnencodableMessage, match="shorter than the 4 bytes") as caught:
        codec.encode(b"abc")
    assert caught.value.size == 3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"size": 0}, "size"),
        ({"size": 9}, "size"),
        ({"size": -1}, "size"),
        ({"size": "4"}, "size"),
        ({"size": None}, "size"),
        ({"size": 4.0}, "size"),
        ({"size": True}, "size"),
        ({"byteorder": "middle"}, "byteorder"),
        ({"byteorder": "BIG"}, "byteorder"),
        ({"byteorder": None}, "byteorder"),
        ({"offset": -1}, "offset"),
        ({"offset": 1.5}, "offset"),
        ({"offset": "2"}, "offset"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=f"^{named} must be "):
        LengthPrefixed(**arguments)
