"""Pool: places and connections, what is tried again and what never is, busy servers."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

import threadwire
from threadwire import CloseReason, Lines
from threadwire.client import Client
from threadwire.pool import Pool
from threadwire.retry import Retry
from threadwire.transport import dial

from .conftest import Serving
from .support import PATIENCE, eventually, read_to_the_end, reverse, signal_here, wait_for

Script: TypeAlias = Callable[[socket.socket], None]

QUICK = Retry(first_backoff=0.001, max_backoff=0.01)


class Scripted:
    """A plain-socket server: the n-th connection has the n-th script, the rest have the last.

    ``heard`` are the lines that came, ``accepted`` counts the connections; both are written by
    the one thread that serves, a connection at a time.
    """

    def __init__(self, *scripts: Script, listen: bool = True) -> None:
        self.scripts = scripts
        self.heard: list[bytes] = []
        self.accepted = 0
        self.listening = socket.socket()
        self.listening.bind(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self.listening.getsockname()[1]}"
        self.closed = threading.Semaphore(0)  # released for each connection that was closed
        self._thread = threading.Thread(target=self._serve)
        if listen:
            self.listen()

    def listen(self) -> None:
        self.listening.listen()
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connected, _ = self.listening.accept()
            except OSError:
                return
            connected.settimeout(PATIENCE)
            with connected:
                script = self.scripts[min(self.accepted, len(self.scripts) - 1)]
                self.accepted += 1
                with contextlib.suppress(ConnectionError):
                    script(connected)
            self.closed.release()

    def hear(self, connected: socket.socket) -> bytes:
        """A line, without its newline; nothing at the end."""
        line = b""
        while not line.endswith(b"\n") and (data := connected.recv(1)):
            line += data
        if line:
            self.heard.append(line[:-1])
        return line[:-1]

    def answer(self, connected: socket.socket) -> None:
        while line := self.hear(connected):
            connected.sendall(line[::-1] + b"\n")

    def answer_once(self, connected: socket.socket) -> None:
        connected.sendall(self.hear(connected)[::-1] + b"\n")

    def hear_and_go(self, connected: socket.socket) -> None:
        self.hear(connected)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        if self._thread.ident is not None:
            self._thread.join(PATIENCE)


Scripts: TypeAlias = Callable[..., Scripted]


@pytest.fixture
def scripted() -> Iterator[Scripts]:
    """Start a :class:`Scripted` server; scripts are functions, or names of its methods."""
    servers: list[Scripted] = []

    def start(*scripts: Script | str, listen: bool = True) -> Scripted:
        server = Scripted(listen=False)
        server.scripts = tuple(getattr(server, s) if isinstance(s, str) else s for s in scripts)
        servers.append(server)
        if listen:
            server.listen()
        return server

    yield start
    for server in servers:
        server.close()


def go_at_once(_connected: socket.socket) -> None:
    """A server that closes what it has accepted."""


def refuse(connected: socket.socket) -> None:
    """As a server does that has too many clients: it says so, and reads nothing."""
    connected.sendall(b"busy\n")
    connected.shutdown(socket.SHUT_WR)
    read_to_the_end(connected)


def reset(connected: socket.socket) -> None:
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def make_pool(
    address: threadwire.Address | str,
    size: int = 1,
    *,
    timeout: float = PATIENCE,
    idle_seconds: float = 60,
    retry: Retry | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] | None = None,
) -> Pool:
    """A pool whose time is the test's; it has not connected yet."""
    target = threadwire.parse_address(address)
    return Pool(
        lambda seconds: Client(dial(target, seconds), Lines(), timeout, 1 << 20, b"busy"),
        target,
        size,
        timeout,
        idle_seconds,
        retry or Retry(attempts=1),
        clock=clock,
        sleep=sleep,
        uniform=max,
    )


class Gate:
    """A handler that waits to be let through; ``order`` is what it was asked, in turn."""

    def __init__(self) -> None:
        self.order: list[bytes] = []
        self.through = threading.Semaphore(0)

    def __call__(self, message: bytes) -> bytes:
        self.order.append(message)
        assert self.through.acquire(timeout=PATIENCE)
        return message


class Call(threading.Thread):
    """A call in a thread of its own, and what it raised."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__()
        self.call = call
        self.result: object = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.call()
        except BaseException as error:  # noqa: BLE001 - it is looked at
            self.result = error

    def get(self) -> object:
        self.join(PATIENCE)
        assert not self.is_alive()
        return self.result


def idle(pool: Pool) -> bool:
    """Whether all places have been given back."""
    return not pool._used and not pool._waiters and not pool._lent


# Requests, places and connections.


def test_requests_share_a_connection(serving: Serving) -> None:
    ids: list[int] = []

    def note(message: bytes, connection: threadwire.Connection) -> bytes:
        ids.append(connection.id)
        return message[::-1]

    server = serving(note)
    with threadwire.connect(server.address, pool=4) as pool:
        assert isinstance(pool, Pool)
        assert pool.request(b"hello") == b"olleh"
        assert pool.request(bytearray(b"ab"), repeatable=True) == b"ba"
        assert len(set(ids)) == 1
        assert (pool.address, pool.size, pool.closed) == (server.address, 4, False)
        assert repr(pool) == f"<Pool of 4 to {server.address}: 0 in use, 1 idle>"
    assert pool.closed
    assert repr(pool) == f"<Pool of 4 to {server.address}: closed>"


def test_many_threads_each_get_their_own_replies_over_no_more_connections(
    serving: Serving,
) -> None:
    ids: set[int] = set()
    four = threading.Event()

    def answer(message: bytes, connection: threadwire.Connection) -> bytes:
        ids.add(connection.id)
        if len(ids) >= 4:
            four.set()
        wait_for(four)
        return message[::-1]

    server = serving(answer)
    with threadwire.connect(server.address, pool=4, timeout=PATIENCE) as pool:

        def ask(n: int) -> bool:
            messages = [b"%d:%d" % (n, i) for i in range(10)]
            return all(pool.request(message) == message[::-1] for message in messages)

        calls = [Call(lambda n=n: ask(n)) for n in range(32)]  # type: ignore[misc]
        assert [call.get() for call in calls] == [True] * 32
        assert len(server.connections) == 4
        assert idle(pool)
    assert len(ids) == 4


def test_the_connection_used_last_is_used_next(serving: Serving) -> None:
    gate = Gate()
    server = serving(gate)
    with threadwire.connect(server.address, pool=2) as pool:
        first = Call(lambda: pool.request(b"first"))
        eventually(lambda: gate.order == [b"first"])
        second = Call(lambda: pool.request(b"second"))
        eventually(lambda: gate.order == [b"first", b"second"])
        gate.through.release(2)
        assert [first.get(), second.get()] == [b"first", b"second"]
        latest = pool._idle[-1][1]
        gate.through.release(3)
        for _ in range(3):
            pool.request(b"x")
            assert [client for _, client in pool._idle][-1] is latest


def test_connections_that_nobody_uses_are_closed(serving: Serving) -> None:
    gate = Gate()
    server = serving(gate)
    now = 0.0
    with make_pool(server.address, 2, idle_seconds=60, clock=lambda: now) as pool:
        calls = [Call(lambda: pool.request(b"x")) for _ in range(2)]
        eventually(lambda: len(gate.order) == 2)
        gate.through.release(2)
        assert [call.get() for call in calls] == [b"x", b"x"]
        assert len(pool._idle) == 2
        gate.through.release(10)
        now = 59.0
        pool.request(b"x")
        assert len(pool._idle) == 2
        now = 60.0
        pool.request(b"x")
        assert len(pool._idle) == 1, "the other was used at 59"
        now = 119.5
        pool.request(b"x")
        eventually(lambda: len(server.connections) == 1)
        now = 179.5
        pool.request(b"x")
        assert len(pool._idle) == 1
        eventually(lambda: [c.id for c in server.connections] == [3], "a new one")


def test_a_pool_may_keep_connections_for_ever(serving: Serving) -> None:
    with threadwire.connect(serving(reverse).address, pool=1, pool_idle=None) as pool:
        before = pool._idle[0]
        pool._idle[0] = (-1e9, before[1])
        pool.request(b"x")
        assert pool._idle[0][1] is before[1]


def test_the_wait_for_a_connection_is_part_of_the_timeout(serving: Serving) -> None:
    gate = Gate()
    with threadwire.connect(serving(gate).address, pool=1) as pool:
        first = Call(lambda: pool.request(b"first"))
        eventually(lambda: gate.order)
        with pytest.raises(threadwire.TimeLimitError, match=r"no free connection within 0\.05 s"):
            pool.request(b"second", timeout=0.05)
        gate.through.release(2)
        assert first.get() == b"first"
        assert pool.request(b"third", timeout=float("inf")) == b"third"
        assert gate.order == [b"first", b"third"]
        assert idle(pool)


def test_an_interrupted_wait_leaves_nothing_behind(serving: Serving) -> None:
    gate = Gate()
    with threadwire.connect(serving(gate).address, pool=1) as pool:
        first = Call(lambda: pool.request(b"first"))
        eventually(lambda: gate.order)
        interrupt = signal_here(signal.SIGINT, lambda: pool._waiters)
        with pytest.raises(KeyboardInterrupt):
            pool.request(b"second")
        interrupt.join()
        gate.through.release(2)
        assert first.get() == b"first"
        assert pool.request(b"third") == b"third"
        assert idle(pool)


def test_who_waits_longest_is_served_next(serving: Serving) -> None:
    gate = Gate()
    with threadwire.connect(serving(gate).address, pool=1) as pool:
        calls = []
        for n in range(6):
            calls.append(Call(lambda n=n: pool.request(b"%d" % n)))  # type: ignore[misc]
            eventually(lambda n=n: len(gate.order) + len(pool._waiters) == n + 1)  # type: ignore[misc]
        gate.through.release(6)
        assert [call.get() for call in calls] == [b"%d" % n for n in range(6)]
        assert gate.order == [b"%d" % n for n in range(6)]


def test_a_message_that_cannot_be_sent_costs_no_connection(scripted: Scripts) -> None:
    server = scripted("answer")
    with threadwire.connect(server.url, retry=QUICK) as pool:
        with pytest.raises(threadwire.UnencodableMessage):
            pool.request(b"two\nlines", repeatable=True)
        with pytest.raises(threadwire.UsageError, match="encode"):
            pool.request("text")  # type: ignore[arg-type]
        with pytest.raises(threadwire.UsageError, match="timeout"):
            pool.request(b"x", timeout=-1)
        assert pool.request(b"abc") == b"cba"
    assert server.accepted == 1


def test_unix_sockets(serving: Serving, tmp_path: Path) -> None:
    server = serving(reverse, f"unix://{tmp_path}/s")
    with threadwire.connect(server.address, pool=2, retry=Retry()) as pool:
        assert pool.request(b"hello") == b"olleh"
        assert repr(pool) == f"<Pool of 2 to unix://{tmp_path}/s: 0 in use, 1 idle>"


# A connection is looked at before it is used again.


@pytest.mark.parametrize("rudely", [False, True])
def test_a_message_goes_over_a_new_connection_where_the_old_one_is_closed(
    scripted: Scripts, rudely: bool
) -> None:
    """Nothing was sent on the old one, so that is right for every message, without retries."""

    def answer_and_go(connected: socket.socket) -> None:
        server.answer_once(connected)
        if rudely:
            reset(connected)

    server = scripted(answer_and_go)
    with threadwire.connect(server.url, pool=3) as pool:
        for n in range(5):
            assert pool.request(b"m%d" % n) == b"%dm" % n
            assert server.closed.acquire(timeout=PATIENCE)
    assert server.accepted == 5
    assert server.heard == [b"m%d" % n for n in range(5)], "each once"


@pytest.mark.parametrize("stale", [b"stale\n", b"sta"])
@pytest.mark.parametrize("together", [True, False])
def test_what_was_not_asked_for_is_nobodys_reply(
    scripted: Scripts, stale: bytes, together: bool
) -> None:
    said = threading.Event()

    def say_more(connected: socket.socket) -> None:
        line = server.hear(connected)
        if together:
            connected.sendall(line[::-1] + b"\n" + stale)
        else:
            connected.sendall(line[::-1] + b"\n")
            connected.sendall(stale)
        said.set()
        read_to_the_end(connected)

    server = scripted(say_more, "answer")
    with threadwire.connect(server.url, pool=1) as pool:
        assert pool.request(b"abc") == b"cba"
        wait_for(said)
        assert pool.request(b"def") == b"fed"
    assert server.accepted == 2


def test_all_dead_connections_are_passed_over(serving: Serving) -> None:
    gate = Gate()
    server = serving(gate)
    with threadwire.connect(server.address, pool=3) as pool:
        calls = [Call(lambda: pool.request(b"x")) for _ in range(3)]
        eventually(lambda: len(gate.order) == 3)
        gate.through.release(3)
        assert [call.get() for call in calls] == [b"x"] * 3
        alive = pool._idle[0][1]
        for connection in server.connections:
            if connection.peer != alive.local:
                connection.close()
        eventually(lambda: len(server.connections) == 1)
        gate.through.release()
        assert pool.request(b"y") == b"y"
        assert [client for _, client in pool._idle] == [alive]
        assert idle(pool)


# What is tried again.


def test_a_server_that_comes_late_is_waited_for(scripted: Scripts) -> None:
    server = scripted("answer", listen=False)
    opener = threading.Timer(0.05, server.listen)
    opener.start()
    retry = Retry(100, first_backoff=0.01, max_backoff=2)
    with threadwire.connect(server.url, retry=retry, timeout=PATIENCE) as pool:
        assert pool.request(b"abc") == b"cba"
    opener.join()


def test_connecting_is_tried_again_for_every_message(scripted: Scripts) -> None:
    """Since nothing is sent before."""
    server = scripted("answer", listen=False)
    waits = iter([None, None, server.listen])

    def sleep(_seconds: float) -> None:
        if (act := next(waits)) is not None:
            act()

    with make_pool(server.url, retry=Retry(), sleep=sleep) as pool:
        assert pool.request(b"abc") == b"cba"
        assert next(waits, "none") == "none"


def test_without_retry_nothing_is_tried_again(scripted: Scripts) -> None:
    nobody = scripted("answer", listen=False)
    with pytest.raises(threadwire.ConnectError, match="refused") as caught:
        threadwire.connect(nobody.url, pool=2)
    assert not hasattr(caught.value, "__notes__")
    server = scripted("hear_and_go", "answer")
    with threadwire.connect(server.url, pool=2) as pool:
        with pytest.raises(threadwire.ConnectionClosed):
            pool.request(b"abc", repeatable=True)
        assert pool.request(b"def") == b"fed"
    assert server.heard == [b"abc", b"def"]


def test_what_can_never_be_connected_to_is_told_at_once() -> None:
    for options in ({}, {"retry": Retry()}, {"pool": 2}):
        with pytest.raises(threadwire.ConnectError, match="not connected to") as caught:
            threadwire.connect("fd://3", **options)
        assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("leave", [go_at_once, "hear_and_go", reset])
def test_a_repeatable_message_is_sent_until_it_is_answered(
    scripted: Scripts, leave: Script | str
) -> None:
    server = scripted(leave, leave, leave, "answer")
    with threadwire.connect(server.url, retry=QUICK) as pool:
        assert pool.request(b"abc", repeatable=True) == b"cba"
        assert server.accepted == 4
        assert pool.request(b"def") == b"fed"
    assert server.accepted == 4
    assert set(server.heard) == {b"abc", b"def"}


def test_another_message_is_sent_once(scripted: Scripts) -> None:
    server = scripted("hear_and_go", "answer")
    with threadwire.connect(server.url, retry=QUICK) as pool:
        with pytest.raises(threadwire.ConnectionClosed) as caught:
            pool.request(b"abc")
        assert caught.value.reason is CloseReason.PEER_CLOSED
        assert pool.request(b"def") == b"fed"
    assert server.heard == [b"abc", b"def"]


def test_bytes_that_break_the_framing_are_not_asked_for_again(scripted: Scripts) -> None:
    def half(connected: socket.socket) -> None:
        server.hear(connected)
        connected.sendall(b"half an ans")

    server = scripted(half, "answer")
    with threadwire.connect(server.url, retry=QUICK) as pool:
        with pytest.raises(threadwire.TruncatedMessage):
            pool.request(b"abc", repeatable=True)
        assert pool.request(b"def") == b"fed"
    assert server.heard == [b"abc", b"def"]


def test_attempts_have_an_end(scripted: Scripts) -> None:
    server = scripted("hear_and_go")
    retry = Retry(3, first_backoff=0.001, max_backoff=0.01)
    with threadwire.connect(server.url, retry=retry) as pool:
        with pytest.raises(threadwire.ConnectionClosed) as caught:
            pool.request(b"abc", repeatable=True)
    assert caught.value.__notes__ == ["given up after 3 attempts"]
    assert server.heard == [b"abc"] * 3


def test_the_budget_is_for_the_whole_pool(scripted: Scripts) -> None:
    server = scripted("hear_and_go")
    retry = Retry(3, first_backoff=0.001, max_backoff=0.01, budget=0, reserve=3)
    with threadwire.connect(server.url, retry=retry) as pool:
        for n in range(3):
            with pytest.raises(threadwire.ConnectionClosed) as caught:
                pool.request(b"%d" % n, repeatable=True)
    assert server.heard == [b"0"] * 3 + [b"1"] * 2 + [b"2"]
    assert caught.value.__notes__ == ["given up after attempt 1: the retry budget is used up"]


def test_the_deadline_is_for_all_attempts_and_names_what_failed_before(scripted: Scripts) -> None:
    done = threading.Event()
    server = scripted("hear_and_go", lambda _connected: wait_for(done))
    with threadwire.connect(server.url, retry=QUICK, timeout=0.5) as pool:
        with pytest.raises(threadwire.TimeLimitError, match=r"no reply within 0\.5 s") as caught:
            pool.request(b"abc", repeatable=True)
        assert isinstance(caught.value.__cause__, threadwire.ConnectionClosed)
        assert server.accepted == 2, "what met the deadline is not tried again"
        done.set()
        assert idle(pool)


def test_backoffs_count_for_the_deadline(scripted: Scripts) -> None:
    """By a clock that only sleeping moves: after 1, 2 and 4 s there are not 8 left of 10."""
    server = scripted("hear_and_go")
    now, slept = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    retry = Retry(100, first_backoff=1, max_backoff=60)
    with make_pool(server.url, retry=retry, timeout=10, clock=lambda: now, sleep=sleep) as pool:
        with pytest.raises(threadwire.ConnectionClosed) as caught:
            pool.request(b"abc", repeatable=True)
        assert slept == [1, 2, 4]
        assert caught.value.__notes__ == ["given up after attempt 4: no time is left for another"]
        with pytest.raises(threadwire.ConnectionClosed):
            pool.request(b"abc", timeout=1, repeatable=True)
        assert slept == [1, 2, 4]


def test_what_is_left_of_the_time_is_for_the_attempt(scripted: Scripts) -> None:
    """An attempt that begins after the deadline sends nothing."""
    server = scripted("answer")
    now = 0.0
    with make_pool(server.url, timeout=10, clock=lambda: now) as pool:
        make = pool._make

        def make_slowly(seconds: float | None) -> Client:
            nonlocal now
            assert seconds == 10
            now += 11
            return make(seconds)

        pool._make = make_slowly
        with pytest.raises(threadwire.TimeLimitError, match="no reply within 10 s"):
            pool.request(b"abc")
        assert pool.request(b"def") == b"fed"
    assert server.heard == [b"def"]


def test_a_server_may_be_started_anew_under_its_clients(serving: Serving) -> None:
    """Eight threads, repeatable requests, three restarts on the same port, and not one error."""
    server = serving(reverse)
    url = str(server.address)
    stop = threading.Event()
    asked = [0] * 8
    with threadwire.connect(url, pool=4, retry=Retry(), timeout=PATIENCE) as pool:

        def ask(n: int) -> None:
            while not stop.is_set():
                message = b"%d:%d" % (n, asked[n])
                assert pool.request(message, repeatable=True) == message[::-1]
                asked[n] += 1

        calls = [Call(lambda n=n: ask(n)) for n in range(8)]  # type: ignore[misc]
        try:
            for _ in range(3):
                before = list(asked)
                eventually(lambda b=before: all(map(int.__gt__, asked, b)))  # type: ignore[misc]
                server.close()
                server = serving(reverse, url)
            before = list(asked)
            eventually(lambda: all(map(int.__gt__, asked, before)))
        finally:
            stop.set()
        assert [call.get() for call in calls] == [None] * 8
        assert idle(pool)


# A server that is busy.


def test_a_busy_server_is_tried_again(scripted: Scripts) -> None:
    server = scripted(refuse, refuse, refuse, "answer")
    with threadwire.connect(server.url, retry=QUICK, busy_reply=b"busy") as pool:
        assert pool.request(b"abc", repeatable=True) == b"cba"
    assert server.accepted == 4
    assert server.heard == [b"abc"], "who refuses has not read anything"


def test_a_server_that_stays_busy_says_so(scripted: Scripts) -> None:
    server = scripted(refuse)
    with threadwire.connect(server.url, retry=QUICK, busy_reply=b"busy") as pool:
        with pytest.raises(threadwire.ServerBusy) as caught:
            pool.request(b"abc")
        assert server.accepted <= 2, "a message that is not repeatable is not sent again"
        with pytest.raises(threadwire.ServerBusy) as caught:
            pool.request(b"abc", repeatable=True)
        assert caught.value.reply == b"busy"
        assert caught.value.__notes__ == ["given up after 10 attempts"]
        assert isinstance(caught.value.__cause__, threadwire.ServerBusy | OSError)


def test_busy_is_a_word_that_both_sides_know(serving: Serving) -> None:
    server = serving(reverse, max_clients=1, overload="refuse", busy_reply=b"busy")
    with threadwire.connect(server.address) as first:
        assert first.request(b"abc") == b"cba"
        with threadwire.connect(server.address, pool=1, busy_reply=b"busy") as pool:
            with pytest.raises(threadwire.ServerBusy):
                pool.request(b"abc")
        leave = threading.Timer(0.05, first.close)
        leave.start()
        retry = Retry(100, first_backoff=0.01)
        with threadwire.connect(server.address, retry=retry, busy_reply=b"busy") as pool:
            assert pool.request(b"abc", repeatable=True) == b"cba"
        leave.join()


# A client for more than requests.


def test_a_client_for_a_conversation_has_a_connection_of_its_own(serving: Serving) -> None:
    server = serving(reverse)
    with threadwire.connect(server.address, pool=2) as pool:
        shared = pool._idle[0][1]
        with pool.client() as client:
            assert client is not shared
            client.send(b"ab")
            client.send(b"cd")
            assert client.receive() == b"ba"
            assert pool.request(b"ef") == b"fe"
            assert repr(pool).endswith(": 1 in use, 1 idle>")
        assert client.closed, "the reply to b'cd' may still come"
        assert pool.request(b"gh") == b"hg"
        with pool.client() as client:
            assert list(client.pipeline([b"ab", b"cd"])) == [b"ba", b"dc"]
        assert [other for _, other in pool._idle] == [shared]
        assert idle(pool)


def test_a_client_for_a_conversation_is_one_of_the_pools_connections(serving: Serving) -> None:
    server = serving(reverse)
    with threadwire.connect(server.address, pool=1) as pool:
        with pool.client() as client:
            assert client.request(b"ab") == b"ba"
            eventually(lambda: len(server.connections) == 1, "the idle one made room")
            with pytest.raises(threadwire.TimeLimitError, match="free connection"):
                pool.request(b"ab", timeout=0.01)
            with pytest.raises(threadwire.TimeLimitError, match="free connection"):
                with pool.client(timeout=0.01):
                    pass
            waiting = Call(lambda: pool.request(b"cd"))
            eventually(lambda: pool._waiters)
        assert waiting.get() == b"dc"
        assert idle(pool)


def test_connecting_a_client_for_a_conversation_is_tried_again(scripted: Scripts) -> None:
    server = scripted("answer", listen=False)
    with make_pool(server.url, retry=Retry(), sleep=lambda _: server.listen()) as pool:
        with pool.client() as client:
            client.send(b"ab")
            assert client.receive() == b"ba"


def converse(pool: Pool) -> Generator[bytes, None, None]:
    with pool.client() as client:
        while True:
            yield client.request(b"ab")


@pytest.mark.parametrize("when", ["before waiting", "waiting", "interrupted"])
def test_a_place_may_be_given_back_in_the_midst_of_taking_one(serving: Serving, when: str) -> None:
    """As when the collector ends a generator that has a client; here, when asked for the time."""
    server = serving(reverse)
    conversation: list[Generator[bytes, None, None]] = []

    def now() -> float:
        lock_held = pool._lock._is_owned()  # type: ignore[attr-defined]
        waiting = bool(pool._waiters) and not lock_held
        if conversation and (waiting or (when == "before waiting" and lock_held)):
            conversation.pop().close()
            if when == "interrupted":
                raise KeyboardInterrupt
        return 0.0

    with make_pool(server.address, 1, clock=now) as pool:
        generator = converse(pool)
        assert next(generator) == b"ba"
        conversation.append(generator)
        if when == "interrupted":
            with pytest.raises(KeyboardInterrupt):
                pool.request(b"cd")
        assert pool.request(b"ef") == b"fe"
        assert not conversation
        assert idle(pool)


def test_a_place_may_be_given_back_while_places_are_counted(serving: Serving) -> None:
    """As above, at the worst moment: when it has been found that there is none."""
    conversation: list[Generator[bytes, None, None]] = []

    class Counted(deque[tuple[float, Client]]):
        def __len__(self) -> int:
            if conversation and pool._serving:
                conversation.pop().close()
            return super().__len__()

        def __bool__(self) -> bool:
            return super().__len__() > 0

    with make_pool(serving(reverse).address) as pool:
        conversation.append(converse(pool))
        assert next(conversation[0]) == b"ba"
        pool._idle = Counted()
        assert pool.request(b"cd", timeout=1) == b"dc"
        assert not conversation
        assert idle(pool)


# Closing.


def test_close_wakes_all_who_wait(serving: Serving) -> None:
    gate = Gate()
    server = serving(gate)
    pool = threadwire.connect(server.address, pool=1, retry=Retry(), timeout=None)
    calls = [Call(lambda: pool.request(b"x", repeatable=True)) for _ in range(3)]
    eventually(lambda: gate.order and len(pool._waiters) == 2)
    pool.close()
    pool.close()
    for call in calls:
        error = call.get()
        assert isinstance(error, threadwire.ConnectionClosed)
        assert error.reason is CloseReason.HANDLER_CLOSED
        assert not hasattr(error, "__notes__"), "it was not tried again"
    gate.through.release()
    with pytest.raises(threadwire.ConnectionClosed):
        pool.request(b"x")
    with pytest.raises(threadwire.ConnectionClosed):
        with pool.client():
            pass
    assert idle(pool)


def test_close_ends_a_backoff(scripted: Scripts) -> None:
    server = scripted("hear_and_go")
    pool = threadwire.connect(
        server.url, retry=Retry(first_backoff=1e9, max_backoff=1e9), timeout=None
    )
    call = Call(lambda: pool.request(b"abc", repeatable=True))
    eventually(lambda: server.heard and idle(pool))
    pool.close()
    assert isinstance(call.get(), threadwire.ConnectionClosed)
    assert server.heard == [b"abc"]


def test_a_connection_that_was_being_made_is_closed(serving: Serving) -> None:
    server = serving(reverse)
    pool = make_pool(server.address, retry=Retry())
    make = pool._make

    def make_while_closing(seconds: float | None) -> Client:
        client = make(seconds)
        pool.close()
        return client

    pool._make = make_while_closing
    with pytest.raises(threadwire.ConnectionClosed):
        pool.request(b"x", repeatable=True)
    assert idle(pool)
    eventually(lambda: not server.connections)


# Everything at once.


def test_no_place_is_lost_whatever_happens(serving: Serving) -> None:
    """Threads ask, converse, give up and misuse, while the server drops connections."""

    def fickle(message: bytes) -> bytes:
        if message.endswith(b"7"):
            raise threadwire.Close
        return message[::-1]

    server = serving(fickle)
    wrong: list[object] = []
    retry = Retry(2, first_backoff=0.001, max_backoff=0.002, budget=100)
    with threadwire.connect(server.address, pool=3, retry=retry, timeout=PATIENCE) as pool:

        def ask(n: int) -> None:
            chance = random.Random(n)
            for i in range(60):
                message = b"%d:%d" % (n, i)
                try:
                    match chance.randrange(5):
                        case 0:
                            with pool.client() as client:
                                client.send(message)
                        case 1:
                            pool.request(message, timeout=chance.choice([0, 0.0005, 0.002]))
                        case 2:
                            pool.request(message + b"\n")
                        case _:
                            reply = pool.request(message, repeatable=bool(i % 2))
                            if reply != message[::-1]:
                                wrong.append(reply)
                except threadwire.ConnectionClosed as error:
                    if not message.endswith(b"7"):
                        wrong.append(error)
                except (threadwire.TimeLimitError, threadwire.UnencodableMessage):
                    pass
                if len(pool._idle) + pool._used > 3:
                    wrong.append("too many")

        calls = [Call(lambda n=n: ask(n)) for n in range(12)]  # type: ignore[misc]
        assert [call.get() for call in calls] == [None] * 12
        assert wrong == []
        assert idle(pool)
        eventually(lambda: len(server.connections) == len(pool._idle))


# Arguments and types.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pool": 0}, "pool must be at least 1"),
        ({"pool": 2.5}, "pool must be a whole number"),
        ({"pool": 2, "pool_idle": 0}, "pool_idle must be at least"),
        ({"pool_idle": 5}, "pool_idle is for a pool"),
        ({"retry": True}, r"retry must be a Retry, as in Retry\(\), not True"),
        ({"retry": 3, "pool": 2}, "retry must be a Retry"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(threadwire.UsageError, match=said):
        threadwire.connect("tcp://127.0.0.1:1", **options)  # type: ignore[call-overload]


def what_connect_returns_depends_on_its_arguments(url: str) -> None:
    """For type checkers alone."""
    client: Client = threadwire.connect(url, busy_reply=b"busy")
    pool: Pool = threadwire.connect(url, pool=2)
    pool = threadwire.connect(url, retry=Retry(), timeout=None)
    pool = threadwire.connect(url, retry=Retry(), pool=2, pool_idle=None)
    client = threadwire.connect(url, pool_idle=5)  # type: ignore[call-overload]
    client.close()
    pool.close()
