"""What is sent."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import threadwire
from threadwire.bench.expect import AnyReply, Echo, Reverse
from threadwire.bench.messages import Fixed, FromFile, Messages, Sizes
from threadwire.bench.requests import make_requests

FRAMINGS = st.one_of(
    st.just(threadwire.Lines()),
    st.just(threadwire.Lines(b"\r\n")),
    st.just(threadwire.Netstring()),
    st.builds(threadwire.LengthPrefixed, st.integers(2, 8)),
    st.builds(threadwire.Delimited, st.binary(min_size=1, max_size=6)),
)
LINES = threadwire.Lines()


@settings(deadline=None)
@given(FRAMINGS, st.integers(0, 300), st.integers(0, 300), st.integers())
def test_random_messages_are_carried_by_every_framing(
    framing: threadwire.Framing, low: int, more: int, seed: int
) -> None:
    made = Sizes(low, low + more, "uniform", seed)
    requests = make_requests(made, framing, Reverse())
    codec = framing.codec()
    for request in requests[:50]:
        codec.feed(request.frame)
        assert codec.next_message() == request.message
        assert request.reply is not None
        codec.feed(request.reply)
        assert codec.next_message() == request.message[::-1]
        assert low <= len(request.message) <= low + more


def test_sizes_are_spread_as_they_are_asked_for() -> None:
    def share_below(middle: int, made: Messages) -> float:
        sizes = [len(message) for message in made.make(LINES)]
        return sum(size < middle for size in sizes) / len(sizes)

    assert share_below(2080, Sizes(64, 4096)) == pytest.approx(0.5, abs=0.05)
    assert share_below(512, Sizes(64, 4096, "log")) == pytest.approx(0.5, abs=0.05)
    sizes = {len(message) for message in Sizes(1, 3, "log").make(LINES)}
    assert sizes == {1, 2, 3}


def test_they_follow_from_the_seed() -> None:
    assert Sizes(64, seed=1).make(LINES) == Sizes(64, seed=1).make(LINES)
    assert Sizes(64, seed=1).make(LINES) != Sizes(64, seed=2).make(LINES)


def test_neighbours_differ() -> None:
    made = Sizes(64).make(LINES)
    same = sum(one == other for one, other in itertools.pairwise(made))
    assert same < len(made) / 100


def test_large_messages_are_few() -> None:
    made = Sizes(8 << 20).make(LINES)
    assert [len(message) for message in made] == [8 << 20] * 4


def test_the_lines_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "messages"
    path.write_bytes(b"one\r\ntwo\n\nfour")
    made = FromFile(path)
    assert made.make(LINES) == [b"one", b"two", b"", b"four"]
    path.unlink()
    assert pickle.loads(pickle.dumps(made)).make(LINES) == made.make(LINES)


def test_a_file_that_is_of_no_use(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(threadwire.UsageError, match="no line"):
        FromFile(empty)
    with pytest.raises(threadwire.UsageError, match="no such file"):
        FromFile(tmp_path / "nothing")
    with pytest.raises(threadwire.UsageError, match="directory"):
        FromFile(tmp_path)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (Fixed(b"hello"), "one message of 5 bytes"),
        (Sizes(1), "random messages of 1 byte"),
        (Sizes(64, 4096, "log"), "random messages of 64 to 4096 bytes, log"),
    ],
)
def test_they_say_what_they_are(made: Messages, words: str) -> None:
    assert str(made) == words


def test_what_a_framing_cannot_carry_is_refused() -> None:
    with pytest.raises(threadwire.UnencodableMessage):
        make_requests(Fixed(b"a;b"), threadwire.Delimited(b";"), AnyReply())
    with pytest.raises(threadwire.UnencodableMessage):
        make_requests(Fixed(b"a"), threadwire.LengthPrefixed(2, offset=4), AnyReply())
    with pytest.raises(threadwire.UsageError, match="empty"):
        make_requests(Sizes(0), threadwire.Raw(), Echo())
    everything = threadwire.Delimited(bytes(range(256)))
    with pytest.raises(threadwire.UsageError, match="leaves no letter"):
        make_requests(Sizes(1), everything, AnyReply())


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"low": -1}, "low"),
        ({"low": 1.5}, "low"),
        ({"low": 64, "high": 63}, "high"),
        ({"high": 1 << 40}, "high"),
        ({"distribution": "normal"}, "distribution"),
        ({"seed": "1"}, "seed"),
    ],
)
def test_wrong_sizes_are_refused(arguments: dict[str, object], name: str) -> None:
    with pytest.raises(threadwire.UsageError, match=name):
        Sizes(**arguments)  # type: ignore[arg-type]


def test_a_message_must_be_bytes() -> None:
    with pytest.raises(threadwire.UsageError, match="must be bytes"):
        Fixed("hello")  # type: ignore[arg-type]
