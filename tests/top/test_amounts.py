"""Numbers in few characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadwire.top import amounts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0s"),
        (-1, "0s"),
        (0.00025, "250µs"),
        (0.0009994, "999µs"),
        (0.0009996, "1.00ms"),
        (0.0123, "12.3ms"),
        (0.5, "500ms"),
        (0.9994, "999ms"),
        (0.9996, "1.00s"),
        (59.9, "59.9s"),
        (59.96, "1m00s"),
        (60, "1m00s"),
        (185, "3m05s"),
        (3599.9, "59m59s"),
        (3600, "1h00m"),
        (7500, "2h05m"),
        (86399, "23h59m"),
        (5 * 86400 + 3 * 3600, "5d03h"),
        (400 * 86400, "400d"),
        (1e15, ">99999d"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert amounts.duration(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0B"),
        (45, "45B"),
        (1023, "1.00KiB"),
        (65536, "64.0KiB"),
        (1_500_000, "1.43MiB"),
        (999 << 20, "999MiB"),
        (1 << 70, ">999PiB"),
    ],
)
def test_sizes(amount: float, text: str) -> None:
    assert amounts.size(amount) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (99_999, "99999"), (123_456, "123k"), (1_234_567, "1.23M")]
)
def test_counts(number: float, text: str) -> None:
    assert amounts.count(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "-"),
        (0, "0"),
        (0.5, "0.5"),
        (9.96, "10.0"),
        (12.34, "12.3"),
        (99.96, "100"),
        (999, "999"),
        (1234, "1.23k"),
        (1.5e6, "1.50M"),
    ],
)
def test_rates(number: float | None, text: str) -> None:
    assert amounts.rate(number) == text


@given(st.floats(0, 2**80))
def test_none_is_wider_than_its_column(number: float) -> None:
    for form in (amounts.duration, amounts.size, amounts.count, amounts.rate):
        assert 1 <= len(form(number)) <= 7
