"""Durations and sizes, read and written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadwire import UsageError
from threadwire.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("2", 2),
        ("2.5", 2.5),
        (".5", 0.5),
        ("3.", 3),
        ("2s", 2),
        ("500ms", 0.5),
        ("250us", 0.00025),
        ("1m", 60),
        ("1.5min", 90),
        ("2h", 7200),
        (" 10 s ", 10),
        ("007", 7),
    ],
)
def test_parsing_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "-1",
        "+1",
        "1e3",
        "1 s s",
        "1,5s",
        "2S",
        "1M",
        "1d",
        "inf",
        "nan",
        ".",
        "٣",
        "1_0",
    ],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration; write 500ms") as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("1kB", 1000),
        ("1KB", 1000),
        ("64KiB", 65536),
        ("64 kib", 65536),
        ("1MB", 1_000_000),
        ("1MiB", 1 << 20),
        ("1GB", 10**9),
        ("2GiB", 2 << 30),
        ("1.5KiB", 1536),
        (".5kB", 500),
        ("1.0", 1),
        ("9007199254740993", 9007199254740993),  # more than a float can tell apart
        ("1.001kB", 1001),
    ],
)
def test_parsing_sizes(text: str, size: int) -> None:
    parsed = parse_size(text)
    assert parsed == size
    assert type(parsed) is int


@pytest.mark.parametrize(
    "text", ["", "KiB", "-1", "+1KiB", "1e3", "1 KiB 2", "1TiB", "1K", "1kbit", "inf", "٣", "0x10"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size; write 64KiB") as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["0.5", "0.1KiB", "1.5B", "1.0001kB"])
def test_half_a_byte_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is not a whole number of bytes"):
        parse_size(text)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        pytest.param(parse_duration, "9" * 400, id="more seconds than a float holds"),
        pytest.param(parse_size, "9" * 400 + ".5", id="more bytes than a float holds"),
        pytest.param(parse_size, "9" * 5000, id="more digits than int() takes"),
    ],
)
def test_numbers_beyond_reason_are_usage_errors(parse: Callable[[str], float], text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 µs"),
        (0.00025, "250 µs"),
        (0.000999, "999 µs"),
        (0.001, "1 ms"),
        (0.0123, "12.3 ms"),
        (0.25, "250 ms"),
        (0.999, "999 ms"),
        (1, "1 s"),
        (2.5, "2.5 s"),
        (59, "59 s"),
        (60, "1 m 0 s"),
        (185.9, "3 m 5 s"),
        (3599, "59 m 59 s"),
        (3600, "1 h 0 m"),
        (7530, "2 h 5 m"),
        (360_000, "100 h 0 m"),
    ],
)
def test_writing_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [0.9996, 0.9999, 0.99999])
def test_durations_are_never_written_with_an_exponent(seconds: float) -> None:
    assert "e" not in format_duration(seconds)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (45, "45 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (65536, "64 KiB"),
        (1536, "1.5 KiB"),
        (1 << 20, "1 MiB"),
        (3 << 19, "1.5 MiB"),
        (1 << 30, "1 GiB"),
        (2000 << 30, "2000 GiB"),
    ],
)
def test_writing_sizes(size: int, text: str) -> None:
    assert format_size(size) == text


def test_sizes_are_never_written_with_an_exponent() -> None:
    assert format_size(10_000 << 30) == "10000 GiB"


@settings(deadline=None)
@given(st.integers(0, 1023), st.sampled_from([1, 1 << 10, 1 << 20]))
def test_a_size_that_is_written_can_be_read(number: int, factor: int) -> None:
    assert parse_size(format_size(number * factor)) == number * factor


@settings(deadline=None)
@given(
    st.text(max_size=20) | st.from_regex(r"[0-9]{0,4}\.?[0-9]{0,4} ?[a-zA-Zµ]{0,3}", fullmatch=True)
)
def test_any_text_is_a_number_or_a_usage_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        with contextlib.suppress(UsageError):
            assert parse(text) >= 0


@given(st.integers(0, 1000 << 30))
def test_a_size_is_shown_with_four_digits_at_most(size: int) -> None:
    number, unit = format_size(size).split()
    assert len(number.replace(".", "").strip("0")) <= 4
    factor = parse_size(f"1{unit}")
    assert float(number) * factor == pytest.approx(size, rel=0.0006)
