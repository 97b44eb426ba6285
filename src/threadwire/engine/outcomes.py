"""What a handler's outcome means, wherever it was called: what to send, whose fault it was."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from .. import events
from ..connection import Connection
from ..errors import Close, CloseReason, ConnectionClosed, FramingError, TlsError, UsageError
from ..framing import require_bytes
from ..handler import Handler
from ..incoming import reason_of
from .spare_threads import tally_here

_Parts = TypeVar("_Parts")

__all__ = ["Resumed", "as_bytes", "as_parts", "closing", "each_part", "explain"]


def as_parts(reply: object) -> Iterator[bytes]:
    """The single replies in what a message handler returned, other than bytes or nothing.

    Raises UsageError for what a handler may not return. What the parts are is looked at
    when they are sent.
    """
    if isinstance(reply, bytes | bytearray | memoryview):
        return iter((bytes(reply),))
    if isinstance(reply, str) or not isinstance(reply, Iterable):
        hint = "; encode text first, as in text.encode()" if isinstance(reply, str) else ""
        raise UsageError(
            f"a handler must return bytes, None or an iterable of bytes, "
            f"not {type(reply).__name__}{hint}"
        )
    return iter(reply)


def as_bytes(reply: object) -> bytes:
    """A single reply as bytes; raises UsageError for what is none."""
    if type(reply) is bytes:
        return reply
    require_bytes(reply)
    return bytes(reply)  # type: ignore[call-overload,no-any-return]


def each_part(reply: object) -> Iterator[bytes]:
    """The single replies in what a handler returned, other than bytes, as bytes.

    Nothing of the user's runs before the first is asked for. What goes wrong is raised
    then; from then on closing this closes what it iterates. The time that the parts take is
    counted, all together, unless they were there already.
    """
    with closing(as_parts(reply)) as parts:
        if isinstance(reply, _TIMED_OR_READY):
            for part in parts:
                yield as_bytes(part)
            return
        spent, begun = 0.0, time.monotonic()
        try:
            for part in parts:
                spent += time.monotonic() - begun
                yield as_bytes(part)
                begun = time.monotonic()
            spent += time.monotonic() - begun
        finally:
            tally = tally_here()
            if tally is not None:
                tally.add(spent)


class Resumed:
    """What is left of :func:`each_part`, with one that was taken out before it.

    It is a reply for another thread to go on with, which iterates it once.
    """

    def __init__(self, part: bytes | None, parts: Iterator[bytes]) -> None:
        self._part = part
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        with closing(self._parts):
            if self._part is not None:
                yield self._part
            yield from self._parts


_TIMED_OR_READY = (Resumed, list, tuple, bytes, bytearray, memoryview)


@contextlib.contextmanager
def closing(parts: _Parts) -> Iterator[_Parts]:
    """A generator that was not used up still has its own ``finally`` to run."""
    try:
        yield parts
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()


def explain(connection: Connection, handler: Handler, error: BaseException) -> CloseReason:
    """Say whose fault ``error`` is, and log what is worth a line."""
    if isinstance(error, Close):
        return CloseReason.HANDLER_CLOSED
    if isinstance(error, FramingError | TlsError) and error is connection.violation:
        handler.peer_fault(connection, error)
        return reason_of(error)
    if isinstance(error, ConnectionClosed) and error.connection is connection:
        # Nobody is left to talk to: the ordinary way for a session to end.
        return connection.end_reason or CloseReason.PEER_RESET
    events.handler_failed(connection, handler.name, error)
    return CloseReason.HANDLER_FAILED
