"""Tls against real programs: openssl's client and server, and GnuTLS's client."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from threadwire import Address, TlsError
from threadwire.certificates import client_context, server_context
from threadwire.transport import Stream
from threadwire.transport.tls import Tls
from threadwire.transport.tls_stream import TlsStream

from ..support import PATIENCE
from ..tls_support import NAME, TlsPeer, authority, certificate

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
needs_gnutls = pytest.mark.skipif(shutil.which("gnutls-cli") is None, reason="no gnutls-cli")

UNNAMED = Address("unix", path="")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, server.pem and client.pem, the latter two with their keys."""
    directory = tmp_path_factory.mktemp("certificates")
    authority().cert_pem.write_to_path(str(directory / "ca.pem"))
    for name, cert in ("server", certificate()), ("client", certificate("client.example")):
        path = directory / f"{name}.pem"
        cert.private_key_and_cert_chain_pem.write_to_path(str(path))
        path.chmod(0o600)
    return directory


class Echo:
    """A server for one connection: it echoes, on a plain socket and Tls alone."""

    def __init__(self, tls: Tls) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.tls = tls
        self.problem = ""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connected, _ = self._listening.accept()
        connected.settimeout(PATIENCE)
        with connected:
            peer = TlsPeer(connected, self.tls)
            try:
                peer.shake_hands()
                peer.echo()
            except TlsError as error:
                self.problem = error.problem
            except OSError as error:
                self.problem = type(error).__name__

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self._listening.close()
        self._thread.join(PATIENCE)


Serving: TypeAlias = Callable[..., Echo]


@pytest.fixture
def echo(files: Path) -> Iterator[Serving]:
    started: list[Echo] = []

    def start(**options: object) -> Echo:
        context = server_context(
            files / "server.pem",
            warn=pytest.fail,
            **options,  # type: ignore[arg-type]
        )
        started.append(Echo(Tls(context, server_side=True)))
        return started[-1]

    yield start
    for server in started:
        server.close()


class Program:
    """A program that is talked to by its standard input and output, both binary."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self.output = b""

    def say(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def hear(self, wanted: bytes, times: int = 1) -> None:
        """Read until ``wanted`` has come so often."""
        assert self.process.stdout is not None
        while self.output.count(wanted) < times:
            if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
                pytest.fail(f"{wanted!r} did not come: {self.output!r}")
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, f"{wanted!r} did not come: {self.output!r}"
            self.output += data

    def finish(self) -> bytes:
        """End its input and wait for its end."""
        more, _ = self.process.communicate(timeout=PATIENCE)
        self.output += more or b""
        return self.output

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)


def s_client(port: int, files: Path, *options: str) -> Program:
    return Program(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", NAME),
        *("-CAfile", str(files / "ca.pem"), "-verify_return_error", *options),
    )


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client(echo: Serving, files: Path, version: str) -> None:
    server = echo()
    with s_client(server.port, files, "-quiet", "-no_ign_eof", version) as client:
        client.say(b"hello\n")
        client.hear(b"hello\n")
        client.finish()
    server.join()
    assert server.problem == ""
    assert server.tls.ended
    assert server.tls.info is not None
    assert server.tls.info.server_name == NAME
    assert server.tls.info.version == ("TLSv1.2" if version == "-tls1_2" else "TLSv1.3")


@needs_openssl
def test_openssl_s_client_changes_keys(echo: Serving, files: Path) -> None:
    server = echo()
    with s_client(server.port, files, "-tls1_3") as client:
        for n in range(3):
            client.say(b"K\n")  # both ends are to change theirs
            client.hear(b"KEYUPDATE", n + 1)
            client.say(b"line %d\n" % n)
            client.hear(b"line %d\n" % n)
        client.say(b"Q\n")
        client.finish()
    server.join()
    assert server.problem == ""


@needs_openssl
def test_openssl_s_client_may_not_negotiate_anew(echo: Serving, files: Path) -> None:
    server = echo()
    with s_client(server.port, files, "-tls1_2") as client:
        client.say(b"before\n")
        client.hear(b"before\n")
        client.say(b"R\n")
        client.hear(b"RENEGOTIATING")
        output = client.finish()
    assert b"no renegotiation" in output
    server.join()


@needs_openssl
@pytest.mark.parametrize("shown", [True, False])
def test_openssl_s_client_with_a_certificate(echo: Serving, files: Path, shown: bool) -> None:
    server = echo(client_ca=files / "ca.pem")
    options = ["-cert", str(files / "client.pem")] if shown else []
    with s_client(server.port, files, "-quiet", "-no_ign_eof", *options) as client:
        if shown:
            client.say(b"hello\n")
            client.hear(b"hello\n")
        else:
            client.hear(b"alert certificate required")
        client.finish()
    server.join()
    if shown:
        assert server.problem == ""
        assert server.tls.info is not None
        assert server.tls.info.peer_certificate is not None
    else:
        assert server.problem == "the peer sent no certificate, and one is required"


@needs_openssl
def test_openssl_s_client_with_application_protocols(echo: Serving, files: Path) -> None:
    server = echo(alpn=["threadwire/1"])
    with s_client(server.port, files, "-alpn", "h2,threadwire/1") as client:
        client.hear(b"ALPN protocol: threadwire/1")
        client.finish()
    server.join()


@needs_openssl
def test_openssl_s_client_with_an_old_version(echo: Serving, files: Path) -> None:
    server = echo()
    with s_client(server.port, files, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0") as client:
        output = client.finish()
    server.join()
    assert server.problem == "no version of TLS that both ends allow"
    assert b"alert protocol version" in output


@needs_openssl
def test_openssl_s_client_trusts_another(echo: Serving, files: Path, tmp_path: Path) -> None:
    authority("theirs").cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = echo()
    with s_client(server.port, tmp_path) as client:
        client.finish()
    server.join()
    assert server.problem == "the peer does not trust the authority that signed our certificate"


@needs_gnutls
@pytest.mark.parametrize("version", ["NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL"])
def test_gnutls(echo: Serving, files: Path, version: str) -> None:
    server = echo(client_ca=files / "ca.pem", client_auth="optional", alpn=["threadwire/1"])
    with Program(
        *("gnutls-cli", "--x509cafile", str(files / "ca.pem"), "--priority", version),
        *("--x509certfile", str(files / "client.pem"), "--x509keyfile", str(files / "client.pem")),
        *("--alpn", "threadwire/1", "--sni-hostname", NAME, "--verify-hostname", NAME),
        *("--port", str(server.port), "127.0.0.1"),
    ) as client:
        client.hear(b"Handshake was completed")
        client.say(b"hello\n")
        client.hear(b"hello\n")
        client.finish()
    server.join()
    assert server.problem in ("", "ConnectionResetError")  # it need not tell of its end
    info = server.tls.info
    assert info is not None
    assert (info.alpn, info.server_name) == ("threadwire/1", NAME)
    assert info.peer_certificate is not None


class Serves:
    """``openssl s_server`` on a free port, for one connection."""

    def __init__(self, files: Path, *options: str) -> None:
        self.program = Program(
            *("openssl", "s_server", "-accept", "127.0.0.1:0", "-naccept", "1"),
            *("-cert", str(files / "server.pem"), *options),
        )
        self.program.hear(b"ACCEPT 127.0.0.1:")
        while not (accept := re.search(rb"ACCEPT 127\.0\.0\.1:(\d+)\n", self.program.output)):
            self.program.hear(b"\n", self.program.output.count(b"\n") + 1)
        self.port = int(accept[1])

    @contextlib.contextmanager
    def connected(self, files: Path, **options: object) -> Iterator[TlsStream]:
        connected = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        connected.settimeout(None)
        context = client_context(ca=files / "ca.pem", **options)  # type: ignore[arg-type]
        stream = TlsStream.secure(Stream(connected, UNNAMED, UNNAMED), context, NAME, PATIENCE)
        try:
            yield stream
        finally:
            stream.close()


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_server(files: Path, version: str) -> None:
    server = Serves(files, "-rev", version)
    with server.program, server.connected(files) as stream:
        for n in range(100):
            line = b"%d and more" % n
            stream.write(line + b"\n", PATIENCE)
            reply = b""
            while not reply.endswith(b"\n"):
                reply += stream.read_within(PATIENCE) or pytest.fail("no reply")
            assert reply == line[::-1] + b"\n"


@needs_openssl
def test_openssl_s_server_changes_keys_and_ends(files: Path) -> None:
    server = Serves(files, "-tls1_3")
    with server.program, server.connected(files) as stream:
        stream.write(b"request\n", PATIENCE)
        server.program.hear(b"request\n")
        server.program.say(b"K\n")
        stream.write(b"another\n", PATIENCE)
        server.program.hear(b"another\n")  # after it has looked at its standard input
        server.program.say(b"with new keys\n")
        assert stream.read_within(PATIENCE) == b"with new keys\n"
        stream.write(b"reply\n", PATIENCE)
        server.program.hear(b"reply\n")
        server.program.say(b"Q\n")  # which ends TCP alone
        with pytest.raises(ConnectionResetError, match="without the end of TLS"):
            stream.read_within(PATIENCE)


@needs_openssl
def test_openssl_s_server_wants_a_certificate(files: Path) -> None:
    options = ("-Verify", "1", "-verify_return_error", "-CAfile", str(files / "ca.pem"), "-rev")
    server = Serves(files, *options)
    with server.program, server.connected(files, cert=files / "client.pem") as stream:
        stream.write(b"abc\n", PATIENCE)
        assert stream.read_within(PATIENCE) == b"cba\n"
    server = Serves(files, *options)
    with server.program, server.connected(files) as stream:
        with pytest.raises(TlsError, match="requires a certificate and got none"):
            stream.read_within(PATIENCE)


@needs_openssl
def test_openssl_s_server_with_other_application_protocols(files: Path) -> None:
    server = Serves(files, "-alpn", "other")
    with server.program, pytest.raises(TlsError, match="application protocol"):
        with server.connected(files, alpn=["threadwire/1"]):
            pytest.fail("connected")
