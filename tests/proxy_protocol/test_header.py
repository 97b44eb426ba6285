"""What a header says beside the addresses."""

from __future__ import annotations

import pytest

from threadwire.proxy_protocol import ProxyHeader, ProxySsl

from .support import CLIENT, PUBLIC, tlv


def test_what_is_said_beside_the_addresses() -> None:
    header = ProxyHeader(
        2,
        tlvs=(
            (0x01, b"h2"),
            (0x02, "bücher.example".encode()),
            (0x05, b"\0id"),
            (0xEA, b"\x01vpce-1"),
            (0xEA, b"\x02"),
        ),
    )
    assert header.alpn == b"h2"
    assert header.authority == "bücher.example"
    assert header.unique_id == b"\0id"
    assert header.ssl is None
    assert header.tlv(0xEA) == b"\x01vpce-1"
    assert header.tlv(0xEB) is None


def test_what_is_not_said() -> None:
    header = ProxyHeader(1)
    assert (header.alpn, header.authority, header.unique_id, header.ssl) == (None,) * 4


def test_a_name_that_is_not_utf_8_shows_where() -> None:
    assert ProxyHeader(2, tlvs=((2, b"a\xffb"),)).authority == "a\ufffdb"


def test_what_is_said_of_tls() -> None:
    value = b"\x03\0\0\0\x12" + tlv(0x21, b"TLSv1.2") + tlv(0x22, "Zoë".encode()) + tlv(0x99, b"x")
    said = ProxyHeader(2, tlvs=((0x20, value),)).ssl
    assert said == ProxySsl(3, 0x12, ((0x21, b"TLSv1.2"), (0x22, "Zoë".encode()), (0x99, b"x")))
    assert said.used
    assert said.version == "TLSv1.2"
    assert said.common_name == "Zoë"
    assert (said.cipher, said.signature_algorithm, said.key_algorithm) == (None, None, None)
    assert said.tlv(0x99) == b"x"


@pytest.mark.parametrize(
    ("client", "verify", "verified"),
    [
        (0b011, 0, True),
        (0b101, 0, True),
        (0b111, 0, True),
        (0b001, 0, False),  # what HAProxy sends of a client that shows no certificate
        (0b010, 0, False),
        (0b000, 0, False),
        (0b011, 1, False),
        (0b111, 0x80000000, False),
    ],
)
def test_a_certificate_is_verified_only_if_there_is_one(
    client: int, verify: int, verified: bool
) -> None:
    assert ProxySsl(client, verify).verified is verified


def test_headers_are_values() -> None:
    header = ProxyHeader(2, False, CLIENT, PUBLIC, ((5, b"id"),))
    assert header == ProxyHeader(2, False, CLIENT, PUBLIC, ((5, b"id"),))
    assert header != ProxyHeader(2, True, CLIENT, PUBLIC, ((5, b"id"),))
    assert hash(header) == hash(ProxyHeader(2, False, CLIENT, PUBLIC, ((5, b"id"),)))
    with pytest.raises(AttributeError, match="source"):
        header.source = PUBLIC
