"""What a header says."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ..address import Address
from ..errors import ProxyHeaderError
from ..value import Value
from . import wire

__all__ = ["ProxyHeader", "ProxySsl", "Tlv"]

Tlv: TypeAlias = tuple[int, bytes]
"""A type, 0 to 255, and its value."""


class _WithTlvs(Value):
    """What has ``tlvs``, and text in them."""

    __slots__ = ()

    tlvs: tuple[Tlv, ...]

    def tlv(self, kind: int) -> bytes | None:
        """The value of the first TLV of the type ``kind``, ``None`` if there is none."""
        return next((value for found, value in self.tlvs if found == kind), None)

    def _text(self, kind: int) -> str | None:
        value = self.tlv(kind)
        return None if value is None else value.decode(errors="replace")


class ProxyHeader(_WithTlvs):
    """What a proxy said of a connection.

    ``version``
        1 or 2, of the protocol.
    ``local``
        Whether the proxy speaks for itself, as in a health check, and not for a client: then
        the connection's own addresses are the right ones.
    ``source``, ``destination``
        The two ends of the client's connection to the proxy, ``tcp`` or ``unix``. Both are
        ``None`` if the header is ``local``, and if the proxy does not know them.
    ``tlvs``
        What else it said, as pairs of type and value, in order and as they came; padding
        is left out. Version 1 has none. :meth:`tlv` finds one.

    In text that is not UTF-8, here and in :class:`ProxySsl`, what is wrong shows as
    ``U+FFFD``; the client chose much of it, and a proxy may pass it on as it is.
    """

    __slots__ = ("destination", "local", "source", "tlvs", "version")

    def __init__(
        self,
        version: Literal[1, 2],
        local: bool = False,
        source: Address | None = None,
        destination: Address | None = None,
        tlvs: tuple[Tlv, ...] = (),
    ) -> None:
        self.version = version
        self.local = local
        self.source = source
        self.destination = destination
        self.tlvs = tlvs

    @property
    def authority(self) -> str | None:
        """The host name that the client asked for: with TLS, its SNI."""
        return self._text(wire.AUTHORITY)

    @property
    def unique_id(self) -> bytes | None:
        """The proxy's name for this connection, at most 128 bytes."""
        return self.tlv(wire.UNIQUE_ID)

    @property
    def alpn(self) -> bytes | None:
        """The application protocol that client and proxy agreed on, as in ``b"h2"``."""
        return self.tlv(wire.ALPN)

    @property
    def ssl(self) -> ProxySsl | None:
        """What the proxy said of the client's TLS; ``None`` if it said nothing."""
        value = self.tlv(wire.SSL)
        return None if value is None else decode_ssl(value)


class ProxySsl(_WithTlvs):
    """What a proxy said of its client's TLS (the specification's section 2.2.6).

    ``client``
        Flags: 1 for TLS, 2 for a certificate shown on this connection, 4 for one shown in
        the TLS session that this connection resumed.
    ``verify``
        0 if the certificate was found good, and from HAProxy also if there was none: ask
        :attr:`verified`.
    ``tlvs``
        What else it said, as pairs of type and value, as they came.
    """

    __slots__ = ("client", "tlvs", "verify")

    def __init__(self, client: int, verify: int, tlvs: tuple[Tlv, ...] = ()) -> None:
        self.client = client
        self.verify = verify
        self.tlvs = tlvs

    @property
    def used(self) -> bool:
        """Whether the client spoke TLS to the proxy."""
        return bool(self.client & 1)

    @property
    def verified(self) -> bool:
        """Whether the client showed a certificate and the proxy found it good."""
        return self.used and bool(self.client & 6) and self.verify == 0

    @property
    def version(self) -> str | None:
        """As in ``TLSv1.3``."""
        return self._text(wire.SSL_VERSION)

    @property
    def common_name(self) -> str | None:
        """The common name in the client's certificate, :attr:`verified` or not."""
        return self._text(wire.SSL_CN)

    @property
    def cipher(self) -> str | None:
        """As in ``TLS_AES_256_GCM_SHA384``."""
        return self._text(wire.SSL_CIPHER)

    @property
    def signature_algorithm(self) -> str | None:
        """What the proxy's own certificate was signed with, as in ``RSA-SHA256``."""
        return self._text(wire.SSL_SIG_ALG)

    @property
    def key_algorithm(self) -> str | None:
        """The kind of key in the proxy's own certificate, as in ``RSA2048``."""
        return self._text(wire.SSL_KEY_ALG)


def decode_ssl(value: bytes) -> ProxySsl:
    """The value of an SSL TLV; raises ProxyHeaderError."""
    if len(value) < 5:
        raise ProxyHeaderError(f"its SSL TLV has {len(value)} bytes, fewer than 5")
    tlvs = tuple((kind, value[begin:end]) for kind, begin, end in wire.spans(value, 5))
    return ProxySsl(value[0], wire.uint(value, 1, 4), tlvs)
