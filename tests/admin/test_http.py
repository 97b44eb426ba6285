"""HTTP/1.1: what is understood, what is refused and how, and that nothing is without bound."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import threadwire
from threadwire.admin.http import (
    MAX_BODY,
    MAX_HEAD,
    MAX_TARGET,
    HttpError,
    Request,
    Respond,
    Response,
    Timeouts,
    converse,
    json_response,
)

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, wait_for
from .support import Answer, answers, ask_on, say

Speaking = Callable[..., threadwire.Address]


def echo(request: Request) -> Response:
    """Tells what was asked."""
    if request.path == "/fails":
        raise ZeroDivisionError
    if request.path == "/refuses":
        raise HttpError(418, "no", (("X-Why", "tea"),))
    return json_response(
        {"method": request.method, "path": request.path, "query": request.query}
        | {"headers": request.headers}
    )


@pytest.fixture
def speaking(serving: Serving) -> Speaking:
    """Start a server that speaks HTTP; gives its address."""

    def start(
        respond: Respond = echo,
        waiting: Callable[[bool], object] = bool,
        timeouts: Timeouts = Timeouts(),  # noqa: B008
    ) -> threadwire.Address:
        def serve(connection: threadwire.Connection) -> None:
            converse(connection, respond, waiting, timeouts)

        session = threadwire.session(serve)
        return serving(session, framing=threadwire.Raw(), write_timeout=1.0).address

    return start


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([*lines, b"", b""])


HOST = b"Host: localhost"
GET = head(b"GET / HTTP/1.1", HOST, b"Connection: close")


def only(found: list[Answer]) -> Answer:
    (answer,) = found
    return answer


def test_a_request_is_answered_with_what_it_asked(speaking: Speaking) -> None:
    answer = only(
        say(
            speaking(),
            head(
                b"GET /a%20b?c=d%26&e= HTTP/1.1", HOST, b"X-A: 1", b"x-a: 2", b"Connection: close"
            ),
        )
    )
    assert answer.status == 200
    assert answer.json() == {
        "method": "GET",
        "path": "/a b",
        "query": {"c": "d&", "e": ""},
        "headers": {"host": "localhost", "x-a": "1, 2", "connection": "close"},
    }
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["date"].endswith("GMT")


def test_a_target_with_a_host_overrides_the_header(speaking: Speaking) -> None:
    answer = only(
        say(speaking(), head(b"GET http://other:1/x?y=z HTTP/1.1", HOST, b"Connection: close"))
    )
    assert answer.json()["path"] == "/x"
    assert answer.json()["headers"]["host"] == "other:1"


def test_a_connection_is_kept_for_further_requests(speaking: Speaking) -> None:
    address = speaking()
    with contextlib.closing(HTTPConnection(address.host, address.port, PATIENCE)) as connection:
        for number in range(3):
            assert ask_on(connection, f"/{number}").json()["path"] == f"/{number}"
            kept = connection.sock
        assert ask_on(connection, "/refuses").status == 418
        assert ask_on(connection, "/fails").status == 500
        assert ask_on(connection, "/").status == 200
        assert connection.sock is kept


def test_pipelined_requests_are_answered_in_order(speaking: Speaking) -> None:
    asked = [head(b"GET /%d HTTP/1.1" % number, HOST) for number in range(50)]
    found = say(speaking(), b"".join(asked) + GET)
    assert [answer.json()["path"] for answer in found] == [f"/{n}" for n in range(50)] + ["/"]


def test_a_request_may_come_byte_by_byte(speaking: Speaking) -> None:
    request = head(b"POST /x HTTP/1.1", HOST, b"Transfer-Encoding: chunked")
    request += b"5\r\nhello\r\n0\r\n\r\n"
    with Peer(speaking()) as peer:
        for byte in request + GET:
            peer.say(bytes([byte]))
        assert [answer.json()["path"] for answer in answers(peer.socket)] == ["/x", "/"]


def test_head_has_the_same_headers_and_no_body(speaking: Speaking) -> None:
    request = head(b"HEAD / HTTP/1.1", HOST, b"Connection: close")
    with Peer(speaking()) as peer:
        peer.say(request)
        heard = peer.hear_all()
    assert heard.startswith(b"HTTP/1.1 200 OK\r\n")
    assert heard.endswith(b"\r\n\r\n")
    assert b"\r\nContent-Length: " in heard


def test_http_1_0_is_answered_and_closed(speaking: Speaking) -> None:
    answer = only(say(speaking(), head(b"GET /old HTTP/1.0")))
    assert answer.json()["path"] == "/old"
    assert answer.headers["connection"] == "close"


def test_a_client_that_has_sent_all_it_will_is_still_answered(speaking: Speaking) -> None:
    found = say(speaking(), head(b"GET /a HTTP/1.1", HOST) * 2, finish=True)
    assert [answer.status for answer in found] == [200, 200]


def test_who_asks_before_sending_a_body_is_let(speaking: Speaking) -> None:
    request = head(b"POST / HTTP/1.1", HOST, b"Expect: 100-continue", b"Content-Length: 2")
    with Peer(speaking()) as peer:
        peer.say(request)
        assert peer.hear_line().startswith(b"HTTP/1.1 100 ")
        assert peer.hear_line() == b"\r\n"
        peer.say(b"ab" + GET)
        assert [answer.json()["method"] for answer in answers(peer.socket)] == ["POST", "GET"]


BODY_TOO_LARGE = b"%d" % (MAX_BODY + 1)

REFUSED = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "a line of another protocol": (b"hello\r\n\r\n", 400),
    "an empty head": (b"\r\n\r\n", 400),
    "no version": (head(b"GET /", HOST), 400),
    "bytes in the target": (head(b"GET /\xff HTTP/1.1", HOST), 400),
    "many bytes in the target": (head(b"GET /" + b"\xff" * 5000 + b" HTTP/1.1", HOST), 400),
    "a control character in the target": (head(b"GET /\x01 HTTP/1.1", HOST), 400),
    "no host": (head(b"GET / HTTP/1.1"), 400),
    "two hosts": (head(b"GET / HTTP/1.1", HOST, HOST), 400),
    "a header without a colon": (head(b"GET / HTTP/1.1", HOST, b"oops"), 400),
    "a space in a header's name": (head(b"GET / HTTP/1.1", HOST, b"a b: c"), 400),
    "a header that begins with a space": (head(b"GET / HTTP/1.1", b" a: b", HOST), 400),
    "a NUL": (head(b"GET / HTTP/1.1", HOST, b"a: \0"), 400),
    "a length that is none": (head(b"POST / HTTP/1.1", HOST, b"Content-Length: -1"), 400),
    "two lengths": (
        head(b"POST / HTTP/1.1", HOST, b"Content-Length: 1", b"Content-Length: 2"),
        400,
    ),
    "an enormous length": (head(b"POST / HTTP/1.1", HOST, b"Content-Length: " + b"9" * 30), 400),
    "length and chunks": (
        head(b"POST / HTTP/1.1", HOST, b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        400,
    ),
    "a chunk that is none": (
        head(b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: chunked") + b"xyz\r\n",
        400,
    ),
    "many fields": (
        head(b"GET /?" + b"a=1&" * 17 + b"a=1 HTTP/1.1", HOST, b"Connection: close"),
        400,
    ),
    "another coding": (head(b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: gzip"), 501),
    "a method of proxies": (head(b"CONNECT a:1 HTTP/1.1", HOST), 501),
    "another version": (head(b"GET / HTTP/2.0", HOST), 505),
    "a long target": (head(b"GET /" + b"a" * MAX_TARGET + b" HTTP/1.1", HOST), 414),
    "a long header": (head(b"GET / HTTP/1.1", HOST, b"a: " + b"b" * MAX_HEAD), 431),
    "many headers": (head(b"GET / HTTP/1.1", HOST, *[b"a: b"] * MAX_HEAD), 431),
    "a head without end": (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000, 431),
    "a line without end": (b"G" * 100_000, 431),
    "a large body": (head(b"POST / HTTP/1.1", HOST, b"Content-Length: " + BODY_TOO_LARGE) * 2, 413),
    "a large body that waits to be asked for": (
        head(
            b"POST / HTTP/1.1", HOST, b"Expect: 100-continue", b"Content-Length: " + BODY_TOO_LARGE
        ),
        413,
    ),
    "a body in chunks without end": (
        head(b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: chunked")
        + (b"400\r\n" + b"a" * 1024 + b"\r\n") * 100,
        413,
    ),
    "a chunk's extension without end": (
        head(b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: chunked") + b"1;" + b"a" * 100_000,
        431,
    ),
}


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_gets_its_status_and_the_connection_is_closed(
    speaking: Speaking, events: Events, data: bytes, status: int
) -> None:
    if status == 413 and b"Expect" not in data:
        data += b"a" * (MAX_BODY + 1)
    answer = only(say(speaking(), data))
    assert answer.status == status
    assert answer.error
    assert len(answer.body) < 1000
    assert answer.headers["connection"] == "close"
    assert not events.tracebacks()


def test_a_head_that_ends_too_soon_is_malformed(speaking: Speaking) -> None:
    answer = only(say(speaking(), b"GET / HTTP/1.1\r\nHost: loc", finish=True))
    assert answer.status == 400


@pytest.mark.parametrize(
    "begun", [b"GET / HT", head(b"POST / HTTP/1.1", HOST, b"Content-Length: 9")]
)
def test_a_request_that_takes_too_long_gets_408(speaking: Speaking, begun: bytes) -> None:
    answer = only(say(speaking(timeouts=Timeouts(request=0.1)), begun))
    assert answer.status == 408
    assert answer.headers["connection"] == "close"


def test_dripping_does_not_lengthen_the_time_for_a_request(speaking: Speaking) -> None:
    with Peer(speaking(timeouts=Timeouts(request=0.3))) as peer:
        stop = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                peer.say(b"GET / HTTP/1.1\r\n")
                while not stop.wait(0.01):
                    peer.say(b"a: b\r\n")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            heard = peer.hear_line()
        finally:
            stop.set()
            dripping.join(PATIENCE)
        assert heard.startswith(b"HTTP/1.1 408 ")


def test_who_asks_for_nothing_is_closed_without_a_word(speaking: Speaking) -> None:
    address = speaking(timeouts=Timeouts(idle=0.1))
    assert say(address, b"") == []
    assert len(say(address, head(b"GET / HTTP/1.1", HOST))) == 1


def test_a_fault_of_ours_is_a_500_and_is_logged_once(speaking: Speaking, events: Events) -> None:
    answer = only(say(speaking(), head(b"GET /fails HTTP/1.1", HOST, b"Connection: close")))
    assert answer.status == 500
    assert answer.json() == {"error": "this failed; see the log"}
    (failed,) = events.named("admin-failed")
    assert failed["error"] == "ZeroDivisionError"
    assert failed["doing"] == "GET /fails"


def test_a_refusal_has_its_headers(speaking: Speaking) -> None:
    answer = only(say(speaking(), head(b"GET /refuses HTTP/1.1", HOST, b"Connection: close")))
    assert (answer.status, answer.error, answer.headers["x-why"]) == (418, "no", "tea")


@pytest.mark.parametrize("extra", [b"Upgrade: websocket", b"Connection: upgrade"])
def test_an_upgrade_is_passed_over(speaking: Speaking, extra: bytes) -> None:
    request = head(b"GET / HTTP/1.1", HOST, extra)
    assert [answer.status for answer in say(speaking(), request + GET)] == [200, 200]


def test_not_modified_has_no_body_and_the_connection_is_kept(speaking: Speaking) -> None:
    found = say(speaking(lambda _: Response(b"", status=304)), head(b"GET / HTTP/1.1", HOST) + GET)
    assert [(answer.status, answer.body) for answer in found] == [(304, b"")] * 2


class Parts:
    """A stream of what it is made with."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts
        self.closed = threading.Event()

    def parts(self) -> Iterator[bytes]:
        yield from self._parts

    def close(self) -> None:
        self.closed.set()


def test_a_stream_is_sent_in_parts_and_the_connection_is_kept(speaking: Speaking) -> None:
    found = say(
        speaking(lambda _: Response(Parts(b"ab", b"cd"))), head(b"GET / HTTP/1.1", HOST) + GET
    )
    assert [answer.body for answer in found] == [b"abcd"] * 2
    assert found[0].headers["transfer-encoding"] == "chunked"


def test_a_stream_to_a_client_of_http_1_0_ends_with_the_connection(speaking: Speaking) -> None:
    answer = only(say(speaking(lambda _: Response(Parts(b"ab", b"cd"))), head(b"GET / HTTP/1.0")))
    assert answer.body == b"abcd"
    assert "transfer-encoding" not in answer.headers


def test_a_stream_of_which_only_the_head_is_wanted_is_closed(speaking: Speaking) -> None:
    stream = Parts(b"ab")
    request = head(b"HEAD / HTTP/1.1", HOST, b"Connection: close")
    answer = only(say(speaking(lambda _: Response(stream)), request, method="HEAD"))
    assert answer.body == b""
    wait_for(stream.closed)


def test_a_stream_whose_reader_is_stuck_ends(speaking: Speaking) -> None:
    stream = Parts(*[bytes(1 << 20)] * 100)
    with Peer(speaking(lambda _: Response(stream)), receive_buffer=4096) as peer:
        peer.say(head(b"GET / HTTP/1.1", HOST))
        wait_for(stream.closed)


def test_it_is_told_when_a_request_is_waited_for(speaking: Speaking) -> None:
    told: list[object] = []  # by one session's thread

    def respond(request: Request) -> Response:
        told.append(request.path)
        return json_response({})

    say(speaking(respond, told.append), head(b"GET /a HTTP/1.1", HOST) + GET)
    eventually(lambda: told == [True, False, "/a", True, False, "/"], str(told))


# One server for all examples: what is asked of it is that it survives them.
PIECES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [
                b"GET / HTTP/1.1\r\n",
                b"POST /x?y HTTP/1.1\r\n",
                b"HEAD * HTTP/1.0\r\n",
                b"Host: a\r\n",
                b"Content-Length: 3\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"Expect: 100-continue\r\n",
                b"Connection: close\r\n",
                b"Upgrade: h2c\r\n",
                b"3\r\nabc\r\n",
                b"0\r\n",
                b"\r\n",
                b"\n",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            ]
        ),
    ),
    max_size=12,
)


def test_whatever_bytes_come_a_status_or_an_end_follows(speaking: Speaking, events: Events) -> None:
    address = speaking()

    @settings(max_examples=300, deadline=None)
    @given(PIECES)
    def holds(pieces: list[bytes]) -> None:
        with Peer(address) as peer:
            with contextlib.suppress(OSError):
                peer.say(b"".join(pieces))
                peer.finish()
            heard = peer.hear_all()
        assert heard.startswith(b"HTTP/1.1 ") or not heard
        statuses = {int(line[9:12]) for line in heard.split(b"\r\n") if line[:9] == b"HTTP/1.1 "}
        assert statuses <= {100, 200, 400, 408, 413, 414, 431, 501, 505}

    holds()
    assert not events.tracebacks()
    assert only(say(address, GET)).status == 200


def test_nothing_more_is_answered_of_a_connection_that_has_been_dismissed(serving: Serving) -> None:
    """With what has arrived answered first: each has its turn, though nobody gets the answers."""
    connections: list[threadwire.Connection] = []
    asked: list[str] = []
    ended = threading.Event()

    def respond(request: Request) -> Response:
        asked.append(request.path)
        return json_response({})

    def waiting(begins: bool) -> None:
        if begins and asked:
            connections[0].abort(threadwire.CloseReason.BUSY)

    def serve(connection: threadwire.Connection) -> None:
        connections.append(connection)
        converse(connection, respond, waiting)
        ended.set()

    server = serving(threadwire.session(serve), framing=threadwire.Raw())
    with Peer(server.address) as peer:
        peer.say(b"".join(head(b"GET /%d HTTP/1.1" % n, HOST) for n in range(20)))
        wait_for(ended)
    assert asked == ["/0"]


def test_what_is_malformed_is_told_in_words_alone(speaking: Speaking) -> None:
    answer = only(say(speaking(), head(b"GET /\xd9\xa1 HTTP/1.1", HOST)))
    assert answer.status == 400
    assert answer.json() == {"error": "malformed request: illegal request line"}


def test_many_small_headers_are_a_large_head(speaking: Speaking) -> None:
    """With names and values alone counted: three times as much is let in."""
    lines = [b"X: a"] * (MAX_HEAD // 5)
    answer = only(say(speaking(), head(b"GET / HTTP/1.1", HOST, *lines)))
    assert answer.status == 431
