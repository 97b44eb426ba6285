"""Framings as --framing takes them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadwire import (
    Auto,
    Delimited,
    Framing,
    LengthPrefixed,
    Lines,
    Netstring,
    Raw,
    UsageError,
    parse_framing,
)
from threadwire.framing import SPEC_HELP


@pytest.mark.parametrize(
    ("spec", "framing"),
    [
        ("auto", Auto()),
        ("lines", Lines()),
        ("lines:lf", Lines()),
        ("lines:crlf", Lines(newline=b"\r\n")),
        ("raw", Raw()),
        ("netstring", Netstring()),
        (r"delimited:\x03", Delimited(b"\x03")),
        (r"delimited:\xfF\x00", Delimited(b"\xff\0")),
        (r"delimited:\r\n.\r\n", Delimited(b"\r\n.\r\n")),
        (r"delimited:\t\0", Delimited(b"\t\0")),
        (r"delimited:\\x03", Delimited(rb"\x03")),
        (r"delimited:\'\"", Delimited(b"'\"")),
        ("delimited:--", Delimited(b"--")),
        ("delimited::", Delimited(b":")),
        ("delimited:a:b", Delimited(b"a:b")),
        ("delimited: ", Delimited(b" ")),
        ("delimited:é", Delimited("é".encode())),
        ("length:4", LengthPrefixed(4)),
        ("length:4:big", LengthPrefixed(4)),
        ("length:2:little", LengthPrefixed(2, "little")),
        ("length:2:offset=2:inclusive", LengthPrefixed(2, offset=2, inclusive=True)),
        ("length:2:big:offset=16:inclusive", LengthPrefixed(2, "big", 16, True)),
        ("length:8:inclusive:offset=1:little", LengthPrefixed(8, "little", 1, True)),
        ("length:1:offset=0", LengthPrefixed(1)),
    ],
)
def test_parsing(spec: str, framing: Framing) -> None:
    assert parse_framing(spec) == framing


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "line",
        "Lines",
        " lines",
        "lines:",
        "lines:cr",
        "auto:1",
        "raw:4",
        "netstring:",
        "delimited",
        "delimited:",
        "length",
        "length:",
        "https://example.org",
    ],
)
def test_an_unknown_framing_is_answered_with_those_known(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_framing(spec)
    assert repr(spec) in str(caught.value)
    assert SPEC_HELP in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("length:four", "SIZE must be a whole number, not 'four'"),
        ("length:-4", "SIZE must be a whole number, not '-4'"),
        ("length:4.0", "SIZE must be a whole number, not '4.0'"),
        ("length: 4", "SIZE must be a whole number, not ' 4'"),
        ("length:٤", "SIZE must be a whole number, not '٤'"),
        ("length:²", "SIZE must be a whole number, not '²'"),
        ("length:0", "size must be 1 to 8 bytes, not 0"),
        ("length:9", "size must be 1 to 8 bytes, not 9"),
        ("length:4:middle", "'middle' is not one of big, little, offset=N, inclusive"),
        ("length:4:", "'' is not one of"),
        ("length:4:big:little", "'little' says again what was said before it"),
        ("length:4:big:big", "'big' says again"),
        ("length:4:offset=1:offset=2", "'offset=2' says again"),
        ("length:4:inclusive:inclusive", "'inclusive' says again"),
        ("length:4:offset", "'offset' is not one of"),
        ("length:4:offset=", "offset must be a whole number, not ''"),
        ("length:4:offset=-1", "offset must be a whole number, not '-1'"),
        ("length:4:offset=two", "offset must be a whole number, not 'two'"),
        ("delimited:\\", "unknown escape '\\\\'"),
        (r"delimited:\x", r"unknown escape '\\x'"),
        (r"delimited:\x4", r"unknown escape '\\x'"),
        (r"delimited:\xgg", r"unknown escape '\\x'"),
        (r"delimited:\u0041", r"unknown escape '\\u'"),
        (r"delimited:\101", r"unknown escape '\\1'"),
        (r"delimited:ok\q", r"unknown escape '\\q'"),
    ],
)
def test_a_wrong_part_is_named(spec: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_framing(spec)
    assert problem in str(caught.value)


@pytest.mark.parametrize("spec", [None, 4, b"lines", Lines()])
def test_a_spec_is_text(spec: Any) -> None:
    with pytest.raises(UsageError, match="is a string, not "):
        parse_framing(spec)


@pytest.mark.parametrize(
    ("framing", "spec"),
    [
        (Auto(), "auto"),
        (Lines(), "lines"),
        (Lines(newline=b"\r\n"), "lines:crlf"),
        (Raw(), "raw"),
        (Netstring(), "netstring"),
        (Delimited(b"\x03"), r"delimited:\x03"),
        (Delimited(b"\r\n"), r"delimited:\r\n"),
        (Delimited(b"--"), "delimited:--"),
        (LengthPrefixed(), "length:4:big"),
        (LengthPrefixed(2, "little", 2, True), "length:2:little:offset=2:inclusive"),
    ],
)
def test_writing(framing: Framing, spec: str) -> None:
    assert str(framing) == spec


framings: st.SearchStrategy[Framing] = st.one_of(
    st.sampled_from([Auto(), Lines(), Lines(newline=b"\r\n"), Raw(), Netstring()]),
    st.binary(min_size=1, max_size=8).map(Delimited),
    st.text("'\"\\x0nrt:\n", min_size=1, max_size=8).map(lambda text: Delimited(text.encode())),
    st.builds(
        LengthPrefixed,
        st.integers(1, 8),
        st.sampled_from(["big", "little"]),
        st.integers(0, 1000),
        st.booleans(),
    ),
)


@settings(deadline=None)
@given(framings)
def test_what_is_written_can_be_parsed(framing: Framing) -> None:
    assert parse_framing(str(framing)) == framing


@settings(deadline=None)
@given(st.text() | st.from_regex(r"(delimited|length|lines):[\\x0-9a-z:=]*", fullmatch=True))
def test_any_other_text_is_a_usage_error(text: str) -> None:
    try:
        framing = parse_framing(text)
    except UsageError:
        return
    assert parse_framing(str(framing)) == framing


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param("delimited:\udcff", id="bytes of the command line that are not UTF-8"),
        pytest.param("length:" + "1" * 5000, id="more digits than int() takes"),
    ],
)
def test_what_python_refuses_is_a_usage_error_too(spec: str) -> None:
    with pytest.raises(UsageError):
        parse_framing(spec)
