"""The host name in what a client sends first."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadwire.transport.client_hello import MOST_HELLO, asked_name
from threadwire.transport.tls import Tls

modest = settings(max_examples=80, deadline=None)

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CONTEXT.check_hostname = False
CONTEXT.set_alpn_protocols(["one", "two"])


def hello(name: str | None) -> bytes:
    """What OpenSSL sends first: one record."""
    client = Tls(CONTEXT, server_side=False, server_name=name)
    client.handshake()
    return client.take()


def records(message: bytes, size: int) -> bytes:
    """A handshake message in records of ``size`` bytes."""
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\3\1" + len(part).to_bytes(2) + part for part in parts)


SAMPLE = hello("a.example")

labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=40)
names = st.lists(labels, min_size=2, max_size=5).map(lambda found: ".".join([*found, "example"]))


@given(names)
@modest
def test_what_openssl_asks_for(name: str) -> None:
    assert asked_name(hello(name)) == name


def test_no_name() -> None:
    assert asked_name(hello(None)) is None
    assert asked_name(hello("127.0.0.1")) is None, "an address is none"


@pytest.mark.parametrize("size", [1, 2, 50, 16384])
def test_a_message_in_several_records(size: int) -> None:
    stream = records(SAMPLE[5:], size)
    assert asked_name(stream) == "a.example"
    assert asked_name(stream + b"\x16\3\3\xff\xffthe next is cut short") == "a.example"
    assert asked_name(stream + b"\x14") == "a.example"


def test_a_message_that_is_not_whole() -> None:
    for size in range(len(SAMPLE)):
        assert asked_name(SAMPLE[:size]) is None


def test_what_is_not_ascii_is_escaped() -> None:
    assert asked_name(SAMPLE.replace(b"a.example", b"\xe4.example")) == r"\xe4.example"


def test_a_hello_without_extensions() -> None:
    body = bytes(34) + b"\0" + b"\0\2\x13\x02" + b"\1\0"
    assert asked_name(records(b"\1" + len(body).to_bytes(3) + body, 1000)) is None


def test_other_names_and_other_messages() -> None:
    listed = b"\1\0\3odd" + b"\0\0\4host"
    name = len(listed).to_bytes(2) + listed
    extensions = b"\0\x17\0\0" + b"\0\0" + len(name).to_bytes(2) + name
    body = bytes(34) + b"\0" + b"\0\2\x13\x02" + b"\1\0" + len(extensions).to_bytes(2) + extensions
    message = b"\1" + len(body).to_bytes(3) + body
    assert asked_name(records(message, 1000)) == "host"
    assert asked_name(records(b"\2" + message[1:], 1000)) is None


@given(st.binary(max_size=300), st.booleans())
@modest
def test_any_bytes_are_a_name_or_none(data: bytes, framed: bool) -> None:
    stream = records(b"\1" + len(data).to_bytes(3) + data, 100) if framed else data
    found = asked_name(stream)
    assert found is None or found.isascii()


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=6))
@modest
def test_a_damaged_hello_has_a_name_or_none(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE)
    for at, value in changes:
        data[at] = value
    found = asked_name(bytes(data))
    assert found is None or found.isascii()


def test_a_record_fits_into_what_is_kept() -> None:
    assert len(records(bytes(16384), 16384)) == MOST_HELLO
