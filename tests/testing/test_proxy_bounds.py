"""What a proxy can meet with: peers that leave, servers that are not there, floods, its limits."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import threadwire
from threadwire.testing import (
    Chaos,
    Delay,
    FaultProxy,
    Peer,
    Stall,
    eventually,
    serving,
)

from ..support import PATIENCE, reverse
from .conftest import DATA, PlainServer, hear, hear_all, hear_beside, hear_until_reset, through

# Servers that are not there, and peers that leave.


def test_a_client_whose_server_cannot_be_reached_is_reset(tmp_path: Path) -> None:
    nobody = socket.create_server(("127.0.0.1", 0))
    refusing = threadwire.Address("tcp", "127.0.0.1", nobody.getsockname()[1])
    nobody.close()
    for address in (refusing, threadwire.Address("unix", path=f"{tmp_path}/nobody.sock")):
        with FaultProxy(address) as proxy:
            for _ in range(2):
                with pytest.raises((ConnectionResetError, threadwire.ConnectError)):
                    with Peer(proxy.address) as client:
                        client.hear(1)
        problem = "connection refused" if address is refusing else "no such file or directory"
        assert f"connection 2: no server: {problem}" in proxy.history


def test_a_server_with_a_full_backlog_is_waited_for(tmp_path: Path) -> None:
    path = f"{tmp_path}/full.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(0)
        listening.settimeout(PATIENCE)
        with FaultProxy(f"unix://{path}") as proxy:
            clients = [Peer(proxy.address) for _ in range(5)]
            for n, client in enumerate(clients):
                client.say(b"%d" % n)
            heard = set()
            for _ in clients:
                server, _ = listening.accept()
                with server:
                    server.settimeout(PATIENCE)
                    heard.add(hear(server, 1))
            assert heard == {b"0", b"1", b"2", b"3", b"4"}
            for client in clients:
                client.close()


def test_a_server_s_reset_is_passed_on() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    address = threadwire.Address("tcp", "127.0.0.1", listening.getsockname()[1])
    with listening, FaultProxy(address, Delay(0.01)) as proxy, Peer(proxy.address) as client:
        server, _ = listening.accept()
        with server:
            client.say(b"never read")
            server.settimeout(PATIENCE)
            server.recv(1)
            server.sendall(b"last words")
        assert hear_until_reset(client.socket) == b"last words"
        eventually(lambda: not proxy._links)


def test_a_client_s_reset_is_passed_on(plain_server: PlainServer) -> None:
    with FaultProxy(plain_server.address, Delay(0.01)) as proxy:
        client, server = through(proxy, plain_server)
        client.say(b"last words")
        assert hear(server, 10) == b"last words"
        client.reset()
        if server.family == socket.AF_UNIX:
            assert hear_all(server) == b""
        else:
            assert hear_until_reset(server) == b""
        eventually(lambda: not proxy._links)


def test_a_client_that_has_left_is_told_to_a_server_that_goes_on_sending(
    plain_server: PlainServer,
) -> None:
    with FaultProxy(plain_server.address) as proxy:
        client, server = through(proxy, plain_server)
        client.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                server.sendall(DATA)
        eventually(lambda: not proxy._links)


# Bounds.


def test_what_nobody_reads_is_not_held(plain_server: PlainServer) -> None:
    data = DATA * 100  # more than what the system holds for two sockets
    with FaultProxy(plain_server.address) as proxy:
        client, server = through(proxy, plain_server)
        with client:
            view, offered = memoryview(data), 0
            while client.wait_room(0.3):
                offered += client.offer(view[offered:])
            assert offered < len(data)
            assert len(proxy._links[1].up._held) <= 64 << 10
            heard = hear_beside(server)
            client.say(data[offered:])
            client.finish()
            assert heard() == data


def processor_seconds(proxy: FaultProxy) -> float:
    """What the proxy's thread uses of the processor in a quarter of a second."""

    def used() -> float:
        assert proxy._thread is not None
        stat = Path(f"/proc/self/task/{proxy._thread.native_id}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    before = used()
    threading.Event().wait(0.25)
    return used() - before


def test_waiting_costs_no_processor_time(plain_server: PlainServer) -> None:
    with FaultProxy(plain_server.address, Stall(0, direction="up")) as proxy:
        client, server = through(proxy, plain_server)
        proxy.wait_stalled()
        while client.wait_room(0.1):
            client.offer(DATA)
        assert processor_seconds(proxy) < 0.05, "while a full stream is stalled"
        client.reset()
        server.shutdown(socket.SHUT_WR)
        assert processor_seconds(proxy) < 0.05, "while it is also gone"


def test_many_connections_at_once() -> None:
    with serving(reverse) as served, FaultProxy(served.address, Chaos()) as proxy:

        def ask(n: int) -> bool:
            with threadwire.connect(proxy.address) as client:
                message = b"%d " % n * (n % 50 + 1)
                return all(client.request(message) == message[::-1] for _ in range(3))

        with ThreadPoolExecutor(40) as pool:
            assert all(pool.map(ask, range(200)))
        assert proxy.connections == 200
        eventually(lambda: not proxy._links)


def test_no_more_links_than_it_may_have(
    plain_server: PlainServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threadwire.testing.proxy._MOST_LINKS", 2)
    with FaultProxy(plain_server.address) as proxy:
        clients = [Peer(proxy.address) for _ in range(4)]
        servers = [plain_server.accept() for _ in range(2)]
        clients[1].say(b"x")
        assert hear(servers[1], 1) == b"x"
        assert processor_seconds(proxy) < 0.05
        assert proxy.connections == 2
        for client in clients[:2]:
            client.close()
        for server in servers:
            server.close()
        for client in clients[2:]:
            client.say(b"y")
        for _ in clients[2:]:
            assert hear(plain_server.accept(), 1) == b"y"
        for client in clients:
            client.close()


@pytest.fixture
def no_descriptors_left() -> Iterator[Callable[[], None]]:
    """A function that takes all descriptors there are; they are given back when called again."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def toggle() -> None:
        if taken:
            for number in taken:
                os.close(number)
            taken.clear()
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            return
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 5, before[1]))
        while True:
            try:
                taken.append(os.dup(0))
            except OSError:
                return

    yield toggle
    if taken:
        toggle()


def test_a_client_waits_while_there_are_no_descriptors(
    plain_server: PlainServer, no_descriptors_left: Callable[[], None]
) -> None:
    with FaultProxy(plain_server.address) as proxy, socket.socket() as client:
        client.settimeout(PATIENCE)
        no_descriptors_left()
        client.connect((proxy.address.host, proxy.address.port))
        client.sendall(b"patience")
        eventually(lambda: proxy._accept_at)
        assert proxy.connections == 0
        no_descriptors_left()
        assert hear(plain_server.accept(), 8) == b"patience"
