"""SpareThreads: reuse, ending when idle, accounting for every thread."""

from __future__ import annotations

import sys
import threading

import pytest

from threadwire.engine.spare_threads import SpareThreads

from ..support import PATIENCE, eventually, wait_for


def patience() -> float:
    return PATIENCE


def test_an_idle_thread_is_used_again() -> None:
    threads = SpareThreads("t")
    idents = []
    for _ in range(5):
        done = threading.Event()

        def job(done: threading.Event = done) -> None:
            idents.append(threading.get_ident())
            done.set()

        threads.run(job)
        wait_for(done)
        eventually(lambda: threads._idle)
    assert len(set(idents)) == 1
    assert threads.close(patience) == []
    assert len(threads) == 0


def test_busy_threads_do_not_hold_up_new_jobs() -> None:
    threads = SpareThreads("t")
    together = threading.Barrier(20)

    def meet() -> None:
        together.wait(PATIENCE)

    for _ in range(20):
        threads.run(meet)
    eventually(lambda: len(threads._idle) == 20)
    assert threads.close(patience) == []


def test_idle_threads_end() -> None:
    threads = SpareThreads("t", idle_seconds=0.01)
    done = threading.Event()
    threads.run(done.set)
    wait_for(done)
    eventually(lambda: len(threads) == 0)
    assert threads.close(patience) == []


def test_jobs_given_while_threads_give_up_waiting_are_all_done() -> None:
    """The race for a mailbox: each job runs once, whoever wins."""
    threads = SpareThreads("t", idle_seconds=0.0005)
    done, ran = threading.Semaphore(0), [0] * 3000
    pause = threading.Event()
    for n in range(len(ran)):

        def job(n: int = n) -> None:
            ran[n] += 1
            done.release()

        threads.run(job)
        if n % 3 == 0:
            pause.wait(0.0005)  # about as long as a thread waits
    for _ in ran:
        assert done.acquire(timeout=PATIENCE)
    assert ran == [1] * len(ran)
    assert threads.close(patience) == []


def test_closing_reports_threads_that_do_not_end_and_takes_no_more_jobs() -> None:
    threads = SpareThreads("stuck")
    running, go_on = threading.Event(), threading.Event()

    def stuck() -> None:
        running.set()
        wait_for(go_on)

    threads.run(stuck)
    wait_for(running)
    (left,) = threads.close(lambda: 0.0)
    assert left.name == "stuck-1"
    assert left.daemon
    with pytest.raises(RuntimeError, match="closed"):
        threads.run(stuck)
    go_on.set()
    left.join(PATIENCE)
    assert len(threads) == 0


def test_a_thread_that_closes_its_own_cache_does_not_wait_for_itself() -> None:
    threads = SpareThreads("t")
    left: list[list[threading.Thread]] = []
    done = threading.Event()

    def job() -> None:
        left.append(threads.close(patience))
        done.set()

    threads.run(job)
    wait_for(done)
    assert left == [[]]


def test_a_crowd_stretches_the_switch_interval_and_gives_it_back() -> None:
    before = sys.getswitchinterval()
    threads, go_on = SpareThreads("t", idle_seconds=0.001), threading.Event()
    for _ in range(640):
        threads.run(lambda: wait_for(go_on))
    assert sys.getswitchinterval() > before
    go_on.set()
    eventually(lambda: len(threads) == 0)
    eventually(lambda: sys.getswitchinterval() == before)
    assert threads.close(patience) == []


def test_an_interval_that_somebody_else_sets_is_left_alone() -> None:
    before = sys.getswitchinterval()
    threads, go_on = SpareThreads("t", idle_seconds=0.001), threading.Event()
    for _ in range(640):
        threads.run(lambda: wait_for(go_on))
    sys.setswitchinterval(0.02)
    go_on.set()
    eventually(lambda: len(threads) == 0)
    assert threads.close(patience) == []
    assert sys.getswitchinterval() == pytest.approx(0.02)
    sys.setswitchinterval(before)


def test_a_thread_that_cannot_start_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = SpareThreads("t")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            threads.run(lambda: None)
    assert len(threads) == 0
    assert threads.close(patience) == []
