"""Client, against our server and against plain sockets."""

from __future__ import annotations

import resource
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import threadwire
from threadwire import CloseReason, limits
from threadwire.units import format_duration, format_size

from .conftest import Against, Serving
from .support import PATIENCE, eventually, read_to_the_end, reverse, signal_here, wait_for


@pytest.mark.parametrize(
    "framing",
    [
        threadwire.Lines(),
        threadwire.Raw(),
        threadwire.Netstring(),
        threadwire.LengthPrefixed(2, "little"),
        threadwire.Delimited(b"\x03"),
        threadwire.Auto(),
    ],
    ids=str,
)
def test_request_in_every_framing(serving: Serving, framing: threadwire.Framing) -> None:
    server = serving(reverse, framing=framing)
    with threadwire.connect(server.address, framing=framing) as client:
        assert client.request(b"hello") == b"olleh"
        assert client.request(bytearray(b"ab")) == b"ba"
        assert client.peer == server.address
        assert client.local.host == "127.0.0.1"


def test_unix_sockets(serving: Serving, tmp_path: object) -> None:
    server = serving(reverse, f"unix://{tmp_path}/s")
    with threadwire.connect(server.address) as client:
        assert client.request(b"hello") == b"olleh"
        assert str(client.peer) == f"unix://{tmp_path}/s"


def test_several_threads_each_get_their_own_replies(serving: Serving) -> None:
    server = serving(reverse)
    wrong: list[bytes] = []
    with threadwire.connect(server.address) as client:

        def ask(n: int) -> None:
            for i in range(200):
                message = b"%d:%d" % (n, i)
                if (reply := client.request(message)) != message[::-1]:
                    wrong.append(reply)

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert wrong == []


def test_sending_and_receiving_apart(serving: Serving) -> None:
    with threadwire.connect(serving(reverse).address) as client:
        client.send(b"ab")
        client.send(b"cd")
        assert client.receive() == b"ba"
        assert client.receive() == b"dc"


def test_iteration_ends_with_the_server(serving: Serving) -> None:
    @threadwire.session
    def count(connection: threadwire.Connection) -> None:
        for n in range(3):
            connection.send(b"%d" % n)

    with threadwire.connect(serving(count).address) as client:
        assert list(client) == [b"0", b"1", b"2"]
        with pytest.raises(threadwire.ConnectionClosed, match="peer-closed"):
            client.receive()


def test_nobody_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(threadwire.ConnectError) as caught:
            threadwire.connect(url)
    assert str(caught.value) == f"cannot connect to {url}: connection refused"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("tcp://no-such-host.invalid:1", "not known"),
        ("unix:///nowhere/at/all", "no such file"),
        ("fd://3", "not connected to"),
    ],
)
def test_addresses_that_cannot_be_reached(url: str, said: str) -> None:
    with pytest.raises(threadwire.ConnectError, match=said):
        threadwire.connect(url)


def test_a_server_that_does_not_answer_the_connect_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        queued = []
        with pytest.raises(threadwire.ConnectError, match=r"within 0\.1 s"):
            for _ in range(10):
                queued.append(
                    threadwire.connect(f"tcp://127.0.0.1:{full.getsockname()[1]}", timeout=0.1)
                )
        for client in queued:
            client.close()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"framing": "lines"}, "framing"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "1s"}, "timeout"),
        ({"max_message": 0}, "max_message"),
        ({"busy_reply": "busy"}, "busy_reply must be bytes"),
        ({"busy_reply": b"busy\n"}, "busy_reply would never come: lines cannot carry"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(threadwire.UsageError, match=named):
        threadwire.connect("tcp://127.0.0.1:1", **options)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("limit", "default"),
    [
        (limits.CLIENT_TIMEOUT, format_duration(limits.CLIENT_TIMEOUT.default)),
        (limits.MAX_MESSAGE, format_size(limits.MAX_MESSAGE.whole)),
        (limits.POOL_SIZE, f"{limits.POOL_SIZE.whole}"),
        (limits.POOL_IDLE, f"{limits.POOL_IDLE.default:g} s"),
        (limits.RETRY_ATTEMPTS, f"{limits.RETRY_ATTEMPTS.whole}"),
        (limits.FIRST_BACKOFF, format_duration(limits.FIRST_BACKOFF.default)),
        (limits.MAX_BACKOFF, format_duration(limits.MAX_BACKOFF.default)),
        (limits.RETRY_BUDGET, f"{limits.RETRY_BUDGET.whole}"),
        (limits.RETRY_RESERVE, f"{limits.RETRY_RESERVE.whole}"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_defaults_are_in_the_page(limit: limits.Limit, default: str) -> None:
    page = Path(__file__).parent.parent / "docs" / "client.md"
    assert f"\n| `{limit.name}` | {default} |" in page.read_text()


def test_wrong_arguments_of_methods(serving: Serving) -> None:
    with threadwire.connect(serving(reverse).address) as client:
        with pytest.raises(threadwire.UsageError, match="encode"):
            client.send("text")  # type: ignore[arg-type]
        with pytest.raises(threadwire.UnencodableMessage):
            client.request(b"a\nb")
        with pytest.raises(threadwire.UsageError, match="timeout"):
            client.receive(timeout=-1)
        with pytest.raises(threadwire.UsageError, match="window"):
            client.pipeline([b"x"], window=0)
        assert client.request(b"still fine") == b"enif llits"


def test_a_reply_too_late_closes_so_that_no_request_gets_anothers(serving: Serving) -> None:
    go_on = threading.Event()

    def slow(message: bytes) -> bytes:
        wait_for(go_on)
        return message

    with threadwire.connect(serving(slow).address) as client:
        with pytest.raises(threadwire.TimeLimitError, match=r"no reply within 0\.05 s"):
            client.request(b"x", timeout=0.05)
        assert client.closed
        with pytest.raises(threadwire.ConnectionClosed):
            client.request(b"y")
        go_on.set()


def test_an_interrupted_request_closes_so_that_no_request_gets_anothers(
    serving: Serving,
) -> None:
    handling, go_on = threading.Event(), threading.Event()

    def slow(message: bytes) -> bytes:
        handling.set()
        wait_for(go_on)
        return message

    interrupt = signal_here(signal.SIGINT, handling.is_set)
    with threadwire.connect(serving(slow).address) as client:
        with pytest.raises(KeyboardInterrupt):
            client.request(b"first")
        interrupt.join()
        go_on.set()
        with pytest.raises(threadwire.ConnectionClosed):
            client.request(b"second")


def test_the_timeout_of_a_send_is_for_all_of_it(
    against: Against,
) -> None:
    """Though the server makes progress all the time."""
    done = threading.Event()

    def sip(connected: socket.socket) -> None:
        while not done.is_set() and connected.recv(50_000):
            done.wait(0.01)  # a reader that is slow, on purpose

    with threadwire.connect(against(sip)) as client:
        with pytest.raises(threadwire.TimeLimitError, match="room to send"):
            client.send(b"x" * 200_000_000, timeout=0.3)
        done.set()


def test_a_unix_backlog_that_is_full_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(path)
        busy.listen(0)
        first = threadwire.connect(f"unix://{path}")
        with pytest.raises(threadwire.ConnectError, match=r"no answer within 0\.05 s"):
            threadwire.connect(f"unix://{path}", timeout=0.05)
        accepted: list[socket.socket] = []
        acceptor = threading.Timer(0.05, lambda: accepted.append(busy.accept()[0]))
        acceptor.start()
        threadwire.connect(f"unix://{path}", timeout=PATIENCE).close()
        acceptor.join()
        first.close()
        accepted[0].close()


def test_waiting_for_a_turn_is_part_of_the_timeout(serving: Serving) -> None:
    go_on, handling = threading.Event(), threading.Event()

    def slow(message: bytes) -> bytes:
        handling.set()
        wait_for(go_on)
        return message

    with threadwire.connect(serving(slow).address) as client:
        first = threading.Thread(target=client.request, args=(b"x",))
        first.start()
        wait_for(handling)
        with pytest.raises(threadwire.TimeLimitError, match="turn"):
            client.request(b"y", timeout=0.05)
        go_on.set()
        first.join(PATIENCE)
        assert not client.closed


def test_a_timed_out_receive_loses_nothing(
    against: Against,
) -> None:
    go_on = threading.Event()

    def halves(connected: socket.socket) -> None:
        connected.sendall(b"half")
        wait_for(go_on)
        connected.sendall(b" and half\n")
        read_to_the_end(connected)

    with threadwire.connect(against(halves)) as client:
        with pytest.raises(threadwire.TimeLimitError):
            client.receive(timeout=0.05)
        go_on.set()
        assert client.receive() == b"half and half"


def test_a_server_that_resets(against: Against) -> None:
    def reset(connected: socket.socket) -> None:
        connected.recv(1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with threadwire.connect(against(reset)) as client:
        with pytest.raises(threadwire.ConnectionClosed) as caught:
            client.request(b"hello")
        assert caught.value.reason is CloseReason.PEER_RESET
        assert client.closed


def test_a_server_that_resets_while_requests_are_under_way(
    against: Against,
) -> None:
    def reset(connected: socket.socket) -> None:
        connected.recv(1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with threadwire.connect(against(reset)) as client:
        with pytest.raises(threadwire.ConnectionClosed) as caught:
            list(client.pipeline([b"hello"] * 100))
        assert caught.value.reason is CloseReason.PEER_RESET
    with threadwire.connect(against(reset)) as client:
        with pytest.raises(threadwire.ConnectionClosed) as caught:
            for _ in range(10_000):
                client.send(b"hello" * 100)
        assert caught.value.reason is CloseReason.PEER_RESET
        assert client.closed


def test_a_framing_that_has_to_settle(
    against: Against,
) -> None:
    def answer(connected: socket.socket) -> None:
        connected.sendall(b"greeting")
        connected.recv(1000)
        connected.sendall(b"no newline")
        connected.recv(1000)

    with threadwire.connect(against(answer), framing=threadwire.Auto()) as client:
        messages = iter(client)
        assert next(messages) == b"greeting"
        assert client.request(b"x") == b"no newline"
    with threadwire.connect(against(answer), framing=threadwire.Auto(patience=60)) as client:
        with pytest.raises(threadwire.TimeLimitError):
            client.receive(timeout=0.05)


def test_no_descriptor_for_a_connection(serving: Serving) -> None:
    server = serving(reverse)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(threadwire.ConnectError, match="too many open files"):
            threadwire.connect(server.address)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_that_sends_too_much(
    against: Against,
) -> None:
    def shout(connected: socket.socket) -> None:
        connected.sendall(b"x" * 100)
        read_to_the_end(connected)

    with threadwire.connect(against(shout), max_message=10) as client:
        with pytest.raises(threadwire.MessageTooLarge):
            client.receive()
        assert client.closed


def test_a_server_that_does_not_read(
    against: Against,
) -> None:
    done = threading.Event()
    with threadwire.connect(against(lambda _: wait_for(done))) as client:
        with pytest.raises(threadwire.TimeLimitError, match="room to send"):
            client.send(b"x" * 50_000_000, timeout=0.05)
        assert client.closed
        done.set()


@pytest.mark.parametrize("said", [b"", b"half a mess"])
def test_close_wakes_a_thread_that_waits(against: Against, said: bytes) -> None:
    def say(connected: socket.socket) -> None:
        connected.sendall(said)
        read_to_the_end(connected)

    client = threadwire.connect(against(say))
    errors: list[threadwire.ConnectionClosed] = []

    def wait() -> None:
        try:
            client.receive()
        except threadwire.ConnectionClosed as error:
            errors.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    eventually(lambda: client._users and client._codec.unread == len(said))
    client.close()
    waiter.join(PATIENCE)
    assert [error.reason for error in errors] == [CloseReason.HANDLER_CLOSED]
    assert "closed" in repr(client)


# A server that is busy.


def refuse(connected: socket.socket) -> None:
    """It says so, and reads nothing."""
    connected.sendall(b"busy\n")
    connected.shutdown(socket.SHUT_WR)
    read_to_the_end(connected)


def ask(client: threadwire.Client) -> object:
    return client.request(b"hello")


def listen(client: threadwire.Client) -> object:
    return client.receive()


def iterate(client: threadwire.Client) -> object:
    return list(client)


def pipe(client: threadwire.Client) -> object:
    return list(client.pipeline([b"hello"] * 1000))


@pytest.mark.parametrize("use", [ask, listen, iterate, pipe])
def test_a_server_that_refuses(
    against: Against, use: Callable[[threadwire.Client], object]
) -> None:
    with threadwire.connect(against(refuse), busy_reply=b"busy") as client:
        with pytest.raises(threadwire.ServerBusy) as caught:
            use(client)
        assert caught.value.reply == b"busy"
        assert str(caught.value) == "the server is busy; it said b'busy'"
        assert client.closed


@pytest.mark.parametrize("use", [ask, pipe])
@pytest.mark.parametrize("rudely", [False, True])
def test_a_server_that_has_refused_and_gone(
    against: Against, use: Callable[[threadwire.Client], object], rudely: bool
) -> None:
    """Nothing can be sent any more, but what it said has arrived."""
    gone = threading.Event()

    def refuse_and_go(connected: socket.socket) -> None:
        connected.sendall(b"busy\n")
        assert connected.recv(1) == b"w"
        if rudely:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connected.close()
        gone.set()

    with threadwire.connect(against(refuse_and_go), busy_reply=b"busy") as client:
        client._stream.write(b"w", None)
        wait_for(gone)
        if not rudely:  # then the system resets at the next byte
            client._stream.write(b"w", None)
            eventually(lambda: _is_reset(client))
        with pytest.raises(threadwire.ServerBusy) as caught:
            use(client)
        assert caught.value.__cause__ is not None, "the send that failed"
        assert client.closed


def _is_reset(client: threadwire.Client) -> bool:
    state = client._stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return state == b"\x07"  # closed


def test_a_refusal_while_a_large_message_is_being_sent(against: Against) -> None:
    def refuse_and_reset(connected: socket.socket) -> None:
        connected.sendall(b"busy\n")
        connected.recv(1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with threadwire.connect(against(refuse_and_reset), busy_reply=b"busy") as client:
        with pytest.raises(threadwire.ServerBusy):
            client.request(b"x" * 50_000_000)


@pytest.mark.parametrize("said", [b"", b"bus", b"no\nbusy too\n"])
def test_a_server_that_has_gone_without_a_refusal(against: Against, said: bytes) -> None:
    gone = threading.Event()

    def go(connected: socket.socket) -> None:
        connected.sendall(said)
        assert connected.recv(1) == b"w"
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connected.close()
        gone.set()

    with threadwire.connect(against(go), busy_reply=b"busy") as client:
        client._stream.write(b"w", None)
        wait_for(gone)
        with pytest.raises(threadwire.ConnectionClosed) as caught:
            client.request(b"hello")
        assert caught.value.reason is CloseReason.PEER_RESET


def test_a_refusal_without_a_newline_is_heard_at_the_end(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        auto = threadwire.Auto(patience=PATIENCE)
        with threadwire.connect(f"unix://{path}", framing=auto, busy_reply=b"busy") as client:
            with listening.accept()[0] as connected:
                connected.sendall(b"busy")
            with pytest.raises(threadwire.ServerBusy):
                client.request(b"hello")


def test_replies_before_a_refusal_are_given(against: Against) -> None:
    def answer(connected: socket.socket) -> None:
        connected.recv(1000)
        connected.sendall(b"one\ntwo\nbusy\n")
        read_to_the_end(connected)

    with threadwire.connect(against(answer), busy_reply=b"busy") as client:
        replies = client.pipeline([b"x"] * 4)
        assert [next(replies), next(replies)] == [b"one", b"two"]
        with pytest.raises(threadwire.ServerBusy):
            next(replies)
        assert client.closed


def test_a_busy_reply_that_was_not_agreed_on_is_a_reply(serving: Serving) -> None:
    with threadwire.connect(serving(lambda _message: b"busy").address) as client:
        assert client.request(b"hello") == b"busy"
    with threadwire.connect(serving(reverse).address, busy_reply=b"busy") as client:
        assert client.request(b"not busy") == b"ysub ton"
