"""Listening: families, ports, unix sockets and what dead servers leave, inherited descriptors."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from pathlib import Path

import pytest

from threadwire import Address, ListenError, parse_address
from threadwire.limits import OFF
from threadwire.transport import Listener, listen

from ..support import Peer


def listen_unix(path: Path) -> None:
    for made in listen(Address("unix", path=str(path)), 8):
        made.close()


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.exists()
    (made,) = listen(Address("unix", path=str(path)), 8)
    Peer(made.address).close()
    made.close()
    assert not path.exists()


def test_a_living_unix_socket_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    (living,) = listen(Address("unix", path=str(path)), 8)
    with pytest.raises(ListenError) as caught:
        listen_unix(path)
    assert caught.value.errno == errno.EADDRINUSE
    Peer(living.address).close()
    living.close()


def test_a_unix_socket_with_a_full_backlog_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as full:
        full.bind(str(path))
        full.listen(0)
        queued = []
        with pytest.raises(BlockingIOError):
            while True:
                client = socket.socket(socket.AF_UNIX)
                queued.append(client)
                client.setblocking(False)
                client.connect(str(path))
        with pytest.raises(ListenError, match="in use"):
            listen_unix(path)
        for client in queued:
            client.close()


def test_another_kind_of_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ListenError, match="not a socket"):
        listen_unix(path)
    assert path.read_text() == "data"


def test_closing_leaves_a_successors_socket_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    (old,) = listen(Address("unix", path=str(path)), 8)
    os.unlink(path)
    (new,) = listen(Address("unix", path=str(path)), 8)
    old.close()
    Peer(new.address).close()
    new.close()
    os.path.exists(path)
    new_gone = not path.exists()
    assert new_gone


def test_closing_when_the_file_can_no_longer_be_reached(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    (made,) = listen(Address("unix", path=str(directory / "s.sock")), 8)
    os.rename(directory, tmp_path / "elsewhere")
    directory.write_text("")  # a file where there was a directory
    made.close()
    assert made.fileno() == -1


def test_closing_when_the_file_is_gone_already(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    (made,) = listen(Address("unix", path=str(path)), 8)
    os.unlink(path)
    made.close()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="no such file"):
        listen_unix(tmp_path / "nowhere" / "s.sock")


def test_an_inherited_socket_is_adopted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        number = os.dup(given.fileno())
        (made,) = listen(Address("fd", port=number), 8)
        assert made.address.port == given.getsockname()[1]
        assert made.fileno() == number
        Peer(made.address).close()
        made.close()


def test_a_descriptor_that_does_not_listen_is_refused() -> None:
    with socket.socket() as plain:
        number = os.dup(plain.fileno())
        with pytest.raises(ListenError, match="not a listening"):
            listen(Address("fd", port=number), 8)
    with pytest.raises(ListenError, match="bad file descriptor"):
        listen(Address("fd", port=number), 8)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 300])
def test_a_host_that_is_not_known(host: str) -> None:
    with pytest.raises(ListenError, match="host name"):
        listen(parse_address(f"tcp://{host}:0"), 8)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(ListenError) as caught:
        listen(parse_address("tcp://192.0.2.1:0"), 8)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_one_family_in_use_is_an_error_and_closes_the_other() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("needs IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match="in use"):
            listen(parse_address(f"tcp://localhost:{port}"), 8)
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_nothing_to_accept_is_a_value() -> None:
    (made,) = listen(parse_address("tcp://127.0.0.1:0"), 8)
    assert made.accept() is None
    made.close()


def connecting(address: Address, count: int) -> tuple[list[socket.socket], int]:
    """So many clients that begin to connect; and how many the system lets in."""
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect((address.host, address.port))
        clients.append(client)
    connected = sum(bool(select.select([], [client], [], 0.0)[1]) for client in clients)
    return clients, connected


@pytest.mark.parametrize("shared", [False, True])
def test_no_more_are_admitted(shared: bool) -> None:
    """Who waits already goes on waiting. On a socket that others have, too, nothing changes.

    With the backlog left as it is: all are let in, and reset when it is closed.
    """
    made = Listener(socket.create_server(("127.0.0.1", 0), backlog=16), shared=shared)
    with contextlib.closing(made), Peer(made.address), Peer(made.address):
        made.admit_no_more()
        made.admit_no_more()
        clients, connected = connecting(made.address, 5)
        for client in clients:
            client.close()
        assert connected == (5 if shared else 0)
        accepted = [made.accept() for _ in range(2)]
        assert all(accepted)
        for stream in accepted:
            assert stream is not None
            stream.close()


def test_no_more_are_admitted_to_one_that_is_closed() -> None:
    made = Listener(socket.create_server(("127.0.0.1", 0)))
    made.close()
    made.admit_no_more()


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_whether_anybody_waits(scheme: str, tmp_path: Path) -> None:
    address = "tcp://127.0.0.1:0" if scheme == "tcp" else f"unix://{tmp_path}/s"
    (made,) = listen(parse_address(address), 8)
    with contextlib.closing(made):
        assert not made.anybody_waits()
        with Peer(made.address):
            assert made.anybody_waits()
            stream = made.accept()
            assert stream is not None
            stream.close()
        assert not made.anybody_waits()


def test_a_socket_that_is_left_in_place_keeps_its_file(tmp_path: Path) -> None:
    """With the file removed all the same: nobody finds whoever goes on with it."""
    path = tmp_path / "s.sock"
    (made,) = listen(Address("unix", path=str(path)), 8)
    with socket.socket(fileno=os.dup(made.fileno())) as other:
        made.leave_in_place()
        made.close()
        with Peer(Address("unix", path=str(path))):
            connected, _ = other.accept()
            connected.close()
    os.unlink(path)


def test_an_inherited_socket_may_be_others_too() -> None:
    """With it taken for ours alone: its queue would be cut short for all."""
    with socket.create_server(("127.0.0.1", 0)) as given:
        (made,) = listen(Address("fd", port=os.dup(given.fileno())), 8)
        (own,) = listen(parse_address("tcp://127.0.0.1:0"), 8)
        assert (made.shared, own.shared) == (True, False)
        made.close()
        own.close()


def test_options_are_set_where_there_are_such(tmp_path: Path) -> None:
    """A unix socket has none. With them set all the same: it cannot be listened on."""
    (made,) = listen(Address("unix", path=str(tmp_path / "s")), 8)
    made.set_options((60, 15, 4), 5.0)
    made.close()
    (made,) = listen(parse_address("tcp://127.0.0.1:0"), 8)
    with contextlib.closing(made):
        made.set_options((1, 2, 3), OFF)
        get = made.socket.getsockopt
        before = get(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert before == 0
        assert get(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 1
        assert get(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 2
        assert get(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        for seconds, milliseconds in ((0.0001, 1), (2.5, 2500), (1e9, 2**31 - 1)):
            made.set_options((1, 2, 3), seconds)
            assert get(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == milliseconds
