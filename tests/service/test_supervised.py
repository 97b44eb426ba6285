"""A service under a supervisor: sockets that it is started with, and what it tells."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import threadwire

from ..support import eventually
from .support import Service, Supervisor, ask, calm, dial, hear_line, running, served_by

# Sockets.


def activating(*arguments: str) -> tuple[str, ...]:
    """systemd's own program, which starts another one when a client comes.

    That one gets little of the environment but for what is said here.
    """
    found = shutil.which("systemd-socket-activate")
    if found is None:
        pytest.skip("systemd-socket-activate is not installed")
    handed_on = [name for name in os.environ if name.startswith(("PYTHON", "COV", "THREADWIRE"))]
    return (found, *[f"--setenv={name}" for name in handed_on], *arguments)


def await_activation(service: Service, sockets: int) -> None:
    """It listens in the service's place."""

    def listening() -> bool:
        return sum("Listening on" in line for line in service.complaints) == sockets

    eventually(listening, "systemd-socket-activate listens")


@pytest.mark.parametrize(
    ("names", "listen"),
    [
        (None, ()),
        (None, ("fd://3",)),
        ("web", ("fd://web",)),
        ("web:web", ("fd://web",)),
        ("web:admin", ("fd://web", "fd://admin")),
        ("web:admin", ("fd://admin", "fd://3")),
        ("web:admin", ()),
    ],
)
def test_sockets_from_systemd(here: Path, names: str | None, listen: tuple[str, ...]) -> None:
    paths = [here / f"socket{n}" for n in range(1 if names is None else len(names.split(":")))]
    arguments = [f"--listen={path}" for path in paths]
    if names is not None:
        arguments.append(f"--fdname={names}")
    with running("app:handle", cwd=here, listen=listen, prefix=activating(*arguments)) as service:
        await_activation(service, len(paths))
        addresses = [threadwire.Address("unix", path=str(path)) for path in paths]
        for address in addresses:  # the first one starts it
            assert ask(address) == service.pid
        assert sorted(map(str, service.addresses)) == sorted(map(str, addresses))
        assert service.stop() == 0
        assert all(path.exists() for path in paths), "the files are the supervisor's"


# Makes a descriptor the third one, and tells whom it is for, as systemd does.
HANDING = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execvp(sys.argv[2], sys.argv[2:])
"""


def test_who_comes_between_two_activations_is_served(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = threadwire.Address("tcp", *listening.getsockname())

        def activated() -> contextlib.AbstractContextManager[Service]:
            fd = listening.fileno()
            handing = (sys.executable, "-c", HANDING, str(fd), *activating("--fdname=web"))
            return running(
                "app:hold", cwd=here, listen=("fd://web",), prefix=handing, pass_fds=(fd,)
            )

        question = os.fsencode(here / "gate")
        with dial(address) as first:
            with activated() as service:
                first.sendall(question + b"\n")  # which starts it
                service.wait_for("opened")
                service.send(signal.SIGTERM)
                service.wait_for("draining")
                with dial(address) as second:
                    second.sendall(b"it drains\n")
                    (here / "gate").touch()
                    assert served_by(hear_line(first), question) == service.pid
                    first.close()
                    assert service.wait() == 0
                    with dial(address) as third, dial(address) as fourth:
                        third.sendall(b"there is nobody\n")
                        with activated() as again:
                            assert served_by(hear_line(second), b"it drains") == again.pid
                            assert served_by(hear_line(third), b"there is nobody") == again.pid
                            fourth.sendall(b"late\n")
                            assert served_by(hear_line(fourth), b"late") == again.pid
                            assert again.stop() == 0


def test_sockets_from_systemd_are_handed_on_and_stay_its_own(here: Path) -> None:
    path = here / "socket"
    address = threadwire.Address("unix", path=str(path))
    arguments = ("app:handle", "--takeover", "upgrade.sock")
    prefix = activating(f"--listen={path}", "--fdname=web")
    with running(*arguments, cwd=here, listen=("fd://web",), prefix=prefix) as old:
        await_activation(old, 1)
        assert ask(address) == old.pid
        eventually((here / "upgrade.sock").exists)
        with running(*arguments, cwd=here, listen=("fd://web",)) as new:
            new.wait_for("handover", what="taken-over")
            assert old.wait() == 0
            assert ask(address) == new.pid
            assert new.stop() == 0
    assert path.exists(), "the file is the supervisor's"
    with pytest.raises(ConnectionRefusedError):
        ask(address)


# What the supervisor is told.


def supervised(
    supervisor: Supervisor, handler: str, here: Path, *arguments: str, **more: str
) -> contextlib.AbstractContextManager[Service]:
    variables = {**supervisor.variables, **more}
    return running(handler, *arguments, cwd=here, variables=variables)


def test_the_supervisor_is_told_in_order(supervisor: Supervisor, here: Path) -> None:
    with supervised(supervisor, "app:hold", here) as service:
        told = supervisor.hears(service, "READY", "STATUS")
        assert told["STATUS"] == f"listening on {service.address}"
        for _ in range(2):
            before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            service.send(signal.SIGHUP)
            told = supervisor.hears(service, "RELOADING", "MONOTONIC_USEC")
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            assert before <= int(told["MONOTONIC_USEC"]) <= now
            supervisor.hears(service, "READY")
        with dial(service.address) as client:
            client.sendall(os.fsencode(here / "gate") + b"\n")
            service.wait_for("opened")
            service.send(signal.SIGTERM)
            supervisor.hears(service, "STOPPING")
            service.send(signal.SIGHUP)  # is of no interest any more
            service.wait_for("reloaded", 3)
            (here / "gate").touch()
            hear_line(client)
        assert service.wait() == 0
        supervisor.hears_nothing()
        calm(service)


def test_a_reload_that_fails_is_over_as_well(supervisor: Supervisor, here: Path) -> None:
    with supervised(supervisor, "app:handle", here) as service:
        supervisor.hears(service, "READY", "STATUS")
        (here / "threadwire.toml").write_text("nonsense")
        service.send(signal.SIGHUP)
        supervisor.hears(service, "RELOADING", "MONOTONIC_USEC")
        supervisor.hears(service, "READY")
        assert ask(service.address) == service.pid


def test_a_service_that_is_replaced_goes_on(supervisor: Supervisor, here: Path) -> None:
    """The supervisor is told who it is now; not that it stops, which it does not."""
    takeover = ("--takeover", "upgrade.sock")
    with supervised(supervisor, "app:hold", here, *takeover) as old:
        supervisor.hears(old, "READY", "STATUS")
        with dial(old.address) as client:
            client.sendall(os.fsencode(here / "gate") + b"\n")
            old.wait_for("opened")
            with supervised(supervisor, "app:hold", here, *takeover) as new:
                told = supervisor.hears(old, "READY", "STATUS", "MAINPID")
                assert told["MAINPID"] == str(new.pid)
                supervisor.hears(new, "READY", "STATUS")
                old.wait_for("draining")
                for number in (signal.SIGHUP, signal.SIGTERM):
                    old.send(number)
                    old.wait_for("signal", signal=number.name)
                (here / "gate").touch()
                assert hear_line(client)
                client.close()
                assert old.wait() == 0
                supervisor.hears_nothing()
                assert new.stop() == 0
                supervisor.hears(new, "STOPPING")


def test_a_supervisor_that_is_gone_is_logged_once(supervisor: Supervisor, here: Path) -> None:
    with supervised(supervisor, "app:handle", here, WATCHDOG_USEC="20000") as service:
        supervisor.hears(service, "READY", "STATUS")
        supervisor.socket.close()
        service.wait_for("notify-failed")
        for _ in range(10):
            assert ask(service.address) == service.pid
        assert service.stop() == 0
        assert len(service.events("notify-failed")) == 1


# Signs of life, each 50 ms.

WATCHED = {"WATCHDOG_USEC": "100000"}

# A message that begins with "/" is held. After "none" no thread can be started: none has so
# much address space.
WITHOUT_THREADS = """
import threading
import app

def handle(message):
    if message == b"none":
        threading.stack_size(1 << 46)
    return app.hold(message)
"""


def test_handlers_that_block_are_a_sign_of_life(supervisor: Supervisor, here: Path) -> None:
    with supervised(supervisor, "app:hold", here, **WATCHED) as service:
        supervisor.hears(service, "READY", "STATUS")
        supervisor.hears(service, "WATCHDOG")  # at once
        with contextlib.ExitStack() as clients:
            for _ in range(20):
                client = clients.enter_context(dial(service.address))
                client.sendall(b"/never\n")
            service.wait_for("opened", 20)
            supervisor.forget()
            for _ in range(5):
                supervisor.hears(service, "WATCHDOG")
            assert ask(service.address) == service.pid


def test_a_loop_that_cannot_turn_gives_none(supervisor: Supervisor, here: Path) -> None:
    """A handler holds it up, and there is no thread that could go on in its place."""
    (here / "without.py").write_text(WITHOUT_THREADS)
    with supervised(supervisor, "without:handle", here, **WATCHED) as service:
        supervisor.hears(service, "READY", "STATUS")
        supervisor.hears(service, "WATCHDOG")  # the thread that gives it is there
        with dial(service.address) as client:
            client.sendall(b"none\n")
            assert served_by(hear_line(client), b"none") == service.pid
            question = os.fsencode(here / "gate")
            client.sendall(question + b"\n")
            service.wait_for("stuck")
            supervisor.forget()
            supervisor.hears_nothing(0.5)
            (here / "gate").touch()
            assert served_by(hear_line(client), question) == service.pid
        for _ in range(3):
            supervisor.hears(service, "WATCHDOG")
        service.send(signal.SIGTERM)
        assert service.wait() == 0


def test_whose_variables_are_wrong_is_not_started(here: Path) -> None:
    variables: Any = {"NOTIFY_SOCKET": "somewhere"}
    with running("app:handle", cwd=here, variables=variables) as service:
        assert service.wait() == 2
        assert "NOTIFY_SOCKET" in service.complaints[0]
        assert not service.events("listening")
