"""What a handler's outcome means, wherever it was called: what to send, whose fault it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from .. import events
from ..connection import Connection
from ..errors import Close, CloseReason, ConnectionClosed, FramingError, UsageError
from ..framing import require_bytes
from ..handler import Handler
from ..incoming import reason_of

__all__ = ["as_bytes", "as_parts", "closing", "explain"]


def as_parts(reply: object) -> Iterator[bytes]:
    """The single replies in what a message handler returned, other than bytes or nothing.

    Raises UsageError for what a handler may not return. What the parts are is looked at
    when they are sent.
    """
    if isinstance(reply, bytearray | memoryview):
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


@contextlib.contextmanager
def closing(parts: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
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
    if isinstance(error, FramingError) and error is connection.violation:
        events.peer_fault(connection, error)
        return reason_of(error)
    if isinstance(error, ConnectionClosed) and error.connection is connection:
        # Nobody is left to talk to: the ordinary way for a session to end.
        return connection.end_reason or CloseReason.PEER_RESET
    # A logging handler that fails must not keep the connection from being closed.
    with contextlib.suppress(Exception):
        events.handler_failed(connection, handler.name, error)
    return CloseReason.HANDLER_FAILED
