"""The proxy between real sockets: what arrives, in what order, and how it ends."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import threadwire
from threadwire.testing import (
    Chaos,
    Delay,
    Fault,
    FaultProxy,
    Glue,
    Peer,
    Reset,
    Split,
    Stall,
    Step,
    StepKind,
    Truncate,
    eventually,
    serving,
)

from ..support import PATIENCE, reverse
from .conftest import DATA, PlainServer, hear, hear_all, hear_beside, hear_until_reset, through

harmless = st.lists(
    st.one_of(
        st.builds(Split, st.integers(500, 5000)),
        st.builds(Glue, st.integers(2, 100_000), st.floats(0, 0.005)),
        st.builds(Delay, st.floats(0, 0.001), st.integers(1000, 50_000)),
        st.builds(Stall, st.integers(0, 100_000), st.floats(0, 0.01)),
        st.builds(Chaos),
    ),
    max_size=3,
)

# Bytes.


def test_without_faults_it_passes_everything_on(plain_server: PlainServer) -> None:
    with FaultProxy(plain_server.address) as proxy:
        client, server = through(proxy, plain_server)
        with client:
            heard = hear_beside(server)
            client.say(DATA)
            client.finish()
            assert heard() == DATA
            server.sendall(DATA[::-1])
            server.shutdown(socket.SHUT_WR)
            assert client.hear_all() == DATA[::-1]
    assert "connection 1 up: 300000 bytes, finished\n" in proxy.history
    assert proxy.history.endswith("connection 1 down: 300000 bytes, finished")


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(harmless, st.integers(0, 1000))
def test_harmless_faults_change_no_byte_in_either_direction(
    plain_server: PlainServer, faults: list[Fault], seed: int
) -> None:
    with FaultProxy(plain_server.address, *faults, seed=seed) as proxy:
        client, server = through(proxy, plain_server)
        with client, server:
            up, down = hear_beside(server), hear_beside(client.socket)
            client.say(DATA)
            client.finish()
            server.sendall(DATA[::-1])
            server.shutdown(socket.SHUT_WR)
            assert up() == DATA
            assert down() == DATA[::-1]


def test_the_client_may_go_on_listening_when_it_has_ended_its_side(
    plain_server: PlainServer,
) -> None:
    with FaultProxy(plain_server.address, Split(2)) as proxy:
        client, server = through(proxy, plain_server)
        with client:
            client.say(b"question")
            client.finish()
            assert hear_all(server) == b"question"
            server.sendall(b"answer")
            assert client.hear(6) == b"answer"
            server.close()
            assert client.hear_all() == b""


def test_the_server_may_go_on_listening_when_it_has_ended_its_side(
    plain_server: PlainServer,
) -> None:
    with FaultProxy(plain_server.address, Split(2)) as proxy:
        client, server = through(proxy, plain_server)
        with client:
            server.shutdown(socket.SHUT_WR)
            assert client.hear_all() == b""
            client.say(b"last words")
            client.finish()
            assert hear_all(server) == b"last words"


# Each fault does what it says.


def test_splits_arrive_apart(plain_server: PlainServer) -> None:
    with FaultProxy(plain_server.address, Split(1), Delay(0.01, every=1), seed=1) as proxy:
        client, server = through(proxy, plain_server)
        with client:
            client.say(b"0123456789" * 3)
            client.finish()
            chunks = list(iter(lambda: server.recv(65536), b""))
    assert b"".join(chunks) == b"0123456789" * 3
    assert len(chunks) > 3


def test_glued_bytes_arrive_together(plain_server: PlainServer) -> None:
    with FaultProxy(plain_server.address, Glue(10, PATIENCE), seed=1) as proxy:
        client, server = through(proxy, plain_server)
        with client:
            for _ in range(2):
                for n in range(10):
                    client.say(b"%d" % n)
                assert server.recv(65536) == b"0123456789"
            client.say(b"the end")
            client.finish()
            assert server.recv(65536) == b"the end"


def test_glued_bytes_do_not_wait_for_ever(plain_server: PlainServer) -> None:
    with FaultProxy(plain_server.address, Glue(1000, 0.01)) as proxy:
        client, server = through(proxy, plain_server)
        with client:
            for _ in range(3):  # question and answer, each far shorter than what is glued
                client.say(b"question")
                assert hear(server, 8) == b"question"
                server.sendall(b"answer")
                assert client.hear(6) == b"answer"


def test_delays_take_as_long_as_they_say(plain_server: PlainServer) -> None:
    with FaultProxy(plain_server.address, Delay(0.1, every=2), seed=5) as proxy:
        client, server = through(proxy, plain_server)
        with client:
            begun = time.monotonic()
            client.say(b"0123456789")
            assert hear(server, 10) == b"0123456789"
            seconds = time.monotonic() - begun
            steps = proxy.steps(1, "up")
    assert len(steps) > 3
    assert seconds >= sum(step.seconds for step in steps)


def test_a_stall_lets_nothing_through_until_it_is_released(plain_server: PlainServer) -> None:
    with FaultProxy(plain_server.address, Stall(4, direction="up")) as proxy:
        client, server = through(proxy, plain_server)
        with client:
            client.say(b"go on")
            client.finish()
            assert hear(server, 4) == b"go o"
            proxy.wait_stalled()
            server.sendall(b"the other direction goes on")
            assert client.hear(27) == b"the other direction goes on"
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.recv(1)
            server.settimeout(PATIENCE)
            proxy.release()
            assert hear_all(server) == b"n"
    assert proxy.steps(1, "up") == [Step(4, StepKind.STALL, float("inf"))]


def test_a_stall_holds_back_the_end_alone(plain_server: PlainServer) -> None:
    with FaultProxy(plain_server.address, Stall(5, direction="down")) as proxy:
        client, server = through(proxy, plain_server)
        with client:
            server.sendall(b"reply")
            server.shutdown(socket.SHUT_WR)
            assert client.hear(5) == b"reply"
            proxy.wait_stalled()
            assert client.overhear() is None
            assert not client.ended
            proxy.release()
            assert client.hear_all() == b""


def test_a_stall_of_some_seconds_ends_by_itself(plain_server: PlainServer) -> None:
    with FaultProxy(plain_server.address, Stall(1, 0.05)) as proxy:
        client, server = through(proxy, plain_server)
        with client:
            begun = time.monotonic()
            client.say(b"ab")
            assert hear(server, 2) == b"ab"
            assert time.monotonic() - begun >= 0.05


def test_waiting_in_vain_for_a_stall(plain_server: PlainServer) -> None:
    with FaultProxy(plain_server.address) as proxy:
        with pytest.raises(threadwire.TimeLimitError, match="1 stalled streams, but 0"):
            proxy.wait_stalled(timeout=0.01)


@pytest.mark.parametrize("place", [0, 1, 100, 200_000])
def test_truncate_ends_one_direction_at_its_byte(plain_server: PlainServer, place: int) -> None:
    fault = Truncate(place, direction="up")
    with FaultProxy(plain_server.address, Split(70_000), fault) as proxy:
        client, server = through(proxy, plain_server)
        with client:
            heard = hear_beside(server)
            client.say(DATA)
            assert heard() == DATA[:place]
            server.sendall(b"the other direction goes on")
            assert client.hear(27) == b"the other direction goes on"
            client.say(DATA)  # dropped: nobody waits for it, and nothing is held


@pytest.mark.parametrize("direction", ["up", "down"])
def test_reset_before_the_first_byte(plain_server: PlainServer, direction: str) -> None:
    fault = Reset(0, direction=direction)  # type: ignore[arg-type]
    with FaultProxy(plain_server.address, fault) as proxy:
        # Which one depends on who is quicker.
        with pytest.raises((ConnectionResetError, threadwire.ConnectError)):
            with Peer(proxy.address) as client:
                client.hear(1)
        server = plain_server.accept()
        if server.family == socket.AF_UNIX:
            assert hear_all(server) == b""
        else:
            assert hear_until_reset(server) == b""


@pytest.mark.parametrize("place", [1, 100, 200_000])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_reset_comes_behind_its_byte_and_to_both(
    plain_server: PlainServer, place: int, direction: str
) -> None:
    fault = Reset(place, direction=direction)  # type: ignore[arg-type]
    with FaultProxy(plain_server.address, fault) as proxy:
        client, server = through(proxy, plain_server)
        with client:
            source, target = client.socket, server
            if direction == "down":
                source, target = server, client.socket
            with ThreadPoolExecutor() as pool:
                if target is server and server.family == socket.AF_UNIX:
                    heard = pool.submit(hear_all, target)  # it knows no reset
                else:
                    heard = pool.submit(hear_until_reset, target)
                try:
                    source.sendall(DATA[: place + 50_000])
                    left = source.recv(1)
                except (ConnectionResetError, BrokenPipeError):
                    left = b""
                assert heard.result(PATIENCE) == DATA[:place]
            assert left == b""
            eventually(lambda: "open" not in proxy.history)
    assert f"connection 1 {direction}: {place} bytes, reset: reset@{place}" in proxy.history


def test_reset_waits_until_what_was_before_it_has_arrived() -> None:
    """The receiver's window is closed when the reset is due."""
    size = 400_000
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    address = threadwire.Address("tcp", "127.0.0.1", listening.getsockname()[1])
    with listening, FaultProxy(address, Reset(size)) as proxy, Peer(proxy.address) as client:
        server, _ = listening.accept()
        with server:
            server.settimeout(PATIENCE)
            client.say(bytes(size))
            eventually(lambda: proxy._links[1].up.delivered == size)
            assert hear_until_reset(server) == bytes(size)


def test_faults_are_for_the_connections_they_name(plain_server: PlainServer) -> None:
    with FaultProxy(plain_server.address, Truncate(2, connections=[2])) as proxy:
        for expected in (b"hello", b"he", b"hello"):
            client, server = through(proxy, plain_server)
            with client:
                client.say(b"hello")
                client.finish()
                assert hear_all(server) == expected
        assert proxy.connections == 3


# Life.


def test_closing_resets_what_is_open_and_can_be_done_again(plain_server: PlainServer) -> None:
    proxy = FaultProxy(plain_server.address, Stall(0)).start()
    client, server = through(proxy, plain_server)
    with client:
        proxy.wait_stalled(2)
        proxy.close()
        proxy.close()
        with pytest.raises(ConnectionResetError):
            client.hear(1)
        with pytest.raises(threadwire.ConnectError):
            Peer(proxy.address)
        server.close()
    assert "connection 1 up: 0 bytes, open: stall@0(until released)" in proxy.history
    proxy.release()  # nothing is under way any more


def test_closing_without_a_start(plain_server: PlainServer) -> None:
    proxy = FaultProxy(plain_server.address)
    proxy.close()
    with pytest.raises(threadwire.UsageError, match="not been started"):
        _ = proxy.address


def test_it_starts_once(plain_server: PlainServer) -> None:
    with FaultProxy(plain_server.address) as proxy:
        with pytest.raises(threadwire.UsageError, match="starts once"):
            proxy.start()


class _Broken(Fault):
    __slots__ = ("connections", "direction")

    def __init__(self) -> None:
        self._limit_to(None, None)

    def steps(self, chance: Random) -> Iterator[Step]:
        raise ZeroDivisionError


def test_a_proxy_that_fails_says_so(plain_server: PlainServer) -> None:
    proxy = FaultProxy(plain_server.address, _Broken()).start()
    with Peer(proxy.address) as client:
        with pytest.raises((ConnectionResetError, threadwire.TimeLimitError)):
            assert client.hear(1) == b"", "closed by the proxy"
            raise ConnectionResetError
    with pytest.raises(RuntimeError, match="the proxy has failed") as caught:
        proxy.close()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    proxy.close()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: FaultProxy("localhost:1"), "localhost:1"),
        (lambda: FaultProxy("fd://3"), "upstream"),
        (lambda: FaultProxy("tcp://h:1", "split"), "a fault must be"),  # type: ignore[arg-type]
        (lambda: FaultProxy("tcp://h:1", Split), "a fault must be"),  # type: ignore[arg-type]
        (lambda: FaultProxy("tcp://h:1", seed="x"), "seed"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_fail_at_once_and_are_named(make: Callable[[], object], named: str) -> None:
    with pytest.raises(threadwire.UsageError, match=named):
        make()


# A server of threadwire behind it.


@pytest.mark.parametrize(
    "framing",
    [
        threadwire.Lines(),
        threadwire.Lines(newline=b"\r\n"),
        threadwire.Delimited(b"END"),
        threadwire.LengthPrefixed(2),
        threadwire.LengthPrefixed(4, "little", offset=2, inclusive=True),
        threadwire.Netstring(),
    ],
    ids=str,
)
@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_every_framing_survives_a_harmless_network(
    framing: threadwire.Framing, scheme: str, tmp_path: Path
) -> None:
    address = "tcp://127.0.0.1:0" if scheme == "tcp" else f"unix://{tmp_path}/s.sock"
    messages = [b"%05d" % n * (n % 40 + 1) for n in range(200)]
    with serving(reverse, address, framing=framing) as served:
        with FaultProxy(served.address, Split(7), Chaos()) as proxy:
            client = served.connect(proxy.address)
            replies = list(client.pipeline(messages))
            assert replies == [message[::-1] for message in messages]
            for message in messages[:20]:
                assert client.request(message) == message[::-1]


@pytest.mark.parametrize("seed", range(8))
def test_a_lossy_network_loses_answers_but_makes_none_up(seed: int) -> None:
    right = 0
    with serving(reverse, framing=threadwire.Netstring()) as served:
        with FaultProxy(served.address, Chaos(loss=0.5), seed=seed) as proxy:
            for _ in range(8):
                try:
                    client = served.connect(proxy.address)
                    for n in range(30):
                        assert client.request(b"%d" % n * 20) == (b"%d" % n * 20)[::-1]
                        right += 1
                except (threadwire.ConnectionClosed, threadwire.FramingError):
                    client.close()
                except threadwire.ConnectError:
                    pass  # reset before the first byte
        eventually(lambda: not served.server.connections)
    assert right
