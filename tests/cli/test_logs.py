"""The command's log: formats, whole lines, and a reader that is slow or gone."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Iterator

import pytest

from threadwire import limits
from threadwire.cli.logs import HumanFormatter, JsonFormatter, LogWriter
from threadwire.events import Event

from ..support import PATIENCE, eventually


def record(message: object, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("threadwire", logging.WARNING, "", 0, message, (), exc_info)


EVENT = Event("peer-fault", {"connection": 7, "detail": 'bad "line"\nforged', "seconds": 0.25})


def test_human_lines() -> None:
    line = HumanFormatter().format(record(EVENT))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} WARNING peer-fault .*", line)
    assert line.endswith(r'connection=7 detail="bad \"line\"\nforged" seconds=0.25')
    assert "\n" not in HumanFormatter().format(record("somebody else's\nlog \x1b[31mrecord"))


def test_json_lines() -> None:
    entry = json.loads(JsonFormatter().format(record(EVENT)))
    assert entry["level"] == "warning"
    assert entry["event"] == "peer-fault"
    assert (entry["connection"], entry["seconds"]) == (7, 0.25)
    assert entry["detail"] == 'bad "line"\nforged'
    other = json.loads(JsonFormatter().format(record("plain %s text")))
    assert (other["event"], other["text"]) == ("log", "plain %s text")


def test_a_traceback_belongs_to_its_record() -> None:
    try:
        raise ValueError("bad\x1b[0m")
    except ValueError as caught:
        error = caught
    first, *rest = HumanFormatter().format(record(EVENT, error)).splitlines()
    assert "peer-fault" in first
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert "ValueError" in json.loads(JsonFormatter().format(record(EVENT, error)))["traceback"]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:
            continue


def close(writer: LogWriter) -> None:
    writer.close()
    writer._thread.join(PATIENCE)
    assert not writer._thread.is_alive()


def test_lines_of_many_threads_arrive_whole_and_complete(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    writer = LogWriter(descriptor, logging.Formatter("%(message)s"))
    got = bytearray()

    def read() -> None:
        while data := os.read(reader, 65536):
            got.extend(data)

    reading = threading.Thread(target=read)
    reading.start()

    def talk(name: int) -> None:
        for n in range(500):
            writer.handle(record(f"{name} {n} " + "x" * 100))

    talkers = [threading.Thread(target=talk, args=(name,)) for name in range(8)]
    for talker in talkers:
        talker.start()
    for talker in talkers:
        talker.join(PATIENCE)
    close(writer)
    os.close(descriptor)
    reading.join(PATIENCE)
    lines = got.decode().splitlines()
    assert sorted(lines) == sorted(f"{a} {n} " + "x" * 100 for a in range(8) for n in range(500))
    for name in range(8):
        own = [line for line in lines if line.startswith(f"{name} ")]
        assert own == sorted(own, key=lambda line: int(line.split()[1]))


def test_a_stuck_reader_costs_lines_which_are_counted(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    writer = LogWriter(descriptor, HumanFormatter())
    total = limits.LOG_QUEUE.whole + 5000
    for n in range(total):
        writer.handle(record(f"line {n} " + "x" * 50))  # never blocks, though nobody reads
    assert writer._dropped > 0
    got = bytearray()

    def read() -> None:
        while data := os.read(reader, 65536):
            got.extend(data)

    reading = threading.Thread(target=read)
    reading.start()
    close(writer)
    os.close(descriptor)
    reading.join(PATIENCE)
    lines = got.decode().splitlines()
    (told,) = (line for line in lines if "log-dropped" in line)
    dropped = int(told.rpartition("=")[2])
    assert len(lines) - 1 + dropped == total


def test_a_descriptor_that_somebody_made_non_blocking_is_waited_for(
    pipe: tuple[int, int],
) -> None:
    reader, descriptor = pipe
    os.set_blocking(descriptor, False)
    writer = LogWriter(descriptor, logging.Formatter("%(message)s"))
    for n in range(2000):
        writer.handle(record(f"{n} " + "x" * 100))
    got = bytearray()
    while got.count(b"\n") < 2000:
        got += os.read(reader, 65536)
    assert [int(line.split()[0]) for line in got.splitlines()] == list(range(2000))
    close(writer)


def test_a_reader_that_is_gone_ends_the_writing_and_nothing_else(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    os.close(reader)
    writer = LogWriter(descriptor, HumanFormatter())
    writer.handle(record("into the void"))
    eventually(lambda: not writer._thread.is_alive())
    writer.handle(record("and again"))
    writer.flush()
    close(writer)


def test_a_record_that_cannot_be_formatted_is_reported_not_raised(
    pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    writer = LogWriter(pipe[1], HumanFormatter())
    broken = record("%d")
    broken.args = ("not a number",)
    writer.handle(broken)
    close(writer)
    assert "Logging error" in capsys.readouterr().err
