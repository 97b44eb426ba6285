"""One process's load: a loop that sends what is due and checks what comes.

Strategy
--------
A turn of the loop waits and receives, with one call, from up to ``_BATCH`` sockets that have
something; checks it; and sends what follows from it with another call. The interpreter's
share of a message is a microsecond or two so, and the system's the rest.

When the time is taken. A reply's time is that at which the call that received it has
returned; a request's is taken right before the call that sends it. Within a call a message
waits for the others, which is why ``_BATCH`` is small: the wait stays a matter of
microseconds, and where the load is light there is no other to wait for.

Closed loop: a client's next request follows its last reply. Open loop: requests are due by a
schedule that knows nothing of replies. Each goes to the client that has had nothing to do for
longest, else to the next one with room, else it waits, unsent, until there is one (see
rota.py). How late a request is sent is the service's doing as long as no client is free for
it, and after that the load's own, which is noted.

Everything here belongs to the thread that calls :meth:`Load.run`, but for :meth:`Load.post`.
"""

from __future__ import annotations

import functools
import itertools
import math
import select
import time
from collections import deque
from collections.abc import Callable, Iterator

from ..engine.timers import Timers
from ..errors import TlsError
from ..transport.poller import END, READY, Poller
from .client import Asked, Blocked, Broken, Checker, Client, State
from .connecting import Connector
from .endpoint import Endpoint
from .plan import Plan
from .records import Records
from .requests import Burst, Request, make_requests
from .rota import Rota
from .sending import Sender, broken_by

__all__ = ["Load"]

_BATCH = 16  # sockets of one call; see above
_LARGEST_BURST = 1 << 16  # bytes of its replies; joining more takes memory, and saves little
_BINNED = 512  # durations that are binned together
_FDSETSIZE = 1024  # descriptors that select() can wait for
_WAKING = 20e-6  # seconds that it takes to be woken; so much of a wait is spent asking


class Load:
    """``part`` of the ``parts`` that share a plan. Raises UsageError and ConnectError."""

    def __init__(self, plan: Plan, part: int = 0, parts: int = 1) -> None:
        requests = make_requests(plan.messages, plan.framing, plan.expect)
        expected = max(len(request.reply or b"") for request in requests)
        count = plan.clients // parts + (part < plan.clients % parts)
        # The parts begin at different requests.
        start = part * len(requests) // parts
        self.plan = plan
        self.records = records = Records()
        self.timers = Timers()
        self.clients = [Client(number) for number in range(count)]
        self.over = False
        self.last_answer = 0.0
        self.exhausted: Callable[[], None] = lambda: None  # called when all has been sent
        self.tried: Callable[[Client], None] = lambda client: None  # it is up, or has failed
        self._posted: deque[Callable[[], None]] = deque()  # any thread appends, the loop takes
        self._requests: Iterator[Request] = itertools.cycle(requests[start:] + requests[:start])
        self._open = plan.rate is not None
        self._each = plan.connect_each
        self._from_due = self._open or self._each  # latency counts from when a request was due
        self._pipeline = plan.pipeline
        known = all(request.reply is not None for request in requests)
        self._in_bursts = known and expected * plan.pipeline <= _LARGEST_BURST
        endpoint = Endpoint(plan)
        self._poller = Poller(batch=_BATCH)
        self._sender = Sender(self._poller, records, self.fail)
        self.rota = Rota(plan, self.clients, records, self._ask_due, self._all_sent)
        self._checker = Checker(
            plan.framing,
            max(plan.max_message, expected),
            plan.expect,
            self._answered,
            records.count_latency,
            functools.partial(records.error, "wrong-reply"),
        )
        self.connector = Connector(
            endpoint,
            self._poller,
            self._sender,
            records,
            timeout=plan.timeout,
            seed=f"{plan.seed} {part}",
            up=self._is_up,
            failed=self._failed,
            later=self.timers.after,
        )

    # Any thread.

    def post(self, call: Callable[[], None]) -> None:
        """Have the loop make ``call``, between two turns."""
        self._posted.append(call)
        self._poller.wake()

    # What the course of the run asks for.

    @property
    def up(self) -> int:
        return sum(client.state is State.UP for client in self.clients)

    @property
    def busy(self) -> bool:
        """Whether anything is unanswered, or due and not sent."""
        return self.rota.next_due < math.inf or any(client.unanswered for client in self.clients)

    def begin(self, client: Client) -> None:
        """Let a client send from now on."""
        client.begun = True
        if client.state is State.DOWN and not self._each:
            self.connector.connect(client)
        if self._each or client.state is State.UP:
            self._go_on(client, time.monotonic())

    def limit(self, count: int) -> None:
        """Have so many requests answered, those that are unanswered now among them."""
        more = count - sum(client.unanswered for client in self.clients)
        if self._open:
            self.rota.limit(more)
        else:
            self._requests = itertools.islice(self._requests, max(0, more))

    def stop_sending(self, *, at_once: bool = False) -> None:
        """Send nothing more but what is due already; ``at_once``: nor that."""
        if not self._open:
            self._requests = iter(())
        elif at_once:
            self.rota.give_up(time.monotonic(), as_errors=False)

    def give_up(self, *, as_errors: bool = True) -> None:
        """What is unanswered, or was never sent, is lost; ``as_errors``: which is an error."""
        for client in self.clients:
            if client.unanswered:
                example = "no reply by the end of the run"
                if as_errors:
                    self.records.error("unanswered", example, client.unanswered)
                self._lose(client)
        self.rota.give_up(time.monotonic(), as_errors=as_errors)

    def close(self) -> None:
        for client in self.clients:
            self.connector.drop(client, politely=True)
        self._poller.close()

    # The loop.

    def run(self) -> None:
        """Turn until :attr:`over`."""
        clock, records, timers, rota = time.monotonic, self.records, self.timers, self.rota
        collected = records.latencies
        timers.after(self._scan_interval, self._scan)
        while not self.over:
            received, notices = self._wait()
            now = clock()
            if received:
                size = 0
                for client, data in received:
                    size += len(data)
                    if data == client.awaited:
                        client.awaited = None
                        self._answered(client.flight.popleft(), now)
                        self._proceed(client, now)
                    else:
                        self._received(client, data, now)
                records.bytes_received += size
                self.last_answer = now
            for key, code in notices:
                self._notice(key, code, now)
            if rota.next_due <= now and not rota.crowded:
                rota.send_due(now)
            self._sender.flush()
            if self._posted:
                self._posted.popleft()()
            if timers.heap and timers.heap[0].when <= now:
                for call in timers.due():
                    call()
                self._sender.flush()
            if len(collected) >= _BINNED:
                records.bin()

    def _wait(self) -> tuple[list[tuple[Client, bytes]], list[tuple[Client | Blocked, int]]]:
        timeout = 0.0 if self._posted else self.timers.left()
        rota = self.rota
        if rota.next_due < math.inf and not rota.crowded:
            left = max(0.0, rota.next_due - time.monotonic() - _WAKING)
            timeout = left if timeout is None else min(left, timeout)
            number = self._poller.fileno()
            if timeout > 0 and number < _FDSETSIZE:
                # The poller knows milliseconds only.
                select.select((number,), (), (), timeout)
                timeout = 0.0
        return self._poller.wait(timeout)

    # What comes.

    def _received(self, client: Client, data: bytes, now: float) -> None:
        """Whatever is not the one reply that is due, in plain and in one piece."""
        if client.state is State.SECURING:
            self.connector.secure(client, data, now)
            data = b""
        if client.state is not State.UP:
            return
        tls = client.tls
        try:
            if tls is not None:
                data = tls.open(data)
                if tls.pending:
                    self._sender.queue(client, tls.take())
            if data:
                client.awaited = None
                waiting = client.unanswered
                self._checker.take(client, data, now)
                if client.unanswered < waiting:
                    self._proceed(client, now)
            if tls is not None and tls.ended and client.state is State.UP:
                self.fail(client, "closed", self._checker.ended(client))
        except Broken as broken:
            self.fail(client, broken.kind, broken.example)
        except TlsError as error:
            self.fail(client, "tls", error.problem)

    def _notice(self, key: Client | Blocked, code: int, now: float) -> None:
        if isinstance(key, Blocked):
            self._sender.resume(key)
        elif key.state is State.CONNECTING:
            self.connector.connected(key, now)
        elif key.state is State.SECURING:
            self.connector.hung_up(key)
        elif key.state is State.UP and code == END:
            self.fail(key, "closed", self._checker.ended(key))
        elif key.state is State.UP and code != READY:
            self.fail(key, *broken_by(code, key.unanswered))

    def _answered(self, asked: Asked, now: float) -> None:
        if self._from_due:
            self.records.latencies.append(now - asked.due)
            self.records.services.append(now - asked.sent)
        else:
            self.records.latencies.append(now - asked.sent)

    def _proceed(self, client: Client, now: float) -> None:
        """One reply or more has come."""
        client.failures = 0
        if self._each:
            self.connector.drop(client, politely=True)
        self._go_on(client, now)

    # What is sent.

    def _go_on(self, client: Client, now: float) -> None:
        """Open loop: it can be asked again. Closed loop: fill its pipeline."""
        if self._open:
            self.rota.free(client, now)
        elif self._pipeline == 1:
            request = next(self._requests, None)
            if request is None:
                self.exhausted()
            else:
                self._ask(client, Asked(request))
        else:
            self._fill(client)

    def _fill(self, client: Client) -> None:
        room = self._pipeline - client.unanswered
        requests = list(itertools.islice(self._requests, room))
        if requests:
            if self._in_bursts and client.codec is None:
                burst = Burst(requests)
                client.bursts.append(burst)
                client.burst_count += len(requests)
                self._sender.note((burst,))
            else:
                asked = [Asked(request) for request in requests]
                client.flight.extend(asked)
                self._sender.note(asked)
            self._queue(client, b"".join([request.frame for request in requests]))
        if len(requests) < room:
            self.exhausted()

    def _all_sent(self) -> None:
        self.exhausted()

    def _ask_due(self, client: Client, due: float) -> None:
        self._ask(client, Asked(next(self._requests), due))

    def _ask(self, client: Client, asked: Asked) -> None:
        client.flight.append(asked)
        if self._each:
            if not self._open:
                asked.due = time.monotonic()
            self.connector.connect(client)
            return
        sender, request = self._sender, asked.request
        sender.note((asked,))
        if client.tls is None and self._pipeline == 1 and not client.out:
            if client.codec is None:
                client.awaited = request.reply
            sender.add(client, request.frame)
        else:
            self._queue(client, request.frame)
        if len(sender.pairs) >= _BATCH:
            sender.flush()

    def _queue(self, client: Client, data: bytes) -> None:
        try:
            self._sender.queue(client, data if client.tls is None else client.tls.seal(data))
        except (OSError, TlsError):
            self.fail(client, "tls", "the service has ended it")

    # What becomes of connections.

    def _is_up(self, client: Client, now: float) -> None:
        if self._each and client.flight:
            request = client.flight[0].request
            self._sender.note((client.flight[0],))
            if client.tls is None:
                client.awaited = request.reply
            self._queue(client, request.frame)
        else:
            client.full = False
            client.free_since = now
            if client.begun:
                self.begin(client)
        self.tried(client)

    def fail(self, client: Client, kind: str, example: str) -> None:
        """The connection is of no more use: what it had been asked is lost."""
        self._sender.flush()  # while the numbers of descriptors in it are whose they were
        self.connector.drop(client)
        self._failed(client, kind, example)

    def _failed(self, client: Client, kind: str, example: str) -> None:
        self.records.error(kind, example, max(1, client.unanswered))
        if kind == "wrong-reply":
            client.flight.popleft()  # a reply it was
        self._lose(client)
        client.full = False
        self.timers.after(self.connector.back_off(client), functools.partial(self._again, client))
        self.tried(client)

    def _lose(self, client: Client) -> None:
        """No reply will come to what is unanswered; note how long it was waited for."""
        now = time.monotonic()
        client.scatter()
        for asked in client.flight:
            since = asked.due if self._from_due else asked.sent
            if since < math.inf:
                self.records.lose(now - since)
        client.flight.clear()

    def _again(self, client: Client) -> None:
        if client.begun and client.state is State.DOWN and not client.unanswered:
            self.begin(client)

    @property
    def _scan_interval(self) -> float:
        return min(0.5, max(0.005, self.plan.timeout / 20))

    def _scan(self) -> None:
        """Look for what has taken too long."""
        now, timeout = time.monotonic(), self.plan.timeout
        self.rota.look_again()
        for client in self.clients:
            if client.state is State.CONNECTING or client.state is State.SECURING:
                self.connector.check_time(client, now)
            elif now - client.waits_since > timeout:
                self.fail(client, "timeout", self._checker.silence(client, timeout))
        self.timers.after(self._scan_interval, self._scan)
