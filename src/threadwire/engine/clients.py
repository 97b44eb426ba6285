"""The connections that a loop serves: what is waited for, what is written, how they end.

Everything here belongs to the holder of the loop's baton.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from .. import events
from ..connection import Connection
from ..errors import Close, CloseReason, ThreadwireError, TimeLimitError, TlsError
from ..handler import Handler
from ..limits import OFF, WRITE_PROGRESS
from ..rules import Rules
from ..transport.poller import READ, WRITE, Poller
from .deadlines import Deadlines
from .farewell import Farewell
from .outcomes import as_bytes, explain
from .timers import Timers

__all__ = ["RETRY_SECONDS", "Clients"]

RETRY_SECONDS = 0.001  # until somebody who has been woken is looked at again


class Clients:
    """One loop's connections, and what its turns have to write to them.

    rules
        The server's limits.
    released
        Called for each connection that is closed for good.
    """

    def __init__(
        self,
        handler: Handler,
        poller: Poller,
        timers: Timers,
        rules: Rules,
        released: Callable[[Connection], None],
    ) -> None:
        self._handler = handler
        self._poller = poller
        self._timers = timers
        self._rules = rules
        self._released = released
        self.deadlines = Deadlines(rules, timers, self.expire, self._blame)
        self.here: set[Connection] = set()  # all whose ``_here`` is true
        # What the next flush writes: descriptors with a frame each, and their connections.
        self.replies: list[tuple[int, bytes | memoryview]] = []
        self.repliers: list[Connection] = []
        self.batched: list[Connection] = []  # connections whose replies the next flush frames
        self.dirty: list[Connection] = []  # connections that it looks at, too
        # Connections that have something to do in the next turn without having been read from:
        # their codecs have waited long enough, or their peers have taken the replies so far.
        self.recalled: list[tuple[Connection, bytes]] = []
        self.leaving: set[Connection] = set()  # not released yet: somebody has still to leave

    # Coming and going.

    def take_in(self, connection: Connection) -> None:
        """The connection is the loop's from here on."""
        self.hold(connection)
        if self._rules.idle_timeout < OFF:
            self.deadlines.watch(connection)
        self.settle(connection)

    def hold(self, connection: Connection) -> None:
        """The connection is the loop's; what becomes of it is to be settled."""
        connection._here = True
        self.here.add(connection)

    def let_go(self, connection: Connection) -> None:
        """The connection is not the loop's any more."""
        self._watch(connection, 0)
        if connection._parked:
            connection.park(False)
        connection._here = False
        self.here.discard(connection)
        self._cancel_timer(connection)

    def cut(self, connection: Connection) -> None:
        """The loop ends, and the connection with it."""
        connection.abort(CloseReason.CUT)
        self._release(connection)

    def look_at(self, connection: Connection) -> None:
        """Its state has changed: it is to close, or to drain, or a sender has left."""
        if connection._here:
            if connection._parked:
                connection.park(False)
                self.dirty.append(connection)  # its pending replies are written next
            else:
                self.settle(connection)

    def gone(self, connection: Connection) -> None:
        """It has been released; called by any thread when there is no leader any more."""
        self._handler.closed(connection)
        self._released(connection)

    def expire(self, connection: Connection, reason: CloseReason) -> None:
        """A deadline has passed: end it, gently if the loop has it."""
        if reason is not CloseReason.IDLE_TIMEOUT:  # which is nobody's fault
            seconds, what = self._rules.message_timeout, "end of the message"
            self.peer_fault(connection, TimeLimitError(what, seconds))
        if not connection._here:
            connection.abort(reason)  # which wakes its thread
            return
        connection.end_reading(reason, stop=True)
        self.settle(connection)

    def peer_fault(self, connection: Connection, error: ThreadwireError) -> None:
        """Tell the log of it; what then becomes of the connection is the caller's affair."""
        self._handler.peer_fault(connection, error)

    def _blame(self, connection: Connection, error: BaseException) -> None:
        """Close it at once: its framing, a user's, has raised ``error`` when it should not."""
        connection.abort(explain(connection, self._handler, error))

    def fail(self, connection: Connection, error: BaseException) -> None:
        """It ends by ``error``, after what was replied."""
        if isinstance(error, Close) and error.reply is not None:
            try:
                reply = as_bytes(error.reply)
                connection._codec.encode(reply)  # what that raises is the reason then
                connection.replies().append(reply)
            except BaseException as worse:  # noqa: BLE001 - even SystemExit ends this client alone
                error = worse
        connection.note_end(explain(connection, self._handler, error))
        self.dirty.append(connection)

    # Writing.

    def flush(self) -> None:
        """Write all that the turn has to write, in one call; settle those who need a look."""
        replies, repliers = self.replies, self.repliers
        busy = []
        for connection in repliers:
            if not connection._send_lock.acquire(False):
                busy.append(connection)
        if busy or self.batched or self.dirty:
            self._flush_all(busy)
        elif repliers:
            self.replies, self.repliers = [], []
            self._write(replies, repliers)

    def _flush_all(self, busy: list[Connection]) -> None:
        """Of the repliers all but ``busy`` have their send locks taken, here and in _write."""
        replies, repliers = self.replies, self.repliers
        batched, dirty = self.batched, self.dirty
        self.replies, self.repliers, self.batched, self.dirty = [], [], [], []
        for connection in busy:
            n = repliers.index(connection)
            # What is no bytes has been counted: as this has been, when it was made.
            connection.pending().append(memoryview(replies.pop(n)[1]))
            dirty.append(repliers.pop(n))
        try:
            for connection in batched:
                self._frame(connection, replies, repliers)
            for connection in dirty:
                self._take_pending(connection, replies, repliers)
        finally:
            self._write(replies, repliers)
        for connection in dirty:
            self.settle(connection)

    def _write(
        self, replies: list[tuple[int, bytes | memoryview]], repliers: list[Connection]
    ) -> None:
        short = []
        try:
            counts = self._poller.write(replies)
            if counts is not None:
                for connection, (_, data), count in zip(repliers, replies, counts, strict=True):
                    if count < len(data):
                        self._fell_short(connection, data, count)
                        short.append(connection)
        finally:
            for connection in repliers:
                connection._send_lock.release()
        for connection in short:
            self.settle(connection)

    def _frame(
        self,
        connection: Connection,
        replies: list[tuple[int, bytes | memoryview]],
        repliers: list[Connection],
    ) -> None:
        """Add a batch's replies to what is to be written; the short way if that is all."""
        raw = connection._raw
        if (
            connection._here
            and raw
            and connection._tls is None
            and connection._send_lock.acquire(False)
        ):
            try:
                frame = connection._codec.encode_all(raw)
            except BaseException:  # noqa: BLE001 - found out again the long way
                frame = b""
            if (
                type(frame) is bytes
                and frame
                and not connection._pending
                and connection._unframed is None
            ):
                connection._raw = None
                connection._sent += len(raw)
                connection._written += len(frame)
                replies.append((connection._fd, frame))
                repliers.append(connection)
                return
            connection._send_lock.release()
        self._take_pending(connection, replies, repliers)

    def _take_pending(
        self,
        connection: Connection,
        replies: list[tuple[int, bytes | memoryview]],
        repliers: list[Connection],
    ) -> None:
        """Add what is pending to what is to be written, with the send lock taken."""
        if not connection._here or not connection.has_pending:
            return
        if connection._send_lock.acquire(False):
            try:
                data = connection.take_pending()
            except (OSError, TlsError):
                connection._send_lock.release()
                self._fail_tls(connection)
                return
            replies.append((connection._fd, data))
            repliers.append(connection)
            error = connection.take_unframed()
            if error is not None:
                self.fail(connection, error)
        elif connection not in repliers:
            self._step_aside(connection)

    def _fail_tls(self, connection: Connection) -> None:
        """Nothing more can be sent, but for the alert that says why."""
        failure = None if connection._tls is None else connection._tls.failure
        if failure is not None and connection._violation is None:
            connection._violation = failure
            self.peer_fault(connection, failure)
        connection.end_reading(CloseReason.TLS_ERROR, stop=True)
        connection.note_end(CloseReason.TLS_ERROR)
        self.dirty.append(connection)

    def _fell_short(self, connection: Connection, data: bytes | memoryview, count: int) -> None:
        """Send lock held: not all could be written; ``count`` bytes were, or it is an error."""
        if count < 0:
            connection.note_end(CloseReason.PEER_RESET)
            connection.note_peer_end(CloseReason.PEER_RESET, stop=True)
            return
        connection.put_back(memoryview(data)[count:])
        connection._taken += count
        if connection._timer is None or connection._taken >= WRITE_PROGRESS.whole:
            self._cancel_timer(connection)
            self._time_writing(connection)

    def _time_writing(self, connection: Connection) -> None:
        """From now on it has ``write_timeout`` for the next piece."""
        connection._taken = 0
        if self._rules.write_timeout < OFF:
            stall = functools.partial(self._stalled, connection, connection._stream.unsent_bytes())
            connection._timer = self._timers.after(self._rules.write_timeout, stall)

    def _stalled(self, connection: Connection, unsent: int) -> None:
        """There was no room for ``write_timeout``, at whose beginning the system held ``unsent``.

        The system tells of room only when there is much of it, which may be megabytes. So a
        slow peer can have read a piece nevertheless.
        """
        taken = connection._taken + unsent - connection._stream.unsent_bytes()
        if taken >= WRITE_PROGRESS.whole:
            self._time_writing(connection)
        else:
            connection.abort(CloseReason.WRITE_TIMEOUT)

    def _step_aside(self, connection: Connection) -> None:
        """Another thread is sending; it writes first, and calls for attention when it leaves.

        It looks itself after a peer that does not read.
        """
        self._cancel_timer(connection)
        connection.park(True)
        # It may have left before it could see that.
        if connection._send_lock.acquire(blocking=False):
            connection._send_lock.release()
            connection.park(False)
            self.dirty.append(connection)
        else:
            self._watch(connection, 0)

    # What is waited for.

    def settle(self, connection: Connection) -> None:
        """Decide what is waited for now, or that this is the end."""
        if connection._here and (not connection._parked or connection._aborted):
            try:
                self._decide(connection)
            except BaseException as error:  # noqa: BLE001 - a framing of the user's
                self._blame(connection, error)

    def _decide(self, connection: Connection) -> None:
        farewell = connection._farewell
        if connection._aborted or (connection._peer_gone and connection._stopped):  # or reset
            if farewell is not None:
                farewell.over()
            elif connection._rest is not None:  # a generator has its own ``finally`` to run
                connection.note_end(connection.end_reason or CloseReason.PEER_RESET)
                self._recall(connection)
            else:
                self._release(connection)
        elif farewell is not None:
            pass
        elif (
            connection._pending
            or connection._raw
            or (connection._tls is not None and connection._tls.pending)
        ):
            self._watch(connection, WRITE)
        elif connection._rest is not None:
            self._recall(connection)
        elif connection._opening is not None and connection._opening.goes_on(connection):
            self._watch(connection, READ if connection._opening.reading else 0)
        elif connection.is_over():
            self._bid_farewell(connection)
        else:
            self._watch(connection, READ)
            self._set_timer(connection)
            if (connection.bytes_received or connection._tls is not None) and connection.begun:
                self.deadlines.note_begun(connection)

    def _recall(self, connection: Connection) -> None:
        self._watch(connection, 0)
        if (connection, b"") not in self.recalled:
            self.recalled.append((connection, b""))

    def _set_timer(self, connection: Connection) -> None:
        """Wake up in time for a codec that has to guess."""
        if connection._timer is not None:
            self._cancel_timer(connection)
        when = connection.settle_at(None, self._timers.now)
        if when is not None:
            connection._timer = self._timers.at(when, lambda: self._guess(connection))

    def _guess(self, connection: Connection) -> None:
        connection._timer = None
        self.recalled.append((connection, b""))

    def _cancel_timer(self, connection: Connection) -> None:
        if connection._timer is not None:
            connection._timer.cancel()
            connection._timer = None

    def _watch(self, connection: Connection, interest: int) -> None:
        before = connection._interest
        if interest == before:
            return
        connection._interest = interest
        if not before:
            try:
                self._poller.add(connection._stream.socket, connection, interest)
            except BaseException as error:
                connection._interest = 0
                if not isinstance(error, OSError):
                    raise
                events.no_capacity(connection, error)
                connection.abort(CloseReason.NO_CAPACITY)
        elif not interest:
            self._poller.remove(connection._fd)
        else:
            self._poller.modify(connection._fd, interest)

    def _bid_farewell(self, connection: Connection) -> None:
        connection.note_end(connection.end_reason or CloseReason.HANDLER_CLOSED)
        if connection._opening is not None:
            connection._opening.give_up(connection)
        # A sender that is still writing has taken what was pending, too.
        if not connection._send_lock.acquire(blocking=False):
            self._step_aside(connection)
            return
        end = connection._tls is not None and connection.take_tls_end()
        connection._send_lock.release()
        if end:
            self.dirty.append(connection)
            return
        self._cancel_timer(connection)
        if connection._peer_gone:
            self._release(connection)
            return
        farewell = Farewell(connection, self._rules.write_timeout, self._timers, self._release)
        connection._farewell = farewell
        reading = farewell.begin()
        if connection._here:  # it may be over already
            self._watch(connection, READ if reading else 0)

    def _release(self, connection: Connection) -> None:
        """The descriptor is freed, now or as soon as whoever was woken has left."""
        self.let_go(connection)
        self.deadlines.watched.pop(connection, None)
        connection._farewell = None
        if connection._opening is not None:
            connection._opening.over(connection)
        connection.note_end(connection.end_reason or CloseReason.HANDLER_CLOSED)
        if connection.release():
            self.leaving.discard(connection)
            self.gone(connection)
        else:
            self.leaving.add(connection)
            self._timers.after(RETRY_SECONDS, functools.partial(self._release, connection))
