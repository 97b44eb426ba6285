"""Addresses as URLs, and as sockets give them."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadwire import Address, AddressError, parse_address
from threadwire.address import socket_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("tcp://localhost:12345", Address("tcp", "localhost", 12345)),
        ("tcp://127.0.0.1:0", Address("tcp", "127.0.0.1", 0)),
        ("tcp://example.org:65535", Address("tcp", "example.org", 65535)),
        ("tcp://:80", Address("tcp", "", 80)),
        ("tcp://[::1]:80", Address("tcp", "::1", 80)),
        ("tcp://[::]:80", Address("tcp", "::", 80)),
        ("tcp://[fe80::1%eth0]:80", Address("tcp", "fe80::1%eth0", 80)),
        ("unix:///run/app.sock", Address("unix", path="/run/app.sock")),
        ("unix:///with space/é:1", Address("unix", path="/with space/é:1")),
        ("fd://3", Address("fd", port=3)),
    ],
)
def test_parsing_and_writing(url: str, address: Address) -> None:
    assert parse_address(url) == address
    assert str(address) == url


def test_a_slash_may_stand_at_the_end() -> None:
    assert parse_address("tcp://localhost:80/") == Address("tcp", "localhost", 80)


def test_an_address_is_its_own_address() -> None:
    address = Address("tcp", "localhost", 80)
    assert parse_address(address) is address


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "no scheme"),
        ("localhost:80", "no scheme"),
        ("12345", "no scheme"),
        ("/run/app.sock", "no scheme"),
        ("tcp:localhost:80", "no scheme"),
        ("http://localhost:80", "unknown scheme 'http'"),
        ("TCP://localhost:80", "unknown scheme 'TCP'"),
        ("://localhost:80", "unknown scheme ''"),
        ("tcp://localhost", "no port"),
        ("tcp://localhost:", "no port"),
        ("tcp://", "no port"),
        ("tcp://localhost:http", "0 to 65535, not 'http'"),
        ("tcp://localhost:65536", "0 to 65535, not '65536'"),
        ("tcp://localhost:-1", "0 to 65535, not '-1'"),
        ("tcp://localhost:+1", "0 to 65535, not '+1'"),
        ("tcp://localhost: 80", "0 to 65535, not ' 80'"),
        ("tcp://localhost:٨٠", "0 to 65535"),
        ("tcp://localhost:80/path", "0 to 65535"),
        ("tcp://localhost:80//", "0 to 65535"),
        ("tcp://::1:80", "in brackets"),
        ("tcp://[::1:80", "in brackets"),
        ("tcp://::1]:80", "in brackets"),
        ("tcp://user@localhost:80", "'user@localhost' is not a host"),
        ("tcp://local host:80", "is not a host"),
        ("tcp://local\0host:80", "is not a host"),
        ("tcp://a/b:80", "is not a host"),
        ("tcp://a?b:80", "is not a host"),
        ("tcp://[[::1]]:80", "is not a host"),
        ("unix://", "must be absolute"),
        ("unix://run/app.sock", "must be absolute"),
        ("unix:///run\0/app.sock", "must be absolute"),
        ("fd://", "must be a number"),
        ("fd://-1", "must be a number"),
        ("fd://3rd", "must be a number"),
        ("fd://³", "must be a number"),
        ("tcp://localhost:" + "1" * 5000, "0 to 65535"),
        ("tcp://local\nhost:80", "is not a host"),
    ],
)
def test_what_is_wrong_is_named(url: str, problem: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(url)
    assert caught.value.address == url
    assert problem in caught.value.problem


@pytest.mark.parametrize("url", ["localhost:80", "http://localhost:80"])
def test_the_forms_that_are_known_are_shown(url: str) -> None:
    with pytest.raises(
        AddressError, match=r"tcp://HOST:PORT, .*unix:///PATH, fd://NUMBER or fd://NAME"
    ):
        parse_address(url)


@pytest.mark.parametrize("given", [None, 80, b"tcp://localhost:80", ("localhost", 80)])
def test_other_objects_are_not_addresses(given: Any) -> None:
    with pytest.raises(AddressError, match="an address is a string") as caught:
        parse_address(given)
    assert caught.value.address == repr(given)


@pytest.mark.parametrize(
    ("family", "name", "address"),
    [
        (socket.AF_INET, ("127.0.0.1", 80), Address("tcp", "127.0.0.1", 80)),
        (socket.AF_INET6, ("::1", 80, 0, 0), Address("tcp", "::1", 80)),
        (socket.AF_INET6, ("::ffff:10.0.0.1", 80, 0, 0), Address("tcp", "10.0.0.1", 80)),
        (socket.AF_INET6, ("::ffff:a00:1", 80, 0, 0), Address("tcp", "::ffff:a00:1", 80)),
        (socket.AF_UNIX, "/run/app.sock", Address("unix", path="/run/app.sock")),
        (socket.AF_UNIX, "", Address("unix", path="")),
        (socket.AF_UNIX, None, Address("unix", path="")),
        (socket.AF_UNIX, b"\0abstract", Address("unix", path="\0abstract")),
    ],
)
def test_addresses_of_sockets(family: int, name: Any, address: Address) -> None:
    assert socket_address(family, name) == address


def test_addresses_of_real_sockets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = socket_address(server.family, server.getsockname())
        assert address == Address("tcp", "127.0.0.1", server.getsockname()[1])
        assert parse_address(str(address)) == address
    one, other = socket.socketpair()
    with one, other:
        assert str(socket_address(one.family, one.getpeername())) == "unix://"


def test_addresses_are_values() -> None:
    address = Address("tcp", "localhost", 80)
    assert {address: 1}[parse_address("tcp://localhost:80")] == 1
    with pytest.raises(AttributeError):
        address.port = 81


hosts = st.from_regex(r"[a-z0-9.-]*", fullmatch=True) | st.ip_addresses().map(str)


@settings(deadline=None)
@given(hosts, st.integers(0, 65535))
def test_what_is_written_can_be_parsed(host: str, port: int) -> None:
    address = Address("tcp", host, port)
    assert parse_address(str(address)) == address


@settings(deadline=None)
@given(
    st.builds("".join, st.tuples(st.sampled_from(["", "tcp://", "unix://", "fd://"]), st.text()))
)
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    with contextlib.suppress(AddressError):
        address = parse_address(text)
        assert parse_address(str(address)) == address
