"""``ssl`` contexts from PEM files, with errors that name the file and what is wrong with it.

Both kinds of context go by the same rules: TLS 1.2 is the least, a connection's keys are
never negotiated anew within TLS 1.2, nothing is compressed, a key that is encrypted is
refused instead of asked for on the terminal. The cipher suites are those that Python
recommends, and a server's order of them counts. Of given authorities each is trusted for itself,
whether or not the one above it is in the file, too: whoever names an intermediate
authority means that one.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Callable, Sequence
from typing import Final, Literal, NoReturn, TypeAlias

from ..errors import UsageError, describe_os_error
from ..transport.tls_problem import explain
from .fields import CertificateFields, decode_pem, read_fields

__all__ = ["ClientAuth", "Path", "build_server_context", "client_context", "server_context"]

Path: TypeAlias = str | os.PathLike[str]
ClientAuth: TypeAlias = Literal["required", "optional"]

_LARGEST: Final = 16 << 20  # bytes; the authorities of the whole world are a quarter of one MiB
_PRIVATE_KEY: Final = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")
# The last one means: no certificate for a key of this kind.
_MISMATCH: Final = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
_READ_BY_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH
_COMMON_OPTIONS: Final = ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def server_context(
    cert: Path,
    key: Path | None = None,
    *,
    client_ca: Path | None = None,
    client_auth: ClientAuth = "required",
    alpn: Sequence[str] = (),
    warn: Callable[[str], None],
) -> ssl.SSLContext:
    """A context for servers.

    cert
        PEM file: the server's certificate, then those above it.
    key
        PEM file: its private key [in the same file].
    client_ca
        PEM file: the authorities whose certificates clients show [clients show none].
    client_auth
        With ``client_ca``: whether a client has to show one, or may ["required"].
    alpn
        Application protocols that are offered, the preferred one first [none].
    warn
        Is told, in a sentence, what is no error and yet should be mended.

    Raises :class:`~threadwire.UsageError`.
    """
    return build_server_context(cert, key, client_ca, client_auth, alpn, warn)[0]


def build_server_context(
    cert: Path,
    key: Path | None,
    client_ca: Path | None,
    client_auth: ClientAuth,
    alpn: Sequence[str],
    warn: Callable[[str], None],
) -> tuple[ssl.SSLContext, CertificateFields]:
    """As :func:`server_context`, and what the certificate says."""
    if client_auth not in ("required", "optional"):
        raise UsageError(f"client_auth must be 'required' or 'optional', not {client_auth!r}")
    if client_ca is None and client_auth == "optional":
        raise UsageError("client_auth needs client_ca, whose certificates clients may show")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_rules(context, alpn)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    fields, key_mode = _load_own(context, cert, key)
    if key_mode & _READ_BY_OTHERS:
        warn(
            f"key {cert if key is None else key}: its mode {key_mode:04o} lets other users "
            "read it; 0600 would let its owner alone"
        )
    if client_ca is not None:
        _load_authorities(context, "client CA", client_ca)
        optional = client_auth == "optional"
        context.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
    return context, fields


def client_context(
    *,
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    alpn: Sequence[str] = (),
) -> ssl.SSLContext:
    """A context for clients, which verifies the server's certificate and its name.

    ca
        PEM file: the authorities to trust [those that the system trusts].
    cert, key
        PEM files: the client's own certificate with those above it, and its private key
        [the client shows none; the key is in the same file].
    alpn
        Application protocols that are offered, the preferred one first [none].

    Raises :class:`~threadwire.UsageError`.
    """
    if key is not None and cert is None:
        raise UsageError("key needs cert, the certificate that it belongs to")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _set_rules(context, alpn)
    if ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load_authorities(context, "CA", ca)
    if cert is not None:
        _load_own(context, cert, key)
    return context


def _set_rules(context: ssl.SSLContext, alpn: Sequence[str]) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= _COMMON_OPTIONS
    if isinstance(alpn, str):
        raise UsageError(f"alpn must be a sequence of names, as in [{alpn!r}]")
    names: Sequence[object] = alpn
    for name in names:
        if not (isinstance(name, str) and name.isascii() and 1 <= len(name) <= 255):
            raise UsageError(f"alpn: a name has 1 to 255 ASCII characters, unlike {name!r}")
    if alpn:
        context.set_alpn_protocols(alpn)


def _load_own(
    context: ssl.SSLContext, cert: Path, key: Path | None
) -> tuple[CertificateFields, int]:
    """The certificate that we show, and its key; what it says, and the key file's mode."""
    text, mode = _read("certificate", cert)
    try:
        der = decode_pem(text)
        fields = None if der is None else read_fields(der)
    except ValueError as error:
        raise UsageError(f"certificate {cert}: damaged ({error})") from error
    if fields is None:
        if _PRIVATE_KEY.search(text):
            raise UsageError(f"certificate {cert}: holds a private key, and no certificate")
        raise UsageError(f"certificate {cert}: not a PEM file with a certificate")
    key_text = text
    if key is not None:
        key_text, mode = _read("key", key)
    if not _PRIVATE_KEY.search(key_text):
        if key is None:
            raise UsageError(f"certificate {cert}: holds no private key, so key has to be given")
        if b"-----BEGIN CERTIFICATE" in key_text:
            raise UsageError(f"key {key}: holds a certificate, and no private key")
        raise UsageError(f"key {key}: not a PEM file with a private key")
    key_file = cert if key is None else key

    def refuse() -> NoReturn:
        raise UsageError(
            f"key {key_file}: encrypted, and nobody is there to type its passphrase; "
            "'openssl pkey -in ENCRYPTED -out PLAIN' decrypts it"
        )

    try:
        context.load_cert_chain(cert, key, password=refuse)
    except ssl.SSLError as error:
        if error.reason in _MISMATCH:
            raise UsageError(f"key {key_file}: does not belong to certificate {cert}") from error
        what = f"key {key_file}" if _is_readable(text) else f"certificate {cert}"
        raise UsageError(f"{what}: cannot be used ({explain(error)})") from error
    except OSError as error:  # it has just been there
        raise UsageError(f"certificate {cert}: {describe_os_error(error)}") from error
    return fields, mode


def _is_readable(certificate: bytes) -> bool:
    """Whether OpenSSL has nothing against it, so that it must be the key."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(
            cadata=decode_pem(certificate)
        )
    except (ssl.SSLError, ValueError):
        return False
    return True


def _load_authorities(context: ssl.SSLContext, what: str, path: Path) -> None:
    text, _ = _read(what, path)
    try:
        found = decode_pem(text)
    except ValueError as error:
        raise UsageError(f"{what} {path}: damaged ({error})") from error
    if found is None:
        raise UsageError(f"{what} {path}: not a PEM file with certificates")
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise UsageError(f"{what} {path}: cannot be used ({explain(error)})") from error
    except OSError as error:  # it has just been there
        raise UsageError(f"{what} {path}: {describe_os_error(error)}") from error


def _read(what: str, path: Path) -> tuple[bytes, int]:
    """A regular file's content and mode; ``what`` it is, for the error."""
    try:
        # Looked at first, since opening a pipe could wait for ever.
        if not stat.S_ISREG(os.stat(os.fspath(path)).st_mode):
            raise UsageError(f"{what} {path}: not a regular file")
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise UsageError(f"{what} {path}: {describe_os_error(error)}") from error
    except UsageError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what} must be a path, not {path!r}") from error
    if len(data) > _LARGEST:
        raise UsageError(f"{what} {path}: larger than {_LARGEST >> 20} MiB")
    return data, stat.S_IMODE(mode)
