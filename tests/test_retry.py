"""Retrying: how often, how long between, within which budget and deadline."""

from __future__ import annotations

import copy
import math
import pickle
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadwire import ConnectError, ThreadwireError, UsageError
from threadwire.retry import Budget, Retry, Retrying

from .support import PATIENCE

REFUSED = "tcp://127.0.0.1:1"

backoffs = st.floats(0.001, 1e9)


class Time:
    """A clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def retrying(retry: Retry, time: Time, pick: Callable[[float, float], float] = max) -> Retrying:
    """One whose back-offs are, unless told otherwise, as long as they may be."""
    return Retrying(retry, clock=time.clock, sleep=time.sleep, uniform=pick)


class Failing:
    """Fails so many times, then answers; counts its calls."""

    def __init__(self, failures: float = math.inf) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectError(REFUSED, f"failure {self.calls}")
        return "answer"


def always(_error: ThreadwireError) -> bool:
    return True


# The value.


def test_a_retry_is_a_value() -> None:
    retry = Retry(3, first_backoff=0.1)
    assert retry == Retry(attempts=3, first_backoff=0.1) != Retry(3)
    assert copy.copy(retry) == pickle.loads(pickle.dumps(retry)) == retry
    assert "attempts=3" in repr(retry)
    with pytest.raises(AttributeError, match="attempts"):
        retry.attempts = 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"attempts": 0}, "attempts must be at least 1"),
        ({"attempts": 1.5}, "attempts must be a whole number"),
        ({"first_backoff": 0}, "first_backoff must be at least"),
        ({"first_backoff": math.nan}, "first_backoff must be"),
        ({"max_backoff": "1s"}, "max_backoff must be a number of seconds"),
        ({"first_backoff": 3}, r"max_backoff must be at least first_backoff \(3\), not 2\.0"),
        ({"budget": -1}, "budget must be at least 0"),
        ({"reserve": 0}, "reserve must be at least 1"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Retry(**options)


# Back-off.


@given(st.tuples(backoffs, backoffs).map(sorted), st.integers(1, 10_000))
def test_the_longest_backoff_doubles_up_to_its_limit(limits: list[float], failures: int) -> None:
    first, most = limits
    retry = Retry(first_backoff=first, max_backoff=most)
    longest = retry.longest_backoff(failures)
    assert first <= longest <= most
    assert retry.longest_backoff(1) == first
    assert retry.longest_backoff(failures + 1) == min(most, 2 * longest)


@given(
    st.tuples(backoffs, backoffs).map(sorted),
    st.integers(1, 20),
    st.floats(0.0, 1e9),
    st.lists(st.floats(0, 1), min_size=20, max_size=20),
)
def test_backoffs_keep_their_bounds_and_the_deadline(
    limits: list[float], attempts: int, deadline: float, chances: list[float]
) -> None:
    chance = iter(chances)
    time, failing = Time(), Failing()
    retry = Retry(attempts, first_backoff=limits[0], max_backoff=limits[1])
    subject = retrying(retry, time, lambda least, most: least + (most - least) * next(chance))
    with pytest.raises(ConnectError) as caught:
        subject.run(failing, always, deadline)
    assert failing.calls <= attempts
    assert str(caught.value).endswith(f"failure {failing.calls}"), "the last one"
    assert len(time.slept) == failing.calls - 1
    for failures, seconds in enumerate(time.slept, 1):
        assert 0 <= seconds <= retry.longest_backoff(failures)
    assert time.now < deadline or time.now == 0


def test_backoffs_are_random_all_over_their_range() -> None:
    time = Time()
    subject = Retrying(Retry(2, reserve=1000), clock=time.clock, sleep=time.sleep)
    for _ in range(200):
        subject.run(Failing(1), always, None)
    assert all(0 <= seconds <= 0.05 for seconds in time.slept)
    # One in 2**200 runs has none of these.
    assert min(time.slept) < 0.025 < max(time.slept)


# Attempts, deadline and what is raised.


def test_what_succeeds_in_the_end_is_returned() -> None:
    time, failing = Time(), Failing(3)
    assert retrying(Retry(4), time).run(failing, always, 100) == "answer"
    assert time.slept == [0.05, 0.1, 0.2]


def test_the_last_failure_is_raised_with_the_one_before_it_and_a_reason() -> None:
    with pytest.raises(ConnectError, match="failure 4") as caught:
        retrying(Retry(4), Time()).run(Failing(), always, None)
    assert "failure 3" in str(caught.value.__cause__)
    assert caught.value.__notes__ == ["given up after 4 attempts"]


def test_a_backoff_that_would_pass_the_deadline_is_not_begun() -> None:
    time = Time()
    retry = Retry(100, first_backoff=1, max_backoff=4)
    with pytest.raises(ConnectError) as caught:
        retrying(retry, time).run(Failing(), always, 11)
    assert time.slept == [1, 2, 4], "and another 4 would end at 11"
    assert caught.value.__notes__ == ["given up after attempt 4: no time is left for another"]


def test_what_may_not_be_retried_is_raised_at_once() -> None:
    time, failing = Time(), Failing()
    with pytest.raises(ConnectError) as caught:
        retrying(Retry(), time).run(failing, lambda _error: False, None)
    assert failing.calls == 1
    assert time.slept == []
    assert not hasattr(caught.value, "__notes__")


def test_a_cause_is_kept() -> None:
    def fail() -> None:
        raise ConnectError(REFUSED, "again") from OSError("the system's reason")

    with pytest.raises(ConnectError) as caught:
        retrying(Retry(2), Time()).run(fail, always, None)
    assert str(caught.value.__cause__) == "the system's reason"


# The budget.


@given(st.integers(0, 300), st.integers(1, 50), st.lists(st.integers(0, 12), max_size=60))
def test_retries_stay_within_the_budget(budget: int, reserve: int, wanted: list[int]) -> None:
    """However many each request would like: never more than saved, never less than possible."""
    tokens = Budget(Retry(budget=budget, reserve=reserve))
    made, saved = 0, reserve * 100
    for requests, retries in enumerate(wanted, 1):
        tokens.earn()
        saved = min(reserve * 100, saved + budget)
        for _ in range(retries):
            assert tokens.spend() is (saved >= 100)
            if saved >= 100:
                saved -= 100
                made += 1
        assert made * 100 <= reserve * 100 + budget * requests


def test_an_outage_is_not_multiplied() -> None:
    time, failing = Time(), Failing()
    subject = retrying(Retry(10, budget=20, reserve=5), time)
    for _ in range(1000):
        with pytest.raises(ConnectError):
            subject.run(failing, always, None)
    assert 1000 < failing.calls <= 1000 + 5 + 200


def test_a_budget_that_is_used_up_stops_retrying() -> None:
    subject = retrying(Retry(3, budget=0, reserve=3), Time())
    calls = []
    for _ in range(3):
        failing = Failing()
        with pytest.raises(ConnectError) as caught:
            subject.run(failing, always, None)
        calls.append(failing.calls)
    assert calls == [3, 2, 1]
    assert caught.value.__notes__ == ["given up after attempt 1: the retry budget is used up"]


def test_threads_share_the_budget() -> None:
    budget = Budget(Retry(budget=10, reserve=1000))
    spent: list[int] = []

    def use() -> None:
        for _ in range(1000):
            budget.earn()
        spent.append(sum(budget.spend() for _ in range(1000)))

    for _ in range(1000):
        assert budget.spend()
    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    left = sum(budget.spend() for _ in range(1000))
    assert sum(spent) + left == 800, "8,000 requests, a tenth of a retry each"
