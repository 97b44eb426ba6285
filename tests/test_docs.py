r"""The documentation is run: every block of Python in README.md and docs/*.md.

Each block is a program of its own, run in an empty directory that holds the exercise's
``server.py`` and ``client.py``. What the words after ``python`` in its first line mean, and
some comments in it:

- ``python no-run``: shown only;
- ``python exercise``: the exercise's server, freshly started, listens on port 12345;
- ``# prints: TEXT``: the lines that the block prints are these, in this order, and no others;
- a block that calls ``threadwire.serve(`` on port 12345 is started, talked to, and stopped with
  SIGINT, upon which it must exit with 0. ``# > TEXT`` is a line that is said to it then, and
  ``# < TEXT`` one that it says.

``console served`` blocks are commands after ``$`` with their output, run beside a
``threadwire serve``. Wherever a block says 12345, a free port is put in its place.
"""

from __future__ import annotations

import ast
import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

import threadwire
from threadwire import events, limits
from threadwire.cli import command as main_command
from threadwire.cli.configuration import Sources
from threadwire.kinds import BOOLEAN
from threadwire.settings import SETTINGS, Setting, setting_of

from .support import PATIENCE, eventually, served

ROOT = Path(__file__).parent.parent
EXERCISE = Path(__file__).parent / "exercise"
PAGES = [page for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))) if page.exists()]
PORT = "12345"


@dataclass(frozen=True)
class Block:
    """A fenced block: ``words`` stand in its first line, ``line`` is that line's number."""

    page: Path
    line: int
    words: tuple[str, ...]
    text: str

    @property
    def kind(self) -> str:
        if self.words[1:]:
            return self.words[1]
        return "serve" if "threadwire.serve(" in self.text else "run"

    def at(self, port: int) -> str:
        return self.text.replace(PORT, str(port))

    def comments(self, mark: str) -> list[str]:
        return re.findall(rf"(?m)# {mark} ?(.*)$", self.text)


def _blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"(?ms)^```(\w+)([^\n]*)\n(.*?)^```$", text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, (match[1], *match[2].split()), match[3]))
    return found


def _params(language: str, *kinds: str) -> list[object]:
    return [
        pytest.param(block, id=f"{block.page.stem}-{block.line}")
        for block in _blocks()
        if block.words[0] == language and block.kind in kinds
    ]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for program in EXERCISE.glob("[a-z]*.py"):
        shutil.copy(program, tmp_path)
    return tmp_path


@contextlib.contextmanager
def exercise_server(directory: Path, port: int) -> Iterator[None]:
    server = subprocess.Popen(
        [sys.executable, "-u", "server.py", "127.0.0.1", str(port)],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert server.stdout is not None
    try:
        assert server.stdout.readline().startswith(b"Listening")
        yield
    finally:
        server.kill()
        server.communicate(timeout=PATIENCE)


def test_every_block_is_of_a_known_kind() -> None:
    kinds = {(block.words[0], block.kind) for block in _blocks() if block.words[1:]}
    known = {("python", "no-run"), ("python", "exercise"), ("console", "served")}
    assert kinds <= known


@pytest.mark.parametrize("block", _params("python", "run", "exercise"))
def test_snippets(block: Block, directory: Path, port: int) -> None:
    (directory / "snippet.py").write_text(block.at(port))
    beside = exercise_server(directory, port) if block.kind == "exercise" else None
    with beside or contextlib.nullcontext():
        done = subprocess.run(
            [sys.executable, "snippet.py"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == block.comments("prints:")


@pytest.mark.parametrize("block", _params("python", "serve"))
def test_snippets_that_serve(block: Block, directory: Path, port: int) -> None:
    assert PORT in block.text, f"a block that serves has to use port {PORT}"
    (directory / "snippet.py").write_text(block.at(port))
    server = subprocess.Popen(
        [sys.executable, "snippet.py"],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with _connected(server, port) as client, client.makefile("rb") as replies:
            for mark, text in re.findall(r"(?m)^# ([<>]) (.*)$", block.text):
                if mark == ">":
                    client.sendall(text.encode() + b"\n")
                else:
                    assert replies.readline().decode() == text + "\n"
        server.send_signal(signal.SIGINT)
        printed, errors = server.communicate(timeout=PATIENCE)
        assert server.returncode == 0, errors
        assert printed.splitlines() == block.comments("prints:")
    finally:
        server.kill()
        server.communicate(timeout=PATIENCE)


def _connected(server: subprocess.Popen[str], port: int) -> socket.socket:
    """The first connection to the server, as soon as it listens."""
    made: list[socket.socket] = []

    def connects() -> bool:
        assert server.poll() is None, server.communicate()[1]
        with contextlib.suppress(ConnectionRefusedError):
            made.append(socket.create_connection(("127.0.0.1", port), PATIENCE))
        return bool(made)

    eventually(connects)
    return made[0]


@pytest.mark.parametrize("block", _params("console", "served"))
def test_commands(block: Block, directory: Path) -> None:
    for tool in ("nc", "socat"):
        if re.search(rf"\b{tool}\b", block.text) and shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    with served() as server:
        port = server.address.port
        for part in block.at(port).removeprefix("$ ").split("\n$ "):
            command, _, output = part.partition("\n")
            client = f"{sys.executable} -m threadwire client"
            if "://" not in command:
                client += f" tcp://127.0.0.1:{port}"
            command = command.replace("threadwire client", client)
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert done.stdout.rstrip("\n") == output.rstrip("\n"), command


@pytest.mark.parametrize("program", ["server.py", "client.py"])
def test_the_page_shows_the_exercise_as_it_is(program: str) -> None:
    shown = [block.text for block in _blocks() if block.kind == "no-run"]
    assert (EXERCISE / program).read_text() in shown


def test_the_exercise_works(directory: Path, port: int) -> None:
    with exercise_server(directory, port):
        for answers in ("y\nn\n", "n\n"):
            done = subprocess.run(
                [sys.executable, "client.py", "127.0.0.1", str(port)],
                cwd=directory,
                input=answers,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=True,
            )
            once = "Received from server: tneilc morf olleh\nDo you want to continue (y/n): "
            assert done.stdout == once * answers.count("\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"(?ms)^```.*?^```$", "", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), target
        if anchor:
            assert anchor in _anchors(there), target


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


# The reference of the command.


def _section(title: str, name: str = "command.md") -> str:
    """What a page says under a heading, up to the next of the same level or above."""
    page = (ROOT / "docs" / name).read_text()
    heading = re.search(rf"(?m)^(#+) {re.escape(title)}$", page)
    assert heading is not None, f"no heading {title!r}"
    return re.split(rf"(?m)^#{{1,{len(heading[1])}}} ", page[heading.end() :])[0]


def _rows(text: str) -> list[list[str]]:
    """The cells of the tables in ``text``, without their headings."""
    lines = re.findall(r"(?m)^\| (.*) \|$", text)
    rows = [re.split(r"(?<!\\) +\| +|(?<!\\) \|(?= \|)", line) for line in lines]
    return [row for n, row in enumerate(rows) if not _is_heading(rows, n)]


def _is_heading(rows: list[list[str]], n: int) -> bool:
    return set(rows[n][0]) == {"-"} or (n + 1 < len(rows) and set(rows[n + 1][0]) == {"-"})


def _in_code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


@pytest.mark.parametrize("command", ["serve", "client"])
def test_every_option_is_in_the_page(command: str) -> None:
    options = {"-h", "--help"}
    for parameter in main_command.commands[command].params:
        if isinstance(parameter, click.Option):
            options |= {*parameter.opts, *parameter.secondary_opts}
    assert {"-h", "--help", "--framing"} <= options
    told = set()
    for row in _rows(_section(f"Options of {command}")):
        told |= {code.split()[0] for code in _in_code(row[0])}
    assert told == options


@pytest.mark.parametrize("name", ["timeout", "max_message"])
def test_the_clients_limits_are_in_the_page_as_they_are_declared(name: str) -> None:
    setting = setting_of(limits.LIMITS[name])
    # A line that the client sends is limited by it as well.
    help_text = setting.help.partition(";")[0] if name == "max_message" else setting.help
    _check_option(setting._replace(help=help_text), _rows(_section("Options of client")))


@pytest.mark.parametrize("name", [n for n, setting in SETTINGS.items() if not setting.argument])
def test_every_setting_is_an_option_in_the_page_as_it_is_declared(name: str) -> None:
    _check_option(SETTINGS[name], _rows(_section("Options of serve")))


def _check_option(setting: Setting, rows: list[list[str]]) -> None:
    """Its row has the declared form and default, and begins with the declared help."""
    (row,) = [row for row in rows if re.search(rf"`{setting.option}[ `]", row[0])]
    form = f"`{setting.option} {setting.metavar}`"
    if setting.kind is BOOLEAN:
        form = f"`{setting.option}` / `--no-{setting.option[2:]}`"
    if setting.short:
        form = f"`{setting.short}`, {form}"
    default = setting.default_text
    if setting.kind is BOOLEAN:
        default = setting.option if setting.default else f"--no-{setting.option[2:]}"
    assert [cell.replace("`", "") for cell in row[:2]] == [
        _cell(form).replace("`", ""),
        _cell(default),
    ]
    assert row[2].startswith(_cell(setting.help))
    assert ("several times" in row[2]) == setting.many


@pytest.mark.parametrize("group", dict.fromkeys(setting.group for setting in SETTINGS.values()))
def test_every_setting_is_in_the_page_of_configuration_as_it_is_declared(group: str) -> None:
    declared = [_described(setting) for setting in SETTINGS.values() if setting.group == group]
    lines = re.findall(r"(?m)^\| `.*$", _section(group, "configuration.md"))
    assert lines == declared


def _described(setting: Setting) -> str:
    value = f"{setting.metavar}, several" if setting.many else setting.metavar
    cells = [
        f"`{setting.name}`",
        value,
        setting.default_text,
        "yes" if setting.reloadable else "",
        setting.help,
        setting.reason,
    ]
    return re.sub(" +", " ", f"| {' | '.join(map(_cell, cells))} |")


def _cell(text: str) -> str:
    """As it stands in a table's cell."""
    return text.replace("|", r"\|")


def test_the_files_that_the_pages_show_are_right(directory: Path) -> None:
    files = [block for block in _blocks() if block.words[0] == "toml"]
    assert files
    for block in files:
        (directory / "shown.toml").write_text(block.text)
        _, problems = Sources({}, str(directory / "shown.toml"), {}).read()
        assert problems == [], f"{block.page.name}, line {block.line}"


def test_every_event_is_in_the_page_with_its_fields() -> None:
    source = ast.parse(Path(events.__file__).read_text())
    emitted = {}
    for call in ast.walk(source):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id == "emit"
        ):
            level, name = call.args
            if isinstance(level, ast.IfExp):  # the ordinary case stands first
                level = level.body
            assert isinstance(level, ast.Attribute)
            assert isinstance(name, ast.Constant)
            fields = [k.arg for k in call.keywords if k.arg != "exception"]
            emitted[name.value] = (level.attr.lower(), fields)
    # What the log itself has to say.
    emitted["log-dropped"] = ("warning", ["lines"])
    emitted["repeated"] = (
        "its event's",
        ["of", "count", "seconds", "first_connection", "last_connection"],
    )
    told = {
        _in_code(row[0])[0]: (row[1], _in_code(row[2]))
        for row in _rows(_section("The log"))
        if len(row) == 4
    }
    assert told == emitted


def test_every_close_reason_is_in_the_page() -> None:
    told = [_in_code(row[0])[0] for row in _rows(_section("The log")) if len(row) == 2]
    assert told == [reason.value for reason in threadwire.CloseReason]


def test_the_specs_in_the_page_mean_what_it_says() -> None:
    page = (ROOT / "docs" / "framings.md").read_text()
    rows = _rows(page.partition("\n\n```python")[0])
    assert len(rows) == 7
    for row in rows:
        constructor, spec = _in_code(row[0])[0], _in_code(row[1])[0]
        framing = eval(constructor, vars(threadwire).copy())
        assert threadwire.parse_framing(spec) == framing
        assert threadwire.parse_framing(str(framing)) == framing
