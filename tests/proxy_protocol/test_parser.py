"""Reading headers of both versions, and what one parser promises."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from threadwire import Address, ProxyHeaderError, UsageError
from threadwire.proxy_protocol import (
    MOST_V1,
    MOST_V2,
    NO_HEADER,
    ProxyHeader,
    ProxyParser,
    encode_v2,
    wire,
)

from ..test_layers import CLOCKS_AND_IO, PACKAGE, imported
from .support import (
    CLIENT,
    CLIENT6,
    PUBLIC,
    PUBLIC6,
    SIGNATURE,
    TCP4,
    TCP6,
    UNIX,
    Outcome,
    byte_by_byte,
    outcome,
    tlv,
    v2,
)

# Version 1.


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.11 56324 443\r\n", CLIENT, PUBLIC),
        (b"PROXY TCP6 2001:db8::7 2001:db8:1::b 56324 443\r\n", CLIENT6, PUBLIC6),
        (b"PROXY TCP6 2001:DB8:0:0:0:0:0:7 2001:0db8:0001::000B 56324 443\r\n", CLIENT6, PUBLIC6),
        (  # an IPv4 client of a listener for both
            b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:c633:640b 56324 443\r\n",
            CLIENT,
            PUBLIC,
        ),
        (
            b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
            Address("tcp", "0.0.0.0", 0),
            Address("tcp", "255.255.255.255", 65535),
        ),
        (
            b"PROXY TCP6 :: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 1 2\r\n",
            Address("tcp", "::", 1),
            Address("tcp", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 2),
        ),
        (b"PROXY UNKNOWN\r\n", None, None),
        (b"PROXY UNKNOWN \r\n", None, None),
        (b"PROXY UNKNOWN 2001:db8::7 2001:db8::b 56324 443\r\n", None, None),
        (b"PROXY UNKNOWN anything  at\tall \xff\0\r\n", None, None),
        (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", None, None),  # 107 bytes
    ],
)
@pytest.mark.parametrize("rest", [b"", b"hello\n", b"\r\n", b"PROXY UNKNOWN\r\n"])
def test_lines_of_version_1(
    line: bytes, source: Address | None, destination: Address | None, rest: bytes
) -> None:
    expected = Outcome("header", ProxyHeader(1, False, source, destination), rest)
    assert len(line) <= MOST_V1
    assert outcome([line + rest]) == expected
    assert outcome(byte_by_byte(line + rest)) == expected


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        # Not one of the families, known at the first byte that differs.
        (b"PROXY TCP5", "TCP4, TCP6 or UNKNOWN"),
        (b"PROXY TCP4\t", "TCP4, TCP6 or UNKNOWN"),
        (b"PROXY t", "TCP4, TCP6 or UNKNOWN"),
        (b"PROXY  ", "TCP4, TCP6 or UNKNOWN"),
        (b"PROXY UD", "TCP4, TCP6 or UNKNOWN"),
        (b"PROXY UNKNOWNS", "TCP4, TCP6 or UNKNOWN"),
        (b"PROXY UNKNOWN\n", "TCP4, TCP6 or UNKNOWN"),
        (b"PROXY \r", "TCP4, TCP6 or UNKNOWN"),
        # No line, or a long one.
        (b"PROXY TCP4 192.0.2.7 198.51.100.11 56324 443\n", "CR or LF"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.11 56324 443\rX", "CR or LF"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.11 56324 443\r\r", "CR or LF"),
        (b"PROXY TCP4 192.0.2.7\n", "CR or LF"),
        (b"PROXY UNKNOWN\rX", "CR or LF"),
        (b"PROXY UNKNOWN \n", "CR or LF"),
        (b"PROXY UNKNOWN " + b"f" * 93, "107 bytes"),
        (b"PROXY UNKNOWN " + b"f" * 92 + b"\r", "107 bytes"),
        (b"PROXY TCP6 " + b"f" * 96, "107 bytes"),
        # Fields.
        (b"PROXY TCP4 \r\n", "two addresses and two ports"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.11 56324\r\n", "two addresses and two ports"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.11 56324 443 \r\n", "two addresses and two ports"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.11 56324 443 1\r\n", "two addresses and two ports"),
        (b"PROXY TCP4 192.0.2.7  198.51.100.11 56324 443\r\n", "two addresses and two ports"),
        (b"PROXY TCP4 192.0.2.7\t198.51.100.11 56324 443\r\n", "two addresses and two ports"),
        *(
            (b"PROXY TCP4 %b 198.51.100.11 56324 443\r\n" % host, "not an IPv4 address")
            for host in [
                *b"192.0.2 192.0.2.7.1 192.0.2. 192.0.2.256 192.0.2.07 192.0.2.00".split(),
                *b"192.0.2.+7 192.0.2.-7 192.0.2.0x7 192.0.2.\xb2 192.0.2.7\0".split(),
                *b"3221225991 example.org ::ffff:192.0.2.7 2001:db8::7".split(),
                b"",
            ]
        ),
        (b"PROXY TCP4 192.0.2.7 2001:db8::7 56324 443\r\n", "not an IPv4 address"),
        *(
            (b"PROXY TCP6 2001:db8::7 %b 56324 443\r\n" % host, "not an IPv6 address")
            for host in [
                *b": 192.0.2.7 [2001:db8::7] 2001:db8::7/64 2001:db8::7%1 fe80::1%eth0".split(),
                *b"2001:db8::7::1 2001:db8:7 1:2:3:4:5:6:7:8:9 1:2:3:4:5:6:7:8::".split(),
                *b"2001:db8::g 2001:db8::00007 ::ffff:192.0.2.07 2001:db8::\xff".split(),
                b"",
            ]
        ),
        *(
            (b"PROXY TCP4 192.0.2.7 198.51.100.11 %b 443\r\n" % port, "not a port")
            for port in [
                *b"65536 99999 123456 0443 00 +443 -1 4_43 0x1b 443. http \xb2".split(),
                b"",
            ]
        ),
        (b"PROXY TCP6 2001:db8::7 2001:db8::b 1 65536\r\n", "not a port"),
    ],
)
def test_what_is_no_line_of_version_1(data: bytes, problem: str) -> None:
    assert problem in outcome([data]).problem
    assert problem in outcome(byte_by_byte(data)).problem
    assert problem in outcome([data + b"hello\r\n"]).problem
    assert outcome([data[:-1]]).kind == "more", "it is told at the first byte that is wrong"


# Version 2.


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (v2(0x21, 0x11, TCP4), ProxyHeader(2, False, CLIENT, PUBLIC)),
        (v2(0x21, 0x21, TCP6), ProxyHeader(2, False, CLIENT6, PUBLIC6)),
        (
            v2(
                0x21,
                0x21,
                bytes.fromhex("00000000000000000000ffffc0000207")
                + bytes.fromhex("00000000000000000000ffffc633640b dc0401bb"),
            ),
            ProxyHeader(2, False, CLIENT, PUBLIC),
        ),
        (
            v2(0x21, 0x31, UNIX),
            ProxyHeader(
                2, False, Address("unix", path="/run/client"), Address("unix", path="/run/proxy")
            ),
        ),
        (  # none, one in the abstract namespace
            v2(0x21, 0x31, bytes(108) + b"\0app".ljust(108, b"\0")),
            ProxyHeader(2, False, Address("unix"), Address("unix", path="\0app")),
        ),
        (  # one that takes all the room, one with rubbish behind its end, of an unknown encoding
            v2(0x21, 0x31, b"/" * 108 + b"/run/\xff\0rubbish".ljust(108, b"!")),
            ProxyHeader(
                2, False, Address("unix", path="/" * 108), Address("unix", path="/run/\udcff")
            ),
        ),
        # Unspecified, and what is to be treated so: no addresses, but TLVs.
        (v2(0x21, 0x00), ProxyHeader(2)),
        (v2(0x21, 0x00, tlv(5, b"id")), ProxyHeader(2, tlvs=((5, b"id"),))),
        (v2(0x21, 0x12, TCP4 + tlv(5, b"id")), ProxyHeader(2, tlvs=((5, b"id"),))),
        (v2(0x21, 0x22, TCP6 + tlv(5, b"id")), ProxyHeader(2, tlvs=((5, b"id"),))),
        (v2(0x21, 0x32, UNIX + tlv(5, b"id")), ProxyHeader(2, tlvs=((5, b"id"),))),
        # The proxy itself: whatever stands in the header must be accepted.
        (v2(0x20, 0x00), ProxyHeader(2, True)),
        (v2(0x20, 0x11), ProxyHeader(2, True)),
        (v2(0x20, 0x11, TCP4), ProxyHeader(2, True)),
        (v2(0x20, 0x11, TCP4[:5]), ProxyHeader(2, True)),
        (v2(0x20, 0xFF), ProxyHeader(2, True)),
        (v2(0x20, 0x41, tlv(5, b"id")), ProxyHeader(2, True)),
        (v2(0x20, 0x00, TCP4), ProxyHeader(2, True)),
        (v2(0x20, 0x00, tlv(5, b"id")), ProxyHeader(2, True, tlvs=((5, b"id"),))),
        (v2(0x20, 0x21, TCP6 + tlv(5, b"id")), ProxyHeader(2, True, tlvs=((5, b"id"),))),
        (v2(0x20, 0x21, TCP6 + tlv(5, b"id") + b"\x05"), ProxyHeader(2, True)),
        # TLVs in their order, those of a type too; padding is none.
        (
            v2(0x21, 0x11, TCP4 + tlv(0xEA, b"\x01vpce-1") + tlv(0xE0, b"") + tlv(0xE0, b"\0")),
            ProxyHeader(
                2, False, CLIENT, PUBLIC, ((0xEA, b"\x01vpce-1"), (0xE0, b""), (0xE0, b"\0"))
            ),
        ),
        (
            v2(0x21, 0x11, TCP4 + tlv(4, b"") + tlv(5, b"id") + tlv(4, bytes(9))),
            ProxyHeader(2, False, CLIENT, PUBLIC, ((5, b"id"),)),
        ),
        (
            v2(0x21, 0x11, TCP4 + tlv(5, b"i" * 128)),
            ProxyHeader(2, False, CLIENT, PUBLIC, ((5, b"i" * 128),)),
        ),
        (  # as large as it may be
            v2(0x21, 0x11, TCP4 + tlv(0xE0, bytes(4096 - 15))),
            ProxyHeader(2, False, CLIENT, PUBLIC, ((0xE0, bytes(4096 - 15)),)),
        ),
    ],
)
@pytest.mark.parametrize("rest", [b"", b"hello\n", SIGNATURE])
def test_headers_of_version_2(header: bytes, expected: ProxyHeader, rest: bytes) -> None:
    assert len(header) <= MOST_V2
    assert outcome([header + rest]) == Outcome("header", expected, rest)
    assert outcome(byte_by_byte(header + rest)) == Outcome("header", expected, rest)
    assert outcome([header[:-1]]).kind == "more"


@pytest.mark.parametrize(
    "data",
    [
        *(v2(command, 0)[:13] for command in (0x00, 0x01, 0x11, 0x22, 0x2F, 0x31, 0xF1)),
        *(v2(0x21, family)[:14] for family in (0x01, 0x02, 0x03, 0x10, 0x13, 0x20, 0x30)),
        *(v2(0x21, family)[:14] for family in (0x1F, 0x33, 0x41, 0x51, 0xF0, 0xFF)),
        v2(0x21, 0x11, length=11),
        v2(0x21, 0x12, length=11),
        v2(0x21, 0x21, length=35),
        v2(0x21, 0x22, length=12),
        v2(0x21, 0x31, length=215),
        v2(0x21, 0x32, length=0),
        v2(0x21, 0x11, length=4097),
        v2(0x20, 0x00, length=65535),
        # TLVs cut short.
        v2(0x21, 0x11, TCP4 + b"\x05"),
        v2(0x21, 0x11, TCP4 + b"\x05\0"),
        v2(0x21, 0x11, TCP4 + b"\x05\0\x01"),
        v2(0x21, 0x11, TCP4 + tlv(5, b"id")[:-1]),
        v2(0x21, 0x11, TCP4 + tlv(5, b"id") + b"\0"),
        v2(0x21, 0x11, TCP4 + b"\x04\xff\xff"),
        v2(0x21, 0x00, TCP4),
        # TLVs that are wrong in themselves.
        v2(0x21, 0x11, TCP4 + tlv(5, b"i" * 129)),
        v2(0x21, 0x11, TCP4 + tlv(0x20, b"\1\0\0\0")),
        v2(0x21, 0x11, TCP4 + tlv(0x20, b"\1\0\0\0\0" + tlv(0x21, b"TLSv1.3")[:-1])),
        v2(0x21, 0x11, TCP4 + tlv(0x20, b"\1\0\0\0\0") + tlv(0x20, b"\1\0\0\0\0\x21")),
        # Checksums.
        v2(0x21, 0x11, TCP4 + tlv(3, bytes(4))),
        v2(0x21, 0x11, TCP4 + tlv(3, b"")),
        v2(0x21, 0x11, TCP4 + tlv(3, bytes(5))),
        v2(0x21, 0x11, TCP4 + tlv(3, bytes(4)) + tlv(3, bytes(4))),
        v2(0x20, 0x00, tlv(3, bytes(4))),
        encode_v2(CLIENT, PUBLIC, crc=True)[:-1] + b"\0",
    ],
)
def test_what_is_no_header_of_version_2(data: bytes) -> None:
    assert outcome([data]).kind == "error"
    assert outcome(byte_by_byte(data)).kind == "error"
    assert outcome([data], optional=True).kind == "error", "it was begun as one"
    assert outcome([data[:-1]]).kind == "more", "it is told at the first byte that is wrong"


@pytest.mark.parametrize(
    "tlvs",
    [
        tlv(3, b"sum!") + tlv(3, bytes(4)),
        tlv(3, b"sum!") + tlv(0xE0, b"") + tlv(3, b"sum!"),
        tlv(3, b"sum!\0"),
        tlv(3, b"sum"),
        tlv(3, b"su"),
    ],
)
def test_a_checksum_is_one_number_of_four_bytes(tlvs: bytes) -> None:
    assert "not one number of 4 bytes" in outcome([v2(0x21, 0x11, TCP4 + tlvs)]).problem


@pytest.mark.parametrize(
    ("data", "checksum"),
    [  # RFC 3720, B.4, in network order; and the usual check value
        (b"", 0x00000000),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_the_checksum(data: bytes, checksum: int) -> None:
    assert wire.crc32c(data) == checksum


# One parser.


@pytest.mark.parametrize(
    "data",
    [
        b"G",
        b"GET / HTTP/1.1\r\n",
        b"PROXX",
        b"PROXY\t",
        b"proxy ",
        b"\n",
        b"\r\n\r\n\r",
        b"\r\nhello",
        SIGNATURE[:-1] + b"\r",
        b"\x16\x03\x01",
        b"\0",
    ],
)
def test_a_connection_without_a_header(data: bytes) -> None:
    """It is known at the first byte that differs."""
    first = next(
        i + 1
        for i in range(len(data))
        if not any(s.startswith(data[: i + 1]) for s in (b"PROXY ", SIGNATURE))
    )
    assert outcome([data]).problem == f"none; the connection begins with {data!r}"
    assert outcome([data[:first]]).kind == "error"
    assert outcome([data[: first - 1]]).kind == "more"
    assert outcome([data[: first - 1]], optional=True).kind == "more"
    for pieces in ([data], byte_by_byte(data), [data[:first], data[first:]]):
        assert outcome(pieces, optional=True) == Outcome("no header", None, data)


def test_a_header_that_is_optional_is_read_like_any_other() -> None:
    line = b"PROXY TCP4 192.0.2.7 198.51.100.11 56324 443\r\nhello"
    assert outcome([line], optional=True) == outcome([line])
    assert outcome([b"PROXY TCP4 nobody"], optional=True).kind == "more"
    assert outcome([b"PROXY TCP4 nobody\r\n"], optional=True).kind == "error"


@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("data", [b"PROXY TCP4 1.2.3.4", v2(0x21, 0x11, TCP4)[:-1]])
def test_a_header_that_is_not_finished_is_an_error(data: bytes, optional: bool) -> None:
    parser = ProxyParser(optional=optional)
    assert parser.feed(data) is None
    assert parser.unread == len(data)
    assert parser.rest == b""
    problem = f"the stream ended after {len(data)} bytes of it"
    with pytest.raises(ProxyHeaderError) as raised:
        parser.settle("the stream ended")
    assert raised.value.problem == problem
    with pytest.raises(ProxyHeaderError) as raised:
        parser.feed(b"more")
    assert raised.value.problem == problem
    with pytest.raises(ProxyHeaderError) as raised:
        parser.settle("again")
    assert raised.value.problem == problem
    assert (parser.unread, parser.rest) == (0, b"")


@pytest.mark.parametrize("data", [b"", b"PROXY", b"P", b"\r\n", SIGNATURE[:-1]])
def test_what_might_have_become_a_header_is_none_if_it_need_not_be(data: bytes) -> None:
    parser = ProxyParser(optional=True)
    assert parser.feed(data) is None
    assert parser.settle("no more came") is NO_HEADER
    assert parser.rest == data
    parser = ProxyParser()
    assert parser.feed(data) is None
    with pytest.raises(ProxyHeaderError, match="no more came"):
        parser.settle("no more came")


def test_nothing_came_at_all() -> None:
    with pytest.raises(ProxyHeaderError) as raised:
        ProxyParser().settle("the stream ended")
    assert str(raised.value) == "PROXY header: the stream ended before it came"


def test_a_violation_is_final() -> None:
    parser = ProxyParser()
    for data in (b"GET", b"PROXY UNKNOWN\r\n"):
        with pytest.raises(ProxyHeaderError) as raised:
            parser.feed(data)
        assert raised.value.problem == "none; the connection begins with b'GET'"
    assert (parser.unread, parser.rest) == (0, b"")


@pytest.mark.parametrize("data", [b"PROXY UNKNOWN\r\n", b"hello"])
def test_what_comes_behind_is_not_for_the_parser(data: bytes) -> None:
    parser = ProxyParser(optional=True)
    assert parser.feed(data) is not None
    with pytest.raises(UsageError, match="one header"):
        parser.feed(b"more")
    with pytest.raises(UsageError, match="one header"):
        parser.settle("the stream ended")


def test_a_header_that_never_ends_is_refused() -> None:
    for begin, most in (
        (b"PROXY UNKNOWN ", MOST_V1),
        (v2(0x21, 0x11, TCP4, length=4096), MOST_V2),
        (v2(0x20, 0x00, length=4096), MOST_V2),
    ):
        parser = ProxyParser()
        fed = 0
        with contextlib.suppress(ProxyHeaderError):
            for byte in byte_by_byte(begin + bytes(2 * MOST_V2)):
                if parser.feed(byte) is not None:
                    break
                fed += 1
                assert parser.unread == fed
        assert fed == most - 1


# The module itself.


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "proxy_protocol").glob("*.py")), ids=lambda p: p.name
)
def test_it_does_no_io_and_knows_no_clock(path: Path) -> None:
    assert not {name.partition(".")[0] for name in imported(path)} & CLOCKS_AND_IO
