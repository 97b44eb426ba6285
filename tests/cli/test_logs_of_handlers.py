"""The command's log, of real processes: for whom a line is, repeats, slow handlers, messages."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from threadwire import limits

from ..support import Peer, Served, eventually, served
from . import handlers_that_log

HERE = "tests.cli.handlers_that_log"
ROOT = Path(__file__).parents[2]
MOST = limits.LOG_REPEATS.whole


@contextlib.contextmanager
def logging_server(handler: str, *options: str) -> Iterator[Served]:
    with served(f"{HERE}:{handler}", *options, cwd=str(ROOT)) as server:
        yield server


def request(peer: Peer, message: str) -> str:
    peer.say(message.encode() + b"\n")
    return peer.hear_line().decode().rstrip("\n")


def entries(server: Served) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log[:]]


def named(server: Served, name: str) -> list[dict[str, Any]]:
    return [entry for entry in entries(server) if entry["event"] == name]


def lines(server: Served, pattern: str) -> list[str]:
    return [line for line in server.log[:] if re.search(pattern, line)]


# For whom a line is.


@pytest.mark.parametrize("handler", ["quick", "session"])
def test_what_a_handler_logs_names_its_connection(handler: str) -> None:
    """Of one that is quick, one that is handed over, and one that has a thread already.

    With ``_lost`` not noted in ``Baton.take``: after the sleep nobody is named.
    """
    with logging_server(handler) as server:
        with Peer(server.address) as one, Peer(server.address) as other:
            for n in range(3):
                assert request(one, f"one {n}") == f"one {n}"
                assert request(other, f"other {n}") == f"other {n}"
            assert request(one, "sleep 0.2") == "slept"
            assert request(other, "other again") == "other again"
            assert request(one, "one again") == "one again"
            assert request(one, "sleep 0.01") == "slept"
        assert server.stop() == 0
    said = lines(server, " INFO (heard|before|after|begins|ends)")
    ids = {"one": set[str](), "other": set[str]()}
    for line in said:
        found = re.search(r" connection=(\d+)$", line)
        assert found is not None, line
        who = re.search(r"heard (one|other)", line)
        if who is not None:
            ids[who[1]].add(found[1])
    assert sorted(map(len, ids.values())) == [1, 1]
    assert ids["one"] != ids["other"]
    (me,) = ids["one"]
    slept = [line for line in said if "the sleep" in line]
    assert len(slept) == 4
    assert all(line.endswith(f" connection={me}") for line in slept)
    # Beside them there are threadwire's own, which have it anyway.
    assert len(lines(server, r" opened connection=\d+ ")) == 2


def test_the_same_in_json_and_not_of_other_threads() -> None:
    with logging_server("quick", "--log-format=json") as server:
        with Peer(server.address) as peer:
            assert request(peer, "this") == "this"
        assert server.stop() == 0
    (entry,) = named(server, "log")
    assert (entry["logger"], entry["text"], entry["connection"]) == ("app", "heard this", 1)
    with logging_server("elsewhere", "--log-format=json") as server:
        with Peer(server.address) as peer:
            assert request(peer, "this") == "this"
        assert server.stop() == 0
    (entry,) = named(server, "log")
    assert "connection" not in entry


# Messages.


@pytest.mark.parametrize(("options", "messages"), [((), 0), (("-v",), 3), (("-vv",), 3)])
def test_a_line_a_connection_or_a_message(options: tuple[str, ...], messages: int) -> None:
    with logging_server("quick", *options) as server:
        with Peer(server.address) as peer:
            for n in range(3):
                request(peer, f"{n}")
        assert server.stop() == 0
    assert len(lines(server, " INFO closed connection=1 ")) == 1
    assert (
        len(lines(server, " DEBUG message connection=1 message_size=1 bytes_sent=2 ")) == messages
    )


# Repeats.


def test_a_storm_of_failures_is_counted_and_told_of_while_it_goes_on() -> None:
    """Each failure is written or counted; opened and closed are always written."""
    storm = 500
    with logging_server("quick", "--log-format=json") as server:
        for n in range(storm):
            with Peer(server.address) as peer:
                peer.say(b"fail %d\n" % n)
                assert peer.hear_all() == b""
        # Nobody says anything any more, and it is told nevertheless.
        eventually(
            lambda: (
                len(named(server, "handler-failed"))
                + sum(entry["count"] for entry in named(server, "repeated"))
                == storm
            )
        )
        repeated = named(server, "repeated")
        assert server.process.poll() is None
        assert server.stop() == 0
    assert repeated
    for entry in repeated:
        assert entry["level"] == "error"
        assert entry["of"] == "handler-failed"
        assert entry["error"] == "ValueError"
        assert re.fullmatch(r".*handlers_that_log\.py:\d+ in quick", entry["raised"])
        assert 0 <= entry["seconds"] <= 1
        assert entry["last_connection"] - entry["first_connection"] == entry["count"] - 1
    failed = named(server, "handler-failed")
    assert all("Traceback" in entry["traceback"] for entry in failed)
    assert len(failed) < storm
    unwritten = {
        n
        for entry in repeated
        for n in range(entry["first_connection"], entry["last_connection"] + 1)
    }
    assert unwritten | {entry["connection"] for entry in failed} == set(range(1, storm + 1))
    assert len(named(server, "opened")) == len(named(server, "closed")) == storm


def test_a_handlers_own_warnings_are_counted_and_its_other_lines_are_not() -> None:
    with logging_server("quick") as server:
        with Peer(server.address) as peer:
            for n in range(3 * MOST):
                request(peer, f"line {n}")
            assert request(peer, f"warn {3 * MOST}") == "warned"
        assert server.stop() == 0  # the count is not lost, though its second is not over
    assert len(lines(server, " INFO heard line ")) == 3 * MOST
    counted = 0
    for line in lines(server, "repeated"):
        told = re.search(
            r" WARNING repeated of=log logger=app text=\"no %s, for the %d. time\" count=(\d+) "
            r"seconds=[\d.e-]+ first_connection=1 last_connection=1$",
            line,
        )
        assert told is not None, line
        counted += int(told[1])
    assert counted
    assert len(lines(server, " WARNING no luck, ")) + counted == 3 * MOST


def test_the_count_is_not_lost_when_the_process_ends() -> None:
    """By itself, with nobody who flushes the log before: closing it does."""
    program = """if True:
        import logging
        from threadwire.cli import logs
        writer = logs.configure(logging.INFO, "json")
        for n in range(1000):
            logging.getLogger("app").warning("again")
        writer.close()
        """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    *written, told = map(json.loads, done.stderr.splitlines())
    assert len(written) == MOST
    assert (told["event"], told["of"], told["count"]) == ("repeated", "log", 1000 - MOST)


# Slow handlers.


def test_a_slow_handler_is_told_of_with_where_it_stands() -> None:
    """While it is slow: again and again, ever more seldom; and once when it has ended."""
    with logging_server("quick", "--slow", "50ms", "--log-format=json") as server:
        with Peer(server.address) as peer, Peer(server.address) as other:
            peer.say(b"sleep 1\n")
            eventually(lambda: len(named(server, "slow")) >= 2)
            assert request(other, "beside") == "beside"
            assert not named(server, "slow-ended")
            assert peer.hear_line() == b"slept\n"
            eventually(lambda: named(server, "slow-ended"))
        assert server.stop() == 0
    slow = named(server, "slow")
    source = Path(handlers_that_log.__file__).read_text().splitlines()
    line = next(n for n, text in enumerate(source, 1) if "the line where it stands" in text)
    assert {entry["doing"] for entry in slow} == {f"{handlers_that_log.__file__}:{line} in quick"}
    (who,) = {entry["connection"] for entry in slow}
    seconds = [entry["seconds"] for entry in slow]
    for n, now in enumerate(seconds):
        assert now >= 0.05 * 2**n
    (ended,) = named(server, "slow-ended")
    assert ended["connection"] == who
    assert seconds[-1] <= ended["at_least"]
    (closed,) = (entry for entry in named(server, "closed") if entry["connection"] == who)
    assert ended["at_least"] <= closed["seconds"]


def test_without_the_option_nobody_is_slow_and_a_reload_can_set_it(tmp_path: Path) -> None:
    settings = tmp_path / "slow.toml"
    settings.write_text("[serve]\n")
    with logging_server("session", "--log-format=json", "--config", str(settings)) as server:
        with Peer(server.address) as peer:
            peer.say(b"sleep 1.5\n")
            eventually(lambda: named(server, "log"))
            settings.write_text('[serve]\nslow = "20ms"\n')
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: named(server, "slow"))
            (reloaded,) = named(server, "reloaded")
            assert reloaded["changed"] == "slow"
        assert server.stop() == 0
