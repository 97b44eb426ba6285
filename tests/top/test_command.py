"""The command as a process, without a terminal: tables, documents, exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import Against
from ..support import COMMAND, PATIENCE, run
from .conftest import Watching
from .support import answering, http_answer


def table_of(output: str) -> list[list[str]]:
    """The table's lines, in words; the titles first."""
    return [line.split() for line in output.partition("\n\n")[2].splitlines()]


def outcome_of(
    command: list[str], env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_a_plain_table(watching: Watching) -> None:
    watched = watching()
    watched.client()
    watched.blocked_client()
    done = run("top", watched.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"serving  {watched.url}  ")
    assert "  1 blocked  0 own-thread  0 loop  1 idle" in done.stdout
    titles, first, second = table_of(done.stdout)
    assert titles == [
        "ID",
        "PEER",
        "STATE",
        "BUSY",
        "LINE",
        "RATE",
        "MESSAGES",
        "BYTES",
        "IDLE",
        "AGE",
    ]
    assert first[0] == "2"
    assert first[2] == "blocked"
    assert " ".join(first[4:7]).endswith("in stand_still")
    assert second[:4] == ["1", "127.0.0.1:" + second[1].partition(":")[2], "idle", "-"]
    assert "\x1b" not in done.stdout


def test_once_is_the_same_with_an_order_words_and_a_limit(watching: Watching) -> None:
    watched = watching()
    for _ in range(5):
        watched.client()
    watched.blocked_client()
    url = watched.url.removeprefix("http://")
    done = run(
        "top", url, "--once", "--sort", "id", "--reverse", "--filter", "IDLE", "--limit", "2"
    )
    assert done.returncode == 0
    _, first, second, rest = table_of(done.stdout)
    assert [first[0], second[0]] == ["5", "4"]
    assert rest == ["(2", "of", "6", "clients)"]


@pytest.mark.parametrize("scheme", ["", "tcp://", "http://"])
def test_the_servers_own_variables_are_heeded(
    watching: Watching, tmp_path: Path, scheme: str
) -> None:
    file = tmp_path / "token"
    file.write_text("a-secret-of-some-length\n")
    url = watching(token="a-secret-of-some-length").url.removeprefix("http://")
    variables = {"THREADWIRE_ADMIN": scheme + url, "THREADWIRE_ADMIN_TOKEN_FILE": str(file)}
    done = outcome_of([*COMMAND, "top", "--json"], env={**os.environ, **variables})
    assert json.loads(done.stdout)["phase"] == "serving"


def test_a_document(watching: Watching) -> None:
    watched = watching()
    watched.client()
    watched.blocked_client()
    done = run("top", watched.url, "--json", "--limit", "1")
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()
    document = json.loads(line)
    assert document["interval"] is not None
    assert "history" not in document
    assert document["clients"]["total"] == 2
    assert document["clients"]["left_out"] == 1
    (client,) = document["clients"]["shown"]
    assert (client["id"], client["state"]) == (2, "blocked")


def test_a_line_for_every_document(watching: Watching) -> None:
    watched = watching()
    command = [*COMMAND, "top", watched.url, "--json", "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        times = [json.loads(process.stdout.readline())["time"] for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert times[0] < times[1]


def test_a_reader_that_has_seen_enough(watching: Watching) -> None:
    watched = watching()
    command = [*COMMAND, "top", watched.url, "--json", "--follow"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE) == 1
        assert process.stderr.read() == ""


def test_clients_that_the_document_has_not(watching: Watching) -> None:
    watched = watching()
    for _ in range(205):
        watched.client()
    done = run("top", watched.url, "--sort", "id", "--limit", "3")
    assert [line[0] for line in table_of(done.stdout)] == ["ID", "1", "2", "3", "(3"]
    done = run("top", watched.url, "--json", "--filter", ":", "--sort", "id", "--limit", "204")
    clients = json.loads(done.stdout)["clients"]
    assert [client["id"] for client in clients["shown"]] == list(range(1, 205))
    assert (clients["total"], clients["left_out"]) == (205, 1)


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = run("top", f"127.0.0.1:{port}")
    assert done.returncode == 3
    error = f"threadwire: cannot connect to http://127.0.0.1:{port}: connection refused\n"
    assert (done.stdout, done.stderr) == ("", error)


def test_a_refusal(watching: Watching) -> None:
    watched = watching(token="a-secret-of-some-length")
    done = run("top", watched.url, "--json")
    assert done.returncode == 1
    assert done.stderr.startswith(f"threadwire: {watched.url} refuses (401): ")
    assert done.stderr.endswith("give it with --token-file)\n")


def test_a_token(watching: Watching, tmp_path: Path) -> None:
    watched = watching(token="a-secret-of-some-length")
    file = tmp_path / "token"
    file.write_text("a-secret-of-some-length\n")
    assert run("top", watched.url, "--token-file", str(file)).returncode == 0


def test_something_else_is_there(against: Against) -> None:
    url = against(answering(http_answer("404 Not Found", b"no such page")))
    done = run("top", url)
    assert done.returncode == 1
    assert "is no admin endpoint of this threadwire: it answers 404" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["localhost"], "no port"),
        (["ftp://x:1"], "unknown scheme 'ftp'"),
        (["--follow"], "--follow goes with --json"),
        (["--follow", "--json", "--once"], "--follow goes with --json"),
        (["--sort", "size"], "is not one of"),
        (["--limit", "-1"], "-1 is not in the range"),
        (["--token-file", "/nowhere"], "no such file"),
        (["--ca", "x.pem"], "ca is for https"),
        (["localhost:1", "localhost:2"], "unexpected extra argument"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    done = run("top", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_columns_of_the_help_are_those_there_are() -> None:
    from threadwire.cli.top import top
    from threadwire.top.columns import COLUMNS, DEFAULT_SORT

    (sort,) = [parameter for parameter in top.params if parameter.name == "sort"]
    assert list(sort.type.choices) == [column.name for column in COLUMNS]  # type: ignore[attr-defined]
    assert sort.default == DEFAULT_SORT


def test_without_textual_the_plain_forms_work_and_the_live_one_says_what_to_do() -> None:
    script = (
        "import sys; sys.modules['textual'] = None\n"
        "from threadwire.cli import top, command, main\n"
        "from threadwire.cli.top import _watch\n"
        "import threadwire.top.table, threadwire.top.listing, threadwire.top.feed\n"
        "_watch(None, None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "UsageError: the live view needs textual: pip install 'threadwire[top]'" in done.stderr


def test_the_command_loads_nothing_of_it_before_it_is_used() -> None:
    script = (
        "import sys, threadwire.cli; "
        "print(*(name for name in sys.modules if name.startswith(('threadwire.top', 'textual'))))"
    )
    done = outcome_of([sys.executable, "-c", script])
    assert done.stdout == "\n"
