"""Where TLS records begin and end, which OpenSSL keeps to itself."""

from __future__ import annotations

from typing import Final

__all__ = ["ALERT", "HANDSHAKE", "RecordBoundaries"]

ALERT, HANDSHAKE = 21, 22  # the types that a stream can begin with (RFC 8446, section 5.1)
_HEADER: Final = 5  # type, version (2), length (2)


class RecordBoundaries:
    """Follows one direction of a connection; linear, whatever the chunking."""

    __slots__ = ("_header", "_left")

    def __init__(self) -> None:
        self._header = b""  # of which not all has come
        self._left = 0  # bytes of the record's body that are still to come

    @property
    def inside(self) -> bool:
        """Whether a record has begun and is not complete."""
        return bool(self._header or self._left)

    def follow(self, data: bytes) -> None:
        """Take note of bytes of the stream, cut anywhere."""
        at, size = 0, len(data)
        while at < size:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                continue
            if not self._header and size - at >= _HEADER:
                self._left = data[at + 3] << 8 | data[at + 4]
                at += _HEADER
                continue
            missing = _HEADER - len(self._header)
            self._header += data[at : at + missing]
            at += missing
            if len(self._header) == _HEADER:
                self._left = self._header[3] << 8 | self._header[4]
                self._header = b""
