"""Reading a header, in whatever pieces it comes."""

from __future__ import annotations

import enum
import os
from typing import Final, TypeAlias

from ..address import Address
from ..errors import ProxyHeaderError, UsageError
from . import wire
from .header import ProxyHeader, Tlv, decode_ssl

__all__ = ["MOST_V1", "MOST_V2", "NO_HEADER", "NoHeader", "ProxyParser"]

# The most bytes a header may have. For version 1 the specification says so (section 2.1).
# Version 2 could announce 64 KiB, but is made to fit in one packet of 536 bytes. This leaves
# room for long names and whole certificates, and not for filling memory.
MOST_V1 = 107
MOST_V2 = 16 + 4096


class NoHeader(enum.Enum):
    """Said of a connection that begins without a header, where it may."""

    NO_HEADER = "no header"


NO_HEADER: Final = NoHeader.NO_HEADER


class ProxyParser:
    """Reads the header that one connection begins with. The connection's owner has it.

    ``optional``: the connection may as well begin without one. Then the first byte that is
    none of a header's decides, but what was begun as a header has to be a right one. The
    specification forbids to guess like this where strangers connect: who may send a header
    may say to be anybody.

    ``rest`` is what came behind the header, or, where there is none, all that came; empty
    until that is decided.
    """

    __slots__ = ("_buffer", "_decided", "_optional", "_problem", "rest")

    def __init__(self, *, optional: bool = False) -> None:
        self._optional = optional
        self._buffer = bytearray()  # what came, until it is decided: fewer than MOST_V2 bytes
        self._decided = False
        self._problem: str | None = None  # what is wrong with the header
        self.rest = b""

    def feed(self, data: bytes) -> ProxyHeader | NoHeader | None:
        """Take bytes as they came, cut anywhere; return the header if they complete it.

        ``None`` if more are needed, :data:`NO_HEADER` if there is no header and need not
        be. After either of the others nothing more may be fed. Raises ProxyHeaderError, and
        again however often it is called.
        """
        self._require_undecided()
        self._buffer += data
        try:
            found = _read(self._buffer)
            if found is NO_HEADER and not self._optional:
                begin = bytes(self._buffer[:16])
                raise ProxyHeaderError(f"none; the connection begins with {begin!r}")
        except ProxyHeaderError as error:
            self._refuse(error.problem)
            raise
        if found is None:
            return None
        if found is NO_HEADER:
            self._decide(0)
            return NO_HEADER
        header, size = found
        self._decide(size)
        return header

    def settle(self, reason: str) -> NoHeader:
        """Nothing more is waited for; ``reason`` says why, as in "the stream ended".

        Returns :data:`NO_HEADER` if there need not be a header and what came is not yet
        known to be one. Raises ProxyHeaderError otherwise.
        """
        self._require_undecided()
        if self._optional and not self._buffer.startswith((wire.SIGNATURE_V1, wire.SIGNATURE_V2)):
            self._decide(0)
            return NO_HEADER
        size = len(self._buffer)
        self._refuse(f"{reason} after {size} bytes of it" if size else f"{reason} before it came")
        raise ProxyHeaderError(str(self._problem))

    @property
    def unread(self) -> int:
        """Bytes fed that may be the beginning of a header; none once that is decided."""
        return len(self._buffer)

    def _require_undecided(self) -> None:
        if self._problem is not None:
            raise ProxyHeaderError(self._problem)
        if self._decided:
            raise UsageError("a parser reads one header; what comes behind it is not for it")

    def _decide(self, size: int) -> None:
        """The first ``size`` bytes are the header."""
        self.rest = bytes(memoryview(self._buffer)[size:])
        self._buffer = bytearray()
        self._decided = True

    def _refuse(self, problem: str) -> None:
        self._problem = problem
        self._buffer = bytearray()


# What follows looks at nothing but all the bytes so far. So the pieces do not matter, provided
# that a byte which makes a header impossible does so whatever comes behind it, and that all
# else is looked at only when the header is complete. Starting anew with each piece costs
# little: a line is short, and of version 2 no more than the first 16 bytes are looked at.

_Found: TypeAlias = tuple[ProxyHeader, int]  # the header, and its size in bytes

_V1_FAMILIES = (b"TCP4 ", b"TCP6 ", b"UNKNOWN ", b"UNKNOWN\r")


def _read(data: bytearray) -> _Found | NoHeader | None:
    signature, read = wire.SIGNATURE_V1, _read_v1
    if data.startswith(b"\r"):
        signature, read = wire.SIGNATURE_V2, _read_v2
    begin = data[: len(signature)]
    if not signature.startswith(begin):
        return NO_HEADER
    return read(data) if len(begin) == len(signature) else None


def _read_v1(data: bytearray) -> _Found | None:
    line = bytes(data[:MOST_V1])
    behind = line[len(wire.SIGNATURE_V1) :]
    if not any(family.startswith(behind[: len(family)]) for family in _V1_FAMILIES):
        raise ProxyHeaderError(f"{line!r} is not for TCP4, TCP6 or UNKNOWN")
    text, end, _ = line.partition(b"\r\n")
    if b"\n" in text or b"\r" in (text if end else text[:-1]):
        raise ProxyHeaderError(f"{line!r} has a CR or LF that is not its end")
    if not end:
        if len(line) == MOST_V1:
            raise ProxyHeaderError(f"{line!r} goes on beyond {MOST_V1} bytes")
        return None
    size = len(text) + len(end)
    if text.startswith(b"PROXY UNKNOWN"):
        return ProxyHeader(1), size
    fields = text.decode("ascii", "replace").split(" ")  # no field may have what it replaces
    if len(fields) != 6:
        raise ProxyHeaderError(f"{text!r} does not have two addresses and two ports")
    _, family, *hosts, source_port, destination_port = fields
    source, destination = map(_ipv4 if family == "TCP4" else _ipv6, hosts)
    return (
        ProxyHeader(
            1,
            source=Address("tcp", source, _port(source_port)),
            destination=Address("tcp", destination, _port(destination_port)),
        ),
        size,
    )


def _ipv4(text: str) -> str:
    parts = text.split(".")
    if len(parts) != 4 or not all(_is_decimal(part, 255) for part in parts):
        raise ProxyHeaderError(f"{text!r} is not an IPv4 address")
    return text


def _ipv6(text: str) -> str:
    from ipaddress import IPv6Address

    try:
        packed = IPv6Address(text).packed
    except ValueError:
        packed = b""
    if not packed or "%" in text:  # a zone means nothing to another machine
        raise ProxyHeaderError(f"{text!r} is not an IPv6 address")
    return _host6(packed)


def _port(text: str) -> int:
    if not _is_decimal(text, 65535):
        raise ProxyHeaderError(f"{text!r} is not a port")
    return int(text)


def _is_decimal(text: str, most: int) -> bool:
    """Whether it, of ASCII, is a number from 0 to ``most`` without a sign or leading zeros."""
    return text.isdigit() and (text == "0" or text[0] != "0") and int(text) <= most


def _read_v2(data: bytearray) -> _Found | None:
    have = len(data)
    local = have > 12 and data[12] == wire.LOCAL
    if have > 12 and not local and data[12] != wire.PROXY:
        raise ProxyHeaderError(f"{data[12]:#04x} is not version 2 and a command")
    if have > 13 and not local and data[13] not in wire.ADDRESS_SIZES:
        raise ProxyHeaderError(f"{data[13]:#04x} is not an address family and its transport")
    if have < 16:
        return None
    family, size = data[13], 16 + int.from_bytes(data[14:16], "big")
    addresses_end = 16 + wire.ADDRESS_SIZES.get(family, size)
    if size > MOST_V2:
        raise ProxyHeaderError(f"it announces {size} bytes, more than {MOST_V2}")
    if size < addresses_end and not local:
        raise ProxyHeaderError(f"it announces {size} bytes, too few for its addresses")
    if have < size:
        return None
    header = bytes(data[:size])
    try:
        spans, tlvs = _tlvs(header, addresses_end)
    except ProxyHeaderError:
        if not local:
            raise
        spans, tlvs = [], ()
    _check_crc32c(header, spans)
    source, destination = (None, None) if local else _addresses(header, family)
    return ProxyHeader(2, local, source, destination, tlvs), size


def _tlvs(header: bytes, begin: int) -> tuple[list[wire.Span], tuple[Tlv, ...]]:
    spans = wire.spans(header, begin)
    tlvs = tuple((kind, header[begin:end]) for kind, begin, end in spans if kind != wire.NOOP)
    for kind, value in tlvs:
        if kind == wire.SSL:
            decode_ssl(value)
        elif kind == wire.UNIQUE_ID and len(value) > wire.MOST_UNIQUE_ID:
            raise ProxyHeaderError(
                f"its unique ID has {len(value)} bytes, more than {wire.MOST_UNIQUE_ID}"
            )
    return spans, tlvs


def _check_crc32c(header: bytes, spans: list[wire.Span]) -> None:
    found = [span for span in spans if span.kind == wire.CRC32C]
    if not found:
        return
    _, begin, end = found[0]
    if len(found) > 1 or end - begin != 4:
        raise ProxyHeaderError("its checksum is not one number of 4 bytes")
    if wire.crc32c(header[:begin] + bytes(4) + header[end:]) != wire.uint(header, begin, 4):
        raise ProxyHeaderError("its checksum is wrong")


def _addresses(header: bytes, family: int) -> tuple[Address, Address] | tuple[None, None]:
    """Source and destination, if they are those of a stream."""
    if family == wire.UNIX_STREAM:
        middle = 16 + wire.UNIX_SIZE
        return _unix(header[16:middle]), _unix(header[middle : middle + wire.UNIX_SIZE])
    if family not in (wire.TCP4, wire.TCP6):
        return None, None
    width, host = (4, wire.host4) if family == wire.TCP4 else (16, _host6)
    middle, ports = 16 + width, 16 + 2 * width
    return (
        Address("tcp", host(header[16:middle]), wire.uint(header, ports, 2)),
        Address("tcp", host(header[middle:ports]), wire.uint(header, ports + 2, 2)),
    )


def _unix(field: bytes) -> Address:
    """The address in a ``sun_path``: a path ends with the first zero byte.

    What begins with one is a name in Linux's abstract namespace, or none if nothing follows.
    """
    name = field.rstrip(b"\0") if field.startswith(b"\0") else field.partition(b"\0")[0]
    return Address("unix", path=os.fsdecode(name))


def _host6(packed: bytes) -> str:
    """As the host of an IPv6 socket's peer is written, an IPv4 peer's in its IPv4 form."""
    if packed.startswith(wire.IPV4_MAPPED):
        return wire.host4(packed[12:])
    from ipaddress import IPv6Address

    return str(IPv6Address(packed))
