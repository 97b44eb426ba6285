"""What a certificate says of itself: from when to when it is valid, and for which names.

``ssl`` tells this of a peer's certificate only. So this walks through our own, in DER
(X.690), as far as the few fields lie that are needed (RFC 5280, section 4.1).
"""

from __future__ import annotations

import binascii
import re
import socket
from datetime import UTC, datetime
from typing import Final

from ..value import Value

__all__ = ["CertificateFields", "decode_pem", "read_fields"]

_PEM: Final = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.*?)-----END ", re.DOTALL
)

_SEQUENCE, _OID, _OCTETS = 0x30, 0x06, 0x04
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_VERSION, _EXTENSIONS = 0xA0, 0xA3  # [0] and [3], constructed
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87  # [2] and [7] of GeneralName
_SUBJECT_ALT_NAME: Final = bytes((0x55, 0x1D, 0x11))  # 2.5.29.17


class CertificateFields(Value):
    """``not_before`` and ``not_after`` in seconds since the epoch; ``names``.

    The names are the DNS names and IP addresses that the certificate is for (subject
    alternative names). The common name is none of them: clients no longer heed it.
    """

    __slots__ = ("names", "not_after", "not_before")

    names: tuple[str, ...]
    not_after: float
    not_before: float

    def __init__(self, not_before: float, not_after: float, names: tuple[str, ...]) -> None:
        self.not_before = not_before
        self.not_after = not_after
        self.names = names


def decode_pem(text: bytes) -> bytes | None:
    """The first certificate in a PEM file, in DER; ``None`` if there is none.

    Raises :class:`ValueError` for one that is damaged.
    """
    block = _PEM.search(text)
    return None if block is None else binascii.a2b_base64(block[1])


def read_fields(der: bytes) -> CertificateFields:
    """Raises :class:`ValueError` for what is not a certificate."""
    certificate = _Elements(_Elements(der).take(_SEQUENCE)).take(_SEQUENCE)
    fields = _Elements(certificate)
    if fields.tag == _VERSION:
        fields.next()
    for _ in ("serialNumber", "signature", "issuer"):
        fields.next()
    validity = _Elements(fields.take(_SEQUENCE))
    not_before, not_after = _time(*validity.next()), _time(*validity.next())
    names: tuple[str, ...] = ()
    while fields.tag is not None:
        tag, content = fields.next()
        if tag == _EXTENSIONS:
            names = _names(_Elements(content).take(_SEQUENCE))
    return CertificateFields(not_before, not_after, names)


class _Elements:
    """The elements of a constructed value, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def tag(self) -> int | None:
        """The next element's, or ``None`` at the end."""
        return self._data[self._at] if self._at < len(self._data) else None

    def next(self) -> tuple[int, bytes]:
        """The next element's tag and content."""
        data, at = self._data, self._at
        if len(data) - at < 2:
            raise ValueError("it is cut short")
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:  # so many bytes hold the length
            count = size & 0x7F
            if not 1 <= count <= 4:
                raise ValueError("a length is not as in DER")
            size = int.from_bytes(data[at : at + count])
            at += count
        if len(data) - at < size:
            raise ValueError("it is cut short")
        self._at = at + size
        return tag, data[at : self._at]

    def take(self, expected: int) -> bytes:
        """The next element's content, which has to be of this tag."""
        tag, content = self.next()
        if tag != expected:
            raise ValueError(f"there is {tag:#04x} where {expected:#04x} should be")
        return content


def _time(tag: int, content: bytes) -> float:
    """RFC 5280, section 4.1.2.5: always in UTC, to the second."""
    digits = content[:-1]
    if tag == _UTC_TIME and len(digits) == 12:
        # Two digits of the year: 1950 to 2049.
        digits = (b"19" if digits >= b"50" else b"20") + digits
    elif tag != _GENERALIZED_TIME or len(digits) != 14:
        raise ValueError("a date is not as it should be")
    if content[-1:] != b"Z" or not digits.isdigit():
        raise ValueError("a date is not as it should be")
    parts = (digits[:4], *(digits[n : n + 2] for n in range(4, 14, 2)))
    year, month, day, hour, minute, second = map(int, parts)
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()


def _names(content: bytes) -> tuple[str, ...]:
    """From the extensions: SEQUENCE OF SEQUENCE { OID, [critical], value }."""
    extensions = _Elements(content)
    while extensions.tag is not None:
        extension = _Elements(extensions.take(_SEQUENCE))
        if extension.take(_OID) != _SUBJECT_ALT_NAME:
            continue
        tag, value = extension.next()
        if tag != _OCTETS:  # it was the flag that says whether it is critical
            value = extension.take(_OCTETS)
        return tuple(_each_name(_Elements(value).take(_SEQUENCE)))
    return ()


def _each_name(content: bytes) -> list[str]:
    found = []
    names = _Elements(content)
    while names.tag is not None:
        tag, value = names.next()
        if tag == _DNS_NAME:
            found.append(value.decode("ascii", "backslashreplace"))
        elif tag == _IP_ADDRESS and len(value) in (4, 16):
            family = socket.AF_INET if len(value) == 4 else socket.AF_INET6
            found.append(socket.inet_ntop(family, value))
    return found
