"""What one process says to another while listening sockets are handed over."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Iterator

from threadwire import ListenError
from threadwire.handover import Handed, Offer, take
from threadwire.handover.taking import _described
from threadwire.handover.wire import LARGEST_MESSAGE, Unintelligible, decode, in_short

__all__ = ["handover_message", "handover_offer", "handover_taking"]

_PATIENCE = 10.0  # seconds
_BETWEEN = b"\xff"  # two packets: in no UTF-8
_MOST_PACKETS = 8
_LARGEST_PACKET = LARGEST_MESSAGE + 10  # one that is too large is one of them


def handover_message(data: bytes) -> None:
    """One message, with so many descriptors as its first byte says."""
    sockets, packet = data[:1], data[1:]
    try:
        message = decode(packet)
    except Unintelligible as error:
        _check_told(str(error))
        return
    assert isinstance(message["say"], str)
    for value in message.values():
        _check_told(in_short(value))
    try:
        described, left = _described("/run/app.sock", message, sockets[0] & 7)
    except ListenError as error:
        _check_told(str(error))
        return
    assert left >= 0
    assert len(described) == sockets[0] & 7
    for address, options in described:
        assert isinstance(address, str)
        assert isinstance(options, dict)


def handover_taking(data: bytes) -> None:
    """The answers of an old process: packets, the first byte of each for its descriptors."""
    packets = data.split(_BETWEEN)[:_MOST_PACKETS]
    with _no_descriptor_left(), tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "handover")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as offering:
            offering.bind(path)
            offering.listen()
            thread = threading.Thread(target=_old_process, args=(offering, packets))
            thread.start()
            try:
                _take(path)
            except ListenError as error:
                _check_told(str(error))
            finally:
                thread.join()


def _take(path: str) -> None:
    taken = take(path, _PATIENCE)
    assert taken is not None
    with taken:
        for address in {listener.address for listener in taken.listeners}:
            for listener in taken.adopt(address):
                assert listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                listener.socket.close()
        assert not taken.listeners
        taken.serving(_PATIENCE)


def _old_process(offering: socket.socket, packets: list[bytes]) -> None:
    connected, _ = offering.accept()
    connected.settimeout(_PATIENCE)
    with connected, contextlib.suppress(ConnectionError):
        for packet in packets:
            if not connected.recv(_LARGEST_PACKET):
                return
            with _to_be_passed(packet[:1]) as fds:
                socket.send_fds(connected, [packet[1:_LARGEST_PACKET]], fds)


@contextlib.contextmanager
def _to_be_passed(code: bytes) -> Iterator[list[int]]:
    """Descriptors: of as many listening sockets as two bits say, and of what is none."""
    number = code[0] if code else 0
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_listening()) for _ in range(number & 3)]
        fds = [listening.fileno() for listening in sockets]
        if number & 4:
            fds.append(os.open("/dev/null", os.O_RDONLY))
            stack.callback(os.close, fds[-1])
        yield fds


def _listening() -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("")  # any free abstract name
    listening.listen()
    return listening


def handover_offer(data: bytes) -> None:
    """The packets of a process that connects to an offer."""
    reports: list[tuple[str, str]] = []
    with (
        _no_descriptor_left(),
        tempfile.TemporaryDirectory() as directory,
        _listening() as listening,
    ):
        path = os.path.join(directory, "handover")
        offered = Handed("tcp://:1", listening, {"mode": 1})
        with Offer(
            path, [offered], lambda: None, report=lambda *said: reports.append(said)
        ) as offer:
            _say_all(path, data.split(_BETWEEN)[:_MOST_PACKETS])
            if offer.taker is None:
                _check_it_stands(path)
    for _, said in reports:
        _check_told(said)


def _say_all(path: str, packets: list[bytes]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connected:
        connected.settimeout(_PATIENCE)
        connected.connect(path)
        with contextlib.suppress(ConnectionError):  # it refuses, and goes
            for packet in (*packets, b"not JSON, so that it ends"):
                connected.send(packet[:_LARGEST_PACKET])
        with contextlib.suppress(ConnectionResetError):
            while True:
                answer, fds, _, _ = socket.recv_fds(connected, _LARGEST_PACKET, 8)
                for fd in fds:
                    os.close(fd)
                if not answer:
                    return


def _check_it_stands(path: str) -> None:
    """Another process can take over; it thinks better of it."""
    taken = take(path, _PATIENCE)
    assert taken is not None, "nobody offers any more"
    with taken:
        assert [listener.address for listener in taken.listeners] == ["tcp://:1"]


def _check_told(text: str) -> None:
    """For a log or an error: short, and on one line."""
    assert text.isprintable()
    assert len(text) < 2000


@contextlib.contextmanager
def _no_descriptor_left() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before, "descriptors are left open"
