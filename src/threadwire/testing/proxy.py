"""A TCP proxy that splits, glues, delays, stalls, truncates and resets what goes through it.

One thread does everything, over sockets that do not block. It holds the lock for a whole
turn, from what the selector has reported to the last send; whoever else takes it (to read
the history, to release stalls) finds every stream between two steps, and with all noted
that a peer can have seen.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

from ..address import Address, Scheme, parse_address
from ..errors import ListenError, TimeLimitError, UsageError
from .faults import Direction, Fault, Step, plan
from .flow import Flow
from .link import Link
from .targets import Target, find_targets

__all__ = ["FaultProxy"]

_MOST_LINKS = 1000  # at once; further clients wait in the backlog
_BACKLOG = 1024
_BURST = 64  # clients accepted in one turn
_ACCEPT_PAUSE = 0.05  # seconds, when there is no descriptor for a client
_REMEMBERED = 10_000  # connections that have ended, in the history
_NOTED = 20  # connections of which a failed test tells
_SHOWN = 40  # steps of a stream that a text shows from its beginning, and from its end


class _Stream(NamedTuple):
    """How far a stream has come."""

    delivered: int
    taken: int
    end: str


class _Record(NamedTuple):
    """What is kept of a connection that is over."""

    number: int
    up: _Stream
    down: _Stream
    problem: str


class FaultProxy:
    """Stands between clients and a server, and does to their bytes what ``faults`` say.

    ::

        with FaultProxy(server.address, Split(most=3), seed=7) as proxy:
            with threadwire.connect(proxy.address) as client:
                client.request(b"hello")

    upstream
        ``tcp://host:port`` or ``unix:///path``. What goes through is not looked at, so
        it may be TLS.
    faults
        Any number of :class:`Fault`; none at all makes it a plain proxy. Connections are
        numbered from 1, in the order in which they are accepted.
    seed
        What the faults' places and times are drawn from [a random one, see :attr:`seed`].
        The same seed does the same to the same bytes: each stream, one connection in one
        direction, has a plan of its own, in which every step stands at an offset.

    It listens on a free port of 127.0.0.1 from :meth:`start` on; as a context manager it
    starts and closes by itself, and what is raised in the block gets the seed and the
    history as a note, which a failed test prints. It holds at most 64 KiB a stream, or as
    much as a :class:`Glue` asks for. The end of a stream, and a reset, are passed on, behind
    the bytes before them.
    """

    def __init__(self, upstream: str | Address, *faults: Fault, seed: int | None = None) -> None:
        self.upstream = parse_address(upstream)
        if self.upstream.scheme.endswith("fd"):
            raise UsageError("upstream must be an address to connect to, not a descriptor")
        for fault in faults:
            if not isinstance(fault, Fault):
                raise UsageError(f"a fault must be a Fault, as in Split(3), not {fault!r}")
        if seed is not None and type(seed) is not int:
            raise UsageError(f"seed must be a whole number, not {seed!r}")
        self.faults = faults
        self.seed = secrets.randbits(32) if seed is None else seed
        self._targets: list[Target] = []  # constant from the start on
        self._address: Address | None = None  # constant from the start on
        self._thread: threading.Thread | None = None  # constant from the start on

        self._changed = threading.Condition()  # guards what follows
        self._wake: socket.socket | None = None  # wakes the thread, as long as it runs
        self._closing = False
        self._failure: BaseException | None = None  # what ended the thread before its time
        self._accepted = 0
        self._links: dict[int, Link] = {}
        self._ended: deque[_Record] = deque(maxlen=_REMEMBERED)

        self._accept_at = 0.0  # the thread's: no sooner

    # Life.

    def start(self) -> Self:
        """Listen, and begin to pass bytes on; a client whose server cannot be reached is reset.

        Raises ListenError, and ConnectError for a host that is not known.
        """
        if self._thread is not None:
            raise UsageError("a proxy starts once; make another one")
        self._targets = find_targets(self.upstream)
        with contextlib.ExitStack() as made:
            try:
                listening = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
                made.callback(listening.close)
                selector = made.enter_context(selectors.DefaultSelector())
                hears, wake = socket.socketpair()
            except OSError as error:
                raise ListenError("tcp://127.0.0.1:0", error) from error
            made.callback(hears.close)
            made.callback(wake.close)
            for each in (listening, hears, wake):
                each.setblocking(False)
            for each in (listening, hears):
                selector.register(each, selectors.EVENT_READ)
            scheme: Scheme = "tls" if self.upstream.secure else "tcp"
            self._address = Address(scheme, "127.0.0.1", listening.getsockname()[1])
            thread = threading.Thread(
                target=self._run,
                args=(selector, listening, hears, wake),
                name="threadwire-fault-proxy",
                daemon=True,
            )
            with self._changed:
                self._wake = wake
            made.callback(self._forget_wake)
            thread.start()
            made.pop_all()  # they are the thread's to close
            self._thread = thread
        return self

    def _forget_wake(self) -> None:
        with self._changed:
            self._wake = None

    def close(self) -> None:
        """Reset what is still open, and end; from any thread, any number of times."""
        with self._changed:
            self._closing = True
            self._ring()
        if self._thread is not None:
            self._thread.join()
        with self._changed:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise RuntimeError("the proxy has failed") from failure

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note(self.recent_history)
        self.close()

    # For tests.

    @property
    def address(self) -> Address:
        """Where clients find it; the scheme is the server's, or ``tcp`` for a unix socket."""
        if self._address is None:
            raise UsageError("the proxy has not been started, so it has no address yet")
        return self._address

    @property
    def connections(self) -> int:
        """How many have been accepted so far."""
        with self._changed:
            return self._accepted

    @property
    def history(self) -> str:
        """What was done so far: a line for each stream, with its steps as ``kind@offset``.

        Depends on the seed and the bytes alone, as far as they have got. Of a stream with
        many steps the first and last 40 are shown; :meth:`steps` has all of them.
        """
        return self._tell(_REMEMBERED)

    @property
    def recent_history(self) -> str:
        """The same for the last 20 connections: what a failed test prints."""
        return self._tell(_NOTED)

    def steps(self, connection: int, direction: Direction) -> list[Step]:
        """All that was done so far to one stream."""
        with self._changed:
            streams = {record.number: record for record in self._records()}
        if connection not in streams:
            raise UsageError(f"there is no record of a connection {connection!r}")
        if direction not in ("up", "down"):
            raise UsageError(f"direction must be 'up' or 'down', not {direction!r}")
        record = streams[connection]
        stream = record.up if direction == "up" else record.down
        return list(self._taken(connection, direction, stream))

    def wait_stalled(self, count: int = 1, timeout: float = 10.0) -> None:
        """Wait until so many streams are in a stall at once; raises TimeLimitError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._stalled() >= count, timeout):
                raise TimeLimitError(f"{count} stalled streams, but {self._stalled()}", timeout)

    def release(self) -> None:
        """End the stalls that are under way."""
        with self._changed:
            for link in self._links.values():
                link.up.release()
                link.down.release()
                link.wake_at = 0.0
            self._ring()

    def __repr__(self) -> str:
        arguments = [repr(str(self.upstream)), *map(repr, self.faults), f"seed={self.seed}"]
        return f"FaultProxy({', '.join(arguments)})"

    # The lock held.

    def _ring(self) -> None:
        """Wake the thread."""
        if self._wake is not None:
            with contextlib.suppress(BlockingIOError):  # it has been woken often enough
                self._wake.send(b"\0")

    def _stalled(self) -> int:
        return sum(link.up.stalled + link.down.stalled for link in self._links.values())

    def _records(self) -> list[_Record]:
        return sorted((*self._ended, *map(_record, self._links.values())))

    # Telling.

    def _tell(self, most: int) -> str:
        with self._changed:
            accepted, records = self._accepted, self._records()
        faults = ", ".join(map(repr, self.faults)) or "no faults"
        lines = [f"fault proxy, seed={self.seed}: {faults}"]
        records = records[-most:]
        if accepted > len(records):
            lines.append(f"({accepted - len(records):,} connections before these)")
        for record in records:
            if record.problem:
                lines.append(f"connection {record.number}: no server: {record.problem}")
            lines.append(self._line(record.number, "up", record.up))
            lines.append(self._line(record.number, "down", record.down))
        return "\n".join(lines)

    def _line(self, connection: int, direction: Direction, stream: _Stream) -> str:
        steps = self._taken(connection, direction, stream)
        words = [str(step) for step in itertools.islice(steps, _SHOWN)]
        last = deque(steps, _SHOWN)
        if (left_out := stream.taken - len(words) - len(last)) > 0:
            words.append(f"({left_out:,} more)")
        words += map(str, last)
        text = f"connection {connection} {direction}: {stream.delivered} bytes, {stream.end}"
        return ": ".join((text, " ".join(words))) if words else text

    def _taken(self, connection: int, direction: Direction, stream: _Stream) -> Iterator[Step]:
        """The plan, as far as it has been followed."""
        steps = plan(self.faults, self.seed, connection, direction)
        return itertools.islice(steps, stream.taken)

    def _flow(self, connection: int, direction: Direction) -> Flow:
        return Flow(plan(self.faults, self.seed, connection, direction))

    # The thread.

    def _run(
        self,
        selector: selectors.BaseSelector,
        listening: socket.socket,
        hears: socket.socket,
        wake: socket.socket,
    ) -> None:
        try:
            while True:
                ready = selector.select(self._left())
                with self._changed:
                    if self._closing:
                        break
                    self._turn(selector, listening, hears, ready)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - close() raises it
            with self._changed:
                self._failure = error
        with self._changed:
            for link in self._links.values():
                link.abandon()
                self._ended.append(_record(link))
            self._links.clear()
            self._wake = None
            self._changed.notify_all()
        for each in (selector, listening, hears, wake):
            each.close()

    def _left(self) -> float | None:
        """Seconds until something is to be done."""
        with self._changed:
            times = [link.wake_at for link in self._links.values() if link.wake_at is not None]
        if self._accept_at:
            times.append(self._accept_at)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _turn(
        self,
        selector: selectors.BaseSelector,
        listening: socket.socket,
        hears: socket.socket,
        ready: list[tuple[selectors.SelectorKey, int]],
    ) -> None:
        """Lock held: attend to what is ready, and to what is due."""
        now = time.monotonic()
        due = {key.data for key, _ in ready if key.data is not None}
        for key, _ in ready:
            if key.fileobj is hears:
                hears.recv(4096)
            elif key.fileobj is listening:
                due.update(self._accept(selector, listening, now))
        due.update(
            link
            for link in self._links.values()
            if link.wake_at is not None and link.wake_at <= now
        )
        for link in sorted(due, key=lambda link: link.number):
            link.attend(now)
            if link.over:
                self._ended.append(_record(link))
                del self._links[link.number]
        self._watch(selector, listening, now)

    def _watch(
        self, selector: selectors.BaseSelector, listening: socket.socket, now: float
    ) -> None:
        """Lock held: wait for clients, if there is room for them."""
        if now >= self._accept_at:
            self._accept_at = 0.0
        wanted = not self._accept_at and len(self._links) < _MOST_LINKS
        watched = listening in selector.get_map()
        if wanted and not watched:
            selector.register(listening, selectors.EVENT_READ)
        elif watched and not wanted:
            selector.unregister(listening)

    def _accept(
        self, selector: selectors.BaseSelector, listening: socket.socket, now: float
    ) -> Iterator[Link]:
        """Lock held."""
        for _ in range(min(_BURST, _MOST_LINKS - len(self._links))):
            try:
                client, _peer = listening.accept()
            except BlockingIOError:
                return
            except OSError:  # no descriptor, or whatever: it is tried again
                self._accept_at = now + _ACCEPT_PAUSE
                return
            self._accepted = number = self._accepted + 1
            try:
                up, down = self._flow(number, "up"), self._flow(number, "down")
            except BaseException:
                client.close()
                raise
            link = Link(number, client, self._targets, up, down, selector)
            self._links[number] = link
            yield link


def _record(link: Link) -> _Record:
    return _Record(link.number, _stream(link.up), _stream(link.down), link.problem)


def _stream(flow: Flow) -> _Stream:
    return _Stream(flow.delivered, flow.taken, "open" if flow.end is None else flow.end.value)
