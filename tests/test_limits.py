"""Every limit: that its declaration is whole, and what it refuses."""

from __future__ import annotations

import math
import re
import resource
from collections.abc import Callable, Iterator

import pytest

from threadwire import UsageError, limits
from threadwire.limits import LIMITS, MAX_CLIENTS, MAX_MESSAGE, OFF, WRITE_TIMEOUT, Limit

every_limit = pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)


def test_every_limit_is_listed_by_its_name() -> None:
    declared = [value for value in vars(limits).values() if isinstance(value, Limit)]
    assert list(LIMITS.values()) == declared
    assert all(name == limit.name for name, limit in LIMITS.items())
    assert len(LIMITS) == len(declared), "two limits of one name"


def test_every_limit_is_public() -> None:
    declared = {name for name, value in vars(limits).items() if isinstance(value, Limit)}
    assert declared <= set(limits.__all__)


@every_limit
def test_a_declaration_is_whole(limit: Limit) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", limit.name)
    assert re.fullmatch(r"[A-Z].*\.", limit.help), "a sentence"
    assert re.fullmatch(r"[a-z].*[^.]", limit.reason), "half a sentence"


@every_limit
def test_the_default_and_the_smallest_value_are_allowed(limit: Limit) -> None:
    assert limit.smallest <= limit.default
    assert limit.check(limit.default) == limit.default
    assert limit.check(limit.smallest) == limit.smallest


@every_limit
def test_a_smaller_value_is_refused(limit: Limit) -> None:
    with pytest.raises(UsageError, match=f"^{limit.name} must be at least {limit.smallest:g} "):
        limit.check(limit.smallest - 0.0005)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -1, 0])
def test_what_is_no_finite_amount_is_refused(value: float) -> None:
    with pytest.raises(
        UsageError, match=r"^write_timeout must be at (least 0\.001|most 1e\+09) se"
    ):
        WRITE_TIMEOUT.check(value)


@pytest.mark.parametrize("value", ["5", None, True, False, 1j, b"1", [1]])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(UsageError) as caught:
        MAX_MESSAGE.check(value)
    assert str(caught.value) == f"max_message must be a number of bytes, not {value!r}"


def test_a_limit_that_counts_takes_whole_numbers_alone() -> None:
    assert MAX_CLIENTS.check_whole(5) == 5
    whole = MAX_CLIENTS.check_whole(5.0)
    assert (whole, type(whole)) == (5, int)
    with pytest.raises(UsageError, match=r"^max_clients must be a whole number, not 5\.5$"):
        MAX_CLIENTS.check_whole(5.5)
    with pytest.raises(UsageError, match=r"^max_clients must be at least 1 items, not 0$"):
        MAX_CLIENTS.check_whole(0)


@every_limit
def test_what_counts_has_a_whole_default(limit: Limit) -> None:
    if limit.unit != "seconds" and limit.default != OFF:
        assert limit.whole == limit.default
        assert type(limit.whole) is int


@every_limit
def test_only_an_optional_one_may_be_off(limit: Limit) -> None:
    if limit.optional:
        assert limit.check(None) == limit.check(OFF) == OFF
        assert limit.unit == "seconds" or limit.check_whole(None) > 1e8
    else:
        for off in (None, OFF):
            with pytest.raises(UsageError, match=f"^{limit.name} must be "):
                limit.check(off)


@pytest.fixture
def allow_descriptors() -> Iterator[Callable[[int], None]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def allow(count: int) -> None:
        if hard != resource.RLIM_INFINITY and count > hard:
            pytest.skip(f"no more than {hard} descriptors are allowed here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))

    yield allow
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("descriptors", "clients"),
    [(64, 48), (256, 192), (1024, 960), (10_064, 10_000), (20_000, 10_000)],
)
def test_max_clients_is_by_default_what_the_descriptors_allow(
    descriptors: int, clients: int, allow_descriptors: Callable[[int], None]
) -> None:
    allow_descriptors(descriptors)
    assert limits.default_max_clients() == clients
