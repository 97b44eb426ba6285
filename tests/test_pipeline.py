"""Pipelines: many requests under way, in order, bounded, without a deadlock."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import threadwire
from threadwire import CloseReason
from threadwire.pipeline import Pipeline

from .conftest import Against, Serving
from .support import PATIENCE, eventually, read_to_the_end, reverse, wait_for


def test_pipeline_answers_in_order(serving: Serving) -> None:
    with threadwire.connect(serving(reverse).address) as client:
        messages = [b"%d" % n for n in range(20_000)]
        assert list(client.pipeline(messages)) == [m[::-1] for m in messages]
        assert list(client.pipeline([])) == []
        assert client.request(b"and after") == b"retfa dna"


def test_pipeline_of_large_messages_does_not_deadlock(serving: Serving) -> None:
    """More than all the buffers on the way hold, in both directions at once."""
    with threadwire.connect(serving(reverse).address) as client:
        messages = [bytes([97 + n % 26]) * 900_000 for n in range(40)]
        for message, reply in zip(messages, client.pipeline(messages), strict=True):
            assert reply == message


def test_pipeline_keeps_its_window(serving: Serving) -> None:
    taken = 0

    def source() -> Iterator[bytes]:
        nonlocal taken
        for n in itertools.count():
            taken += 1
            yield b"%d" % n

    go_on = threading.Event()

    def slow(message: bytes) -> bytes:
        wait_for(go_on)
        return message

    with threadwire.connect(serving(slow).address) as client:
        replies = client.pipeline(source(), window=5)
        go_on_later = threading.Timer(0.05, go_on.set)
        go_on_later.start()
        for n, reply in enumerate(itertools.islice(replies, 100)):
            assert reply == b"%d" % n
            # One more than the window has been drawn from the source, and waits.
            assert taken <= n + 1 + 5 + 1
        replies.close()
        assert client.closed
        go_on_later.join()


def test_replies_come_while_the_source_blocks(serving: Serving) -> None:
    answered = threading.Event()

    def source() -> Iterator[bytes]:
        yield b"first"
        wait_for(answered)
        yield b"second"

    with threadwire.connect(serving(reverse).address) as client:
        replies = client.pipeline(source())
        assert next(replies) == b"tsrif"
        answered.set()
        assert list(replies) == [b"dnoces"]


def test_what_the_source_raises_comes_after_the_replies_before_it(serving: Serving) -> None:
    def source() -> Iterator[bytes]:
        yield b"ab"
        yield b"cd"
        raise LookupError("no more")

    got = []
    with threadwire.connect(serving(reverse).address) as client:
        with pytest.raises(LookupError, match="no more"):
            for reply in client.pipeline(source()):
                got.append(reply)
        assert got == [b"ba", b"dc"]
        assert client.closed


def test_an_error_of_the_system_in_the_source_is_the_sources(serving: Serving) -> None:
    def source() -> Iterator[bytes]:
        yield b"ab"
        yield Path("/no/such/file").read_bytes()

    with threadwire.connect(serving(reverse).address) as client:
        replies = client.pipeline(source())
        assert next(replies) == b"ba"
        with pytest.raises(FileNotFoundError):
            next(replies)


def test_replies_before_a_framing_error_are_given(
    against: Against,
) -> None:
    def answer(connected: socket.socket) -> None:
        connected.recv(1000)
        connected.sendall(b"1:a,1:b,x")
        read_to_the_end(connected)

    got = []
    with threadwire.connect(against(answer), framing=threadwire.Netstring()) as client:
        with pytest.raises(threadwire.MalformedMessage):
            for reply in client.pipeline([b"1", b"2", b"3"]):
                got.append(reply)
    assert got == [b"a", b"b"]


def test_a_source_that_ends_just_after_the_last_reply_ends_the_pipeline(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the caller's last look and its sleep; without that look it would never wake."""
    answered, ended = threading.Event(), threading.Event()
    sleep = Pipeline._sleep

    def source() -> Iterator[bytes]:
        yield b"only"
        wait_for(answered)

    def late_sleep(self: Pipeline, progress: float, **seen: bool) -> bool:
        if not seen["due"] and not seen["finished"] and answered.is_set():
            eventually(lambda: self._source_ended)
        return sleep(self, progress, **seen)

    monkeypatch.setattr(Pipeline, "_sleep", late_sleep)
    with threadwire.connect(serving(reverse).address) as client:
        replies = client.pipeline(source(), timeout=1)
        assert next(replies) == b"ylno"
        answered.set()

        def finish() -> None:
            assert list(replies) == []
            ended.set()

        finisher = threading.Thread(target=finish)
        finisher.start()
        assert ended.wait(5)
        finisher.join(PATIENCE)


def test_closing_the_client_ends_its_pipeline(serving: Serving) -> None:
    with threadwire.connect(serving(lambda _m: None).address) as client:
        closer = threading.Timer(0.05, client.close)
        closer.start()
        with pytest.raises(threadwire.ConnectionClosed) as caught:
            list(client.pipeline([b"x"]))
        closer.join()
        assert caught.value.reason is CloseReason.HANDLER_CLOSED


@pytest.mark.parametrize("message", [b"two\nlines", "text"])
def test_a_message_that_cannot_be_sent_in_a_pipeline(serving: Serving, message: bytes) -> None:
    with (
        threadwire.connect(serving(reverse).address) as client,
        pytest.raises(threadwire.UsageError),
    ):
        list(client.pipeline([b"fine", message]))


def test_a_reply_that_is_due_too_long(serving: Serving) -> None:
    with threadwire.connect(serving(lambda _m: None).address) as client:
        with pytest.raises(threadwire.TimeLimitError, match=r"no reply within 0\.05 s"):
            list(client.pipeline([b"x"], timeout=0.05))
        assert client.closed


def test_half_a_reply_at_the_end_is_no_clean_end(against: Against) -> None:
    def answer(connected: socket.socket) -> None:
        connected.recv(1000)
        connected.sendall(b"whole\nhal")

    with threadwire.connect(against(answer)) as client:
        batches = client.pipeline_batches([b"a"], half_close=True)
        with pytest.raises(threadwire.TruncatedMessage):
            list(batches)


def test_a_server_that_leaves_in_the_middle(serving: Serving) -> None:
    def twice(message: bytes) -> bytes:
        if message == b"2":
            raise threadwire.Close
        return message

    got = []
    with threadwire.connect(serving(twice).address) as client:
        with pytest.raises(threadwire.ConnectionClosed):
            for reply in client.pipeline([b"1", b"2", b"3"]):
                got.append(reply)
    assert got == [b"1"]


def test_half_close_takes_all_replies_of_a_service_that_gives_several(serving: Serving) -> None:
    server = serving(lambda message: [message, message + message])
    with threadwire.connect(server.address) as client:
        batches = client.pipeline_batches([b"a", b"b"], half_close=True)
        assert [reply for batch in batches for reply in batch] == [b"a", b"aa", b"b", b"bb"]


def test_half_close_does_not_wait_for_ever_for_the_end(
    against: Against,
) -> None:
    done = threading.Event()

    def answer(connected: socket.socket) -> None:
        connected.sendall(connected.recv(1000))
        wait_for(done)

    with threadwire.connect(against(answer)) as client:
        assert list(client.pipeline_batches([b"a"], half_close=True)) == [[b"a"]]
        done.set()


def test_a_pipeline_with_a_framing_that_has_to_settle(
    against: Against,
) -> None:
    def answer(connected: socket.socket) -> None:
        connected.recv(1000)
        connected.sendall(b"no newline")
        read_to_the_end(connected)

    with threadwire.connect(against(answer), framing=threadwire.Auto()) as client:
        assert list(client.pipeline([b"abc"])) == [b"no newline"]


def test_requests_and_pipelines_take_turns(serving: Serving) -> None:
    with threadwire.connect(serving(reverse).address, timeout=0.2) as client:
        replies = client.pipeline(b"%d" % n for n in range(10))
        next(replies)
        with pytest.raises(threadwire.TimeLimitError, match="turn"):
            client.request(b"x", timeout=0.05)
        assert len(list(replies)) == 9
        assert client.request(b"xy") == b"yx"
