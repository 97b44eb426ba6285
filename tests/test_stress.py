"""Hundreds of thousands of messages of random sizes, in random pieces, with random leaving.

Every reply of every client is checked: content, order, number. A seed makes each
client's behaviour replay; it is named when something is wrong. The number of messages,
of all these tests together, can be raised with the environment variable THREADWIRE_STRESS,
and THREADWIRE_STRESS_SEED sets the seed of those that draw one.

What the others do is quick. In the storm handlers block for about as long as one may hold up
its loop, so that hand-offs come at every point there is; meanwhile broadcasts are sent to
the same connections, clients pause, and leave. Whoever waits in vain says where every
connection and every thread of the server stands.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import os
import random
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import threadwire
import threadwire.reception
from threadwire.engine import lending, loop, own_thread
from threadwire.limits import MAX_THREADS
from threadwire.transport import portable

from .conftest import Events, Serving
from .support import PATIENCE, Peer, eventually

MESSAGES = int(os.environ.get("THREADWIRE_STRESS", "200000"))
CLIENTS = 24
LARGEST = 3000


def handler(message: bytes) -> threadwire.Framing | bytes | list[bytes] | None:
    """Answers that depend on the message: one, none, two, and now and then late."""
    kind = message[:1]
    if kind == b"n":
        return None
    if kind == b"t":
        return [message[::-1], message]
    if kind == b"s":
        time.sleep(0.001)  # a handler that blocks, on purpose
    return message[::-1]


def expected(message: bytes) -> list[bytes]:
    reply = handler(message)
    if reply is None:
        return []
    return reply if isinstance(reply, list) else [reply]  # type: ignore[list-item]


class Script:
    """One client's messages, from a seed."""

    def __init__(self, seed: int, count: int) -> None:
        chance = random.Random(seed)
        self.chance = random.Random(seed + 1)
        self.messages = itertools.islice(self._make(chance), count)

    def _make(self, chance: random.Random) -> Iterator[bytes]:
        while True:
            kind = chance.choices(b"qnts", weights=(90, 4, 5, 1))[0]
            size = int(chance.expovariate(1 / 60)) if chance.random() < 0.98 else LARGEST
            yield bytes([kind]) + chance.randbytes(size).replace(b"\n", b".")

    def pieces(self, data: bytes) -> list[bytes]:
        """``data`` in pieces of random sizes, many tiny, some large."""
        made, at = [], 0
        while at < len(data):
            size = self.chance.choice((1, 2, 7, 100, 1500, 20_000, 60_000))
            made.append(data[at : at + size])
            at += size
        return made


def run_client(address: threadwire.Address, seed: int, count: int, faults: list[str]) -> None:
    script = Script(seed, count)
    framing = threadwire.Lines()
    with Peer(address) as peer:
        codec = framing.codec(1 << 20)
        messages = list(script.messages)
        encoded = b"".join(codec.encode(message) for message in messages)
        wanted = [reply for message in messages for reply in expected(message)]
        sender = threading.Thread(target=_send, args=(peer, script, encoded, faults, seed))
        sender.start()
        try:
            got = 0
            while data := peer.socket.recv(65536):
                codec.feed(data)
                while (reply := codec.next_message()) is not None:
                    if got >= len(wanted) or reply != wanted[got]:
                        faults.append(f"seed {seed}: reply {got} is {reply!r}")
                        return
                    got += 1
            if got != len(wanted):
                faults.append(f"seed {seed}: {got} replies of {len(wanted)}")
        except OSError as error:
            faults.append(f"seed {seed}: {error!r}")
        finally:
            sender.join(PATIENCE)


def _send(peer: Peer, script: Script, encoded: bytes, faults: list[str], seed: int) -> None:
    try:
        for piece in script.pieces(encoded):
            peer.say(piece)
        peer.finish()
    except OSError as error:
        faults.append(f"seed {seed}: sending: {error!r}")


def run_leaver(address: threadwire.Address, seed: int, stop: threading.Event) -> None:
    """Connects, says something, and leaves in one of the ways there are."""
    chance = random.Random(seed)
    while not stop.is_set():
        peer = Peer(address)
        try:
            for _ in range(chance.randrange(4)):
                peer.say(chance.randbytes(chance.randrange(1, 2000)))
            way = chance.randrange(4)
            if way == 0:
                peer.reset()
            elif way == 1:
                peer.finish()
                peer.hear_all()
            elif way == 2:
                peer.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the server may have been quicker to end it
        finally:
            peer.close()


def test_every_reply_is_right(serving: Serving, events: Events) -> None:
    server = serving(handler)
    faults: list[str] = []
    stop = threading.Event()
    leavers = [
        threading.Thread(target=run_leaver, args=(server.address, 10_000 + n, stop))
        for n in range(4)
    ]
    clients = [
        threading.Thread(
            target=run_client,
            args=(server.address, 100 * n, math.ceil(MESSAGES / 2 / CLIENTS), faults),
        )
        for n in range(CLIENTS)
    ]
    for thread in leavers + clients:
        thread.start()
    for thread in clients:
        thread.join()
    stop.set()
    for thread in leavers:
        thread.join(PATIENCE)
    assert faults == []
    eventually(lambda: not server.connections)
    assert not events.named("handler-failed")
    assert not events.tracebacks()


def test_draining_in_the_middle_loses_no_reply_that_was_begun(serving: Serving) -> None:
    """Each client checks that what it got is exactly the first so many replies."""
    for round_number in range(10):
        server = serving(handler)
        faults: list[str] = []
        under_way = threading.Semaphore(0)

        def converse(
            seed: int,
            address: threadwire.Address = server.address,
            faults: list[str] = faults,
            under_way: threading.Semaphore = under_way,
        ) -> None:
            """One request at a time: a drain may close only between a reply and a request."""
            script = Script(seed, 1_000_000 if seed % 2 else 50)
            encode = threadwire.Lines().codec().encode
            with Peer(address) as peer:
                try:
                    for n, message in enumerate(script.messages):
                        peer.say(encode(message))
                        for reply in expected(message):
                            line = peer.hear(len(encode(reply)))
                            if line and line != encode(reply):
                                faults.append(f"seed {seed}: reply to {n} is {line!r}")
                            if not line:
                                return
                        if n == 20:
                            under_way.release()
                except OSError:
                    return  # a request that crossed the server's goodbye

        clients = [
            threading.Thread(target=converse, args=(1000 * round_number + n,)) for n in range(12)
        ]
        for client in clients:
            client.start()
        for _ in clients:
            assert under_way.acquire(timeout=PATIENCE)
        report = server.close(PATIENCE)
        for client in clients:
            client.join(PATIENCE)
        assert faults == []
        assert report.cut == ()
        assert report.threads_left == ()


# Hand-offs at every point.

FACTORS = (0.0, 0.2, 0.7, 1.0, 1.3, 2.0, 5.0)  # of handoff_after, that a handler may take
SESSION = 120  # messages of one connection, about
TALKERS = 12
LONG = 40_000  # bytes of a long reply


class Planned(Exception):
    """What a handler raises because its client has asked for it."""


class Work:
    """A handler that does what messages ask for, and knows what it has to answer.

    A message is a letter, a digit that says how long it takes, and whatever makes it unlike
    others. Broadcasts begin with ``B``, replies never do.
    """

    def __init__(self, handoff_after: float) -> None:
        self.handoff_after = handoff_after
        self.handed_over = 0  # a lower bound: not counted under a lock

    def plain(self, message: bytes) -> Any:
        kind, seconds = message[:1], self.seconds(message)
        if kind == b"s":
            time.sleep(seconds)
        elif kind == b"c":
            ends = time.perf_counter() + seconds
            while time.perf_counter() < ends:
                pass
        elif kind == b"g":
            return self.parts(message, seconds)
        elif kind == b"e":
            time.sleep(seconds)
            raise Planned
        elif kind == b"x":
            time.sleep(seconds)
            raise threadwire.Close(b"bye " + message)
        return self.reply(message)

    def full(self, message: bytes, connection: threadwire.Connection) -> Any:
        before = connection.owner
        try:
            if message[:1] == b"o":
                connection.send(b"own " + message)
                time.sleep(self.seconds(message))
            if message[:1] == b"i":
                return b"id %d" % connection.id
            return self.plain(message)
        finally:
            if before is None and connection.owner is not None:
                self.handed_over += 1

    def parts(self, message: bytes, seconds: float) -> Iterator[bytes]:
        for n in range(3):
            yield b"part %d " % n + message
            time.sleep(seconds / 3)

    def seconds(self, message: bytes) -> float:
        return FACTORS[message[1] % len(FACTORS)] * self.handoff_after if len(message) > 1 else 0.0

    def reply(self, message: bytes) -> bytes | list[bytes] | None:
        kind = message[:1]
        if kind == b"n":
            return None
        if kind == b"t":
            return [b"one " + message, b"two " + message]
        if kind == b"l":
            return message.ljust(LONG, b".")
        return b"re " + message

    def expected(self, message: bytes) -> list[bytes]:
        kind = message[:1]
        if kind == b"g":
            return [b"part %d " % n + message for n in range(3)]
        if kind == b"e":
            return []
        if kind == b"x":
            return [b"bye " + message]
        reply = self.reply(message)
        replies = [] if reply is None else reply if isinstance(reply, list) else [reply]
        return [b"own " + message, *replies] if kind == b"o" else replies


def broadcast(sender: int, number: int) -> bytes:
    size = (sender * 7919 + number * 104729) % 300 if number % 50 else 20_000
    return b"B%d %d " % (sender, number) + b"%d" % (number % 10) * size


class Storm:
    """A server that is talked to, broadcast from and left, and what was found wrong with it."""

    def __init__(
        self, server: threadwire.Server, work: Work, seed: int, plain: bool, session: int = SESSION
    ) -> None:
        self.server = server
        self.work = work
        self.seed = seed
        self.kinds = "qqqqqqqqqqqqqqqnttscgl" if plain else "qqqqqqqqqqqqqqnttsscgglooo"
        self.plain = plain
        self.session = session
        self.faults: list[str] = []
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self.checked = 0  # messages, under the lock
        self.sent: dict[tuple[int, int], int] = {}  # by sender and connection; the sender's
        self.heard: dict[int, dict[int, int]] = {}  # by connection, then sender; its client's

    def fault(self, text: str) -> None:
        with self._lock:
            if len(self.faults) < 5:
                self.faults.append(f"seed {self.seed}, {text}\n{where_all_stand(self.server)}")
        self.stop.set()

    def count(self, messages: int) -> None:
        with self._lock:
            self.checked += messages

    def broadcaster(self, sender: int) -> None:
        """Sends to whoever is there, up to the end."""
        chance = random.Random(f"{self.seed} {sender}")
        while not self.stop.is_set():
            connections = self.server.connections
            if not connections:
                time.sleep(0.001)
                continue
            connection = chance.choice(connections)
            number = self.sent.get((sender, connection.id), 0)
            for n in range(number, number + chance.randrange(1, 4)):
                try:
                    connection.send(broadcast(sender, n))
                except threadwire.ConnectionClosed:
                    break
                self.sent[sender, connection.id] = n + 1
            time.sleep(chance.choice((0, 0.0005, 0.002)))

    def talker(self, client: int, count: int) -> None:
        """Converses on one connection after the other, ``count`` messages in all."""
        session = 0
        while count > 0 and not self.stop.is_set():
            session += 1
            chance = random.Random(f"{self.seed} {client} {session}")
            size = min(count, chance.randrange(1, 2 * self.session))
            conversation = Conversation(self, chance, size, f"client {client} session {session}")
            try:
                conversation.run(chance.choice(self.server.addresses))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is to be told
                self.fault(f"{conversation.name}, after {conversation.got} replies: {error!r}")
                return
            self.count(size)
            count -= size

    def check_broadcasts(self) -> None:
        """Each that ``send`` has returned from has arrived, where the client stayed to the end."""
        for (sender, connection), number in self.sent.items():
            heard = self.heard.get(connection)
            if heard is not None and heard.get(sender, 0) < number:
                self.fault(f"sender {sender}: {heard.get(sender)} of {number} on {connection}")


class Conversation:
    """One connection: messages in bursts, cut anywhere, and replies that are all looked at."""

    def __init__(self, storm: Storm, chance: random.Random, size: int, name: str) -> None:
        self.storm = storm
        self.chance = chance
        self.name = name
        self.ending = chance.choices(("finish", "x", "e", "vanish", "reset"), (5, 2, 1, 1, 1))[0]
        self.messages = [self.make(n) for n in range(size)]
        if not storm.plain:
            self.messages[0] = b"i0"
        self.codec = storm.server.framing.codec()
        self.wanted: list[bytes] = []  # replies to what was sent
        self.got = 0
        self.senders: dict[int, int] = {}
        self.connection = 0  # its id, if it was told

    def make(self, number: int) -> bytes:
        kind = self.chance.choice(self.storm.kinds)
        digit = self.chance.randrange(10) if self.chance.random() < 0.5 else 0
        return b"%s%d %d " % (kind.encode(), digit, number) + b"." * int(
            self.chance.expovariate(1 / 40)
        )

    def run(self, address: threadwire.Address) -> None:
        chance = self.chance
        small = 4096 if chance.random() < 0.3 else None
        left = self.messages[::-1]
        with Peer(address, receive_buffer=small) as peer:
            while left:
                self.burst(peer, [left.pop() for _ in range(min(len(left), self.burst_size()))])
                if chance.random() < 0.05:
                    time.sleep(0.02)  # a client that reads nothing for a while
                behind = chance.choice((0, 0, 3, 20))
                while len(self.wanted) - self.got > behind:
                    if not self.hear(peer):
                        raise AssertionError(f"the stream ended, {self.missing()}")
            if self.ending == "reset":
                peer.reset()
            if self.ending in ("vanish", "reset"):
                return
            self.finish(peer)
            while self.hear(peer):
                pass
        if self.got != len(self.wanted):
            raise AssertionError(f"the stream ended, {self.missing()}")
        if self.codec.unread:
            raise AssertionError(f"the stream ended within a message, at {self.codec.unread} bytes")
        if self.connection:
            self.storm.heard[self.connection] = self.senders

    def finish(self, peer: Peer) -> None:
        if self.ending == "finish":
            peer.finish()
            return
        self.burst(peer, [self.ending.encode() + b"%d last" % self.chance.randrange(10)])
        if self.chance.random() < 0.5:  # what nobody will answer
            peer.say(self.codec.encode(b"q0 never"))

    def burst_size(self) -> int:
        return self.chance.choice((1, 1, 1, 2, 5, 30))

    def burst(self, peer: Peer, messages: list[bytes]) -> None:
        for message in messages:
            self.wanted += [b"id"] if message == b"i0" else self.storm.work.expected(message)
        data = b"".join(map(self.codec.encode, messages))
        for piece in pieces(self.chance, data):
            peer.say(piece)

    def fall_behind(self, peer: Peer) -> None:
        """More replies than the system holds for a unix socket, from the loop and pending there."""
        for messages in ([b"q0"], [b"q0"], [b"q0"], [b"l0"] * 6):
            while self.got < len(self.wanted) and self.hear(peer):
                pass
            self.burst(peer, messages)

    def missing(self) -> str:
        return f"{self.got} replies of {len(self.wanted)}, next {self.wanted[self.got :][:1]!r}"

    def hear(self, peer: Peer) -> bool:
        """Read once; whether there may be more."""
        data = peer.socket.recv(65536)
        self.codec.feed(data)
        while (message := self.codec.next_message()) is not None:
            if message.startswith(b"B"):
                self.hear_broadcast(message)
            elif self.got == len(self.wanted):
                raise AssertionError(f"one reply too many: {message[:100]!r}")
            elif self.wanted[self.got] == b"id" and message.startswith(b"id "):
                self.connection = int(message[3:])
                self.got += 1
            elif message != self.wanted[self.got]:
                raise AssertionError(f"got {message[:100]!r}, {self.missing()}")
            else:
                self.got += 1
        return bool(data)

    def hear_broadcast(self, message: bytes) -> None:
        sender, number = map(int, message[1:].split(b" ", 2)[:2])
        if message != broadcast(sender, number):
            raise AssertionError(f"not whole: {message[:100]!r}")
        if number != self.senders.get(sender, 0):
            raise AssertionError(f"sender {sender}: {number} after {self.senders.get(sender)}")
        self.senders[sender] = number + 1


def pieces(chance: random.Random, data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = chance.choice((1, 3, 50, 500, 500, 5000, 5000))
        yield data[at : at + size]
        at += size


def where_all_stand(server: threadwire.Server) -> str:
    """Everything that says where a hang hangs."""
    engine = server._engine
    watchdog = engine._watchdog
    lines = [f"watchdog: resting {watchdog and watchdog._resting}"]
    for each in engine._loops:
        busy = each.baton.busy_with()
        lines.append(
            f"loop: leader {each.baton.leader} busy with {busy and busy.id}, turn {each.turns}, "
            f"asleep {each._asleep}, {len(each._posted)} posted, lent {each._lender._lent}, "
            f"{len(each._lender._waiting)} wait for a thread"
        )
    flags = "here own thread interest parked pending quick closing draining released farewell"
    for connection in server.connections:
        values = {flag: getattr(connection, f"_{flag}", "?") for flag in flags.split()}
        values["pending"] = sum(map(len, connection._pending or ()))
        values["sending"] = connection._send_lock.locked()
        shown = " ".join(f"{flag}={value}" for flag, value in values.items())
        lines.append(f"{connection!r}: {shown}")
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        if names.get(ident, "").startswith("threadwire"):
            stack = traceback.extract_stack(frame)[-6:]
            steps = " > ".join(f"{os.path.basename(s.filename)}:{s.lineno}" for s in stack)
            lines.append(f"{names[ident]} ({ident}): {steps}")
    return "\n".join(lines)


class Weather(NamedTuple):
    """One way to run the storm; ``share`` of the messages are its."""

    share: float
    handoff_after: float = 0.001
    loops: int = 1
    framing: threadwire.Framing = threadwire.Lines()
    plain: bool = False  # a handler that takes the message alone, which goes the shortest way
    pure: bool = False  # the poller in Python
    switching: float | None = None
    most_threads: int | None = None
    session: int = SESSION
    hasty: bool = True  # clients go back to the loop at once, and nobody is suspected for long
    level: int = logging.INFO


WEATHERS = {
    "plain": Weather(0.08, plain=True),
    "often": Weather(0.07, 0.0005),
    "brief": Weather(0.05, session=5),
    "brief and plain": Weather(0.05, session=5, plain=True),
    "seldom": Weather(0.03, 0.002, framing=threadwire.LengthPrefixed()),
    "switching": Weather(0.04, switching=1e-5),
    "two loops": Weather(0.04, loops=2),
    "as it is": Weather(0.01, hasty=False),
    "three loops": Weather(0.05, 0.0005, loops=3, plain=True),
    "pure": Weather(0.03, pure=True),
    "few threads": Weather(0.03, most_threads=2),
    "a line a message": Weather(0.02, level=logging.DEBUG),
}


def make_hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there are many more hand-offs than one would ever want."""
    monkeypatch.setattr(lending, "_WARY_SECONDS", 0.0)
    monkeypatch.setattr(own_thread, "_QUICK_CALLS", 1)
    monkeypatch.setattr(own_thread, "_DOUBLINGS", 0)


@pytest.fixture
def weather(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, events: Events
) -> Iterator[Weather]:
    weather: Weather = request.param
    monkeypatch.setattr(threadwire.reception, "loop_count", lambda: weather.loops)
    if weather.pure:
        monkeypatch.setattr(loop, "Poller", portable.Poller)
    if weather.most_threads is not None:
        fewer = MAX_THREADS._replace(default=weather.most_threads)
        monkeypatch.setattr("threadwire.limits.MAX_THREADS", fewer)
    if weather.hasty:
        make_hasty(monkeypatch)
    logging.getLogger("threadwire").setLevel(weather.level)
    before = sys.getswitchinterval()
    if weather.switching is not None:
        sys.setswitchinterval(weather.switching)
    yield weather
    sys.setswitchinterval(before)


@pytest.mark.timeout(600 + MESSAGES / 500)
@pytest.mark.parametrize("weather", WEATHERS.values(), ids=WEATHERS, indirect=True)
def test_hand_offs_at_every_point(
    serving: Serving, events: Events, weather: Weather, tmp_path: Path
) -> None:
    seed = int(os.environ.get("THREADWIRE_STRESS_SEED", "0")) or time.time_ns() % 1_000_000
    work = Work(weather.handoff_after)
    server = serving(
        work.plain if weather.plain else work.full,
        "tcp://127.0.0.1:0",
        f"unix://{tmp_path}/socket",
        handoff_after=weather.handoff_after,
        framing=weather.framing,
    )
    batons = [each.baton for each in server._engine._loops]
    assert len(batons) == weather.loops
    storm = Storm(server, work, seed, weather.plain, weather.session)
    share = math.ceil(MESSAGES * weather.share / TALKERS)
    talkers = [threading.Thread(target=storm.talker, args=(n, share)) for n in range(TALKERS)]
    others = [threading.Thread(target=storm.broadcaster, args=(n,)) for n in range(3)]
    others += [
        threading.Thread(target=run_leaver, args=(server.address, seed + n, storm.stop))
        for n in range(2)
    ]
    for thread in talkers + others:
        thread.start()
    for thread in talkers:
        thread.join()
    storm.stop.set()
    for thread in others:
        thread.join(2 * PATIENCE)
    storm.check_broadcasts()
    assert not storm.faults, "\n\n".join(storm.faults)
    assert storm.checked == share * TALKERS
    left = f"seed {seed}: they are left:\n"
    eventually(lambda: not server.connections, left + where_all_stand(server))
    unforeseen = [f for f in events.named("handler-failed") if f["error"] != "Planned"]
    assert not unforeseen, f"seed {seed}: {unforeseen}"
    for before, each in zip(batons, server._engine._loops, strict=True):
        assert each.baton is not before, "no hand-off at all"
    # As it is, there need not be many, and not of handlers that can tell.
    assert weather.plain or not weather.hasty or work.handed_over > 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("loops", [1, 2])
def test_drains_between_hand_offs(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loops: int
) -> None:
    """What a client gets of its burst is the first so many replies, whole, with broadcasts between.

    A broadcast, too, is whole, though the drain comes while it is sent.
    """
    monkeypatch.setattr(threadwire.reception, "loop_count", lambda: loops)
    make_hasty(monkeypatch)
    for round_number in range(10):
        seed = time.time_ns() % 1_000_000
        work = Work(0.0005)
        server = serving(
            work.full,
            "tcp://127.0.0.1:0",
            f"unix://{tmp_path}/{round_number}",
            handoff_after=0.0005,
        )
        storm = Storm(server, work, seed, plain=False)
        under_way, closing = threading.Semaphore(0), threading.Event()
        clients = [
            threading.Thread(target=drained, args=(storm, n, under_way, closing))
            for n in range(TALKERS)
        ]
        senders = [threading.Thread(target=storm.broadcaster, args=(n,)) for n in range(3)]
        for thread in clients + senders:
            thread.start()
        for _ in clients:
            assert under_way.acquire(timeout=PATIENCE), "\n".join(storm.faults)
        closer = threading.Thread(target=server.close, args=(PATIENCE,))
        closer.start()
        eventually(functools.partial(all_drain, server))
        closing.set()
        closer.join()
        report = server.close()
        storm.stop.set()
        for thread in clients + senders:
            thread.join(2 * PATIENCE)
        assert not storm.faults, "\n\n".join(storm.faults)
        assert report.cut == (), f"seed {seed}, round {round_number}"
        assert report.threads_left == ()


def all_drain(server: threadwire.Server) -> bool:
    return all(connection.draining for connection in server.connections)


def drained(
    storm: Storm, client: int, under_way: threading.Semaphore, closing: threading.Event
) -> None:
    """Talks without an end, until the server ends it; every third reads nothing when that begins.

    So its replies are waiting, and those who broadcast to it, too.
    """
    chance = random.Random(f"{storm.seed} {client}")
    conversation = Conversation(storm, chance, 10_000, f"client {client}")
    left = conversation.messages[::-1]
    bursts = 0
    try:
        with Peer(storm.server.addresses[client % 3 == 0]) as peer:
            while True:
                with contextlib.suppress(OSError):  # it has ended; what it said is still to be read
                    conversation.burst(peer, [left.pop() for _ in range(conversation.burst_size())])
                bursts += 1
                if bursts == 8:
                    if client % 3 == 0:
                        conversation.fall_behind(peer)
                    under_way.release()
                    if client % 3 == 0:
                        closing.wait(PATIENCE)
                while conversation.got + 40 < len(conversation.wanted):
                    if not conversation.hear(peer):
                        break
                else:
                    continue
                break
            if conversation.codec.unread:
                raise AssertionError(f"it ended within a message: {conversation.missing()}")
    except ConnectionResetError:
        pass  # what it has said last crossed the server's goodbye
    except Exception as error:  # noqa: BLE001 - whatever it is, it is to be told
        storm.fault(f"client {client}: {error!r}")
    finally:
        if bursts < 8:
            under_way.release()
