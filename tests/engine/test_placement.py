"""Placement: which threads share a core, and which keep theirs."""

from __future__ import annotations

import os
import sys
import threading

import pytest

import threadwire
from threadwire.engine import on_one_core

from ..conftest import Serving
from ..support import Peer, served

needs_cores = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity")
    or len(os.sched_getaffinity(0)) < 2
    or not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="needs several cores and the interpreter's lock",
)


def tell_cores(_message: bytes) -> bytes:
    return b",".join(str(core).encode() for core in sorted(os.sched_getaffinity(0)))


def ask(address: threadwire.Address) -> bytes:
    with Peer(address) as peer:
        peer.say(b"\n")
        return peer.hear_line().strip()


@needs_cores
def test_pinned_threads_share_a_core_and_the_process_keeps_its_own(serving: Serving) -> None:
    before = os.sched_getaffinity(0)
    server = serving(tell_cores, pin=True)
    answers = {ask(server.address) for _ in range(5)}
    assert len(answers) == 1
    assert b"," not in answers.pop()
    assert os.sched_getaffinity(0) == before


@needs_cores
def test_the_library_pins_only_if_told_to(serving: Serving) -> None:
    assert ask(serving(tell_cores).address) == tell_cores(b"")


@needs_cores
@pytest.mark.parametrize(("flags", "pinned"), [((), True), (("--no-pin",), False)])
def test_the_command_pins_unless_told_not_to(flags: tuple[str, ...], pinned: bool) -> None:
    with served("tests.engine.test_placement:tell_cores", *flags) as server:
        assert (b"," not in ask(server.address)) == pinned


@needs_cores
def test_one_core_is_left_as_it_is() -> None:
    seen: list[object] = []

    def alone() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        before = os.sched_getaffinity(0)
        on_one_core()()
        seen.append(before == os.sched_getaffinity(0))

    thread = threading.Thread(target=alone)
    thread.start()
    thread.join()
    assert seen == [True]
