"""Runs against services that close, refuse, answer wrongly, too much or not at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import threadwire
from threadwire.bench.expect import AnyReply, Check, Echo, Reverse
from threadwire.bench.plan import Plan
from threadwire.bench.results import Progress, Result
from threadwire.bench.run import run

from ..conftest import Serving
from ..support import PATIENCE, read_to_the_end, reverse
from .services import answering, lines_of, scripted

CLIENTS = 4


def bench(url: str, **options: Any) -> Result:
    given: dict[str, Any] = {
        "duration": 0.4,
        "warmup": 0.0,
        "clients": CLIENTS,
        "timeout": 5.0,  # more than any service here takes that answers at all
        "expect": Echo(),
    }
    return run(Plan(url=url, **{**given, **options}))


EVERY_WAY: list[dict[str, Any]] = [
    {},
    {"rate": 100.0},
    {"connect_each": True},
    {"connect_each": True, "rate": 100.0},
    {"pipeline": 3},
    {"pipeline": 3, "rate": 100.0},
]
in_every_way = pytest.mark.parametrize(
    "options", EVERY_WAY, ids=lambda options: "-".join(options) or "closed"
)


def hear_one(connected: socket.socket) -> None:
    connected.recv(65536)


@in_every_way
@pytest.mark.parametrize("where", ["tcp", "unix"])
def test_nobody(where: str, options: dict[str, Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        if where == "unix":
            url = "unix:///nowhere/to/be.found"
        result = bench(url, duration=60.0, **options)
    assert not result.connected
    assert (result.messages, result.seconds) == (0, 0)
    ((kind, error),) = result.errors.items()
    assert kind == ("connect-refused" if where == "tcp" else "connect-failed")
    assert error.count == (1 if options.get("connect_each") else CLIENTS)
    assert error.example in ("connection refused", "no such file or directory")


def test_where_nobody_is_not_every_client_has_to_find_out() -> None:
    result = bench("tcp://127.0.0.1:1", duration=60.0, clients=1000)
    assert not result.connected
    assert 64 <= result.errors["connect-refused"].count < 200


def test_a_dead_service_and_several_processes() -> None:
    result = bench("tcp://127.0.0.1:1", duration=60.0, processes=2)
    assert not result.connected
    assert result.errors["connect-refused"].count == CLIENTS


@in_every_way
def test_one_that_closes_at_once(options: dict[str, Any]) -> None:
    with scripted(lambda connected: None) as service:
        result = bench(service.url, **options)
        accepted = service.accepted
    assert result.messages == 0
    assert result.error_count > 0
    assert set(result.errors) <= {"closed", "reset", "unsent"}
    # A second's worth of trying again at once would be thousands.
    assert accepted < 200


@in_every_way
def test_one_that_closes_instead_of_answering(options: dict[str, Any]) -> None:
    with scripted(hear_one) as service:
        result = bench(service.url, **options)
    assert result.messages == 0
    assert "before it had replied" in result.errors["closed"].example
    assert set(result.errors) <= {"closed", "reset", "unsent"}


@in_every_way
def test_one_that_closes_after_each_answer(options: dict[str, Any]) -> None:
    def script(connected: socket.socket) -> None:
        for line in lines_of(connected):
            connected.sendall(line + b"\n")
            break
        # A close with requests unread would be a reset, which takes the answer with it.
        connected.shutdown(socket.SHUT_WR)
        read_to_the_end(connected)

    with scripted(script) as service:
        result = bench(service.url, **options)
    assert result.messages > 0
    if options.get("connect_each"):
        assert not result.errors  # it was to be closed anyhow
    else:
        assert set(result.errors) <= {"closed", "reset", "unsent"}


def test_one_that_resets() -> None:
    def script(connected: socket.socket) -> None:
        next(lines_of(connected), None)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with scripted(script) as service:
        result = bench(service.url)
    assert set(result.errors) == {"reset"}
    assert "before the service had replied" in result.errors["reset"].example


@in_every_way
def test_one_that_is_silent(options: dict[str, Any]) -> None:
    with scripted(read_to_the_end) as service:
        result = bench(service.url, timeout=0.2, **options)
    assert result.messages == 0
    assert result.errors["timeout"].example == "no reply within 0.2 s"
    assert set(result.errors) <= {"timeout", "unsent", "unanswered"}


def test_one_that_never_takes_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        url = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        result = bench(url, clients=8, duration=0.3, timeout=0.2)
    # The system takes the first one or two for it; the others are never answered.
    errors = {**result.errors_before, **result.errors}
    assert "no answer within 0.2 s" in errors["connect-timeout"].example


def test_a_unix_socket_that_never_takes_a_connection(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/s")
        listening.listen(0)
        result = bench(f"unix://{tmp_path}/s", clients=8, duration=0.3, timeout=0.2)
    errors = {**result.errors_before, **result.errors}
    assert errors["connect-timeout"].example == "no answer within 0.2 s"


@in_every_way
def test_one_that_answers_wrongly(options: dict[str, Any]) -> None:
    with scripted(answering(lambda line: b"no\n")) as service:
        result = bench(service.url, **options)
    assert result.messages == 0
    assert set(result.errors) == {"wrong-reply"}
    assert "got b'no'" in result.errors["wrong-reply"].example


def test_one_that_answers_wrongly_now_and_then() -> None:
    def script(connected: socket.socket) -> None:
        for number, line in enumerate(lines_of(connected)):
            connected.sendall(b"no\n" if number % 10 == 3 else line + b"\n")

    with scripted(script) as service:
        result = bench(service.url, requests=1000, duration=None, clients=1, pipeline=4)
    assert (result.messages, result.errors["wrong-reply"].count) == (900, 100)
    assert result.connects == 0, "the connection is as good as before"


def test_one_that_falls_silent_owes_all_that_it_was_asked_since() -> None:
    def script(connected: socket.socket) -> None:
        for line in lines_of(connected):
            connected.sendall(line + b"\n")
            break
        read_to_the_end(connected)

    with scripted(script) as service:
        result = bench(service.url, clients=1, pipeline=3, timeout=0.2, duration=1.0)
    assert result.messages > 0
    # Two of the first three, and the one that followed the answer; the last may have got none.
    assert result.error_count - 3 * result.messages in (0, 3)
    assert result.lost.count == result.error_count
    assert set(result.errors) <= {"timeout", "unanswered"}


@in_every_way
@pytest.mark.parametrize("expect", [Echo(), AnyReply()], ids=str)
def test_one_that_answers_too_much(options: dict[str, Any], expect: Any) -> None:
    with scripted(answering(lambda line: line + b"\n" + b"more\n" * 3)) as service:
        result = bench(service.url, expect=expect, **options)
    if options.get("pipeline"):  # then some of it is taken for other answers
        assert set(result.errors) <= {"too-much", "wrong-reply", "unsent"}
    else:
        assert set(result.errors) <= {"too-much", "unsent"}
        assert "nobody had asked" in result.errors["too-much"].example
    assert result.errors["too-much"].count > 0


@pytest.mark.parametrize("expect", [Echo(), AnyReply()], ids=str)
def test_one_that_speaks_something_else(expect: Any) -> None:
    with scripted(answering(lambda line: b"HTTP/1.1 400 Bad Request\r\n\r\n")) as service:
        result = bench(service.url, framing=threadwire.Delimited(b"\n"), expect=expect)
        assert result.error_count > 0
    with scripted(lambda connected: connected.sendall(b"220 welcome\r\n")) as service:
        result = bench(service.url, framing=threadwire.Netstring(), expect=expect)
    assert set(result.errors) <= {"framing", "too-much", "reset", "closed"}


def test_a_reply_that_never_ends() -> None:
    def script(connected: socket.socket) -> None:
        for _ in lines_of(connected):  # none, of a connection that is ended before it asks
            while True:
                connected.sendall(b"x" * 65536)

    with scripted(script) as service:
        result = bench(service.url, expect=AnyReply(), max_message=1 << 20, timeout=5.0)
    assert "max_message" in result.errors["framing"].example


@pytest.mark.parametrize("framing", [threadwire.Lines(), threadwire.Raw()], ids=str)
def test_half_a_reply(framing: threadwire.Framing) -> None:
    def script(connected: socket.socket) -> None:
        data = connected.recv(65536)
        connected.sendall(data[:10])
        read_to_the_end(connected)

    with scripted(script) as service:
        result = bench(service.url, framing=framing, timeout=0.2)
    assert set(result.errors) <= {"timeout", "unanswered"}
    assert "10 bytes of a reply, and not the rest" in result.errors["timeout"].example


def test_a_connection_that_ends_within_a_reply() -> None:
    def script(connected: socket.socket) -> None:
        connected.sendall(connected.recv(65536)[:10])

    with scripted(script) as service:
        result = bench(service.url)
    assert "10 bytes into a reply" in result.errors["closed"].example


def test_a_raw_reply_that_is_wrong() -> None:
    def script(connected: socket.socket) -> None:
        while data := connected.recv(65536):
            connected.sendall(data.swapcase())

    with scripted(script) as service:
        result = bench(service.url, framing=threadwire.Raw())
    assert set(result.errors) == {"wrong-reply"}
    assert result.connects > 0, "nothing says where the next reply would begin"


def test_a_handshake_that_is_none() -> None:
    with scripted(lambda connected: connected.sendall(b"hello\n" * 10)) as service:
        result = bench(service.url.replace("tcp", "tls"))
    assert set(result.errors) == {"tls"}
    assert "does not speak TLS" in result.errors["tls"].example


def test_a_handshake_that_is_not_answered() -> None:
    with scripted(read_to_the_end) as service:
        result = bench(service.url.replace("tcp", "tls"), timeout=0.2)
    assert set(result.errors) == {"connect-timeout"}
    assert "no TLS handshake within 0.2 s" in result.errors["connect-timeout"].example


def test_a_handshake_that_is_hung_up_on() -> None:
    with scripted(hear_one) as service:
        result = bench(service.url.replace("tcp", "tls"))
    assert set(result.errors) == {"tls"}


def test_a_service_that_comes_back_is_found_again(serving: Serving) -> None:
    first = serving(reverse)
    url = str(first.addresses[0])
    phases: list[str] = []

    def watch(progress: Progress) -> None:
        if progress.phase != "measuring":
            return
        if not phases and progress.messages > 0:
            first.close(0)
            phases.append("closed")
            return
        if phases == ["closed"] and progress.error_count:
            serving(reverse, url)
            phases.append("back")
            counted.append(progress.messages)
        elif phases == ["closed", "back"] and progress.messages > counted[0]:
            stop.set()

    counted: list[int] = []
    stop = threading.Event()
    plan = Plan(
        url=url, clients=CLIENTS, warmup=0.0, duration=PATIENCE, expect=Reverse(), timeout=2.0
    )
    result = run(plan, watch, stop)
    assert phases == ["closed", "back"]
    assert stop.is_set(), "no message after it was back"
    assert result.connects >= 1
    assert set(result.errors) <= {"closed", "reset", "connect-refused"}


@pytest.mark.parametrize("options", [{}, {"rate": 1000.0}, {"connect_each": True}])
def test_requests_that_nobody_will_ever_answer_end_the_run(
    serving: Serving, options: dict[str, Any]
) -> None:
    server = serving(reverse)

    def watch(progress: Progress) -> None:
        if progress.messages > 0:
            server.close(0)

    plan = Plan(
        url=str(server.addresses[0]),
        clients=CLIENTS,
        warmup=0.0,
        duration=None,
        requests=10**9,
        timeout=0.2,
        **options,
    )
    result = run(plan, watch)
    assert result.messages > 0
    assert result.errors["connect-refused"].count > 0


def test_an_overloaded_service_is_shown_as_it_is() -> None:
    """One client, whose service takes its time: most of what is due is never sent."""
    tick = threading.Event()

    def script(connected: socket.socket) -> None:
        for line in lines_of(connected):
            tick.wait(0.01)
            connected.sendall(line + b"\n")

    with scripted(script) as service:
        result = bench(service.url, clients=1, rate=1000.0, duration=0.5, timeout=0.2)
    assert result.messages < 60
    assert result.errors["unsent"].count > 100
    assert "no connection was free" in result.errors["unsent"].example
    assert result.latency.max > 0.15
    # Whatever was sent had waited no longer than it may, and then for its reply.
    assert result.latency.max <= 0.2 + result.service.max + 0.3
    assert result.latency.percentile(90) > 0.15, "though nine in ten were never sent"
    assert result.service.percentile(50) < 0.1
    assert result.lost.count == result.error_count
    counted = result.latency.count
    assert counted == pytest.approx(500, abs=2), "whatever was due is answered or told of"


# What the user's own functions do.


@pytest.mark.parametrize(
    ("function", "kind"), [("is_never_right", "wrong-reply"), ("ends_the_process", None)]
)
def test_functions_of_all_kinds(
    serving: Serving, function: str, kind: str | None, capfd: Callable[..., Any]
) -> None:
    url = str(serving(reverse).addresses[0])
    expect = Check(f"tests.bench.services:{function}")
    if kind is None:
        with pytest.raises(threadwire.ThreadwireError, match="SystemExit: 3"):
            bench(url, expect=expect)
    else:
        assert set(bench(url, expect=expect).errors) == {kind}
