"""Errors of the system that are hard to come by: strace gives them to a server that runs.

Whatever fails, a client that is not hit by it gets its answers, and the server lives.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support import PATIENCE, eventually
from .support import Service, Supervisor, ask, calm, dial, hear_line, running, served_by

# Half of the questions are quick, and answered by the loop; half take a thread.
APP = """
import time
import app

def handle(message):
    if message.startswith(b"slow"):
        time.sleep(0.01)
    return app.hold(message)
"""

TAKE_TURNS = "2+3"  # which calls fail: the second, and each third from there on


@pytest.fixture(params=["c", "python"])
def twin(request: pytest.FixtureRequest) -> dict[str, str]:
    """Variables that choose one of the pollers."""
    return {"THREADWIRE_PURE": "1" if request.param == "python" else "0"}


@contextlib.contextmanager
def serving(here: Path, twin: dict[str, str], *arguments: str, **more: str) -> Iterator[Service]:
    (here / "both.py").write_text(APP)
    with running("both:handle", *arguments, cwd=here, variables={**twin, **more}) as service:
        service.wait_for("listening")
        yield service


class Injected:
    """``failures`` is how many calls have been made to fail; known at the end."""

    failures = 0


@contextlib.contextmanager
def failing(service: Service, calls: str, error: str, when: str = TAKE_TURNS) -> Iterator[Injected]:
    """Meanwhile these system calls of the service fail with this error, not being made."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    told = service.directory / "strace"
    names = ",".join(f"?{name}" for name in calls.split(","))
    command = [strace, "-f", "-o", str(told), "-e", f"inject={names}:error={error}:when={when}"]
    tracer = subprocess.Popen([*command, "-p", str(service.pid)], stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    with tracer, tracer.stderr:
        first = tracer.stderr.readline()
        if "not permitted" in first:
            pytest.skip("strace may not trace here")
        assert "attached" in first
        injected = Injected()
        try:
            yield injected
        finally:
            tracer.send_signal(signal.SIGINT)  # it lets go
            tracer.wait(PATIENCE)
            injected.failures = told.read_text().count("(INJECTED)")


def talk(client: socket.socket, service: Service, times: int = 10) -> None:
    for n in range(times):
        question = b"%s question %d" % ((b"quick", b"slow")[n % 2], n)
        client.sendall(question + b"\n")
        assert served_by(hear_line(client), question) == service.pid


def asks(service: Service, question: bytes) -> bool:
    """Whether a new client is answered; if not, its connection ends without half an answer."""
    try:
        with dial(service.address) as client:
            client.sendall(question + b"\n")
            reply = hear_line(client)
    except (ConnectionResetError, BrokenPipeError):
        return False
    return bool(reply) and served_by(reply, question) == service.pid


def test_accepting(here: Path, twin: dict[str, str]) -> None:
    """Everybody is accepted, if later; for want of something there is one line an episode."""
    with serving(here, twin) as service, dial(service.address) as client:
        talk(client, service)
        for error in ("ECONNABORTED", "EINTR", "EPROTO"):
            with failing(service, "accept4", error) as injected:
                for _ in range(4):
                    assert ask(service.address) == service.pid
                talk(client, service, 2)
            assert injected.failures
        calm(service)
        for error in ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"):
            with failing(service, "accept4", error) as injected:
                for _ in range(4):
                    assert ask(service.address) == service.pid
                talk(client, service, 2)
            assert injected.failures
        assert len(service.events("accept-paused")) == 1
        client.close()  # who stays is waited for
        assert service.stop() == 0
        assert not service.complaints


@pytest.mark.parametrize("call", ["recvfrom", "sendto"])
def test_errors_that_mean_to_try_again(here: Path, twin: dict[str, str], call: str) -> None:
    with serving(here, twin) as service, dial(service.address) as client:
        talk(client, service)
        for error in ("EINTR", "EAGAIN"):
            with failing(service, call, error) as injected:
                talk(client, service)
                for question in (b"quick", b"slow") * 2:
                    assert asks(service, question)
            assert injected.failures >= 5
        client.close()  # who stays is waited for
        assert service.stop() == 0
        calm(service)


@pytest.mark.parametrize("call", ["recvfrom", "sendto"])
def test_errors_that_end_a_connection_end_no_other(
    here: Path, twin: dict[str, str], call: str
) -> None:
    with serving(here, twin) as service, dial(service.address) as client:
        talk(client, service)
        for error in ("ECONNRESET", "ENOBUFS", "ENOMEM"):
            with failing(service, call, error) as injected:
                answered = [asks(service, question) for question in (b"quick", b"slow") * 6]
            assert 0 < answered.count(False) <= injected.failures
            assert answered.count(True) >= 4
            talk(client, service, 2)
        client.close()  # who stays is waited for
        assert service.stop() == 0
        assert not service.complaints
        assert not service.events("handler-failed")
        assert not service.events("engine-failed")


def test_waiting_for_readiness(here: Path, twin: dict[str, str]) -> None:
    with serving(here, twin) as service, dial(service.address) as client:
        talk(client, service)
        for error in ("EINTR", "ENOMEM"):
            with failing(service, "epoll_wait,epoll_pwait", error) as injected:
                talk(client, service, 6)
                for question in (b"quick", b"slow"):
                    assert asks(service, question)
            assert injected.failures >= 2
            if error == "EINTR":
                calm(service)
        # Nothing that the system says it gives: told each time, and rested on.
        assert len(service.events("engine-failed", error="OSError")) == injected.failures
        client.close()  # who stays is waited for
        assert service.stop() == 0


def test_no_place_in_the_poller(here: Path, twin: dict[str, str]) -> None:
    with serving(here, twin) as service, dial(service.address) as client:
        talk(client, service)
        refused = 0
        for error in ("ENOMEM", "ENOSPC"):
            with failing(service, "epoll_ctl", error) as injected:
                answered = [asks(service, b"quick") for _ in range(6)]
                talk(client, service, 1)
            assert 0 < answered.count(False) <= injected.failures
            assert True in answered
            refused += answered.count(False)
        service.wait_for("no-capacity", refused)
        talk(client, service)
        client.close()  # who stays is waited for
        assert service.stop() == 0
        assert len(service.events("no-capacity")) == refused, "each of them is told"
        assert not service.complaints


@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
def test_no_threads(here: Path, twin: dict[str, str], error: str) -> None:
    """Handlers take turns then; and the server can still be told things, also to stop."""
    with serving(here, twin) as service, contextlib.ExitStack() as clients:
        slow = [clients.enter_context(dial(service.address)) for _ in range(6)]
        service.wait_for("opened", 6)
        with failing(service, "clone,clone3", error, when="1+") as injected:
            for client in slow:
                client.sendall(b"slow\n")
            replies = [hear_line(client) for client in slow]
            answered = [served_by(reply, b"slow") == service.pid for reply in replies if reply]
            assert len(answered) + len(service.events("no-capacity")) == 6
            assert answered
            assert ask(service.address) == service.pid
            service.send(signal.SIGHUP)
            assert "thread" in service.wait_for("reload-failed")["detail"]
            assert ask(service.address) == service.pid
            service.send(signal.SIGTERM)
            for client in slow:
                assert hear_line(client) == b""
                client.close()
            assert service.wait() == 0
        assert injected.failures
        assert len(service.events("stuck")) <= 1
        assert not service.complaints


def test_threads_that_come_back(here: Path, twin: dict[str, str]) -> None:
    with serving(here, twin) as service, contextlib.ExitStack() as clients:
        question = os.fsencode(here / "gate")
        with failing(service, "clone,clone3", "EAGAIN", when="1+"):
            stuck = clients.enter_context(dial(service.address))
            stuck.sendall(question + b"\n")

            def another() -> bool:  # until no thread is left over
                if not service.events("stuck"):
                    client = clients.enter_context(dial(service.address))
                    client.sendall(question + b"\n")
                return bool(service.events("stuck"))

            eventually(another)
        assert ask(service.address) == service.pid, "the loop has been handed on"
        (here / "gate").touch()
        assert served_by(hear_line(stuck), question) == service.pid
        assert service.stop() == 0
        assert len(service.events("stuck")) == 1


# Descriptors.

_MEASURED = 1.5  # seconds


def processor_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_out_of_descriptors(here: Path, twin: dict[str, str], supervisor: Supervisor) -> None:
    watched: dict[str, Any] = {**supervisor.variables, "WATCHDOG_USEC": "1000000"}
    with serving(here, twin, **watched) as service, contextlib.ExitStack() as leaving:
        limits = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (64, limits[1]))
        clients = [leaving.enter_context(dial(service.address)) for _ in range(120)]
        service.wait_for("accept-paused")
        there = len(service.events("opened"))
        assert 30 < there < 64
        supervisor.forget()

        used = processor_seconds(service.pid)
        time.sleep(_MEASURED)
        share = (processor_seconds(service.pid) - used) / _MEASURED
        assert share < 0.05, f"{share:.1%} of a core, for nothing"

        service.send(signal.SIGHUP)  # no file can be read
        assert "too many open files" in service.wait_for("reload-failed")["detail"]
        supervisor.hears(service, "WATCHDOG")
        for client in clients[:10]:
            client.close()
        service.wait_for("opened", there + 10)
        for client in clients[10 : there + 10]:
            client.sendall(b"still here\n")
            assert served_by(hear_line(client), b"still here") == service.pid
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, limits)
        service.wait_for("opened", 120)
        for client in clients[10:]:
            client.sendall(b"all are\n")
            assert served_by(hear_line(client), b"all are") == service.pid
        eventually(lambda: ask(service.address) and service.events("accept-resumed"))
        assert len(service.events("accept-paused")) == 1
        leaving.close()
        assert service.stop() == 0
        assert not service.complaints
