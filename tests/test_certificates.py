"""Contexts from files, what is wrong with files, and how they are reloaded."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from threadwire import TlsError, UsageError
from threadwire.certificates import (
    Certificates,
    FixedContext,
    client_context,
    server_context,
)
from threadwire.certificates.fields import CertificateFields, decode_pem, read_fields

from .support import PATIENCE
from .tls_support import NAME, authority, certificate, client_side, connected, server_side

modest = settings(max_examples=80, deadline=None)
NOW = datetime.now(UTC).replace(microsecond=0)


class Files:
    """Certificate files in a directory of their own; methods return paths."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, name: str, *parts: bytes | trustme.Blob, mode: int = 0o600) -> Path:
        """In place of what was there, in one step, as those do who renew certificates."""
        path = self.directory / name
        new = self.directory / f"{name}.new"
        new.write_bytes(b"".join(p if isinstance(p, bytes) else p.bytes() for p in parts))
        new.chmod(mode)
        new.rename(path)
        return path

    def cert(self, leaf: trustme.LeafCert, name: str = "cert.pem") -> Path:
        return self.write(name, *leaf.cert_chain_pems)

    def key(self, leaf: trustme.LeafCert, name: str = "key.pem", mode: int = 0o600) -> Path:
        return self.write(name, leaf.private_key_pem, mode=mode)

    def both(self, leaf: trustme.LeafCert, name: str = "both.pem") -> Path:
        return self.write(name, leaf.private_key_pem, *leaf.cert_chain_pems)

    def ca(self, which: str = "ours") -> Path:
        return self.write(f"{which}.pem", authority(which).cert_pem)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def another(
    *, not_before: datetime | None = None, not_after: datetime | None = None
) -> trustme.LeafCert:
    return authority().issue_cert(NAME, not_before=not_before, not_after=not_after)


def serial_of(context: ssl.SSLContext) -> str:
    """Of the certificate that a server with this context shows."""
    _, client = connected(context)
    assert client.info is not None
    assert client.info.peer_certificate is not None
    return str(client.info.peer_certificate["serialNumber"])


def serial(leaf: trustme.LeafCert) -> str:
    found = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).serial_number
    text = f"{found:X}"
    return text if len(text) % 2 == 0 else "0" + text


# Contexts.


def test_a_servers_context(files: Files) -> None:
    leaf = certificate()
    context = server_context(files.cert(leaf), files.key(leaf), warn=pytest.fail)
    assert serial_of(context) == serial(leaf)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE
    wanted = ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    assert context.options & wanted == wanted


def test_one_file_may_hold_both(files: Files) -> None:
    leaf = certificate()
    assert serial_of(server_context(files.both(leaf), warn=pytest.fail)) == serial(leaf)
    assert serial_of(server_context(str(files.both(leaf)), warn=pytest.fail)) == serial(leaf)


@pytest.mark.parametrize("auth", ["required", "optional"])
@pytest.mark.parametrize("who", ["ours", "theirs", "nobody"])
def test_clients_certificates(files: Files, auth: str, who: str) -> None:
    context = server_context(
        files.both(certificate()),
        client_ca=files.ca(),
        client_auth=auth,  # type: ignore[arg-type]
        warn=pytest.fail,
    )
    shown = None if who == "nobody" else certificate("client.example", by=who)
    ends = context, client_side(cert=shown)
    if who == "ours" or (who == "nobody" and auth == "optional"):
        server, _ = connected(*ends)
        assert server.info is not None
        assert (server.info.peer_certificate is not None) == (who == "ours")
    else:
        with pytest.raises(TlsError):
            connected(*ends)


def test_without_an_authority_clients_are_asked_for_nothing(files: Files) -> None:
    context = server_context(files.both(certificate()), warn=pytest.fail)
    server, _ = connected(context, client_side(cert=certificate("client.example", by="theirs")))
    assert server.info is not None
    assert server.info.peer_certificate_der is None


def test_an_intermediate_authority_is_trusted_for_itself(files: Files) -> None:
    """And the one above it is not trusted with it."""
    middle = authority().create_child_ca()
    ca = files.write("middle.pem", middle.cert_pem)
    leaf = middle.issue_cert(NAME)
    context = server_context(files.both(leaf), client_ca=ca, warn=pytest.fail)
    connected(context, _loaded(client_context(ca=ca), leaf))
    with pytest.raises(TlsError, match="not trusted"):
        connected(context, client_side(cert=certificate()))
    with pytest.raises(TlsError, match="not trusted"):
        connected(server_side(), client_context(ca=ca))


def _loaded(context: ssl.SSLContext, leaf: trustme.LeafCert) -> ssl.SSLContext:
    leaf.configure_cert(context)
    return context


def test_application_protocols(files: Files) -> None:
    server = server_context(files.both(certificate()), alpn=["a", "b"], warn=pytest.fail)
    _, client = connected(server, client_context(ca=files.ca(), alpn=["b"]))
    assert client.info is not None
    assert client.info.alpn == "b"


def test_a_clients_context_verifies(files: Files) -> None:
    connected(client=client_context(ca=files.ca()))
    with pytest.raises(TlsError, match="not trusted"):
        connected(client=client_context(ca=files.ca("theirs")))
    with pytest.raises(TlsError, match="is not for"):
        connected(client=client_context(ca=files.ca()), name="other.example")
    with pytest.raises(TlsError, match="not trusted"):
        connected(client=client_context())
    context = client_context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname


def test_a_client_trusts_whom_the_system_trusts(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files.ca()))
    connected(client=client_context())


def test_a_clients_own_certificate(files: Files) -> None:
    leaf = certificate("client.example")
    context = client_context(ca=files.ca(), cert=files.cert(leaf), key=files.key(leaf))
    server, _ = connected(server_side(verify=ssl.CERT_REQUIRED), context)
    assert server.info is not None
    assert server.info.peer_certificate is not None
    with pytest.raises(UsageError, match="key needs cert"):
        client_context(key=files.key(leaf))


# What is wrong with files.


def complaint(cert: object, key: object = None, **options: object) -> str:
    with pytest.raises(UsageError) as caught:
        server_context(cert, key, warn=pytest.fail, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_files_that_are_not_there(files: Files) -> None:
    leaf = certificate()
    missing = files.directory / "missing.pem"
    cert, key = files.cert(leaf), files.key(leaf)
    assert complaint(missing, key) == f"certificate {missing}: no such file or directory"
    assert complaint(cert, missing) == f"key {missing}: no such file or directory"
    both = files.both(leaf)
    assert complaint(both, client_ca=missing) == f"client CA {missing}: no such file or directory"
    with pytest.raises(UsageError, match=f"CA {missing}: no such file"):
        client_context(ca=missing)
    assert complaint(files.directory) == f"certificate {files.directory}: not a regular file"
    pipe = files.directory / "pipe"
    os.mkfifo(pipe)
    assert complaint(pipe) == f"certificate {pipe}: not a regular file"
    assert complaint(3) == "certificate must be a path, not 3"
    assert "must be a path" in complaint("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(files: Files) -> None:
    leaf = certificate()
    key = files.key(leaf, mode=0)
    assert complaint(files.cert(leaf), key) == f"key {key}: permission denied"


def test_files_that_are_something_else(files: Files) -> None:
    leaf = certificate()
    cert, key = files.cert(leaf), files.key(leaf)
    text = files.write("text", b"hello\n")
    der = files.write(
        "cert.der", ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    )
    for wrong in (text, der):
        assert complaint(wrong, key) == f"certificate {wrong}: not a PEM file with a certificate"
        assert complaint(cert, wrong) == f"key {wrong}: not a PEM file with a private key"
        assert (
            complaint(files.both(leaf), client_ca=wrong)
            == f"client CA {wrong}: not a PEM file with certificates"
        )
    assert complaint(key, cert) == f"certificate {key}: holds a private key, and no certificate"
    assert complaint(cert, cert) == f"key {cert}: holds a certificate, and no private key"
    assert complaint(cert) == f"certificate {cert}: holds no private key, so key has to be given"


def test_files_that_do_not_belong_together(files: Files) -> None:
    cert = files.cert(certificate())
    key = files.key(another())
    assert complaint(cert, key) == f"key {key}: does not belong to certificate {cert}"
    other_kind = rsa.generate_private_key(65537, 2048)
    key = files.write("rsa.pem", _pem(other_kind, serialization.NoEncryption()))
    assert complaint(cert, key) == f"key {key}: does not belong to certificate {cert}"


def _pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    encryption: serialization.KeySerializationEncryption,
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, form, encryption)


@pytest.mark.parametrize(
    "form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL]
)
def test_a_key_that_is_encrypted(files: Files, form: serialization.PrivateFormat) -> None:
    """And nobody is asked for its passphrase on a terminal."""
    key = serialization.load_pem_private_key(certificate().private_key_pem.bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    path = files.write("key.pem", _pem(key, serialization.BestAvailableEncryption(b"x"), form))
    said = complaint(files.cert(certificate()), path)
    assert said.startswith(f"key {path}: encrypted")


def test_files_that_are_damaged(files: Files) -> None:
    leaf = certificate()
    good = leaf.cert_chain_pems[0].bytes()
    key_pem = leaf.private_key_pem.bytes()
    cut = good[:200] + b"\n-----END CERTIFICATE-----\n"
    path = files.write("cert.pem", cut)
    assert complaint(path, files.key(leaf)).startswith(f"certificate {path}: damaged")
    assert complaint(files.both(leaf), client_ca=path).startswith(f"client CA {path}: ")
    path = files.write("cert.pem", good.replace(b"M", b"=", 1))
    assert complaint(path, files.key(leaf)).startswith(f"certificate {path}: damaged")
    key = files.write("key.pem", key_pem[:80] + b"\n-----END PRIVATE KEY-----\n")
    assert complaint(files.cert(leaf), key).startswith(f"key {key}: cannot be used")
    # Our own look finds nothing wrong in it, OpenSSL does.
    der = bytearray(ssl.PEM_cert_to_DER_cert(good.decode()))
    at = der.rindex(bytes.fromhex("2a8648ce3d0201"))  # the key's kind
    der[at] = 0x80
    path = files.write("cert.pem", ssl.DER_cert_to_PEM_cert(bytes(der)).encode())
    assert complaint(path, files.key(leaf)).startswith(f"certificate {path}: cannot be used")


def test_files_that_are_too_large(files: Files) -> None:
    path = files.directory / "large.pem"
    with path.open("wb") as file:
        file.truncate(17 << 20)
    assert complaint(path) == f"certificate {path}: larger than 16 MiB"


def test_wrong_arguments(files: Files) -> None:
    both = files.both(certificate())
    assert "client_auth must be" in complaint(both, client_ca=files.ca(), client_auth="maybe")
    assert "client_auth needs client_ca" in complaint(both, client_auth="optional")
    assert complaint(both, alpn="h2") == "alpn must be a sequence of names, as in ['h2']"
    for name in ["", "x" * 256, "ü", b"h2"]:
        assert "a name has 1 to 255 ASCII characters" in complaint(both, alpn=[name])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_may_read_is_warned_of(files: Files, mode: int) -> None:
    leaf = certificate()
    key = files.key(leaf, mode=mode)
    warnings: list[str] = []
    server_context(files.cert(leaf), key, warn=warnings.append)
    (warning,) = warnings
    assert f"key {key}: its mode {mode:04o} lets other users read it" in warning


# Reloading.


class Clock:
    def __init__(self) -> None:
        self.moment = NOW

    def __call__(self) -> float:
        return self.moment.timestamp()


def loaded(
    files: Files,
    leaf: trustme.LeafCert,
    warn: Callable[[str], None] = pytest.fail,
    **options: object,
) -> Certificates:
    return Certificates(
        files.cert(leaf),
        files.key(leaf),
        warn=warn,
        **options,  # type: ignore[arg-type]
    )


def test_a_renewed_certificate_is_taken(files: Files) -> None:
    old, new = another(), another(not_after=NOW + timedelta(days=90))
    certificates = loaded(files, old)
    context = certificates.context
    assert certificates.names == (NAME,)
    assert not certificates.changed()
    files.cert(new)
    files.key(new)
    assert certificates.changed()
    certificates.reload()
    assert not certificates.changed()
    assert serial_of(certificates.context) == serial(new)
    assert serial_of(context) == serial(old), "connections that have it keep it"
    assert certificates.expires_at == (NOW + timedelta(days=90)).timestamp()


def test_a_renewed_authority_is_taken(files: Files) -> None:
    certificates = Certificates(
        files.both(certificate()), client_ca=files.ca("theirs"), warn=pytest.fail
    )
    ours = client_side(cert=certificate("client.example"))
    with pytest.raises(TlsError):
        connected(certificates.context, ours)
    files.write("theirs.pem", authority().cert_pem)
    assert certificates.changed()
    certificates.reload()
    connected(certificates.context, ours)


def test_files_replaced_one_at_a_time(files: Files) -> None:
    old, new = another(), another()
    certificates = loaded(files, old)
    cert = files.cert(new)
    assert certificates.changed()
    with pytest.raises(UsageError, match=f"does not belong to certificate {cert}"):
        certificates.reload()
    assert serial_of(certificates.context) == serial(old)
    assert not certificates.changed(), "until there is more to see"
    files.key(new)
    assert certificates.changed()
    certificates.reload()
    assert serial_of(certificates.context) == serial(new)


def test_a_file_that_is_half_written(files: Files) -> None:
    old, new = another(), another()
    certificates = Certificates(files.both(old), warn=pytest.fail)
    whole = new.private_key_and_cert_chain_pem.bytes()
    path = files.directory / "both.pem"
    path.write_bytes(whole[:-40])
    assert certificates.changed()
    with pytest.raises(UsageError):
        certificates.reload()
    assert serial_of(certificates.context) == serial(old)
    path.write_bytes(whole)
    assert certificates.changed()
    certificates.reload()
    assert serial_of(certificates.context) == serial(new)


def test_a_file_that_is_missing(files: Files) -> None:
    leaf = another()
    certificates = loaded(files, leaf)
    (files.directory / "key.pem").unlink()
    assert certificates.changed()
    with pytest.raises(UsageError, match="no such file"):
        certificates.reload()
    assert serial_of(certificates.context) == serial(leaf)
    assert not certificates.changed()
    files.key(leaf)
    assert certificates.changed()
    certificates.reload()


def test_a_link_that_points_elsewhere(files: Files) -> None:
    """As where a whole directory is replaced by turning a link that others lead through."""
    old, new = another(), another()
    for name, leaf in ("one", old), ("two", new):
        (files.directory / name).mkdir()
        Files(files.directory / name).both(leaf)
    path, link = files.directory / "both.pem", files.directory / "current"
    path.symlink_to("current/both.pem")
    link.symlink_to("one")
    certificates = Certificates(path, warn=pytest.fail)
    link.unlink()
    link.symlink_to("two")
    assert certificates.changed()
    certificates.reload()
    assert serial_of(certificates.context) == serial(new)


def test_a_mode_that_is_mended(files: Files) -> None:
    leaf = another()
    certificates = loaded(files, leaf)
    (files.directory / "key.pem").chmod(0o400)
    assert certificates.changed()


def test_an_expired_certificate_is_refused_when_reloading(files: Files) -> None:
    good, expired = another(), another(not_after=NOW - timedelta(days=1))
    certificates = loaded(files, good)
    cert = files.cert(expired)
    files.key(expired)
    with pytest.raises(UsageError) as caught:
        certificates.reload()
    day = (NOW - timedelta(days=1)).strftime("%Y-%m-%d %H:%M:%S UTC")
    assert str(caught.value) == f"certificate {cert}: expired on {day}; the one in use is kept"
    assert serial_of(certificates.context) == serial(good)
    assert not certificates.changed()


def test_an_expired_certificate_is_better_than_none_at_the_start(files: Files) -> None:
    expired = another(not_after=NOW - timedelta(days=1))
    warnings: list[str] = []
    certificates = loaded(files, expired, warnings.append)
    (warning,) = warnings
    assert "expired on" in warning
    assert certificates.expires_at < NOW.timestamp()


def test_a_certificate_that_is_not_valid_yet_is_taken_when_it_is(files: Files) -> None:
    clock = Clock()
    old, new = another(), another(not_before=NOW + timedelta(hours=1))
    certificates = loaded(files, old, now=clock)
    files.cert(new)
    files.key(new)
    with pytest.raises(UsageError, match="not valid until"):
        certificates.reload()
    assert serial_of(certificates.context) == serial(old)
    assert not certificates.changed()
    clock.moment += timedelta(hours=1)
    assert certificates.changed()
    certificates.reload()
    assert not certificates.changed()
    warnings: list[str] = []
    clock.moment -= timedelta(hours=1)
    loaded(files, new, warnings.append, now=clock)
    assert "not valid until" in warnings[0]


def test_the_first_files_have_to_be_right(files: Files) -> None:
    with pytest.raises(UsageError, match="no such file"):
        Certificates(files.directory / "missing.pem", warn=pytest.fail)
    with pytest.raises(UsageError, match="must be a path"):
        Certificates(object(), warn=pytest.fail)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="sequence of names"):
        Certificates(files.both(certificate()), alpn="h2", warn=pytest.fail)


def test_connections_are_made_while_certificates_are_reloaded(files: Files) -> None:
    leaves = [another(), another()]
    certificates = Certificates(files.both(leaves[0]), warn=pytest.fail)
    known = {serial(leaf) for leaf in leaves}
    stop = threading.Event()
    seen: list[str] = []

    def connect() -> None:
        while not stop.is_set():
            seen.append(serial_of(certificates.context))

    threads = [threading.Thread(target=connect) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n in range(20):
        files.both(leaves[n % 2])
        certificates.reload()
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert set(seen) <= known
    assert seen


def test_somebody_elses_context() -> None:
    context = server_side()
    fixed = FixedContext(context)
    assert fixed.context is context
    assert not fixed.changed()
    fixed.reload()
    assert (fixed.expires_at, fixed.names) == (None, ())
    with pytest.raises(UsageError, match="tls_context is for clients"):
        FixedContext(client_side())
    with pytest.raises(UsageError, match=r"tls_context must be an ssl\.SSLContext"):
        FixedContext("x")  # type: ignore[arg-type]


# The fields of a certificate.


KEY = ec.generate_private_key(ec.SECP256R1())


def made(
    not_before: datetime, not_after: datetime, names: list[x509.GeneralName], version_3: bool = True
) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x" * 40)])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 1 << 150, not_before, not_after)
    builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=version_3)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


moments = st.datetimes(datetime(1950, 1, 1), datetime(9999, 12, 31, 23, 59, 59)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789-*.", min_size=1, max_size=60)
general_names = st.one_of(
    labels.map(x509.DNSName),
    st.ip_addresses().map(x509.IPAddress),
    st.just(x509.RFC822Name("a@b.example")),
)


@given(moments, moments, st.lists(general_names, max_size=40), st.booleans())
@example(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC), [], True)
@modest
def test_fields_are_what_another_library_put_there(
    one: datetime, other: datetime, names: list[x509.GeneralName], critical: bool
) -> None:
    not_before, not_after = min(one, other), max(one, other)
    fields = read_fields(made(not_before, not_after, names, critical))
    expected = [_text_of(name) for name in names if not isinstance(name, x509.RFC822Name)]
    assert list(fields.names) == expected
    assert fields.not_before == not_before.timestamp()
    assert fields.not_after == not_after.timestamp()


def _text_of(name: x509.GeneralName) -> str:
    if not isinstance(name, x509.IPAddress):
        return str(name.value)
    assert isinstance(name.value, ipaddress.IPv4Address | ipaddress.IPv6Address)
    family = socket.AF_INET if name.value.version == 4 else socket.AF_INET6
    return socket.inet_ntop(family, name.value.packed)


SAMPLE = made(NOW, NOW + timedelta(days=1), [x509.DNSName("a.example")])


@given(st.binary(max_size=200))
@modest
def test_any_bytes_are_a_certificate_or_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut short|as in DER|there is"):
        read_fields(data)


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=5))
@modest
def test_a_damaged_certificate_is_read_or_a_value_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE)
    for at, value in changes:
        data[at] = value
    try:
        found = read_fields(bytes(data))
    except ValueError:
        return
    assert isinstance(found, CertificateFields)


def test_a_certificate_that_is_cut_short() -> None:
    for size in range(len(SAMPLE)):
        with pytest.raises(ValueError, match="cut short"):
            read_fields(SAMPLE[:size])


@pytest.mark.parametrize("length", [b"\x80", b"\x85\0\0\0\0\0", b"\xff"])
def test_lengths_that_are_not_as_in_der(length: bytes) -> None:
    with pytest.raises(ValueError, match="not as in DER"):
        read_fields(b"\x30" + length + bytes(200))


@pytest.mark.parametrize(
    "time",
    [
        b"\x17\x0b5001010000Z",
        b"\x17\x0d5001010000000",
        b"\x17\x0d500101000060Z",
        b"\x18\x0d500101000000Z",
    ],
)
def test_dates_that_are_not_as_they_should_be(time: bytes) -> None:
    def sequence(*parts: bytes) -> bytes:
        content = b"".join(parts)
        return bytes([0x30, len(content)]) + content

    good = b"\x17\x0d500101000000Z"
    before = b"\x02\x01\x01" + 2 * b"\x30\x00"
    assert read_fields(sequence(sequence(before, sequence(good, good)))).not_after < 0
    with pytest.raises(ValueError, match=r"date|second"):
        read_fields(sequence(sequence(before, sequence(good, time))))


def test_pem() -> None:
    pem = certificate().cert_chain_pems[0].bytes()
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    assert decode_pem(b"text before\r\n" + pem.replace(b"\n", b"\r\n") + pem) == der
    assert decode_pem(pem.replace(b"CERTIFICATE", b"X509 CERTIFICATE")) == der
    assert decode_pem(b"-----BEGIN CERTIFICATE-----\n") is None
    assert decode_pem(b"") is None
