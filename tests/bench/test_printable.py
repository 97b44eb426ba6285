"""Text from elsewhere, made fit to be shown and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadwire.bench.printable import printable
from threadwire.bench.records import Records
from threadwire.bench.results import ERROR_KINDS

ANY = st.text(st.characters(exclude_categories=()), max_size=30)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ('plain: "text" \\d+ é µ', 'plain: "text" \\d+ é µ'),
        ("\x1b[2J\r\n\t\x00\x9b", "\\x1b[2J\\r\\n\\t\\x00\\x9b"),
        ("regex:[^\udcff]*", "regex:[^\\xff]*"),
        ("\ud800\u202e", "\\ud800\\u202e"),
    ],
)
def test_what_is_not_to_be_seen_is_spelled_out(text: str, told: str) -> None:
    assert printable(text) == told


@given(ANY, st.none() | st.integers(1, 40))
def test_it_can_be_shown_and_written_and_is_done_once(text: str, most: int | None) -> None:
    told = printable(text, most)
    assert told.isprintable()
    told.encode()
    assert printable(told, most) == told
    assert most is None or len(told) <= most + 1


def test_a_long_one_is_shortened() -> None:
    assert printable("x" * 5, 5) == "xxxxx"
    assert printable("x" * 6, 5) == "xxxxx…"
    assert printable("xxx\x1b", 5) == "xxx\\x…"


@pytest.mark.parametrize("kind", sorted(ERROR_KINDS))
def test_examples_of_every_kind_are_fit_to_be_shown(kind: str) -> None:
    records = Records()
    records.error(kind, "\x1b[31m" + "x" * 10**6)
    records.error(kind, "another", 2)
    noted = records.take("measuring", 0, 1.0, 1).errors[kind]
    assert noted.count == 3
    assert noted.example.startswith("\\x1b[31mxxx")
    assert len(noted.example) <= 1001


def test_an_error_of_a_kind_that_is_none_cannot_be_counted() -> None:
    with pytest.raises(ValueError, match="'timeouts' is no kind of error"):
        Records().error("timeouts", "an example")
