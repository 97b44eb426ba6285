"""What tests of the PROXY protocol share: headers right or wrong, and what comes of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from threadwire import Address, ProxyHeaderError
from threadwire.proxy_protocol import NO_HEADER, ProxyHeader, ProxyParser

SIGNATURE = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"

CLIENT = Address("tcp", "192.0.2.7", 56324)
PUBLIC = Address("tcp", "198.51.100.11", 443)
CLIENT6 = Address("tcp", "2001:db8::7", 56324)
PUBLIC6 = Address("tcp", "2001:db8:1::b", 443)

# The addresses of CLIENT and PUBLIC, of CLIENT6 and PUBLIC6, and of two paths, in version 2.
TCP4 = bytes([192, 0, 2, 7, 198, 51, 100, 11]) + b"\xdc\x04\x01\xbb"
TCP6 = bytes.fromhex("20010db8000000000000000000000007 20010db800010000000000000000000b dc04 01bb")
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/proxy".ljust(108, b"\0")


def v2(
    command: int, family: int, block: bytes = b"", length: int | None = None, *, rest: bytes = b""
) -> bytes:
    """A header of version 2, right or wrong."""
    size = len(block) if length is None else length
    return SIGNATURE + bytes([command, family]) + size.to_bytes(2, "big") + block + rest


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


class Outcome(NamedTuple):
    """What came of a connection's first bytes."""

    kind: str  # header, no header, error, more
    header: ProxyHeader | None = None
    rest: bytes = b""
    problem: str = ""


def outcome(pieces: Iterable[bytes], *, optional: bool = False) -> Outcome:
    """What a parser says of the pieces; those after its decision belong to the rest."""
    parser = ProxyParser(optional=optional)
    left = iter(pieces)
    for piece in left:
        try:
            found = parser.feed(piece)
        except ProxyHeaderError as error:
            return Outcome("error", problem=error.problem)
        if found is not None:
            rest = parser.rest + b"".join(left)
            return (
                Outcome("no header", None, rest)
                if found is NO_HEADER
                else Outcome("header", found, rest)
            )
    return Outcome("more")


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """``data`` in pieces, some of which may be empty."""
    marks = [0, *sorted(mark % (len(data) + 1) for mark in cuts), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(marks)]
