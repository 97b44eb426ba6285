"""Client and its pipeline, against our server and against plain sockets."""

from __future__ import annotations

import itertools
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import threadwire
from threadwire import CloseReason

from .conftest import Serving
from .support import PATIENCE, eventually, reverse, signal_here, wait_for


@pytest.fixture
def against() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Run a plain-socket server for one connection; gives its URL."""
    running: list[tuple[threading.Thread, socket.socket]] = []

    def start(script: Callable[[socket.socket], None]) -> str:
        listening = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            connected, _ = listening.accept()
            connected.settimeout(PATIENCE)
            with connected:
                script(connected)

        thread = threading.Thread(target=serve)
        thread.start()
        running.append((thread, listening))
        return f"tcp://127.0.0.1:{listening.getsockname()[1]}"

    yield start
    for thread, listening in running:
        thread.join(PATIENCE)
        listening.close()


def read_to_the_end(connected: socket.socket) -> None:
    while connected.recv(65536):
        pass


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
    ],
)
def test_wrong_arguments_are_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(threadwire.UsageError, match=named):
        threadwire.connect("tcp://127.0.0.1:1", **options)  # type: ignore[arg-type]


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
    against: Callable[[Callable[[socket.socket], None]], str],
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
    against: Callable[[Callable[[socket.socket], None]], str],
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


def test_a_server_that_resets(against: Callable[[Callable[[socket.socket], None]], str]) -> None:
    def reset(connected: socket.socket) -> None:
        connected.recv(1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with threadwire.connect(against(reset)) as client:
        with pytest.raises(threadwire.ConnectionClosed) as caught:
            client.request(b"hello")
        assert caught.value.reason is CloseReason.PEER_RESET
        assert client.closed


def test_a_server_that_resets_while_requests_are_under_way(
    against: Callable[[Callable[[socket.socket], None]], str],
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
    against: Callable[[Callable[[socket.socket], None]], str],
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
    against: Callable[[Callable[[socket.socket], None]], str],
) -> None:
    def shout(connected: socket.socket) -> None:
        connected.sendall(b"x" * 100)
        read_to_the_end(connected)

    with threadwire.connect(against(shout), max_message=10) as client:
        with pytest.raises(threadwire.MessageTooLarge):
            client.receive()
        assert client.closed


def test_a_server_that_does_not_read(
    against: Callable[[Callable[[socket.socket], None]], str],
) -> None:
    done = threading.Event()
    with threadwire.connect(against(lambda _: wait_for(done))) as client:
        with pytest.raises(threadwire.TimeLimitError, match="room to send"):
            client.send(b"x" * 50_000_000, timeout=0.05)
        assert client.closed
        done.set()


def test_close_wakes_a_thread_that_waits(serving: Serving) -> None:
    client = threadwire.connect(serving(reverse).address)
    errors: list[threadwire.ConnectionClosed] = []

    def wait() -> None:
        try:
            client.receive()
        except threadwire.ConnectionClosed as error:
            errors.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    eventually(lambda: client._users)
    client.close()
    waiter.join(PATIENCE)
    assert [error.reason for error in errors] == [CloseReason.HANDLER_CLOSED]
    assert "closed" in repr(client)


# Pipelines.


def test_pipeline_answers_in_order(serving: Serving) -> None:
    with threadwire.connect(serving(reverse).address) as client:
        messages = [b"%d" % n for n in range(20_000)]
        assert list(client.pipeline(messages)) == [m[::-1] for m in messages]
        assert list(client.pipeline([])) == []
        assert client.request(b"and after") == b"retfa dna"


def test_pipeline_of_large_messages_does_not_deadlock(serving: Serving) -> None:
    """More than all the buffers on the way hold, in both directions at once."""
    with threadwire.connect(serving(reverse).address) as client:
        messages = [bytes([97 + n % 26]) * 900_000 for n in range(40)]
        for message, reply in zip(messages, client.pipeline(messages), strict=True):
            assert reply == message


def test_pipeline_keeps_its_window(serving: Serving) -> None:
    taken = 0

    def source() -> Iterator[bytes]:
        nonlocal taken
        for n in itertools.count():
            taken += 1
            yield b"%d" % n

    go_on = threading.Event()

    def slow(message: bytes) -> bytes:
        wait_for(go_on)
        return message

    with threadwire.connect(serving(slow).address) as client:
        replies = client.pipeline(source(), window=5)
        go_on_later = threading.Timer(0.05, go_on.set)
        go_on_later.start()
        for n, reply in enumerate(itertools.islice(replies, 100)):
            assert reply == b"%d" % n
            # One more than the window has been drawn from the source, and waits.
            assert taken <= n + 1 + 5 + 1
        replies.close()
        assert client.closed
        go_on_later.join()


def test_replies_come_while_the_source_blocks(serving: Serving) -> None:
    answered = threading.Event()

    def source() -> Iterator[bytes]:
        yield b"first"
        wait_for(answered)
        yield b"second"

    with threadwire.connect(serving(reverse).address) as client:
        replies = client.pipeline(source())
        assert next(replies) == b"tsrif"
        answered.set()
        assert list(replies) == [b"dnoces"]


def test_what_the_source_raises_comes_after_the_replies_before_it(serving: Serving) -> None:
    def source() -> Iterator[bytes]:
        yield b"ab"
        yield b"cd"
        raise LookupError("no more")

    got = []
    with threadwire.connect(serving(reverse).address) as client:
        with pytest.raises(LookupError, match="no more"):
            for reply in client.pipeline(source()):
                got.append(reply)
        assert got == [b"ba", b"dc"]
        assert client.closed


def test_an_error_of_the_system_in_the_source_is_the_sources(serving: Serving) -> None:
    def source() -> Iterator[bytes]:
        yield b"ab"
        yield Path("/no/such/file").read_bytes()

    with threadwire.connect(serving(reverse).address) as client:
        replies = client.pipeline(source())
        assert next(replies) == b"ba"
        with pytest.raises(FileNotFoundError):
            next(replies)


def test_replies_before_a_framing_error_are_given(
    against: Callable[[Callable[[socket.socket], None]], str],
) -> None:
    def answer(connected: socket.socket) -> None:
        connected.recv(1000)
        connected.sendall(b"1:a,1:b,x")
        read_to_the_end(connected)

    got = []
    with threadwire.connect(against(answer), framing=threadwire.Netstring()) as client:
        with pytest.raises(threadwire.MalformedMessage):
            for reply in client.pipeline([b"1", b"2", b"3"]):
                got.append(reply)
    assert got == [b"a", b"b"]


def test_a_source_that_ends_just_after_the_last_reply_ends_the_pipeline(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the caller's last look and its sleep; without that look it would never wake."""
    from threadwire.pipeline import Pipeline

    answered, ended = threading.Event(), threading.Event()
    sleep = Pipeline._sleep

    def source() -> Iterator[bytes]:
        yield b"only"
        wait_for(answered)

    def late_sleep(self: Pipeline, progress: float, **seen: bool) -> bool:
        if not seen["due"] and not seen["finished"] and answered.is_set():
            eventually(lambda: self._source_ended)
        return sleep(self, progress, **seen)

    monkeypatch.setattr(Pipeline, "_sleep", late_sleep)
    with threadwire.connect(serving(reverse).address) as client:
        replies = client.pipeline(source(), timeout=1)
        assert next(replies) == b"ylno"
        answered.set()

        def finish() -> None:
            assert list(replies) == []
            ended.set()

        finisher = threading.Thread(target=finish)
        finisher.start()
        assert ended.wait(5)
        finisher.join(PATIENCE)


def test_closing_the_client_ends_its_pipeline(serving: Serving) -> None:
    with threadwire.connect(serving(lambda _m: None).address) as client:
        closer = threading.Timer(0.05, client.close)
        closer.start()
        with pytest.raises(threadwire.ConnectionClosed) as caught:
            list(client.pipeline([b"x"]))
        closer.join()
        assert caught.value.reason is CloseReason.HANDLER_CLOSED


@pytest.mark.parametrize("message", [b"two\nlines", "text"])
def test_a_message_that_cannot_be_sent_in_a_pipeline(serving: Serving, message: bytes) -> None:
    with (
        threadwire.connect(serving(reverse).address) as client,
        pytest.raises(threadwire.UsageError),
    ):
        list(client.pipeline([b"fine", message]))


def test_a_reply_that_is_due_too_long(serving: Serving) -> None:
    with threadwire.connect(serving(lambda _m: None).address) as client:
        with pytest.raises(threadwire.TimeLimitError, match=r"no reply within 0\.05 s"):
            list(client.pipeline([b"x"], timeout=0.05))
        assert client.closed


def test_a_server_that_leaves_in_the_middle(serving: Serving) -> None:
    def twice(message: bytes) -> bytes:
        if message == b"2":
            raise threadwire.Close
        return message

    got = []
    with threadwire.connect(serving(twice).address) as client:
        with pytest.raises(threadwire.ConnectionClosed):
            for reply in client.pipeline([b"1", b"2", b"3"]):
                got.append(reply)
    assert got == [b"1"]


def test_half_close_takes_all_replies_of_a_service_that_gives_several(serving: Serving) -> None:
    server = serving(lambda message: [message, message + message])
    with threadwire.connect(server.address) as client:
        batches = client.pipeline_batches([b"a", b"b"], half_close=True)
        assert [reply for batch in batches for reply in batch] == [b"a", b"aa", b"b", b"bb"]


def test_half_close_does_not_wait_for_ever_for_the_end(
    against: Callable[[Callable[[socket.socket], None]], str],
) -> None:
    done = threading.Event()

    def answer(connected: socket.socket) -> None:
        connected.sendall(connected.recv(1000))
        wait_for(done)

    with threadwire.connect(against(answer)) as client:
        assert list(client.pipeline_batches([b"a"], half_close=True)) == [[b"a"]]
        done.set()


def test_a_pipeline_with_a_framing_that_has_to_settle(
    against: Callable[[Callable[[socket.socket], None]], str],
) -> None:
    def answer(connected: socket.socket) -> None:
        connected.recv(1000)
        connected.sendall(b"no newline")
        read_to_the_end(connected)

    with threadwire.connect(against(answer), framing=threadwire.Auto()) as client:
        assert list(client.pipeline([b"abc"])) == [b"no newline"]


def test_requests_and_pipelines_take_turns(serving: Serving) -> None:
    with threadwire.connect(serving(reverse).address, timeout=0.2) as client:
        replies = client.pipeline(b"%d" % n for n in range(10))
        next(replies)
        with pytest.raises(threadwire.TimeLimitError, match="turn"):
            client.request(b"x", timeout=0.05)
        assert len(list(replies)) == 9
        assert client.request(b"xy") == b"yx"
