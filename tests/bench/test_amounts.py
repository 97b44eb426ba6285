"""Counts, rates, sizes and percentages: what is read, what is refused, what is shown."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import threadwire
from threadwire.bench import amounts

PARSERS: list[Callable[[str], object]] = [
    amounts.parse_count,
    amounts.parse_rate,
    amounts.parse_share,
    amounts.parse_sizes,
]


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("5000", 5000), ("5,000", 5000), ("20k", 20_000), ("1.5M", 1_500_000), ("2K", 2000)],
)
def test_counts(text: str, count: int) -> None:
    assert amounts.parse_count(text) == count
    assert amounts.parse_rate(text) == count


@pytest.mark.parametrize(
    "text", ["", "k", "1.5", "-1", "1e3", "5,00", "5,0000", "1 0", "20kk", "x"]
)
def test_no_counts(text: str) -> None:
    with pytest.raises(threadwire.UsageError, match="whole number; write 5000, 20k or 1M"):
        amounts.parse_count(text)


@pytest.mark.parametrize(
    ("text", "rate"), [("0.5", 0.5), ("20k/s", 20_000.0), (" 1.5k /s", 1500.0), (".25", 0.25)]
)
def test_rates(text: str, rate: float) -> None:
    assert amounts.parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "/s", "-5", "5/m", "nan", "inf", "9" * 400])
def test_no_rates(text: str) -> None:
    with pytest.raises(threadwire.UsageError, match="not a number a second"):
        amounts.parse_rate(text)


@given(st.integers(0, 10**12))
def test_a_count_is_read_however_it_is_written(number: int) -> None:
    assert amounts.parse_count(str(number)) == number
    assert amounts.parse_count(f"{number:,}") == number
    assert amounts.parse_count(f"{number}k") == number * 1000
    assert amounts.parse_rate(f"{number}k/s") == number * 1000


@pytest.mark.parametrize(
    ("text", "share"), [("1%", 0.01), ("0.1 %", 0.001), ("100%", 1.0), ("0", 0.0), ("0.0", 0.0)]
)
def test_shares(text: str, share: float) -> None:
    assert amounts.parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["1", "0.01", "%", "-1%", "1%%", ""])
def test_a_share_without_its_sign_is_refused(text: str) -> None:
    with pytest.raises(threadwire.UsageError, match=r"not a percentage; write 1% or 0\.1%"):
        amounts.parse_share(text)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("64", (64, 64)),
        ("0", (0, 0)),
        ("64..4096", (64, 4096)),
        ("64..4KiB", (64, 4096)),
        ("1kB..1MB", (1000, 1_000_000)),
        ("64 .. 64", (64, 64)),
    ],
)
def test_sizes(text: str, sizes: tuple[int, int]) -> None:
    assert amounts.parse_sizes(text) == sizes


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("4KiB..64", "the lesser size comes first"),
        ("5..4", "the lesser size comes first"),
        ("..", "write 64, 1KiB or 64..4KiB"),
        ("64..", "write 64, 1KiB or 64..4KiB"),
        ("..64", "write 64, 1KiB or 64..4KiB"),
        ("64-4096", "write 64, 1KiB or 64..4KiB"),
        ("1..2..3", "write 64, 1KiB or 64..4KiB"),
    ],
)
def test_no_sizes(text: str, problem: str) -> None:
    with pytest.raises(threadwire.UsageError, match=problem) as caught:
        amounts.parse_sizes(text)
    assert repr(text) in str(caught.value)


@given(st.text(max_size=12) | st.from_regex(r"[0-9.,]{1,6} ?[kKM%/s.]{0,3}", fullmatch=True))
def test_whatever_is_written_it_is_read_or_refused(text: str) -> None:
    for parse in PARSERS:
        try:
            found = parse(text)
        except threadwire.UsageError:
            continue
        values = found if isinstance(found, tuple) else (found,)
        assert all(isinstance(value, int | float) and 0 <= value < math.inf for value in values)


@pytest.mark.parametrize(
    ("rate", "words"),
    [(0, "0"), (0.25, "0.25"), (99.5, "99.5"), (99.96, "100"), (148_210.4, "148,210"), (None, "-")],
)
def test_rates_in_words(rate: float | None, words: str) -> None:
    assert amounts.rate_words(rate) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0 %"),
        (0.000012, "0.0012 %"),
        (0.125, "12.5 %"),
        (0.99999, "100 %"),
        (0.9996, "99.96 %"),
        (1.0, "100 %"),
        (None, "-"),
    ],
)
def test_shares_in_words(share: float | None, words: str) -> None:
    assert amounts.share_words(share) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B/s"),
        (950, "950 B/s"),
        (65_740, "64.2 KiB/s"),
        (1_300_000, "1.24 MiB/s"),
        (8_423_211, "8.03 MiB/s"),
        (5 * 2**30, "5 GiB/s"),
    ],
)
def test_traffic_in_words(size: float, words: str) -> None:
    assert amounts.traffic_words(size) == words


def test_durations_and_ratios_in_words() -> None:
    assert amounts.duration_words(0.000412) == "412 µs"
    assert amounts.duration_words(None) == amounts.ratio_words(None) == amounts.NOTHING
    assert amounts.ratio_words(1.066) == "1.07x"
    assert amounts.ratio_words(1111.0) == "1,111x"
