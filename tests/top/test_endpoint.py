"""Asking the admin endpoint: a real one, and whatever else may be there."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

import threadwire
from threadwire.top.endpoint import Endpoint, Lost, NotAdmin, Refused, parse_admin_url
from threadwire.top.feed import documents
from threadwire.top.listing import list_clients
from threadwire.top.view import View

from ..conftest import Against
from ..support import eventually, wait_for
from ..tls_support import authority, certificate
from .conftest import Watching
from .documents import client_value
from .support import answering, http_answer


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:9180", "http://127.0.0.1:9180"),
        (" http://127.0.0.1:9180/ ", "http://127.0.0.1:9180"),
        ("tcp://localhost:1", "http://localhost:1"),
        (":9180", "http://localhost:9180"),
        ("[::1]:9180", "http://[::1]:9180"),
        ("https://example.org:443", "https://example.org:443"),
        ("tls://example.org:443", "https://example.org:443"),
        ("unix:///run/admin.sock", "unix:///run/admin.sock"),
    ],
)
def test_addresses_that_are_understood(text: str, url: str) -> None:
    assert Endpoint(parse_admin_url(text)).url == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "http://localhost",
        "http://localhost/",
        "http://localhost:9180/events",
        "http://user@localhost:9180",
        "localhost:0",
        "localhost:99999",
        "ftp://localhost:21",
        "fd://3",
        "unix://run",
        "http://\x1b[2J:80",
        "::1:9180",
    ],
)
def test_addresses_that_are_not(text: str) -> None:
    with pytest.raises(threadwire.AddressError) as caught:
        parse_admin_url(text)
    assert caught.value.address == text


def test_an_address_with_a_path_is_told_what_is_wrong_with_it() -> None:
    with pytest.raises(threadwire.AddressError, match=r"it has a path, .*http://HOST:PORT"):
        parse_admin_url("http://127.0.0.1:9180/metrics")


def test_a_ca_is_for_tls() -> None:
    with pytest.raises(threadwire.UsageError, match="ca is for https"):
        Endpoint(parse_admin_url("localhost:1"), ca="file.pem")


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(threadwire.ConnectError, match=f"127.0.0.1:{port}: connection refused"):
        Endpoint(parse_admin_url(f"127.0.0.1:{port}")).get("/snapshot")
    with pytest.raises(threadwire.ConnectError, match="no such file"):
        Endpoint(parse_admin_url("unix:///nowhere/at/all")).get("/snapshot")
    with pytest.raises(threadwire.ConnectError, match=r"nowhere\.invalid"):
        Endpoint(parse_admin_url("nowhere.invalid:1")).get("/snapshot")


def test_what_it_says_at_a_path_and_as_events(watching: Watching) -> None:
    watched = watching()
    watched.client()
    endpoint = watched.endpoint()
    assert endpoint.get("/snapshot")["now"]["connections"] == 1
    with endpoint.events() as stream:
        first, value = next(documents(stream))
    assert (first.total, value["schema"]) == (1, 1)


def test_a_unix_socket(watching: Watching, tmp_path: Path) -> None:
    watched = watching(address=f"unix://{tmp_path}/admin")
    assert watched.endpoint().get("/livez") == {"live": True}


def test_tls(watching: Watching, tmp_path: Path) -> None:
    cert, ca = tmp_path / "cert.pem", tmp_path / "ca.pem"
    cert.write_bytes(certificate().private_key_and_cert_chain_pem.bytes())
    authority().cert_pem.write_to_path(str(ca))
    watched = watching(address="tls://127.0.0.1:0", tls_cert=str(cert))
    assert watched.url.startswith("https://")
    assert watched.endpoint(ca=str(ca)).get("/livez") == {"live": True}
    with pytest.raises(threadwire.ConnectError, match="authority that is not trusted"):
        watched.endpoint().get("/livez")


def test_a_token_which_is_read_anew_every_time(watching: Watching, tmp_path: Path) -> None:
    watched = watching(token="a-secret-of-some-length")
    with pytest.raises(Refused, match=r"\(401\).*give it with --token-file"):
        watched.endpoint().get("/snapshot")
    file = tmp_path / "token"
    file.write_text("another-one\n")
    endpoint = watched.endpoint(token_file=str(file))
    with pytest.raises(Refused, match=r"\(401\).*is it the right one"):
        endpoint.events()
    file.write_text("a-secret-of-some-length\n")
    assert endpoint.get("/snapshot")["schema"] == 1
    endpoint.events().close()


@pytest.mark.parametrize("token", [b"", b" \n", b"two words", b"l\xc3\xa4nge", b"a\nb", b"\xff"])
def test_a_file_without_a_token(tmp_path: Path, token: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(token)
    with pytest.raises(threadwire.UsageError, match="must have a token"):
        Endpoint(parse_admin_url("localhost:1"), token_file=str(file))
    with pytest.raises(threadwire.UsageError, match="no such file"):
        Endpoint(parse_admin_url("localhost:1"), token_file=f"{file}-not-there")


def test_what_cannot_be_done_is_said(watching: Watching) -> None:
    with pytest.raises(Refused, match="client 99") as caught:
        watching().endpoint().post("/clients/99/close")
    assert caught.value.status == 404


LONG = b"x" * (9 << 20)
CASES = [
    (b"", threadwire.ConnectError, "hung up without an answer"),
    (b"SSH-2.0-OpenSSH\r\n", NotAdmin, "does not speak HTTP"),
    (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n", NotAdmin, "does not speak HTTP"),
    (http_answer("200 OK", b"hello"), NotAdmin, "no JSON"),
    (http_answer("404 Not Found", b"<html>"), NotAdmin, "it answers 404 Not Found"),
    (http_answer("503 \x1b[2J", b"oh"), Refused, r"\(503\): \\x1b\[2J"),
    (http_answer("503 Busy", b'{"error":"\x1b[2J"}'), Refused, r"\(503\)"),
    (http_answer("403 No", b'{"error":"\\u001b[2J"}'), Refused, r"\(403\): \\x1b\[2J"),
    (http_answer("302 Found", b"", "Location: /elsewhere"), Refused, "302"),
    (http_answer("200 OK", LONG), NotAdmin, "more than"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", Lost, "before it had answered"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Lost, "before it had"),
]


@pytest.mark.parametrize(("data", "error", "words"), CASES, ids=range(len(CASES)))
def test_whatever_answers_is_a_typed_error(
    against: Against, data: bytes, error: type[Exception], words: str
) -> None:
    url = against(answering(data))
    with pytest.raises(error, match=words) as caught:
        Endpoint(parse_admin_url(url)).get("/snapshot")
    assert str(caught.value).isprintable()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
STREAMS = [
    (http_answer("200 OK", b"{}", "Content-Type: text/html"), NotAdmin, "the type 'text/html'"),
    (http_answer("200 OK", b"{}"), NotAdmin, "of the type ''"),
    (HEAD, Lost, "it hung up"),
    (HEAD + b": nothing but a comment\n\n", Lost, "it hung up"),
    (HEAD + b"event: snapshot\ndata: {}\n\n", NotAdmin, "schema is missing"),
    (HEAD + b'event: snapshot\ndata: {"schema": 9}\n\n', NotAdmin, "schema 9"),
    (HEAD + b"event: snapshot\ndata: nonsense\n\n", NotAdmin, "no JSON"),
    (HEAD + b"data: " + LONG, NotAdmin, "an event of more than"),
    (HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nda"), Lost, "hung up"),
]


@pytest.mark.parametrize(("data", "error", "words"), STREAMS, ids=range(len(STREAMS)))
def test_whatever_streams_is_a_typed_error(
    against: Against, data: bytes, error: type[Exception], words: str
) -> None:
    endpoint = Endpoint(parse_admin_url(against(answering(data))))
    with pytest.raises(error, match=words):
        with endpoint.events() as stream:
            for _ in documents(stream):
                pass


def test_close_ends_what_is_under_way_and_whatever_comes(against: Against) -> None:
    begun = threading.Event()

    def silent(connected: socket.socket) -> None:
        connected.recv(65536)
        begun.set()
        connected.recv(1)

    endpoint = Endpoint(parse_admin_url(against(silent)))
    outcome: list[Exception] = []

    def ask() -> None:
        try:
            endpoint.get("/snapshot")
        except threadwire.ThreadwireError as error:
            outcome.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(begun)
    endpoint.close()
    thread.join()
    assert len(outcome) == 1
    with pytest.raises(Lost):
        endpoint.get("/snapshot")


# Where there are more clients than a document has.


def listing(watched_url: str, **options: object) -> list[int]:
    view = View(**options)  # type: ignore[arg-type]
    return [c.id for c in list_clients(Endpoint(parse_admin_url(watched_url)), view.search).clients]


def test_clients_are_found_by_the_endpoint_or_page_by_page(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threadwire.top.listing._PAGE", 3)
    watched = watching()
    for _ in range(10):
        watched.client()
    eventually(lambda: len(watched.server.connections) == 10)
    assert listing(watched.url, sort="id") == list(range(1, 11))
    watched.peers[3].say(b"abc\n")
    watched.peers[3].hear_line()
    eventually(lambda: listing(watched.url, sort="bytes", limit=1) == [4])
    assert listing(watched.url, sort="id", falling=True, limit=4) == [10, 9, 8, 7]
    assert listing(watched.url, sort="messages", limit=3) == [4, 10, 9]
    peer = watched.peers[6].socket.getsockname()[1]
    assert listing(watched.url, text=f":{peer}") == [7]


@pytest.mark.parametrize(
    "body", [b"{}", b'{"clients":[{}],"more":false}', b'{"clients":{},"more":false}', b"[]"]
)
def test_a_listing_that_is_none(against: Against, body: bytes) -> None:
    with pytest.raises(NotAdmin):
        listing(against(answering(http_answer("200 OK", body))))


def test_a_listing_that_does_not_get_on(watching: Watching) -> None:
    body = json.dumps({"clients": [client_value(0)], "more": True}).encode()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connected, _ = listening.accept()
            with connected:
                answering(http_answer("200 OK", body))(connected)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(NotAdmin, match="does not get on"):
            listing(f"127.0.0.1:{listening.getsockname()[1]}", sort="peer")
        thread.join()
