"""What a loop's turns do with what was read: decode, call the handler, collect the replies.

What is left of a turn lives here, in ``received`` and ``notices``, so that a successor goes
on where its predecessor was stuck. The methods return ``False`` when the baton was lost: then
the calling thread has served a client alone meanwhile, and has nothing more to do here.

Replies are collected without their framing; the flush frames and writes them. A client that
would make a turn long or its replies many is lent a thread, on which it waits for itself.
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
from ..limits import HIGH_WATER
from ..transport.poller import END, READY, call_each
from .baton import Baton
from .clients import Clients
from .lending import Lender, counting, left
from .outcomes import as_bytes, as_parts

__all__ = ["Turns"]

_NOTHING_YET: Any = object()  # a handler has not returned
_NO_MORE: Any = object()  # an iterable is used up
_NONE_LEFT: Iterator[bytes] = iter(())


class Turns:
    """Belongs to the holder of the loop's baton."""

    def __init__(self, handler: Handler, clients: Clients, lender: Lender) -> None:
        self._handler = handler
        self._clients = clients
        self._lender = lender
        self.received: Iterator[tuple[Connection, bytes]] = iter(())
        self.notices: Iterator[tuple[Any, int]] = iter(())
        self.noticed = False  # there are any

    def answer(self, baton: Baton[Connection]) -> bool:  # noqa: PLR0912 - inline, for speed
        """Handle all that was read; the frequent case inline."""
        enter, leave = baton.enter, baton.leave
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
            reply = _NOTHING_YET
            enter(connection)
            try:
                reply = plain(message) if plain is not None else call(message, connection)
                leave()
            except BaseException as error:  # noqa: BLE001 - even SystemExit ends this client alone
                if not self._stumbled(baton, connection, reply, error):
                    return False
                continue
            if type(reply) is bytes:
                try:
                    frame = connection._codec.encode(reply)
                except BaseException as error:  # noqa: BLE001
                    self._clients.fail(connection, error)
                else:
                    replies.append((connection._fd, frame))
                    repliers.append(connection)
                    connection._answered += 1
                    connection._framed += len(frame)
            elif reply is not None:
                self._clients.dirty.append(connection)
                if not self._answer_in_parts(baton, connection, reply, _NONE_LEFT):
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
        if not data or plain is None:
            return self._answer_any(baton, connection, data)
        try:
            messages = codec.messages(data)
        except BaseException as error:  # noqa: BLE001 - a framing of the user's
            self._clients.fail(connection, error)
            return True
        connection.bytes_received += len(data)
        connection.messages_received += len(messages)
        self._clients.batched.append(connection)
        rest = iter(messages)
        reply: Any = _NOTHING_YET
        baton.enter(connection)
        try:
            odd = call_each(plain, rest, connection.replies(), baton.place, HIGH_WATER.whole)
            reply = odd and odd[0]
            baton.leave()
        except BaseException as error:  # noqa: BLE001 - as above
            return self._stumbled(baton, connection, reply, error, rest)
        if reply is not None or length_hint(rest) or codec.unread:
            return self._answer_rest(baton, connection, reply, rest)
        return True

    def _answer_rest(
        self,
        baton: Baton[Connection],
        connection: Connection,
        reply: object,
        messages: Iterator[bytes],
    ) -> bool:
        """What a run has left: several replies to a message, too many of them, half a message."""
        self._clients.dirty.append(connection)
        if reply is not None and not self._answer_in_parts(baton, connection, reply, messages):
            return False
        if not connection._here:
            return True
        if reply is None and length_hint(messages):
            self._lender.lend(connection, self._lender.step(connection, messages))
            return True
        if not self._answer_all(baton, connection, messages):
            return False
        if not connection._codec.unread or not connection._here:
            return True
        return self._answer_decoded(baton, connection)

    def _answer_any(self, baton: Baton[Connection], connection: Connection, data: bytes) -> bool:
        """Handle what was read, in whatever state the connection and its codec are."""
        if connection._farewell is not None:
            connection._farewell.received(len(data))
            return True
        if not connection._here:  # lent within this turn
            return True
        self._clients.dirty.append(connection)
        try:
            if not data:  # no more has come in the time that the codec wanted to wait
                connection._codec.settle()
            elif connection._quick:
                connection.bytes_received += len(data)
                messages = counting(connection, connection._codec.messages(data))
                if not self._answer_all(baton, connection, messages):
                    return False
                if not connection._codec.unread or not connection._here:
                    return True
            else:
                connection.feed(data)
        except BaseException as error:  # noqa: BLE001 - a framing of the user's
            self._clients.fail(connection, error)
            return True
        return self._answer_decoded(baton, connection)

    def _answer_decoded(self, baton: Baton[Connection], connection: Connection) -> bool:
        """Handle all that has been fed; with a thread of its own if the client is suspect."""
        decoded = _until_none(connection)
        if self._lender.suspects(connection):
            try:
                message = next(decoded, None)
            except BaseException as error:  # noqa: BLE001
                self._clients.fail(connection, error)
                return True
            if message is not None:
                self._lender.lend(
                    connection, self._lender.step(connection, chain((message,), decoded))
                )
            return True
        if not self._answer_all(baton, connection, decoded):
            return False
        if not connection._quick and connection._here:
            connection.note_quick()
        return True

    def _answer_all(
        self, baton: Baton[Connection], connection: Connection, messages: Iterator[bytes]
    ) -> bool:
        """Handle one message after the other; replies are pending until the turn writes them."""
        enter, leave, call = baton.enter, baton.leave, self._handler.call
        telling = events.logger.isEnabledFor(logging.DEBUG)
        replies = connection.replies()
        room = HIGH_WATER.whole
        try:
            for message in messages:
                if connection._closing:
                    connection.messages_received -= 1 + length_hint(messages)
                    return True
                if room < 0:
                    self._lender.lend(
                        connection,
                        self._lender.step(
                            connection, chain((message,), left(connection, messages))
                        ),
                    )
                    return True
                begun, before = time.monotonic() if telling else 0.0, len(replies)
                reply = _NOTHING_YET
                enter(connection)
                try:
                    reply = call(message, connection)
                    leave()
                except BaseException as error:  # noqa: BLE001 - as above
                    return self._stumbled(baton, connection, reply, error, messages)
                if type(reply) is bytes:
                    room -= len(reply)
                    replies.append(reply)
                elif reply is not None:
                    if not self._answer_in_parts(baton, connection, reply, messages, room):
                        return False
                    if not connection._here:
                        return True
                    room -= sum(map(len, replies[before:]))
                if telling:
                    sent = sum(len(connection._codec.encode(reply)) for reply in replies[before:])
                    events.message(connection, len(message), sent, time.monotonic() - begun)
        except BaseException as error:  # noqa: BLE001 - framings, and replies that are none
            self._clients.fail(connection, error)
        return True

    def _answer_in_parts(
        self,
        baton: Baton[Connection],
        connection: Connection,
        reply: object,
        messages: Iterator[bytes],
        room: int = HIGH_WATER.whole,
    ) -> bool:
        """Collect several replies as they come, as long as they come quickly.

        ``messages`` are those that follow. What goes wrong with a part is left to a thread.
        """
        replies = connection.replies()
        try:
            parts = as_parts(reply)
        except BaseException as error:  # noqa: BLE001 - as above
            self._clients.fail(connection, error)
            return True
        while room >= 0:
            part: Any = _NOTHING_YET
            baton.enter(connection)
            try:
                part = next(parts, _NO_MORE)
                baton.leave()
            except BaseException as error:  # noqa: BLE001 - as above
                if part is not _NOTHING_YET:
                    part = parts if part is _NO_MORE else chain((part,), parts)
                return self._stumbled(baton, connection, part, error, messages)
            if part is _NO_MORE:
                return True
            try:
                sent = as_bytes(part)
            except BaseException:  # noqa: BLE001 - it will be raised again there
                parts = chain((part,), parts)
                break
            room -= len(sent)
            replies.append(sent)
        self._lender.lend(connection, self._lender.step(connection, messages, parts))
        return True

    def _stumbled(
        self,
        baton: Baton[Connection],
        connection: Connection,
        reply: object,
        error: BaseException,
        messages: Iterator[bytes] = _NONE_LEFT,
    ) -> bool:
        """The handler has raised ``error``, or it has replied and the baton is gone, or both."""
        try:
            baton.leave()
        except IndexError:
            baton.lost()
        else:
            connection.messages_received -= length_hint(messages)  # these are not handled
            self._clients.fail(connection, error)
            return True
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
