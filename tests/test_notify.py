"""What a supervisor is told: to a datagram socket that plays it."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from threadwire import UsageError
from threadwire.notify import Heartbeat, Notifier

from .support import PATIENCE, eventually, wait_for


class Supervisor:
    """The socket that ``NOTIFY_SOCKET`` names; ``name`` is what the variable has."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)

    def environ(self, **more: str) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.name, **more}

    def hear(self) -> list[str]:
        return self.socket.recv(65536).decode().split("\n")


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Supervisor]:
    name = f"@threadwire-test-{os.getpid()}"
    made = Supervisor(str(tmp_path / "notify") if request.param == "path" else name)
    with made.socket:
        yield made


def test_what_it_is_told(supervisor: Supervisor) -> None:
    notifier = Notifier(environ=supervisor.environ())
    assert notifier.active
    assert notifier.ready()
    assert supervisor.hear() == ["READY=1"]
    assert notifier.ready("serving 3 clients", mainpid=4711)
    assert supervisor.hear() == ["READY=1", "STATUS=serving 3 clients", "MAINPID=4711"]
    assert notifier.status("busy")
    assert supervisor.hear() == ["STATUS=busy"]
    assert notifier.status("")
    assert supervisor.hear() == ["STATUS="]
    assert notifier.alive()
    assert supervisor.hear() == ["WATCHDOG=1"]
    assert notifier.stopping("draining")
    assert supervisor.hear() == ["STOPPING=1", "STATUS=draining"]


def test_a_reload_has_the_time_it_began(supervisor: Supervisor) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert Notifier(environ=supervisor.environ()).reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, second = supervisor.hear()
    assert first == "RELOADING=1"
    name, _, microseconds = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= after


@given(st.text(st.characters()))
@example("\N{GRINNING FACE}" * 3000)
@example("word " * 3000)
def test_a_status_is_one_line_that_systemd_takes(text: str) -> None:
    name = f"@threadwire-test-status-{os.getpid()}"
    supervisor = Supervisor(name)
    with supervisor.socket:
        assert Notifier(environ=supervisor.environ()).ready(text, mainpid=2**22)
        data = supervisor.socket.recv(65536)
    assert len(data) < 4096
    lines = data.decode().split("\n")
    assert lines[0] == "READY=1"
    assert lines[-1] == f"MAINPID={2**22}"
    assert len(lines) <= 3
    if text.isascii() and text.isprintable() and text.strip():
        assert lines[1] == "STATUS=" + " ".join(text.split())[:1000]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}])
def test_without_a_supervisor_nothing_happens(environ: dict[str, str]) -> None:
    errors: list[OSError] = []
    notifier = Notifier(errors.append, environ)
    assert not notifier.active
    assert not notifier.ready()
    assert not errors
    assert notifier.watchdog is None


def test_the_environment_is_the_processs_own(
    monkeypatch: pytest.MonkeyPatch, supervisor: Supervisor
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", supervisor.name)
    assert Notifier().ready()
    assert supervisor.hear() == ["READY=1"]


def test_a_supervisor_that_is_gone_is_reported_once_an_episode(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    errors: list[OSError] = []
    notifier = Notifier(errors.append, {"NOTIFY_SOCKET": path})
    assert not notifier.ready()
    assert not notifier.status("still here")
    assert [error.errno for error in errors] == [errno.ENOENT]
    with Supervisor(path).socket:
        assert notifier.status("it is back")
    assert not notifier.status("it has ended")
    assert not notifier.stopping()
    assert [error.errno for error in errors] == [errno.ENOENT, errno.ECONNREFUSED]
    Notifier(None, {"NOTIFY_SOCKET": path}).ready()  # nobody wants to know


def test_a_supervisor_that_does_not_read_holds_nothing_up_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("threadwire.notify._SEND_TIMEOUT", 0.05)
    supervisor = Supervisor(str(tmp_path / "notify"))
    errors: list[OSError] = []
    notifier = Notifier(errors.append, supervisor.environ())
    with supervisor.socket:
        for _ in range(100_000):
            if not notifier.alive():
                break
    (error,) = errors
    assert isinstance(error, TimeoutError)


@pytest.mark.parametrize(
    "name", ["notify", "vsock:2:1234", "/", "@", "/with\0nul", "/" + "x" * 107, "@" + "x" * 107]
)
def test_a_socket_that_is_none(name: str) -> None:
    with pytest.raises(UsageError, match="NOTIFY_SOCKET must "):
        Notifier(environ={"NOTIFY_SOCKET": name})


# The watchdog.


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "1"}, 1e-6),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": str(2**64 - 1)}, None),
    ],
)
def test_the_interval(environ: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environ=environ).watchdog == seconds


@pytest.mark.parametrize("variable", ["WATCHDOG_USEC", "WATCHDOG_PID"])
@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "soon", "\u0661", "9" * 30])
def test_an_interval_that_is_none(variable: str, value: str) -> None:
    environ = {"WATCHDOG_USEC": "1000000", variable: value}
    with pytest.raises(UsageError, match=f"^{variable} must be a number from 1 on"):
        Notifier(environ=environ)


def beating(
    supervisor: Supervisor,
    healthy: Callable[[], bool],
    report: Callable[[Exception], None] | None = None,
    seconds: float = 0.02,
) -> Heartbeat:
    environ = supervisor.environ(WATCHDOG_USEC=str(int(seconds * 1e6)))
    return Heartbeat(Notifier(environ=environ), healthy, report)


def test_signs_of_life_keep_coming_and_end(supervisor: Supervisor) -> None:
    with beating(supervisor, lambda: True):
        for _ in range(3):
            assert supervisor.hear() == ["WATCHDOG=1"]
    supervisor.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            supervisor.hear()  # what had been sent before it stopped
    assert not any(thread.name == "threadwire-heartbeat" for thread in threading.enumerate())


def test_they_come_twice_in_an_interval(supervisor: Supervisor) -> None:
    with beating(supervisor, lambda: True, seconds=0.4):
        assert supervisor.hear() == ["WATCHDOG=1"]
        began = time.monotonic()
        assert supervisor.hear() == ["WATCHDOG=1"]
        assert time.monotonic() - began > 0.1


def test_stopping_does_not_wait_for_the_interval(supervisor: Supervisor) -> None:
    heartbeat = beating(supervisor, lambda: True, seconds=1e11).start()
    assert supervisor.hear() == ["WATCHDOG=1"]
    (thread,) = (t for t in threading.enumerate() if t.name == "threadwire-heartbeat")
    thread.join(0.05)
    assert thread.is_alive(), "it has not stumbled over more seconds than can be waited for"
    assert heartbeat.stop()
    assert heartbeat.stop(), "again does nothing"


def test_an_unhealthy_server_sends_none(supervisor: Supervisor) -> None:
    asked = threading.Semaphore(0)
    healthy = False

    def ask() -> bool:
        asked.release()
        return healthy

    with beating(supervisor, ask):
        for _ in range(5):
            assert asked.acquire(timeout=PATIENCE)
        supervisor.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            supervisor.hear()
        supervisor.socket.settimeout(PATIENCE)
        healthy = True
        assert supervisor.hear() == ["WATCHDOG=1"]


def test_a_check_that_raises_is_unhealthy_and_told_once_an_episode(supervisor: Supervisor) -> None:
    answers = iter([ValueError("a"), ValueError("b"), True, ValueError("c"), ValueError("d")])
    over = threading.Event()
    errors: list[str] = []

    def ask() -> bool:
        answer = next(answers, None)
        if isinstance(answer, ValueError):
            raise answer
        if answer is None:
            over.set()
        return answer is True

    with beating(supervisor, ask, lambda error: errors.append(str(error))):
        wait_for(over)
    assert errors == ["a", "c"]
    assert supervisor.hear() == ["WATCHDOG=1"]
    supervisor.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        supervisor.hear()


def test_a_check_that_does_not_return_is_not_waited_for(supervisor: Supervisor) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> bool:
        begun.set()
        return go_on.wait(PATIENCE)

    heartbeat = beating(supervisor, hang).start()
    wait_for(begun)
    assert not heartbeat.stop()
    go_on.set()
    eventually(heartbeat.stop)


@pytest.mark.parametrize("missing", ["WATCHDOG_USEC", "NOTIFY_SOCKET"])
def test_a_supervisor_that_wants_no_signs_of_life(supervisor: Supervisor, missing: str) -> None:
    environ = supervisor.environ(WATCHDOG_USEC="1000")
    del environ[missing]
    with Heartbeat(Notifier(environ=environ), pytest.fail) as heartbeat:
        assert heartbeat.stop()


def test_it_starts_once(supervisor: Supervisor) -> None:
    with beating(supervisor, lambda: True) as heartbeat:
        with pytest.raises(UsageError, match="starts once"):
            heartbeat.start()
