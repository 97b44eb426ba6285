"""Repeats: which lines are counted, and that every one of them is told of."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadwire import CloseReason, limits
from threadwire.cli import repeats as repeats_module
from threadwire.cli.repeats import Kind, Repeats, is_limited, kind_of, kind_of_event
from threadwire.events import Event

MOST = limits.LOG_REPEATS.whole
A, B = Kind(logging.ERROR, "a", (("error", "ValueError"),)), Kind(logging.WARNING, "b", ())


def test_those_beyond_some_in_a_second_are_counted_and_told_of_when_it_is_over() -> None:
    repeats = Repeats()
    written = [repeats.admit(A, 100 + n / 100, n) for n in range(60)]
    assert written == [True] * MOST + [False] * (60 - MOST)
    assert repeats.take(100.99) == []
    assert repeats.left(100.75) == pytest.approx(0.25)
    assert repeats.take(101.0) == [
        (
            A,
            {
                "of": "a",
                "error": "ValueError",
                "count": 60 - MOST,
                "seconds": 0.59,
                "first_connection": MOST,
                "last_connection": 59,
            },
        )
    ]
    assert not repeats
    assert repeats.left(101.0) is None
    assert repeats.take(200.0) == []


def test_the_next_second_begins_with_the_next_line() -> None:
    """Though nobody has asked for the count of the last one meanwhile."""
    repeats = Repeats()
    for _ in range(MOST + 3):
        repeats.admit(A, 100.0)
    assert repeats.admit(A, 105.0)
    assert repeats.left(105.0) == 0
    for _ in range(MOST - 1):
        assert repeats.admit(A, 105.9)
    assert not repeats.admit(A, 105.95)
    assert [facts["count"] for _, facts in repeats.take(105.95)] == [3]
    assert [facts["count"] for _, facts in repeats.take(106.0)] == [1]


def test_kinds_are_counted_each_by_itself_and_told_of_in_their_order() -> None:
    repeats = Repeats()
    for _ in range(MOST + 1):
        repeats.admit(A, 100.0)
        repeats.admit(B, 100.5)
    repeats.admit(B, 100.5)
    assert repeats.left(100.5) == 0.5
    assert [(kind, facts["count"]) for kind, facts in repeats.take(101.0)] == [(A, 1)]
    assert repeats.left(101.0) == 0.5
    assert [(kind, facts["count"]) for kind, facts in repeats.take(101.5)] == [(B, 2)]


def test_everything_can_be_asked_for_at_once() -> None:
    repeats = Repeats()
    for _ in range(MOST + 1):
        repeats.admit(A, 100.0)
    repeats.admit(B, 100.0)
    assert [kind for kind, _ in repeats.take(100.0, everything=True)] == [A]
    assert not repeats


def test_what_has_no_connection_names_none() -> None:
    repeats = Repeats()
    for n in range(MOST + 3):
        repeats.admit(B, 100.0, 7 if n == MOST + 1 else None)
    ((_, facts),) = repeats.take(101.0)
    assert (facts["first_connection"], facts["last_connection"]) == (7, 7)
    for _ in range(MOST + 1):
        repeats.admit(B, 102.0)
    assert repeats.take(103.0) == [(B, {"of": "b", "count": 1, "seconds": 0.0})]


def test_of_kinds_beyond_those_that_are_kept_in_mind_every_line_is_written() -> None:
    repeats = Repeats()
    kinds = [Kind(logging.WARNING, "log", (("text", str(n)),)) for n in range(3000)]
    assert all(repeats.admit(kind, 100.0) for kind in kinds)
    assert len(repeats._seconds) == repeats_module._KINDS
    assert all(repeats.admit(kinds[-1], 100.0) for _ in range(MOST + 5))
    for _ in range(MOST):
        repeats.admit(kinds[0], 100.0)
    assert [kind for kind, _ in repeats.take(101.0)] == [kinds[0]]
    assert not repeats._seconds
    assert repeats.admit(kinds[-1], 101.0)
    assert len(repeats._seconds) == 1


steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.001, 0.01, 0.3, 0.999, 1.0, 1.001, 5.0]),  # seconds go by
        st.one_of(st.none(), st.just("take"), st.sampled_from([A, B])),
        st.one_of(st.none(), st.integers(1, 99)),
    ),
    max_size=200,
)


@settings(deadline=None)
@given(steps, st.booleans())
def test_every_line_is_written_or_counted(
    steps: list[tuple[float, Any, int | None]], everything: bool
) -> None:
    repeats, now = Repeats(), 1000.0
    lines = {A: 0, B: 0}
    written: dict[Kind, list[float]] = {A: [], B: []}
    counted = {A: 0, B: 0}
    unwritten: dict[Kind, list[int | None]] = {A: [], B: []}  # their connections

    def take(**how: bool) -> None:
        for kind, facts in repeats.take(now, **how):
            counted[kind] += facts["count"]
            told, unwritten[kind] = (
                unwritten[kind][: facts["count"]],
                unwritten[kind][facts["count"] :],
            )
            assert len(told) == facts["count"] > 0
            named = [connection for connection in told if connection is not None]
            expected = (named[0], named[-1]) if named else (None, None)
            assert (facts.get("first_connection"), facts.get("last_connection")) == expected
            assert 0 <= facts["seconds"] <= 1

    for seconds, what, connection in steps:
        now += seconds
        if what == "take":
            left = repeats.left(now)
            now += left or 0.0
            before = sum(counted.values())
            take()
            assert (sum(counted.values()) > before) == (left is not None)
        elif what is not None:
            lines[what] += 1
            if repeats.admit(what, now, connection):
                written[what].append(now)
            else:
                unwritten[what].append(connection)
                assert sum(at > now - 1 for at in written[what]) >= MOST
    now += 0.0 if everything else 1.0
    take(everything=everything)
    assert not repeats
    assert {kind: len(written[kind]) + counted[kind] for kind in lines} == lines
    for times in written.values():
        for n, at in enumerate(times[2 * MOST :]):  # two seconds may meet
            assert at - times[n] > 0.999


def test_which_lines_may_be_counted() -> None:
    assert is_limited(logging.WARNING, "peer-fault")
    assert is_limited(logging.ERROR, "")
    assert not is_limited(logging.WARNING, "cut")
    for name in ("opened", "closed", "message", ""):
        assert not is_limited(logging.INFO, name)


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:  # noqa: BLE001 - it is ours
        return caught


def test_an_events_kind_is_not_made_of_what_a_peer_sends() -> None:
    def kind(**fields: Any) -> Kind:
        return kind_of_event(logging.WARNING, "peer-fault", fields)

    one = kind(connection=1, peer="tcp://::1", error="MalformedMessage", detail="no 'x' there")
    assert one == kind(connection=2, peer="tcp://::2", error="MalformedMessage", detail="no 'y'")
    assert one != kind(connection=1, peer="tcp://::1", error="MessageTooLarge", detail="")
    assert one.facts == (("error", "MalformedMessage"),)
    assert kind(reason=CloseReason.BUSY).facts == (("reason", "busy"),)


def failed(error: Exception, message: object = None) -> logging.LogRecord:
    if message is None:
        message = Event("handler-failed", {"error": type(error).__name__, "detail": error})
    info = (type(error), error, error.__traceback__)
    return logging.LogRecord("app", logging.ERROR, "", 0, message, ("x",), info)


def test_where_it_was_raised_belongs_to_the_kind() -> None:
    one, other = raised(ValueError("one")), raised(ValueError("other"))
    try:
        raise ValueError("elsewhere")
    except ValueError as caught:
        elsewhere = caught
    assert kind_of(failed(one)) == kind_of(failed(other))
    assert kind_of(failed(one)) != kind_of(failed(elsewhere))
    assert kind_of(failed(one)) != kind_of(failed(raised(KeyError("one"))))
    facts = dict(kind_of(failed(one)).facts)
    assert facts["error"] == "ValueError"
    assert facts["raised"].startswith(f"{__file__}:")
    assert facts["raised"].endswith(" in raised")


def test_other_peoples_records_are_told_apart_by_logger_level_and_text() -> None:
    def kind(name: str = "app", level: int = logging.WARNING, text: object = "%s?") -> Kind:
        return kind_of(logging.LogRecord(name, level, "", 0, text, ("anything",), None))

    assert kind() == kind()
    assert len({kind(), kind("other"), kind(level=logging.ERROR), kind(text="%s!")}) == 4
    assert kind().facts == (("logger", "app"), ("text", "%s?"))
    long = kind(text="x" * 100_000)
    assert len(dict(long.facts)["text"]) <= 200
    error = raised(OSError("this"))
    assert dict(kind_of(failed(error, "%s!")).facts)["error"] == "OSError"
    assert "raised" in dict(kind_of(failed(error, "%s!")).facts)


def test_a_line_from_within_is_written_and_changes_nothing() -> None:
    """As of a finalizer that the collector runs in the middle of it: it was counted there, in the
    dict that was just iterated.
    """
    repeats = Repeats()
    admitted: list[bool] = []

    class Telling(str):
        __slots__ = ()

        def __hash__(self) -> int:
            if inside:
                admitted.append(repeats.admit(Kind(logging.ERROR, "other", ()), 1.0))
            return super().__hash__()

    inside = False
    kind = Kind(logging.ERROR, Telling("event"), ())
    for _ in range(limits.LOG_REPEATS.whole + 5):
        repeats.admit(kind, 1.0)
    inside = True
    repeats.admit(kind, 1.0)
    told = repeats.take(5.0)
    inside = False
    assert admitted
    assert all(admitted)
    assert [facts["count"] for _, facts in told] == [6]
    assert not repeats
