"""What a loop's turns do with what was read: decode, call the handler, collect the replies.

What is left of a turn lives here, in ``received`` and ``notices``, so that a successor goes
on where its predecessor was stuck. The methods return ``False`` when the baton was lost: then
the calling thread has served a client alone meanwhile, and has nothing more to do here.

Replies are collected without their framing; the flush frames and writes them. When a client's
are many, the rest of its messages waits until its peer has taken them.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterator
from itertools import chain
from operator import length_hint
from typing import Any

from .. import events
from ..connection import Connection
from ..errors import CloseReason
from ..handler import Handler
from ..outgoing import require_frame
from ..rules import Rules
from ..transport.poller import END, READY, Taken, call_each, timed
from .baton import Baton
from .clients import Clients
from .lending import Lender, counting, left
from .opening import Openings
from .outcomes import Resumed, closing, each_part

__all__ = ["Turns"]

_NOTHING_YET: Any = object()  # a handler has not returned
_NONE_LEFT: Iterator[bytes] = iter(())


class Turns:
    """Belongs to the holder of the loop's baton."""

    def __init__(
        self,
        handler: Handler,
        clients: Clients,
        lender: Lender,
        openings: Openings,
        rules: Rules,
    ) -> None:
        self._handler = handler
        self._clients = clients
        self._lender = lender
        self._openings = openings
        self._rules = rules
        self.received: Iterator[tuple[Connection, bytes]] = iter(())
        self.notices: Iterator[tuple[Any, int]] = iter(())
        self.noticed = False  # there are any
        self.began = 0.0  # when the turn did, on the monotonic clock; 0.0 between two turns

    def answer(self, baton: Baton[Connection]) -> bool:  # noqa: PLR0912 - inline, for speed
        """Handle all that was read; the frequent case inline."""
        call_for, tally, began = baton.call, baton.tally, self.began
        call, plain = self._handler.call, self._handler.plain
        answer_many = self._answer_any if plain is None else self._answer_batch
        replies, repliers = self._clients.replies, self._clients.repliers
        if events.logger.isEnabledFor(logging.DEBUG):  # a line a message
            for connection, data in self.received:
                if not self._answer_any(baton, connection, data):
                    return False
        for connection, data in self.received:
            if not connection._quick:
                if not self._answer_any(baton, connection, data):
                    return False
                continue
            try:
                message = connection._codec.only_message(data)
            except BaseException as error:  # noqa: BLE001 - a framing of the user's
                self._clients.fail(connection, error)
                continue
            if message is None:
                if not answer_many(baton, connection, data):
                    return False
                continue
            connection.bytes_received += len(data)
            connection.messages_received += 1
            connection.active_at = began
            try:
                if plain is not None:
                    reply = call_for(tally, connection, plain, message)
                else:
                    reply = call_for(tally, connection, call, message, connection)
            except BaseException as error:  # noqa: BLE001 - even SystemExit ends this client alone
                reply = error.args[0] if type(error) is Taken and error.args else _NOTHING_YET
                if not self._stumbled(baton, connection, reply, error):
                    return False
                continue
            if type(reply) is bytes:
                try:
                    frame = connection._codec.encode(reply)
                    if type(frame) is not bytes:
                        require_frame(frame)
                except BaseException as error:  # noqa: BLE001
                    self._clients.fail(connection, error)
                else:
                    replies.append((connection._fd, frame))
                    repliers.append(connection)
                    connection._answered += 1
                    connection._framed += len(frame)
            elif reply is not None:
                self._clients.dirty.append(connection)
                if not self._answer_all(baton, connection, _NONE_LEFT, each_part(reply)):
                    return False
        return not self.noticed or self._heed_notices(baton)

    def _heed_notices(self, baton: Baton[Connection]) -> bool:
        for key, code in self.notices:
            if not isinstance(key, Connection):
                key()
                continue
            if not key._here:  # lent within this turn
                continue
            self._clients.dirty.append(key)
            if code == READY:
                continue
            if key._farewell is not None:
                key._farewell.over()
                continue
            try:
                opening = key._opening
                if opening and code == END and not self._openings.peer_ended(key, opening):
                    continue
                if code == END:
                    key.note_peer_end(CloseReason.PEER_CLOSED)
                else:  # what was begun cannot be finished: the peer would not get the answer
                    key.note_peer_end(CloseReason.PEER_RESET, stop=True)
            except BaseException as error:  # noqa: BLE001 - a framing of the user's
                self._clients.fail(key, error)
                continue
            # What is left then is a message without its end, or a last one that needs none.
            if key._codec.unread and not self._answer_decoded(baton, key):
                return False
        return True

    def _answer_batch(self, baton: Baton[Connection], connection: Connection, data: bytes) -> bool:
        """Handle a chunk's messages in one run; for handlers that take nothing but the message.

        If the baton is lost in the middle, the replies so far are the successor's to write
        and the rest of the messages this thread's to handle.
        """
        codec, plain = connection._codec, self._handler.plain
        if not data or plain is None or connection._rest is not None:
            return self._answer_any(baton, connection, data)
        try:
            messages = codec.messages(data)
        except BaseException as error:  # noqa: BLE001 - a framing of the user's
            self._clients.fail(connection, error)
            return True
        connection.bytes_received += len(data)
        connection.active_at = self.began
        self._clients.batched.append(connection)
        rest = iter(messages)
        reply: Any = _NOTHING_YET
        baton.enter(connection)
        try:
            room, tally = self._rules.high_water, baton.tally
            odd = call_each(plain, rest, connection.replies(), baton.place, room, tally)
            reply = odd and each_part(odd[0])
            baton.leave()
        except BaseException as error:  # noqa: BLE001 - as above
            connection.messages_received += len(messages) - length_hint(rest)
            if reply is not None and reply is not _NOTHING_YET:
                reply = Resumed(None, reply)
            return self._stumbled(baton, connection, reply, error, left(connection, rest))
        connection.messages_received += len(messages) - length_hint(rest)
        if reply is None and not length_hint(rest) and not codec.unread:
            return True
        self._clients.dirty.append(connection)
        if reply is None and length_hint(rest):  # the replies are many
            connection._rest = None, left(connection, rest)
            return True
        return self._answer_all(baton, connection, left(connection, rest), reply) and (
            self._answer_what_follows(baton, connection)
        )

    def _answer_any(self, baton: Baton[Connection], connection: Connection, data: bytes) -> bool:
        """Handle what was read, in whatever state the connection and its codec are.

        No data: the connection was called back, see :attr:`Clients.recalled`.
        """
        if not connection._here or connection._farewell or connection._opening:
            self._take_other(connection, data)
            return True
        self._clients.dirty.append(connection)
        connection.active_at = self.began
        codec = connection._codec
        try:
            if connection._rest is not None:
                (parts, messages), connection._rest = connection._rest, None
            elif not data:
                codec.settle()
                return self._answer_decoded(baton, connection)
            elif connection._quick:
                connection.bytes_received += len(data)
                parts, messages = None, counting(connection, codec.messages(data))
            else:
                connection.feed(data)
                return self._answer_decoded(baton, connection)
        except BaseException as error:  # noqa: BLE001 - a framing of the user's
            self._clients.fail(connection, error)
            return True
        return self._answer_all(baton, connection, messages, parts) and (
            self._answer_what_follows(baton, connection)
        )

    def _take_other(self, connection: Connection, data: bytes) -> None:
        """What was read comes before all messages, or after; or it was lent within this turn."""
        if connection._farewell is not None:
            connection._farewell.received(len(data))
        elif connection._here and connection._opening is not None:
            self._openings.received(connection, connection._opening, data)

    def _answer_what_follows(self, baton: Baton[Connection], connection: Connection) -> bool:
        """After a chunk's messages: find out what is wrong with the bytes behind, if anything."""
        if connection._here and connection._rest is None and connection._codec.unread:
            return self._answer_decoded(baton, connection)
        return True

    def _answer_decoded(self, baton: Baton[Connection], connection: Connection) -> bool:
        """Handle all that has been fed; with a thread of its own if the client is suspect."""
        decoded = _until_none(connection)
        if self._lender.suspects(connection):
            try:
                message = next(decoded, None)
            except BaseException as error:  # noqa: BLE001 - as above
                self._clients.fail(connection, error)
                return True
            if message is not None:
                step = self._lender.step(connection, chain((message,), decoded))
                self._lender.lend(connection, step)
            return True
        if not self._answer_all(baton, connection, decoded):
            return False
        if not connection._quick and connection._here:
            connection.note_quick()
        return True

    def _answer_all(  # noqa: PLR0912 - one loop, in which any step may lose the baton
        self,
        baton: Baton[Connection],
        connection: Connection,
        messages: Iterator[bytes],
        parts: Iterator[bytes] | None = None,
    ) -> bool:
        """Handle one message after the other, until there are no more or the replies are many.

        ``parts`` is what is left of the reply to the one before; each is collected as it
        comes. ``messages`` counts them when they are taken.
        """
        telling = events.logger.isEnabledFor(logging.DEBUG)
        encode, replies = connection._codec.encode, connection.replies()
        room = self._rules.high_water
        size, sent, begun = -1, 0, 0.0  # of the message that is answered, to be told
        while room >= 0 and not connection._closing:
            reply: Any = _NOTHING_YET
            message = None
            if parts is None:
                try:
                    message = next(messages, None)
                except BaseException as error:  # noqa: BLE001 - the peer's, or a framing's fault
                    self._clients.fail(connection, error)
                    return True
                if message is None:
                    return True
                if telling:
                    size, sent, begun = len(message), 0, time.monotonic()
            baton.enter(connection)
            try:
                if message is None:
                    reply = next(parts, None)  # type: ignore[arg-type] # one of the two is there
                else:
                    reply = timed(baton.tally, self._handler.call, message, connection)
                    if reply is not None and type(reply) is not bytes:
                        reply, parts = None, each_part(reply)
                baton.leave()
            except BaseException as error:  # noqa: BLE001 - as above
                if reply is not _NOTHING_YET and parts is not None:
                    reply = Resumed(reply, parts)
                return self._stumbled(baton, connection, reply, error, messages)
            if reply is not None:
                room -= len(reply)
                replies.append(reply)
                sent += len(encode(reply)) if telling else 0
            elif message is None:
                parts = None
            if telling and parts is None and size >= 0:
                events.message(connection, size, sent, time.monotonic() - begun)
        if room < 0:
            connection._rest = parts, messages
            return True
        return self._close_parts(baton, connection, parts)

    def _close_parts(
        self, baton: Baton[Connection], connection: Connection, parts: Iterator[bytes] | None
    ) -> bool:
        """The connection has been closed; a generator still has its own ``finally`` to run."""
        closed: Any = _NOTHING_YET
        baton.enter(connection)
        try:
            with closing(parts):
                pass
            closed = None  # so that what closing raises is not taken for a baton lost
            baton.leave()
        except BaseException as error:  # noqa: BLE001 - as above
            return self._stumbled(baton, connection, closed, error)
        return True

    def _stumbled(
        self,
        baton: Baton[Connection],
        connection: Connection,
        reply: object,
        error: BaseException,
        messages: Iterator[bytes] = _NONE_LEFT,
    ) -> bool:
        """The handler has raised ``error``, or it has replied and the baton is gone, or both.

        Or it was not called at all, for want of memory: the place is empty then, too.
        """
        try:
            baton.leave()
            taken = False
        except IndexError:
            taken = baton.taken
        if not taken:
            self._clients.fail(connection, error)
            return True
        baton.lost()
        connection._strikes += 1
        if reply is _NOTHING_YET:
            self._lender.serve_alone(connection, functools.partial(_raise, error))
        else:
            self._lender.serve_alone(connection, self._lender.step(connection, messages, reply))
        return False


def _until_none(connection: Connection) -> Iterator[bytes]:
    """The messages that have been read whole."""
    while not connection.finished and (message := connection.decoded()) is not None:
        yield message


def _raise(error: BaseException) -> None:
    raise error
