"""HAProxy, at both ends: what version 2.6 was seen to send, and what the installed one does."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from threadwire import Address
from threadwire.address import socket_address
from threadwire.proxy_protocol import ProxyHeader, ProxyParser, encode_v1, encode_v2

from ..haproxy import HAProxy, program
from ..support import PATIENCE
from .support import CLIENT, CLIENT6, PUBLIC, PUBLIC6, Outcome, byte_by_byte, outcome


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (
            b"PROXY TCP6 ::ffff:127.0.0.1 ::ffff:127.0.0.1 58256 41243\r\n",
            ProxyHeader(
                1, False, Address("tcp", "127.0.0.1", 58256), Address("tcp", "127.0.0.1", 41243)
            ),
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n!\x11\0(\x7f\0\0\x01\x7f\0\0\x01\xe4\x8a\x83\xe3"
            b"\x03\0\x04\x8c,\x1d3\x05\0\x127F000001:E48A_0000",
            ProxyHeader(
                2,
                False,
                Address("tcp", "127.0.0.1", 58506),
                Address("tcp", "127.0.0.1", 33763),
                ((3, b"\x8c,\x1d3"), (5, b"7F000001:E48A_0000")),
            ),
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n!!\0X" + bytes(15) + b"\x01" + bytes(15) + b"\x01\xcfT\x9dq"
            b"\x03\0\x04l\xddM\xa8\x05\0*00000000000000000000000000000001:CF54_0000",
            ProxyHeader(
                2,
                False,
                Address("tcp", "::1", 53076),
                Address("tcp", "::1", 40305),
                ((3, b"l\xddM\xa8"), (5, b"00000000000000000000000000000001:CF54_0000")),
            ),
        ),
        (  # a client that came by a Unix socket
            b"\r\n\r\n\0\r\nQUIT\n \0\0\n\x03\0\x04\x82ct\xb8\x05\0\0",
            ProxyHeader(2, True, tlvs=((3, b"\x82ct\xb8"), (5, b""))),
        ),
        (  # a health check
            b"\r\n\r\n\0\r\nQUIT\n \0\0\x0f\x03\0\x04\x88\x9d\xa1\xdf \0\x05\0\0\0\0\0",
            ProxyHeader(2, True, tlvs=((3, b"\x88\x9d\xa1\xdf"), (0x20, bytes(5)))),
        ),
    ],
)
def test_headers_that_haproxy_sent(data: bytes, header: ProxyHeader) -> None:
    assert outcome([data]) == Outcome("header", header)
    assert outcome(byte_by_byte(data)) == Outcome("header", header)


def test_what_haproxy_said_of_tls() -> None:
    header = outcome(
        [
            b"\r\n\r\n\0\r\nQUIT\n!\x11\0{\x7f\0\0\x01\x7f\0\0\x01\xcd\xf0\xa5;\x03\0\x04f\x9eb\n"
            b'\x01\0\x02h2\x02\0\x0eserver.example \0O\x07\0\0\0\0!\0\x07TLSv1.3"\0\x08A Client'
            b"%\0\x05EC256$\0\x11ecdsa-with-SHA256#\0\x16TLS_AES_256_GCM_SHA384"
        ]
    ).header
    assert header is not None
    assert (header.alpn, header.authority) == (b"h2", "server.example")
    assert header.ssl is not None
    assert header.ssl.verified
    assert header.ssl.version == "TLSv1.3"
    assert header.ssl.common_name == "A Client"
    assert header.ssl.cipher == "TLS_AES_256_GCM_SHA384"
    assert header.ssl.signature_algorithm == "ecdsa-with-SHA256"
    assert header.ssl.key_algorithm == "EC256"


class Relay(HAProxy):
    """An HAProxy between ``listening`` and our own ``server``."""

    def __init__(
        self,
        directory: Path,
        listening: socket.socket,
        bind: str,
        server: str,
        more: Sequence[str],
    ) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(PATIENCE)
        address = f"127.0.0.1:{self.server.getsockname()[1]}"
        super().__init__(directory, listening, bind=bind, server=f"{address} {server}", more=more)

    def heard(self, said: bytes, answer: bytes = b"") -> tuple[ProxyHeader, Address]:
        """The next connection's header, behind which ``said`` has come; and its own peer."""
        connected, name = self.server.accept()
        with connected:
            connected.settimeout(PATIENCE)
            parser = ProxyParser()
            header = None
            while header is None:
                data = connected.recv(7)
                assert data, "it ended within the header"
                header = parser.feed(data)
            rest = parser.rest
            while len(rest) < len(said) and (data := connected.recv(100)):
                rest += data
            assert rest == said
            if answer:
                connected.sendall(answer)
        assert isinstance(header, ProxyHeader)
        return header, socket_address(socket.AF_INET, name)

    def close(self) -> None:
        super().close()
        self.server.close()


Relaying = Callable[..., Relay]


@pytest.fixture
def relaying(tmp_path: Path) -> Iterator[Relaying]:
    program()
    relays: list[Relay] = []

    def start(
        server: str, *, host: str = "127.0.0.1", bind: str = "", more: Sequence[str] = ()
    ) -> Relay:
        if host.startswith("/"):
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(tmp_path / "relay.sock"))
            listening.listen()
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                listening = socket.create_server((host, 0), family=family)
            except OSError:
                pytest.skip(f"there is no {host} here")
        relays.append(Relay(tmp_path, listening, bind, server, more))
        return relays[-1]

    yield start
    for relay in relays:
        relay.close()


VERSIONS = [
    (1, "send-proxy"),
    (2, "send-proxy-v2"),
    (2, "send-proxy-v2 proxy-v2-options crc32c,unique-id"),
]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(("version", "option"), VERSIONS)
def test_haproxys_clients(relaying: Relaying, host: str, version: int, option: str) -> None:
    relay = relaying(option, host=host)
    with relay.client() as client:
        client.sendall(b"hello\n")
        header, _ = relay.heard(b"hello\n")
        assert header.version == version
        assert not header.local
        assert header.source == socket_address(client.family, client.getsockname())
        assert header.destination == socket_address(client.family, client.getpeername())
        if "unique-id" in option:
            assert header.unique_id == f"id-{host}-{client.getsockname()[1]}".encode()
            assert header.tlv(3) is not None


@pytest.mark.parametrize(("version", "option"), VERSIONS)
def test_haproxys_clients_by_a_unix_socket(relaying: Relaying, version: int, option: str) -> None:
    """It says of these that it speaks for itself, or that it does not know."""
    relay = relaying(option, host="/")
    with relay.client() as client:
        client.sendall(b"hello\n")
        header, _ = relay.heard(b"hello\n")
        assert (header.version, header.source, header.destination) == (version, None, None)


@pytest.mark.parametrize(("version", "option"), VERSIONS)
def test_haproxys_health_checks(relaying: Relaying, version: int, option: str) -> None:
    check = ["option tcp-check", "tcp-check send ping", "tcp-check expect string pong"]
    relay = relaying(f"{option} check inter 100ms", more=check)
    for _ in range(2):
        header, peer = relay.heard(b"ping", answer=b"pong")
        assert header.version == version
        if version == 2:
            assert header.local
            assert header.source is None
        else:
            assert header.source == peer


def test_what_haproxy_says_of_tls(relaying: Relaying, tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("server.example", "client.example"):
        issued = authority.issue_cert(name, common_name=name)
        issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    context.set_alpn_protocols(["h2"])
    relay = relaying(
        "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c",
        bind=f"ssl crt {tmp_path}/server.example.pem alpn h2 "
        f"ca-file {tmp_path}/ca.pem verify optional",
    )
    for certificate in (None, tmp_path / "client.example.pem"):
        if certificate is not None:
            context.load_cert_chain(certificate)
        with context.wrap_socket(relay.client(), server_hostname="server.example") as client:
            client.sendall(b"hello\n")
            header, _ = relay.heard(b"hello\n")
            said = header.ssl
            cipher = client.cipher()
            assert said is not None
            assert cipher is not None
            assert header.source == socket_address(socket.AF_INET, client.getsockname())
            assert (header.authority, header.alpn) == ("server.example", b"h2")
            assert (said.used, said.version, said.cipher) == (True, client.version(), cipher[0])
            assert said.verified == (certificate is not None)
            assert said.common_name == (None if certificate is None else "client.example")
            assert said.signature_algorithm
            assert said.key_algorithm


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (encode_v1(CLIENT, PUBLIC), ProxyHeader(2, False, CLIENT, PUBLIC)),
        (encode_v1(CLIENT6, PUBLIC6), ProxyHeader(2, False, CLIENT6, PUBLIC6)),
        (encode_v1(CLIENT, PUBLIC6), ProxyHeader(2, False, CLIENT, PUBLIC6)),
        (encode_v1(None, None), None),
        (encode_v2(CLIENT, PUBLIC), ProxyHeader(2, False, CLIENT, PUBLIC)),
        (encode_v2(CLIENT, PUBLIC, crc=True), ProxyHeader(2, False, CLIENT, PUBLIC)),
        (
            encode_v2(CLIENT6, PUBLIC, crc=True, tlvs=[(5, b"id"), (0xEA, b"")]),
            ProxyHeader(2, False, CLIENT6, PUBLIC),
        ),
        (encode_v2(None, None, local=True), None),
    ],
)
def test_haproxy_reads_what_is_written(
    relaying: Relaying, data: bytes, header: ProxyHeader | None
) -> None:
    """It takes the addresses from our header, where there are any, and passes them on."""
    relay = relaying("send-proxy-v2", bind="accept-proxy")
    with relay.client() as client:
        client.sendall(data + b"hello\n")
        heard, _ = relay.heard(b"hello\n")
        if header is None:
            own = socket_address(socket.AF_INET, client.getsockname())
            its = socket_address(socket.AF_INET, client.getpeername())
            header = ProxyHeader(2, False, own, its)
        assert heard == header


def test_haproxy_checks_the_checksum_that_is_written(relaying: Relaying) -> None:
    relay = relaying("send-proxy-v2", bind="accept-proxy")
    with relay.client() as client:
        client.sendall(encode_v2(CLIENT, PUBLIC, crc=True)[:-1] + b"\0")
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b"", "it ends the connection"
