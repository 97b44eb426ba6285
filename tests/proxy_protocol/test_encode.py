"""Writing headers."""

from __future__ import annotations

from typing import Any

import pytest

from threadwire import Address, UsageError
from threadwire.proxy_protocol import Tlv, encode_v1, encode_v2, wire

from .support import CLIENT, CLIENT6, PUBLIC, PUBLIC6, TCP4, TCP6, UNIX, tlv, v2


def test_writing_version_1() -> None:
    assert encode_v1(CLIENT, PUBLIC) == b"PROXY TCP4 192.0.2.7 198.51.100.11 56324 443\r\n"
    assert encode_v1(CLIENT6, PUBLIC6) == b"PROXY TCP6 2001:db8::7 2001:db8:1::b 56324 443\r\n"
    assert encode_v1(CLIENT, PUBLIC6) == (
        b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8:1::b 56324 443\r\n"
    )
    assert encode_v1(None, None) == b"PROXY UNKNOWN\r\n"


def test_writing_version_2() -> None:
    assert encode_v2(CLIENT, PUBLIC) == v2(0x21, 0x11, TCP4)
    assert encode_v2(CLIENT6, PUBLIC6) == v2(0x21, 0x21, TCP6)
    assert encode_v2(Address("unix", path="/run/client"), Address("unix", path="/run/proxy")) == v2(
        0x21, 0x31, UNIX
    )
    assert encode_v2(None, None) == v2(0x21, 0x00)
    assert encode_v2(None, None, local=True) == v2(0x20, 0x00)
    assert encode_v2(CLIENT, PUBLIC, local=True) == v2(0x20, 0x11, TCP4)
    tlvs = [(5, b"id"), (0xEA, b"")]
    assert encode_v2(CLIENT, PUBLIC, tlvs=tlvs) == v2(
        0x21, 0x11, TCP4 + tlv(5, b"id") + tlv(0xEA, b"")
    )
    with_checksum = encode_v2(CLIENT, PUBLIC, tlvs=tlvs, crc=True)
    without = v2(0x21, 0x11, TCP4 + tlv(5, b"id") + tlv(0xEA, b"") + tlv(3, bytes(4)))
    assert with_checksum == without[:-4] + wire.crc32c(without).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("source", "destination", "problem"),
    [
        (CLIENT, None, "of one kind"),
        (None, PUBLIC, "of one kind"),
        (CLIENT, Address("unix", path="/x"), "of one kind"),
        (Address("fd", port=3), PUBLIC, "source must be a tcp or unix Address"),
        (CLIENT, "tcp://192.0.2.7:1", "destination must be a tcp or unix Address"),
        (Address("tcp", "localhost", 1), PUBLIC, "tcp://localhost:1 is not an IP address"),
        (CLIENT, Address("tcp", "", 1), "is not an IP address"),
        (Address("tcp", "fe80::1%eth0", 1), PUBLIC6, "is not an IP address"),
        (CLIENT, Address("tcp", "192.0.2.7", 65536), "0 to 65535"),
        (Address("tcp", "192.0.2.7", -1), PUBLIC, "0 to 65535"),
    ],
)
def test_addresses_that_cannot_be_written(source: Any, destination: Any, problem: str) -> None:
    for encode in (encode_v1, encode_v2):
        with pytest.raises(UsageError, match=problem):
            encode(source, destination)


def test_paths_are_not_for_version_1() -> None:
    path = Address("unix", path="/x")
    with pytest.raises(UsageError, match="not an IP address"):
        encode_v1(path, path)


@pytest.mark.parametrize("path", ["/" * 109, "/a\0b", "/a\0", "\0", "\0a\0"])
def test_paths_that_cannot_be_written(path: str) -> None:
    with pytest.raises(UsageError, match="the path of"):
        encode_v2(Address("unix", path="/x"), Address("unix", path=path))


@pytest.mark.parametrize(
    "tlvs",
    [
        [(-1, b"")],
        [(256, b"")],
        [(3, bytes(4))],
        [(0xE0, bytes(65536))],
        [(0xE0, bytes(65000)), (0xE0, bytes(600))],
    ],
)
def test_tlvs_that_cannot_be_written(tlvs: list[Tlv]) -> None:
    with pytest.raises(UsageError):
        encode_v2(CLIENT, PUBLIC, tlvs=tlvs)
