"""Programs that threadwire did not write, talking TLS to a server, by themselves or by HAProxy."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import threadwire
from threadwire import CloseReason, Connection, Lines

from .conftest import Events, Serving
from .engine.secure import (
    SECURE,
    BoundPeer,
    SecurePeer,
    certified,
    close_reasons,
    faults,
    our_authority,
    write_pem,
)
from .haproxy import HAProxy, program
from .support import PATIENCE, eventually, reverse
from .tls_support import NAME, certificate
from .transport.test_tls_programs import Program


def installed(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def s_client(server: threadwire.Server, directory: Path, *options: str) -> Program:
    return Program(
        *(installed("openssl"), "s_client", "-connect", f"127.0.0.1:{server.address.port}"),
        *("-servername", NAME, "-CAfile", our_authority(directory), "-verify_return_error"),
        *options,
    )


def gnutls(server: threadwire.Server, directory: Path, *options: str) -> Program:
    return Program(
        *(installed("gnutls-cli"), "--x509cafile", our_authority(directory)),
        *("--sni-hostname", NAME, "--verify-hostname", NAME, *options),
        *("--port", str(server.address.port), "127.0.0.1"),
    )


@threadwire.session
def chat(connection: Connection) -> None:
    for message in connection:
        connection.send(reverse(message))


both_kinds = pytest.mark.parametrize("handler", [reverse, chat], ids=["message", "session"])


# openssl s_client.


@both_kinds
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl(
    serving: Serving, events: Events, tmp_path: Path, handler: object, version: str
) -> None:
    server = serving(handler, SECURE, **certified(tmp_path))
    with s_client(server, tmp_path, "-quiet", "-no_ign_eof", version) as client:
        for n in range(10):
            client.say(b"hello %d\n" % n)
            client.hear(b"%d olleh\n" % n)
        client.finish()
    assert events.closed_reason() is CloseReason.PEER_CLOSED
    assert not faults(events)


@both_kinds
def test_openssl_changes_keys(serving: Serving, tmp_path: Path, handler: object) -> None:
    server = serving(handler, SECURE, **certified(tmp_path))
    with s_client(server, tmp_path, "-tls1_3") as client:
        for n in range(5):
            client.say(b"kK"[n % 2 : n % 2 + 1] + b"\n")
            client.hear(b"KEYUPDATE", n + 1)
            client.say(b"hello %d\n" % n)
            client.hear(b"%d olleh\n" % n)
        client.say(b"Q\n")
        client.finish()


@both_kinds
def test_openssl_may_not_negotiate_anew(
    serving: Serving, events: Events, tmp_path: Path, handler: object
) -> None:
    """It is refused, gives up, and nobody else notices."""
    server = serving(handler, SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as other:
        assert other.request(b"before") == b"erofeb\n"
        with s_client(server, tmp_path, "-tls1_2") as client:
            client.say(b"hello\n")
            client.hear(b"olleh\n")
            client.say(b"R\n")
            client.hear(b"RENEGOTIATING")
            assert b"no renegotiation" in client.finish()
        eventually(lambda: 2 in close_reasons(events))
        assert other.request(b"after") == b"retfa\n"
    assert not events.tracebacks()


@pytest.mark.parametrize("shown", [True, False])
def test_openssl_with_a_certificate(
    serving: Serving, events: Events, tmp_path: Path, shown: bool
) -> None:
    def who(_message: bytes, connection: Connection) -> bytes:
        assert connection.tls is not None
        shown = connection.tls.peer_certificate
        assert shown is not None
        return repr(shown["subjectAltName"]).encode()

    server = serving(who, SECURE, **certified(tmp_path, tls_client_ca=our_authority(tmp_path)))
    options = ["-quiet", "-no_ign_eof"]
    if shown:
        options += ["-cert", write_pem(tmp_path / "client.pem", certificate("client.example"))]
    with s_client(server, tmp_path, *options) as client:
        if shown:
            client.say(b"who?\n")
            client.hear(b"(('DNS', 'client.example'),)")
        else:
            client.hear(b"alert certificate required")
        client.finish()
    if not shown:
        assert events.closed_reason() is CloseReason.TLS_ERROR
        assert "sent no certificate" in faults(events)[0]


def test_openssl_comes_back_by_tickets(serving: Serving, events: Events, tmp_path: Path) -> None:
    """Once, and five times more."""
    server = serving(reverse, SECURE, **certified(tmp_path))
    with s_client(server, tmp_path, "-reconnect", "-tls1_2") as client:
        client.hear(b"Reused, ", 5)
        client.say(b"hello\n")
        client.hear(b"olleh\n")
        client.say(b"Q\n")
        client.finish()
    eventually(lambda: len(close_reasons(events)) == 6)
    assert not faults(events)


def test_openssl_says_a_lot(serving: Serving, tmp_path: Path) -> None:
    """A file in, its lines reversed out."""
    lines = [b"%d " % n + b"x" * (n % 500) for n in range(5000)]
    said = tmp_path / "said"
    said.write_bytes(b"".join(line + b"\n" for line in lines))
    server = serving(reverse, SECURE, **certified(tmp_path))
    command = [
        *(installed("openssl"), "s_client", "-connect", f"127.0.0.1:{server.address.port}"),
        *("-servername", NAME, "-CAfile", our_authority(tmp_path), "-quiet"),
    ]
    with said.open("rb") as file, (tmp_path / "heard").open("wb") as heard:
        client = subprocess.Popen(command, stdin=file, stdout=heard, stderr=subprocess.DEVNULL)
        try:
            wanted = b"".join(line[::-1] + b"\n" for line in lines)
            eventually(lambda: (tmp_path / "heard").stat().st_size >= len(wanted))
        finally:
            client.kill()
            client.wait(PATIENCE)
    assert (tmp_path / "heard").read_bytes() == wanted


@threadwire.session
def smtp(connection: Connection) -> None:
    """As much of a mail server as STARTTLS needs (RFC 3207)."""
    connection.send(b"220 mail.example ESMTP")
    for message in connection:
        word = message.upper().split()[0]
        if word == b"EHLO":
            if connection.tls is None:
                connection.send(b"250-mail.example")
                connection.send(b"250 STARTTLS")
            else:
                connection.send(b"250 mail.example")
        elif word == b"STARTTLS":
            connection.send(b"220 go ahead")
            connection.start_tls()
        elif word == b"QUIT":
            connection.send(b"221 bye")
            return
        else:
            connection.send(b"250 " + message[::-1])


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_starts_tls(serving: Serving, events: Events, tmp_path: Path, version: str) -> None:
    server = serving(smtp, framing=Lines(newline=b"\r\n"), **certified(tmp_path))
    options = ["-starttls", "smtp", "-quiet", "-no_ign_eof", "-crlf", version]
    with s_client(server, tmp_path, *options) as client:
        client.say(b"HELLO\n")
        client.hear(b"250 OLLEH\r\n")
        client.say(b"quit\n")  # it has a Q of its own
        client.hear(b"221 bye\r\n")
    assert events.closed_reason() is CloseReason.HANDLER_CLOSED
    assert not faults(events)


# gnutls-cli.

VERSIONS = {"1.2": "NORMAL:-VERS-ALL:+VERS-TLS1.2", "1.3": "NORMAL"}


@both_kinds
@pytest.mark.parametrize("version", VERSIONS)
def test_gnutls(
    serving: Serving, events: Events, tmp_path: Path, handler: object, version: str
) -> None:
    server = serving(handler, SECURE, **certified(tmp_path, tls_alpn=["talk"]))
    options = ["--priority", VERSIONS[version], "--alpn", "talk"]
    with gnutls(server, tmp_path, *options) as client:
        client.hear(b"Handshake was completed")
        for n in range(10):
            client.say(b"hello %d\n" % n)
            client.hear(b"%d olleh\n" % n)
        client.finish()
    assert b"Application protocol: talk" in client.output
    assert events.closed_reason() in (CloseReason.PEER_CLOSED, CloseReason.PEER_RESET)
    assert not events.tracebacks()


def test_gnutls_comes_back(serving: Serving, events: Events, tmp_path: Path) -> None:
    server = serving(reverse, SECURE, **certified(tmp_path))
    with gnutls(server, tmp_path, "--resume") as client:
        client.hear(b"This is a resumed session")
        client.say(b"hello\n")
        client.hear(b"olleh\n")
        client.finish()
    assert not events.tracebacks()


def test_gnutls_changes_keys(serving: Serving, tmp_path: Path) -> None:
    server = serving(reverse, SECURE, **certified(tmp_path))
    with gnutls(server, tmp_path, "--inline-commands") as client:
        client.hear(b"Handshake was completed")
        for n in range(3):
            client.say(b"^rekey^\n")
            client.say(b"hello %d\n" % n)
            client.hear(b"%d olleh\n" % n)
        client.finish()


def test_gnutls_may_not_negotiate_anew(serving: Serving, events: Events, tmp_path: Path) -> None:
    server = serving(reverse, SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as other:
        assert other.request(b"before") == b"erofeb\n"
        options = ["--priority", VERSIONS["1.2"], "--inline-commands"]
        with gnutls(server, tmp_path, *options) as client:
            client.hear(b"Handshake was completed")
            client.say(b"^renegotiate^\n")
            client.finish()
        eventually(lambda: 2 in close_reasons(events))
        assert other.request(b"after") == b"retfa\n"
    assert not events.tracebacks()


@pytest.mark.parametrize("version", VERSIONS)
def test_gnutls_starts_tls(serving: Serving, events: Events, tmp_path: Path, version: str) -> None:
    server = serving(smtp, framing=Lines(newline=b"\r\n"), **certified(tmp_path))
    options = ["--starttls-proto", "smtp", "--crlf", "--priority", VERSIONS[version]]
    with gnutls(server, tmp_path, *options) as client:
        client.hear(b"Handshake was completed")
        client.say(b"HELLO\n")
        client.hear(b"250 OLLEH\r\n")
        client.say(b"QUIT\n")
        client.hear(b"221 bye\r\n")
    assert events.closed_reason() is CloseReason.HANDLER_CLOSED
    assert not faults(events)


# curl.


@threadwire.session
def http(connection: Connection) -> None:
    """As much of a web server as curl needs."""
    while True:
        request = [connection.receive()]
        while request[-1]:
            request.append(connection.receive())
        body = b"%s from %s" % (request[0].split()[1], str(connection.peer).encode())
        for line in (b"HTTP/1.1 200 OK", b"Content-Length: %d" % (len(body) + 2), b"", body):
            connection.send(line)


def curl(server: threadwire.Server, directory: Path, *options: str) -> str:
    port = server.address.port
    done = subprocess.run(
        [
            *(installed("curl"), "--silent", "--show-error", "--http1.1", "--no-progress-meter"),
            *("--noproxy", "*", "--max-time", str(int(PATIENCE))),
            *("--cacert", our_authority(directory), "--resolve", f"{NAME}:{port}:127.0.0.1"),
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl(serving: Serving, events: Events, tmp_path: Path, version: str) -> None:
    """Several requests, on one connection and on many at once."""
    server = serving(http, SECURE, framing=Lines(newline=b"\r\n"), **certified(tmp_path))
    base = f"https://{NAME}:{server.address.port}/"
    options = ["--tls-max", version, f"--tlsv{version}"]
    heard = curl(server, tmp_path, *options, f"{base}[1-5]")
    assert re.findall(r"^/(\d) from", heard, re.MULTILINE) == ["1", "2", "3", "4", "5"]
    heard = curl(server, tmp_path, *options, "--parallel", "--parallel-immediate", f"{base}[1-20]")
    assert sorted(re.findall(r"^/(\d+) from", heard, re.MULTILINE), key=int) == [
        str(n) for n in range(1, 21)
    ]
    eventually(lambda: not server.connections)
    assert not faults(events)
    assert not events.tracebacks()


def test_curl_behind_a_header(serving: Serving, events: Events, tmp_path: Path) -> None:
    """It says in a PROXY header of version 1 what is true, and then begins with TLS."""
    server = serving(
        http,
        SECURE,
        framing=Lines(newline=b"\r\n"),
        **certified(tmp_path, proxy_protocol="required", proxy_trust=["127.0.0.1"]),
    )
    url = f"https://{NAME}:{server.address.port}/path"
    heard = curl(server, tmp_path, "--haproxy-protocol", url)
    assert heard.startswith("/path from tcp://127.0.0.1:")
    assert not faults(events)


# HAProxy.

Relaying = Callable[..., HAProxy]
TRUSTED = {"proxy_protocol": "required", "proxy_trust": ["127.0.0.1"]}
every_option = pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2"])


@pytest.fixture
def relaying(tmp_path: Path) -> Iterator[Relaying]:
    program()
    relays: list[HAProxy] = []

    def start(server: threadwire.Server, options: str, *more: str, bind: str = "") -> HAProxy:
        relays.append(
            HAProxy(
                tmp_path,
                socket.create_server(("127.0.0.1", 0)),
                bind=bind,
                server=f"127.0.0.1:{server.address.port} {options}",
                more=more,
            )
        )
        return relays[-1]

    yield start
    for relay in relays:
        relay.close()


def address_of(relay: HAProxy) -> threadwire.Address:
    return threadwire.Address("tcp", *relay.listening.getsockname())


def who(message: bytes, connection: Connection) -> bytes:
    return b"%s says %s" % (str(connection.peer).encode(), message)


@threadwire.session
def talk(connection: Connection) -> None:
    for message in connection:
        connection.send(who(message, connection))


both_handlers = pytest.mark.parametrize("handler", [who, talk], ids=["message", "session"])


@both_handlers
@every_option
def test_clients_behind_haproxy(
    serving: Serving, events: Events, relaying: Relaying, handler: object, option: str
) -> None:
    """The log names them."""
    server = serving(handler, **TRUSTED)
    relay = relaying(server, option)
    for n in range(3, 20):
        with BoundPeer(address_of(relay), source=f"127.0.0.{n}") as client:
            client.say(b"hello\n")
            assert client.hear_line() == b"%s says hello\n" % str(client.name).encode()
            assert events.named("opened")[-1]["peer"] == client.name
    eventually(lambda: len(events.named("closed")) == 17)
    assert {line["peer"].host for line in events.named("closed")} == {
        f"127.0.0.{n}" for n in range(3, 20)
    }


@every_option
def test_limits_for_clients_behind_haproxy(
    serving: Serving, relaying: Relaying, option: str
) -> None:
    server = serving(who, max_clients_per_ip=1, deny=["127.0.0.9"], **TRUSTED)
    relay = relaying(server, option)
    with BoundPeer(address_of(relay), source="127.0.0.3") as one:
        one.say(b"hello\n")
        assert one.hear_line()
        for source in "127.0.0.3", "127.0.0.9":
            with BoundPeer(address_of(relay), source=source) as refused:
                refused.say(b"hello\n")
                with contextlib.suppress(ConnectionResetError):
                    assert refused.hear_all() == b""
        with BoundPeer(address_of(relay), source="127.0.0.4") as two:
            two.say(b"hello\n")
            assert two.hear_line()
    assert server.refused == {CloseReason.ADDRESS_BUSY: 1, CloseReason.DENIED: 1}


@both_handlers
@every_option
def test_tls_through_haproxy(
    serving: Serving,
    events: Events,
    relaying: Relaying,
    tmp_path: Path,
    handler: object,
    option: str,
) -> None:
    """It passes on what it cannot read, behind its header."""
    server = serving(handler, SECURE, **certified(tmp_path, **TRUSTED))
    relay = relaying(server, option)
    with SecurePeer(address_of(relay), source="127.0.0.3") as client:
        said = b"%s says hello\n" % str(client.name).encode()
        assert client.request(b"hello") == said
        client.finish()
        assert client.hear_all() == b""
        assert client.ended == "close_notify"
    assert events.closed_reason() is CloseReason.PEER_CLOSED
    assert not faults(events)


def test_haproxy_ends_tls_and_begins_it_anew(
    serving: Serving, events: Events, relaying: Relaying, tmp_path: Path
) -> None:
    """What it says of its client's TLS is in the header, what it agreed on with us is not."""

    def tell(_message: bytes, connection: Connection) -> bytes:
        proxy, tls = connection.proxy, connection.tls
        assert proxy is not None
        assert proxy.ssl is not None
        assert tls is not None
        return f"{proxy.ssl.version} {proxy.authority} {tls.version} {tls.server_name}".encode()

    server = serving(tell, SECURE, **certified(tmp_path, **TRUSTED))
    theirs = write_pem(tmp_path / "theirs.pem", certificate())
    relay = relaying(
        server,
        "send-proxy-v2 proxy-v2-options ssl,authority ssl verify required "
        f"ca-file {our_authority(tmp_path)} sni str({NAME}) force-tlsv12",
        bind=f"ssl crt {theirs}",
    )
    with SecurePeer(address_of(relay)) as client:
        assert client.request(b"?") == f"TLSv1.3 {NAME} TLSv1.2 {NAME}\n".encode()
    assert not faults(events)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("option", ["send-proxy-v2", "send-proxy"])
def test_health_checks(
    serving: Serving,
    caplog: pytest.LogCaptureFixture,
    events: Events,
    relaying: Relaying,
    tmp_path: Path,
    option: str,
    secure: bool,
) -> None:
    """Ours is up, until it closes; checks of version 2 leave no line in its log."""
    more = certified(tmp_path) if secure else {}
    server = serving(who, SECURE if secure else "tcp://127.0.0.1:0", **TRUSTED, **more)
    options = f"{option} check inter 50ms fall 1 rise 1"
    if secure:
        options += f" check-ssl verify required ca-file {our_authority(tmp_path)} check-sni {NAME}"
    relay = relaying(server, options)
    caplog.set_level(logging.DEBUG, logger="threadwire")
    eventually(lambda: len(close_reasons(events)) >= 5, "five health checks")
    assert relay.state()["status"] == "UP"
    assert relay.state()["check_status"] == ("L6OK" if secure else "L4OK")
    lines = [
        record
        for record in list(caplog.records)
        if record.levelno >= logging.INFO and record.name == "threadwire"
    ]
    if option == "send-proxy-v2":
        assert lines == []
    assert not faults(events)
    server.close()
    eventually(lambda: relay.state()["status"] == "DOWN")
    with BoundPeer(address_of(relay)) as client:
        with contextlib.suppress(ConnectionResetError):
            assert client.hear_all() == b""


@both_handlers
def test_a_drain_behind_haproxy(
    serving: Serving, relaying: Relaying, tmp_path: Path, handler: object
) -> None:
    """A message that was begun is finished, though it comes by way of a proxy."""
    server = serving(handler, SECURE, **certified(tmp_path, **TRUSTED))
    relay = relaying(server, "send-proxy-v2")
    with SecurePeer(address_of(relay)) as client:
        client.say(b"hello\nag")
        name = str(client.name).encode()
        assert client.hear_line() == b"%s says hello\n" % name
        server.suspend()
        (connection,) = server.connections
        eventually(lambda: connection.begun)
        connection.drain()
        client.say(b"ain\n")
        assert client.hear_all() == b"%s says again\n" % name
        assert client.ended == "close_notify"
