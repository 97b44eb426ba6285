"""The new process's side: whatever the old one answers, or does not."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from threadwire import ListenError, TimeLimitError
from threadwire.handover import Handed, Offer, take, wire

from ..support import PATIENCE
from .support import (
    LISTENERS,
    killed_at_the_end,
    line_of,
    python,
    taking,
)


def test_nobody_is_there(path: str) -> None:
    assert take(path) is None
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(path)
    assert os.path.exists(path)
    assert take(path) is None


def test_another_kind_of_socket_is_there(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(path)
        service.listen()
        with pytest.raises(ListenError, match="another kind of socket"):
            take(path)


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ListenError, match="not a directory"):
        take(str(tmp_path / "file" / "upgrade.sock"))


@contextlib.contextmanager
def old_process(path: str, script: Callable[[socket.socket], None]) -> Iterator[None]:
    """An old process, for one conversation, that behaves as ``script`` does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as offering:
        offering.bind(path)
        offering.listen()

        def serve() -> None:
            connected, _ = offering.accept()
            connected.settimeout(PATIENCE)
            with connected:
                script(connected)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join(PATIENCE)


def test_an_old_process_that_does_not_answer(path: str) -> None:
    def silent(connected: socket.socket) -> None:
        while connected.recv(100):
            pass

    with old_process(path, silent):
        with pytest.raises(TimeLimitError, match=r"no answer of the process at .* within 0.1 s"):
            take(path, 0.1)


def test_an_old_process_that_takes_nobody_in(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as full:
        full.bind(path)
        full.listen(0)
        clients = []
        with contextlib.suppress(BlockingIOError):
            while True:
                clients.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                clients[-1].setblocking(False)
                clients[-1].connect(path)
        with pytest.raises(ListenError, match="does not answer"):
            take(path)
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "ended without an answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "another protocol: .* not JSON"),
        (b"x" * 70000, "another protocol: .* more than 65536 bytes"),
        ({"say": "listeners"}, "speaks version None"),
        ({**LISTENERS, "handover": 2}, "speaks version 2"),
        ({"handover": 1, "say": "hello"}, "said .*hello.*, out of turn"),
        (LISTENERS, "out of turn"),
        ({**LISTENERS, "listeners": {}}, "out of turn"),
        ({**LISTENERS, "listeners": [], "left": 7}, "described 0 sockets and passed 1"),
        ({**LISTENERS, "listeners": [{}, {}]}, "described 2 sockets and passed 1"),
        ({**LISTENERS, "listeners": [{}], "left": -1}, "out of turn"),
        ({**LISTENERS, "listeners": [{}], "left": "1"}, "out of turn"),
        ({**LISTENERS, "listeners": ["tcp://:1"]}, "described a socket as tcp"),
        ({**LISTENERS, "listeners": [{"address": 1, "options": {}}]}, "described a socket as"),
        ({**LISTENERS, "listeners": [{"address": "a", "options": []}]}, "described a socket as"),
        ({"handover": 9, "say": "refused", "why": "x", "problem": "no"}, "there refuses: no$"),
        ({"handover": 9, "say": "refused"}, "there refuses: None$"),
        ({"say": "refused", "why": [], "problem": "\n" + "x" * 900}, r"refuses: \?x{499}\.\.\.$"),
    ],
)
def test_answers_that_are_none(
    answer: bytes | dict[str, Any], problem: str, path: str, listening: socket.socket
) -> None:
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    def script(connected: socket.socket) -> None:
        connected.recv(100)
        if data:
            socket.send_fds(connected, [data], [listening.fileno()])

    with old_process(path, script):
        with pytest.raises(ListenError, match=problem):
            take(path)


def test_an_empty_answer(path: str, listening: socket.socket) -> None:
    def script(connected: socket.socket) -> None:
        connected.recv(100)
        socket.send_fds(connected, [b""], [listening.fileno()])

    with old_process(path, script):
        with pytest.raises(ListenError, match="ended without an answer"):
            take(path)


def test_an_old_process_that_is_confused_in_the_second_message(
    path: str, listening: socket.socket
) -> None:
    described = [{"address": "tcp://:1", "options": {}}]
    first = json.dumps({**LISTENERS, "listeners": described, "left": 1}).encode()

    def script(connected: socket.socket) -> None:
        connected.recv(100)
        socket.send_fds(connected, [first], [listening.fileno()])
        connected.recv(100)
        connected.send(b"oops")

    with old_process(path, script):
        with pytest.raises(ListenError, match="another protocol"):
            take(path)  # and what had come is closed


@pytest.mark.parametrize("kind", ["connected", "datagram", "pipe"])
def test_what_is_passed_has_to_listen(kind: str, path: str) -> None:
    ours, theirs = socket.socketpair()
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    reading, writing = os.pipe()
    fd = {"connected": ours.fileno(), "datagram": datagram.fileno(), "pipe": reading}[kind]
    described = [{"address": "tcp://:1", "options": {}}] * 3
    data = json.dumps({**LISTENERS, "listeners": described}).encode()

    def script(connected: socket.socket) -> None:
        connected.recv(100)
        socket.send_fds(connected, [data], [fd, fd, fd])

    with ours, theirs, datagram:
        with old_process(path, script):
            with pytest.raises(ListenError, match="passed what is not for listening"):
                take(path)
    os.close(reading)
    os.close(writing)


def test_no_descriptors_are_free_in_the_new_process(path: str, offer: Offer) -> None:
    script = """
import resource, sys, threadwire
from threadwire.handover import take
import json  # the modules that it needs, while files can be opened
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (4, hard))  # the connection has 3
try:
    take(sys.argv[1])
except threadwire.ListenError as error:
    print(error)
"""
    process = python(script, offer.path)
    with killed_at_the_end(process):
        assert "descriptors were lost on the way" in " ".join(line_of(process))


def test_what_was_not_adopted_is_closed(path: str, offer: Offer) -> None:
    with taking(path) as taken:
        assert taken.adopt("tcp://:2") == []
        (listener,) = taken.listeners
        assert listener.options == {"a": 1}
        assert not listener.socket.get_inheritable()
    assert listener.socket.fileno() == -1
    with taking(path) as taken:
        (adopted,) = taken.adopt("tcp://:1")
        assert taken.listeners == []
    assert adopted.socket.fileno() != -1
    adopted.socket.close()


def test_more_listeners_than_one_message_carries(path: str, listening: socket.socket) -> None:
    small = [Handed(f"tcp://:{n}", listening, {}) for n in range(300)]
    large = [Handed(f"tcp://:{n}", listening, {"text": "ö" * 2000}) for n in range(300, 330)]
    with Offer(path, small + large, lambda: None):
        with taking(path) as taken:
            assert [one.address for one in taken.listeners] == [
                one.address for one in small + large
            ]
            assert all(one.options == {"text": "ö" * 2000} for one in taken.listeners[300:])
            ends = {one.socket.getsockname() for one in taken.listeners}
            assert ends == {listening.getsockname()}
            taken.serving()


# Saying that one serves.


def taken_from(script: Callable[[socket.socket], None], listening: socket.socket) -> Any:
    """An old process that hands over as it should, and then behaves as ``script`` does."""
    data = json.dumps({**LISTENERS, "listeners": [{"address": "a", "options": {}}]}).encode()

    def whole(connected: socket.socket) -> None:
        connected.recv(100)
        socket.send_fds(connected, [data], [listening.fileno()])
        script(connected)

    return whole


def test_an_old_process_that_dies_has_stopped(path: str, listening: socket.socket) -> None:
    def dies_at_once(connected: socket.socket) -> None:
        connected.recv(100)

    with old_process(path, taken_from(dies_at_once, listening)):
        with taking(path) as taken:
            taken.serving()


def test_an_old_process_that_has_died_before(path: str, listening: socket.socket) -> None:
    with old_process(path, taken_from(lambda _: None, listening)):
        taken = taking(path)
    with taken:  # it is gone now
        taken.serving()


def test_an_old_process_that_never_stops(path: str, listening: socket.socket) -> None:
    def goes_on(connected: socket.socket) -> None:
        while connected.recv(100):
            pass

    with old_process(path, taken_from(goes_on, listening)):
        with taking(path) as taken:
            with pytest.raises(TimeLimitError, match="answer of the process at"):
                taken.serving(0.1)


def test_an_old_process_that_answers_nonsense(path: str, listening: socket.socket) -> None:
    def nonsense(connected: socket.socket) -> None:
        connected.recv(100)
        connected.send(b'{"handover": 1, "say": "perhaps"}')

    with old_process(path, taken_from(nonsense, listening)):
        with taking(path) as taken:
            with pytest.raises(ListenError, match="said perhaps, out of turn"):
                taken.serving()


def say_and_wait_for_the_end(connected: socket.socket, message: dict[str, Any]) -> None:
    """In place of ``send``: the answer is not looked for before the other end is closed."""
    wire.send(connected, message)
    poll = select.poll()
    poll.register(connected, 0)  # a hang-up is told unasked
    assert poll.poll(PATIENCE * 1000)


def test_a_refusal_is_read_though_the_old_process_has_closed_without_listening(
    path: str, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(connected: socket.socket) -> None:
        connected.send(b'{"handover": 1, "say": "refused", "problem": "too late"}')
        connected.recv(1, socket.MSG_PEEK)  # which makes closing a reset

    with old_process(path, taken_from(refuses, listening)):
        with taking(path) as taken:
            monkeypatch.setattr("threadwire.handover.taking.send", say_and_wait_for_the_end)
            with pytest.raises(ListenError, match="too late"):
                taken.serving()


def test_an_old_process_that_has_closed_without_listening(
    path: str, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(connected: socket.socket) -> None:
        connected.recv(1, socket.MSG_PEEK)

    with old_process(path, taken_from(ends, listening)):
        with taking(path) as taken:
            monkeypatch.setattr("threadwire.handover.taking.send", say_and_wait_for_the_end)
            taken.serving()
