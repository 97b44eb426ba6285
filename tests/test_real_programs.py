"""Programs that threadwire did not write, talking to it as they are."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from .support import PATIENCE, eventually, run, served

EXERCISE = Path(__file__).parent / "exercise"


def program(*names: str) -> str:
    for name in names:
        if (found := shutil.which(name)) is not None:
            return found
    pytest.skip(f"{names[0]} is not installed")


def test_the_exercises_client_against_our_server() -> None:
    with served() as server:
        done = subprocess.run(
            [sys.executable, EXERCISE / "client.py", "127.0.0.1", str(server.address.port)],
            input="y\ny\nn\n",
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 0
    assert done.stdout.count("Received from server: tneilc morf olleh") == 3


def test_many_of_the_exercises_clients_at_once() -> None:
    """Its own server would let the second one in when the first says goodbye."""
    with served() as server:
        command = [
            sys.executable,
            str(EXERCISE / "client.py"),
            "127.0.0.1",
            str(server.address.port),
        ]
        clients = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(5)
        ]
        for client in clients:  # all have their reply before any has said goodbye
            assert client.stdout is not None
            said = b""
            while b"olleh" not in said:
                data = os.read(client.stdout.fileno(), 1000)
                assert data
                said += data
        for client in clients:
            client.communicate(b"n\n", timeout=PATIENCE)
            assert client.returncode == 0


def test_our_client_against_the_exercises_server() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, EXERCISE / "server.py", "127.0.0.1", str(port)],
        stdout=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: _accepts(port))
        url = f"tcp://127.0.0.1:{port}"
        done = run("client", url, "--framing", "raw", "hello from client", "again")
        assert (done.returncode, done.stdout) == (0, "tneilc morf olleh\nniaga\n")
    finally:
        server.kill()
        server.wait(PATIENCE)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"hello from client", b"tneilc morf olleh"),
        (b"hello\n", b"olleh\n"),
        (b"one\ntwo\n", b"eno\nowt\n"),
        (b"one\r\ntwo\r\n", b"eno\nowt\n"),
        (b"one\ntwo", b"eno\nowt\n"),
        (b"", b""),
    ],
)
def test_netcat_and_socat(said: bytes, heard: bytes) -> None:
    with served() as server:
        port = str(server.address.port)
        for command in (
            [program("nc.openbsd", "nc"), "-N", "127.0.0.1", port],
            [program("socat"), "-t", "10", "-", f"tcp:127.0.0.1:{port}"],
        ):
            done = subprocess.run(
                command, input=said, capture_output=True, timeout=PATIENCE, check=True
            )
            assert done.stdout == heard, command


def test_telnet() -> None:
    with served() as server:
        ours, theirs = pty.openpty()
        client = subprocess.Popen(
            [program("telnet"), "127.0.0.1", str(server.address.port)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        try:
            _read_until(ours, b"Escape character")
            os.write(ours, b"hello\r\n")
            _read_until(ours, b"olleh")
            os.write(ours, b"again\r\n")
            _read_until(ours, b"niaga")
        finally:
            client.kill()
            client.wait(PATIENCE)
            os.close(ours)


def _read_until(descriptor: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        seen += os.read(descriptor, 1000)
    return seen


@pytest.mark.parametrize("error", ["ECONNABORTED", "EPROTO", "EINTR", "ENOBUFS", "EMFILE"])
def test_errors_that_the_kernel_gives_accept(error: str) -> None:
    """strace puts the error into every second accept."""
    strace = program("strace")
    prefix = [strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=accept4"]
    prefix += ["-e", f"inject=accept4:error={error}:when=1+2"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    with served(prefix=prefix) as server:
        try:
            for n in range(6):
                with socket.create_connection(("127.0.0.1", server.address.port), PATIENCE) as peer:
                    peer.sendall(b"%d abc\n" % n)
                    assert peer.recv(100) == b"cba %d\n" % n
        finally:
            # The server itself, since a tracer that is killed leaves it running.
            os.kill(_only_child(server.process.pid), signal.SIGTERM)
            assert server.wait() == 0


def _only_child(parent: int) -> int:
    (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(child)


def test_signals_do_not_disturb_conversations(tmp_path: Path) -> None:
    """EINTR: a signal that is handled, arriving all the time, while clients are served."""
    (tmp_path / "app.py").write_text(
        "import atexit, signal\n"
        "signal.signal(signal.SIGALRM, lambda *_: None)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n"
        "atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)\n"
        "def handle(message: bytes) -> bytes:\n"
        "    return message[::-1] * 1000\n"
    )
    with served("app:handle", cwd=str(tmp_path)) as server:

        def converse() -> None:
            with socket.create_connection(("127.0.0.1", server.address.port), PATIENCE) as peer:
                for _ in range(200):
                    peer.sendall(b"abcd\n")
                    got = b""
                    while not got.endswith(b"\n"):
                        got += peer.recv(65536)
                    if got != b"dcba" * 1000 + b"\n":
                        wrong.append(got)

        wrong: list[bytes] = []
        clients = [threading.Thread(target=converse) for _ in range(5)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(PATIENCE)
        assert wrong == []
        assert server.stop() == 0
