"""What went wrong in TLS, in words for a log.

OpenSSL names what happened by a constant and its place in its own source; whoever runs
a server needs to know who did not like what. Where it is not one of the well-known cases,
the constant's words are given as they are.
"""

from __future__ import annotations

import re
import ssl

__all__ = ["HUNG_UP", "NOT_TLS", "explain"]

HUNG_UP = "the peer hung up during the handshake"
NOT_TLS = "the peer does not speak TLS"

_NO_VERSION = "no version of TLS that both ends allow"
_NO_CIPHER = "no cipher suite that both ends allow"
_DAMAGED = "a record was damaged or forged"

# The result codes of X509_verify_cert (OpenSSL's x509_vfy.h).
_VERIFY = {
    2: "is signed by an authority that is not trusted",
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself and not trusted",
    19: "is signed by an authority that is not trusted",
    20: "is signed by an authority that is not trusted",
    21: "is signed by an authority that is not trusted",
    23: "has been revoked",
    26: "is not made for this purpose (extended key usage)",
}

# What OpenSSL finds out here.
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer sent no certificate, and one is required",
    "UNSUPPORTED_PROTOCOL": _NO_VERSION,
    "VERSION_TOO_LOW": _NO_VERSION,
    "NO_PROTOCOLS_AVAILABLE": _NO_VERSION,
    "NO_SHARED_CIPHER": _NO_CIPHER,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "no signature algorithm that both ends allow",
    "NO_SHARED_SIGNATURE_ALGORITHMS": "no signature algorithm that both ends allow",
    "WRONG_VERSION_NUMBER": NOT_TLS,
    "HTTP_REQUEST": NOT_TLS,
    "HTTPS_PROXY_REQUEST": NOT_TLS,
    "UNKNOWN_PROTOCOL": NOT_TLS,
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": _DAMAGED,
    "BAD_RECORD_TYPE": _DAMAGED,
}

# What the peer says about us, in an alert (RFC 8446, section 6.2).
_ALERTS = {
    "UNKNOWN_CA": "the peer does not trust the authority that signed our certificate",
    "CERTIFICATE_REQUIRED": "the peer requires a certificate and got none",
    "BAD_CERTIFICATE": "the peer refuses our certificate",
    "CERTIFICATE_UNKNOWN": "the peer refuses our certificate",
    "CERTIFICATE_EXPIRED": "the peer refuses our certificate: it has expired",
    "CERTIFICATE_REVOKED": "the peer refuses our certificate: it has been revoked",
    "UNSUPPORTED_CERTIFICATE": "the peer refuses our certificate: it is of the wrong kind",
    "PROTOCOL_VERSION": _NO_VERSION,
    "HANDSHAKE_FAILURE": "the peer accepts nothing that was offered (handshake failure)",
    "UNRECOGNIZED_NAME": "the peer does not serve the name it was asked for",
    "NO_APPLICATION_PROTOCOL": "the peer speaks none of the application protocols offered",
    "BAD_RECORD_MAC": "the peer found a record damaged or forged",
    "USER_CANCELLED": "the peer gave up",
}
# What Python puts around OpenSSL's words: "[SSL] unknown error (_ssl.c:1006)".
_DECORATION = re.compile(r"^\[[^\]]*\] | \(_ssl\.c:\d+\)$")
_ALERT = re.compile(r"(?:SSLV3|TLSV13?)_(?:ALERT_)?(\w+)")


def explain(error: ssl.SSLError) -> str:
    """The problem, for the text of a :class:`~threadwire.TlsError`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate {_verification(error)}"
    reason: str | None = getattr(error, "reason", None)  # missing if made without a code
    if not reason:
        return _DECORATION.sub("", str(error.args[-1] if error.args else error))
    if reason in _REASONS:
        return _REASONS[reason]
    alert = _ALERT.fullmatch(reason)
    if alert is None:
        return reason.replace("_", " ").lower()
    if alert[1] in _ALERTS:
        return _ALERTS[alert[1]]
    return f"the peer sent an alert: {alert[1].replace('_', ' ').lower()}"


def _verification(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _VERIFY:
        return _VERIFY[error.verify_code]
    # "Hostname mismatch, certificate is not valid for 'example.org'."
    name = re.search(r"certificate is not valid for '(.*)'", error.verify_message)
    if name is not None:
        return f"is not for {name[1]!r}"
    return f"is refused: {error.verify_message}"
