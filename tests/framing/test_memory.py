"""What decoding costs in memory: a small multiple of one message, and nothing that grows."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from threadwire import Auto, Delimited, Framing, LengthPrefixed, Lines, Netstring, Raw

from .support import in_pieces, take

MIB = 1 << 20
LARGE = 8 * MIB
PIECE = 1024

FRAMINGS: list[Framing] = [
    Lines(),
    Delimited(b"--end--"),
    LengthPrefixed(),
    LengthPrefixed(offset=16),
    Netstring(),
    Auto(),
]
framings = pytest.mark.parametrize("framing", FRAMINGS, ids=str)


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """The most bytes that were allocated at once since it was last asked."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]

    def ask() -> int:
        most = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.reset_peak()
        return most

    yield ask
    tracemalloc.stop()


@framings
def test_a_large_message_in_small_pieces_takes_a_few_times_its_size(
    framing: Framing, peak: Callable[[], int]
) -> None:
    codec = framing.codec(LARGE)
    pieces = in_pieces(PIECE)(codec.encode(b"x" * LARGE))
    peak()
    before = sum(map(len, pieces))
    message = None
    for piece in pieces:
        codec.feed(piece)
        message = codec.next_message()
    assert message is not None
    assert len(message) == LARGE
    assert peak() - before < 3.5 * LARGE


@framings
def test_a_large_message_in_one_piece_is_copied_once(
    framing: Framing, peak: Callable[[], int]
) -> None:
    codec = framing.codec(LARGE)
    wire = codec.encode(b"x" * LARGE)
    peak()
    codec.feed(wire)
    message = codec.next_message()
    assert message is not None
    assert len(message) == LARGE
    bounds: dict[Framing, int] = {LengthPrefixed(offset=16): 2}  # a copy more to take the field out
    assert peak() - len(wire) < (bounds.get(framing, 1) + 0.1) * LARGE


@pytest.mark.parametrize("framing", [*FRAMINGS, Raw()], ids=str)
@pytest.mark.parametrize("size", [1, 100, 3000])
def test_a_stream_of_many_messages_leaves_no_growth(
    framing: Framing, size: int, peak: Callable[[], int]
) -> None:
    codec = framing.codec(LARGE)
    wire = codec.encode(b"x" * max(size, 16)) * 700
    pieces = in_pieces(PIECE)(wire)

    def run() -> None:
        for piece in pieces:
            codec.feed(piece)
            for _ in take(codec):
                pass

    run()
    peak()
    run()
    first = peak()
    for _ in range(10):
        run()
    assert peak() <= first + PIECE
    assert codec.unread == 0


@framings
def test_nor_does_a_stream_that_is_never_without_a_begun_message(
    framing: Framing, peak: Callable[[], int]
) -> None:
    codec = framing.codec(LARGE)
    frame = codec.encode(b"x" * 100)
    chunk = (frame[1:] + frame[:1]) * 40
    codec.feed(frame[:1])

    def run() -> None:
        for _ in range(10):
            codec.feed(chunk)
            for _ in take(codec):
                pass
            assert codec.unread == 1

    run()
    peak()
    run()
    first = peak()
    for _ in range(50):
        run()
    assert peak() <= first + 2 * len(chunk)


@pytest.mark.parametrize("framing", [*FRAMINGS, Raw()], ids=str)
@pytest.mark.parametrize("pieces", [1, 1000], ids=["whole", "in pieces"])
def test_when_all_messages_are_taken_their_bytes_are_let_go_of(
    framing: Framing, pieces: int, peak: Callable[[], int]
) -> None:
    codec = framing.codec(LARGE)
    wire = codec.encode(b"x" * MIB)
    for piece in in_pieces(-(-len(wire) // pieces))(wire):
        codec.feed(piece)
        codec.next_message()
    assert codec.next_message() is None
    assert codec.unread == 0
    del wire, piece
    peak()
    assert peak() < MIB // 4


@framings
@pytest.mark.parametrize("pieces", [1, 1000], ids=["whole", "in pieces"])
def test_nor_are_they_held_by_a_message_that_has_only_begun(
    framing: Framing, pieces: int, peak: Callable[[], int]
) -> None:
    codec = framing.codec(LARGE)
    wire = codec.encode(b"x" * MIB)
    stream = wire + wire[:3]
    for piece in in_pieces(-(-len(stream) // pieces))(stream):
        codec.feed(piece)
        assert all(take(codec))
    assert codec.unread == 3
    del wire, stream, piece
    peak()
    assert peak() < MIB // 4


@framings
def test_messages_taken_at_once_leave_nothing_behind(
    framing: Framing, peak: Callable[[], int]
) -> None:
    codec = framing.codec(LARGE)
    wire = codec.encode(b"x" * MIB)
    if codec.only_message(wire) is None:
        assert framing == Auto()
    assert len(codec.messages(wire + wire + wire[:3])) == 2
    assert codec.unread == 3
    del wire
    peak()
    assert peak() < MIB // 4


@pytest.mark.parametrize("framing", [*FRAMINGS, Raw()], ids=str)
def test_an_idle_codec_is_small(framing: Framing, peak: Callable[[], int]) -> None:
    wire = framing.codec().encode(b"x" * 1000)
    codecs = [framing.codec() for _ in range(1000)]
    for codec in codecs:
        codec.feed(wire)
        assert sum(map(len, take(codec))) >= 1000
    gc.collect()
    peak()
    assert peak() < 1000 * 256
