"""What a TLS handshake has agreed on; here alone, so that naming it does not import ``ssl``."""

from __future__ import annotations

from typing import Any

from ..value import Value

__all__ = ["TlsInfo"]


class TlsInfo(Value):
    """A connection's TLS, as the handshake left it.

    version
        ``"TLSv1.3"`` or ``"TLSv1.2"``.
    cipher
        The cipher suite's name, as ``"TLS_AES_256_GCM_SHA384"``.
    alpn
        The application protocol both ends agreed on (RFC 7301), or ``None``.
    server_name
        A server's connection: the host name that the client asked for (SNI, RFC 6066);
        ``None`` if it asked for none, as one that connects to an IP address does not.
        A client's connection: the name, or address, that it checked the certificate for.
    peer_certificate
        The peer's certificate, verified, as the dict that
        :meth:`ssl.SSLSocket.getpeercert` describes; ``None`` if it sent none, or one that
        nobody has verified.
    peer_certificate_der
        The same in DER, verified or not; ``None`` if it sent none.
    """

    __slots__ = (
        "alpn",
        "cipher",
        "peer_certificate",
        "peer_certificate_der",
        "server_name",
        "version",
    )

    version: str
    cipher: str
    alpn: str | None
    server_name: str | None
    peer_certificate: dict[str, Any] | None
    peer_certificate_der: bytes | None

    def __init__(
        self,
        version: str,
        cipher: str,
        *,
        alpn: str | None = None,
        server_name: str | None = None,
        peer_certificate: dict[str, Any] | None = None,
        peer_certificate_der: bytes | None = None,
    ) -> None:
        self.version = version
        self.cipher = cipher
        self.alpn = alpn
        self.server_name = server_name
        self.peer_certificate = peer_certificate
        self.peer_certificate_der = peer_certificate_der

    def __hash__(self) -> int:  # without the dict; equal ones have equal DER
        return hash(
            (self.version, self.cipher, self.alpn, self.server_name, self.peer_certificate_der)
        )

    def __repr__(self) -> str:
        """Everything but the DER, which is long and says the same."""
        return (
            f"TlsInfo({self.version!r}, {self.cipher!r}, alpn={self.alpn!r}, "
            f"server_name={self.server_name!r}, peer_certificate={self.peer_certificate!r})"
        )
