"""Signals: what is begun is finished, whatever the moment, and a process ends as it should."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pty
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import threadwire

from ..support import PATIENCE
from .support import Service, ask, calm, dial, hear_line, running, served_by

both_stops = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


# At any moment.

_ONE_PIECE = 20_000  # bytes, which the system passes on at once


class Talker:
    """A client that asks again and again on one connection, until it is ended."""

    def __init__(self, address: threadwire.Address, seed: str) -> None:
        self.rest = b""  # what has come of the last reply
        self.sent_at = 0.0  # when the last question was sent completely, in one piece
        self.answered = threading.Event()
        self._client = dial(address)
        self._random = random.Random(seed)
        self._thread = threading.Thread(target=self._talk)
        self._thread.start()

    def _talk(self) -> None:
        with self._client, contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while True:
                size = self._random.choice((1, 10, 100, 10_000, 200_000))
                question = self._random.choice((b"quick", b"slow")) + b"x" * size
                self.sent_at = float("inf")
                self._client.sendall(question + b"\n")
                if size < _ONE_PIECE:
                    self.sent_at = time.monotonic()
                while not self.rest.endswith(b"\n"):
                    data = self._client.recv(1 << 18)
                    if not data:
                        return
                    self.rest += data
                served_by(self.rest, question)
                self.rest = b""
                self.answered.set()

    def ended(self, signalled_at: float) -> None:
        """Whoever had asked before the signal has its reply; nobody has half of one.

        A long question, which comes in pieces, may meet the server's end of reading.
        """
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert self.rest == b"", f"half a reply: {len(self.rest)} bytes"
        assert self.sent_at > signalled_at, "no reply"


def _stopped_at_a_random_moment(seed: int, here: Path) -> None:
    moments = random.Random(seed)
    with running("talk:handle", cwd=here) as service:
        talkers = [Talker(service.address, f"{seed} {n}") for n in range(3)]
        try:
            for talker in talkers:
                assert talker.answered.wait(PATIENCE)
            time.sleep(moments.uniform(0, 0.02))  # what is tested is that the moment is any
            signalled_at = time.monotonic()
            assert service.stop(moments.choice((signal.SIGTERM, signal.SIGINT))) == 0
        finally:
            service.process.kill()
            for talker in talkers:
                talker.ended(signalled_at)
        # As a long question is for a server that has stopped reading.
        calm(service, but_for={"error": "TruncatedMessage"})
        assert service.log[-1]["event"] == "stopped"
        assert service.log[-1]["cut"] == 0


def test_a_hundred_are_stopped_at_any_moment(here: Path) -> None:
    (here / "talk.py").write_text(
        "import time, app\n"
        "def handle(message):\n"
        "    if message.startswith(b'slow'):\n"
        "        time.sleep(0.01)\n"
        "    return app.handle(message)\n"
    )
    with concurrent.futures.ThreadPoolExecutor(3) as several:
        for done in [several.submit(_stopped_at_a_random_moment, n, here) for n in range(100)]:
            done.result()


# The drain, and the end of it.


@both_stops
def test_what_has_begun_is_finished(here: Path, number: signal.Signals) -> None:
    with running("app:hold", cwd=here) as service:
        question = os.fsencode(here / "gate")
        with dial(service.address) as busy, dial(service.address) as idle:
            idle.sendall(b"x\n")
            hear_line(idle)
            busy.sendall(question + b"\n")
            service.wait_for("opened", count=2)
            service.send(number)
            assert idle.recv(1) == b"", "who is idle is not kept"
            with pytest.raises(ConnectionRefusedError):
                dial(service.address)
            (here / "gate").touch()
            assert served_by(hear_line(busy), question) == service.pid
            assert busy.recv(1) == b""
        assert service.wait() == 0
        assert service.events("signal") == [
            service.wait_for("signal", signal=number.name, then="drain")
        ]
        calm(service)


@both_stops
def test_the_second_signal_cuts_and_lists_whom(here: Path, number: signal.Signals) -> None:
    (here / "lost.py").write_text(
        "import threading, app\n"
        "def inner():\n"
        "    threading.Event().wait()\n"
        "def handle(message):\n"
        "    if message == b'lost':\n"
        "        inner()\n"
        "    return app.hold(message)\n"
    )
    with running("lost:handle", cwd=here) as service, contextlib.ExitStack() as clients:
        lost, held, half = (clients.enter_context(dial(service.address)) for _ in range(3))
        service.wait_for("opened", count=3)
        for client in (lost, half):
            client.sendall(b"first\n")
            assert served_by(hear_line(client), b"first") == service.pid
        lost.sendall(b"lost\n")
        held.sendall(b"/never\n")
        half.sendall(b"half a mess")
        service.send(number)
        service.wait_for("draining", connections=3)
        service.send(signal.SIGTERM)
        assert service.wait() == 4
        cut = {entry["peer"]: entry for entry in service.events("cut")}
        reply = len(b"%d first\n" % service.pid)
        for client, doing, received, sent in (
            (lost, r"lost\.py:3 in inner", len(b"first\nlost\n"), reply),
            (held, r"app\.py:\d+ in hold", len(b"/never\n"), 0),
            (half, "", len(b"first\nhalf a mess"), reply),
        ):
            entry = cut.pop("tcp://{}:{}".format(*client.getsockname()))
            assert re.search(f"{doing}$", entry["doing"]), entry
            assert (entry["bytes_received"], entry["bytes_sent"]) == (received, sent)
            assert 0 < entry["seconds"] < PATIENCE
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
        assert not cut
        assert [entry["then"] for entry in service.events("signal")] == ["drain", "cut"]
        assert service.events("stopped", finished=0, cut=3)


def test_signals_after_the_end_change_nothing(here: Path) -> None:
    """However impatient somebody is: it had ended well, and says so."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) * 2:
        with running(cwd=here) as service:
            service.wait_for("listening")
            service.send(signal.SIGTERM)
            while service.process.poll() is None:
                service.send(number)
            assert service.wait() == 0
            assert service.complaints == []


# SIGHUP.


def test_a_hundred_hangups_while_serving_and_one_while_draining(here: Path) -> None:
    (here / "threadwire.toml").write_text("[serve]\nidle_timeout = 100\n")
    with running("app:hold", cwd=here) as service, dial(service.address) as client:
        for n in range(100):
            question = b"question %d" % n
            service.send(signal.SIGHUP)
            client.sendall(question + b"\n")
            assert served_by(hear_line(client), question) == service.pid
        service.wait_for("reloaded")
        assert len(service.events("reloaded")) <= len(service.events("signal")) <= 100
        question = os.fsencode(here / "gate")
        client.sendall(question + b"\n")
        service.send(signal.SIGTERM)
        service.wait_for("draining", connections=1)
        before = len(service.events("signal", signal="SIGHUP"))
        service.send(signal.SIGHUP)
        service.wait_for("signal", before + 1, signal="SIGHUP")
        (here / "gate").touch()
        assert served_by(hear_line(client), question) == service.pid
        client.close()
        assert service.wait() == 0
        calm(service)


FLOODED = """
import os, signal, threadwire
from threadwire.serving import serve_until_signal

def flood(server):
    for _ in range(5000):
        os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)

server = threadwire.Server(lambda message: message, "tcp://127.0.0.1:0", drain_timeout=0)
serve_until_signal(server, flood)
"""


def test_a_signal_to_stop_is_not_lost_in_a_flood_of_others() -> None:
    """They come while the thread that heeds them has something else to do."""
    subprocess.run([sys.executable, "-c", FLOODED], timeout=PATIENCE, check=True)


@contextlib.contextmanager
def on_a_terminal(*arguments: str, **options: Any) -> Iterator[tuple[Service, int]]:
    """A service, the leader of a terminal's session; and the terminal's other end."""
    if shutil.which("setsid") is None:
        pytest.skip("setsid is not installed")
    ours, theirs = pty.openpty()
    try:
        with running(*arguments, prefix=("setsid", "--ctty"), stdin=theirs, **options) as service:
            service.wait_for("listening")
            yield service, ours
    finally:
        os.close(theirs)
        with contextlib.suppress(OSError):  # the test has closed it
            os.close(ours)


def test_who_has_lost_its_terminal_drains(here: Path) -> None:
    with on_a_terminal("app:hold", cwd=here) as (service, terminal):
        with dial(service.address) as client:
            question = os.fsencode(here / "gate")
            client.sendall(question + b"\n")
            service.wait_for("opened")
            service.send(signal.SIGHUP)
            service.wait_for("reloaded")  # it still has its terminal
            os.close(terminal)
            service.wait_for("draining", connections=1)
            service.send(signal.SIGHUP)  # a shell tells its children, too
            (here / "gate").touch()
            assert served_by(hear_line(client), question) == service.pid
        assert service.wait() == 0
        assert [(entry["signal"], entry["then"]) for entry in service.events("signal")] == [
            ("SIGHUP", "reload"),
            ("SIGHUP", "drain"),
        ]


def test_who_has_no_descriptor_left_has_not_lost_its_terminal(here: Path) -> None:
    with on_a_terminal("app:handle", cwd=here) as (service, _):
        limits = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
        open_now = len(os.listdir(f"/proc/{service.pid}/fd"))
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (open_now, limits[1]))
        service.send(signal.SIGHUP)
        service.wait_for("signal", signal="SIGHUP", then="reload")
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, limits)
        assert ask(service.address) == service.pid
        assert service.stop() == 0


# Processes that a handler starts.


def test_a_signal_to_a_process_that_was_forked_off_is_not_ours(here: Path) -> None:
    (here / "forking.py").write_text(
        "import multiprocessing, time, app\n"
        "fork = multiprocessing.get_context('fork')\n"
        "def wait(ready):\n"
        "    ready.set()\n"
        "    time.sleep(60)\n"
        "def handle(message):\n"
        "    ready = fork.Event()\n"
        "    child = fork.Process(target=wait, args=(ready,))\n"
        "    child.start()\n"
        "    ready.wait()\n"
        "    child.terminate()\n"
        "    child.join(10)\n"
        "    return app.handle(b'%d' % child.exitcode)\n"
    )
    with running("forking:handle", cwd=here) as service:
        with dial(service.address) as client:
            for _ in range(2):
                client.sendall(b"x\n")
                assert served_by(hear_line(client), b"-15") == service.pid
        assert service.events("signal") == []
        assert service.stop() == 0


def test_who_closes_by_itself_ends_well(here: Path) -> None:
    """No signal at all: the serving ends when the server is closed, by whomever."""
    (here / "closing.py").write_text(
        "import gc, threadwire, app\n"
        "def handle(message):\n"
        "    if message == b'close':\n"
        "        server, = (o for o in gc.get_objects() if isinstance(o, threadwire.Server))\n"
        "        server.close()\n"
        "    return app.handle(message)\n"
    )
    with running("closing:handle", cwd=here) as service:
        with dial(service.address) as client:
            client.sendall(b"close\n")
            assert served_by(hear_line(client), b"close") == service.pid
        assert service.wait() == 0
        assert service.events("stopped", cut=0)
        calm(service)
