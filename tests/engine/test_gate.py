"""How many clients may come, and how fast; what is said to those who may not."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

import threadwire
from threadwire import CloseReason, Connection
from threadwire.engine.gate import Permits
from threadwire.testing import Clock

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, wait_for
from .ways import both_twins, leave_the_loop, server_side


def echo(message: bytes) -> bytes:
    return message


@threadwire.session
def echo_session(connection: Connection) -> None:
    for message in connection:
        connection.send(message)


every_handler = pytest.mark.parametrize("handler", [echo, echo_session], ids=["loop", "session"])


def turned(server: threadwire.Server, clock: Clock, seconds: float) -> None:
    """Let time pass, and what is due be done: accepting, too, until it rests again."""
    clock.turn(seconds)
    for _ in range(4):
        assert server.healthy(PATIENCE)


# Permits.


def test_as_many_permits_as_there_are() -> None:
    permits = Permits(3)
    assert [permits.take(_never) for _ in range(5)] == [True, True, True, False, False]


def _never() -> None:
    raise AssertionError("called")


def test_whoever_waits_is_called_once_when_one_is_given_back() -> None:
    permits, calls = Permits(1), list[str]()
    permits.take(_never)
    permits.take(lambda: calls.append("a"))
    permits.take(lambda: calls.append("b"))
    permits.give_back()
    assert calls == ["b"]  # there is one who waits: the acceptor
    assert permits.take(_never)
    permits.give_back()
    assert calls == ["b"]


def test_nobody_is_called_after_forget() -> None:
    """With ``forget`` doing nothing: a loop that has ended is posted to."""
    permits = Permits(1)
    permits.take(_never)
    permits.take(_never)
    permits.forget()
    permits.give_back()
    assert permits.take(_never)


def test_permits_may_become_more_and_fewer() -> None:
    """With ``_call_wanted`` calling whoever waits, whatever is free: too many."""
    permits, calls = Permits(2), list[str]()
    assert permits.take(_never)
    assert permits.take(_never)
    permits.resize(1)
    assert not permits.take(lambda: calls.append("fewer"))
    permits.give_back()
    assert not calls
    permits.give_back()
    assert calls == ["fewer"]
    assert permits.take(_never)
    assert not permits.take(lambda: calls.append("more"))
    permits.resize(2)
    assert calls == ["fewer", "more"]
    assert permits.take(_never)


def test_permits_are_never_too_many_whoever_takes_them() -> None:
    """On builds that have no interpreter's lock, either."""
    permits, most, taken, counted = Permits(5), 0, 0, threading.Lock()

    def take_some() -> None:
        nonlocal most, taken
        for _ in range(500):
            if permits.take(lambda: None):
                with counted:
                    taken += 1
                    most = max(most, taken)
                with counted:
                    taken -= 1
                permits.give_back()

    threads = [threading.Thread(target=take_some) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert most <= 5
    assert all(permits.take(_never) for _ in range(5))


# Beyond max_clients.


@both_twins
@every_handler
def test_overload_wait(serving: Serving, handler: Any, events: Events) -> None:
    """Who is too many waits, with what it has sent, and is served when another one leaves.

    With a permit that is not given back in ``_forget``: the third waits for ever.
    """
    server = serving(handler, max_clients=2)
    with Peer(server.address) as one, Peer(server.address) as two:
        for peer in (one, two):
            peer.say(b"first\n")
            assert peer.hear_line() == b"first\n"
        waiting = [Peer(server.address) for _ in range(3)]
        for n, peer in enumerate(waiting):
            peer.say(b"%d\n" % n)
        eventually(lambda: events.named("accept-paused"))
        assert len(server.connections) == 2
        one.say(b"again\n")
        assert one.hear_line() == b"again\n"
        for leaving in (one, two, waiting[0]):
            leaving.close()
    for n, peer in enumerate(waiting[1:], 1):
        assert peer.hear_line() == b"%d\n" % n
        peer.close()
    assert server.refused == {}
    where = str(server.address)
    assert events.named("accept-paused") == [{"reason": "max_clients=2", "listen": where}]


FRAMINGS = [
    threadwire.Lines(),
    threadwire.Delimited(b"\x03"),
    threadwire.LengthPrefixed(2),
    threadwire.Netstring(),
    threadwire.Raw(),
    threadwire.Auto(),
]


@both_twins
@every_handler
@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
def test_overload_refuse(serving: Serving, handler: Any, framing: threadwire.Framing) -> None:
    """Who is too many gets the reply in the server's framing, and the end.

    With ``refuse`` not looked at: they wait. With the reply written without its framing: they
    hear something else.
    """
    server = serving(
        handler, max_clients=1, overload="refuse", busy_reply=b"come back", framing=framing
    )
    request = framing.codec().encode(b"here")
    with Peer(server.address) as first:
        first.say(request)
        assert first.hear(len(request)) == request
        for count in range(1, 4):
            with Peer(server.address) as refused:
                assert refused.hear_all() == framing.codec().encode(b"come back")
            assert server.refused == {CloseReason.BUSY: count}
            assert len(server.connections) == 1
        first.say(request)
        assert first.hear(len(request)) == request
    eventually(lambda: not server.connections)
    with Peer(server.address) as next_one:
        next_one.say(request)
        assert next_one.hear(len(request)) == request


def test_a_client_knows_the_word_for_it(serving: Serving) -> None:
    server = serving(echo, max_clients=1, overload="refuse", busy_reply=b"busy")
    with Peer(server.address) as first:
        first.say(b"x\n")
        first.hear_line()
        with threadwire.connect(server.address, busy_reply=b"busy") as client:
            with pytest.raises(threadwire.ServerBusy):
                client.request(b"hello")


@both_twins
@every_handler
@pytest.mark.parametrize("size", [100, 4_000_000])
def test_the_reply_reaches_a_client_that_has_sent_much(
    serving: Serving, handler: Any, size: int
) -> None:
    """What it has sent is read and dropped, for a moment: it would make the end a reset.

    With the stream closed as soon as the reply is written: a reset, and no reply.
    """
    server = serving(handler, max_clients=1, overload="refuse", busy_reply=b"busy")
    with Peer(server.address) as first:
        first.say(b"x\n")
        first.hear_line()
        with Peer(server.address) as refused:
            refused.say(b"x" * size + b"\n")
            assert refused.hear_all() == b"busy\n"
            refused.say(b"more\n")


@every_handler
def test_without_a_reply_it_is_just_the_end(serving: Serving, handler: Any) -> None:
    server = serving(handler, max_clients=1, overload="refuse")
    with Peer(server.address) as first:
        first.say(b"x\n")
        first.hear_line()
        with Peer(server.address) as refused:
            assert refused.hear_all() == b""
    assert server.refused == {CloseReason.BUSY: 1}


@every_handler
def test_max_refusals(serving: Serving, handler: Any) -> None:
    """So many are told at once; the others are just closed, and counted all the same.

    Time stands still, so those who are told stay until they leave. With no bound: all are told.
    With ``_turned_away`` not counted down: nobody is any more.
    """
    server = serving(
        handler,
        max_clients=1,
        overload="refuse",
        busy_reply=b"busy",
        max_refusals=2,
        clock=Clock(),
    )
    with Peer(server.address) as first, Peer(server.address) as one, Peer(server.address) as two:
        assert one.hear_all() == two.hear_all() == b"busy\n"
        with Peer(server.address) as third:
            assert third.hear_all() == b""
        assert server.refused == {CloseReason.BUSY: 3}
        two.close()
        eventually(lambda: len(server._reception.connections) == 2)
        with Peer(server.address) as fourth:
            assert fourth.hear_all() == b"busy\n"
        first.say(b"still\n")
        assert first.hear_line() == b"still\n"
    assert server.refused == {CloseReason.BUSY: 4}


def test_no_refusals_at_all_are_told_with_max_refusals_0(serving: Serving) -> None:
    server = serving(echo, max_clients=1, overload="refuse", busy_reply=b"busy", max_refusals=0)
    with Peer(server.address), Peer(server.address) as refused:
        assert refused.hear_all() == b""


def test_who_is_being_refused_is_cut_without_being_reported(serving: Serving) -> None:
    """It is no client: neither in the report's counts nor among those cut."""
    server = serving(echo, max_clients=1, overload="refuse", busy_reply=b"busy", clock=Clock())
    with Peer(server.address) as first, Peer(server.address) as refused:
        assert refused.hear_all() == b"busy\n"
        first.close()
        eventually(lambda: not server.connections)
        assert len(server._reception.connections) == 1
        assert server.close(0.05) == threadwire.CloseReport(0, (), (), 0)


def test_refusals_are_said_once_an_episode(
    serving: Serving, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a line for each: as many lines as a flood has clients."""
    server = serving(echo, max_clients=1, overload="refuse")
    with Peer(server.address):
        for _ in range(5):
            with Peer(server.address) as refused:
                assert refused.hear_all() == b""
        (line,) = events.named("refused")
        assert (line["reason"], line["count"]) == (CloseReason.BUSY, 1)
        assert line["peer"].host == "127.0.0.1"
        monkeypatch.setattr("threadwire.engine.admission._EPISODE", -1.0)  # each one is an episode
        with Peer(server.address) as refused:
            assert refused.hear_all() == b""
    assert [line["count"] for line in events.named("refused")] == [1, 1]
    assert server.refused == {CloseReason.BUSY: 6}
    assert not events.named("opened")[1:]


def test_a_long_episode_is_told_of_again(
    serving: Serving, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threadwire.engine.admission._REMINDER", -1.0)
    server = serving(echo, max_clients=1, overload="refuse")
    with Peer(server.address):
        for _ in range(3):
            with Peer(server.address) as refused:
                assert refused.hear_all() == b""
    assert [line["count"] for line in events.named("refused")] == [1, 2, 3]


# How fast.


def accepted(events: Events) -> int:
    return len(events.named("opened"))


@both_twins
@pytest.mark.parametrize("rate", [1, 5, 7.5])
def test_accept_rate(serving: Serving, events: Events, rate: float) -> None:
    """A second's worth comes at once, then so many a second; in the end, all.

    With the tokens not taken: all at once. With ``_await_token`` not asking to be called later:
    nobody any more.
    """
    clock = Clock()
    server = serving(echo, accept_rate=rate, clock=clock)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(20)]
        for n, peer in enumerate(peers):
            peer.say(b"%d\n" % n)
        eventually(lambda: events.named("accept-paused"))
        assert accepted(events) == int(rate)
        passed = 0.0
        while accepted(events) < 20:
            turned(server, clock, 0.5)
            passed += 0.5
            assert accepted(events) <= rate + passed * rate
            assert accepted(events) >= min(20, int(rate + passed * rate - 1))
        for n, peer in enumerate(peers):
            assert peer.hear_line() == b"%d\n" % n
    assert len(events.named("accept-paused")) == 1
    assert events.named("accept-paused")[0]["reason"] == f"accept_rate={rate:g}"


def test_a_rate_below_one_a_second(serving: Serving, events: Events) -> None:
    """With no token put by for less than a second's worth: nobody ever."""
    clock = Clock()
    server = serving(echo, accept_rate=0.1, clock=clock)
    with Peer(server.address), Peer(server.address):
        eventually(lambda: events.named("accept-paused"))
        assert accepted(events) == 1
        turned(server, clock, 9.5)
        assert accepted(events) == 1
        turned(server, clock, 0.6)
        assert accepted(events) == 2


def test_a_quiet_time_saves_no_more_than_a_seconds_worth(serving: Serving, events: Events) -> None:
    clock = Clock()
    server = serving(echo, accept_rate=3, clock=clock)
    turned(server, clock, 1000)
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(Peer(server.address))
        eventually(lambda: events.named("accept-paused"))
        turned(server, clock, 0.1)
        assert accepted(events) == 3


def test_the_rate_used_up_is_no_event_while_nobody_waits(serving: Serving, events: Events) -> None:
    """With a pause as soon as there is no token: lines for each client that comes now and then."""
    clock = Clock()
    server = serving(echo, accept_rate=1, clock=clock)
    for n in range(3):
        with Peer(server.address) as peer:
            peer.say(b"x\n")
            assert peer.hear_line() == b"x\n"
        assert accepted(events) == n + 1
        turned(server, clock, 1.1)
    assert not events.named("accept-paused")


def test_by_the_systems_clock_all_are_served_in_the_end(serving: Serving) -> None:
    server = serving(echo, accept_rate=100)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(120)]
        for peer in peers:
            peer.say(b"x\n")
        for peer in peers:
            assert peer.hear_line() == b"x\n"


# Threads.


def blocking() -> tuple[Callable[[bytes], bytes], threading.Event]:
    """A handler whose clients block until the event is set, and those that do not say so."""
    go_on = threading.Event()

    def handler(message: bytes) -> bytes:
        if message == b"block":
            wait_for(go_on)
        return message

    return handler, go_on


def test_max_threads_bounds_those_that_are_lent(serving: Serving, events: Events) -> None:
    """Further suspects wait for one, in order; quick clients do not notice.

    With ``_most`` without the option: all three have one at once.
    """
    handler, go_on = blocking()
    server = serving(handler, max_threads=1)
    with contextlib.ExitStack() as stack:
        suspects = [stack.enter_context(Peer(server.address)) for _ in range(3)]
        quick = stack.enter_context(Peer(server.address))
        connections = [server_side(server, peer) for peer in suspects]
        lender = server._engine._loops[0]._lender
        for n, (peer, connection) in enumerate(zip(suspects, connections, strict=True)):
            eventually(lambda: connection._quick)  # noqa: B023 - called at once
            leave_the_loop(connection)
            peer.say(b"block\n")
            eventually(lambda: len(lender._waiting) == n)  # noqa: B023
        eventually(lambda: connections[0].owner)
        assert connections[1].owner is connections[2].owner is None
        quick.say(b"quick\n")
        assert quick.hear_line() == b"quick\n"
        go_on.set()
        for peer in suspects:
            assert peer.hear_line() == b"block\n"
        assert lender._lent <= 1
    assert [line["max_threads"] for line in events.named("threads-exhausted")] == [1]


def test_more_threads_for_those_who_wait(serving: Serving) -> None:
    """With the lender not told of a change: they wait until somebody gives one back."""
    handler, go_on = blocking()
    server = serving(handler, max_threads=1)
    with Peer(server.address) as one, Peer(server.address) as two:
        lender = server._engine._loops[0]._lender
        for n, peer in enumerate((one, two)):
            connection = server_side(server, peer)
            eventually(lambda: connection._quick)  # noqa: B023
            leave_the_loop(connection)
            peer.say(b"block\n" if n == 0 else b"behind\n")
            eventually(lambda: len(lender._waiting) == n)  # noqa: B023
        server.reconfigure(max_threads=2)
        assert two.hear_line() == b"behind\n"
        go_on.set()
        assert one.hear_line() == b"block\n"


@pytest.mark.parametrize("max_threads", [2, None])
def test_sessions_are_bounded_by_max_threads_only_if_it_is_given(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, max_threads: int | None
) -> None:
    """With the default taken for a bound: a thousand and first session waits, by default."""
    default = threadwire.limits.MAX_THREADS._replace(default=2)
    monkeypatch.setattr("threadwire.limits.MAX_THREADS", default)
    server = serving(echo_session, max_threads=max_threads)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(4)]
        for peer in peers:
            peer.say(b"x\n")
        if max_threads is None:
            for peer in peers:
                assert peer.hear_line() == b"x\n"
            return
        for peer in peers[:2]:
            assert peer.hear_line() == b"x\n"
        assert server.healthy(PATIENCE)
        assert len(server.connections) == 2
        for leaving, comer in ((0, 2), (1, 3)):
            peers[leaving].close()
            assert peers[comer].hear_line() == b"x\n"
