"""Server-sent events: read the same, however the bytes come."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadwire.top.sse import Event, EventDecoder, EventTooLarge


def decode(*pieces: bytes, limit: int = 1000) -> list[Event]:
    decoder = EventDecoder(limit)
    found = []
    for piece in pieces:
        decoder.feed(piece)
        while (event := decoder.next_event()) is not None:
            found.append(event)
    return found


# The streams of the HTML standard's section on it are among these.
CASES = [
    (b"", []),
    (b"data: a\n\n", [("message", "a")]),
    (b"data: a\ndata: b\n\n", [("message", "a\nb")]),
    (b"data: a\n", []),
    (b"data:a\r\n\r\n", [("message", "a")]),
    (b"data:a\r\r", [("message", "a")]),
    (b"data:a\r\n\ndata:b\n\r\n", [("message", "a"), ("message", "b")]),
    (b"data:  a\n\n", [("message", " a")]),
    (b"data\n\n", [("message", "")]),
    (b"data\n\ndata\ndata\n\ndata:", [("message", ""), ("message", "\n")]),
    (b"event: snapshot\ndata: a\n\n", [("snapshot", "a")]),
    (b"data: a\nevent: snapshot\n\ndata: b\n\n", [("snapshot", "a"), ("message", "b")]),
    (b"event: snapshot\n\ndata: b\n\n", [("message", "b")]),
    (b": only a comment\n\n", []),
    (b": a\nid: 7\nretry: 10\nunknown: x\ndata: a\n\n", [("message", "a")]),
    (b"\xef\xbb\xbfdata: a\n\n", [("message", "a")]),
    (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [("message", "a")]),
    (b"data: \xff\xc3\xa4\n\n", [("message", "�ä")]),
    (b"\n\n\n", []),
]


@pytest.mark.parametrize(("stream", "events"), CASES)
def test_a_stream_has_its_events(stream: bytes, events: list[tuple[str, str]]) -> None:
    wanted = [Event(*event) for event in events]
    assert decode(stream) == wanted
    assert decode(*(stream[n : n + 1] for n in range(len(stream)))) == wanted


LINES = st.lists(
    st.sampled_from([b"data: a", b"data:b", b"event: e", b":c", b"", b"id", b"\xef\xbb\xbf"])
    | st.binary(max_size=5)
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(LINES, ENDS, st.lists(st.integers(0, 60)))
def test_it_does_not_matter_where_the_stream_is_cut(
    lines: list[bytes], end: bytes, cuts: list[int]
) -> None:
    stream = b"".join(line + end for line in lines)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(places)]
    assert decode(*pieces) == decode(stream)


@pytest.mark.parametrize(
    "stream", [b"x" * 101, b"data: " + b"x" * 100, b"data: x\n" * 20, b"data\n" * 30]
)
def test_an_event_that_does_not_end_is_not_kept(stream: bytes) -> None:
    with pytest.raises(EventTooLarge, match="more than 100 bytes"):
        decode(*(stream[n : n + 7] for n in range(0, len(stream), 7)), limit=100)


def test_the_limit_is_for_one_event() -> None:
    assert len(decode(b"data: abcdef\n\n" * 100, limit=20)) == 100
    assert decode(b": still here\n" * 100 + b"data: a\n\n", limit=20) == [Event("message", "a")]
