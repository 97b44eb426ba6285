"""Leaks: what was left behind is found and named, what is ending is waited for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

import threadwire
from threadwire.testing import FaultProxy, GoodClient, Leaks, Split, serving, silent

from ..support import PATIENCE, reverse


def test_nothing_is_left_of_the_whole_kit() -> None:
    def everything() -> None:
        with serving(reverse) as served, FaultProxy(served.address, Split(3)) as proxy:
            with GoodClient(proxy.address) as good, silent(served.address, 20):
                good.wait_for(20)

    everything()
    with Leaks():
        for _ in range(5):
            everything()


def test_a_descriptor_is_found_and_named() -> None:
    left = []
    with pytest.raises(AssertionError, match=r"1 more descriptors: socket:\[\d+\]$"):
        with Leaks(settle=0.02):
            left.append(socket.socket())
    left[0].close()
    reader, writer = os.pipe()
    with Leaks(settle=0):
        os.close(reader)
        os.close(writer)


def test_descriptors_that_are_allowed() -> None:
    with Leaks(descriptors=2, settle=0):
        reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)


def test_a_thread_is_found_and_named() -> None:
    go_on = threading.Event()
    threads = [threading.Thread(target=go_on.wait, name="the-forgotten-one") for _ in range(2)]
    with pytest.raises(AssertionError, match=r"2 more threads: 2 of the-forgotten-one$"):
        with Leaks(settle=0.02):
            for thread in threads:
                thread.start()
    go_on.set()
    for thread in threads:
        thread.join()


def test_a_thread_that_is_ending_is_waited_for() -> None:
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait)
    with Leaks(settle=PATIENCE):
        thread.start()
        threading.Timer(0.1, go_on.set).start()
    assert not thread.is_alive()


def test_memory_is_measured() -> None:
    kept = []
    with pytest.raises(AssertionError, match=r"MiB more memory, where 16 MiB are allowed"):
        with Leaks(settle=0):
            kept.append(os.urandom(1 << 20) * 40)
    with Leaks(settle=0, memory=None):
        kept.append(os.urandom(1 << 20) * 40)
    with Leaks(settle=0, memory=80 << 20) as leaks:
        kept.append(os.urandom(1 << 20) * 40)
    assert leaks.after.memory - leaks.before.memory > 30 << 20


CHILD = """
import os, sys, threading
left = []
for line in sys.stdin:
    left.append(os.pipe())
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    thread.start()
    print("done", flush=True)
"""


def test_another_process() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def leak() -> None:
            assert child.stdin is not None
            assert child.stdout is not None
            print(file=child.stdin, flush=True)
            assert child.stdout.readline() == "done\n"

        leak()
        with Leaks(child.pid):
            pass
        expected = (
            rf"process {child.pid} still has 1 more threads: \S+; 2 more descriptors: 2 of pipe"
        )
        with pytest.raises(AssertionError, match=expected):
            with Leaks(child.pid, settle=0.02):
                leak()
        child.stdin.close()


def test_a_process_that_is_not_there() -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    with pytest.raises(FileNotFoundError):
        with Leaks(child.pid):
            pass


def test_what_the_block_raises_comes_first() -> None:
    with pytest.raises(KeyError):
        with Leaks(settle=0):
            reader, writer = os.pipe()
            raise KeyError
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Leaks(threads=-1), "threads"),
        (lambda: Leaks(descriptors=True), "descriptors"),
        (lambda: Leaks(memory=1.5), "memory"),  # type: ignore[arg-type]
        (lambda: Leaks(settle=-1), "settle"),
    ],
)
def test_wrong_arguments_fail_at_once_and_are_named(make: Callable[[], object], named: str) -> None:
    with pytest.raises(threadwire.UsageError, match=named):
        make()
