"""Requests that get no reply, and what they do to the percentiles."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from threadwire.bench.expect import AnyReply, Echo, Reverse
from threadwire.bench.plan import Plan
from threadwire.bench.results import Progress, Result
from threadwire.bench.run import run
from threadwire.bench.thresholds import missed, parse_threshold

from ..conftest import Serving
from ..support import read_to_the_end, reverse, wait_for
from ..tls_support import certificate
from .services import Scripted, lines_of, scripted


@contextlib.contextmanager
def falling_silent(after: int) -> Iterator[Scripted]:
    """Echoes so many lines, over all connections, and then none any more."""
    left = after
    lock = threading.Lock()  # of left

    def script(connected: socket.socket) -> None:
        nonlocal left
        for line in lines_of(connected):
            with lock:
                left -= 1
                if left < 0:
                    break
            connected.sendall(line + b"\n")
        read_to_the_end(connected)

    with scripted(script) as service:
        yield service


def bench(url: str, **options: Any) -> Result:
    given: dict[str, Any] = {"clients": 4, "warmup": 0.0, "expect": Echo()}
    return run(Plan(url=url, **{**given, **options}))


def test_a_service_that_loses_requests_is_not_fast() -> None:
    with falling_silent(after=300) as service:
        result = bench(service.url, rate=400.0, duration=1.5, timeout=0.5)
    assert result.messages == 300
    assert result.lost.count == result.error_count
    assert result.latency.count == pytest.approx(600, abs=2), "all that were due"
    assert result.lost.min >= 0.45
    assert result.latency.percentile(99) >= 0.45
    assert result.service.count == 300
    assert len(missed([parse_threshold("p99>100ms"), parse_threshold("max>400ms")], result)) == 2
    assert max(one.max for one in result.intervals if not one.messages) >= 0.45


@pytest.mark.parametrize("pipeline", [1, 3])
def test_in_a_closed_loop_too(pipeline: int) -> None:
    with falling_silent(after=100) as service:
        result = bench(service.url, duration=1.0, timeout=0.3, pipeline=pipeline)
    assert result.latency.count == result.messages + result.lost.count
    assert result.lost.count == result.error_count >= 4 * pipeline
    assert result.latency.max >= 0.3


def test_a_connection_that_cannot_be_made_loses_its_request(serving: Serving) -> None:
    server = serving(reverse)

    def watch(progress: Progress) -> None:
        if progress.messages:
            server.close(0)

    plan = Plan(
        url=str(server.addresses[0]),
        clients=1,
        warmup=0.0,
        duration=0.6,
        connect_each=True,
        expect=Reverse(),
    )
    result = run(plan, watch)
    assert result.errors["connect-refused"].count > 0
    assert result.lost.count == result.error_count


@pytest.mark.parametrize("rate", [None, 400.0])
def test_the_stall_that_made_somebody_end_the_run_is_not_hidden(rate: float | None) -> None:
    stop = threading.Event()

    def watch(progress: Progress) -> None:
        if progress.elapsed > 1.5:
            stop.set()

    with falling_silent(after=200) as service:
        plan = Plan(url=service.url, clients=4, rate=rate, warmup=0.0, duration=60.0, expect=Echo())
        result = run(plan, watch, stop)
    assert result.interrupted
    assert not result.errors, "there might have been replies yet"
    assert result.messages == 200
    assert result.lost.count == 4 if rate is None else result.lost.count > 100
    assert result.latency.max > 0.5


def test_ctrl_c_ends_it_at_once_when_a_process_hangs(serving: Serving) -> None:
    asked, told = threading.Event(), threading.Event()

    class Stop:
        """Set once the process has been stopped in its tracks; that is the first Ctrl-C."""

        def is_set(self) -> bool:
            if asked.is_set():
                told.set()
            return asked.is_set()

    children: list[int] = []

    def watch(progress: Progress) -> None:
        if progress.messages and not asked.is_set():
            for task in Path("/proc/self/task").iterdir():
                children.extend(map(int, (task / "children").read_text().split()))
            for child in children:
                os.kill(child, signal.SIGSTOP)
            asked.set()

    plan = Plan(url=str(serving(reverse).addresses[0]), warmup=0.0, duration=60.0)
    main = threading.get_ident()

    def interrupt_again() -> None:
        wait_for(told)
        signal.pthread_kill(main, signal.SIGINT)

    interrupting = threading.Thread(target=interrupt_again)
    interrupting.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(plan, watch, Stop())
    finally:
        interrupting.join()
    assert children
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


# TLS, with what it can do within one segment, or take long for.


@contextlib.contextmanager
def secured(directory: Path, *, banner: bytes = b"", pause: float = 0.0) -> Iterator[str]:
    """Echoes lines; sends ``banner`` along with the end of its handshake. Its URL."""
    pem = directory / "server.pem"
    certificate().private_key_and_cert_chain_pem.write_to_path(str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # whose last word is the server's
    never = threading.Event()

    def script(connected: socket.socket) -> None:
        coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(coming, going, server_side=True)
        never.wait(pause)
        shaken = False
        while data := connected.recv(65536):
            coming.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                if not shaken:
                    tls.do_handshake()
                    shaken = True
                    tls.write(banner)
                while line := tls.read(65536):
                    tls.write(line)
            connected.sendall(going.read())

    with scripted(script) as service:
        yield service.url.replace("tcp", "tls")


@pytest.mark.parametrize("options", [{}, {"rate": 100.0}, {"pipeline": 3}, {"connect_each": True}])
def test_what_comes_with_the_handshake_is_no_reply(tmp_path: Path, options: dict[str, Any]) -> None:
    with secured(tmp_path, banner=b"welcome\n") as url:
        result = bench(url, duration=0.4, tls_verify=False, expect=AnyReply(), **options)
    assert "nobody had asked" in result.errors["too-much"].example


def test_connecting_is_in_the_latency_and_not_in_the_service_time(tmp_path: Path) -> None:
    with secured(tmp_path, pause=0.2) as url:
        result = bench(url, duration=1.0, tls_verify=False, connect_each=True)
    assert not result.errors
    assert result.service.count == result.latency.count > 0
    assert result.latency.min >= result.connect.min >= 0.2
    assert result.service.min < 0.2
