"""The command in a real terminal."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support import COMMAND, PATIENCE, eventually
from .conftest import Watching

pytest.importorskip("textual")


class Terminal:
    """A terminal of tmux's that runs one command."""

    def __init__(self, directory: Path, *command: str, size: tuple[int, int]) -> None:
        self._socket = str(directory / "tmux")
        width, height = size
        script = f"{' '.join(command)}; echo code=$?; exec cat"
        self._tmux("new-session", "-d", "-x", str(width), "-y", str(height), script)

    def _tmux(self, *arguments: str) -> str:
        # These two would say that every terminal is as large as the one that the tests run in.
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        done = subprocess.run(
            ["tmux", "-S", self._socket, "-f", "/dev/null", *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={**inherited, "LC_ALL": "C.UTF-8"},
        )
        return done.stdout

    @property
    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    def sees(self, *texts: str) -> None:
        for text in texts:
            eventually(lambda text=text: text in self.text, f"{text}\n{self.text}")  # type: ignore[misc]

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def close(self) -> None:
        self._tmux("kill-server")


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[list[Terminal]]:
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux")
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def test_in_tmux(watching: Watching, terminals: list[Terminal], tmp_path: Path) -> None:
    watched = watching()
    watched.client()
    watched.blocked_client()
    terminal = Terminal(tmp_path, *COMMAND, "top", watched.url, size=(80, 24))
    terminals.append(terminal)
    terminal.sees("serving", watched.url, "1 blocked", "STATE", "in stand_still", "? Help")
    assert all(len(line) <= 80 for line in terminal.text.splitlines())
    terminal.press("Enter")
    terminal.sees("client 2", "innermost")
    terminal.press("Escape")
    eventually(lambda: "innermost" not in terminal.text)
    terminal.resize(40, 10)
    terminal.sees("127.0.0.1", "blocked")
    terminal.resize(150, 40)
    terminal.sees("MESSAGES")
    terminal.press("/", "i", "d", "l", "e", "Enter")
    terminal.sees("filter: idle   1 of 2 clients")
    terminal.press("q")
    terminal.sees("code=0")


@pytest.mark.parametrize(
    ("end", "code"), [("press C-c", 130), ("signal INT", 130), ("signal TERM", 143)]
)
def test_however_it_ends_the_screen_is_as_it_was(
    watching: Watching, terminals: list[Terminal], tmp_path: Path, end: str, code: int
) -> None:
    process = tmp_path / "process"
    script = f"sh -c 'echo $$ > {process}; exec \"$@\"' sh"
    terminal = Terminal(tmp_path, script, *COMMAND, "top", watching().url, size=(80, 24))
    terminals.append(terminal)
    terminal.sees("serving", "STATE")
    how, what = end.split()
    if how == "press":
        terminal.press(what)
    else:
        os.kill(int(process.read_text()), signal.Signals[f"SIG{what}"])
    terminal.sees(f"code={code}")
    assert "STATE" not in terminal.text


def test_it_comes_back_from_the_background(
    watching: Watching, terminals: list[Terminal], tmp_path: Path
) -> None:
    terminal = Terminal(tmp_path, "PS1='shell: ' bash --norc --noprofile -i", size=(80, 24))
    terminals.append(terminal)
    terminal.sees("shell:")
    terminal.press(" ".join([*COMMAND, "top", watching().url]), "Enter")
    terminal.sees("serving", "? Help")
    terminal.press("C-z")
    terminal.sees("Stopped")
    assert "? Help" not in terminal.text
    terminal.press("fg", "Enter")
    terminal.sees("serving", "? Help")
    terminal.press("q")
    terminal.sees("shell:")


def run_on_a_terminal(*arguments: str, **environment: str) -> tuple[int, str]:
    """The command's exit code, and what it wrote to a terminal that nobody sits at."""
    ours, theirs = os.openpty()
    try:
        process = subprocess.Popen(
            [*COMMAND, "top", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, **environment},
        )
        os.close(theirs)
        parts = []
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # its end has been closed
                break
            if not data:
                break
            parts.append(data)
        return process.wait(PATIENCE), b"".join(parts).decode()
    finally:
        os.close(ours)


def test_it_ends_with_a_terminal_that_is_not_its_own(watching: Watching) -> None:
    """No signal tells of it: that is for whoever has it as the controlling terminal."""
    watched = watching()
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [*COMMAND, "top", watched.url],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm"},
    )
    try:
        os.close(theirs)
        seen = b""
        while b"serving" not in seen:
            seen += os.read(ours, 65536)
        os.close(ours)
        assert process.wait(PATIENCE) == 129
    finally:
        process.kill()
        process.wait()


def test_a_terminal_that_can_do_nothing_has_the_plain_table(watching: Watching) -> None:
    watched = watching()
    watched.client()
    code, text = run_on_a_terminal(watched.url, TERM="dumb", COLUMNS="60")
    assert code == 0
    assert "\x1b" not in text
    assert "ID PEER" in text
    assert all(len(line) <= 60 for line in text.splitlines())


def test_what_is_wrong_is_said_before_the_screen_is_taken() -> None:
    code, text = run_on_a_terminal("unix:///nowhere/at/all", TERM="xterm")
    assert code == 3
    assert text.strip() == (
        "threadwire: cannot connect to unix:///nowhere/at/all: no such file or directory"
    )
