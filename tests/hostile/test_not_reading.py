"""Peers that ask and do not read, or stop reading, or leave with half a reply."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Self

import pytest

from threadwire.testing import GoodClient, Hostile, Peer, Script, never_reads

from .crowd import sipping
from .target import ROOT, Target, await_stop, scaled
from .trial import BESIDE, Trial

every_handler = pytest.mark.parametrize("handler", ["quick", "blocking", "session"])

REPLIES, SIZE = 10_000, 2000  # more than the systems of both sides hold
LARGE = 20_000_000  # bytes; no system takes as much for a peer that does not read


def several(make: Iterator[Hostile]) -> contextlib.ExitStack:
    """All of them at once."""
    with contextlib.ExitStack() as stack:
        for hostile in make:
            stack.enter_context(hostile)
        return stack.pop_all()


@every_handler
def test_large_replies_that_nobody_reads(trial: Trial, handler: str) -> None:
    """A reply is in memory once as it is, and once with its framing.

    With no limit on a run's replies in ``Turns``: as many as have been asked for are there.
    """

    def attack(count: int, good: GoodClient) -> str:
        request = b"*large %d\n" % LARGE
        hostiles = [never_reads(server.address, request) for _ in range(count)]
        with several(iter(hostiles)):
            good.wait_for(BESIDE)
            for hostile in hostiles:
                hostile.wait()
        return f"all {count} closed by write_timeout"

    with Target(handler, "--write-timeout=0.5") as server:
        count = scaled(10, least=2)
        outcome = trial.endure(server, f"{count} x 20 MB, not read", attack, count)
        before, most, _ = outcome.memory
        assert most - before < (4 << 20) + count * 2 * LARGE
        assert server.events("closed", reason="write-timeout")


@every_handler
def test_small_replies_that_nobody_reads(trial: Trial, handler: str) -> None:
    def attack(count: int, good: GoodClient) -> str:
        hostiles = [never_reads(server.address, b"*many 1000000 10\n") for _ in range(count)]
        with several(iter(hostiles)):
            good.wait_for(BESIDE)
            for hostile in hostiles:
                hostile.wait()
        return f"all {count} closed by write_timeout"

    with Target(handler, "--write-timeout=0.3") as server:
        count = scaled(10, least=2)
        outcome = trial.endure(server, f"{count} x 1,000,000 replies, not read", attack, count)
        before, most, _ = outcome.memory
        high_water = 256 << 10
        assert most - before < (8 << 20) + count * 4 * high_water
        assert server.events("closed", reason="write-timeout")


@every_handler
def test_a_reset_in_the_middle_of_a_reply(trial: Trial, handler: str) -> None:
    """With a reset not told from an end in ``Clients._fell_short``: the connections stay."""

    def resetting(run: Hostile) -> Script:
        peers = [run.connect(server.address, receive_buffer=4096) for _ in range(20)]
        for peer in peers:
            peer.say(b"*large 5000000\n")
        yield 0
        for peer in peers:
            peer.hear(1000)
            run.leave(peer, reset=True)

    def attack(count: int, good: GoodClient) -> str:
        for _ in range(count):
            with Hostile(resetting) as hostile:
                good.wait_for()
                hostile.wait()
        return f"{20 * count} gone"

    with Target(handler) as server:
        trial.endure(server, "reset in the middle of 5 MB", attack, scaled(10, least=2))
        assert server.events("closed", reason="peer-reset")


@every_handler
def test_a_peer_that_reads_slowly_but_enough(handler: str) -> None:
    """Within ``write_timeout`` it reads 16 KiB several times, so it may take as long as it likes.

    The system tells of room when a third of a buffer of megabytes is free, which takes longer.
    With what the peer reads not asked for in ``Stream.write``, or in ``Clients._stalled``: it is
    closed.
    """
    with Target(handler, "--write-timeout=0.3") as server:
        with Peer(server.address, receive_buffer=4096) as peer:
            peer.say(b"*large %d\n" % LARGE)
            tick = threading.Event()
            for _ in range(12):
                assert len(peer.hear(16 << 10)) == 16 << 10
                tick.wait(0.1)
            assert not server.events("closed")


class Stopped:
    """Processes that read, and are stopped while most of their replies are still to come."""

    def __init__(self, server: Target, count: int, replies: int, size: int) -> None:
        self._arguments = [str(server.address.port), str(replies), str(size)]
        self._count = count
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.hostile.reader", *self._arguments]
        for _ in range(self._count):
            self._processes.append(
                subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            )
        for process in self._processes:
            await_stop(process.pid)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self._processes:
            with process:
                process.kill()

    def go_on(self) -> set[str]:
        """Continue them; returns what they say that they have got."""
        for process in self._processes:
            process.send_signal(signal.SIGCONT)
        return {process.communicate(timeout=30)[0].strip() for process in self._processes}


@every_handler
def test_peers_that_are_stopped_for_a_while(trial: Trial, handler: str) -> None:
    """They get all of their replies, and in order."""

    def attack(count: int, good: GoodClient) -> str:
        with Stopped(server, count, REPLIES, SIZE) as stopped:
            good.wait_for(BESIDE)
            assert stopped.go_on() == {f"all {REPLIES}"}
        return f"all {count} got all {REPLIES} replies, in order"

    with Target(handler) as server:
        trial.endure(server, "peers are stopped, and go on", attack, scaled(10, least=2), warm_up=1)


def test_peers_that_are_stopped_for_too_long(trial: Trial) -> None:
    """They are told that they have not got all: by a reset, since an end could be mistaken."""

    def attack(count: int, good: GoodClient) -> str:
        before = len(server.events("closed", reason="write-timeout"))
        with Stopped(server, count, REPLIES, SIZE) as stopped:
            good.wait_for(BESIDE)
            server.await_events("closed", before + count, reason="write-timeout")
            heard = stopped.go_on()
        assert all(text.startswith("closed after ") for text in heard)
        assert all(text.endswith("peer-reset") for text in heard)
        return f"all {count} closed by write_timeout"

    with Target("quick", "--write-timeout=0.5") as server:
        trial.endure(server, "peers are stopped for too long", attack, scaled(10, 2), warm_up=1)


@every_handler
def test_nothing_is_left_with_the_system(handler: str) -> None:
    """Of replies that were not read in time: it would keep megabytes for each, for minutes.

    With a connection closed by ``write_timeout`` that is not reset (``Owned._forget_unsent``):
    they are all there, waiting for their peers to read.
    """
    with Target(handler, "--write-timeout=0.3") as server:
        with sipping(server.address, b"*large %d\n" % LARGE, 5) as hostile:
            server.await_events("closed", 5, reason="write-timeout")
            hostile.wait()
            assert connections_to(server) == []


def connections_to(server: Target) -> list[str]:
    """The server's ends that the system still has, except those that only keep a name taken."""
    found = []
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in list(table)[1:]:
            local, state = line.split()[1], line.split()[3]
            if int(local.partition(":")[2], 16) == server.address.port and state not in _NAMES_ONLY:
                found.append(line.strip())
    return found


_NAMES_ONLY = {"06", "0A"}  # TIME_WAIT, LISTEN


def test_slow_readers_at_a_drain(trial: Trial) -> None:
    """Who has a reply under way at the deadline is cut, and listed."""
    count = scaled(50, least=5)
    with Target("quick", "--drain-timeout=0.5") as server:
        with GoodClient(server.address) as good:
            good.wait_for(BESIDE)
        with sipping(server.address, b"*large %d\n" % LARGE, count):
            server.await_events("opened", count)
            with Peer(server.address) as peer:
                peer.say(b"a last one\n")
                assert peer.hear_line() == b"eno tsal a\n"
                server.process.send_signal(signal.SIGTERM)
                assert peer.hear_all() == b""
            assert server.wait() == 4
        cut = server.events("cut")
        assert len(cut) == count
        assert all(line["bytes_sent"] > 0 and line["seconds"] > 0 for line in cut)
        assert server.events("stopped")[0]["cut"] == count
        happened = f"{count} cut and listed; exit 4"
        trial.note_end(server, "slow readers at a drain", happened, good)
