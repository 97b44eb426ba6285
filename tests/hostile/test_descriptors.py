"""No descriptor to be had, though clients wait."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import time
from typing import Any

import pytest

import threadwire
from threadwire.testing import GoodClient, silent

from .target import ROOT, Target, processor_seconds
from .trial import BESIDE, Trial

LIMIT = 64  # descriptors
CLIENTS = 120  # who want one each
WATCHED = 0.6  # seconds for which the processor is watched
LITTLE = 0.05  # of a processor

PAUSE = 0.02  # seconds between a good client's requests, which cost the processor something, too
# It has one connection for all of them, since nobody gets a new one meanwhile.
PATIENT: dict[str, Any] = {"each": 1 << 30, "pause": PAUSE}


def slowly(number: int) -> bytes:
    time.sleep(PAUSE)
    return b"message %d" % number


def share(pid: int) -> float:
    """Of a processor, that a process uses in the next moment."""
    before, begun = processor_seconds(pid), time.monotonic()
    time.sleep(WATCHED)
    return (processor_seconds(pid) - before) / (time.monotonic() - begun)


@pytest.mark.parametrize("handler", ["quick", "session"])
def test_the_limit_is_lowered_while_it_serves(trial: Trial, handler: str) -> None:
    """Who is there is served on; the others wait, cost nothing, and are served when they can be.

    With no pause in ``Acceptor._failed``: a processor is busy with it. With no episodes in
    ``Acceptor._pause``: ten lines a second.
    """
    used = 0.0

    def attack(count: int, good: GoodClient) -> str:
        nonlocal used
        server.limit(resource.RLIMIT_NOFILE, LIMIT)
        with contextlib.ExitStack() as stack:
            stack.callback(server.limit, resource.RLIMIT_NOFILE, before)
            stack.enter_context(silent(server.address, count))
            server.await_events("accept-paused", 1)
            good.wait_for(BESIDE)
            used = share(server.pid)
            good.wait_for(BESIDE)
        with GoodClient(server.address, each=1, message=slowly) as another:
            server.await_events("accept-resumed", 1)
            another.wait_for(BESIDE)
        return f"{used:.1%} of a processor; the others were served afterwards"

    with Target(handler) as server:
        before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[0]
        name = f"{CLIENTS} clients for {LIMIT} descriptors"
        trial.endure(server, name, attack, CLIENTS, warm_up=0, **PATIENT)
        assert used < LITTLE
        assert len(server.events("accept-paused")) == 1
        assert "too many open files" in server.events("accept-paused")[0]["reason"].lower()


def test_it_is_started_with_few(trial: Trial) -> None:
    """Then it takes no more clients than it has descriptors for, and keeps some for itself."""
    used = 0.0

    def attack(count: int, good: GoodClient) -> str:
        nonlocal used
        with silent(server.address, count):
            good.wait_for(BESIDE)
            used = share(server.pid)
            good.wait_for(BESIDE)
        return f"{used:.1%} of a processor"

    with Target("quick", limits=["--nofile=64:64"]) as server:
        assert server.await_events("capacity", 1)[0]["max_clients"] == 48
        name = f"{CLIENTS} clients for 64 descriptors from the start"
        trial.endure(server, name, attack, CLIENTS, warm_up=0, **PATIENT)
        assert used < LITTLE
        paused = server.events("accept-paused")
        assert 1 <= len(paused) <= 2  # when they come, and as they leave
        assert {line["reason"] for line in paused} == {"max_clients=48"}


SERVER = """
import resource, threadwire
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
with threadwire.Server(lambda m: m[::-1], "tcp://127.0.0.1:0", max_clients=1000) as server:
    print(server.address.port, flush=True)
    input()
    server.close(0)
"""


def test_a_server_that_is_promised_more_than_there_are(trial: Trial) -> None:
    """``max_clients`` says 1,000, the system 64: it is the system that counts."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            address = threadwire.Address("tcp", "127.0.0.1", port)
            with GoodClient(address, each=1 << 30, message=slowly) as good:
                good.wait_for()
                with silent(address, CLIENTS):
                    good.wait_for(BESIDE)
                    assert share(process.pid) < LITTLE
                    good.wait_for(BESIDE)
            with GoodClient(address) as good:
                good.wait_for(BESIDE)
            _, err = process.communicate("\n", timeout=20)
            assert process.returncode == 0
            assert err.count("accept-paused") == 1
        finally:
            process.kill()
