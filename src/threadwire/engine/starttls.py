"""STARTTLS: a session that goes on in TLS.

It happens on the session's own thread, which waits for the peer as it does in a receive.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..errors import CloseReason, TimeLimitError, TlsError, UsageError
from ..rules import Rules, TlsContext

if TYPE_CHECKING:
    from ..connection import Connection
    from ..transport.tls import Tls, TlsInfo

__all__ = ["start_tls"]


def start_tls(connection: Connection, rules: Rules) -> TlsInfo:
    """The owner of ``connection``: shake hands, within ``handshake_timeout``."""
    receiving = connection._receive_lock
    if receiving is None:
        raise UsageError("start_tls() is for session handlers")
    if rules.tls is None:
        raise UsageError("start_tls() needs a server with tls_cert and tls_key")
    if connection._tls is not None:
        raise UsageError("the connection is a TLS one already")
    if connection.closed:
        raise connection._closed_error()
    if not receiving.acquire(blocking=False):
        raise UsageError("start_tls() while another thread receives")
    connection.busy_since = 0.0  # it waits for its peer
    try:
        return _start(connection, rules, rules.tls)
    finally:
        connection.busy_since = time.monotonic()
        receiving.release()


def _start(connection: Connection, rules: Rules, source: TlsContext) -> TlsInfo:
    """Receive lock held: nobody else reads."""
    from ..transport.tls import Tls

    tls = Tls(source.context, server_side=True)
    try:
        if connection._codec.unread:
            # Sent in plain text, they could be anybody's; after the handshake they would pass
            # for the peer's own.
            raise TlsError("bytes had come before the handshake began")
        # Nobody else sends until it is done: what they send is then encrypted.
        with connection._send_lock:
            if connection.has_pending:
                connection._write(b"")
            try:
                _shake_hands(connection, tls, rules)
            except BaseException as error:
                # Before anybody else may send: it would be in plain text.
                peers = isinstance(error, TlsError)
                reason = CloseReason.TLS_ERROR if peers else connection.end_reason
                connection.abort(reason or CloseReason.HANDLER_FAILED)
                raise
            connection._tls = tls
    except TlsError as error:
        connection._violation = error  # the peer's fault, whatever the handler makes of it
        connection.abort(CloseReason.TLS_ERROR)
        raise
    connection.feed(b"")  # what came right behind the handshake
    assert tls.info is not None  # the handshake is complete
    return tls.info


def _shake_hands(connection: Connection, tls: Tls, rules: Rules) -> None:
    """Send lock held."""
    stream, timeout = connection._stream, rules.handshake_timeout
    deadline = time.monotonic() + timeout
    data = b""
    while True:
        try:
            done = tls.handshake(data)
        finally:  # an alert says to the peer what is wrong
            _write(connection, tls.seal(), rules)
        if done:
            return
        try:
            received = stream.read_until(deadline)
        except OSError as error:
            connection.note_peer_end(CloseReason.PEER_RESET, stop=True)
            raise connection._closed_error() from error
        if received is None:
            connection.note_end(CloseReason.HANDSHAKE_TIMEOUT)
            raise TlsError(f"no handshake within {timeout:g} s")
        if not received:
            connection.note_peer_end(CloseReason.PEER_CLOSED)
            raise connection._closed_error()
        data = received


def _write(connection: Connection, data: bytes, rules: Rules) -> None:
    if not data:
        return
    try:
        connection._stream.write(data, rules.write_timeout)
    except OSError as error:
        late = isinstance(error, TimeLimitError)
        connection.abort(CloseReason.WRITE_TIMEOUT if late else CloseReason.PEER_RESET)
        raise connection._closed_error() from error
