"""Hooks: entered and left in order, in the right context, on whatever thread; and OpenTelemetry."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import threadwire
from threadwire import Connection, Server, UsageError

from .conftest import Events, Serving
from .support import PATIENCE, Peer, eventually, reverse, wait_for

SPAN: contextvars.ContextVar[str] = contextvars.ContextVar("SPAN", default="none")


class Diary:
    """Hooks that write down what happens; any thread appends."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextlib.contextmanager
    def span(self, name: str) -> Iterator[None]:
        self.lines.append(f"enter {name} in {SPAN.get()}")
        token = SPAN.set(name)
        try:
            yield
        except BaseException as error:
            self.lines.append(f"{name} raised {type(error).__name__}")
            raise
        finally:
            SPAN.reset(token)  # in the same context, or it raises
            self.lines.append(f"leave {name}")

    def on_connection(self, connection: Connection) -> contextlib.AbstractContextManager[None]:
        return self.span(f"connection-{connection.id}")

    def on_message(
        self, _connection: Connection, message: bytes
    ) -> contextlib.AbstractContextManager[None]:
        return self.span(message.decode())

    @property
    def hooks(self) -> dict[str, Any]:
        return {"on_connection": self.on_connection, "on_message": self.on_message}


def spell(message: bytes) -> bytes:
    return SPAN.get().encode()


def slow_spell(message: bytes) -> bytes:
    time.sleep(0.02)
    return SPAN.get().encode()


def full_spell(message: bytes, _connection: Connection) -> bytes:
    return SPAN.get().encode()


@pytest.mark.parametrize("handler", [spell, slow_spell, full_spell])
def test_a_messages_span_is_a_child_of_its_connections(
    serving: Serving, handler: Callable[..., bytes]
) -> None:
    diary = Diary()
    server = serving(handler, handoff_after=0.002, **diary.hooks)
    with Peer(server.address) as peer:
        for said in (b"a\n", b"b\n", b"c\n"):
            peer.say(said)
            assert peer.hear_line() == said
    eventually(lambda: "leave connection-1" in diary.lines)
    assert diary.lines == [
        "enter connection-1 in none",
        *(line for name in "abc" for line in (f"enter {name} in connection-1", f"leave {name}")),
        "leave connection-1",
    ]


def test_connections_do_not_see_each_others_spans(serving: Serving) -> None:
    diary = Diary()
    server = serving(spell, on_connection=diary.on_connection)
    with Peer(server.address) as one, Peer(server.address) as two:
        for _ in range(3):
            for peer, name in ((one, b"connection-1\n"), (two, b"connection-2\n")):
                peer.say(b"x\n")
                assert peer.hear_line() == name


def test_a_generators_parts_are_made_in_the_messages_span_on_any_thread(serving: Serving) -> None:
    diary, threads = Diary(), set[int]()

    def parts(_message: bytes) -> Iterator[bytes]:
        for _ in range(3):
            threads.add(threading.get_ident())
            yield SPAN.get().encode()
            time.sleep(0.02)  # the loop is taken from this thread

    server = serving(parts, handoff_after=0.002, **diary.hooks)
    with Peer(server.address) as peer:
        peer.say(b"a\nb\n")
        assert peer.hear(12) == b"a\n" * 3 + b"b\n" * 3
    eventually(lambda: "leave connection-1" in diary.lines)
    assert diary.lines[1:5] == [
        "enter a in connection-1",
        "leave a",
        "enter b in connection-1",
        "leave b",
    ]


def test_a_generator_that_nobody_goes_on_with_is_left(serving: Serving) -> None:
    diary = Diary()

    def parts(_message: bytes, connection: Connection) -> Iterator[bytes]:
        try:
            yield b"one"
            connection.close()
            yield b"two"
            yield b"three"
        finally:
            diary.lines.append(f"the end of it in {SPAN.get()}")

    server = serving(parts, **diary.hooks)
    with Peer(server.address) as peer:
        peer.say(b"a\n")
        peer.hear_all()
    eventually(lambda: "leave connection-1" in diary.lines)
    assert diary.lines[2:5] == ["the end of it in a", "a raised GeneratorExit", "leave a"]


def test_what_the_handler_raises_goes_through_the_span(serving: Serving, events: Events) -> None:
    def fail(_message: bytes) -> bytes:
        raise ZeroDivisionError

    diary = Diary()
    server = serving(fail, **diary.hooks)
    with Peer(server.address) as peer:
        peer.say(b"a\n")
        assert peer.hear_all() == b""
    eventually(lambda: "leave connection-1" in diary.lines)
    assert diary.lines[2:4] == ["a raised ZeroDivisionError", "leave a"]
    assert events.named("handler-failed")[0]["error"] == "ZeroDivisionError"


def test_a_session_is_within_its_connections_span(serving: Serving) -> None:
    @threadwire.session
    def talk(connection: Connection) -> None:
        for _ in connection:
            connection.send(SPAN.get().encode())

    diary = Diary()
    server = serving(talk, **diary.hooks)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        assert peer.hear_line() == b"connection-1\n"
    eventually(lambda: "leave connection-1" in diary.lines)
    assert diary.lines == ["enter connection-1 in none", "leave connection-1"]


def test_a_session_that_is_cut_is_within_its_span_until_it_returns(events: Events) -> None:
    inside, out = threading.Event(), threading.Event()

    @threadwire.session
    def stay(_connection: Connection) -> None:
        inside.set()
        wait_for(out)
        diary.lines.append("returned")

    diary = Diary()
    server = Server(stay, "tcp://127.0.0.1:0", **diary.hooks).start()
    try:
        with Peer(server.address) as peer:
            wait_for(inside)
            closing = threading.Thread(target=server.close, args=(0,))
            closing.start()  # which waits for a while for the session's thread
            assert peer.hear_all() == b""
    finally:
        out.set()
    closing.join()
    assert diary.lines == ["enter connection-1 in none", "returned", "leave connection-1"]
    assert events.named("hook-failed") == []


def test_a_closed_connection_is_not_kept_by_its_own_context(serving: Serving) -> None:
    """Though the hook has put it there: nobody waits for the collector."""

    class Tag:
        pass

    kept: contextvars.ContextVar[object] = contextvars.ContextVar("kept")
    tags: list[weakref.ref[Tag]] = []

    def keep(connection: Connection) -> None:
        kept.set(connection)
        connection.state["tag"] = tag = Tag()
        tags.append(weakref.ref(tag))

    server = serving(reverse, on_connection=keep)
    gc.collect()
    gc.disable()
    try:
        with Peer(server.address) as peer:
            peer.say(b"ab\n")
            assert peer.hear_line() == b"ba\n"
        eventually(lambda: tags[0]() is None)
    finally:
        gc.enable()


def test_a_callable_object_may_be_a_generator_function(serving: Serving) -> None:
    class Parts:
        def __call__(self, _message: bytes) -> Iterator[bytes]:
            yield SPAN.get().encode()

    diary = Diary()
    server = serving(Parts(), **diary.hooks)
    with Peer(server.address) as peer:
        peer.say(b"a\n")
        assert peer.hear_line() == b"a\n"


def test_a_hook_may_return_nothing(serving: Serving) -> None:
    seen: list[object] = []
    server = serving(
        reverse,
        on_connection=lambda connection: seen.append(connection.id),
        on_message=lambda _connection, message: seen.append(message),
    )
    with Peer(server.address) as peer:
        peer.say(b"ab\n")
        assert peer.hear_line() == b"ba\n"
    assert seen == [1, b"ab"]


def test_a_connection_hook_that_fails_is_told_of_and_the_client_served(
    serving: Serving, events: Events
) -> None:
    def fail(_connection: Connection) -> None:
        raise ZeroDivisionError("no span")

    @contextlib.contextmanager
    def fail_at_the_end(_connection: Connection) -> Iterator[None]:
        yield
        raise ZeroDivisionError("no end")

    for hook in (fail, fail_at_the_end):
        server = serving(reverse, on_connection=hook)
        with Peer(server.address) as peer:
            peer.say(b"ab\n")
            assert peer.hear_line() == b"ba\n"
        eventually(lambda server=server: server.snapshot().connections == 0)  # type: ignore[misc]
    failures = events.named("hook-failed")
    assert [each["hook"] for each in failures] == ["on_connection"] * 2
    assert [str(each["detail"]) for each in failures] == ["no span", "no end"]


def test_a_message_hook_that_fails_ends_its_client_as_the_handler_would(
    serving: Serving, events: Events
) -> None:
    def fail(_connection: Connection, _message: bytes) -> None:
        raise ZeroDivisionError("no span")

    server = serving(reverse, on_message=fail)
    with Peer(server.address) as peer:
        peer.say(b"ab\n")
        assert peer.hear_all() == b""
    eventually(lambda: events.named("handler-failed"))


def test_a_message_hook_may_block_as_the_handler_may(serving: Serving) -> None:
    release = threading.Event()

    def wait(_connection: Connection, message: bytes) -> None:
        if message == b"wait":
            assert release.wait(PATIENCE)

    server = serving(reverse, on_message=wait)
    try:
        with Peer(server.address) as one, Peer(server.address) as two:
            one.say(b"wait\n")
            two.say(b"ab\n")
            assert two.hear_line() == b"ba\n"
            release.set()
            assert one.hear_line() == b"tiaw\n"
    finally:
        release.set()


@pytest.mark.parametrize("name", ["on_connection", "on_message"])
def test_what_is_no_function_is_refused(name: str) -> None:
    options: Any = {name: "spam"}
    with pytest.raises(UsageError, match=f"{name} must be a function, not 'spam'"):
        Server(reverse, "tcp://127.0.0.1:0", **options)


# The recipe of docs/tracing.md.


def test_opentelemetry(serving: Serving) -> None:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from .recipes import tracing

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("threadwire-test")

    def handler(message: bytes) -> bytes:
        with tracer.start_as_current_span("database"):
            time.sleep(0.01 if message == b"slow" else 0)
        if message == b"bad":
            raise ValueError("bad message")
        return message[::-1]

    server = serving(handler, handoff_after=0.002, **tracing(tracer))
    with Peer(server.address) as one, Peer(server.address) as two:
        for peer in (one, two):
            for said in (b"quick\n", b"slow\n"):
                peer.say(said)
                peer.hear_line()
        two.say(b"bad\n")
        two.hear_all()

    def ended(name: str) -> list[Any]:
        return [span for span in exporter.get_finished_spans() if span.name == name]

    eventually(lambda: len(ended("connection")) == 2)
    spans: list[Any] = list(exporter.get_finished_spans())
    by_id = {span.context.span_id: span for span in spans}

    def parent(span: Any) -> Any:
        return by_id[span.parent.span_id] if span.parent is not None else None

    connections = {
        span.attributes["threadwire.connection.id"]: span for span in ended("connection")
    }
    assert sorted(connections) == [1, 2]
    assert all(parent(span) is None for span in connections.values())
    messages = ended("message")
    assert len(messages) == 5
    assert all(parent(span).name == "connection" for span in messages)
    databases = ended("database")
    assert len(databases) == 5
    assert {id(parent(span)) for span in databases} == {id(span) for span in messages}
    failed = [span for span in messages if not span.status.is_ok and span.status.description]
    assert [span.status.description for span in failed] == ["ValueError: bad message"]
    closed = connections[2].attributes
    assert closed["threadwire.close_reason"] == "handler-failed"
    assert closed["threadwire.messages_received"] == 3
    provider.shutdown()
