"""Writing a header, for those who speak to a server in a proxy's place."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..address import Address
from ..errors import UsageError
from . import wire
from .header import Tlv

__all__ = ["encode_v1", "encode_v2"]

_MOST_LENGTH = 0xFFFF  # what a length field of version 2 can say


def encode_v1(source: Address | None, destination: Address | None) -> bytes:
    """A header of version 1 for two ``tcp`` addresses; for two ``None``, of ``UNKNOWN``.

    An IPv4 address beside an IPv6 one is written in its IPv6 form. Raises UsageError for
    what cannot be written.
    """
    ends = _ends(source, destination)
    if ends is None:
        return b"PROXY UNKNOWN\r\n"
    hosts, ports = _hosts(ends), _ports(ends)
    family, text = ("TCP4", wire.host4) if len(hosts[0]) == 4 else ("TCP6", _text6)
    fields = ["PROXY", family, *map(text, hosts), *map(str, ports)]
    return " ".join(fields).encode() + b"\r\n"


def encode_v2(
    source: Address | None,
    destination: Address | None,
    *,
    local: bool = False,
    tlvs: Iterable[Tlv] = (),
    crc: bool = False,
) -> bytes:
    """A header of version 2 for two ``tcp`` or two ``unix`` addresses.

    Two ``None`` say that they are not known, or, with ``local``, that there are none: the
    proxy speaks for itself. ``crc`` adds a checksum, which therefore is not to be among
    ``tlvs``. An IPv4 address beside an IPv6 one is written in its IPv6 form. Raises
    UsageError for what cannot be written.
    """
    ends = _ends(source, destination)
    family, addresses = (wire.UNSPEC, b"") if ends is None else _addresses(ends)
    parts = [addresses, *(_tlv(kind, value) for kind, value in tlvs)]
    if crc:
        parts.append(bytes([wire.CRC32C, 0, 4]) + bytes(4))
    block = b"".join(parts)
    if len(block) > _MOST_LENGTH:
        raise UsageError(f"tlvs are too large: {len(block)} bytes, more than {_MOST_LENGTH}")
    begin = wire.SIGNATURE_V2 + bytes([wire.LOCAL if local else wire.PROXY, family])
    header = begin + len(block).to_bytes(2, "big") + block
    if crc:
        header = header[:-4] + wire.crc32c(header).to_bytes(4, "big")
    return header


def _ends(source: Address | None, destination: Address | None) -> tuple[Address, Address] | None:
    given: dict[str, object] = {"source": source, "destination": destination}
    for name, address in given.items():
        fits = isinstance(address, Address) and address.scheme in ("tcp", "unix")
        if address is not None and not fits:
            raise UsageError(f"{name} must be a tcp or unix Address, or None, not {address!r}")
    if source is None and destination is None:
        return None
    if source is None or destination is None or source.scheme != destination.scheme:
        raise UsageError("source and destination must be of one kind, or both None")
    return source, destination


def _addresses(ends: tuple[Address, Address]) -> tuple[int, bytes]:
    """The family of ``ends``, and both as the header has them."""
    if ends[0].scheme == "unix":
        return wire.UNIX_STREAM, b"".join(map(_unix, ends))
    hosts, ports = _hosts(ends), _ports(ends)
    family = wire.TCP4 if len(hosts[0]) == 4 else wire.TCP6
    return family, b"".join([*hosts, *(port.to_bytes(2, "big") for port in ports)])


def _hosts(ends: tuple[Address, Address]) -> list[bytes]:
    """Both as four bytes, or both as sixteen."""
    packed = [_packed(address) for address in ends]
    if len(packed[0]) == len(packed[1]):
        return packed
    return [host if len(host) == 16 else wire.IPV4_MAPPED + host for host in packed]


def _packed(address: Address) -> bytes:
    from ipaddress import ip_address

    try:
        if "%" not in address.host:  # a zone, which cannot be told
            return ip_address(address.host).packed
    except ValueError:
        pass
    raise UsageError(f"the host of {address} is not an IP address in numbers")


def _ports(ends: tuple[Address, Address]) -> list[int]:
    for address in ends:
        if address.port not in range(65536):
            raise UsageError(f"the port of {address} is not one from 0 to 65535")
    return [address.port for address in ends]


def _text6(packed: bytes) -> str:
    if packed.startswith(wire.IPV4_MAPPED):  # of which ipaddress changed its mind
        return "::ffff:" + wire.host4(packed[12:])
    from ipaddress import IPv6Address

    return str(IPv6Address(packed))


def _unix(address: Address) -> bytes:
    name = os.fsencode(address.path)
    if len(name) > wire.UNIX_SIZE:
        raise UsageError(f"the path of {address} is longer than {wire.UNIX_SIZE} bytes")
    abstract = name.startswith(b"\0")
    if name.endswith(b"\0") or (b"\0" in name and not abstract):
        raise UsageError(f"the path of {address} has a zero byte that would be read as its end")
    return name.ljust(wire.UNIX_SIZE, b"\0")


def _tlv(kind: int, value: bytes) -> bytes:
    if kind not in range(256) or kind == wire.CRC32C:
        raise UsageError(f"the type of a TLV must be 0 to 255, without the checksum's, not {kind}")
    if len(value) > _MOST_LENGTH:
        raise UsageError(f"a TLV of {len(value)} bytes is larger than {_MOST_LENGTH}")
    return bytes([kind]) + len(value).to_bytes(2, "big") + value
