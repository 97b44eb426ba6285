"""Serving one client on a thread of its own, from its first byte to its last.

The calling thread owns the connection. It reads with plain blocking reads, calls
the handler and sends each reply when it is there, so whatever the handler does,
however long, concerns this client alone.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable

from .. import events
from ..connection import Connection, reason_of
from ..errors import Close, CloseReason, ConnectionClosed, FramingError, UsageError
from ..handler import Handler


def serve_connection(connection: Connection, handler: Handler) -> None:
    """Serve until the end; the connection is closed on return. Raises nothing."""
    connection.own()
    reason = CloseReason.HANDLER_FAILED
    try:
        events.opened(connection)
        reason = _converse(connection, handler)
    except BaseException as error:  # noqa: BLE001 - even SystemExit ends this client alone
        reason = _explain(connection, handler, error)
    finally:
        connection.finish(reason)
        events.closed(connection, connection.age)


def _converse(connection: Connection, handler: Handler) -> CloseReason:
    try:
        if handler.is_session:
            handler.run_session(connection)
        else:
            answer = _answer_told if events.logger.isEnabledFor(logging.DEBUG) else _answer
            while (message := connection.next_message()) is not None:
                answer(connection, handler, message)
    except Close as close:
        if close.reply is not None:
            connection.send_reply(close.reply)
        return CloseReason.HANDLER_CLOSED
    if connection.violation is not None:  # a session has caught it, and ended
        return _peer_fault(connection, connection.violation)
    return connection.end_reason or CloseReason.HANDLER_CLOSED


def _peer_fault(connection: Connection, error: FramingError) -> CloseReason:
    events.peer_fault(connection, error)
    return reason_of(error)


def _answer(connection: Connection, handler: Handler, message: bytes) -> None:
    _send(connection, handler.call(message, connection))


def _answer_told(connection: Connection, handler: Handler, message: bytes) -> None:
    begun, sent = time.monotonic(), connection.bytes_sent
    _answer(connection, handler, message)
    seconds = time.monotonic() - begun
    events.message(connection, len(message), connection.bytes_sent - sent, seconds)


def _send(connection: Connection, reply: object) -> None:
    """Send what a message handler returned: bytes, nothing, or several replies as they come."""
    if reply is None:
        return
    if isinstance(reply, bytes | bytearray | memoryview):
        connection.send_reply(reply)
        return
    if isinstance(reply, str) or not isinstance(reply, Iterable):
        hint = "; encode text first, as in text.encode()" if isinstance(reply, str) else ""
        raise UsageError(
            f"a handler must return bytes, None or an iterable of bytes, "
            f"not {type(reply).__name__}{hint}"
        )
    try:
        for part in reply:
            connection.send_reply(part)
    finally:
        # A generator that was not used up still has its own ``finally`` to run.
        close = getattr(reply, "close", None)
        if close is not None:
            close()


def _explain(connection: Connection, handler: Handler, error: BaseException) -> CloseReason:
    """Say whose fault ``error`` is, and log what is worth a line."""
    if isinstance(error, FramingError) and error is connection.violation:
        return _peer_fault(connection, error)
    if isinstance(error, ConnectionClosed) and error.connection is connection:
        # Nobody is left to talk to: the ordinary way for a session to end.
        return connection.end_reason or CloseReason.PEER_RESET
    # A logging handler that fails must not keep the connection from being closed.
    with contextlib.suppress(Exception):
        events.handler_failed(connection, handler.name, error)
    return CloseReason.HANDLER_FAILED
