"""The batching poller: one behaviour, of the twin in C and of the one in Python.

``THREADWIRE_SPEEDUPS`` may name another build of the C twin, as ``make sanitize`` does.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import importlib
import inspect
import os
import pathlib
import resource
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadwire.transport import poller as chosen
from threadwire.transport import portable
from threadwire.transport.poller import ACCEPT, END, READ, READY, WRITE

from ..support import PATIENCE, eventually, signal_here, wait_for
from .speedups import SPEEDUPS

MEBI = 1 << 20


class Polling(Protocol):
    """What both twins are, to a type checker as well."""

    def add(self, sock: socket.socket, key: object, interest: int, /) -> None: ...
    def modify(self, fd: int, interest: int, /) -> None: ...
    def remove(self, fd: int, /) -> None: ...
    def wait(
        self, timeout: float | None, /
    ) -> tuple[list[tuple[Any, bytes]], list[tuple[Any, int]]]: ...
    def write(self, pairs: list[tuple[int, bytes | memoryview]], /) -> list[int] | None: ...
    def wake(self) -> None: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class SendNow(Protocol):
    def __call__(self, sock: socket.socket, fd: int, data: bytes | memoryview, /) -> int: ...


class AcceptNow(Protocol):
    def __call__(self, sock: socket.socket, fd: int, /) -> tuple[int, Any] | None: ...


class Twin(NamedTuple):
    new: Callable[..., Polling]
    send_now: SendNow
    accept_now: AcceptNow


ON_SELECTORS = functools.partial(portable.Poller, readiness=portable.Selector)
PURE = {
    name: Twin(new, portable.send_now, portable.accept_now)
    for name, new in (("python", portable.Poller), ("selectors", ON_SELECTORS))
}
C = {}
if SPEEDUPS is not None:
    letting_go = functools.partial(SPEEDUPS.Poller, hold=False)
    C = {
        name: Twin(new, SPEEDUPS.send_now, SPEEDUPS.accept_now)
        for name, new in (("c", SPEEDUPS.Poller), ("c-letting-go", letting_go))
    }

# The types agree: what was chosen for the library's own use, and its twin.
both: list[Callable[[], Polling]] = [chosen.Poller, portable.Poller]
both_send: list[SendNow] = [chosen.send_now, portable.send_now]
both_accept: list[AcceptNow] = [chosen.accept_now, portable.accept_now]


@pytest.fixture(params=["c", "c-letting-go", *PURE], scope="module")
def twin(request: pytest.FixtureRequest) -> Twin:
    found = {**C, **PURE}.get(request.param)
    if found is None:
        pytest.skip("the C twin was not built")
    return found


only_twins = functools.partial(pytest.mark.parametrize, "twin", indirect=True, scope="module")
only_c = only_twins(["c", "c-letting-go"])
# The standard library's selectors can do nothing about what epoll goes on reporting.
only_on_epoll = only_twins(["c", "c-letting-go", "python"])


@pytest.fixture
def new(twin: Twin) -> Iterator[Callable[..., Polling]]:
    made: list[Polling] = []

    def start(*arguments: Any, **options: Any) -> Polling:
        made.append(twin.new(*arguments, **options))
        return made[-1]

    yield start
    for poller in made:
        poller.close()


@pytest.fixture
def poller(new: Callable[..., Polling]) -> Polling:
    return new()


class Sockets:
    """Pairs of connected sockets, ours and theirs; all are closed at the end."""

    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()

    def pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        return self._keep(ours, theirs)

    def tcp(self) -> tuple[socket.socket, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            theirs = socket.create_connection(listening.getsockname())
            ours, _ = listening.accept()
        return self._keep(ours, theirs)

    def _keep(
        self, ours: socket.socket, theirs: socket.socket
    ) -> tuple[socket.socket, socket.socket]:
        self.stack.enter_context(ours)
        self.stack.enter_context(theirs)
        return ours, theirs


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    made = Sockets()
    with made.stack:
        yield made


def fill(ours: socket.socket) -> int:
    """Write until there is no more room."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += ours.send(b"x" * 65536, socket.MSG_DONTWAIT)
    return sent


def reset(theirs: socket.socket) -> None:
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()


def waiting_in_the_kernel(thread: int) -> bool:
    with open(f"/proc/self/task/{thread}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "S"


def kernel_says_ready(poller: Polling) -> bool:
    asked = select.poll()
    asked.register(poller.fileno(), select.POLLIN)
    return bool(asked.poll(0))


def own_descriptors() -> int:
    """Those of pollers: the fixture that looks for leaks knows only sockets and pipes."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{number}").startswith("anon_inode:")
    return count


@contextlib.contextmanager
def no_more_descriptors_than(more: int) -> Iterator[None]:
    lowest = os.dup(0)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Key:
    """Something that can be seen to be gone, and may act when it goes."""

    def __init__(self, last_act: Callable[[], object] | None = None) -> None:
        self.last_act = last_act

    def __del__(self) -> None:
        if self.last_act is not None:
            self.last_act()


class TestPoller:
    # Receiving.

    def test_the_bytes_of_each_ready_socket_come_with_its_key(
        self, poller: Polling, sockets: Sockets
    ) -> None:
        pairs = [sockets.pair(), sockets.pair(), sockets.tcp()]
        keys = [object() for _ in pairs]
        for (ours, _), key in zip(pairs, keys, strict=True):
            poller.add(ours, key, READ)
        assert poller.wait(0) == ([], [])
        pairs[0][1].sendall(b"zero")
        pairs[2][1].sendall(b"two")
        got: dict[object, bytes] = {}
        while len(got) < 2:
            data, notices = poller.wait(PATIENCE)
            assert not notices
            got.update(data)
        assert got == {keys[0]: b"zero", keys[2]: b"two"}
        assert poller.wait(0) == ([], [])

    def test_a_call_receives_once_from_each_and_no_more_than_the_read_size(
        self, new: Callable[..., Polling], sockets: Sockets
    ) -> None:
        poller = new(4)
        ours, theirs = sockets.pair()
        poller.add(ours, "key", READ)
        theirs.sendall(b"0123456789")
        got = [poller.wait(None) for _ in range(3)]
        assert got == [([("key", part)], []) for part in (b"0123", b"4567", b"89")]

    def test_more_sockets_than_a_batch_all_get_their_turn(
        self, new: Callable[..., Polling], sockets: Sockets
    ) -> None:
        poller = new(batch=3)
        theirs = []
        for number in range(10):
            ours, other = sockets.pair()
            poller.add(ours, number, READ)
            theirs.append(other)
        seen: set[int] = set()
        for _ in range(5):
            for other in theirs:
                other.sendall(b"x")
            data, _ = poller.wait(None)
            assert len(data) <= 3
            seen |= {key for key, _ in data}
        assert seen == set(range(10))

    def test_no_more_than_a_mebibyte_a_call_and_nobody_starves(
        self, new: Callable[..., Polling], sockets: Sockets
    ) -> None:
        poller = new()
        theirs = []
        for number in range(40):
            ours, other = sockets.pair()
            poller.add(ours, number, READ)
            theirs.append(other)
            fill(other)
        seen: set[int] = set()
        for _ in range(3):
            data, notices = poller.wait(None)
            assert not notices
            assert sum(len(part) for _, part in data) <= MEBI
            assert len(data) == 16 or len(seen) + len(data) >= 40
            seen |= {key for key, _ in data}
            for key, _ in data:
                fill(theirs[key])  # the first to be read have the most to say
        assert seen == set(range(40))

    def test_a_read_may_fill_the_whole_mebibyte(
        self, new: Callable[..., Polling], sockets: Sockets
    ) -> None:
        poller = new(MEBI)
        ours, theirs = sockets.tcp()
        poller.add(ours, "key", READ)
        sent = os.urandom(3 * MEBI)
        sender = threading.Thread(target=theirs.sendall, args=(sent,))
        sender.start()
        got = bytearray()
        while len(got) < len(sent):
            data, _ = poller.wait(PATIENCE)
            assert all(len(part) <= MEBI for _, part in data)
            got += b"".join(part for _, part in data)
        sender.join(PATIENCE)
        assert got == sent

    def test_what_was_put_off_and_taken_by_somebody_else_yields_nothing(
        self, new: Callable[..., Polling], sockets: Sockets
    ) -> None:
        poller = new(MEBI)
        pairs = [sockets.pair(), sockets.pair()]
        for key, (ours, theirs) in enumerate(pairs):
            poller.add(ours, key, READ)
            theirs.sendall(b"x")
        ((first, _),), _ = poller.wait(None)
        assert pairs[1 - first][0].recv(1) == b"x"
        assert poller.wait(None) == ([], [])

    def test_what_was_put_off_and_then_changed_is_not_reported(
        self, new: Callable[..., Polling], sockets: Sockets
    ) -> None:
        poller = new(MEBI)
        pairs = [sockets.pair() for _ in range(4)]
        for key, (ours, theirs) in enumerate(pairs):
            poller.add(ours, key, READ)
            theirs.sendall(b"x")
        ((first, _),), _ = poller.wait(None)
        removed, again, full = (ours for key, (ours, _) in enumerate(pairs) if key != first)
        poller.remove(removed.fileno())
        poller.remove(again.fileno())
        poller.add(again, "again", READ)
        fill(full)
        poller.modify(full.fileno(), WRITE)
        seen = [poller.wait(0) for _ in range(3)]
        assert [one for one in seen if one != ([], [])] == [([("again", b"x")], [])]

    @settings(deadline=None, max_examples=50)
    @given(
        read_size=st.integers(1, 40) | st.sampled_from([4096, MEBI]),
        batch=st.integers(1, 4) | st.just(512),
        count=st.integers(1, 6),
        script=st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=100)), max_size=40),
    )
    def test_the_bytes_of_many_sockets_all_arrive_and_in_order(
        self, twin: Twin, read_size: int, batch: int, count: int, script: list[tuple[int, bytes]]
    ) -> None:
        poller = twin.new(read_size, batch)
        sent = [b""] * count
        got = [b""] * count
        ended: set[int] = set()

        def take(timeout: float | None) -> None:
            data, notices = poller.wait(timeout)
            assert len(data) + len(notices) <= batch
            for key, part in data:
                assert 0 < len(part) <= read_size
                assert key not in ended
                got[key] += part
            assert all(notice == END for _, notice in notices)
            ended.update(key for key, _ in notices)

        with contextlib.ExitStack() as stack:
            stack.callback(poller.close)
            theirs = []
            for key in range(count):
                ours, other = socket.socketpair()
                stack.enter_context(ours)
                theirs.append(stack.enter_context(other))
                poller.add(ours, key, READ)
            for number, message in script:
                if message:
                    theirs[number % count].sendall(message)
                    sent[number % count] += message
                else:
                    take(0)
            for other in theirs:
                other.close()
            while len(ended) < count:
                take(None)
        assert got == sent

    # Ends and failures.

    def test_a_half_closed_peer_has_ended_and_can_still_be_written_to(
        self, poller: Polling, sockets: Sockets
    ) -> None:
        ours, theirs = sockets.pair()
        poller.add(ours, "key", READ)
        theirs.sendall(b"last words")
        theirs.shutdown(socket.SHUT_WR)
        assert poller.wait(None) == ([("key", b"last words")], [])
        assert poller.wait(None) == ([], [("key", END)])
        assert poller.wait(None) == ([], [("key", END)]), "for as long as it is there"
        assert poller.write([(ours.fileno(), b"reply")]) is None
        assert theirs.recv(100) == b"reply"

    def test_a_reset_is_reported_as_its_error_number(
        self, poller: Polling, sockets: Sockets
    ) -> None:
        ours, theirs = sockets.tcp()
        poller.add(ours, "key", READ)
        reset(theirs)
        assert poller.wait(None) == ([], [("key", errno.ECONNRESET)])

    @pytest.mark.parametrize("interest", [WRITE, ACCEPT])
    def test_a_broken_socket_may_be_tried(
        self, poller: Polling, sockets: Sockets, interest: int
    ) -> None:
        ours, theirs = sockets.tcp()
        fill(ours)
        poller.add(ours, "key", interest)
        reset(theirs)
        assert poller.wait(None) == ([], [("key", READY)])
        with pytest.raises(ConnectionResetError):
            ours.recv(1)

    # Readiness.

    def test_room_to_write_is_reported_while_there_is_some(
        self, poller: Polling, sockets: Sockets
    ) -> None:
        ours, theirs = sockets.pair()
        full = fill(ours)
        poller.add(ours, "key", WRITE)
        theirs.sendall(b"not to be received")
        assert poller.wait(0) == ([], [])
        while full:
            full -= len(theirs.recv(full))
        assert poller.wait(None) == ([], [("key", READY)])
        assert poller.wait(None) == ([], [("key", READY)])

    def test_what_waits_to_be_accepted_is_reported(self, poller: Polling, sockets: Sockets) -> None:
        listening = sockets.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        poller.add(listening, "key", ACCEPT)
        assert poller.wait(0) == ([], [])
        client = sockets.stack.enter_context(socket.create_connection(listening.getsockname()))
        assert poller.wait(None) == ([], [("key", READY)])
        accepted, address = listening.accept()
        accepted.close()
        assert address == client.getsockname()
        assert poller.wait(0) == ([], [])

    def test_data_and_notices_of_one_call(self, poller: Polling, sockets: Sockets) -> None:
        pairs = [sockets.pair() for _ in range(3)]
        for key, (ours, _) in enumerate(pairs):
            poller.add(ours, key, WRITE if key == 1 else READ)
        pairs[0][1].sendall(b"x")
        pairs[2][1].close()
        data, notices = poller.wait(None)
        assert data == [(0, b"x")]
        assert sorted(notices) == [(1, READY), (2, END)]

    def test_the_interest_can_be_changed(self, poller: Polling, sockets: Sockets) -> None:
        ours, theirs = sockets.pair()
        poller.add(ours, "key", READ)
        theirs.sendall(b"x")
        poller.modify(ours.fileno(), WRITE)
        assert poller.wait(None) == ([], [("key", READY)])
        poller.modify(ours.fileno(), ACCEPT)
        poller.modify(ours.fileno(), ACCEPT)
        assert poller.wait(None) == ([], [("key", READY)])
        poller.modify(ours.fileno(), READ)
        assert poller.wait(None) == ([("key", b"x")], [])

    def test_what_was_removed_is_not_reported_and_may_be_added_again(
        self, poller: Polling, sockets: Sockets
    ) -> None:
        ours, theirs = sockets.pair()
        poller.add(ours, "first", READ)
        poller.remove(ours.fileno())
        theirs.sendall(b"x")
        assert poller.wait(0) == ([], [])
        assert not kernel_says_ready(poller)
        poller.add(ours, "second", READ)
        assert poller.wait(None) == ([("second", b"x")], [])

    def test_the_descriptor_is_readable_when_there_is_something(
        self, poller: Polling, sockets: Sockets
    ) -> None:
        ours, theirs = sockets.pair()
        poller.add(ours, "key", READ)
        assert not kernel_says_ready(poller)
        theirs.sendall(b"x")
        assert kernel_says_ready(poller)
        poller.wait(0)
        poller.wake()
        assert kernel_says_ready(poller)

    def test_large_descriptors(self, poller: Polling, sockets: Sockets) -> None:
        pairs = [sockets.pair() for _ in range(3)]
        moved = []
        for number, (ours, _) in zip((70, 400, 1000), pairs, strict=True):
            moved.append(socket.socket(fileno=os.dup2(ours.fileno(), number, inheritable=False)))
            sockets.stack.enter_context(moved[-1])
            poller.add(moved[-1], number, READ)
        for _, theirs in pairs:
            theirs.sendall(b"x")
        data, _ = poller.wait(None)
        assert sorted(data) == [(number, b"x") for number in (70, 400, 1000)]

    # Keys.

    def test_a_key_is_kept_until_its_socket_is_removed(
        self, poller: Polling, sockets: Sockets
    ) -> None:
        ours, theirs = sockets.pair()
        key = Key()
        gone = weakref.ref(key)
        poller.add(ours, key, READ)
        del key
        gc.collect()
        theirs.sendall(b"x")
        data, _ = poller.wait(None)
        assert data == [(gone(), b"x")]
        poller.remove(ours.fileno())
        assert gone() is not None, "the result has it"
        del data
        assert gone() is None

    def test_all_keys_go_when_the_poller_is_closed_or_forgotten(
        self, twin: Twin, sockets: Sockets
    ) -> None:
        before = own_descriptors()
        for close in (True, False):
            poller = twin.new()
            keys = [Key() for _ in range(3)]
            gone = [weakref.ref(key) for key in keys]
            for key in keys:
                poller.add(sockets.pair()[0], key, READ)
            del key, keys
            if close:
                poller.close()
                assert not any(one() for one in gone)
            del poller
            assert not any(one() for one in gone)
            gc.collect()  # the standard library's selectors are cycles
            assert own_descriptors() == before

    def test_a_cycle_of_a_key_and_its_poller_is_collected(
        self, twin: Twin, sockets: Sockets
    ) -> None:
        before = own_descriptors()
        key = Key()
        gone = weakref.ref(key)
        poller = twin.new()
        poller.add(sockets.pair()[0], key, READ)
        key.last_act = poller.wake
        del key, poller
        gc.collect()
        assert gone() is None
        assert own_descriptors() == before

    def test_a_key_that_goes_may_use_the_poller(self, poller: Polling, sockets: Sockets) -> None:
        first, second = sockets.pair(), sockets.pair()
        poller.add(first[0], Key(lambda: poller.remove(second[0].fileno())), READ)
        poller.add(second[0], "key", READ)
        poller.remove(first[0].fileno())
        with pytest.raises(KeyError):
            poller.remove(second[0].fileno())
        failed = []

        def use() -> None:
            try:
                poller.wait(0)
            except ValueError as error:
                failed.append(error)

        poller.add(first[0], Key(use), READ)
        poller.close()
        assert failed

    def test_garbage_collected_during_a_wait_may_try_to_use_the_poller(
        self, poller: Polling, sockets: Sockets
    ) -> None:
        pairs = [sockets.pair() for _ in range(20)]
        for key, (ours, theirs) in enumerate(pairs):
            poller.add(ours, [key], READ)
            theirs.sendall(b"%d" % key)
        last = pairs[-1][0].fileno()

        def act() -> None:
            with contextlib.suppress(RuntimeError, KeyError):
                poller.remove(last)

        before = gc.get_threshold()
        gc.set_threshold(1)
        try:
            cycle = Key(act)
            cycle.last_act = functools.partial(lambda cycle: act(), cycle)
            del cycle
            data, _ = poller.wait(0)
        finally:
            gc.set_threshold(*before)
        gc.collect()
        assert {key[0]: part for key, part in data if key[0] != 19} == {
            key: b"%d" % key for key in range(19)
        }

    # Waiting.

    @pytest.mark.parametrize("seconds", [0.0001, 0.004, 0.0101])
    def test_the_time_is_waited_for_and_rounded_up(self, poller: Polling, seconds: float) -> None:
        start = time.monotonic()
        assert poller.wait(seconds) == ([], [])
        milliseconds = (time.monotonic() - start) * 1000
        assert milliseconds >= max(1, seconds * 1000 - 0.1)

    @pytest.mark.parametrize("timeout", [0, 0.0, -0.0, -1, -1e300, float("-inf"), False])
    def test_not_waiting_at_all(self, poller: Polling, timeout: float) -> None:
        assert poller.wait(timeout) == ([], [])

    @pytest.mark.parametrize("timeout", [None, 1, 1e6, 1e300, float("inf")])
    def test_long_waits(self, poller: Polling, timeout: float | None) -> None:
        poller.wake()
        assert poller.wait(timeout) == ([], [])

    def test_data_ends_a_wait(self, poller: Polling, sockets: Sockets) -> None:
        ours, theirs = sockets.pair()
        poller.add(ours, "key", READ)
        waiter = threading.get_native_id()

        def send() -> None:
            eventually(lambda: waiting_in_the_kernel(waiter))
            theirs.sendall(b"x")

        sender = threading.Thread(target=send)
        sender.start()
        assert poller.wait(None) == ([("key", b"x")], [])
        sender.join(PATIENCE)

    def test_waking_before_the_wait_is_remembered_once(self, poller: Polling) -> None:
        for _ in range(3):
            poller.wake()
            poller.wake()
            assert poller.wait(None) == ([], [])
            assert not kernel_says_ready(poller)

    def test_waking_from_another_thread_during_the_wait(self, poller: Polling) -> None:
        waiter = threading.get_native_id()

        def wake() -> None:
            eventually(lambda: waiting_in_the_kernel(waiter))
            poller.wake()

        for _ in range(3):
            waker = threading.Thread(target=wake)
            waker.start()
            assert poller.wait(None) == ([], [])
            waker.join(PATIENCE)

    def test_no_waking_is_lost(self, poller: Polling, sockets: Sockets) -> None:
        ours, theirs = sockets.pair()
        poller.add(ours, "key", READ)
        queue: deque[int] = deque()

        def put() -> None:
            for number in range(500):
                queue.append(number)
                poller.wake()
                if number % 50 == 0:
                    theirs.sendall(b"x")

        threads = [threading.Thread(target=put) for _ in range(4)]
        for thread in threads:
            thread.start()
        count = 0
        while count < 2000:
            poller.wait(None)
            while queue:
                queue.popleft()
                count += 1
        for thread in threads:
            thread.join(PATIENCE)

    def test_closing_while_others_wake(self, twin: Twin) -> None:
        for _ in range(20):
            poller = twin.new()
            started = threading.Event()
            stop = threading.Event()

            def wake(
                poller: Polling = poller,
                started: threading.Event = started,
                stop: threading.Event = stop,
            ) -> None:
                while not stop.is_set():
                    poller.wake()
                    started.set()

            thread = threading.Thread(target=wake)
            thread.start()
            wait_for(started)
            poller.wait(0)
            poller.close()
            stop.set()
            thread.join(PATIENCE)

    @pytest.mark.parametrize("raising", [False, True])
    def test_the_handlers_of_signals_run_during_a_wait(
        self, poller: Polling, sockets: Sockets, raising: bool
    ) -> None:
        ours, theirs = sockets.pair()
        waiter = threading.get_native_id()

        def handle(number: int, frame: object) -> None:
            poller.add(ours, "key", READ)  # the waiting thread's own doing
            if raising:
                raise LookupError("by the handler")
            poller.wake()

        before = signal.signal(signal.SIGUSR1, handle)
        sending = signal_here(signal.SIGUSR1, lambda: waiting_in_the_kernel(waiter))
        try:
            if raising:
                with pytest.raises(LookupError, match="by the handler"):
                    poller.wait(None)
            else:
                assert poller.wait(None) == ([], [])
        finally:
            sending.join()
            signal.signal(signal.SIGUSR1, before)
        theirs.sendall(b"x")
        eventually(lambda: poller.wait(None) == ([("key", b"x")], []))

    # Writing.

    def test_all_is_sent_whole(self, poller: Polling, sockets: Sockets) -> None:
        first, second = sockets.pair(), sockets.tcp()
        poller.add(first[0], "key", READ)  # the second need not have been added
        numbers: Any = memoryview(struct.pack("2i", 1, 2)).cast("i")
        pairs = [
            (first[0].fileno(), b"one "),
            (second[0].fileno(), memoryview(b"other")[:3]),
            (first[0].fileno(), b""),
            (first[0].fileno(), memoryview(bytearray(b"two "))),
            (first[0].fileno(), numbers),
        ]
        assert poller.write(pairs) is None
        assert first[1].recv(100) == b"one two " + bytes(numbers)
        assert second[1].recv(100) == b"oth"
        assert poller.write([]) is None

    def test_a_lot_is_sent_whole(self, poller: Polling, sockets: Sockets) -> None:
        pairs = [sockets.pair() for _ in range(6)]
        data = os.urandom(65536)
        assert poller.write([(ours.fileno(), data) for ours, _ in pairs]) is None
        for _, theirs in pairs:
            assert theirs.recv(len(data), socket.MSG_WAITALL) == data

    def test_without_room_as_much_is_sent_as_there_is_room_for(
        self, poller: Polling, sockets: Sockets
    ) -> None:
        full, some, free = sockets.pair(), sockets.pair(), sockets.pair()
        poller.add(full[0], "key", READ)
        poller.add(some[0], "key", READ)
        fill(full[0])
        data = os.urandom(MEBI)
        pairs: list[tuple[int, bytes | memoryview]] = [
            (full[0].fileno(), b"late"),
            (some[0].fileno(), data),
            (free[0].fileno(), b"whole"),
            (full[0].fileno(), b""),
            (full[0].fileno(), memoryview(b"late")),
        ]
        sent = poller.write(pairs)
        assert sent is not None
        assert 0 < sent[1] < MEBI
        assert sent == [0, sent[1], 5, 0, 0]
        assert some[1].recv(sent[1], socket.MSG_WAITALL) == data[: sent[1]]

    def test_no_more_than_a_mebibyte_is_offered(
        self, poller: Polling, twin: Twin, sockets: Sockets
    ) -> None:
        whole = bytes(8 * MEBI)
        numbers: Any = memoryview(whole).cast("d")
        for data in (whole, numbers):
            ours, _ = sockets.tcp()
            sent = poller.write([(ours.fileno(), data)])
            assert sent is not None
            assert 0 < sent[0] <= MEBI
            ours, _ = sockets.tcp()
            assert 0 < twin.send_now(ours, ours.fileno(), data) <= MEBI

    def test_failures_are_told_of_each_and_keep_nobody_else_from_being_sent(
        self, poller: Polling, sockets: Sockets
    ) -> None:
        broken, added, good = sockets.pair(), sockets.pair(), sockets.pair()
        broken[1].close()
        added[1].close()
        poller.add(added[0], "key", READ)
        before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # would end this process
        try:
            sent = poller.write(
                [
                    (broken[0].fileno(), b"x"),
                    (good[0].fileno(), b"xyz"),
                    (added[0].fileno(), b"x"),
                    (1000, b"x"),
                    (-1, b"x"),
                    (10**30, b"x"),
                    (broken[0].fileno(), b""),
                ]
            )
        finally:
            signal.signal(signal.SIGPIPE, before)
        pipe, bad = -errno.EPIPE, -errno.EBADF
        assert sent == [pipe, 3, pipe, bad, bad, bad, 0]
        assert good[1].recv(100) == b"xyz"

    def test_sending_now(self, twin: Twin, sockets: Sockets) -> None:
        ours, theirs = sockets.pair()
        send = functools.partial(twin.send_now, ours, ours.fileno())
        assert send(b"bytes ") == 6
        assert send(memoryview(b"a view")) == 6
        assert send(b"") == 0
        assert theirs.recv(100) == b"bytes a view"
        large = os.urandom(100_000)
        assert send(large) == len(large)
        assert theirs.recv(len(large), socket.MSG_WAITALL) == large
        fill(ours)
        assert send(b"x") == 0
        assert send(large) == 0
        theirs.close()
        before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        try:
            for data in (b"x", large):
                with pytest.raises(BrokenPipeError):
                    send(data)
        finally:
            signal.signal(signal.SIGPIPE, before)

    # Accepting.

    def test_accepting_now(self, twin: Twin) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            accept = functools.partial(twin.accept_now, listening, listening.fileno())
            assert accept() is None
            peers = [socket.create_connection(listening.getsockname()) for _ in range(3)]
            for peer in peers:
                accepted = accept()
                assert accepted is not None
                fd, name = accepted
                assert name == peer.getsockname()
                assert not os.get_inheritable(fd)
                with socket.socket(fileno=fd) as ours, peer:
                    peer.sendall(b"x")
                    assert ours.recv(1) == b"x"
            assert accept() is None

    def test_accepting_names_the_peer_as_its_family_does(
        self, twin: Twin, tmp_path: pathlib.Path
    ) -> None:
        path = str(tmp_path / "s.sock")
        families = [(socket.AF_UNIX, path)]
        if socket.has_dualstack_ipv6():
            families.append((socket.AF_INET6, ("::1", 0)))  # type: ignore[arg-type]
        for family, address in families:
            with socket.socket(family) as listening, socket.socket(family) as peer:
                listening.bind(address)
                listening.listen()
                listening.setblocking(False)
                peer.connect(listening.getsockname())
                accepted = twin.accept_now(listening, listening.fileno())
                assert accepted is not None
                os.close(accepted[0])
                assert accepted[1][:2] == peer.getsockname()[:2]

    def test_accepting_where_that_cannot_be(self, twin: Twin, sockets: Sockets) -> None:
        ours, _ = sockets.pair()
        with pytest.raises(OSError, match="Invalid argument") as caught:
            twin.accept_now(ours, ours.fileno())
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(TypeError):
            twin.accept_now(ours)  # type: ignore[call-arg]

    def test_accepting_without_descriptors(self, twin: Twin) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            with socket.create_connection(listening.getsockname()):
                with no_more_descriptors_than(0), pytest.raises(OSError, match=r".") as caught:
                    twin.accept_now(listening, listening.fileno())
                assert caught.value.errno == errno.EMFILE
                accepted = twin.accept_now(listening, listening.fileno())
                assert accepted is not None  # it had stayed in the backlog
                os.close(accepted[0])

    # Mistakes.

    def test_adding_twice(self, poller: Polling, sockets: Sockets) -> None:
        ours, theirs = sockets.pair()
        poller.add(ours, "first", READ)
        with pytest.raises(FileExistsError):
            poller.add(ours, "second", WRITE)
        theirs.sendall(b"x")
        assert poller.wait(None) == ([("first", b"x")], [])

    @pytest.mark.parametrize("fd", [0, 1000, -1, 10**30])
    def test_a_descriptor_that_was_not_added(self, poller: Polling, fd: int) -> None:
        with pytest.raises(KeyError, match=str(fd)):
            poller.remove(fd)
        with pytest.raises(KeyError, match=str(fd)):
            poller.modify(fd, READ)

    def test_what_is_no_interest(self, poller: Polling, sockets: Sockets) -> None:
        ours, _ = sockets.pair()
        for interest in (0, -1, 4, 10**30):
            with pytest.raises(ValueError, match="READ, WRITE or ACCEPT"):
                poller.add(ours, "key", interest)
        poller.add(ours, "key", READ)
        for interest in (0, -1, 4, 10**30):
            with pytest.raises(ValueError, match="READ, WRITE or ACCEPT"):
                poller.modify(ours.fileno(), interest)

    def test_what_is_no_timeout(self, poller: Polling) -> None:
        with pytest.raises(ValueError, match="nan"):
            poller.wait(float("nan"))

    def test_wrong_types(self, poller: Any, twin: Twin, sockets: Sockets) -> None:
        ours, theirs = sockets.pair()
        fd = ours.fileno()
        mistakes: list[Callable[[], object]] = [
            lambda: poller.add(fd, "key", READ),
            lambda: poller.add("socket", "key", READ),
            lambda: poller.add(ours, "key", "READ"),
            lambda: poller.add(ours, "key", 1.0),
            lambda: poller.add(ours, "key"),
            lambda: poller.modify("1", READ),
            lambda: poller.modify(fd, None),
            lambda: poller.modify(fd),
            lambda: poller.remove("1"),
            lambda: poller.remove(1.5),
            lambda: poller.wait("1"),
            poller.wait,
            lambda: poller.write(((fd, b"x"),)),
            lambda: poller.write([fd]),
            lambda: poller.write([(fd, "text")]),
            lambda: poller.write([(fd, 5)]),
            lambda: poller.write([(fd, memoryview(b"xyz")[::2])]),
            lambda: poller.write([("1", b"x")]),
            lambda: poller.write([(1.5, b"x")]),
            lambda: poller.write(None),
            lambda: twin.send_now(ours, fd, "text"),  # type: ignore[arg-type]
            lambda: twin.send_now(ours, fd),  # type: ignore[call-arg]
            lambda: twin.new("1"),
            lambda: twin.new(4096, 1.5),
            lambda: twin.new(4096, 10, True),
        ]
        for mistake in mistakes:
            with pytest.raises(TypeError):
                mistake()
        for pair in ((fd,), (fd, b"x", 0)):
            with pytest.raises(ValueError, match=r"."):
                poller.write([pair])
        assert poller.wait(0) == ([], [])
        poller.add(ours, "key", READ)
        theirs.sendall(b"x")
        assert poller.wait(None) == ([("key", b"x")], [])
        with pytest.raises(BlockingIOError):
            theirs.recv(1, socket.MSG_DONTWAIT)

    def test_sizes_out_of_range(self, twin: Twin) -> None:
        for size in (0, -1, MEBI + 1):
            with pytest.raises(ValueError, match=f"read_size must be .* not {size}"):
                twin.new(size)
        for batch in (0, -1, 65537):
            with pytest.raises(ValueError, match=f"batch must be .* not {batch}"):
                twin.new(batch=batch)

    def test_a_closed_poller_does_nothing_more(self, poller: Polling, sockets: Sockets) -> None:
        ours, theirs = sockets.pair()
        poller.add(ours, "key", READ)
        theirs.sendall(b"x")
        poller.wake()
        poller.close()
        poller.close()
        poller.wake()
        for use in (
            lambda: poller.add(ours, "key", READ),
            lambda: poller.modify(ours.fileno(), WRITE),
            lambda: poller.remove(ours.fileno()),
            lambda: poller.wait(0),
            lambda: poller.write([]),
            poller.fileno,
        ):
            with pytest.raises(ValueError, match="closed"):
                use()
        assert ours.recv(1) == b"x", "the sockets stay open"

    def test_without_descriptors_there_is_no_poller_and_nothing_left(self, twin: Twin) -> None:
        before = own_descriptors()
        for more in (0, 1):
            with no_more_descriptors_than(more), pytest.raises(OSError, match="Too many open"):
                twin.new()
        assert own_descriptors() == before

    # Descriptors that were closed before they were removed.

    def test_a_descriptor_closed_too_early(self, poller: Polling, sockets: Sockets) -> None:
        ours, theirs = sockets.pair()
        again, others = sockets.pair()
        fd = ours.fileno()
        poller.add(ours, "early", READ)
        theirs.sendall(b"x")
        ours.close()
        with pytest.raises(ValueError, match=r"."):
            poller.add(ours, "key", READ)
        assert poller.wait(0) == ([], [])
        with pytest.raises(OSError, match=r"."):
            poller.modify(fd, WRITE)
        poller.remove(fd)
        assert poller.wait(0) == ([], [])
        with socket.socket(fileno=os.dup2(again.fileno(), fd, inheritable=False)) as same:
            poller.add(same, "again", READ)
            others.sendall(b"y")
            assert poller.wait(None) == ([("again", b"y")], [])
            poller.remove(fd)

    @only_on_epoll
    def test_a_duplicate_that_stays_open(
        self, poller: Polling, twin: Twin, sockets: Sockets
    ) -> None:
        ours, theirs = sockets.pair()
        kept = sockets.stack.enter_context(ours.dup())
        fd = ours.fileno()
        reading, writing, early = sockets.pair(), sockets.pair(), sockets.pair()
        poller.add(ours, "stale", READ)
        poller.add(reading[0], "reading", READ)
        theirs.sendall(b"x")
        ours.close()
        assert poller.wait(None) == ([], [("stale", errno.EBADF)])
        poller.remove(fd)
        assert kernel_says_ready(poller), "or there is nothing to be tested"
        fill(writing[0])
        poller.add(writing[0], "writing", WRITE)
        poller.add(early[0], "early", READ)
        early[0].close()
        number = poller.fileno()
        with no_more_descriptors_than(0):
            assert poller.wait(0) == ([], [])
        assert kernel_says_ready(poller), "nothing could be done yet"
        assert poller.wait(0) == ([], [])
        assert not kernel_says_ready(poller)
        assert poller.fileno() == number
        assert not os.get_inheritable(number)
        reading[1].sendall(b"y")
        assert poller.wait(None) == ([("reading", b"y")], [])
        writing[1].close()
        assert poller.wait(None) == ([], [("writing", READY)])
        poller.remove(writing[0].fileno())
        poller.wake()
        assert poller.wait(None) == ([], [])
        assert kept.recv(1) == b"x"

    @only_c
    def test_a_duplicate_that_stays_open_while_its_number_is_used_again(
        self, poller: Polling, twin: Twin, sockets: Sockets
    ) -> None:
        ours, theirs = sockets.pair()
        again, others = sockets.pair()
        kept = sockets.stack.enter_context(ours.dup())
        fd = ours.fileno()
        poller.add(ours, "stale", READ)
        ours.close()
        poller.remove(fd)
        with socket.socket(fileno=os.dup2(again.fileno(), fd, inheritable=False)) as same:
            poller.add(same, "again", READ)
            theirs.sendall(b"x")
            assert poller.wait(None) == ([], [])
            assert not kernel_says_ready(poller)
            others.sendall(b"y")
            assert poller.wait(None) == ([("again", b"y")], [])
        assert kept.recv(1) == b"x"

    # The C twin alone.

    @only_c
    def test_a_second_thread_is_refused(
        self, poller: Polling, twin: Twin, sockets: Sockets
    ) -> None:
        ours, theirs = sockets.pair()
        other = sockets.pair()[0]
        poller.add(ours, "key", READ)
        result = []
        waiter = threading.Thread(target=lambda: result.append(poller.wait(None)))
        waiter.start()
        assert waiter.native_id is not None
        eventually(lambda: refused(lambda: poller.write([])))
        for use in (
            lambda: poller.add(other, "key", READ),
            lambda: poller.modify(ours.fileno(), WRITE),
            lambda: poller.remove(ours.fileno()),
            lambda: poller.wait(0),
            lambda: poller.write([(ours.fileno(), b"x")]),
            poller.close,
        ):
            assert refused(use)
        assert poller.fileno() > 0
        theirs.sendall(b"x")
        waiter.join(PATIENCE)
        assert result == [([("key", b"x")], [])]
        poller.remove(ours.fileno())

    @only_c
    def test_threads_that_do_not_take_turns_break_nothing(
        self, poller: Polling, twin: Twin, sockets: Sockets
    ) -> None:
        shared = [sockets.pair() for _ in range(4)]
        unexpected: list[BaseException] = []

        def use(ours: socket.socket, theirs: socket.socket) -> None:
            fd = ours.fileno()
            steps: list[Callable[[], object]] = [
                lambda: poller.add(ours, Key(), READ),
                lambda: theirs.send(b"x", socket.MSG_DONTWAIT),
                lambda: poller.wait(0.001),
                lambda: poller.write([(fd, bytes(300_000))]),
                lambda: poller.modify(fd, WRITE),
                lambda: theirs.recv(100_000, socket.MSG_DONTWAIT),
                lambda: poller.remove(fd),
            ]
            for step in steps * 100:
                try:
                    step()
                except (RuntimeError, OSError, KeyError):
                    pass  # was added, removed or used by none or another
                except BaseException as error:
                    unexpected.append(error)
                    raise

        threads = [threading.Thread(target=use, args=pair) for pair in shared]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert not unexpected

    @only_c
    def test_converting_an_argument_may_use_the_poller(self, poller: Polling, twin: Twin) -> None:
        class Timeout:
            def __float__(self) -> float:
                assert poller.wait(0) == ([], [])
                return 0.0

        assert poller.wait(Timeout()) == ([], [])  # type: ignore[arg-type]


@pytest.mark.skipif(SPEEDUPS is None, reason="the C twin was not built")
def test_running_out_of_memory_breaks_nothing() -> None:
    pytest.importorskip("_testcapi")
    # In a process of its own, for a debugger or a measurement of coverage breaks by it.
    script = "from tests.transport.test_poller import run_out_of_memory as run; run()"
    environment = {name: value for name, value in os.environ.items() if "COV" not in name}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


def run_out_of_memory() -> None:
    """Let each allocation of each call fail, one at a time."""
    testcapi = importlib.import_module("_testcapi")
    assert SPEEDUPS is not None

    def starve(call: Callable[[], Any]) -> tuple[Any, int]:
        for failures in range(100):
            testcapi.set_nomemory(failures, failures + 1)
            try:
                return call(), failures
            except MemoryError:
                pass
            finally:
                testcapi.remove_mem_hooks()
        raise AssertionError("it never succeeds")

    # Nothing here is such that the interpreter has it ready-made.
    key, data, too_much = object(), memoryview(b"some bytes"), bytes(MEBI)
    poller, failures = starve(SPEEDUPS.Poller)
    assert failures >= 4
    pairs = [socket.socketpair() for _ in range(3)]
    with contextlib.ExitStack() as stack:
        for ours, theirs in pairs:
            stack.enter_context(ours)
            stack.enter_context(theirs)
        ours, theirs = pairs[0]
        _, failures = starve(functools.partial(poller.add, ours, key, READ))
        assert failures >= 1
        poller.add(pairs[1][0], key, READ)
        written = [(theirs.fileno(), data) for _, theirs in pairs]
        sent, failures = starve(functools.partial(poller.write, written))
        assert failures >= 3
        assert sent is None
        assert ours.recv(100) == data, "nothing was sent before all was understood"
        got, failures = starve(functools.partial(poller.wait, 0))
        assert failures >= 1
        assert got == ([], []), "received, and then lost"
        theirs.sendall(b"more")
        pairs[1][1].close()
        data_then_end = [poller.wait(0), poller.wait(0)]
        assert data_then_end[0] == ([(key, b"more")], [(key, END)])
        sent, failures = starve(functools.partial(poller.write, [(theirs.fileno(), too_much)]))
        assert failures >= 2
        assert sent == [0], "the first try has filled it"
    poller.close()


def refused(use: Callable[[], object]) -> bool:
    try:
        use()
    except RuntimeError as error:
        return str(error) == "this poller is in use by another thread"
    return False


# What is chosen.


def twin_chosen(prelude: str = "", **environment: str) -> str:
    script = f"{prelude}\nfrom threadwire.transport import poller; print(poller.TWIN)\n"
    script += "print(poller.Poller.__module__, poller.send_now.__module__)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    name, poller, send = done.stdout.split()
    module = {"c": "_speedups", "python": "portable"}[name]
    assert poller == send == f"threadwire.transport.{module}"
    return name


def test_the_environment_chooses_the_twin_in_python() -> None:
    assert twin_chosen(THREADWIRE_PURE="1") == "python"
    assert twin_chosen(THREADWIRE_PURE="yes") == "python"


def test_without_the_twin_in_c_the_one_in_python_serves() -> None:
    prelude = "import sys; sys.modules['threadwire.transport._speedups'] = None"
    assert twin_chosen(prelude, THREADWIRE_PURE="") == "python"


@pytest.mark.skipif(
    importlib.util.find_spec("threadwire.transport._speedups") is None,
    reason="the C twin was not built",
)
def test_else_it_is_the_twin_in_c() -> None:
    assert twin_chosen(THREADWIRE_PURE="") == "c"
    assert twin_chosen(THREADWIRE_PURE="0") == "c"


def test_the_names_of_both_mean_the_same() -> None:
    for name in ("READ", "WRITE", "ACCEPT", "END", "READY"):
        assert getattr(chosen, name) == getattr(portable, name)
        assert getattr(SPEEDUPS or portable, name) == getattr(portable, name)


@pytest.mark.skipif(SPEEDUPS is None, reason="the C twin was not built")
@pytest.mark.parametrize(
    "name", ["add", "modify", "remove", "wait", "write", "wake", "fileno", "close", None]
)
def test_the_signatures_of_both_are_the_same(name: str | None) -> None:
    assert SPEEDUPS is not None
    in_c, in_python = SPEEDUPS.Poller, portable.Poller
    if name is not None:
        in_c, in_python = getattr(in_c, name), getattr(in_python, name)
    bare = [
        [
            (parameter.name, parameter.kind, parameter.default)
            for parameter in inspect.signature(twin).parameters.values()
            if parameter.name not in {"self", "readiness"}
        ]
        for twin in (in_c, in_python)
    ]
    assert bare[0] == bare[1]


# The twin in Python on systems that lack something.


def test_where_there_is_no_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    poller = portable.Poller()
    poller.wake()
    assert poller.wait(None) == ([], [])
    poller.close()


def test_where_a_selector_has_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    poller = ON_SELECTORS()
    assert poller.fileno() == -1
    poller.close()


def test_where_there_is_no_eventfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "eventfd")
    poller = portable.Poller()
    for _ in range(3):
        poller.wake()
        poller.wake()
        assert poller.wait(None) == ([], [])
        assert poller.wait(0) == ([], [])
    poller.close()
    poller.wake()


def test_an_exception_while_waking_does_not_keep_the_next_from_waking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poller = portable.Poller()

    def interrupted(number: int, value: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "eventfd_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            poller.wake()
    poller.wake()
    assert poller.wait(None) == ([], [])
    poller.close()
