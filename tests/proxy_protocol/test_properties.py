"""What holds for whatever is written, read, cut, damaged, or read by others."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from threadwire import Address, ProxyHeaderError
from threadwire.address import socket_address
from threadwire.proxy_protocol import (
    MOST_V1,
    MOST_V2,
    ProxyHeader,
    ProxyParser,
    Tlv,
    encode_v1,
    encode_v2,
    wire,
)

from .support import CLIENT6, SIGNATURE, Outcome, byte_by_byte, cut, outcome


def tcp(version: int) -> st.SearchStrategy[Address]:
    hosts = st.ip_addresses(v=version).map(str)  # type: ignore[arg-type]
    return st.builds(Address, st.just("tcp"), hosts, st.integers(0, 65535))


names = st.binary(max_size=108).filter(lambda name: b"\0" not in name)
abstract = st.binary(max_size=107).map(lambda name: b"\0" + name).filter(lambda n: n[-1])
unix = st.one_of(names, abstract).map(lambda name: Address("unix", path=os.fsdecode(name)))

ends_v1 = st.one_of(
    st.tuples(tcp(4), tcp(4)), st.tuples(*[st.one_of(tcp(4), tcp(6))] * 2), st.just((None, None))
)
ends = st.one_of(ends_v1, st.tuples(unix, unix))
kinds = st.integers(0, 255).filter(lambda kind: kind not in (3, 4, 5, 0x20))
tlv_lists = st.lists(st.tuples(kinds, st.binary(max_size=20)), max_size=5)
headers_v1 = ends_v1.map(lambda pair: encode_v1(*pair))
headers_v2 = st.builds(
    lambda pair, local, tlvs, crc: encode_v2(*pair, local=local, tlvs=tlvs, crc=crc),
    ends,
    st.booleans(),
    tlv_lists,
    st.booleans(),
)
headers = st.one_of(headers_v1, headers_v2)

many_cuts = st.lists(st.integers(0, 5000), max_size=8)


def shown(address: Address | None) -> Address | None:
    """An IPv4 address in its IPv6 form as it is read."""
    if address is not None and address.scheme == "tcp":
        mapped = getattr(ip_address(address.host), "ipv4_mapped", None)
        return Address("tcp", str(mapped or address.host), address.port)
    return address


@given(ends_v1, st.binary(max_size=20), many_cuts)
def test_what_is_written_in_version_1_is_read_back(
    pair: tuple[Address | None, Address | None], rest: bytes, cuts: list[int]
) -> None:
    header = encode_v1(*pair)
    assert len(header) <= MOST_V1
    expected = ProxyHeader(1, False, shown(pair[0]), shown(pair[1]))
    assert outcome(cut(header + rest, cuts)) == Outcome("header", expected, rest)


@given(ends, st.booleans(), tlv_lists, st.booleans(), st.binary(max_size=20), many_cuts)
def test_what_is_written_in_version_2_is_read_back(
    pair: tuple[Address | None, Address | None],
    local: bool,
    tlvs: list[Tlv],
    crc: bool,
    rest: bytes,
    cuts: list[int],
) -> None:
    data = encode_v2(*pair, local=local, tlvs=tlvs, crc=crc)
    kind, header, left, _ = outcome(cut(data + rest, cuts))
    assert (kind, left) == ("header", rest)
    assert header is not None
    assert (header.version, header.local) == (2, local)
    if local:
        assert header.source is header.destination is None
    else:
        assert (header.source, header.destination) == (shown(pair[0]), shown(pair[1]))
    checksum = ((3, data[-4:]),) if crc else ()
    assert header.tlvs == (*tlvs, *checksum)


@given(st.ip_addresses(v=6))
def test_an_ipv6_address_is_written_as_that_of_a_socket(ip: Any) -> None:
    if not int(ip) >> 32:
        return  # "::1.2.3.4", which sockets write so, has been obsolete since RFC 4291
    name = (socket.inet_ntop(socket.AF_INET6, ip.packed), 1, 0, 0)
    expected = socket_address(socket.AF_INET6, name)
    for line in (
        b"PROXY TCP6 %s ::1 1 2\r\n" % name[0].encode(),
        encode_v2(Address("tcp", str(ip), 1), CLIENT6),
    ):
        header = outcome([line]).header
        assert header is not None
        assert header.source == expected


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A header of which a part was cut off, left out or overwritten."""
    data = draw(headers)
    begin, end = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
    return data[:begin] + draw(st.sampled_from([b"", draw(st.binary(max_size=5))])) + data[end:]


words = [b"PROXY", b" ", b"TCP4", b"TCP6", b"UNKNOWN", b"\r", b"\n", b"1.2.3.4", b"::1", b"0", b"."]
anything = st.one_of(
    st.binary(max_size=300),
    damaged(),
    st.builds(bytes.__add__, headers, st.binary(max_size=50)),
    st.builds(bytes.__add__, st.just(SIGNATURE), st.binary(max_size=300)),
    st.builds(bytes.__add__, st.just(SIGNATURE + b"\x21\x11\0\x20"), st.binary(max_size=60)),
    st.builds(bytes.__add__, st.just(SIGNATURE + b"\x20\0\0\x20"), st.binary(max_size=60)),
    st.builds(bytes.__add__, st.just(b"PROXY "), st.binary(max_size=120)),
    st.lists(st.sampled_from(words), max_size=40).map(b"".join),
)


@given(anything, many_cuts, st.booleans())
@example(b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", [106], False)
@example(b"PROXY UNKNOWN \r\r\n", [15], False)
def test_whatever_comes_the_pieces_do_not_matter(
    data: bytes, cuts: list[int], optional: bool
) -> None:
    at_once = outcome([data], optional=optional)
    assert at_once.kind in {"header", "error", "more", *(["no header"] if optional else [])}
    if at_once.header is not None:
        assert data.endswith(at_once.rest)
    if at_once.kind == "no header":
        assert at_once.rest == data
    for pieces in (cut(data, cuts), byte_by_byte(data)):
        assert outcome(pieces, optional=optional)._replace(problem="") == at_once._replace(
            problem=""
        )


@given(anything, st.booleans())
def test_what_is_optional_differs_only_where_there_is_no_header(data: bytes, more: bool) -> None:
    required, optional = outcome([data]), outcome([data], optional=True)
    if optional.kind == "no header":
        assert required.problem.startswith("none;")
    else:
        assert optional == required


@given(anything, st.integers(1, 400))
def test_no_more_is_held_than_a_header_may_have(data: bytes, size: int) -> None:
    parser = ProxyParser()
    for begin in range(0, len(data), size):
        try:
            if parser.feed(data[begin : begin + size]) is not None:
                break
        except ProxyHeaderError:
            break
        assert parser.unread < (MOST_V1 if data.startswith(b"P") else MOST_V2)
    else:
        return
    assert parser.unread == 0
    assert len(parser.rest) < len(data)


@st.composite
def mutations(draw: st.DrawFn) -> tuple[bytes, int, bytes]:
    """A header with a checksum, a position in it, and what it is with another byte there."""
    data = encode_v2(*draw(ends), local=draw(st.booleans()), tlvs=draw(tlv_lists), crc=True)
    position = draw(st.integers(0, len(data) - 1))
    change = draw(st.integers(1, 255))
    changed = bytes([data[position] ^ change])
    return data, position, data[:position] + changed + data[position + 1 :]


def structure(data: bytes) -> set[int]:
    """Where a right header says what its parts are: family, lengths, types."""
    found = {13, 14, 15}
    for _, begin, _ in wire.spans(data, 16 + wire.ADDRESS_SIZES[data[13]]):
        found |= {begin - 3, begin - 2, begin - 1}
    return found


@given(mutations())
def test_a_checksum_detects_a_wrong_byte(mutation: tuple[bytes, int, bytes]) -> None:
    """Where the byte hides the checksum itself, nobody can tell; but then there is none."""
    data, position, wrong = mutation
    assert outcome([data]).kind == "header"
    kind, header, _, _ = outcome([wrong])
    if position not in structure(data):
        assert kind == "error"
    elif header is not None:
        assert header.tlv(3) is None


# Another implementation. Where it is laxer (proxy-protocol 0.11) is not looked at: it takes
# ports with a sign, with leading zeros or with underscores, IPv6 zones and lines of any length;
# families and transports that are none, TLVs cut short, and the addresses of datagrams. Of TLVs
# of one type it keeps the last, and it checks no checksum where the module crc32c is missing.
# An address block cut short ends in struct.error.


def _theirs(data: bytes) -> Any:
    pytest.importorskip("proxyprotocol")
    from proxyprotocol.v1 import ProxyProtocolV1
    from proxyprotocol.v2 import ProxyProtocolV2

    return (ProxyProtocolV1() if data.startswith(b"P") else ProxyProtocolV2()).unpack(data)


def _agree(ours: ProxyHeader, theirs: Any) -> None:
    from proxyprotocol.result import ProxyResultType

    assert ours.local == (theirs.type is ProxyResultType.LOCAL)
    unknown = theirs.type is ProxyResultType.UNKNOWN
    assert (ours.source is None) == (ours.local or unknown)
    if ours.source is not None and ours.destination is not None:
        for address, name in (
            (ours.source, theirs.peername),
            (ours.destination, theirs.sockname),
        ):
            if address.scheme == "unix":
                assert address.path == name
            else:
                assert address == shown(Address("tcp", name[0], name[1]))
    if not unknown:  # of which it drops the TLVs
        assert dict(ours.tlvs) == dict(theirs.tlv)


@given(headers_v1)
def test_another_implementation_reads_version_1_alike(data: bytes) -> None:
    header = outcome([data]).header
    assert header is not None
    _agree(header, _theirs(data))


plain_ends = st.one_of(
    ends_v1,
    st.tuples(*[st.text("/abc", max_size=100).map(lambda path: Address("unix", path=path))] * 2),
)


@given(plain_ends, st.booleans(), tlv_lists)
def test_another_implementation_reads_version_2_alike(
    pair: tuple[Address | None, Address | None], local: bool, tlvs: list[Tlv]
) -> None:
    if local:
        pair = (None, None)  # else it takes the addresses for TLVs
    data = encode_v2(*pair, local=local, tlvs=tlvs)
    header = outcome([data]).header
    assert header is not None
    _agree(header, _theirs(data))


@given(st.tuples(tcp(4), tcp(4)) | st.tuples(tcp(6), tcp(6)), st.binary(max_size=128))
def test_what_another_implementation_writes(
    pair: tuple[Address, Address], unique_id: bytes
) -> None:
    pytest.importorskip("proxyprotocol")
    from proxyprotocol.result import ProxyResultIPv4, ProxyResultIPv6
    from proxyprotocol.tlv import ProxyProtocolTLV
    from proxyprotocol.v1 import ProxyProtocolV1
    from proxyprotocol.v2 import ProxyProtocolV2

    Result: Any = ProxyResultIPv6 if ":" in pair[0].host else ProxyResultIPv4
    names = [(ip_address(address.host), address.port) for address in pair]
    tlv = ProxyProtocolTLV(unique_id=unique_id)
    result = Result(*names, protocol=socket.SOCK_STREAM, tlv=tlv)
    source, destination = shown(pair[0]), shown(pair[1])
    assert outcome([ProxyProtocolV1().pack(result)]).header == ProxyHeader(
        1, False, source, destination
    )
    header = outcome([ProxyProtocolV2().pack(result)]).header
    assert header is not None
    assert (header.source, header.destination) == (source, destination)
    assert header.unique_id == (unique_id or header.unique_id)
