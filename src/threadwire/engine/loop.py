"""The shared readiness loop: every client that is quick or idle is served here.

Strategy
--------
The thread that holds the baton leads. It goes from turn to turn: wait for readiness and
read all that is ready, in one call; decode, and call the handler for every message; write all
replies, in one call; then attend to what other threads have asked for and to what is due.

When a handler blocks, a watchdog takes the baton away (see baton.py) and gives it to a spare
thread, which calls :meth:`Loop.lead` and goes on from there. So whatever a turn still needs -
what was read and not yet handled, replies not yet written - lives in the loop's own fields,
not in the leader's local variables. The stuck thread has become its client's own thread: when
the handler returns it goes on serving that client alone (see own_thread.py), and at last posts
it back.

Rules
-----
- Every field but those under ``_lock`` belongs to the holder of the baton. The poller and the
  timers, too: nobody else registers, changes or unregisters a descriptor.
- Other threads post: a call that the leader makes between two turns.
- ``connection._here`` says whether the loop serves a connection. It turns true when the leader
  takes it in (:meth:`take_in`), and false when the leader lends it or, as a new leader, parts
  with the one that its predecessor is stuck with. A successor parts with that one before it
  does anything else, so it is never registered twice, however soon it is posted back.
- Between ``enter`` and ``leave`` the leader touches nothing but that connection. After a
  ``leave`` that failed it has lost the baton, and never touches the loop again, except to post.
- No code of the user's runs while the leader does not stand between ``enter`` and ``leave``,
  except framings and logging handlers, which therefore must not block.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain
from operator import length_hint
from typing import Any

from .. import events
from ..connection import Connection
from ..errors import Close, CloseReason
from ..framing import require_bytes
from ..handler import Handler
from ..limits import HIGH_WATER
from ..transport import Listener
from ..transport.poller import ACCEPT, END, READY, Poller
from .answering import as_parts, explain
from .baton import Baton
from .clients import RETRY_SECONDS, Clients
from .lending import Lender, left
from .spare_threads import SpareThreads
from .timers import Timer, Timers

__all__ = ["Loop"]

_NOTHING_YET: Any = object()  # a handler has not returned
_NO_MORE: Any = object()  # an iterable is used up
_NONE_LEFT: Iterator[bytes] = iter(())


class Loop:
    """One loop.

    handler
        What messages are answered by.
    threads
        Where threads come from that are lent to clients.
    handoff_after
        Seconds that a handler may hold up the loop.
    write_timeout
        Seconds that a peer may read nothing of what waits for it.
    released
        Called, by any thread, for each connection that is closed for good.
    """

    def __init__(
        self,
        handler: Handler,
        threads: SpareThreads,
        *,
        handoff_after: float,
        write_timeout: float | None,
        released: Callable[[Connection], None],
    ) -> None:
        self._handler = handler  # constant
        self._lock = threading.Lock()
        self._posted: list[Callable[[], None]] = []  # under the lock
        self._asleep = False  # under the lock to set: the leader may wait in the poller
        self._closed = False  # under the lock: nobody leads any more
        self.ended = threading.Event()  # set by the last leader
        self.baton: Baton[Connection] = Baton()  # the watchdog's to replace, when it takes it

        # The leader's, from here on. First what a successor goes on from.
        self._received: Iterator[tuple[Connection, bytes]] = iter(())
        self._notices: Iterator[tuple[Any, int]] = iter(())
        self.turns = 0  # read by the watchdog
        self.watch: Callable[[], None] = lambda: None  # tells the watchdog that a turn begins
        self._stopping = False
        self._poller = Poller()
        self._timers = Timers()
        self._clients = Clients(self._poller, self._timers, write_timeout, released)
        self._lender = Lender(handler, threads, self._clients, handoff_after, self.take_back)

    # Any thread.

    def post(self, call: Callable[[], None]) -> bool:
        """Have the leader make ``call``, which must not block; ``False`` if nobody leads."""
        with self._lock:
            if self._closed:
                return False
            self._posted.append(call)
            wake, self._asleep = self._asleep, False
        if wake:
            self._poller.wake()
        return True

    def attend(self, connection: Connection) -> None:
        """Have the leader look at a connection whose state has changed."""
        self.post(functools.partial(self._look_at, connection))

    def take_back(self, connection: Connection) -> None:
        """A thread that has served ``connection`` alone, and disowned it, is done with it."""
        if not self.post(functools.partial(self.take_in, connection)):
            while not connection.release():
                time.sleep(RETRY_SECONDS)
            self._clients.gone(connection)

    def stop(self) -> bool:
        """End the loop; connections that it still serves are closed at once."""
        return self.post(self._stop)

    def call(self, call: Callable[[], None]) -> None:
        """Have ``call`` made and wait for it; at once, and here, if nobody leads any more."""
        done = threading.Event()

        def and_tell() -> None:
            try:
                call()
            finally:
                done.set()

        if self.post(and_tell):
            done.wait()
        else:
            call()

    # The leader, also within posted calls.

    def take_in(self, connection: Connection) -> None:
        """The connection is the loop's from here on."""
        self._clients.take_in(connection)
        if not self._lender.suspects(connection):
            connection.note_quick()
        self._lender.serve_waiting()

    def _look_at(self, connection: Connection) -> None:
        if connection._aborted:
            self._lender.stop_waiting(connection)
        self._clients.look_at(connection)

    def await_clients(self, listener: Listener, ready: Callable[[], None]) -> None:
        """Call ``ready`` in each turn in which clients wait at ``listener``."""
        self._poller.add(listener.socket, ready, ACCEPT)

    def ignore_clients(self, listener: Listener) -> None:
        self._poller.remove(listener.fileno())

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Make ``call`` when so many seconds have gone by."""
        return self._timers.at(time.monotonic() + seconds, call)

    # Leading.

    def lead(self, baton: Baton[Connection], departed: Connection | None = None) -> None:
        """Run the loop, until it is stopped or the baton is taken away.

        ``departed`` is what the former leader is stuck with.
        """
        baton.leader = threading.get_ident()
        if departed is not None:
            self._lender.part_with(departed)
        while self._answer(baton):
            self._clients.flush()
            self._make_posted_calls()
            if self._stopping:
                self._end()
                return
            self._receive()

    def _receive(self) -> None:
        """Wait for a turn's work and read it."""
        clients = self._clients
        timeout = self._timers.left(time.monotonic())
        with self._lock:
            if self._posted or clients.restless:
                timeout = 0.0
            self._asleep = True
        received, notices = self._poller.wait(timeout)
        self._asleep = False  # a post that still sees True wakes for nothing
        if clients.guessing:
            received += clients.guessing
            clients.guessing = []
        self._received, self._notices = iter(received), iter(notices)
        if received or notices:
            self.turns += 1
            self.watch()

    def _make_posted_calls(self) -> None:
        if self._posted:
            with self._lock:
                calls, self._posted = self._posted, []
            for call in calls:
                call()
        for call in self._timers.due(time.monotonic()):
            call()

    def never_led(self) -> None:
        """Whoever made it, and found no thread for it."""
        self._poller.close()
        self.ended.set()

    def _stop(self) -> None:
        self._stopping = True

    def _end(self) -> None:
        with self._lock:
            self._closed = True
            calls, self._posted = self._posted, []
        for call in calls:
            call()
        for connection in list(self._clients.leaving):
            self.take_back(connection)
        self._poller.close()
        self.ended.set()

    # Answering. These return False when the baton was lost: then the calling thread
    # has served a client alone meanwhile, and has nothing more to do here.

    def _answer(self, baton: Baton[Connection]) -> bool:  # noqa: PLR0912 - inline, for speed
        """Handle all that was read; the frequent case inline."""
        enter, leave = baton.enter, baton.leave
        call, plain = self._handler.call, self._handler.plain
        replies, repliers = self._clients.replies, self._clients.repliers
        if events.logger.isEnabledFor(logging.DEBUG):  # a line a message
            for connection, data in self._received:
                if not self._answer_any(baton, connection, data):
                    return False
        for connection, data in self._received:
            message = None
            if connection._quick:
                try:
                    message = connection._codec.only_message(data)
                except BaseException as error:  # noqa: BLE001 - a framing of the user's
                    self._fail(connection, error)
                    continue
            if message is None:
                if not self._answer_any(baton, connection, data):
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
                    self._fail(connection, error)
                else:
                    replies.append((connection._fd, frame))
                    repliers.append(connection)
            elif reply is not None:
                self._clients.dirty.append(connection)
                if not self._answer_in_parts(baton, connection, reply, _NONE_LEFT):
                    return False
        return self._heed_notices(baton)

    def _heed_notices(self, baton: Baton[Connection]) -> bool:
        for key, code in self._notices:
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
                self._fail(key, error)
                continue
            # What is left then is a message without its end, or a last one that needs none.
            if key._codec.unread and not self._answer_decoded(baton, key):
                return False
        return True

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
                messages = connection._codec.messages(data)
                connection.messages_received += len(messages)
                if not self._answer_all(baton, connection, iter(messages)):
                    return False
                if not connection._codec.unread or not connection._here:
                    return True
            else:
                connection.feed(data)
        except BaseException as error:  # noqa: BLE001 - a framing of the user's
            self._fail(connection, error)
            return True
        return self._answer_decoded(baton, connection)

    def _answer_decoded(self, baton: Baton[Connection], connection: Connection) -> bool:
        """Handle all that has been fed; with a thread of its own if the client is suspect."""
        decoded = _until_none(connection)
        if self._lender.suspects(connection):
            try:
                message = next(decoded, None)
            except BaseException as error:  # noqa: BLE001
                self._fail(connection, error)
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
        encode = connection._codec.encode
        pending = connection.pending()
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
                begun = time.monotonic() if telling else 0.0
                reply = _NOTHING_YET
                enter(connection)
                try:
                    reply = call(message, connection)
                    leave()
                except BaseException as error:  # noqa: BLE001 - as above
                    return self._stumbled(baton, connection, reply, error, messages)
                sent = 0
                if type(reply) is bytes:
                    frame = encode(reply)
                    sent = len(frame)
                    room -= sent
                    pending.append(frame)
                elif reply is not None:
                    if not self._answer_in_parts(baton, connection, reply, messages):
                        return False
                    if not connection._here:
                        return True
                if telling:
                    events.message(connection, len(message), sent, time.monotonic() - begun)
        except BaseException as error:  # noqa: BLE001 - framings, and replies that are none
            self._fail(connection, error)
        return True

    def _answer_in_parts(
        self,
        baton: Baton[Connection],
        connection: Connection,
        reply: object,
        messages: Iterator[bytes],
    ) -> bool:
        """Send several replies as they come: pending here, as long as they come quickly.

        ``messages`` are those that follow. What goes wrong with a part is left to a thread.
        """
        pending = connection.pending()
        room = HIGH_WATER.whole
        try:
            parts = as_parts(reply)
        except BaseException as error:  # noqa: BLE001 - as above
            self._fail(connection, error)
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
                frame = connection._codec.encode(_as_bytes(part))
            except BaseException:  # noqa: BLE001 - it will be raised again there
                parts = chain((part,), parts)
                break
            room -= len(frame)
            pending.append(frame)
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
            self._fail(connection, error)
            return True
        connection._strikes += 1
        if reply is _NOTHING_YET:
            self._lender.serve_alone(connection, functools.partial(_raise, error))
        else:
            self._lender.serve_alone(connection, self._lender.step(connection, messages, reply))
        return False

    def _fail(self, connection: Connection, error: BaseException) -> None:
        """The connection ends by ``error``, after what was replied."""
        if isinstance(error, Close) and error.reply is not None:
            try:
                connection.pending().append(connection._codec.encode(_as_bytes(error.reply)))
            except BaseException as worse:  # noqa: BLE001 - as above
                error = worse
        connection.note_end(explain(connection, self._handler, error))
        self._clients.dirty.append(connection)


def _until_none(connection: Connection) -> Iterator[bytes]:
    """The messages that have been read whole."""
    while not connection.finished and (message := connection.decoded()) is not None:
        yield message


def _as_bytes(reply: object) -> bytes:
    if type(reply) is bytes:
        return reply
    require_bytes(reply)
    return bytes(reply)  # type: ignore[call-overload,no-any-return]


def _raise(error: BaseException) -> None:
    raise error
