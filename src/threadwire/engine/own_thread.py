"""Serving one client on a thread of its own, by plain blocking reads and writes.

The calling thread owns the connection. Whatever its handler does, however long, concerns
this client alone. A session is served so for its life. A client of a message handler is
served so while its handler is slow: when it has been quick often enough, or has been quiet
for a while, it goes back to the loop, where it costs no thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from .. import events
from ..connection import Connection
from ..errors import Close, CloseReason
from ..handler import Handler
from ..limits import QUIET_SECONDS
from ..transport.poller import timed
from .baton import NOBODYS_TALLY
from .outcomes import closing, each_part, explain
from .spare_threads import tally_here

__all__ = ["Step", "answer", "send_answer", "serve_alone", "serve_session"]

# Sends what is still to be sent of an answer, or handles messages that were decoded before.
Step = Callable[[], None]

# Quick calls in a row after which a client goes back to the loop; twice as many for each
# time that it has held up the loop, up to so many times.
_QUICK_CALLS = 8
_DOUBLINGS = 7


def serve_session(connection: Connection, handler: Handler) -> CloseReason:
    """Call the session handler; returns why the connection ends. Raises nothing."""
    connection.busy_since = time.monotonic()
    try:
        handler.run_session(connection)
        if connection.violation is not None:  # the session has caught it, and ended
            return explain(connection, handler, connection.violation)
    except BaseException as error:  # noqa: BLE001 - even SystemExit ends this client alone
        return _ended_by(connection, handler, error)
    return connection.end_reason or CloseReason.HANDLER_CLOSED


def serve_alone(
    connection: Connection,
    handler: Handler,
    first: Step,
    quick: float,
    crowded: Callable[[], bool],
) -> CloseReason | None:
    """Serve from ``first`` on; returns why the connection ends, ``None`` if the loop may have it.

    A call that takes at most ``quick`` seconds is a quick one. ``crowded``: whether others
    wait for a thread; then the client goes back at once. Raises nothing.
    """
    connection.busy_since = 0.0
    try:
        connection.flush()
        first()
        return _converse(connection, handler, quick, crowded)
    except BaseException as error:  # noqa: BLE001 - as above
        return _ended_by(connection, handler, error)


def answer(connection: Connection, handler: Handler, message: bytes) -> None:
    """Handle one message and send what answers it."""
    connection.active_at = connection.busy_since = begun = time.monotonic()
    sent = connection.bytes_sent
    tally = tally_here() or NOBODYS_TALLY
    reply = timed(tally, handler.call, message, connection)
    connection.busy_since = 0.0  # a peer that does not read does not make the handler a slow one
    send_answer(connection, reply)
    if events.logger.isEnabledFor(logging.DEBUG):
        seconds = time.monotonic() - begun
        events.message(connection, len(message), connection.bytes_sent - sent, seconds)


def send_answer(connection: Connection, reply: object) -> None:
    """Send what a message handler returned: bytes, nothing, or several replies as they come."""
    if type(reply) is bytes:
        connection.send_reply(reply)
    elif reply is not None:
        with closing(each_part(reply)) as parts:
            while True:
                connection.busy_since = time.monotonic()
                part = next(parts, None)
                connection.busy_since = 0.0
                if part is None:
                    break
                connection.send_reply(part)


def _converse(
    connection: Connection, handler: Handler, quick: float, crowded: Callable[[], bool]
) -> CloseReason | None:
    needed = _QUICK_CALLS << min(connection._strikes, _DOUBLINGS)
    quick_calls = 0
    connection._stream.limit_reads(QUIET_SECONDS.default)
    while not connection.finished:
        message = connection.decoded()
        if message is not None:
            begun = time.monotonic()
            answer(connection, handler, message)
            quick_calls = quick_calls + 1 if time.monotonic() - begun <= quick else 0
        elif connection._ended:
            break
        elif quick_calls >= needed or crowded() or not connection.read_more():
            connection._proven = quick_calls >= needed
            return None
    return connection.end_reason or CloseReason.HANDLER_CLOSED


def _ended_by(connection: Connection, handler: Handler, error: BaseException) -> CloseReason:
    """Send a last reply, if ``error`` brings one; returns why the connection ends."""
    if isinstance(error, Close) and error.reply is not None:
        try:
            connection.send_reply(error.reply)
        except BaseException as worse:  # noqa: BLE001 - as above
            return explain(connection, handler, worse)
    return explain(connection, handler, error)
