"""What tests of TLS in the engine share: a server's options, and a client that OpenSSL speaks for.

The client keeps TLS in memory and its socket plain, so that a test decides which bytes go out
when, and sees how the stream ends: with TLS's own end, or without.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

import threadwire
from threadwire import CloseReason, Connection

from ..conftest import Events
from ..support import PATIENCE, Peer
from ..tls_support import NAME, authority, certificate, client_side

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
both_versions = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])

SECURE = "tls://127.0.0.1:0"


def write_pem(path: Path, cert: trustme.LeafCert) -> str:
    """The certificate and its key, for nobody else to read."""
    data = cert.private_key_and_cert_chain_pem.bytes()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
    return str(path)


def certified(directory: Path, **more: Any) -> dict[str, Any]:
    """Options of a server with a certificate of our authority's."""
    return {"tls_cert": write_pem(directory / "server.pem", certificate()), **more}


def our_authority(directory: Path) -> str:
    path = directory / "authority.pem"
    authority().cert_pem.write_to_path(str(path))
    return str(path)


def up_to(version: ssl.TLSVersion, **more: Any) -> ssl.SSLContext:
    """A client's context that speaks ``version`` alone."""
    context = client_side(**more)
    context.minimum_version = context.maximum_version = version
    return context


def openings(server: threadwire.Server) -> list[Connection]:
    """Those that are at their PROXY header or TLS handshake, or have failed in it."""
    here = [c for loop in server._engine._loops for c in list(loop._clients.here)]
    return [connection for connection in here if connection._opening is not None]


def faults(events: Events) -> list[str]:
    """What peers were said to have done wrong."""
    return [str(fields["detail"]) for fields in events.named("peer-fault")]


def close_reasons(events: Events) -> dict[int, CloseReason]:
    """Why each connection that is closed by now has ended."""
    return {fields["connection"]: fields["reason"] for fields in events.named("closed")}


class BoundPeer(Peer):
    """A plain client of IPv4 that comes from ``source``, any address of the loopback network."""

    def __init__(
        self,
        address: threadwire.Address,
        receive_buffer: int | None = None,
        *,
        source: str = "127.0.0.1",
    ) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.bind((source, 0))
            self.socket.connect((address.host, address.port))
        except OSError:
            self.socket.close()
            raise

    @property
    def name(self) -> threadwire.Address:
        return threadwire.Address("tcp", *self.socket.getsockname())


class SecurePeer(BoundPeer):
    """A client with TLS, connected to ``address``; hands are shaken unless told otherwise."""

    def __init__(
        self,
        address: threadwire.Address,
        context: ssl.SSLContext | None = None,
        *,
        before: bytes = b"",
        shake: bool = True,
        receive_buffer: int | None = None,
        source: str = "127.0.0.1",
    ) -> None:
        """``before``: what is said before all TLS, as a PROXY header."""
        super().__init__(address, receive_buffer, source=source)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or client_side()).wrap_bio(
            self.incoming, self.outgoing, server_hostname=NAME
        )
        self.rest = b""  # decrypted, not yet asked for
        self.ended = ""  # how the stream did: "close_notify", "eof", "reset"
        try:
            self.say_plain(before)
            if shake:
                self.shake_hands()
        except BaseException:
            self.close()
            raise

    # The handshake, whole or in steps.

    def step(self) -> bytes:
        """Go on with the handshake as far as it goes; what is to be sent now."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def shake_hands(self, piece: int = 1 << 16) -> None:
        """To the end; what a server sends with its last step is read later."""
        last = self.last_step(piece)
        self.say_in_pieces(last, piece)

    def last_step(self, piece: int = 1 << 16) -> bytes:
        """Shake hands but for our own last bytes, which are returned."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.say_in_pieces(self.outgoing.read(), piece)
                self.take_in()
            else:
                return self.outgoing.read()

    def take_in(self) -> None:
        data = self.socket.recv(65536)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    # Speaking.

    def sealed(self, data: bytes) -> bytes:
        """What goes out for ``data``."""
        self.tls.write(data)
        return self.outgoing.read()

    def say_plain(self, data: bytes) -> None:
        if data:
            self.socket.sendall(data)

    def say_in_pieces(self, data: bytes, piece: int) -> None:
        for start in range(0, len(data), piece):
            self.say_plain(data[start : start + piece])

    def say(self, data: bytes) -> None:
        self.say_plain(self.sealed(data))

    def close_notify(self) -> bytes:
        """The word that we send no more."""
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        return self.outgoing.read()

    def finish(self) -> None:
        self.say_plain(self.close_notify())
        self.socket.shutdown(socket.SHUT_WR)

    # Hearing.

    def _more(self) -> bytes:
        """Some plaintext; ``b""`` at the end, of which ``ended`` says how it came."""
        while not self.ended:
            try:
                data = self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.say_plain(self.outgoing.read())
                try:
                    self.take_in()
                except ConnectionResetError:
                    self.ended = "reset"
            except ssl.SSLZeroReturnError:
                self.ended = "close_notify"
            except ssl.SSLEOFError:
                self.ended = "eof"
            else:
                if data:
                    return data
                self.ended = "close_notify"
        return b""

    def hear(self, size: int) -> bytes:
        parts = [self.rest]
        have = len(self.rest)
        while have < size and (data := self._more()):
            parts.append(data)
            have += len(data)
        everything = b"".join(parts)
        self.rest = everything[size:]
        return everything[:size]

    def hear_line(self) -> bytes:
        parts = [self.rest]
        while b"\n" not in parts[-1] and (data := self._more()):
            parts.append(data)
        line, end, self.rest = b"".join(parts).partition(b"\n")
        return line + end

    def hear_all(self) -> bytes:
        parts = [self.rest]
        self.rest = b""
        while data := self._more():
            parts.append(data)
        return b"".join(parts)

    def request(self, line: bytes) -> bytes:
        self.say(line + b"\n")
        return self.hear_line()
