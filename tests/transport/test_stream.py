"""Stream: reads, writes, deadlines and being woken, on real socket pairs."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from threadwire import TimeLimitError
from threadwire.transport import Stream

from ..support import PATIENCE, eventually


def fill(stream: Stream) -> int:
    """Write until there is no more room."""
    sent = 0
    while now := stream.write_nowait(b"x" * 65536):
        sent += now
    return sent


def test_reading(pair: tuple[Stream, socket.socket]) -> None:
    stream, peer = pair
    assert stream.read_nowait() is None
    assert stream.read_within(0) is None
    peer.sendall(b"abcdef")
    assert stream.readable_bytes() == 6
    assert stream.read(2) == b"ab"
    assert stream.read_nowait(2) == b"cd"
    assert stream.read_within(PATIENCE) == b"ef"
    peer.shutdown(socket.SHUT_WR)
    assert stream.read() == stream.read_nowait() == stream.read_within(PATIENCE) == b""


def test_a_large_write_goes_out_whole_though_the_system_takes_it_in_parts(
    pair: tuple[Stream, socket.socket],
) -> None:
    stream, peer = pair
    data = os.urandom(5_000_000)
    writer = threading.Thread(target=stream.write, args=(data, PATIENCE))
    writer.start()
    got = bytearray()
    while len(got) < len(data):
        got += peer.recv(65536)
    writer.join(PATIENCE)
    assert bytes(got) == data


def test_a_write_without_any_progress_times_out(pair: tuple[Stream, socket.socket]) -> None:
    stream, _ = pair
    with pytest.raises(TimeLimitError, match=r"room for a reply within 0\.05 s"):
        stream.write(b"x" * 5_000_000, 0.05)


@pytest.mark.parametrize("timeout", [PATIENCE, None])
def test_shutdown_wakes_a_writer(pair: tuple[Stream, socket.socket], timeout: float | None) -> None:
    stream, _ = pair
    fill(stream)
    errors: list[BaseException] = []

    def write() -> None:
        try:
            stream.write(b"more", timeout)
        except OSError as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    stream.shutdown()
    writer.join(PATIENCE)
    assert len(errors) == 1


@pytest.mark.parametrize("how", ["shutdown_read", "shutdown"])
def test_shutdown_wakes_a_reader(pair: tuple[Stream, socket.socket], how: str) -> None:
    stream, _ = pair
    got: list[bytes | None] = []
    reader = threading.Thread(target=lambda: got.append(stream.read()))
    reader.start()
    getattr(stream, how)()
    reader.join(PATIENCE)
    assert got == [b""]


def test_shutting_down_twice_and_closing_twice_is_fine(pair: tuple[Stream, socket.socket]) -> None:
    stream, peer = pair
    peer.close()
    for _ in range(2):
        stream.shutdown_write()
        stream.shutdown()
        stream.close()
    assert stream.fileno() == -1


def test_discarding_ends_with_the_stream_the_bytes_or_the_time(
    pair: tuple[Stream, socket.socket],
) -> None:
    stream, peer = pair
    peer.sendall(b"x" * 100_000)
    stream.discard(70_000, PATIENCE)
    assert 0 < stream.readable_bytes() < 100_000
    stream.discard(1 << 20, 0.01)
    assert stream.readable_bytes() == 0
    peer.sendall(b"rest")
    peer.close()
    stream.discard(1 << 20, PATIENCE)


def test_waiting_for_a_wake_descriptor(pair: tuple[Stream, socket.socket]) -> None:
    stream, peer = pair
    reader, writer = os.pipe()
    try:
        os.write(writer, b"\0")
        assert stream.wait(PATIENCE, readable=True, wake=reader) == (False, False)
        peer.sendall(b"x")
        assert stream.wait(PATIENCE, readable=True, writable=True, wake=reader) == (True, True)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_closed_peer_is_worth_reading_and_writing(pair: tuple[Stream, socket.socket]) -> None:
    stream, peer = pair
    fill(stream)
    peer.close()
    eventually(lambda: stream.wait(0, readable=True, writable=True) == (True, True))
