"""What runs hostile scripts: its threads, steps, bounds and errors."""

from __future__ import annotations

import threading
import time

import pytest

import threadwire
from threadwire.testing import LOOK, STEP, Hostile, Peer, Script, eventually

from ..support import PATIENCE
from .conftest import PlainServer, hear, hear_all


def test_the_block_begins_when_the_script_is_in_place(plain_server: PlainServer) -> None:
    def script(run: Hostile) -> Script:
        run.say(run.connect(plain_server.address), b"begun")
        yield 0
        while True:
            yield LOOK

    with Hostile(script) as hostile:
        assert (hostile.connections, hostile.bytes_sent) == (1, 5)
        server = plain_server.accept()
        assert hear(server, 5) == b"begun"
        finished = [hostile.finished]
    finished.append(hostile.finished)
    assert finished == [False, True]
    assert hear_all(server) == b"", "its peers are closed"


def test_it_ends_when_its_time_is_over(plain_server: PlainServer) -> None:
    def script(run: Hostile) -> Script:
        run.connect(plain_server.address)
        while True:
            yield 100

    with Hostile(script, at_most=0.05) as hostile:
        hostile.wait()
        assert hear_all(plain_server.accept()) == b""


def test_it_does_not_end_before_its_time() -> None:
    def script(run: Hostile) -> Script:
        while True:
            yield 0

    with Hostile(script) as hostile:
        with pytest.raises(threadwire.TimeLimitError, match="end of the hostile peer"):
            hostile.wait(0.05)


def test_its_pauses_do_not_hold_up_the_end() -> None:
    def script(run: Hostile) -> Script:
        while True:
            yield 1000

    with Hostile(script):
        pass


def test_it_goes_on_step_by_step() -> None:
    done = []
    never = threading.Event()

    def script(run: Hostile) -> Script:
        yield 0
        for n in range(4):
            yield STEP
            never.wait(0.02)  # whoever asked for the step has time to go on too soon
            done.append(n)
        while True:
            yield LOOK

    with Hostile(script) as hostile:
        assert done == []
        hostile.step()
        assert done == [0]
        hostile.step(2)
        assert done == [0, 1, 2]
        hostile.step()
        assert done == [0, 1, 2, 3]
        with pytest.raises(threadwire.TimeLimitError, match="step of the hostile peer"):
            hostile.step(timeout=0.02)


def test_a_step_of_one_that_has_ended_returns() -> None:
    def script(run: Hostile) -> Script:
        yield STEP

    with Hostile(script) as hostile:
        hostile.step()
        hostile.wait()
        hostile.step()


def test_it_is_counted_when_the_server_ends_it(plain_server: PlainServer) -> None:
    def script(run: Hostile) -> Script:
        peers = [run.connect(plain_server.address) for _ in range(3)]
        yield 0
        yield from run.stay(peers)

    with Hostile(script) as hostile:
        servers = [plain_server.accept() for _ in range(3)]
        servers[0].close()
        servers[2].close()
        eventually(lambda: hostile.thrown_out == 2)
        assert not hostile.finished
        servers[1].close()
        hostile.wait()
        assert hostile.thrown_out == 3


def test_a_broken_connection_ends_the_script_and_is_no_error(plain_server: PlainServer) -> None:
    def script(run: Hostile) -> Script:
        peer = run.connect(plain_server.address)
        yield 0
        while True:
            yield from run.say_all(peer, b"more" * 1000)

    with Hostile(script) as hostile:
        plain_server.accept().close()
        hostile.wait()
        assert hostile.thrown_out == 1


def test_all_is_said_however_slowly_it_is_read(plain_server: PlainServer) -> None:
    data = bytes(5_000_000)

    def script(run: Hostile) -> Script:
        peer = run.connect(plain_server.address)
        yield 0
        yield from run.say_all(peer, data)

    with Hostile(script) as hostile:
        server = plain_server.accept()
        assert hear_all(server) == data
        hostile.wait()
        assert hostile.bytes_sent == len(data)


def test_it_drops_what_it_hears(plain_server: PlainServer) -> None:
    kept: list[Peer] = []

    def script(run: Hostile) -> Script:
        peer = run.connect(plain_server.address)
        kept.append(peer)
        yield 0
        while run.keeps(peer):
            run.drop_replies(peer)
            yield 0

    with Hostile(script) as hostile:
        server = plain_server.accept()
        server.sendall(bytes(10_000_000))
        server.close()
        hostile.wait()
        assert hostile.thrown_out == 1
    assert kept[0].socket.fileno() == -1


def test_what_a_script_raises_before_the_block_is_raised_there(plain_server: PlainServer) -> None:
    def script(run: Hostile) -> Script:
        run.connect(plain_server.address)
        yield 1 // 0

    with pytest.raises(ZeroDivisionError):
        with Hostile(script):
            raise AssertionError("the block has begun")


def test_what_a_script_raises_later_is_raised_at_the_end() -> None:
    def script(run: Hostile) -> Script:
        yield 0
        yield 1 // 0

    with pytest.raises(ZeroDivisionError):
        with Hostile(script) as hostile:
            hostile.wait()
    hostile.stop()  # once is enough


def test_what_the_block_raises_comes_first() -> None:
    def script(run: Hostile) -> Script:
        yield 0
        yield 1 // 0

    with pytest.raises(KeyError) as caught:
        with Hostile(script) as hostile:
            hostile.wait()
            raise KeyError
    assert caught.value.__notes__ == [
        "a hostile peer has failed, too: ZeroDivisionError('integer division or modulo by zero')"
    ]


def test_a_script_s_own_end_is_run() -> None:
    ended = threading.Event()

    def script(run: Hostile) -> Script:
        try:
            while True:
                yield LOOK
        finally:
            ended.set()

    with Hostile(script):
        pass
    assert ended.is_set()


def test_a_script_has_to_yield() -> None:
    def script(run: Hostile) -> Script:
        yield from ()

    with pytest.raises(threadwire.UsageError, match="yield at least once"):
        with Hostile(script):
            pass


@pytest.mark.parametrize("at_most", [-1, "long", True, float("nan")])
def test_a_wrong_time_fails_at_once(at_most: object) -> None:
    with pytest.raises(threadwire.UsageError, match="at_most"):
        Hostile(lambda run: iter(()), at_most=at_most)  # type: ignore[arg-type, return-value]


def test_several_at_once(plain_server: PlainServer) -> None:
    def script(run: Hostile) -> Script:
        peer = run.connect(plain_server.address)
        yield 0
        yield from run.stay([peer])

    begun = time.monotonic()
    with Hostile(script) as one, Hostile(script) as two:
        plain_server.accept().close()
        plain_server.accept().close()
        one.wait()
        two.wait()
    assert time.monotonic() - begun < PATIENCE
