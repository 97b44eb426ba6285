"""Server: its life, its addresses, its drain."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import threadwire
from threadwire import CloseReason

from .conftest import Events, Serving
from .support import PATIENCE, Peer, eventually, reverse, signal_here, wait_for


def test_serves_many_addresses_with_one_handler(serving: Serving, tmp_path: Path) -> None:
    server = serving(reverse, "tcp://127.0.0.1:0", f"unix://{tmp_path}/s.sock")
    assert [address.scheme for address in server.addresses] == ["tcp", "unix"]
    assert server.address == server.addresses[0]
    for address in server.addresses:
        with Peer(address) as peer:
            peer.say(b"hello\n")
            assert peer.hear_line() == b"olleh\n"


def test_localhost_listens_on_both_families_at_one_port(serving: Serving) -> None:
    server = serving(reverse, "tcp://localhost:0")
    assert {address.host for address in server.addresses} <= {"127.0.0.1", "::1"}
    assert len({address.port for address in server.addresses}) == 1
    for address in server.addresses:
        with Peer(address) as peer:
            peer.say(b"ab\n")
            assert peer.hear_line() == b"ba\n"


def test_an_empty_host_is_dual_stack_and_peers_keep_their_family(serving: Serving) -> None:
    def tell(_message: bytes, connection: threadwire.Connection) -> bytes:
        return connection.peer.host.encode()

    port = serving(tell, "tcp://:0").address.port
    with Peer(threadwire.Address("tcp", "127.0.0.1", port)) as peer:
        peer.say(b"\n")
        assert peer.hear_line() == b"127.0.0.1\n"
    if socket.has_dualstack_ipv6():
        with Peer(threadwire.Address("tcp", "::1", port)) as peer:
            peer.say(b"\n")
            assert peer.hear_line() == b"::1\n"


def test_context_manager_starts_and_closes() -> None:
    with threadwire.Server(reverse, "tcp://127.0.0.1:0") as server:
        address = server.address
        assert "serving" in repr(server)
    assert "closed" in repr(server)
    assert server.wait(0)
    with pytest.raises(ConnectionRefusedError):
        Peer(address)


def test_a_port_in_use_is_a_listen_error_and_leaves_nothing_open(serving: Serving) -> None:
    taken = serving(reverse).address
    with pytest.raises(threadwire.ListenError) as caught:
        threadwire.Server(reverse, "tcp://127.0.0.1:0", str(taken)).start()
    assert caught.value.errno == errno.EADDRINUSE
    assert str(caught.value) == f"cannot listen on {taken}: address already in use"


def test_a_framing_that_can_make_no_codec_fails_at_once() -> None:
    class Broken(threadwire.Lines):
        def codec(self, max_message: int = 0) -> threadwire.Codec:
            raise threadwire.UsageError("no codec here")

    with pytest.raises(threadwire.UsageError, match="no codec here"):
        threadwire.Server(reverse, "tcp://127.0.0.1:0", framing=Broken())


@pytest.mark.parametrize(
    ("arguments", "options", "named"),
    [
        ((), {}, "address"),
        (("localhost:1",), {}, "localhost:1"),
        (("tcp://h:1",), {"framing": "lines"}, "framing"),
        (("tcp://h:1",), {"max_message": 0}, "max_message"),
        (("tcp://h:1",), {"max_message": 1.5}, "max_message"),
        (("tcp://h:1",), {"max_clients": 0}, "max_clients"),
        (("tcp://h:1",), {"max_clients": True}, "max_clients"),
        (("tcp://h:1",), {"backlog": "many"}, "backlog"),
        (("tcp://h:1",), {"write_timeout": 0}, "write_timeout"),
        (("tcp://h:1",), {"drain_timeout": -1}, "drain_timeout"),
    ],
)
def test_wrong_arguments_fail_at_once_and_are_named(
    arguments: tuple[str, ...], options: dict[str, object], named: str
) -> None:
    with pytest.raises(threadwire.UsageError, match=named):
        threadwire.Server(reverse, *arguments, **options)  # type: ignore[arg-type]


def test_a_server_starts_once(serving: Serving) -> None:
    server = serving(reverse)
    with pytest.raises(threadwire.UsageError, match="starts once"):
        server.start()


def test_an_address_before_the_start_is_a_usage_error() -> None:
    with pytest.raises(threadwire.UsageError, match="not been started"):
        _ = threadwire.Server(reverse, "tcp://127.0.0.1:0").address


def test_closing_a_server_that_never_started() -> None:
    server = threadwire.Server(reverse, "tcp://127.0.0.1:0")
    assert server.close() == threadwire.CloseReport(0, (), ())
    assert server.wait(0)


def test_connections_lists_the_open_ones(serving: Serving) -> None:
    server = serving(reverse)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        peer.hear_line()
        (connection,) = server.connections
        assert connection.id == 1
        assert connection.peer.port == peer.socket.getsockname()[1]
        assert connection.local == server.address
        assert (connection.messages_received, connection.bytes_received) == (1, 2)
        assert "open" in repr(connection)
    eventually(lambda: not server.connections)


def test_drain_closes_idle_connections_at_once(serving: Serving, events: Events) -> None:
    server = serving(reverse)
    with Peer(server.address) as silent, Peer(server.address) as quiet:
        quiet.say(b"x\n")
        assert quiet.hear_line() == b"x\n"
        eventually(lambda: len(server.connections) == 2)
        report = server.close()
        assert report == threadwire.CloseReport(2, (), ())
        assert silent.hear_all() == quiet.hear_all() == b""
    assert {fields["reason"] for fields in events.named("closed")} == {CloseReason.DRAINED}


def test_drain_lets_a_handler_finish_and_answers_what_had_arrived(serving: Serving) -> None:
    handling, go_on = threading.Event(), threading.Event()

    def slow(message: bytes) -> bytes:
        handling.set()
        wait_for(go_on)
        return message[::-1]

    server = serving(slow)
    with Peer(server.address) as peer:
        peer.say(b"abc\n")
        wait_for(handling)
        peer.say(b"def\nghi\n")  # has arrived before the drain begins
        closer = threading.Thread(target=server.close)
        closer.start()
        eventually(lambda: server.connections[0].draining)
        assert closer.is_alive()
        go_on.set()
        assert peer.hear_all() == b"cba\nfed\nihg\n"
        closer.join(PATIENCE)


def test_drain_ends_with_the_message_that_what_had_arrived_leaves_begun(
    serving: Serving,
) -> None:
    handling, go_on = threading.Event(), threading.Event()

    def slow(message: bytes) -> bytes:
        handling.set()
        wait_for(go_on)
        return message[::-1]

    server = serving(slow)
    with Peer(server.address) as peer:
        peer.say(b"abc\nde")
        wait_for(handling)
        closer = threading.Thread(target=server.close)
        closer.start()
        eventually(lambda: server.connections[0].draining)
        go_on.set()
        assert peer.hear_line() == b"cba\n"
        eventually(lambda: server.connections[0]._finishing)
        peer.say(b"f\nlate\n")
        assert peer.hear_all() == b"fed\n"
        closer.join(PATIENCE)


def test_drain_waits_for_a_message_that_has_begun(serving: Serving) -> None:
    server = serving(reverse)
    with Peer(server.address) as peer:
        peer.say(b"beg")
        eventually(lambda: server.connections and server.connections[0].bytes_received == 3)
        closer = threading.Thread(target=server.close)
        closer.start()
        eventually(lambda: server.connections[0].draining)
        peer.say(b"un\n")
        assert peer.hear_all() == b"nugeb\n"
        closer.join(PATIENCE)
        assert not closer.is_alive()


def test_a_client_that_never_stops_sending_cannot_hold_up_a_drain(serving: Serving) -> None:
    server = serving(reverse)
    stop = threading.Event()

    def flood() -> None:
        with Peer(server.address) as peer:
            try:
                while not stop.is_set():
                    peer.say(b"on and on\n" * 100)
                    peer.hear(1000)
            except OSError:
                pass

    flooder = threading.Thread(target=flood)
    flooder.start()
    eventually(lambda: server.connections and server.connections[0].messages_sent > 500)
    report = server.close(PATIENCE)
    stop.set()
    flooder.join(PATIENCE)
    assert (report.finished, report.cut) == (1, ())


def test_the_deadline_cuts_and_says_what_the_handler_was_doing(
    serving: Serving, events: Events
) -> None:
    handling, go_on = threading.Event(), threading.Event()

    def stuck(message: bytes) -> bytes:
        handling.set()
        wait_for(go_on)
        return message

    server = serving(stuck)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        wait_for(handling)
        report = server.close(0.05)
        (cut,) = report.cut
        assert cut.connection == 1
        assert cut.peer.port == peer.socket.getsockname()[1]
        assert cut.age > 0
        assert " in wait" in cut.doing
        assert report.finished == 0
        assert len(report.threads_left) == 1
        assert peer.hear_all() == b""
        assert server.close() is report
        go_on.set()
    (logged,) = events.named("cut")
    assert logged["doing"] == cut.doing


def test_a_second_close_shortens_the_first(serving: Serving) -> None:
    handling, go_on = threading.Event(), threading.Event()

    def stuck(_message: bytes) -> None:
        handling.set()
        wait_for(go_on)

    server = serving(stuck)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        wait_for(handling)
        reports: list[threadwire.CloseReport] = []
        patient = threading.Thread(target=lambda: reports.append(server.close(3600)))
        patient.start()
        eventually(lambda: server.connections[0].draining)
        second = server.close(0)
        patient.join(PATIENCE)
        assert reports == [second]
        assert len(second.cut) == 1
        go_on.set()


def test_a_handler_may_close_its_server(serving: Serving) -> None:
    server: threadwire.Server

    def stop(_message: bytes) -> bytes:
        server.close()
        return b"stopped"

    server = serving(stop)
    with Peer(server.address) as peer, Peer(server.address) as other:
        eventually(lambda: len(server.connections) == 2)
        peer.say(b"stop\n")
        assert peer.hear_all() == b"stopped\n"
        assert other.hear_all() == b""
    assert server.wait(PATIENCE)


def test_an_interrupted_close_can_be_called_again(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    handling, go_on = threading.Event(), threading.Event()

    def stuck(_message: bytes) -> None:
        handling.set()
        wait_for(go_on)

    server = serving(stuck)
    with Peer(server.address) as peer:
        peer.say(b"\n")
        wait_for(handling)
        interrupt = signal_here(signal.SIGINT, lambda: server.connections[0].draining)
        with pytest.raises(KeyboardInterrupt):
            server.close(3600)
        interrupt.join()
        assert not server.wait(0)
        assert len(server.close(0).cut) == 1
        assert server.wait(0)
        go_on.set()


def test_close_from_a_signal_handler_that_has_interrupted_close(serving: Serving) -> None:
    handling, go_on = threading.Event(), threading.Event()

    def stuck(_message: bytes) -> None:
        handling.set()
        wait_for(go_on)

    server = serving(stuck)

    def close(_number: int, _frame: object) -> None:
        server.close(0)

    before = signal.signal(signal.SIGUSR1, close)
    try:
        with Peer(server.address) as peer:
            peer.say(b"\n")
            wait_for(handling)
            interrupt = signal_here(signal.SIGUSR1, lambda: server.connections[0].draining)
            assert len(server.close(3600).cut) == 1
            interrupt.join()
            go_on.set()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_two_handlers_may_close_their_server_at_the_same_time(serving: Serving) -> None:
    server: threadwire.Server
    both = threading.Barrier(2)

    def stop(_message: bytes) -> bytes:
        both.wait(PATIENCE)
        server.close(1)
        return b"stopped"

    server = serving(stop)
    with Peer(server.address) as one, Peer(server.address) as two:
        one.say(b"\n")
        two.say(b"\n")
        assert {one.hear_all(), two.hear_all()} <= {b"stopped\n", b""}
    assert server.wait(PATIENCE)


def test_a_server_for_which_no_descriptors_or_thread_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as highest:
        free = highest.fileno()
    for more in (0, 1, 2):
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + more, hard))
        try:
            with pytest.raises(threadwire.ListenError, match="too many open files"):
                threadwire.Server(reverse, "tcp://127.0.0.1:0").start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(threadwire.ListenError, match="can't start new thread"):
            threadwire.Server(reverse, "tcp://127.0.0.1:0").start()


def test_a_session_for_which_no_thread_can_be_had_is_refused(
    serving: Serving, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    @threadwire.session
    def reversing(connection: threadwire.Connection) -> None:
        for message in connection:
            connection.send(message[::-1])

    server = serving(reversing)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with Peer(server.address) as refused:
            assert refused.hear_all() == b""
    assert server.connections == ()
    with Peer(server.address) as peer:
        peer.say(b"ab\n")
        assert peer.hear_line() == b"ba\n"
    assert events.named("accept-paused")[0]["reason"] == "can't start new thread"


@pytest.fixture
def restored_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("restored_signals")
def test_serve_blocks_until_a_signal_and_drains(unused_port: int) -> None:
    answers: list[bytes] = []

    def talk_and_stop() -> None:
        address = threadwire.Address("tcp", "127.0.0.1", unused_port)
        eventually(lambda: _accepts(address))
        with Peer(address) as peer:
            peer.say(b"hello\n")
            answers.append(peer.hear_line())
            os.kill(os.getpid(), signal.SIGTERM)
            answers.append(peer.hear_all())

    talker = threading.Thread(target=talk_and_stop)
    talker.start()
    report = threadwire.serve(reverse, f"tcp://127.0.0.1:{unused_port}")
    talker.join(PATIENCE)
    assert answers == [b"olleh\n", b""]
    assert report.cut == ()


def test_serve_ends_when_the_server_is_closed_otherwise(unused_port: int) -> None:
    """Off the main thread there are no signals; a handler closes it instead."""

    def stop(_message: bytes, connection: threadwire.Connection) -> None:
        raise threadwire.Close(b"bye")

    server = threadwire.Server(stop, f"tcp://127.0.0.1:{unused_port}")
    reports: list[threadwire.CloseReport] = []
    from threadwire.serving import serve_until_signal

    runner = threading.Thread(target=lambda: reports.append(serve_until_signal(server)))
    runner.start()
    address = threadwire.Address("tcp", "127.0.0.1", unused_port)
    eventually(lambda: _accepts(address))
    server.close()
    runner.join(PATIENCE)
    assert len(reports) == 1


def _accepts(address: threadwire.Address) -> bool:
    try:
        Peer(address).close()
    except OSError:
        return False
    return True


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
