"""What a client's certificate says, which nobody but its authority has looked at."""

from __future__ import annotations

import datetime
import functools
import os
import ssl
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.tls_support import certificate
from threadwire import TlsError
from threadwire.transport.tls import Tls

from .inputs import Input

__all__ = ["tls_peer_certificate"]

# What is shown of a certificate, besides its subject and its dates.
_EXTENSIONS = (
    "2.5.29.17",  # subject alternative names
    "2.5.29.31",  # where its authority tells of revoked ones
    "1.3.6.1.5.5.7.1.1",  # where its authority is
    "2.5.29.19",  # whether it is an authority itself
    "2.5.29.15",  # what its key is for
)
_BEGIN = datetime.datetime(2000, 1, 1)
_END = datetime.datetime(2100, 1, 1)


def tls_peer_certificate(data: bytes) -> None:
    """Dates, subject and extensions, signed by an authority that the server trusts."""
    given = Input(data)
    server = Tls(_server(given.byte() & 1), server_side=True)
    try:
        client = _client(_signed(given))
    except ssl.SSLError:
        return  # nobody would load it
    try:
        for _ in range(3):
            client.handshake(server.take())
            server.handshake(client.take())
    except TlsError as error:
        assert error.problem.isprintable()
        return
    assert server.info is not None
    shown = server.info.peer_certificate
    assert shown is not None
    assert isinstance(shown["subject"], tuple)
    for kind, name in shown.get("subjectAltName", ()):
        match kind:
            case "DirName":
                assert isinstance(name, tuple)
            case "DNS" | "email" | "URI" | "IP Address" | "Registered ID":
                assert isinstance(name, str)
    for where in ("OCSP", "caIssuers", "crlDistributionPoints"):
        if where in shown:
            assert all(isinstance(url, str) for url in shown[where])


def _signed(given: Input) -> bytes:
    begin = _BEGIN + datetime.timedelta(days=given.byte())
    name = given.take(given.byte() & 0x1F).decode("latin-1")
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name or "x")]))
        .issuer_name(_NAME)
        .public_key(_key().public_key())
        .serial_number(1 + given.byte())
        .not_valid_before(begin)
        .not_valid_after(_END)
    )
    seen = set()
    while given.left:
        oid = given.pick(_EXTENSIONS)
        content = given.take(given.byte())
        if oid not in seen:
            seen.add(oid)
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), content)
            builder = builder.add_extension(extension, critical=False)
    return builder.sign(_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority")])


@functools.cache
def _key() -> ec.EllipticCurvePrivateKey:
    """Everybody's."""
    return ec.generate_private_key(ec.SECP256R1())


@functools.cache
def _authority() -> str:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(_key().public_key())
        .serial_number(1)
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    signed = builder.sign(_key(), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


@functools.cache
def _server(old: int) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if old:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    certificate().configure_cert(context)
    context.load_verify_locations(cadata=_authority())
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _client(pem: bytes) -> Tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    key = _key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "client.pem")
        with open(path, "wb") as file:
            file.write(pem + key)
        context.load_cert_chain(path)
    return Tls(context, server_side=False)
