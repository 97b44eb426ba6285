"""What may not be: how it is written, and when it is missed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import threadwire
from threadwire.bench.measures import measure_of
from threadwire.bench.results import ERROR_KINDS, Result
from threadwire.bench.thresholds import missed, parse_threshold

from .samples import histogram, result, spread_out, stalled


def value(name: str, of: Result) -> float | None:
    return measure_of(name).value(of)


def test_durations_are_those_of_the_histograms() -> None:
    of = stalled()
    assert value("p50", of) == of.latency.percentile(50)
    assert value("p99.9", of) == of.latency.percentile(99.9)
    assert value("uncorrected.p99.9", of) == of.service.percentile(99.9)
    assert value("connect.max", of) == of.connect.max
    assert value("min", of) == of.latency.min
    assert value("mean", of) == of.latency.mean
    assert value("uncorrected.stdev", of) == of.service.stdev
    assert value("p100", of) == value("max", of) == of.latency.max


def test_lost_requests_count_but_tell_nothing_alone() -> None:
    waited = histogram([2.0] * 10)
    some = result(latency=histogram([0.001] * 90 + [2.0] * 10), lost=waited)
    assert missed([parse_threshold("p99>50ms")], some)
    none = result(latency=waited, lost=waited, messages=0)
    assert value("p99", none) is None
    assert missed([parse_threshold("p99>5s")], none)


def test_counts_and_rates() -> None:
    of = result(
        errors={"closed": 3, "wrong-reply": 1},
        messages=996,
        connects=50,
        connects_per_second=5.0,
    )
    assert value("messages", of) == 996
    assert value("messages_per_second", of) == value("rate", of) == 99.6
    assert value("connects", of) == 50
    assert value("connects_per_second", of) == 5.0
    assert value("errors", of) == 4
    assert value("errors.closed", of) == 3
    assert value("errors.wrong-reply", of) == 1
    assert value("errors.timeout", of) == 0
    assert value("error_rate", of) == 0.004


def test_nothing_measured_is_no_value() -> None:
    of = result(latency=histogram([]), messages=0)
    assert value("p99", of) is None
    assert value("max", of) is None
    assert value("error_rate", of) is None
    assert value("errors", of) == 0


@pytest.mark.parametrize(
    "name", ["", "p", "p101", "p1000", "p99.", "q99", "uncorrected.", "connect.errors", "p-1",
             "error.timeout", "uncorrected.uncorrected.p99", "P99"]
)  # fmt: skip
def test_what_is_not_measured_is_refused(name: str) -> None:
    with pytest.raises(threadwire.UsageError, match=r"nothing that is measured; write p50, p99\.9"):
        measure_of(name)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("errors.timeouts>0", "'errors.timeouts': errors of no kind are called 'timeouts'; "
         "did you mean 'errors.timeout'?"),
        ("errors.Closed>0", "did you mean 'errors.closed'?"),
        ("errors.wrong_reply>0", "did you mean 'errors.wrong-reply'?"),
        ("errors.>0", "errors of no kind are called ''; there are closed, connect-failed, "),
        ("errors.closed.p99>0", "did you mean 'errors.closed'?"),
    ],
)  # fmt: skip
def test_a_kind_that_no_error_has_is_refused(text: str, problem: str) -> None:
    with pytest.raises(threadwire.UsageError, match=re.escape(problem)):
        parse_threshold(text)


@pytest.mark.parametrize("kind", sorted(ERROR_KINDS))
def test_every_kind_has_a_threshold(kind: str) -> None:
    assert parse_threshold(f"errors.{kind}>0").is_missed(
        value(f"errors.{kind}", result(errors={kind: 1}))
    )


@pytest.mark.parametrize(
    ("text", "name", "sign", "limit"),
    [
        ("p99>5ms", "p99", ">", 0.005),
        (" p99.9 >= 1s ", "p99.9", ">=", 1.0),
        ("max>1m", "max", ">", 60.0),
        ("p99>0", "p99", ">", 0.0),
        ("uncorrected.p50<10us", "uncorrected.p50", "<", 1e-5),
        ("errors>0", "errors", ">", 0),
        ("errors.timeout>10", "errors.timeout", ">", 10),
        ("error_rate>0.1%", "error_rate", ">", 0.001),
        ("rate<20k", "rate", "<", 20_000),
        ("messages_per_second<=1,000/s", "messages_per_second", "<=", 1000),
        ("connects<1M", "connects", "<", 1_000_000),
    ],
)
def test_thresholds_are_read(text: str, name: str, sign: str, limit: float) -> None:
    threshold = parse_threshold(text)
    assert (threshold.measure.name, threshold.sign) == (name, sign)
    assert threshold.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("p99", "is not a threshold"),
        ("p99>", "is not a threshold"),
        (">5ms", "is not a threshold"),
        ("p99=5ms", "is not a threshold"),
        ("p99=>5ms", "is not a threshold"),
        ("p99>>5ms", "is not a threshold"),
        ("5ms>p99", "nothing that is measured"),
        ("p99>5", "has no unit; write 5ms or 0.5s"),
        ("p99>5xs", "is not a duration"),
        ("p99>-5ms", "is not a duration"),
        ("errors>0.5", "not a whole number"),
        ("errors>1%", "not a whole number"),
        ("error_rate>1", "not a percentage"),
        ("rate<fast", "not a number a second"),
    ],
)
def test_what_is_no_threshold_is_refused(text: str, problem: str) -> None:
    with pytest.raises(threadwire.UsageError, match=problem):
        parse_threshold(text)


@given(st.text(max_size=20) | st.from_regex(r"[a-z.0-9_]{1,8} ?[<>]=? ?[0-9.]{1,4}[a-z%]{0,2}"))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        threshold = parse_threshold(text)
    except threadwire.UsageError:
        return
    assert threshold.text == text.strip()
    assert threshold.is_missed(None)


NAMES = st.sampled_from(["p50", "p99.9", "max", "mean", "uncorrected.p99", "connect.min"])


@given(NAMES, st.sampled_from([">", ">=", "<", "<="]), st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_threshold_is_missed_when_what_it_says_is_so(
    name: str, sign: str, limit: int, is_: int
) -> None:
    threshold = parse_threshold(f"{name}{sign}{limit}us")
    measured = result(latency=histogram([is_ * 1e-6]), connect=histogram([is_ * 1e-6]))
    found = threshold.measure.value(measured)
    assert found == pytest.approx(is_ * 1e-6)
    if limit != is_:
        assert threshold.is_missed(found) == eval(f"{is_} {sign} {limit}")


def test_a_limit_that_is_just_met() -> None:
    of = result(messages=1000, errors={"closed": 2})
    texts = ["errors>2", "errors>=2", "errors<2", "errors<=2", "rate<100", "rate<=100"]
    names = [line.threshold.text for line in missed(map(parse_threshold, texts), of)]
    assert names == ["errors>=2", "errors<=2", "rate<=100"]


def test_all_that_are_missed_are_told_with_what_was_measured() -> None:
    of = result(latency=spread_out(), errors={"closed": 2})
    texts = ["p99>1ms", "p50>1s", "errors>0", "rate<1k", "error_rate>10%"]
    told = [str(line) for line in missed(map(parse_threshold, texts), of)]
    assert told == ["p99>1ms: it is 1.99 ms", "errors>0: it is 2", "rate<1k: it is 100/s"]


def test_what_nothing_is_known_of_is_missed() -> None:
    of = result(latency=histogram([]), messages=0)
    told = [
        str(line) for line in missed(map(parse_threshold, ["p99>1s", "p99<1s", "errors>0"]), of)
    ]
    assert told == [
        "p99>1s: there is nothing it could be told from",
        "p99<1s: there is nothing it could be told from",
    ]
