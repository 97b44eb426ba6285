"""``threadwire bench`` as a user meets it: options, what is printed where, exit codes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import threadwire
from threadwire.bench.plan import Plan
from threadwire.bench.results import Result
from threadwire.bench.saving import json_of
from threadwire.cli import command as main_command
from threadwire.cli.bench import bench
from threadwire.cli.bench_options import make_plan

from ..conftest import Serving
from ..support import COMMAND, PATIENCE, reverse, run
from .samples import result

# Enough to be measured, and no more: a test is not a benchmark.
SHORT = ["--clients", "2", "--warmup", "0s", "--requests", "200", "-q"]


@pytest.fixture
def url(serving: Serving) -> str:
    return str(serving(reverse, framing=threadwire.Auto()).address)


@pytest.fixture
def nowhere() -> Iterator[str]:
    """Where nobody listens, and nobody else can."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"tcp://127.0.0.1:{bound.getsockname()[1]}"


def test_the_reversing_service_needs_no_options_but_the_url(url: str) -> None:
    done = run("bench", url, "--duration", "300ms", "--warmup", "0s")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{url}\n64 clients, 1 in flight each (closed loop)")
    assert re.search(r"(?m)^[\d,]+ messages/s   [\d,]+ messages, 0 errors$", done.stdout)
    assert re.search(r"(?m)^p99\.99 +\S+ \S+$", done.stdout)
    assert "█" in done.stdout
    assert done.stderr.startswith("threadwire: connecting, ")
    assert "\x1b" not in done.stdout + done.stderr


def test_it_is_quiet_when_asked(url: str) -> None:
    done = run("bench", url, *SHORT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "200 messages, 0 errors" in done.stdout


def test_json_is_alone_on_standard_output(url: str) -> None:
    done = run("bench", url, "--json", *SHORT[:-1])
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["messages"] == 200
    assert told["messages_per_second"] > 0
    assert told["plan"]["expect"] == "reverse"
    assert Result.from_json(told).latency.count == 200
    assert done.stderr.startswith("threadwire: ")


def test_an_open_loop_has_both_latencies(url: str) -> None:
    done = run("bench", url, *SHORT, "--rate", "2k", "--arrivals", "poisson")
    assert done.returncode == 0
    assert "2,000 messages/s due, at random (Poisson), over 2 clients" in done.stdout
    assert re.search(r"corrected +uncorrected", done.stdout)


def test_save_compare_and_report(url: str, tmp_path: Path) -> None:
    first, second, report = (tmp_path / name for name in ("a.json", "b.json", "report.html"))
    assert run("bench", url, *SHORT, "--save", str(first)).returncode == 0
    saved = json.loads(first.read_text())
    assert saved["messages"] == 200
    done = run("bench", url, *SHORT, "--compare", str(first), "--save", str(second))
    assert done.returncode == 0
    assert re.search(rf"compared with {first}\n +earlier .*\nmessages/s ", done.stdout)
    done = run(
        *("bench", url, *SHORT, "--html", str(report)),
        *("--compare", str(first), "--compare", str(second)),
    )
    assert done.returncode == 0
    assert "compared with the median of 2" in " ".join(done.stdout.split())
    assert report.read_text().startswith("<!doctype html>")


def test_a_run_is_not_lost_when_it_cannot_be_written_or_shown(url: str, tmp_path: Path) -> None:
    done = run("bench", url, *SHORT, "--save", "/dev/full")
    assert (done.returncode, done.stderr) == (1, "threadwire: no space left on device\n")
    assert "200 messages, 0 errors" in done.stdout
    saved = tmp_path / "result.json"
    with open("/dev/full", "w") as full:
        code = subprocess.run(
            [*COMMAND, "bench", url, *SHORT, "--save", str(saved)],
            stdout=full,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        ).returncode
    assert code == 1
    assert json.loads(saved.read_text())["messages"] == 200


def test_a_saved_result_that_is_damaged_is_refused_before_the_load(
    nowhere: str, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.json"
    told = result(errors={"closed": 1}).to_json()
    told["intervals"][0]["seconds"] = "x"
    damaged.write_text(json.dumps(told))
    done = run("bench", nowhere, *SHORT, "--compare", str(damaged))
    assert done.returncode == 2, "and not 3"
    assert done.stderr == (
        f"threadwire: {damaged}: not a saved result: not a result of threadwire bench: "
        "ValueError(\"'x' is not a number\")\n"
    )


def test_bytes_that_are_no_text_lose_no_run(url: str, tmp_path: Path) -> None:
    saved, report = tmp_path / "a.json", tmp_path / "report.html"
    earlier = os.path.join(os.fsencode(tmp_path), b"\xff.json")
    Path(os.fsdecode(earlier)).write_text(json_of(result()))
    options = [os.fsencode(word) for word in (*COMMAND, "bench", url, *SHORT, "--expect")]
    options += [b"regex:[^\xff]*", b"--compare", earlier]
    options += [os.fsencode(word) for word in ("--save", str(saved), "--html", str(report))]
    done = subprocess.run(options, capture_output=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(saved.read_text())["plan"]["expect"] == "regex:[^\\xff]*"
    assert "right reply: regex:[^\\xff]*" in done.stdout.decode()
    assert "udcff.json" in report.read_text()
    assert run("bench", url, *SHORT, "--compare", str(saved)).returncode == 0


PASSES_ON = "def passed_on(message, reply):\n    raise ValueError(reply.decode())\n"


def test_what_the_service_says_is_not_obeyed(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "passing.py").write_text(PASSES_ON)
    evil = serving(lambda message: b"\x1b]0;owned\x07\x1b[2J" + b"x" * 5000)
    options = ["--expect", "passing:passed_on", "--save", "saved.json", "--html", "report.html"]
    done = subprocess.run(
        [*COMMAND, "bench", str(evil.address), *SHORT, *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert "\\x1b]0;owned\\x07\\x1b[2Jxxx" in "".join(done.stdout.split())
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", done.stdout + done.stderr)
    told = json.loads((tmp_path / "saved.json").read_text())["errors"]["wrong-reply"]["example"]
    assert told.isprintable()
    assert len(told) <= 1001
    assert "\x1b" not in (tmp_path / "report.html").read_text()


def test_an_encoding_without_bars_loses_no_figures(url: str) -> None:
    done = subprocess.run(
        [*COMMAND, "bench", url, *SHORT],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"200 messages, 0 errors" in done.stdout
    assert b"p99.99" in done.stdout


def test_thresholds_that_are_missed_are_all_named(url: str) -> None:
    conditions = ["p99>1us", "errors>0", "rate>0", "p99.9>1h"]
    options = [word for text in conditions for word in ("--fail-if", text)]
    done = run("bench", url, *SHORT, *options)
    assert done.returncode == 1
    told = re.findall(r"(?m)^threadwire: --fail-if (\S+): it is \S+", done.stderr)
    assert told == ["p99>1us", "rate>0"]
    assert re.findall(r"(?m)^missed +(\S+):", done.stdout) == told
    assert re.search(r"(?m)^kept +errors>0, p99\.9>1h$", done.stdout)
    as_json = run("bench", url, *SHORT, "--json", *options)
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["messages"] == 200
    assert len(as_json.stderr.splitlines()) == 2


def test_thresholds_that_are_kept(url: str) -> None:
    done = run("bench", url, *SHORT, "--fail-if", "p99>1h", "--fail-if", "error_rate>0%")
    assert (done.returncode, done.stderr) == (0, "")


def test_no_right_reply_is_a_failure(serving: Serving) -> None:
    echo = serving(lambda message: message)
    done = run("bench", str(echo.address), *SHORT)
    assert done.returncode == 1
    assert done.stderr == "threadwire: not one request got a right reply\n"
    assert re.search(r"(?m)^wrong-reply +200 ", done.stdout)
    assert "--expect says what is a right reply" in done.stdout
    assert run("bench", str(echo.address), *SHORT, "--expect", "echo").returncode == 0


def test_a_server_that_leaves_is_told_by_kind(serving: Serving) -> None:
    def leave(message: bytes) -> bytes:
        raise threadwire.Close

    done = run("bench", str(serving(leave).address), *SHORT[:-3], "-q", "--duration", "300ms")
    assert done.returncode == 1
    assert re.search(r"(?m)^(closed|reset) +[\d,]+  the ", done.stdout)
    assert done.stderr == "threadwire: not one request got a right reply\n"


def test_some_errors_are_no_failure_unless_one_says_so(serving: Serving) -> None:
    seen = itertools.count()

    def now_and_then(message: bytes) -> bytes:
        return message if next(seen) == 50 else message[::-1]

    url = str(serving(now_and_then).address)
    done = run("bench", url, *SHORT)
    assert done.returncode == 0
    assert "199 messages, 1 error\n" in done.stdout
    assert re.search(r"(?m)^wrong-reply +1 ", done.stdout)
    seen = itertools.count()
    assert run("bench", url, *SHORT, "--fail-if", "errors.wrong-reply>0").returncode == 1


@pytest.mark.parametrize("options", [[], ["--json"], ["--rate", "100"], ["--connect-each"]])
def test_nobody_there(nowhere: str, options: list[str]) -> None:
    done = run("bench", nowhere, "-q", *options)
    assert done.returncode == 3
    assert done.stderr == f"threadwire: cannot connect to {nowhere}: connection refused\n"
    if options == ["--json"]:
        assert json.loads(done.stdout)["errors"]["connect-refused"]["count"] > 0
    else:
        assert done.stdout == ""


def test_a_name_that_nobody_has() -> None:
    done = run("bench", "tcp://nobody.invalid:1", "-q")
    assert done.returncode == 3
    assert done.stderr.startswith("threadwire: cannot connect to tcp://nobody.invalid:1: ")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["http://x:1"], "unknown scheme 'http'"),
        (["--rate", "fast"], "'-r' / '--rate': 'fast' is not a number a second"),
        (["--size", "9..1"], "'-s' / '--size': '9..1': the lesser size comes first"),
        (["--duration", "1x"], "'-d' / '--duration': '1x' is not a duration"),
        (["--fail-if", "p99>5"], "'--fail-if': '5' has no unit"),
        (["--fail-if", "p99"], "'--fail-if': 'p99' is not a threshold"),
        (["--clients", "0"], "clients must be a whole number from 1"),
        (["--processes", "3", "--clients", "2"], "processes must be at most clients"),
        (["--arrivals", "poisson"], "--arrivals says how messages are due, and needs a --rate"),
        (["--message", "x", "--size", "5"], "--message and --size each say what is sent"),
        (["--distribution", "log"], "needs a range, as in --size 64..4KiB"),
        (["--message-file", "/none"], "/none: no such file or directory"),
        (["--expect", "nothing"], "expectation 'nothing' is not known"),
        (["--expect", "no_such_module:check"], "No module named 'no_such_module'"),
        (["--framing", "morse"], "framing 'morse' is not known"),
        (["--compare", "/none.json"], "/none.json: no such file or directory"),
        (["--save", "/none/x.json"], "there is no directory '/none'"),
        (["--save", ""], "'' is not the name of a file"),
        (["--html", ""], "'' is not the name of a file"),
        (["--fail-if", "errors.timeouts>0"], "did you mean 'errors.timeout'?"),
        (["--html", "/"], "is a directory; a file is wanted"),
        (["--connect-each", "--pipeline", "2"], "pipeline is for connections that stay"),
        (["--no-verify"], "what is about TLS is for tls://"),
        (["--what"], "No such option"),
        (["tcp://127.0.0.1:1", "tcp://127.0.0.1:2"], "unexpected extra argument"),
    ],
)
def test_what_is_wrong_is_told_before_the_load(
    nowhere: str, options: list[str], problem: str
) -> None:
    has_url = "://" in options[0]
    done = run("bench", *([] if has_url else [nowhere]), *options)
    assert done.returncode == 2
    assert problem in done.stderr
    assert done.stderr.startswith("threadwire: ")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


CHECK = "def exclaimed(message, reply):\n    return reply == message + b'!'\n"


def test_a_function_from_the_current_directory_checks(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "own_checks.py").write_text(CHECK)
    exclaim = serving(lambda message: message + b"!")
    options = [str(exclaim.address), *SHORT, "--expect", "own_checks:exclaimed"]
    # With -P the directory is not on the path by itself, as it is not for the installed command.
    done = subprocess.run(
        [COMMAND[0], "-P", *COMMAND[1:], "bench", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "right reply: own_checks:exclaimed" in done.stdout


def test_framings_messages_and_connections(serving: Serving, tmp_path: Path) -> None:
    server = serving(reverse, framing=threadwire.LengthPrefixed(2))
    lines = tmp_path / "lines"
    lines.write_text("one\ntwo\n")
    done = run(
        *("bench", str(server.address), *SHORT, "--framing", "length:2", "--connect-each"),
        *("--message-file", str(lines)),
    )
    assert done.returncode == 0, done.stderr
    assert "a connection for every message" in done.stdout
    assert re.search(r"(?m)^connecting ", done.stdout)
    assert "framing: length:2" in " ".join(done.stdout.split())


def asked(*options: str) -> Plan:
    """The plan that a command line asks for."""
    context = bench.make_context("bench", list(options))
    shown = {"as_json", "save", "compare", "html", "fail_if", "quiet"}
    given = {name: value for name, value in context.params.items() if name not in shown}
    return make_plan(**given)


def test_without_options_the_plan_is_as_the_help_says() -> None:
    plan = asked()
    assert plan.url == "tcp://127.0.0.1:12345"
    assert (plan.clients, plan.pipeline, plan.processes, plan.rate) == (64, 1, 1, None)
    assert (plan.duration, plan.requests, plan.warmup, plan.ramp) == (10.0, None, 1.0, 0.0)
    assert plan.timeout == 10.0
    assert plan.framing == threadwire.Lines()
    assert plan.summary()["messages"] == "random messages of 64 bytes"
    assert plan.summary()["expect"] == "reverse"


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        (["-c", "1k"], "clients", 1000),
        (["--pipeline", "4"], "pipeline", 4),
        (["-r", "20k"], "rate", 20_000.0),
        (["-r", "5", "--arrivals", "poisson"], "arrivals", "poisson"),
        (["-d", "2m"], "duration", 120.0),
        (["-n", "1M"], "requests", 1_000_000),
        (["-n", "5"], "duration", None),
        (["-n", "5", "-d", "3s"], "duration", 3.0),
        (["--warmup", "500ms"], "warmup", 0.5),
        (["--ramp", "5s"], "ramp", 5.0),
        (["--timeout", "1s"], "timeout", 1.0),
        (["--connect-each"], "connect_each", True),
        (["--processes", "2"], "processes", 2),
        (["--framing", "netstring"], "framing", threadwire.Netstring()),
        (["--max-message", "2MiB"], "max_message", 2 << 20),
        (["--seed", "7"], "seed", 7),
        (["tls://h:1", "--no-verify"], "tls_verify", False),
        (["tls://h:1", "--ca", "a.pem"], "tls_ca", "a.pem"),
        (["tls://h:1", "--cert", "c.pem", "--key", "k.pem"], "tls_key", "k.pem"),
        (["tls://h:1", "--server-name", "n"], "server_name", "n"),
        (["unix:///run/app.sock"], "url", "unix:///run/app.sock"),
    ],
)
def test_every_option_reaches_the_plan(options: list[str], field: str, value: object) -> None:
    assert getattr(asked(*options), field) == value


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-s", "1KiB"], "random messages of 1024 bytes"),
        (["-s", "64..4KiB"], "random messages of 64 to 4096 bytes, uniform"),
        (["-s", "1..9", "--distribution", "log"], "random messages of 1 to 9 bytes, log"),
        (["-m", "héllo"], "one message of 6 bytes"),
    ],
)
def test_messages_of_the_plan(options: list[str], words: str) -> None:
    assert asked(*options).summary()["messages"] == words


def test_the_help_is_grouped_and_names_every_default() -> None:
    help_text = CliRunner().invoke(main_command, ["bench", "--help"]).output
    groups = re.findall(r"(?m)^(\S.*):$", help_text)
    assert groups == ["Load", "Time", "Messages", "Report", "TLS, for tls://", "Other options"]
    for parameter in bench.params:
        if isinstance(parameter, click.Option):
            assert re.search(rf"(?m)^  .*{re.escape(parameter.opts[-1])}\b", help_text)


# On a terminal.


class Terminal:
    """The command, with standard error on a terminal and standard output in a pipe."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.screen = b""
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, "bench", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environment},
        )
        os.close(theirs)

    def until(self, text: bytes) -> None:
        while text not in self.screen:
            assert select.select([self._ours], [], [], PATIENCE)[0], self.screen
            self.screen += os.read(self._ours, 4096)

    def end(self) -> tuple[int, str]:
        """The exit code, and what stands on standard output."""
        with contextlib.suppress(OSError):  # the terminal's other end is closed
            while select.select([self._ours], [], [], PATIENCE)[0]:
                self.screen += os.read(self._ours, 4096)
        output, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output.decode()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)
        os.close(self._ours)


@contextlib.contextmanager
def terminal(*arguments: str, **environment: str) -> Iterator[Terminal]:
    opened = Terminal(*arguments, **environment)
    try:
        yield opened
    finally:
        opened.close()


def test_a_terminal_shows_how_it_goes(url: str) -> None:
    with terminal(url, "--duration", "600ms", "--warmup", "0s") as screen:
        screen.until(b"measuring")
        code, output = screen.end()
    assert code == 0
    shown = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", screen.screen).decode()
    assert re.search(r"rate +[\d,]+/s", shown)
    assert re.search(r"latency +p50 \S+ (µs|ms)", shown)
    assert "messages/s" in output
    assert "\x1b" not in output


def test_without_colours_if_the_environment_says_so(url: str) -> None:
    options = [url, "--duration", "400ms", "--warmup", "0s"]
    with terminal(*options, NO_COLOR="1") as plain, terminal(*options) as coloured:
        assert plain.end()[0] == coloured.end()[0] == 0
    colour = rb"\x1b\[(?:\d+;)*3[1-8]"
    assert re.search(colour, coloured.screen)
    assert not re.search(colour, plain.screen)


def test_a_terminal_that_can_do_nothing_gets_lines(url: str) -> None:
    with terminal(url, *SHORT[:-1], TERM="dumb") as screen:
        assert screen.end()[0] == 0
    assert screen.screen.startswith(b"threadwire: connecting, ")
    assert b"\x1b" not in screen.screen


@pytest.mark.parametrize("options", [[], ["--rate", "100"]])
def test_an_interrupt_ends_with_what_there_is(
    url: str, tmp_path: Path, options: Sequence[str]
) -> None:
    saved = tmp_path / "result.json"
    with terminal(url, *options, "--duration", "1h", "--warmup", "0s", "--save", str(saved)) as it:
        it.until(b"p50")
        it.process.send_signal(signal.SIGINT)
        code, output = it.end()
    assert code == 130
    assert output.startswith(f"{url}  interrupted\n")
    assert "Traceback" not in it.screen.decode()
    told: dict[str, Any] = json.loads(saved.read_text())
    assert told["interrupted"] is True
    assert told["messages"] > 0


def test_a_signal_to_terminate_leaves_the_terminal_as_it_was(url: str) -> None:
    with terminal(url, "--duration", "1h", "--warmup", "0s") as it:
        it.until(b"p50")
        assert b"\x1b[?25l" in it.screen, "the cursor is hidden"
        it.process.send_signal(signal.SIGTERM)
        code, output = it.end()
    assert (code, output) == (143, "")
    assert it.screen.rfind(b"\x1b[?25h") > it.screen.rfind(b"\x1b[?25l")
    assert b"Traceback" not in it.screen


def test_importing_the_command_loads_no_part_of_a_run() -> None:
    script = (
        "import sys, threadwire.cli; "
        "heavy = {'rich', 'multiprocessing', 'dataclasses', 'threadwire.bench.run', "
        "'threadwire.bench.plan', 'threadwire.bench.results'}; "
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
