"""What a right reply is."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import threadwire
from threadwire.bench.expect import (
    AnyReply,
    Check,
    Echo,
    Expectation,
    Matches,
    Reverse,
    differs,
    parse_expectation,
)


@settings(deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_a_reply_that_is_known_is_right_or_told_of(message: bytes, reply: bytes) -> None:
    for expect in (Echo(), Reverse()):
        assert expect.problem(message, expect.exactly(message)) == ""
        assert (expect.problem(message, reply) == "") == (reply == expect.exactly(message))
    assert AnyReply().problem(message, reply) == ""
    assert AnyReply().exactly(message) is None


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=300), st.binary(max_size=300))
def test_what_differs_is_told_in_few_words(expected: bytes, reply: bytes) -> None:
    assert len(differs(expected, reply)) < 700


def test_a_difference_is_shown_where_it_is() -> None:
    assert differs(b"abc", b"abd") == "expected b'abc', got b'abd'"
    long, other = b"a" * 100 + b"bc", b"a" * 100 + b"bd"
    assert differs(long, other).startswith("at byte 101 of 102: expected b'aaaaaaab")
    assert differs(b"a" * 100, b"a" * 90) == "expected 100 bytes, got 90 of them"
    assert differs(b"a" * 90, b"a" * 100) == "expected 90 bytes, got 100 of them and more"


def test_a_pattern_is_for_the_whole_reply() -> None:
    expect = Matches(rb"ok \d+")
    assert expect.problem(b"", b"ok 12") == ""
    assert "b'ok 12!' does not match" in expect.problem(b"", b"ok 12!")
    assert expect.problem(b"", b"so ok 12")
    assert Matches(b".*").problem(b"", b"two\nlines") == ""


def test_a_function_says_what_is_right() -> None:
    expect = Check("tests.bench.services:is_reversed")
    assert expect.problem(b"abc", b"cba") == ""
    assert "refuses b'abc'" in expect.problem(b"abc", b"abc")
    expect = Check("tests.bench.services:is_never_right")
    assert "ValueError: nothing is good enough" in expect.problem(b"", b"")


@pytest.mark.parametrize(
    ("text", "expect"),
    [
        ("reverse", Reverse()),
        ("echo", Echo()),
        ("any", AnyReply()),
        ("regex:a:b", Matches(b"a:b")),
        ("regex:", Matches(b"")),
        ("operator:eq", Check("operator:eq")),
    ],
)
def test_they_are_named(text: str, expect: Expectation) -> None:
    assert parse_expectation(text) == expect
    assert str(expect) == text
    assert pickle.loads(pickle.dumps(expect)) == expect


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not known"),
        ("revers", "not known"),
        (":eq", "not known"),
        ("operator:", "not known"),
        ("regex:(", "not a regular expression"),
        ("no_such_module:f", "ModuleNotFoundError"),
        ("operator:no_such_function", "AttributeError"),
        ("tests.bench.services:NOT_A_FUNCTION", "not a function"),
    ],
)
def test_what_is_none_is_refused(text: str, problem: str) -> None:
    with pytest.raises(threadwire.UsageError, match=problem):
        parse_expectation(text)
