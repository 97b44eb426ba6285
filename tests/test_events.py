"""Events: one record each, its facts in a dict, and a line that nobody can forge."""

from __future__ import annotations

import logging
import re
import threading
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from threadwire import Address, CloseReason, Cut, events
from threadwire.events import Event, emit, show


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("word", "word"),
        (5, "5"),
        (-1, "-1"),
        (None, "None"),
        (True, "True"),
        (0.25, "0.25"),
        (1 / 3, "0.333333"),
        (1e9, "1e+09"),
        (float("inf"), "inf"),
        (CloseReason.PEER_CLOSED, "peer-closed"),
        (Address("tcp", "::1", 80), "tcp://[::1]:80"),
        ("café", "café"),
        ("back\\slash", "back\\slash"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ('"', r'"\""'),
        ("back\\slash and space", r'"back\\slash and space"'),
        ("line\nfeed", r'"line\nfeed"'),
        ("\r\n\t", r'"\r\n\t"'),
        ("nul\0", r'"nul\x00"'),
        ("\x1b[31mred", r'"\x1b[31mred"'),
        ("\x7f", r'"\x7f"'),
        ("\x85", r'"\x85"'),
        ("\u2028", r'"\u2028"'),
        ("\N{RIGHT-TO-LEFT OVERRIDE}", r'"\u202e"'),
        ("\N{NO-BREAK SPACE}", r'"\xa0"'),
        ("\udcff", r'"\udcff"'),
        ("\U000e0001", r'"\U000e0001"'),
        (ValueError("went wrong"), '"went wrong"'),
    ],
)
def test_showing(value: object, shown: str) -> None:
    assert show(value) == shown


@settings(deadline=None)
@given(st.text(st.characters()))
@example('level=error"\nforged=line')
def test_no_control_character_comes_through(text: str) -> None:
    shown = show(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) == 1
    shown.encode()


@settings(deadline=None)
@given(st.text(st.characters()))
def test_a_value_is_one_word_or_quoted_from_end_to_end(text: str) -> None:
    assert re.fullmatch(r'[^ "=]+|"(?:[^"\\]|\\.)*"', show(text))


@settings(deadline=None)
@given(st.text(st.characters()), st.text(st.characters()))
def test_different_texts_are_shown_differently(one: str, other: str) -> None:
    assert (show(one) == show(other)) == (one == other)


def test_an_event_is_its_name_and_its_facts() -> None:
    assert str(Event("stopped", {})) == "stopped"
    assert str(Event("closed", {"connection": 3, "detail": "no more"})) == (
        'closed connection=3 detail="no more"'
    )


def test_an_event_is_one_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="threadwire")
    emit(logging.WARNING, "cut", connection=3, doing="a reply")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("threadwire", logging.WARNING)
    assert isinstance(record.msg, Event)
    assert record.msg.name == "cut"
    assert record.msg.fields == {"connection": 3, "doing": "a reply"}
    assert record.getMessage() == 'cut connection=3 doing="a reply"'
    assert record.exc_info is None


def test_a_traceback_goes_along(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("went wrong")
    emit(logging.ERROR, "handler-failed", exception=error, detail=error)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_a_record_says_whence_it_comes(caplog: pytest.LogCaptureFixture) -> None:
    emit(logging.WARNING, "stuck")
    (record,) = caplog.records
    assert record.pathname == events.__file__
    assert (record.module, record.funcName) == ("events", "emit")
    assert record.lineno == emit.__code__.co_firstlineno
    assert record.threadName == threading.current_thread().name
    assert record.args == ()


def test_a_logging_handler_that_fails_is_reported_not_raised(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("no space left")

    failing = Failing()
    events.logger.addHandler(failing)
    try:
        emit(logging.WARNING, "stuck")
        assert "OSError: no space left" in capsys.readouterr().err
        monkeypatch.setattr(logging, "raiseExceptions", False)
        emit(logging.WARNING, "stuck")
        assert capsys.readouterr().err == ""
    finally:
        events.logger.removeHandler(failing)


def test_who_is_asked_first_may_take_an_event_without_a_record(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, logger="threadwire")
    asked: list[tuple[int, str, dict[str, Any]]] = []
    takes = True

    def take(level: int, name: str, fields: dict[str, Any]) -> bool:
        asked.append((level, name, fields))
        return takes

    monkeypatch.setattr(events, "shortcut", take)
    events.stopped(5, 1, 0, 2)
    assert asked == [
        (logging.INFO, "stopped", {"finished": 5, "cut": 1, "dismissed": 0, "refused": 2})
    ]
    assert not caplog.records

    takes = False
    events.stopped(6, 0, 0, 0)
    assert asked[1:] == [
        (logging.INFO, "stopped", {"finished": 6, "cut": 0, "dismissed": 0, "refused": 0})
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "stopped finished=6 cut=0 dismissed=0 refused=0"
    ]

    emit(logging.DEBUG, "message", size=1)  # not enabled
    emit(logging.ERROR, "handler-failed", exception=ValueError())  # has a traceback
    assert len(asked) == 2
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR"]


@settings(deadline=None)
@given(st.integers(0, 10**12), st.integers(-499, 499))
def test_durations_are_rounded_to_microseconds(microseconds: int, nanoseconds: int) -> None:
    seconds = (microseconds * 1000 + nanoseconds) / 1e9
    assert events._microseconds(max(0.0, seconds)) == microseconds / 1e6


def test_a_percent_sign_is_only_that(caplog: pytest.LogCaptureFixture) -> None:
    emit(logging.ERROR, "100%s", detail="%d %")
    assert caplog.records[0].getMessage() == '100%s detail="%d %"'


def test_what_nobody_listens_for_is_not_laid_out(caplog: pytest.LogCaptureFixture) -> None:
    class Costly:
        shown = 0

        def __str__(self) -> str:
            Costly.shown += 1
            return "costly"

    caplog.set_level(logging.WARNING, logger="threadwire")
    emit(logging.INFO, "opened", peer=Costly())
    assert not caplog.records
    emit(logging.WARNING, "opened", peer=Costly())
    assert len(caplog.records) == 1
    assert str(caplog.records[0].msg) == "opened peer=costly"


def test_events_that_concern_no_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="threadwire")
    events.signalled("SIGTERM", "drain")
    events.draining(2, 30.0)
    events.accept_paused("too many open files", "tcp://[::1]:80")
    events.accept_resumed(3, "tcp://[::1]:80")
    events.accept_failed(Address("tcp", "::", 80), OSError("no good"))
    events.cut(Cut(7, Address("tcp", "::1", 5), 1.23456, "a reply", 8, 9))
    events.stopped(5, 1, 3, 2)
    assert [record.getMessage() for record in caplog.records] == [
        "signal signal=SIGTERM then=drain",
        "draining connections=2 drain_timeout=30",
        'accept-paused reason="too many open files" listen=tcp://[::1]:80',
        "accept-resumed refused_meanwhile=3 listen=tcp://[::1]:80",
        'accept-failed listen=tcp://[::]:80 error=OSError detail="no good"',
        "cut connection=7 peer=tcp://[::1]:5 seconds=1.235 bytes_received=8 "
        'bytes_sent=9 doing="a reply"',
        "stopped finished=5 cut=1 dismissed=3 refused=2",
    ]
