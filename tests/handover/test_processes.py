"""Handing over between real processes, of one user and of another."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import socket
import stat
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from threadwire import ListenError
from threadwire.handover import Handed, Offer, take

from ..support import PATIENCE, eventually
from .support import (
    Reports,
    assert_it_stands,
    killed_at_the_end,
    line_of,
    python,
    taking,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes users, which needs root")
NOBODY = 65534


# Serves a line a connection, with its own number before it; takes over if there is anybody to
# take over from, and offers its sockets to the next.
SERVER = """
import os, select, socket, sys, threading
from threadwire.handover import Handed, Offer, take

path, unix = sys.argv[1:]
taken = take(path)
if taken is None:
    tcp = socket.create_server(("127.0.0.1", 0))
    local = socket.socket(socket.AF_UNIX)
    local.bind(unix)
    local.listen(100)
    handed = [Handed("tcp://:0", tcp, {}), Handed(f"unix://{unix}", local, {})]
else:
    handed = [*taken.adopt("tcp://:0"), *taken.adopt(f"unix://{unix}")]
listeners = [one.socket for one in handed]
stop, stopped = socket.socketpair()

def accept():
    poll = select.poll()
    for one in [stopped, *listeners]:
        one.setblocking(False)
        poll.register(one, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if stopped.fileno() in ready:
            return
        for one in listeners:
            try:
                connected, _ = one.accept()
            except BlockingIOError:
                continue
            connected.setblocking(True)
            with connected, connected.makefile("rwb") as lines:
                lines.write(b"%d %s" % (os.getpid(), lines.readline()))

acceptor = threading.Thread(target=accept)
acceptor.start()

def over():
    stop.send(b"x")
    acceptor.join()

if taken is not None:
    taken.serving()
    taken.close()

def report(*words):
    print(*words, flush=True)

offer = Offer(path, handed, over, report=report, replace=taken is not None).start()
print("serving", os.getpid(), listeners[0].getsockname()[1], flush=True)
acceptor.join()
for one in listeners:
    one.close()
offer.close()
"""


class Clients:
    """Threads that connect, ask and leave, over and over; whatever goes wrong is kept."""

    def __init__(self, *targets: tuple[int, object]) -> None:
        self.failures: list[str] = []  # appended to by any thread
        self.served_by: list[set[int]] = [set() for _ in targets]  # each by its thread
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(*target, self.served_by[n]))
            for n, target in enumerate(targets)
        ]

    def _run(self, family: int, name: Any, served_by: set[int]) -> None:
        for n in itertools.count():
            if self._stop.is_set():
                return
            question = b"question %d\n" % n
            try:
                with socket.socket(family) as client:
                    client.settimeout(PATIENCE)
                    client.connect(name)
                    client.sendall(question)
                    with client.makefile("rb") as replies:
                        pid, _, echo = replies.read().partition(b" ")
                assert echo == question, echo
                served_by.add(int(pid))
            except Exception as error:  # noqa: BLE001 - each is what the tests are about
                self.failures.append(repr(error))
                return

    def all_served_by(self, pid: int) -> None:
        eventually(
            lambda: self.failures or all(pid in pids for pids in self.served_by),
            f"everybody served by {pid}",
        )
        assert not self.failures

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)


def test_ten_take_overs_in_a_row_and_no_client_notices(path: str, tmp_path: Path) -> None:
    unix = str(tmp_path / "service.sock")
    old = python(SERVER, path, unix)
    with contextlib.ExitStack() as stack:
        stack.enter_context(killed_at_the_end(old))
        _, pid, port = line_of(old)
        targets = [(socket.AF_INET, ("127.0.0.1", int(port))), (socket.AF_UNIX, unix)]
        with Clients(*targets, *targets) as clients:
            clients.all_served_by(int(pid))
            for _ in range(10):
                new = python(SERVER, path, unix)
                stack.enter_context(killed_at_the_end(new))
                word, pid, same_port = line_of(new)
                assert (word, same_port) == ("serving", port)
                assert line_of(old) == ["taken", "by", "process", pid]
                assert old.wait(PATIENCE) == 0
                clients.all_served_by(int(pid))
                old = new
        assert not clients.failures
        assert len(clients.served_by[0]) == 11
    assert stat.S_ISSOCK(os.lstat(unix).st_mode), "nobody may remove the file of the service"


def test_who_waits_in_the_queue_is_served_by_the_new_process(path: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as old:
        with Offer(path, [Handed("tcp://:0", old, {})], old.close), taking(path) as taken:
            with socket.create_connection(old.getsockname(), PATIENCE) as waiting:
                waiting.sendall(b"hello")
                (handed,) = taken.adopt("tcp://:0")
                with handed.socket as new:
                    taken.serving()
                    assert old.fileno() == -1
                    new.settimeout(PATIENCE)
                    with new.accept()[0] as connected:
                        assert connected.recv(5) == b"hello"


# A process that takes over and dies at the step that it is told, by a signal that nobody handles.
DYING = """
import os, signal, sys
from threadwire.handover import take, wire
path, step = sys.argv[1:]

def die(_):
    os.kill(os.getpid(), signal.SIGKILL)

if step == "connected":
    connected = wire.connect(path)
elif step == "asked":
    connected = wire.connect(path)
    wire.send(connected, {"say": "take"})
else:
    taken = take(path)
    if step == "adopted":
        taken.adopt("tcp://:1")
    elif step == "accepting":
        (one,) = taken.adopt("tcp://:1")
        one.socket.settimeout(0)
        try:
            one.socket.accept()
        except BlockingIOError:
            pass
    elif step == "said half":
        taken._socket.send(b'{"say": "serv')
die(0)
"""


@pytest.mark.usefixtures("offer")
@pytest.mark.parametrize("step", ["connected", "asked", "taken", "adopted", "accepting"])
def test_a_new_process_that_dies_changes_nothing(
    step: str, path: str, listening: socket.socket, reports: Reports
) -> None:
    dying = python(DYING, path, step)
    with killed_at_the_end(dying):
        assert dying.wait(PATIENCE) == -9
        if step != "connected":
            assert "ended before it served" in reports.wait_for("gone")
    with socket.create_connection(listening.getsockname(), PATIENCE):
        listening.accept()[0].close()


@pytest.mark.usefixtures("offer")
def test_a_new_process_that_dies_inside_a_message(path: str, reports: Reports) -> None:
    dying = python(DYING, path, "said half")
    with killed_at_the_end(dying):
        assert dying.wait(PATIENCE) == -9
        assert "not JSON" in reports.wait_for("garbage")


@as_root
def test_another_user_cannot_connect(offer: Offer) -> None:
    assert stat.S_IMODE(os.lstat(offer.path).st_mode) == 0o600


CONNECT = """
import array, os, socket, sys
os.setuid(int(sys.argv[2]))
connected = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
try:
    connected.connect(sys.argv[1])
    try:
        connected.send(b'{"handover": 1, "say": "take"}')
    except BrokenPipeError:
        pass  # it has been refused already
    try:
        data, fds, _, _ = socket.recv_fds(connected, 65536, 10)
    except ConnectionResetError:  # it has been refused meanwhile
        data, fds, _, _ = socket.recv_fds(connected, 65536, 10)
    print(len(fds), data.decode())
except PermissionError as error:
    print("denied", error.errno)
"""


@as_root
def test_another_user_is_refused(listening: socket.socket, reports: Reports) -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = os.path.join(directory, "upgrade.sock")
        handed = [Handed("tcp://:1", listening, {})]
        with Offer(path, handed, lambda: None, report=reports):
            stranger = python(CONNECT, path, str(NOBODY))
            with killed_at_the_end(stranger):
                assert line_of(stranger) == ["denied", str(errno.EACCES)]
            os.chmod(path, 0o666)
            stranger = python(CONNECT, path, str(NOBODY))
            with killed_at_the_end(stranger):
                fds, *answer = line_of(stranger)
                assert fds == "0"
                assert json.loads(" ".join(answer))["why"] == "denied"
            assert f"runs as user {NOBODY}, neither 0 nor root" in reports.wait_for("refused")
            assert_it_stands(path)


OFFER = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listening.bind(sys.argv[1])
listening.listen()
print("there", flush=True)
print(len(listening.accept()[0].recv(100)), flush=True)
"""


@as_root
def test_what_another_user_offers_is_not_taken() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        path = os.path.join(directory, "upgrade.sock")
        stranger = python(OFFER, path, str(NOBODY))
        with killed_at_the_end(stranger):
            assert line_of(stranger) == ["there"]
            with pytest.raises(ListenError, match=f"there runs as user {NOBODY}") as caught:
                take(path)
            assert caught.value.errno == errno.EPERM
            assert line_of(stranger) == ["0"], "it was told nothing"
