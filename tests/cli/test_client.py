"""``threadwire client`` as a user meets it: dialogue, messages, pipes, prompt."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import threadwire

from ..conftest import Serving
from ..support import COMMAND, PATIENCE, eventually, reverse, run, wait_for


@pytest.fixture
def url(serving: Serving) -> str:
    return str(serving(reverse, framing=threadwire.Auto()).address)


PROMPT = b"\x1b[?2004h"  # bracketed paste is on: the prompt takes input


class Terminal:
    """The command on a terminal of its own, without echo."""

    def __init__(self, *arguments: str, home: Path, kind: str = "xterm") -> None:
        self.screen = b""
        self._ours, theirs = pty.openpty()
        attributes = termios.tcgetattr(theirs)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        self.process = subprocess.Popen(
            [*COMMAND, "client", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "XDG_STATE_HOME": str(home), "TERM": kind},
            start_new_session=True,
        )
        os.close(theirs)

    def until(self, text: bytes, times: int = 1) -> bytes:
        while self.screen.count(text) < times:
            assert select.select([self._ours], [], [], PATIENCE)[0], self.screen
            data = os.read(self._ours, 4096)
            assert data, self.screen
            self.screen += data
            if b"\x1b[6n" in data:  # prompt_toolkit asks where the cursor is
                os.write(self._ours, b"\x1b[1;1R")
        return self.screen

    def type(self, text: bytes) -> None:
        os.write(self._ours, text)

    def end(self, typing: bytes = b"") -> int:
        """Wait for the end; ``typing`` is typed for it.

        Again and again, as a person would: while a reply is being shown, the terminal is not
        the prompt's for an instant, and swallows a Ctrl-D.
        """
        with contextlib.suppress(OSError):  # the terminal's other end is closed
            for _ in range(int(PATIENCE) if typing else 1):
                self.type(typing)
                while select.select([self._ours], [], [], 1.0 if typing else PATIENCE)[0]:
                    if not (data := os.read(self._ours, 4096)):
                        break
                    self.screen += data
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self._ours)


@contextlib.contextmanager
def terminal(*arguments: str, home: Path, kind: str = "xterm") -> Iterator[Terminal]:
    opened = Terminal(*arguments, home=home, kind=kind)
    try:
        yield opened
    finally:
        opened.close()


def sleeps(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "S"


# The dialogue.


@pytest.mark.parametrize("answers", [b"n\n", b"y\nn\n", b"y\nY\n y \nno\n", b"y\n\n", b"\x04"])
def test_the_exercises_dialogue_to_the_letter(url: str, tmp_path: Path, answers: bytes) -> None:
    line = b"Received from server: tneilc morf olleh\r\n"
    question = b"Do you want to continue (y/n): "
    said = answers.splitlines(keepends=True)
    with terminal(url, home=tmp_path) as term:
        for n, answer in enumerate(said, 1):
            term.until(question, n)
            term.type(answer)
        assert term.end() == 0
    assert term.screen.replace(b"\r\n\r\n", b"\r\n").rstrip(b"\r\n") == (
        (line + question) * len(said)
    ).rstrip(b"\r\n")


def test_the_dialogue_against_the_exercises_server_that_goes_away(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connected, _ = listening.accept()
            with connected:
                connected.sendall(connected.recv(1024)[::-1])

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        with terminal(url, home=tmp_path) as term:
            term.until(b"(y/n): ")
            thread.join(PATIENCE)
            term.type(b"y\n")
            assert term.end() == 1
        assert b"Traceback" not in term.screen
        assert b"threadwire: " + url.encode() in term.screen


def test_control_c_in_the_dialogue(url: str, tmp_path: Path) -> None:
    with terminal(url, home=tmp_path) as term:
        term.until(b"(y/n): ")
        # The interpreter notices a signal here only if it interrupts the read.
        eventually(lambda: sleeps(term.process.pid))
        term.process.send_signal(signal.SIGINT)
        assert term.end() == 130
        assert b"Traceback" not in term.screen


# Messages as arguments.


def test_messages_as_arguments(url: str) -> None:
    done = run("client", url, "one", "two words", "wörld")
    assert done.returncode == 0
    assert done.stdout.splitlines()[:2] == ["eno", "sdrow owt"]
    assert done.stderr == ""


def test_json_replies(url: str) -> None:
    done = run("client", url, "--json", "one", "wörld")
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["message"], first["reply"]) == ("one", "eno")
    assert first["seconds"] > 0
    assert second["message"] == "wörld"
    assert second["reply_base64"] == "ZGxytsN3"


def test_other_framings(serving: Serving) -> None:
    server = serving(reverse, framing=threadwire.Netstring())
    done = run("client", str(server.address), "--framing", "netstring", "a\nb")
    assert (done.returncode, done.stdout) == (0, "b\na\n")


# Pipes.


@pytest.mark.parametrize("count", [0, 1, 5, 100_000])
def test_lines_from_a_pipe_come_back_in_order(url: str, count: int) -> None:
    lines = [str(n) for n in range(count)]
    done = run("client", url, stdin="".join(line + "\n" for line in lines))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(line[::-1] + "\n" for line in lines)


def test_a_last_line_without_its_newline_is_sent_too(url: str) -> None:
    assert run("client", url, stdin="one\ntwo").stdout == "eno\nowt\n"


def test_json_from_a_pipe(url: str) -> None:
    done = run("client", url, "--json", stdin="one\ntwo\n")
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(e["message"], e["reply"]) for e in entries] == [("one", "eno"), ("two", "owt")]


def test_replies_come_out_while_the_pipe_is_still_open(url: str) -> None:
    client = subprocess.Popen(
        [*COMMAND, "client", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert client.stdin is not None
    assert client.stdout is not None
    for word in (b"first", b"second"):
        client.stdin.write(word + b"\n")
        client.stdin.flush()
        assert client.stdout.readline() == word[::-1] + b"\n"
    client.stdin.close()
    assert client.wait(PATIENCE) == 0
    client.stdout.close()


def test_memory_stays_bounded_in_a_long_pipe(url: str) -> None:
    """A source that never ends, a reader that has stopped reading: nothing piles up."""
    yes = subprocess.Popen(["yes", "x" * 1000], stdout=subprocess.PIPE)
    client = subprocess.Popen(
        [*COMMAND, "client", url], stdin=yes.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert client.stdout is not None
    try:
        for _ in range(200):
            assert len(client.stdout.read(100_000)) == 100_000
        status = Path(f"/proc/{client.pid}/status").read_text()
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]
        assert peak < 80_000
    finally:
        for process in (yes, client):
            process.kill()
            process.communicate()


def test_a_reader_that_has_seen_enough(url: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"seq 100000 | {' '.join(COMMAND)} client {url} | head -n 2"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == "1\n2\n"
    assert done.stderr == ""


# What goes wrong.


def test_nobody_there_is_one_line_and_exit_3() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        done = run("client", url, "x")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"threadwire: cannot connect to {url}: connection refused\n"


def test_a_reply_too_late_is_one_line_and_exit_1(serving: Serving) -> None:
    go_on = threading.Event()

    def slow(message: bytes) -> bytes:
        wait_for(go_on)
        return message

    url = str(serving(slow).address)
    for arguments, stdin in (((url, "x"), ""), ((url,), "x\n")):
        done = run("client", *arguments, "--timeout", "100ms", stdin=stdin)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"threadwire: {url}: no reply within 0.1 s\n"
    go_on.set()


def test_a_server_that_closes_early_is_one_line_and_exit_1(serving: Serving) -> None:
    def twice(message: bytes, connection: threadwire.Connection) -> bytes:
        if connection.messages_received == 2:
            raise threadwire.Close
        return message

    url = str(serving(twice).address)
    for arguments, stdin in (((url, "1", "2", "3"), ""), ((url,), "1\n2\n3\n")):
        done = run("client", *arguments, stdin=stdin)
        assert (done.returncode, done.stdout) == (1, "1\n")
        said = "the server closed the connection before it had answered"
        assert done.stderr == f"threadwire: {url}: {said}\n"


def test_a_reply_too_large_is_one_line_and_exit_1(serving: Serving) -> None:
    url = str(serving(lambda message: message * 1000).address)
    done = run("client", url, "--max-message", "1kB", "ab")
    assert (done.returncode, done.stdout) == (1, "")
    assert "exceeds max_message (1000 bytes)" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ftp://x", "m"), "ftp"),
        (("tcp://x", "m"), "port"),
        (("--framing", "nope", "m"), "nope"),
        (("--timeout", "0", "m"), "timeout"),
        (("--interactive",), "--interactive"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments: tuple[str, ...], said: str) -> None:
    done = run("client", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_message_that_the_framing_cannot_carry(url: str) -> None:
    done = run("client", url, "two\nlines")
    assert done.returncode == 2
    assert "newline" in done.stderr


# The prompt.


def test_the_prompt_has_history_and_shows_what_the_server_says(
    serving: Serving, tmp_path: Path
) -> None:
    @threadwire.session
    def chat(connection: threadwire.Connection) -> None:
        connection.send(b"welcome")
        for message in connection:
            connection.send(b"<" + message[::-1] + b">")

    url = str(serving(chat).address)
    with terminal(url, "--interactive", home=tmp_path) as term:
        term.until(b"welcome")
        term.until(PROMPT)
        term.type(b"hello\r")
        term.until(b"<olleh>")
        term.until(PROMPT, 2)
        term.type(b"\x1b[A!\r")  # up: the line before, and a little more
        term.until(b"<!olleh>")
        term.until(PROMPT, 3)
        assert term.end(typing=b"\x04") == 0
    assert "+hello!" in (tmp_path / "threadwire" / "client-history").read_text()


def test_the_prompt_ends_when_the_server_does(serving: Serving, tmp_path: Path) -> None:
    server = serving(reverse)
    with terminal(str(server.address), "--interactive", home=tmp_path) as term:
        term.until(PROMPT)
        server.close()
        assert term.end() == 1
        assert b"Traceback" not in term.screen
        assert b"the server closed the connection\r\n" in term.screen


def test_a_terminal_that_cannot_edit_a_line_is_refused(url: str, tmp_path: Path) -> None:
    with terminal(url, "--interactive", home=tmp_path, kind="dumb") as term:
        assert term.end() == 2
        assert b"threadwire: --interactive needs a terminal" in term.screen


def test_the_prompt_without_a_place_for_its_history(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with terminal(url, "--interactive", home=tmp_path / "file") as term:
        term.until(PROMPT)
        term.type(b"abc\r")
        term.until(b"cba")
        term.until(PROMPT, 2)
        assert term.end(typing=b"\x04") == 0
