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
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from .. import events
from ..connection import Connection
from ..durations import Histogram
from ..errors import CloseReason, TlsError
from ..handler import Handler
from ..rules import Rules
from ..transport import Listener
from ..transport.poller import ACCEPT, Poller, Tally
from .admission import Admission
from .baton import Baton
from .clients import RETRY_SECONDS, Clients
from .here import leading, serving
from .lending import Lender
from .opening import Opening, Openings
from .own_thread import serve_session
from .slow import SlowCalls
from .spare_threads import SpareThreads, tally_here
from .timers import Timer, Timers
from .turns import Turns

__all__ = ["Loop", "LoopFigures"]

# Sockets that a turn reads from and then writes to. Of more, measured with 512 busy ones, those
# read first have left the processor's cache when they are written to.
_BATCH = 128
_FAILURE_PAUSE = 0.1  # seconds; so that an unforeseen error can neither end the loop nor spin


class LoopFigures(NamedTuple):
    """What a loop has counted, at one instant."""

    turns: int
    turn_seconds: Histogram
    lock_wait_seconds: Histogram | None
    own_threads: int
    waiting: int  # for such a thread
    handshakes: int


class Loop:
    """One loop.

    handler
        What messages are answered by.
    threads
        Where threads come from that are lent to clients.
    rules
        The server's limits.
    admission
        Who is let in.
    released
        Called, by any thread, for each connection that is closed for good.
    loops
        How many there are, of which this is one.
    """

    def __init__(
        self,
        handler: Handler,
        threads: SpareThreads,
        *,
        rules: Rules,
        admission: Admission,
        released: Callable[[Connection], None],
        loops: int = 1,
    ) -> None:
        self._handler = handler
        self._threads = threads
        # One that may be taken again: the collector can run a finalizer that posts, and a
        # signal's handler can interrupt a post.
        self._lock = threading.RLock()
        self._posted: list[Callable[[], None]] = []  # under the lock
        self._asleep = False  # under the lock to set: the leader may wait in the poller
        self._closed = False  # under the lock: nobody leads any more
        self.ended = threading.Event()  # set by the last leader
        self.baton: Baton[Connection] = Baton()  # the watchdog's to replace, when it takes it

        # The leader's, from here on.
        self.turns = 0  # read by anybody
        self.turn_seconds = Tally()  # the same
        self.watch: Callable[[], None] = lambda: None  # tells the watchdog that a turn begins
        self._stopping = False
        self._poller = Poller(batch=_BATCH)
        self._timers = Timers(rules.clock)
        self._clients = Clients(handler, self._poller, self._timers, rules, released)
        self._openings = Openings(
            rules, self._clients, self._timers, threads, self.post, admission, self._opened, loops
        )
        self._slow_calls = SlowCalls(rules, self._timers)
        self._lender = Lender(
            handler, threads, self._clients, rules, self._slow_calls, self.take_back, loops
        )
        self._turns = Turns(handler, self._clients, self._lender, self._openings, rules)
        self._unwatch = rules.clock.watch(self.wake)
        rules.watch(lambda: self.post(self._reconsider))

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

    def wake(self) -> None:
        """Have the leader look at the time."""
        self.post(_nothing)

    @property
    def waits(self) -> bool:
        """Whether the leader waits for readiness, outside of any turn."""
        return self._asleep

    def figures(self) -> LoopFigures:
        """What it has counted so far."""
        # The poller in Python knows nothing of them.
        waits: tuple[tuple[int, ...], int] | None = self._poller.lock_waits()
        return LoopFigures(
            self.turns,
            Histogram(*self.turn_seconds.read()),
            Histogram(*waits) if waits is not None else None,
            self._lender.lent,
            self._lender.waiting,
            len(self._openings),
        )

    def waits_for_thread(self, connection: Connection) -> bool:
        """Whether all that it lacks is a thread of its own; a hint."""
        return self._lender.has_waiting(connection)

    def attend(self, connection: Connection) -> None:
        """Have the leader look at a connection whose state has changed."""
        self.post(functools.partial(self._look_at, connection))

    def start_session(self, connection: Connection) -> None:
        """Call the session handler, on a thread of the connection's own.

        Raises whatever threads fail to start with.
        """
        connection.own(None)
        self._threads.run(functools.partial(self._serve_session, connection))
        self.post(functools.partial(self._watch_own, connection))

    def _serve_session(self, connection: Connection) -> None:
        connection.own(threading.get_ident())
        reason = CloseReason.HANDLER_FAILED
        try:
            with serving(connection):
                self._handler.opened(connection)
                reason = serve_session(connection, self._handler)
        finally:
            connection.disown(reason)
            self.take_back(connection)

    def take_back(self, connection: Connection) -> None:
        """A thread that has served ``connection`` alone, and disowned it, is done with it."""
        if not self.post(functools.partial(self.take_in, connection)):
            connection.note_end(connection.end_reason or CloseReason.CUT)
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
        self._slow_calls.leave(connection)
        self._clients.take_in(connection)
        if not self._lender.suspects(connection):
            connection.note_quick()
        self._lender.serve_waiting()

    def open(self, connection: Connection, opening: Opening) -> None:
        """The connection is the loop's from here on; something comes before its messages."""
        self._openings.begin(connection, opening)

    def turn_away(self, connection: Connection, reply: bytes | None) -> None:
        """The connection is the loop's, and refused; ``reply`` says so in its framing."""
        self._clients.hold(connection)
        if reply is not None:
            connection.replies().append(reply)
        self._clients.dirty.append(connection)

    def _opened(self, connection: Connection, rest: bytes) -> None:
        """What came before its messages is done; ``rest`` came after it."""
        try:
            connection.feed(rest)
        except TlsError as error:
            self._clients.fail(connection, error)
            return
        if self._handler.is_session:
            self._clients.let_go(connection)
            try:
                self.start_session(connection)
            except BaseException as error:  # noqa: BLE001 - no thread or no memory to be had
                events.no_capacity(connection, error)
                connection.disown(CloseReason.NO_CAPACITY)
                self._clients.hold(connection)
                self._clients.dirty.append(connection)
            return
        self._handler.opened(connection)
        if connection._codec.unread:
            connection._rest = None, iter(())  # called back, it handles what there is
        self.take_in(connection)

    def _watch_own(self, connection: Connection) -> None:
        """A thread of its own serves it, or has already done with it."""
        self._clients.deadlines.watch_own(connection)
        self._slow_calls.watch_own(connection)

    def _look_at(self, connection: Connection) -> None:
        if connection._aborted:
            self._lender.stop_waiting(connection)
        self._clients.look_at(connection)

    def await_clients(self, listener: Listener, ready: Callable[[], object]) -> None:
        """Call ``ready`` in each turn in which clients wait at ``listener``."""
        self._poller.add(listener.socket, ready, ACCEPT)

    def ignore_clients(self, listener: Listener) -> None:
        self._poller.remove(listener.fileno())

    def now(self) -> float:
        """The time that :meth:`later` goes by."""
        return self._timers.now()

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Make ``call`` when so many seconds have gone by."""
        return self._timers.after(seconds, call)

    # Leading.

    def lead(self, baton: Baton[Connection], departed: Connection | None = None) -> None:
        """Run the loop, until it is stopped or the baton is taken away.

        ``departed`` is what the former leader is stuck with.
        """
        baton.leader = threading.get_ident()
        baton.tally = tally_here() or baton.tally
        with leading(baton):
            if not self._lead(baton, departed):
                return
        self._end()

    def _lead(self, baton: Baton[Connection], departed: Connection | None) -> bool:
        """Turn after turn; ``False``: the baton was taken away."""
        while not self._stopping:
            try:
                if departed is not None:
                    gone, departed = departed, None
                    self._lender.part_with(gone)
                    self._clients.flush()  # what the turn had ready waits no longer
                if not self._turns.answer(baton):
                    return False
                self._clients.flush()
                self._make_posted_calls()
                if not self._stopping:
                    self._receive()
            except BaseException as error:  # noqa: BLE001 - nobody else could lead on
                if not self._recover(baton, error):
                    return False
        return True

    def _recover(self, baton: Baton[Connection], error: BaseException) -> bool:
        """Something unforeseen was raised; whether the baton is still held."""
        events.engine_failed(error)
        try:
            baton.leave()
        except IndexError:
            if self.baton is not baton:
                return False
        time.sleep(_FAILURE_PAUSE)
        return True

    def _receive(self) -> None:
        """Wait for a turn's work and read it."""
        clients, turns = self._clients, self._turns
        if turns.began:
            self.turn_seconds.add(time.monotonic() - turns.began)
            turns.began = 0.0
        timeout = self._timers.left() if self._timers.heap else None
        with self._lock:
            if self._posted or clients.dirty or clients.recalled:
                timeout = 0.0
            self._asleep = True
        received, notices = self._poller.wait(timeout)
        self._asleep = False  # a post that still sees True wakes for nothing
        if clients.recalled:
            received += clients.recalled
            clients.recalled = []
        turns.received, turns.notices, turns.noticed = iter(received), iter(notices), bool(notices)
        if received or notices:
            turns.began = time.monotonic()
            self.turns += 1
            self.watch()

    def _make_posted_calls(self) -> None:
        if self._posted:
            with self._lock:
                calls, self._posted = self._posted, []
            for call in calls:
                self._make(call)
        if self._timers.heap:
            for call in self._timers.due():
                self._make(call)

    def _make(self, call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - the other calls are still to be made
            events.engine_failed(error)

    def never_led(self) -> None:
        """Whoever made it, and found no thread for it."""
        with self._lock:
            self._closed = True
        self._close()

    def _reconsider(self) -> None:
        """The limits have changed."""
        self._clients.deadlines.reconsider(self._clients.here)
        self._slow_calls.reconsider()
        self._lender.serve_waiting()

    def _stop(self) -> None:
        self._stopping = True

    def _end(self) -> None:
        with self._lock:
            self._closed = True
            calls, self._posted = self._posted, []
        for call in calls:
            self._make(call)
        for connection in list(self._clients.here):
            self._make(functools.partial(self._clients.cut, connection))
        for connection in list(self._clients.leaving):
            self._make(functools.partial(self.take_back, connection))
        self._close()

    def _close(self) -> None:
        self._unwatch()
        self._poller.close()
        self.ended.set()


def _nothing() -> None:
    """A call that only wakes the leader."""
