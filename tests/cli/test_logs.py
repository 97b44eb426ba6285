"""The command's log: formats, whole lines, and a reader that is slow or gone."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadwire import Address, CloseReason, events, limits
from threadwire.cli import logs
from threadwire.cli.logs import HumanFormatter, JsonFormatter, LogWriter
from threadwire.events import Event, emit

from ..support import PATIENCE, eventually


def record(
    message: object, error: BaseException | None = None, level: int = logging.WARNING
) -> logging.LogRecord:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("threadwire", level, "", 0, message, (), exc_info)


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


scalars = st.none() | st.booleans() | st.integers() | st.floats()


@settings(deadline=None)
@given(st.text(), st.dictionaries(st.text(), scalars | st.text(st.characters())))
def test_json_is_what_pythons_own_would_be(name: str, fields: dict[str, Any]) -> None:
    head = json.dumps({"time": "thenZ", "level": "info", "event": name})
    facts = [f", {json.dumps(key)}: {json.dumps(value)}" for key, value in fields.items()]
    line = JsonFormatter().line("then", "INFO", name, fields)
    assert line == head.removesuffix("}") + "".join(facts) + "}"


@pytest.mark.parametrize(
    ("formatter", "pattern", "clock"),
    [
        (HumanFormatter(), "%Y-%m-%d %H:%M:%S.", time.localtime),
        (JsonFormatter(), '{"time": "%Y-%m-%dT%H:%M:%S.', time.gmtime),
    ],
)
def test_each_line_has_its_own_time(
    formatter: logging.Formatter, pattern: str, clock: Callable[[float], time.struct_time]
) -> None:
    told = record(EVENT)
    for created in (5e8, 5e8 + 0.5, 5e8 + 1, 5e8, 1e9 + 0.25, 1e9 + 0.125):
        told.created, told.msecs = created, created % 1 * 1000
        stamp = time.strftime(pattern, clock(created)) + f"{int(told.msecs):03d}"
        assert formatter.format(told).startswith(stamp)


@pytest.mark.parametrize(("formatter"), [HumanFormatter(), JsonFormatter()])
def test_the_time_now_is_now(formatter: logs.LineFormatter) -> None:
    def stamp() -> str:
        return formatter.stamp(*divmod(time.time_ns() // 1_000_000, 1000))

    for _ in range(1000):
        before, now, after = stamp(), formatter.stamp_now(), stamp()
        assert before <= now <= after


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


class Written:
    """A writer, and what it writes: one item a write."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.writes: list[list[str]] = []  # appended to by the reading thread alone
        self._theirs = theirs
        self._reading = threading.Thread(target=self._read)
        self._reading.start()
        self.writer = LogWriter(theirs.fileno(), formatter)

    def _read(self) -> None:
        while data := self._ours.recv(1 << 20):
            assert data.endswith(b"\n")
            self.writes.append(data.decode().splitlines())

    @property
    def lines(self) -> list[str]:
        return [line for write in self.writes for line in write]

    def close(self) -> None:
        """Everything is in ``writes`` then."""
        close(self.writer)
        self._theirs.close()
        self._reading.join(PATIENCE)
        self._ours.close()


@pytest.fixture
def written() -> Iterator[Written]:
    made = Written(logging.Formatter("%(message)s"))
    yield made
    made.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines wait for others for as long as they may."""
    monkeypatch.setattr(logs, "_GATHER_SECONDS", 1000 * PATIENCE)


def say(writer: LogWriter, count: int, first: int = 0) -> list[str]:
    lines = [str(first + n) for n in range(count)]
    for line in lines:
        writer.handle(record(line, level=logging.INFO))
    return lines


def test_a_line_alone_wakes_the_thread_that_writes_it(written: Written) -> None:
    eventually(lambda: written.writer._wake_at == 1)  # it sleeps for as long as it takes
    say(written.writer, 1)
    eventually(lambda: written.lines == ["0"])
    say(written.writer, 1, 1)
    eventually(lambda: written.lines == ["0", "1"])


@pytest.mark.usefixtures("patient")
def test_lines_that_come_together_are_written_together_and_in_order(written: Written) -> None:
    lines = say(written.writer, 100)
    written.writer.flush()
    eventually(lambda: written.writes == [lines])
    more = say(written.writer, 100, 100)
    assert written.writes == [lines]
    close(written.writer)
    eventually(lambda: written.writes == [lines, more])


@pytest.mark.usefixtures("patient")
def test_as_much_as_is_written_at_once_does_not_wait_for_more(written: Written) -> None:
    lines = say(written.writer, logs._WRITE_LINES)
    eventually(lambda: written.writes == [lines])
    say(written.writer, logs._WRITE_LINES + 1)
    eventually(lambda: len(written.writes) == 2)


@pytest.mark.usefixtures("patient")
def test_several_may_wait_until_all_is_written(written: Written) -> None:
    lines = say(written.writer, 10)
    waiting = [threading.Thread(target=written.writer.flush) for _ in range(5)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    eventually(lambda: written.lines == lines)
    written.writer.flush()  # with nothing to write


def test_a_busy_log_wakes_its_thread_a_hundred_times_a_second(written: Written) -> None:
    begun, said = time.monotonic(), 0
    while time.monotonic() < begun + 0.3:
        say(written.writer, 1)
        said += 1
    took = time.monotonic() - begun
    written.close()
    assert len(written.lines) == said
    full = sum(len(write) >= logs._WRITE_LINES for write in written.writes)
    assert len(written.writes) - full <= took / logs._GATHER_SECONDS + 2


class Seen(logging.Handler):
    """Somebody else's handler."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record.msg, Event)
        self.events.append(record.msg.name)


class Command:
    """The command's log, for this process."""

    def __init__(self, form: str, capfd: pytest.CaptureFixture[str]) -> None:
        self.writer = logs.configure(logging.INFO, form)
        self._capfd = capfd

    def written(self) -> str:
        """What was written since the last time."""
        self.writer.flush()
        return self._capfd.readouterr().err

    def lines(self) -> list[str]:
        """The same, line by line, without the time."""
        time = r"\d{4}-\d\d-\d\d[ T][\d:]{8}\.\d{3}"
        return [re.sub(time, "NOW", line) for line in self.written().splitlines()]

    def short(self) -> bool:
        """Whether events need no record now."""
        taken = self.writer.tell(logging.INFO, "asked", {})
        assert self.lines() == ["NOW INFO asked"] * taken
        return taken


Begin: TypeAlias = Callable[..., Command]


@pytest.fixture
def begin(capfd: pytest.CaptureFixture[str]) -> Iterator[Begin]:
    """Lets the command's log have the process's logging, which is put back at the end."""
    root, logger = logging.getLogger(), events.logger
    levels = root.level, logger.level
    begun: list[Command] = []

    def begin(form: str = "human") -> Command:
        begun.append(Command(form, capfd))
        return begun[-1]

    yield begin
    for command in begun:
        root.removeHandler(command.writer)
        close(command.writer)
    root.setLevel(levels[0])
    logger.setLevel(levels[1])


def warn(writer: LogWriter, count: int) -> None:
    for _ in range(count):
        writer.handle(record("again"))


MOST = limits.LOG_REPEATS.whole
COUNTED = r"repeated of=log logger=threadwire text=again count=(\d+) seconds=[\d.e-]+"


def counted(lines: list[str]) -> int:
    """By the lines that tell of what was not written."""
    return sum(int(found[1]) for line in lines if (found := re.fullmatch(COUNTED, line)))


def test_the_count_of_repeats_is_told_though_nobody_says_anything_more(written: Written) -> None:
    """The thread sleeps for as long as it takes when the first is counted.

    With it not woken then, or not in time: the count is told with the next line.
    """
    warn(written.writer, MOST)
    eventually(lambda: len(written.lines) == MOST)
    eventually(lambda: written.writer._wake_at == 1)
    warn(written.writer, 1)
    eventually(lambda: len(written.lines) == MOST + 1)
    assert counted(written.lines) == 1 or "again" in written.lines[-1]


@pytest.mark.usefixtures("patient")
def test_whoever_waits_until_all_is_written_waits_for_the_counts_as_well(written: Written) -> None:
    warn(written.writer, MOST + 7)
    written.writer.flush()
    assert not written.writer._repeats
    eventually(lambda: written.lines.count("again") + counted(written.lines) == MOST + 7)
    warn(written.writer, MOST + 3)
    close(written.writer)
    eventually(lambda: written.lines.count("again") + counted(written.lines) == 2 * MOST + 10)
    assert counted(written.lines)


def test_it_waits_also_if_there_is_nothing_but_a_count(written: Written) -> None:
    warn(written.writer, MOST)
    eventually(lambda: len(written.lines) == MOST)
    warn(written.writer, 5)
    written.writer.flush()
    assert not written.writer._repeats


def test_of_a_storm_from_many_threads_every_line_is_written_or_counted(written: Written) -> None:
    storm = [threading.Thread(target=warn, args=(written.writer, 2000)) for _ in range(8)]
    for thread in storm:
        thread.start()
    for thread in storm:
        thread.join(PATIENCE)
    written.close()
    assert written.lines.count("again") + counted(written.lines) == 16_000
    assert written.lines.count("again") < 1000


def test_a_finalizer_may_log_while_its_thread_does(written: Written) -> None:
    """The collector runs it anywhere, also where the log's lock is held.

    With a lock that its holder cannot take again: the thread waits for itself.
    """

    def log() -> None:
        with written.writer._lock:
            say(written.writer, 1)
            warn(written.writer, 1)

    thread = threading.Thread(target=log, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    eventually(lambda: written.lines == ["0", "again"])


def test_no_line_of_a_connections_is_counted_only(begin: Begin) -> None:
    command = begin()
    for n in range(5 * MOST):
        emit(logging.INFO, "opened", connection=n)
        emit(logging.WARNING, "cut", connection=n)
        emit(logging.WARNING, "peer-fault", connection=n, error="FramingError", detail=n)
    lines = command.lines()
    assert sum(" opened " in line for line in lines) == 5 * MOST
    assert sum(" cut " in line for line in lines) == 5 * MOST
    faults = sum(" peer-fault connection" in line for line in lines)
    told = [line for line in lines if "repeated" in line]
    assert told
    assert all(" WARNING repeated of=peer-fault error=FramingError count=" in line for line in told)
    assert faults + sum(int(re.findall("count=([0-9]+)", line)[0]) for line in told) == 5 * MOST
    assert f" last_connection={5 * MOST - 1}" in told[-1]


def test_a_record_whose_kind_cannot_be_told_is_reported_not_raised(
    begin: Begin, capfd: pytest.CaptureFixture[str]
) -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise ValueError("this")

    command = begin()
    logging.getLogger("app").warning(Unspeakable())
    assert "Logging error" in command.written()


FACTS: dict[str, Any] = {
    "connection": 7,
    "peer": Address("tcp", "::1", 5),
    "reason": CloseReason.PEER_CLOSED,
    "detail": ValueError('no "way"\nout'),
    "path": Address("unix", path="/tmp/é \udcff"),
    "seconds": 0.003122,
    "drain_timeout": 30.0,
    "limit": math.inf,
    "text": "",
    "flag": True,
    "none": None,
}


@pytest.mark.parametrize("form", ["human", "json"])
@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING, 25])
def test_a_line_is_the_same_with_a_record_and_without(begin: Begin, form: str, level: int) -> None:
    command = begin(form)
    assert command.writer.tell(level, "closed", FACTS)
    command.writer.addFilter(lambda record: True)
    assert not command.writer.tell(level, "closed", FACTS)
    emit(level, "closed", **FACTS)
    one, other = command.lines()
    assert one == other
    assert "NOW" in one


def test_lines_with_a_record_and_without_keep_their_order(begin: Begin) -> None:
    command = begin()
    for n in range(500):
        emit(logging.INFO, "opened", n=n)
        if n % 50 == 0:  # more of them would only be counted
            emit(logging.ERROR, "handler-failed", n=n, exception=ValueError("this"))
        logging.getLogger("app").info("text %d", n)
    told = [line for line in command.lines() if not line.startswith(" ") and "this" not in line]
    assert told == [
        line
        for n in range(500)
        for line in (
            f"NOW INFO opened n={n}",
            f"NOW ERROR handler-failed n={n}",
            f"NOW INFO text {n}",
        )
        if n % 50 == 0 or "ERROR" not in line
    ]


def test_a_level_that_changes_counts_at_once(begin: Begin) -> None:
    command = begin()

    def opened() -> list[str]:
        emit(logging.INFO, "opened")
        return command.lines()

    assert opened() == ["NOW INFO opened"]
    events.logger.setLevel(logging.WARNING)
    assert opened() == []
    events.logger.setLevel(logging.INFO)
    assert opened() == ["NOW INFO opened"]
    command.writer.setLevel(logging.WARNING)
    assert opened() == []
    command.writer.setLevel(logging.INFO)
    assert opened() == ["NOW INFO opened"]
    logging.disable(logging.INFO)
    try:
        assert opened() == []
    finally:
        logging.disable(logging.NOTSET)
    assert opened() == ["NOW INFO opened"]


def test_a_handler_that_comes_and_goes_sees_what_happens_meanwhile(begin: Begin) -> None:
    command = begin()
    for logger in (logging.getLogger(), events.logger):
        seen = Seen()
        emit(logging.INFO, "before")
        logger.addHandler(seen)
        emit(logging.INFO, "during")
        logger.removeHandler(seen)
        emit(logging.INFO, "after")
        assert seen.events == ["during"]
        assert [line.split()[-1] for line in command.lines()] == ["before", "during", "after"]
        assert command.short()


def test_whoever_replaces_the_log_has_it(begin: Begin) -> None:
    command = begin()
    seen = Seen()
    logging.getLogger().handlers[:] = [seen]
    emit(logging.INFO, "opened")
    assert seen.events == ["opened"]
    assert command.lines() == []


def test_a_logger_that_keeps_its_records_to_itself(begin: Begin) -> None:
    command = begin()
    seen = Seen()
    events.logger.propagate = False
    try:
        emit(logging.INFO, "opened")
        events.logger.addHandler(seen)
        emit(logging.INFO, "closed")
        events.logger.removeHandler(seen)
    finally:
        events.logger.propagate = True
    assert seen.events == ["closed"]
    assert command.lines() == []


@pytest.mark.parametrize("of", ["logger", "handler"])
def test_a_filter_is_asked(begin: Begin, of: str) -> None:
    command = begin()
    filtered: logging.Filterer = events.logger if of == "logger" else command.writer

    def not_opened(record: logging.LogRecord) -> bool:
        return isinstance(record.msg, Event) and record.msg.name != "opened"

    filtered.addFilter(not_opened)
    emit(logging.INFO, "opened")
    emit(logging.INFO, "closed")
    filtered.removeFilter(not_opened)
    assert command.lines() == ["NOW INFO closed"]
    assert command.short()


def test_a_formatter_of_somebody_elses_is_used(begin: Begin) -> None:
    command = begin()
    command.writer.setFormatter(logging.Formatter("%(threadName)s: %(message)s"))
    emit(logging.INFO, "opened", connection=1)
    assert command.lines() == [f"{threading.current_thread().name}: opened connection=1"]


def test_records_of_another_kind_are_made(begin: Begin) -> None:
    command = begin()
    made = []

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        made.append(args)
        return logging.LogRecord(*args, **kwargs)

    logging.setLogRecordFactory(factory)
    try:
        emit(logging.INFO, "opened")
    finally:
        logging.setLogRecordFactory(logging.LogRecord)
    emit(logging.INFO, "closed")
    assert len(made) == 1
    assert command.lines() == ["NOW INFO opened", "NOW INFO closed"]


@pytest.mark.parametrize("step", ["makeRecord", "handle", "callHandlers"])
def test_what_watches_all_records_sees_them(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """As monitoring tools do."""
    command = begin()
    own, passed = getattr(logging.Logger, step), []

    def watched(*args: Any, **kwargs: Any) -> Any:
        passed.append(args)
        return own(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(logging.Logger, step, watched)
        emit(logging.INFO, "opened")
    emit(logging.INFO, "closed")
    assert len(passed) == 1
    assert command.lines() == ["NOW INFO opened", "NOW INFO closed"]


@pytest.mark.parametrize("watched", [False, True])
def test_what_watched_all_records_before_us_goes_on_seeing_them(watched: bool) -> None:
    program = """if True:
        import functools, logging, sys
        own = logging.Logger.callHandlers
        @functools.wraps(own)
        def seen(logger, record):
            print("seen", record.msg.name)
            own(logger, record)
        if "watched" in sys.argv:
            logging.Logger.callHandlers = seen
        from threadwire import events
        from threadwire.cli import logs
        writer = logs.configure(logging.INFO, "human")
        events.stopped(1, 0, 0, 0)
        writer.close()
        """
    done = subprocess.run(
        [sys.executable, "-c", program, *(["watched"] if watched else [])],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == "seen stopped\n" * watched
    assert done.stderr.endswith(" INFO stopped finished=1 cut=0 dismissed=0 refused=0\n")


def test_an_event_that_cannot_be_formatted_is_reported_not_raised(
    begin: Begin,
) -> None:
    class Broken:
        def __str__(self) -> str:
            raise ValueError("unspeakable")

    command = begin()
    emit(logging.INFO, "opened", peer=Broken())
    emit(logging.INFO, "closed")
    written = command.written()
    assert "Logging error" in written
    assert "ValueError: unspeakable" in written
    assert written.endswith(" INFO closed\n")


def test_what_is_dropped_without_a_record_is_counted(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    writer = LogWriter(descriptor, HumanFormatter())
    root = logging.getLogger()
    root.handlers[:] = [writer]

    def tell(count: int) -> None:
        for n in range(count):
            assert writer.tell(logging.INFO, "opened", {"connection": n, "text": "x" * 100})

    try:
        tell(logs._WRITE_LINES)  # more than a pipe holds, so that writing them does not end
        eventually(lambda: writer._writing and not writer._lines)
        tell(limits.LOG_QUEUE.whole)
        assert writer._dropped == 0
        tell(5000)
    finally:
        root.removeHandler(writer)
    assert len(writer._lines) == limits.LOG_QUEUE.whole
    assert writer._dropped == 5000
    os.close(reader)
    close(writer)


def test_when_the_commands_log_ends_events_need_records_again(begin: Begin) -> None:
    command = begin()
    assert events.shortcut == command.writer.tell
    close(command.writer)
    assert events.shortcut is None


def test_nothing_is_counted_any_more_when_the_reader_is_gone(pipe: tuple[int, int]) -> None:
    """Counts that nobody will be told would be kept for ever."""
    hear, say_to = pipe
    writer = LogWriter(say_to, HumanFormatter())
    try:
        os.close(hear)
        eventually(lambda: writer.handle(record("gone")) and not writer._thread.is_alive())
        for _ in range(100):
            writer.handle(record("again and again"))
        assert not writer._repeats
    finally:
        close(writer)


def test_loggings_lock_and_the_logs_own_are_one() -> None:
    """Two are taken in one order by a line, and in the other by a finalizer that logs and that the
    collector runs while the log's own is held.
    """
    hear, say_to = os.pipe()
    writer = LogWriter(say_to, HumanFormatter())
    try:
        assert writer.lock is writer._lock
    finally:
        close(writer)
        os.close(hear)
        os.close(say_to)
