"""What both directions know of the format: its numbers, its TLVs, its checksum."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from ..errors import ProxyHeaderError

SIGNATURE_V1 = b"PROXY "
SIGNATURE_V2 = b"\r\n\r\n\0\r\nQUIT\n"

# Byte 13: the version, 2, and the command.
LOCAL, PROXY = 0x20, 0x21

# Byte 14: the family and the transport; with each, the bytes that its addresses take.
UNSPEC, TCP4, UDP4, TCP6, UDP6, UNIX_STREAM, UNIX_DATAGRAM = 0, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32
UNIX_SIZE = 108  # of each of the two names
ADDRESS_SIZES = {
    UNSPEC: 0,
    TCP4: 12,
    UDP4: 12,
    TCP6: 36,
    UDP6: 36,
    UNIX_STREAM: 2 * UNIX_SIZE,
    UNIX_DATAGRAM: 2 * UNIX_SIZE,
}

# Types of TLVs, and of those inside the one for SSL.
ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20
SSL_VERSION, SSL_CN, SSL_CIPHER, SSL_SIG_ALG, SSL_KEY_ALG = 0x21, 0x22, 0x23, 0x24, 0x25

MOST_UNIQUE_ID = 128  # bytes

IPV4_MAPPED = bytes(10) + b"\xff\xff"  # how the IPv6 form of an IPv4 address begins


class Span(NamedTuple):
    """A TLV: its type, and where its value lies."""

    kind: int
    begin: int
    end: int


def spans(data: bytes, position: int) -> list[Span]:
    """The TLVs from ``position`` to the end of ``data``; raises ProxyHeaderError."""
    found = []
    while position < len(data):
        begin = position + 3
        end = begin + uint(data, position + 1, 2)
        if end > len(data):
            raise ProxyHeaderError("its last TLV is cut short")
        found.append(Span(data[position], begin, end))
        position = end
    return found


def uint(data: bytes, begin: int, width: int) -> int:
    """The number in ``width`` bytes of ``data``, in network order."""
    return int.from_bytes(data[begin : begin + width], "big")


def host4(packed: bytes) -> str:
    """Four bytes as an IPv4 address is written."""
    return ".".join(map(str, packed))


def crc32c(data: bytes) -> int:
    """The checksum of Castagnoli (RFC 4960, Appendix B)."""
    table = _crc32c_table()
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder = table[(remainder ^ byte) & 0xFF] ^ (remainder >> 8)
    return remainder ^ 0xFFFFFFFF


@cache  # made when the first checksum comes: most proxies send none
def _crc32c_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        remainder = byte
        for _ in range(8):
            remainder = (remainder >> 1) ^ (0x82F63B78 if remainder & 1 else 0)
        table.append(remainder)
    return tuple(table)
