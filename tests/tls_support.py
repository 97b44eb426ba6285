"""What tests of TLS share: an authority, contexts, both ends in memory, and a forger."""

from __future__ import annotations

import functools
import socket
import ssl
import struct
from collections.abc import Sequence
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from threadwire.transport.tls import Tls

NAME = "server.example"


def authority(which: str = "ours") -> trustme.CA:
    return _authority(which)


@functools.cache
def _authority(which: str) -> trustme.CA:
    return trustme.CA(organization_name=which)


@functools.cache
def certificate(*names: str, by: str = "ours") -> trustme.LeafCert:
    return authority(by).issue_cert(*(names or (NAME, "localhost", "127.0.0.1")))


def server_side(
    *,
    verify: ssl.VerifyMode = ssl.CERT_NONE,
    most: ssl.TLSVersion | None = None,
    alpn: Sequence[str] = (),
    cert: trustme.LeafCert | None = None,
) -> ssl.SSLContext:
    """A server's context; with ``verify`` it asks for certificates of our authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if most is not None:
        context.maximum_version = most
    (cert or certificate()).configure_cert(context)
    authority().configure_trust(context)
    context.verify_mode = verify
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def client_side(
    *, trusts: str = "ours", cert: trustme.LeafCert | None = None, alpn: Sequence[str] = ()
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    authority(trusts).configure_trust(context)
    if cert is not None:
        cert.configure_cert(context)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def both_ends(
    server: ssl.SSLContext | None = None,
    client: ssl.SSLContext | None = None,
    name: str = NAME,
) -> tuple[Tls, Tls]:
    """A server's end and a client's, before the handshake."""
    return (
        Tls(server or server_side(), server_side=True),
        Tls(client or client_side(), server_side=False, server_name=name),
    )


def shake_hands(server: Tls, client: Tls) -> None:
    """To the end, with nothing of the handshake left to be sent."""
    done = [server.handshake(), client.handshake()]
    while not all(done) or server.pending or client.pending:
        done[0] = server.handshake(client.take())
        done[1] = client.handshake(server.take())


def connected(
    server: ssl.SSLContext | None = None,
    client: ssl.SSLContext | None = None,
    name: str = NAME,
) -> tuple[Tls, Tls]:
    """A server's end and a client's, after the handshake."""
    ends = both_ends(server, client, name)
    shake_hands(*ends)
    return ends


class Forger:
    """Makes the records that a TLS 1.3 end would send, those that OpenSSL never makes, too.

    ``label`` says whose: it is the name of the secret in the key log (RFC 8446, section 7,
    for all that follows).
    """

    def __init__(self, key_log: Path, label: str = "CLIENT_TRAFFIC_SECRET_0") -> None:
        (line,) = [line for line in key_log.read_text().splitlines() if line.startswith(label)]
        self._use(bytes.fromhex(line.split()[2]))

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._key = AESGCM(self._expand("key", 32))
        self._iv = self._expand("iv", 12)
        self._number = 0

    def _expand(self, label: str, size: int) -> bytes:
        full = b"tls13 " + label.encode()
        info = struct.pack("!HB", size, len(full)) + full + b"\0"
        return HKDFExpand(hashes.SHA384(), size, info).derive(self._secret)

    def record(self, kind: int, content: bytes) -> bytes:
        inner = content + bytes([kind])
        header = struct.pack("!BHH", 23, 0x0303, len(inner) + 16)
        nonce = int.from_bytes(self._iv) ^ self._number
        self._number += 1
        return header + self._key.encrypt(nonce.to_bytes(12), inner, header)

    def data(self, content: bytes) -> bytes:
        return self.record(23, content)

    def change_of_keys(self, *, cut_at: int = 0) -> tuple[bytes, bytes]:
        """The request that both ends change their keys, in two records if it is cut."""
        message = b"\x18\0\0\x01\x01"
        first = self.record(22, message[:cut_at]) if cut_at else b""
        second = self.record(22, message[cut_at:])
        self._use(self._expand("traffic upd", 48))
        return first, second


def forged_client(key_log: Path) -> tuple[Tls, Tls, Forger]:
    """Connected ends, and a forger of what the client sends from now on."""
    context = client_side()
    context.keylog_filename = str(key_log)
    server, client = connected(client=context)
    assert client.info is not None
    assert client.info.cipher == "TLS_AES_256_GCM_SHA384"
    return server, client, Forger(key_log)


class TlsPeer:
    """The other end of a TLS connection, on a plain socket, driven by hand."""

    def __init__(self, connected: socket.socket, tls: Tls) -> None:
        self.socket = connected
        self.tls = tls
        self._plain = b""

    def shake_hands(self) -> None:
        data = b""
        try:
            while not self.tls.handshake(data):
                self._send(self.tls.take())
                data = self.socket.recv(65536)
                if not data:
                    raise ConnectionResetError
        finally:
            self._send(self.tls.take())
        self._plain = self.tls.open(b"")

    def _send(self, data: bytes) -> None:
        if data:
            self.socket.sendall(data)

    def say(self, data: bytes) -> None:
        self._send(self.tls.seal(data))

    def hear_some(self) -> bytes:
        """What comes next; ``b""`` when the peer says that there will be no more."""
        plain, self._plain = self._plain, b""
        while not (plain or self.tls.ended):
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionResetError
            plain = self.tls.open(data)
            if self.tls.pending:  # an answer
                self._send(self.tls.take())
        return plain

    def hear(self, size: int) -> bytes:
        got = bytearray()
        while len(got) < size:
            data = self.hear_some()
            assert data, f"the end after {len(got)} bytes"
            got += data
        self._plain = bytes(got[size:])
        return bytes(got[:size])

    def hear_all(self) -> bytes:
        """Everything up to the end of what the peer sends."""
        got = bytearray()
        while data := self.hear_some():
            got += data
        return bytes(got)

    def finish(self) -> None:
        self._send(self.tls.take_end())

    def echo(self) -> None:
        """Until the peer ends, and then end."""
        while data := self.hear_some():
            self.say(data)
        self.finish()
