"""Following the endpoint, also over its end and beginning."""

from __future__ import annotations

import queue
import socket
import threading

import pytest

import threadwire
from threadwire.top.documents import Document
from threadwire.top.endpoint import Endpoint, NotAdmin, parse_admin_url
from threadwire.top.feed import Feed, measured
from threadwire.top.view import Down, Update

from ..conftest import Against
from ..support import PATIENCE
from .conftest import Watching
from .support import answering, http_answer


class Told:
    """What a feed has told, in its order."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._updates: queue.Queue[Update] = queue.Queue()
        self.feed = Feed(endpoint, self._updates.put)

    def next(self) -> Update:
        return self._updates.get(timeout=PATIENCE)

    def until(self, kind: type[Document] | type[Down]) -> Update:
        while not isinstance(update := self.next(), kind):
            pass
        return update

    def __enter__(self) -> Told:
        self.feed.open()
        self.feed.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.feed.close()
        assert self._updates.qsize() < 100


def test_one_document_after_another(watching: Watching) -> None:
    watched = watching()
    with Told(watched.endpoint()) as told:
        first, second = told.next(), told.next()
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert second.time > first.time
    assert second.rates is not None


def test_the_first_rates_are_waited_for(watching: Watching) -> None:
    watched = watching()
    with watched.endpoint().events() as stream:
        document, value = next(measured(stream))
    assert document.rates is not None
    assert value["interval"] is not None


def test_it_connects_again_when_the_endpoint_is_back(watching: Watching) -> None:
    watched = watching()
    with Told(watched.endpoint()) as told:
        told.until(Document)
        watched.stop_admin()
        down = told.until(Down)
        assert isinstance(down, Down)
        assert 0.25 <= down.retry_in <= 5
        watched.start_admin()
        told.until(Document)


def test_what_goes_wrong_first_is_raised(against: Against) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    feed = Feed(Endpoint(parse_admin_url(f"127.0.0.1:{port}")), lambda _: None)
    with pytest.raises(threadwire.ConnectError):
        feed.open()
    feed.close()
    answer = http_answer("200 OK", b"{}", "Content-Type: application/json")
    feed = Feed(Endpoint(parse_admin_url(against(answering(answer)))), lambda _: None)
    with pytest.raises(NotAdmin):
        feed.open()
    feed.close()


def test_one_that_is_opened_but_not_started_leaves_nothing(watching: Watching) -> None:
    feed = Feed(watching().endpoint(), lambda _: None)
    feed.open()
    feed.close()
    feed.close()


def test_nothing_is_told_after_the_end(watching: Watching) -> None:
    updates: list[Update] = []
    feed = Feed(watching().endpoint(), updates.append)
    feed.open()
    feed.start()
    feed.close()
    told = len(updates)
    feed.close()
    assert len(updates) == told


def test_a_stream_that_says_nothing_does_not_hold_up_the_end(against: Against) -> None:
    def silent(connected: socket.socket) -> None:
        connected.recv(65536)
        connected.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        connected.recv(1)

    feed = Feed(Endpoint(parse_admin_url(against(silent))), lambda _: None)
    feed.open()
    feed.start()
    feed.close()
    assert "threadwire-top" not in {thread.name for thread in threading.enumerate()}
