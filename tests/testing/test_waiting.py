"""Waiting for a state that nothing announces."""

from __future__ import annotations

import pytest

from threadwire.testing import eventually


def test_it_asks_until_it_is_so() -> None:
    answers = iter([False, None, 0, "yes"])
    eventually(lambda: next(answers))
    assert list(answers) == []


def test_it_does_not_wait_for_ever() -> None:
    with pytest.raises(AssertionError, match=r"^not within 0.02 s: the cows come home$"):
        eventually(lambda: False, "the cows come home", timeout=0.02)


def test_what_is_so_already_is_not_waited_for() -> None:
    eventually(lambda: True, timeout=0)
