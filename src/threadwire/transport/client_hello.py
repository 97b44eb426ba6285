"""The host name that a TLS client asks for, from the first thing it sends.

``ssl`` tells it to a callback of the context alone, which may be the user's own; and where the
name is not ASCII, it writes a traceback to standard error, at the bidding of anybody who
connects. So it is read here, from a copy (RFC 8446, section 4.1.2; RFC 6066, section 3).
"""

from __future__ import annotations

from typing import Final

from .tls_records import HANDSHAKE

__all__ = ["MOST_HELLO", "asked_name"]

# Of the stream's first bytes; that is one record. Those who send more ask for no name.
MOST_HELLO: Final = (1 << 14) + 5

_CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 1, 0, 0


def asked_name(stream: bytes) -> str | None:
    """The name, ``None`` if there is none. ``stream`` is what came first from a client.

    What is not ASCII in it is shown by escape sequences.
    """
    try:
        return _find_name(_first_message(stream))
    except ValueError:  # cut short; or there are no extensions, as in old versions
        return None


class _Reader:
    """Takes a structure apart from the front; raises ValueError where it is cut short."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def done(self) -> bool:
        return self._at == len(self._data)

    def take(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) < size:
            raise ValueError
        self._at += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> _Reader:
        """What follows its length, a number of so many bytes."""
        return _Reader(self.take(self.number(size)))


def _first_message(stream: bytes) -> _Reader:
    """The handshake message, which may be spread over several records."""
    records, messages = _Reader(stream), b""
    while not records.done and records.number(1) == HANDSHAKE:
        records.take(2)  # version
        messages += records.take(records.number(2))
        if len(messages) >= 4 + int.from_bytes(messages[1:4]):
            break  # what comes behind it may be cut short
    message = _Reader(messages)
    if message.number(1) != _CLIENT_HELLO:
        raise ValueError
    return message.vector(3)


def _find_name(hello: _Reader) -> str | None:
    hello.take(2 + 32)  # version, random
    for size in (1, 2, 1):  # session, cipher suites, compressions
        hello.vector(size)
    extensions = hello.vector(2)
    while not extensions.done:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            names = content.vector(2)
            while not names.done:
                if names.number(1) == _HOST_NAME:
                    return names.take(names.number(2)).decode("ascii", "backslashreplace")
                names.vector(2)
    return None
