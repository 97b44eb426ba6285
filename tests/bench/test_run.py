"""Whole runs, against services of threadwire's own: every way in which load is made."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import threadwire
from threadwire.bench.expect import AnyReply, Check, Echo, Matches, Reverse
from threadwire.bench.messages import Fixed, FromFile, Sizes
from threadwire.bench.plan import Plan
from threadwire.bench.results import Progress, Result
from threadwire.bench.run import run

from ..conftest import Serving
from ..support import PATIENCE, read_to_the_end, reverse, signal_here
from ..tls_support import authority, certificate
from .services import scripted

Bench = Callable[..., Result]


def bench(url: str, **options: Any) -> Result:
    """A short run, of replies reversed."""
    given: dict[str, Any] = {"duration": 0.3, "warmup": 0.0, "clients": 8, "expect": Reverse()}
    return run(Plan(url=url, **{**given, **options}))


def url_of(server: threadwire.Server) -> str:
    return str(server.addresses[0])


def holds_together(result: Result) -> None:
    """What is true of every run in which all went well."""
    assert not result.errors
    assert not result.interrupted
    assert result.messages > 0
    assert result.messages_per_second == pytest.approx(result.messages / result.seconds)
    assert sum(interval.messages for interval in result.intervals) == result.messages
    assert result.latency.count >= result.messages
    assert 0 < result.latency.min <= result.latency.percentile(50) <= result.latency.max
    assert result.service.count == result.latency.count
    assert result.lost.count == 0
    assert 0 < result.generator.cpu <= 1
    assert Result.from_json(result.to_json()).to_json() == result.to_json()


WAYS: dict[str, dict[str, Any]] = {
    "closed": {},
    "pipelined": {"pipeline": 4},
    "open": {"rate": 500.0},
    "open-pipelined": {"rate": 500.0, "pipeline": 4, "clients": 2},
    "poisson": {"rate": 500.0, "arrivals": "poisson"},
    "processes": {"processes": 2},
    "open-processes": {"processes": 2, "rate": 500.0},
    "connect-each": {"connect_each": True},
    "open-connect-each": {"connect_each": True, "rate": 200.0},
    "sizes": {"messages": Sizes(1, 4096, "log")},
    "large": {"messages": Sizes(400_000), "pipeline": 3, "clients": 2},
    "fixed": {"messages": Fixed(b"abc")},
    "any": {"expect": AnyReply()},
    "any-pipelined": {"expect": AnyReply(), "pipeline": 4},
    "pattern": {"expect": Matches(b"[0-9A-Za-z_-]{64}")},
    "function": {"expect": Check("tests.bench.services:is_reversed")},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_making_load(serving: Serving, way: str) -> None:
    holds_together(bench(url_of(serving(reverse)), **WAYS[way]))


@pytest.mark.parametrize(
    "framing",
    [
        threadwire.Lines(b"\r\n"),
        threadwire.Delimited(b"\x03"),
        threadwire.Netstring(),
        threadwire.LengthPrefixed(2, "little"),
        threadwire.LengthPrefixed(2, offset=2, inclusive=True),
    ],
    ids=str,
)
@pytest.mark.parametrize("expect", [Echo(), AnyReply()], ids=str)
def test_every_framing(serving: Serving, framing: threadwire.Framing, expect: Any) -> None:
    server = serving(lambda message: message, framing=framing)
    holds_together(bench(url_of(server), framing=framing, expect=expect, duration=0.1))


@pytest.mark.parametrize("options", [{}, {"expect": AnyReply()}, {"messages": Sizes(300_000)}])
def test_raw_messages(serving: Serving, options: dict[str, Any]) -> None:
    # What is large comes and goes in pieces, and pieces of an echo are those of the message.
    server = serving(lambda message: message, framing=threadwire.Raw())
    given = {"framing": threadwire.Raw(), "expect": Echo(), "duration": 0.1}
    holds_together(bench(url_of(server), **{**given, **options}))


@pytest.mark.parametrize("options", [{}, {"pipeline": 4}, {"rate": 200.0}, {"connect_each": True}])
def test_a_unix_socket(serving: Serving, tmp_path: Path, options: dict[str, Any]) -> None:
    server = serving(reverse, f"unix://{tmp_path}/s")
    holds_together(bench(url_of(server), duration=0.1, **options))


TLS_WAYS = ["closed", "pipelined", "open", "connect-each", "large", "any"]


@pytest.mark.parametrize("way", TLS_WAYS)
def test_tls(serving: Serving, tmp_path: Path, way: str) -> None:
    result = bench(**_secured(serving, tmp_path), **{**WAYS[way], "duration": 0.5})
    holds_together(result)


def _secured(serving: Serving, directory: Path) -> dict[str, Any]:
    authority().cert_pem.write_to_path(str(directory / "ca.pem"))
    pem = directory / "server.pem"
    certificate().private_key_and_cert_chain_pem.write_to_path(str(pem))
    pem.chmod(0o600)
    server = serving(reverse, "tls://127.0.0.1:0", tls_cert=str(pem))
    return {"url": url_of(server), "tls_ca": str(directory / "ca.pem")}


def test_a_server_that_is_not_trusted_is_not_talked_to(serving: Serving, tmp_path: Path) -> None:
    given = _secured(serving, tmp_path)
    result = bench(given["url"])
    assert not result.connected
    assert set(result.errors) == {"tls"}
    assert "not trusted" in result.errors["tls"].example
    holds_together(bench(given["url"], tls_verify=False, duration=0.1))
    result = bench(**given, server_name="other.example")
    assert set(result.errors) == {"tls"}


def test_so_many_requests_are_answered(serving: Serving) -> None:
    url = url_of(serving(reverse))
    for options in ({}, {"pipeline": 4}, {"processes": 2}, {"rate": 5000.0}, {"warmup": 0.1}):
        result = bench(url, duration=None, requests=1001, **options)
        holds_together(result)
        assert result.messages == 1001
    result = bench(url, duration=None, requests=101, connect_each=True)
    assert (result.messages, result.connects) == (101, 101)


@pytest.mark.parametrize("way", ["closed", "pipelined", "processes", "open", "connect-each"])
def test_few_requests_are_not_more_for_many_clients(serving: Serving, way: str) -> None:
    options = {**WAYS[way], "duration": None, "warmup": 0.2 * (way == "closed")}
    result = bench(url_of(serving(reverse)), requests=5, **options)
    assert (result.messages, result.latency.count) == (5, 5)


def test_requests_are_shared_as_clients_are(serving: Serving) -> None:
    options = {"clients": 5, "processes": 2, "pipeline": 4, "duration": None}
    assert bench(url_of(serving(reverse)), requests=20, **options).messages == 20


def test_requests_or_duration_whichever_ends_first(serving: Serving) -> None:
    url = url_of(serving(reverse))
    assert bench(url, duration=30.0, requests=100).messages == 100
    assert bench(url, duration=0.1, requests=10**9).seconds < 10


def test_the_schedule_is_kept(serving: Serving) -> None:
    result = bench(url_of(serving(reverse)), rate=400.0, duration=1.0)
    holds_together(result)
    # Whatever the machine does, what is due in a second is sent, in it or right after it.
    assert 399 <= result.latency.count <= 401


def test_warm_up_and_ramp_are_not_measured(serving: Serving) -> None:
    seen: list[Progress] = []
    url = url_of(serving(reverse))
    plan = Plan(url=url, rate=400.0, ramp=0.5, warmup=0.5, duration=0.5, expect=Reverse())
    result = run(plan, seen.append)
    # 100 in the ramp, 200 in the warm-up, and 200 that are measured; a few may come late.
    assert result.latency.count == pytest.approx(200, abs=40)
    assert result.seconds == pytest.approx(0.5, abs=0.4)
    phases = [progress.phase for progress in seen]
    assert phases == sorted(
        phases, key=["connecting", "ramp", "warmup", "measuring", "finishing"].index
    )
    assert {"ramp", "warmup", "measuring"} <= set(phases)
    assert all(progress.planned == 1.5 for progress in seen)
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)


def test_in_a_ramp_clients_begin_one_after_the_other(serving: Serving) -> None:
    busy: list[int] = []
    server = serving(reverse)

    def watch(progress: Progress) -> None:
        if progress.phase == "ramp":
            busy.append(sum(c.messages_received > 0 for c in server.connections))

    run(Plan(url=url_of(server), clients=10, ramp=1.0, warmup=0.0, duration=0.1), watch)
    assert busy == sorted(busy)
    assert any(0 < count < 10 for count in busy)


def test_a_connection_of_its_own_for_every_message(serving: Serving) -> None:
    result = bench(url_of(serving(reverse)), connect_each=True)
    assert result.connects == pytest.approx(result.messages, abs=8)
    assert result.connects_per_second == pytest.approx(result.connects / result.seconds)
    assert result.connect.count >= result.connects
    # Connecting is part of the latency then.
    assert result.latency.min >= result.connect.min


def test_connections_to_a_loopback_address_come_from_many(serving: Serving) -> None:
    """One address would have no port left after some 28,000 of them."""
    hosts: set[str] = set()

    def note(message: bytes, connection: threadwire.Connection) -> bytes:
        hosts.add(connection.peer.host)
        return message

    url = url_of(serving(note))
    bench(url, connect_each=True, expect=Echo(), requests=100, duration=None)
    assert len(hosts) > 50


def test_every_address_of_a_host_is_tried(serving: Serving) -> None:
    port = serving(reverse).addresses[0].port
    for options in ({}, {"connect_each": True}):
        holds_together(bench(f"tcp://localhost:{port}", duration=0.1, **options))


def test_connections_stay(serving: Serving) -> None:
    result = bench(url_of(serving(reverse)))
    assert (result.connects_before, result.connects) == (8, 0)
    assert result.connect.count == 8


def test_bytes_are_counted_with_their_framing(serving: Serving) -> None:
    result = bench(url_of(serving(reverse)), duration=None, requests=1000, clients=1)
    assert result.bytes_received == 1000 * 65
    assert result.bytes_sent == pytest.approx(1000 * 65, abs=65)


def test_the_lines_of_a_file_are_sent_in_turn(serving: Serving, tmp_path: Path) -> None:
    seen: list[bytes] = []

    def note(message: bytes) -> bytes:
        seen.append(message)
        return message

    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\nthree\n")
    url = url_of(serving(note))
    plan = {"messages": FromFile(path), "clients": 1, "requests": 7, "duration": None}
    bench(url, expect=Echo(), **plan)
    assert seen == [b"one", b"two", b"three", b"one", b"two", b"three", b"one"]


def test_a_pipeline_is_refilled_as_replies_come() -> None:
    asked_after: list[int] = []  # so many whole replies

    def script(connected: socket.socket) -> None:
        received = b""
        answered = sent = 0
        for whole, begun in ((1, 0), (2, 63), (5, 0), (5, 10), (7, 0), (10, 0)):
            while len(asked_after) < min(answered + 4, 10):
                data = connected.recv(65536)
                assert data, "more is to be asked"
                received += data
                asked_after.extend([answered] * (received.count(b"\n") - len(asked_after)))
            replies = b"".join(line[::-1] + b"\n" for line in received.split(b"\n"))
            end = 65 * whole + begun
            connected.sendall(replies[sent:end])
            answered, sent = whole, end
        read_to_the_end(connected)

    with scripted(script) as service:
        options = {"clients": 1, "pipeline": 4, "requests": 10, "duration": None}
        result = bench(service.url, **options)
    holds_together(result)
    assert result.messages == 10
    assert asked_after == [0, 0, 0, 0, 1, 2, 5, 5, 5, 7]


def test_what_waits_for_room_counts_as_sent() -> None:
    """The third request has to wait while the second one is being taken, at leisure."""
    message = b"x" * (16 << 20)  # more than the system takes at once
    one_answered = threading.Event()

    def script(connected: socket.socket) -> None:
        for count, replies in ((1, b"ok\n"), (2, b"ok\nok\n")):
            left = count * (len(message) + 1)
            while left:
                data = connected.recv(min(left, 1 << 20))
                assert data, "all of it is to come"
                left -= len(data)
            connected.sendall(replies)
            assert one_answered.wait(PATIENCE)
        read_to_the_end(connected)

    def watch(progress: Progress) -> None:
        if progress.messages:
            one_answered.set()

    with scripted(script) as service:
        plan = Plan(
            url=service.url,
            clients=1,
            pipeline=2,
            requests=3,
            duration=None,
            warmup=0.0,
            messages=Fixed(message),
            expect=AnyReply(),
        )
        result = run(plan, watch)
    holds_together(result)
    assert result.messages == 3


def test_what_a_function_prints_is_not_in_the_way(
    serving: Serving, capfd: pytest.CaptureFixture[str]
) -> None:
    function = Check("tests.bench.services:is_reversed")
    bench(url_of(serving(reverse)), expect=function, requests=3, duration=None)
    written = capfd.readouterr()
    assert written.out == ""
    assert "this is not part of any result" in written.err


# Ending early.


def test_it_can_be_stopped(serving: Serving) -> None:
    stop = threading.Event()

    def watch(progress: Progress) -> None:
        if progress.phase == "measuring" and progress.messages > 0:
            stop.set()

    plan = Plan(url=url_of(serving(reverse)), warmup=0.0, duration=60.0, processes=2)
    result = run(plan, watch, stop)
    assert result.interrupted
    assert result.messages > 0
    assert 0 < result.seconds < 30
    assert not result.errors
    assert result.lost.count <= 64, "what was on its way, if it did not come in time"


def test_ctrl_c_stops_it(serving: Serving) -> None:
    measuring = threading.Event()

    def watch(progress: Progress) -> None:
        if progress.phase == "measuring" and progress.messages > 0:
            measuring.set()

    plan = Plan(url=url_of(serving(reverse)), warmup=0.0, duration=60.0)
    interrupt = signal_here(signal.SIGINT, measuring.is_set)
    try:
        result = run(plan, watch)
    finally:
        interrupt.join()
    assert result.interrupted
    assert result.messages > 0


def test_ctrl_c_while_nothing_is_measured_yet(serving: Serving) -> None:
    warming = threading.Event()
    plan = Plan(url=url_of(serving(reverse)), warmup=60.0)
    interrupt = signal_here(signal.SIGINT, warming.is_set)
    try:
        result = run(plan, lambda progress: warming.set() if progress.messages else None)
    finally:
        interrupt.join()
    assert result.interrupted
    assert (result.messages, result.seconds) == (0, 0)


def test_more_clients_than_the_system_allows_descriptors() -> None:
    hard = os.sysconf("SC_OPEN_MAX")
    if hard > 500_000:
        pytest.skip("as many as may be asked for")
    with pytest.raises(threadwire.UsageError, match="descriptors a process"):
        run(Plan(url="tcp://127.0.0.1:1", clients=600_000))


def test_a_host_that_is_not_known() -> None:
    with pytest.raises(threadwire.ConnectError, match="not known"):
        run(Plan(url="tcp://no-such-host.invalid:1"))
