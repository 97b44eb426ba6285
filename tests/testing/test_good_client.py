"""The well-behaved client: it tells right answers from wrong, late and missing ones."""

from __future__ import annotations

import threading
import time

import pytest

import threadwire
from threadwire.testing import FaultProxy, GoodClient, Reset, eventually, serving

from ..support import PATIENCE, reverse, wait_for


def test_it_counts_right_answers_and_the_slowest() -> None:
    with serving(reverse) as served:
        with GoodClient(served.address) as good:
            good.wait_for(50)
            good.wait_for(50)
        assert good.count >= 100
        assert 0 < good.worst < PATIENCE
        assert (good.error_count, good.errors) == (0, [])
        assert "right answers, the slowest 0." in repr(good)


def test_framing_message_and_answer_can_be_others() -> None:
    with serving(lambda message: message.upper(), framing=threadwire.Netstring()) as served:
        with GoodClient(
            served.address,
            threadwire.Netstring(),
            answer=bytes.upper,
            message=lambda n: b"a\nb" * n,
        ) as good:
            good.wait_for(20)


def test_it_connects_anew_now_and_then() -> None:
    seen = set()

    def note(message: bytes, connection: threadwire.Connection) -> bytes:
        seen.add(connection.id)
        return message[::-1]

    with serving(note) as served, GoodClient(served.address, each=5) as good:
        good.wait_for(21)
    assert len(seen) >= 4


def test_the_slowest_answer_is_noticed() -> None:
    def slow_once(message: bytes) -> bytes:
        if message.endswith(b"message 7"):
            time.sleep(0.1)
        return message[::-1]

    with serving(slow_once) as served, GoodClient(served.address) as good:
        good.wait_for(20)
    assert good.worst >= 0.1


def test_a_wrong_answer_is_an_error() -> None:
    def wrong_once(message: bytes) -> bytes:
        return b"x" * 100 if message.endswith(b"message 3") else message[::-1]

    with serving(wrong_once) as served:
        with pytest.raises(AssertionError, match=r"message 3: AssertionError: b'x{60}'… \(100 by"):
            with GoodClient(served.address) as good:
                good.wait_for(20)
        assert good.error_count == 1


def test_an_error_that_nobody_waited_for_is_raised_at_the_end() -> None:
    told = threading.Event()

    def wrong_once(message: bytes) -> bytes:
        if message.endswith(b"message 5"):
            told.set()
        return message if message.endswith(b"message 3") else message[::-1]

    with serving(wrong_once) as served:
        with pytest.raises(AssertionError, match="1 errors, of which the first: message 3"):
            with GoodClient(served.address):
                wait_for(told)  # so it has gone on after the error


def test_a_lost_connection_is_an_error_and_it_connects_anew() -> None:
    with (
        serving(reverse) as served,
        FaultProxy(served.address, Reset(50, connections=[1])) as proxy,
    ):
        with pytest.raises(AssertionError, match="ConnectionClosed"):
            with GoodClient(proxy.address) as good:
                eventually(lambda: good.error_count and good.count > 20)
        assert good.error_count == 1


def test_a_late_answer_is_an_error() -> None:
    release = threading.Event()

    def late(message: bytes) -> bytes:
        wait_for(release)
        return message[::-1]

    with serving(late) as served:
        with pytest.raises(AssertionError, match="TimeLimitError"):
            with GoodClient(served.address, timeout=0.05) as good:
                good.wait_for(1)
        release.set()


def test_no_server_is_an_error() -> None:
    with serving(reverse) as served:
        address = served.address
    with pytest.raises(AssertionError, match="ConnectError"):
        with GoodClient(address) as good:
            good.wait_for(1)


def test_no_answer_at_all_is_an_error() -> None:
    release = threading.Event()

    def late(message: bytes) -> bytes:
        wait_for(release)
        raise threadwire.Close

    with serving(late) as served:
        with pytest.raises(threadwire.TimeLimitError, match="5 right answers, but only 0"):
            with GoodClient(served.address) as good:
                try:
                    good.wait_for(5, timeout=0.05)
                finally:
                    release.set()


def test_an_answer_function_that_fails_is_an_error() -> None:
    with serving(reverse) as served:
        with pytest.raises(AssertionError, match="ZeroDivisionError"):
            with GoodClient(served.address, answer=lambda message: b"%d" % (1 // 0)) as good:
                good.wait_for(1)


def test_only_the_first_errors_are_remembered() -> None:
    with serving(lambda message: b"wrong") as served:
        with pytest.raises(KeyError) as caught:
            with GoodClient(served.address) as good:
                eventually(lambda: good.error_count > 25)
                raise KeyError
    assert len(good.errors) == 20
    (note,) = caught.value.__notes__
    assert note.startswith("0 right answers")


def test_wrong_arguments_fail_at_once() -> None:
    with pytest.raises(threadwire.UsageError, match="each"):
        GoodClient("tcp://h:1", each=0)
    with pytest.raises(threadwire.UsageError, match="h:1"):
        GoodClient("h:1")


def test_stopping_one_that_has_not_begun() -> None:
    GoodClient("tcp://127.0.0.1:1").stop()
