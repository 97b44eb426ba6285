"""PROXY headers: who is believed, what becomes of those without a right one, whom logs name.

The proxies that are trusted come from 127.0.0.2, everybody else from 127.0.0.1. Every test says,
under "With", what was taken out of the engine to see it fail, and how it failed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

import threadwire
from threadwire import Address, CloseReason, Connection, Lines
from threadwire.framing import Codec
from threadwire.framing.delimited import LineCodec
from threadwire.proxy_protocol import ProxyHeader, encode_v1, encode_v2
from threadwire.testing import Clock

from ..conftest import Events, Serving
from ..proxy_protocol.support import CLIENT, CLIENT6, PUBLIC, PUBLIC6, SIGNATURE, tlv, v2
from ..support import PATIENCE, Peer, eventually
from ..tls_support import server_side
from .secure import (
    SECURE,
    TLS13,
    BoundPeer,
    SecurePeer,
    both_versions,
    certified,
    close_reasons,
    faults,
    openings,
    up_to,
)
from .ways import NEVER, become_own, both_twins, only_connection

PROXY = "127.0.0.2"
SECONDS = 30.0  # timeouts where a clock is turned

REQUIRED: dict[str, Any] = {"proxy_protocol": "required", "proxy_trust": [PROXY]}
OPTIONAL: dict[str, Any] = {"proxy_protocol": "optional", "proxy_trust": [PROXY]}
both_modes = pytest.mark.parametrize("mode", [REQUIRED, OPTIONAL], ids=["required", "optional"])

HEADERS = {"v1": encode_v1(CLIENT, PUBLIC), "v2": encode_v2(CLIENT, PUBLIC, crc=True)}
every_header = pytest.mark.parametrize("header", HEADERS)


def who(message: bytes, connection: Connection) -> bytes:
    return b"%s says %s" % (str(connection.peer).encode(), message)


@threadwire.session
def talk(connection: Connection) -> None:
    for message in connection:
        connection.send(who(message, connection))


@threadwire.session
def greet(connection: Connection) -> None:
    connection.send(b"hello " + str(connection.peer).encode())
    talk(connection)


both_kinds = pytest.mark.parametrize("handler", [who, talk], ids=["message", "session"])

SAID = b"%s says hello\n" % str(CLIENT).encode()


def proxy(server: threadwire.Server, said: bytes = b"") -> BoundPeer:
    """A trusted proxy's connection, on which it has said this."""
    peer = BoundPeer(server.address, source=PROXY)
    peer.say(said)
    return peer


def socket_end(peer: Peer) -> None:
    peer.socket.shutdown(socket.SHUT_WR)


# Headers that are right.


@both_twins
@both_modes
@both_kinds
@every_header
def test_the_client_is_who_the_header_says(
    serving: Serving, events: Events, handler: object, mode: dict[str, Any], header: str
) -> None:
    """For the handler and in every line of the log.

    With what came behind the header not handled: no answer.
    """
    server = serving(handler, **mode)
    with proxy(server, HEADERS[header] + b"hello\n") as peer:
        assert peer.hear_line() == SAID
        connection = only_connection(server)
        assert connection.peer == CLIENT
        assert connection.proxy is not None
        assert (connection.proxy.source, connection.proxy.destination) == (CLIENT, PUBLIC)
        assert connection.local == server.address
        assert connection.bytes_received == len(b"hello\n")
        peer.say(b"hello\n")
        assert peer.hear_line() == SAID
    assert events.closed_reason() is CloseReason.PEER_CLOSED
    assert [line["peer"] for name in ("opened", "closed") for line in events.named(name)] == [
        CLIENT,
        CLIENT,
    ]


@pytest.mark.parametrize("version", [*HEADERS, "v1 of IPv6", "v2 of IPv6"])
def test_a_header_cut_anywhere(serving: Serving, version: str) -> None:
    """And the message behind it."""
    server = serving(who, **REQUIRED)
    client = CLIENT
    header = HEADERS.get(version, b"")
    if not header:
        client = CLIENT6
        header = (encode_v1 if "v1" in version else encode_v2)(CLIENT6, PUBLIC6)
    data = header + b"hello\n"
    said = b"%s says hello\n" % str(client).encode()
    for cut in range(1, len(data)):
        with proxy(server, data[:cut]) as peer:
            eventually(
                lambda: (
                    any(not c._stream.readable_bytes() for c in openings(server))
                    or server.connections
                )
            )
            peer.say(data[cut:])
            assert peer.hear_line() == said
        eventually(lambda: not openings(server) and not server.connections)


@both_twins
@both_kinds
def test_a_header_byte_by_byte_and_what_is_behind_it_at_once(
    serving: Serving, handler: object
) -> None:
    server = serving(handler, **REQUIRED)
    for header in HEADERS.values():
        with proxy(server) as peer:
            for byte in header[:-1]:
                peer.say(bytes([byte]))
            peer.say(header[-1:] + b"hello\nhello\nhel")
            assert peer.hear_line() + peer.hear_line() == 2 * SAID
            peer.say(b"lo\n")
            assert peer.hear_line() == SAID


@both_twins
@both_kinds
@every_header
def test_all_that_ever_comes_is_a_header_and_a_message(
    serving: Serving, handler: object, header: str
) -> None:
    server = serving(handler, **REQUIRED)
    with proxy(server, HEADERS[header] + b"hello\n") as peer:
        socket_end(peer)
        assert peer.hear_all() == SAID


@both_twins
@both_kinds
def test_a_header_alone(serving: Serving, events: Events, handler: object) -> None:
    server = serving(handler, **REQUIRED)
    with proxy(server, HEADERS["v1"]) as peer:
        assert only_connection(server).peer == CLIENT
        socket_end(peer)
        assert peer.hear_all() == b""
    assert events.closed_reason() is CloseReason.PEER_CLOSED


@both_twins
def test_a_handler_that_blocks_on_the_first_message(serving: Serving) -> None:
    def handler(message: bytes, connection: Connection) -> bytes:
        become_own(connection)
        return who(message, connection)

    server = serving(handler, **REQUIRED)
    with proxy(server, HEADERS["v2"] + b"hello\nhello\n") as peer:
        assert peer.hear_line() + peer.hear_line() == 2 * SAID


@both_twins
@both_kinds
@pytest.mark.parametrize(
    ("header", "local"),
    [
        (b"PROXY UNKNOWN\r\n", False),
        (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", False),
        (encode_v2(None, None), False),
        (encode_v2(None, None, local=True), True),
        (v2(0x20, 0x11, bytes(12)), True),
    ],
)
def test_a_proxy_that_knows_no_client(
    serving: Serving, events: Events, handler: object, header: bytes, local: bool
) -> None:
    """It is the peer itself. What it does on its own account, as health checks, is not logged."""
    server = serving(handler, **REQUIRED)
    with proxy(server, header + b"hello\n") as peer:
        assert peer.hear_line() == b"%s says hello\n" % str(peer.name).encode()
        connection = only_connection(server)
        assert connection.proxy is not None
        assert (connection.proxy.local, connection.proxy.source) == (local, None)
        with proxy(server, HEADERS["v1"] + b"hello\n") as other:
            assert other.hear_line() == SAID
    eventually(lambda: not server.connections)
    lines = [line["connection"] for name in ("opened", "closed") for line in events.named(name)]
    assert sorted(lines) == ([2, 2] if local else [1, 1, 2, 2])


def test_what_else_the_proxy_says(serving: Serving) -> None:
    said = (
        (1, b"h2"),
        (2, b"example.org"),
        (5, b"id-1"),
        (0x20, b"\1\0\0\0\0" + tlv(0x21, b"TLSv1.3")),
    )
    told: list[ProxyHeader | None] = []

    def handler(message: bytes, connection: Connection) -> bytes:
        told.append(connection.proxy)
        return message

    server = serving(handler, **REQUIRED)
    with proxy(server, encode_v2(CLIENT, PUBLIC, tlvs=said) + b"x\n") as peer:
        assert peer.hear_line() == b"x\n"
    (header,) = told
    assert header == ProxyHeader(2, False, CLIENT, PUBLIC, said)
    assert (header.alpn, header.authority, header.unique_id) == (b"h2", "example.org", b"id-1")
    assert header.ssl is not None
    assert header.ssl.version == "TLSv1.3"


def test_a_proxy_on_a_unix_socket_is_trusted(serving: Serving, tmp_path: Path) -> None:
    server = serving(who, f"unix://{tmp_path}/s", **REQUIRED)
    with Peer(server.address) as peer:
        peer.say(HEADERS["v2"] + b"hello\n")
        assert peer.hear_line() == SAID


# Headers, then TLS.


@both_twins
@both_versions
@both_kinds
@every_header
def test_tls_behind_a_header(
    serving: Serving,
    events: Events,
    tmp_path: Path,
    handler: object,
    version: ssl.TLSVersion,
    header: str,
) -> None:
    """With what came behind the header not given to the handshake: it never begins."""
    server = serving(handler, SECURE, **certified(tmp_path, **REQUIRED))
    context = up_to(version)
    with SecurePeer(server.address, context, source=PROXY, shake=False) as peer:
        peer.say_plain(HEADERS[header] + peer.step())
        peer.shake_hands()
        assert peer.request(b"hello") == SAID
        assert only_connection(server).tls is not None
    assert events.closed_reason() is CloseReason.PEER_CLOSED
    assert events.named("closed")[0]["peer"] == CLIENT


@every_header
@pytest.mark.parametrize("piece", [1, 11, 150])
def test_a_header_and_hello_in_pieces(
    serving: Serving, tmp_path: Path, header: str, piece: int
) -> None:
    server = serving(who, SECURE, **certified(tmp_path, **REQUIRED))
    with SecurePeer(server.address, source=PROXY, shake=False) as peer:
        peer.say_in_pieces(HEADERS[header] + peer.step(), piece)
        peer.shake_hands(piece)
        assert peer.request(b"hello") == SAID


def test_tls_without_the_header_that_is_required(
    serving: Serving, events: Events, tmp_path: Path
) -> None:
    server = serving(who, SECURE, **certified(tmp_path, **REQUIRED))
    with SecurePeer(server.address, source=PROXY, shake=False) as peer:
        peer.say_plain(peer.step())
        assert Peer.hear_all(peer) == b""
    assert events.closed_reason() is CloseReason.PROXY_ERROR
    assert "PROXY header: none" in faults(events)[0]


def test_tls_without_the_header_that_is_optional(serving: Serving, tmp_path: Path) -> None:
    server = serving(who, SECURE, **certified(tmp_path, **OPTIONAL))
    with SecurePeer(server.address, source=PROXY) as peer:
        assert peer.request(b"hello") == b"%s says hello\n" % str(peer.name).encode()


def test_a_header_within_tls_is_a_message(serving: Serving, tmp_path: Path) -> None:
    """Only what comes before is the proxy's; what is within TLS is its client's."""
    server = serving(who, SECURE, **certified(tmp_path, **REQUIRED))
    with SecurePeer(server.address, source=PROXY, before=HEADERS["v1"]) as peer:
        peer.say(encode_v1(CLIENT6, PUBLIC6))
        assert peer.hear_line().startswith(b"%s says PROXY TCP6" % str(CLIENT).encode())


def test_a_failed_handshake_names_the_client(
    serving: Serving, events: Events, tmp_path: Path
) -> None:
    server = serving(who, SECURE, **certified(tmp_path, **REQUIRED))
    with proxy(server, HEADERS["v2"] + b"hello\n") as peer:
        peer.hear_all()
    assert events.closed_reason() is CloseReason.TLS_ERROR
    assert [line["peer"] for line in events.named("peer-fault")] == [CLIENT]


# Who is believed.


@both_twins
@pytest.mark.parametrize("said", [HEADERS["v1"], HEADERS["v2"], b"hello\n"])
def test_a_stranger_where_a_proxy_is_required(
    serving: Serving, events: Events, said: bytes
) -> None:
    """With ``proxy_trust`` not asked: who is anybody may say to be anybody."""
    server = serving(who, **REQUIRED)
    with BoundPeer(server.address) as peer, contextlib.suppress(ConnectionError):
        peer.say(said)
        assert peer.hear_all() == b""
    eventually(lambda: server.refused == {CloseReason.DENIED: 1})
    (line,) = events.named("refused")
    assert line["peer"].host == "127.0.0.1"
    with proxy(server, HEADERS["v1"] + b"hello\n") as good:
        assert good.hear_line() == SAID


@both_twins
@both_kinds
def test_a_stranger_where_a_header_is_optional(serving: Serving, handler: object) -> None:
    """What it forges is a message like any other."""
    server = serving(handler, **OPTIONAL)
    with BoundPeer(server.address) as peer:
        peer.say(HEADERS["v1"] + b"hello\n")
        name = str(peer.name).encode()
        assert peer.hear_line() == b"%s says %s\n" % (name, HEADERS["v1"].rstrip())
        assert peer.hear_line() == b"%s says hello\n" % name
        assert only_connection(server).proxy is None


@both_twins
@both_kinds
@pytest.mark.parametrize("piece", [1, 100])
@pytest.mark.parametrize("said", [b"hello\n", b"PROXIMA\n", b"\r\n\r\nhello\n", b"P\n"])
def test_no_header_where_it_is_optional(
    serving: Serving, handler: object, said: bytes, piece: int
) -> None:
    """Whatever it begins with, nothing of it is lost. With ``rest`` dropped: no answer."""
    server = serving(handler, **OPTIONAL)
    with proxy(server) as peer:
        for n in range(0, len(said), piece):
            peer.say(said[n : n + piece])
        name = str(peer.name).encode()
        for line in said.split(b"\n")[:-1]:
            assert peer.hear_line() == b"%s says %s\n" % (name, line.rstrip(b"\r"))
        connection = only_connection(server)
        assert (connection.peer, connection.proxy) == (peer.name, None)


@both_twins
@pytest.mark.parametrize("said", [b"", b"P", b"PROX", b"\r\n\r\n\0"])
def test_what_may_yet_become_a_header_is_waited_for_so_long(serving: Serving, said: bytes) -> None:
    """Then there is none: so a session may speak first, to a client that waits for it.

    With ``settle`` never called: both wait for ever.
    """
    clock = Clock()
    server = serving(greet, clock=clock, proxy_timeout=SECONDS, **OPTIONAL)
    with proxy(server, said) as peer, proxy(server, HEADERS["v2"]) as other:
        assert other.hear_line() == b"hello " + str(CLIENT).encode() + b"\n"
        eventually(lambda: len(openings(server)) == 1)
        if said:
            eventually(lambda: not openings(server)[0]._stream.readable_bytes())
        clock.turn(SECONDS + 1)
        name = str(peer.name).encode()
        assert peer.hear_line() == b"hello " + name + b"\n"
        peer.say(b"!\n")
        if b"\n" not in said:
            assert peer.hear_line() == b"%s says %s!\n" % (name, said)


@both_twins
@both_kinds
def test_all_that_ever_comes_is_the_beginning_of_a_header(
    serving: Serving, handler: object
) -> None:
    """Where it is optional, that is a message.

    With the end noted for a session that has begun by it: the loop calls it like a handler.
    """
    server = serving(handler, **{**OPTIONAL, "framing": Lines(unterminated=True)})
    with proxy(server, b"PRO") as peer:
        socket_end(peer)
        assert peer.hear_all() == b"%s says PRO\n" % str(peer.name).encode()


# Headers that are late, missing or wrong.

WRONG = {
    "none": b"hello\n",
    "empty line": b"\n",
    "TLS": b"\x16\x03\x01\x02\0\x01\0",
    "v1 without addresses": b"PROXY TCP4\r\n",
    "v1 with a bad address": b"PROXY TCP4 1.2.3.456 1.2.3.4 1 2\r\n",
    "v1 with a bad port": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
    "v1 that ends in LF": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
    "v1 of UDP": b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
    "v1 without an end": b"PROXY UNKNOWN " + b"x" * 200,
    "v2 of another version": SIGNATURE + b"\x31\x11\0\x0c" + bytes(12),
    "v2 too short": v2(0x21, 0x11, bytes(4)),
    "v2 oversized": v2(0x21, 0x11, b"", 65535),
    "v2 with a forged checksum": encode_v2(CLIENT, PUBLIC, crc=True)[:-1] + b"\0",
    "v2 with a TLV beyond its end": v2(0x21, 0x11, bytes(12) + b"\x01\0\x09abc"),
}


@both_twins
@pytest.mark.parametrize("handler", [who, greet], ids=["message", "session"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_header_that_is_wrong(
    serving: Serving, events: Events, handler: object, wrong: str
) -> None:
    """One line says what is, naming the proxy; no byte of it gets to the handler.

    With the error not told: none does.
    """
    server = serving(handler, **REQUIRED)
    with proxy(server, WRONG[wrong]) as peer:
        socket_end(peer)
        assert peer.hear_all() == b""
        name = peer.name
    assert events.closed_reason() is CloseReason.PROXY_ERROR
    (line,) = events.named("peer-fault")
    assert (line["error"], line["peer"]) == ("ProxyHeaderError", name)
    assert not events.named("opened")
    assert not events.tracebacks()
    assert server.connections == ()


@pytest.mark.parametrize("wrong", [name for name in WRONG if name.startswith("v")])
def test_a_header_that_is_wrong_where_none_is_required(
    serving: Serving, events: Events, wrong: str
) -> None:
    """Who begins one has to do it right. With the error taken for no header: it is handled."""
    server = serving(who, **OPTIONAL)
    with proxy(server, WRONG[wrong]) as peer:
        socket_end(peer)
        assert peer.hear_all() == b""
    assert events.closed_reason() is CloseReason.PROXY_ERROR


@both_twins
@pytest.mark.parametrize("version", HEADERS)
def test_a_header_that_is_cut_off(serving: Serving, events: Events, version: str) -> None:
    header = HEADERS[version]
    server = serving(who, **REQUIRED)
    cuts = [0, 1, 5, 6, 13, 16, len(header) - 1]
    for n, cut in enumerate(cuts):
        with proxy(server, header[:cut]) as peer:
            socket_end(peer)
            assert peer.hear_all() == b""
        eventually(lambda n=n: len(close_reasons(events)) == n + 1)  # type: ignore[misc]
    assert set(close_reasons(events).values()) == {CloseReason.PROXY_ERROR}
    assert all("the stream ended" in fault for fault in faults(events))
    assert len(faults(events)) == len(cuts)


@both_twins
@pytest.mark.parametrize("said", [b"", b"P", b"PROXY TCP4 ", SIGNATURE])
@pytest.mark.parametrize("handler", [who, greet], ids=["message", "session"])
def test_a_header_has_so_long(
    serving: Serving, events: Events, handler: object, said: bytes
) -> None:
    """With no timer: it is waited for until the peer leaves."""
    clock = Clock()
    server = serving(handler, clock=clock, proxy_timeout=SECONDS, **REQUIRED)
    with proxy(server) as peer, proxy(server, HEADERS["v1"]) as good:
        for byte in said:
            peer.say(bytes([byte]))
        eventually(lambda: len(openings(server)) == 1 and len(server.connections) == 1)
        clock.turn(SECONDS + 1)
        assert peer.hear_all() == b""
        good.say(b"hello\n")
        assert SAID in good.hear_line() + (good.hear_line() if handler is greet else b"")
    eventually(lambda: len(close_reasons(events)) == 2)
    assert close_reasons(events)[1] is CloseReason.PROXY_ERROR
    assert len(faults(events)) == 1
    assert f"{SECONDS:g} s had gone by" in faults(events)[0]


def test_the_handshake_has_its_own_time_after_the_header(
    serving: Serving, events: Events, tmp_path: Path
) -> None:
    """With the header's timer left in place: it is too late by the wrong one."""
    clock = Clock()
    server = serving(
        who,
        SECURE,
        **certified(
            tmp_path, clock=clock, proxy_timeout=SECONDS, handshake_timeout=2 * SECONDS, **REQUIRED
        ),
    )
    with SecurePeer(server.address, source=PROXY, before=HEADERS["v1"], shake=False) as peer:
        eventually(lambda: openings(server) and openings(server)[0].proxy)
        clock.turn(1.5 * SECONDS)
        peer.shake_hands()
        assert peer.request(b"hello") == SAID
    with SecurePeer(server.address, source=PROXY, before=HEADERS["v1"], shake=False) as peer:
        eventually(lambda: openings(server) and openings(server)[0].proxy)
        clock.turn(2.5 * SECONDS)
        assert Peer.hear_all(peer) == b""
    eventually(lambda: len(close_reasons(events)) == 2)
    assert close_reasons(events)[2] is CloseReason.HANDSHAKE_TIMEOUT


def test_a_failure_is_told_of_once(serving: Serving, events: Events) -> None:
    """The time for a header passes while the peer is given its moment to read.

    With the timer left in place: a second line says so.
    """
    clock = Clock()
    server = serving(who, clock=clock, proxy_timeout=0.5, **REQUIRED)
    with proxy(server, b"hello\n") as peer:
        assert peer.hear_all() == b""
        clock.turn(0.6)
        with proxy(server, HEADERS["v1"] + b"hello\n") as other:
            assert other.hear_line() == SAID
    eventually(lambda: 1 in close_reasons(events))
    assert len(faults(events)) == 1


@both_twins
@pytest.mark.parametrize("said", [b"", b"PROXY"])
@pytest.mark.parametrize("end", ["reset", "close"])
def test_a_proxy_that_leaves_in_the_middle(
    serving: Serving, events: Events, said: bytes, end: str
) -> None:
    server = serving(who, **REQUIRED)
    with proxy(server, said) as peer:
        eventually(lambda: openings(server))
        getattr(peer, end)()
    assert events.closed_reason() in (CloseReason.PROXY_ERROR, CloseReason.PEER_RESET)
    assert len(faults(events)) <= 1
    eventually(lambda: not openings(server))


class Fragile(Lines):
    """A framing whose codec fails."""

    def codec(self, max_message: int = 1 << 20) -> Codec:
        return _FragileCodec(max_message, self)


class _FragileCodec(LineCodec):
    __slots__ = ()

    def feed(self, data: bytes) -> None:
        if b"boom" in data:
            raise ValueError("boom")
        super().feed(data)


@both_twins
@both_kinds
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_framing_that_fails_at_what_came_behind(
    serving: Serving, events: Events, handler: object, secure: bool
) -> None:
    """It ends its own connection. With the error not met: it is the engine's failure."""
    server = serving(
        handler,
        SECURE if secure else "tcp://127.0.0.1:0",
        tls_context=server_side() if secure else None,
        framing=Fragile(),
        **REQUIRED,
    )
    if secure:
        with SecurePeer(
            server.address, up_to(TLS13), source=PROXY, before=HEADERS["v1"], shake=False
        ) as peer:
            peer.say_plain(peer.last_step() + peer.sealed(b"boom\n"))
            assert peer.hear_all() == b""
    else:
        with proxy(server, HEADERS["v1"] + b"boom\n") as plain:
            assert plain.hear_all() == b""
    assert events.closed_reason() is CloseReason.HANDLER_FAILED
    assert not events.named("engine-failed")
    assert len(events.tracebacks()) == 1


# Who is let in goes by the client, not by the proxy.


def through(server: threadwire.Server, host: str) -> BoundPeer:
    """A client of this address, behind the proxy."""
    public = PUBLIC6 if ":" in host else PUBLIC
    return proxy(server, encode_v2(Address("tcp", host, 1234), public) + b"hello\n")


@both_twins
@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
    ],
)
def test_as_many_of_one_address(
    serving: Serving, events: Events, first: str, same: str, other: str
) -> None:
    """With the proxy's own address counted: the second client behind it is refused.

    With a place not given back: nobody of that address is ever let in again.
    """
    server = serving(who, max_clients_per_ip=2, **REQUIRED)
    with through(server, first) as one, through(server, first) as two:
        assert one.hear_line()
        assert two.hear_line()
        with through(server, same) as refused:
            assert refused.hear_all() == b""
        assert server.refused == {CloseReason.ADDRESS_BUSY: 1}
        with through(server, other) as welcome:
            assert welcome.hear_line()
        one.close()
        eventually(lambda: len(server.connections) == 1)
        with through(server, same) as again:
            assert again.hear_line()
    (line,) = events.named("refused")
    assert line["peer"].host in (same, first)


@both_twins
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_who_is_denied(serving: Serving, events: Events, tmp_path: Path, secure: bool) -> None:
    """Nobody shakes hands with it. With the header's client not judged: it is let in."""
    more = certified(tmp_path) if secure else {}
    server = serving(
        who,
        SECURE if secure else "tcp://127.0.0.1:0",
        deny=["192.0.2.0/24", "2001:db8::/32"],
        **more,
        **REQUIRED,
    )
    for n, host in enumerate(["192.0.2.77", "2001:db8::9"]):
        with through(server, host) as peer:
            assert peer.hear_all() == b""
        eventually(lambda n=n: server.refused == {CloseReason.DENIED: n + 1})  # type: ignore[misc]
    before = encode_v1(Address("tcp", "198.51.100.1", 5), PUBLIC)
    if secure:
        with SecurePeer(server.address, source=PROXY, before=before) as good:
            assert good.request(b"hello") == b"tcp://198.51.100.1:5 says hello\n"
    else:
        with proxy(server, before + b"hello\n") as welcome:
            assert welcome.hear_line() == b"tcp://198.51.100.1:5 says hello\n"
    eventually(lambda: len(close_reasons(events)) == 3)
    assert list(close_reasons(events).values()).count(CloseReason.DENIED) == 2
    assert events.named("refused")[0]["peer"].host == "192.0.2.77"


def test_who_is_allowed(serving: Serving) -> None:
    """The proxy itself need not be."""
    server = serving(who, allow=["192.0.2.0/24"], **REQUIRED)
    with through(server, "192.0.2.1") as peer:
        assert peer.hear_line() == b"tcp://192.0.2.1:1234 says hello\n"
    with through(server, "198.51.100.1") as other:
        assert other.hear_all() == b""
    with proxy(server, encode_v2(None, None, local=True) + b"hello\n") as itself:
        assert itself.hear_line().endswith(b"says hello\n"), "it is trusted, and no client"
    assert server.refused == {CloseReason.DENIED: 1}


# What others do to it meanwhile.


@both_kinds
def test_a_drain_ends_those_who_have_not_begun(serving: Serving, handler: object) -> None:
    """With them waited for: they are cut at the deadline."""
    server = serving(handler, proxy_timeout=NEVER, **REQUIRED)
    with proxy(server) as silent:
        eventually(lambda: openings(server))
        closing = threading.Thread(target=server.close, args=(PATIENCE,))
        closing.start()
        assert silent.hear_all() == b""
        silent.close()
        closing.join(PATIENCE)
    assert server.close().cut == ()


@both_twins
@both_kinds
def test_a_drain_lets_those_who_have_begun_go_on(
    serving: Serving, events: Events, handler: object
) -> None:
    """Up to the message behind the header."""
    server = serving(handler, **REQUIRED)
    with proxy(server, HEADERS["v1"][:10]) as peer:
        eventually(lambda: openings(server) and openings(server)[0]._opening.begun)  # type: ignore[union-attr]
        (connection,) = openings(server)
        closing = threading.Thread(target=server.close, args=(PATIENCE,))
        closing.start()
        eventually(lambda: connection.draining)
        peer.say(HEADERS["v1"][10:] + b"hello\n")
        assert peer.hear_all() == SAID
        peer.close()
        closing.join(PATIENCE)
    assert server.close().cut == ()
    assert events.closed_reason() is CloseReason.DRAINED


@pytest.mark.parametrize("said", [b"", b"PROXY "])
def test_a_cut(serving: Serving, events: Events, said: bytes) -> None:
    """Who has said nothing may have been drained by then."""
    server = serving(who, **REQUIRED)
    with proxy(server, said) as peer:
        eventually(lambda: openings(server))
        report = server.close(0)
        assert (report.finished, len(report.cut)) in ([(0, 1)] if said else [(0, 1), (1, 0)])
        with contextlib.suppress(ConnectionResetError):
            assert peer.hear_all() == b""
    assert not events.tracebacks()


def test_many_that_never_say_a_header(serving: Serving, events: Events) -> None:
    """A good one is served all the while."""
    clock = Clock()
    server = serving(who, clock=clock, proxy_timeout=SECONDS, **REQUIRED)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(proxy(server)) for _ in range(300)]
        for peer in peers[::2]:
            peer.say(b"PROXY TCP4 1.2")
        eventually(lambda: len(openings(server)) == 300)
        with proxy(server, HEADERS["v2"] + b"hello\n") as good:
            assert good.hear_line() == SAID
            clock.turn(SECONDS + 1)
            for peer in peers:
                assert peer.hear_all() == b""
            good.say(b"hello\n")
            assert good.hear_line() == SAID
    eventually(lambda: len(close_reasons(events)) == 301)
    assert list(close_reasons(events).values()).count(CloseReason.PROXY_ERROR) == 300
