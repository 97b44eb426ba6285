"""The endpoint, asked by real clients about a real server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import threadwire
from threadwire import CloseReason, ListenError, UsageError
from threadwire.admin import Admin
from threadwire.admin.admin import MAX_CONNECTIONS
from threadwire.admin.routes import MAX_STREAMS

from ..conftest import Events as Logged
from ..conftest import Serving
from ..support import PATIENCE, Peer, eventually, reverse, wait_for
from .conftest import Administering
from .support import Blocking, Events, answers, ask, ask_on, blocked, http, say

HOST = b"Host: localhost\r\n"


def test_what_there_is_and_by_which_methods(serving: Serving, administering: Administering) -> None:
    admin = administering(serving(reverse))
    reading = ("/", "/metrics", "/livez", "/readyz", "/snapshot", "/clients", "/threads")
    with contextlib.closing(http(admin)) as connection:
        for path in reading:
            answer = ask_on(connection, path)
            assert answer.status == 200, path
            assert answer.body, path
            assert ask_on(connection, path, "HEAD").status == 200, path
            wrong = ask_on(connection, path, "POST")
            assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD"), path
        for path in ("/drain", "/suspend", "/resume", "/clients/1/close"):
            for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"):
                wrong = ask_on(connection, path, method)
                assert (wrong.status, wrong.headers["allow"]) == (405, "POST"), path
        for path in ("/nothing", "/metrics/", "//", "/clients/1/close/2", "/%2e%2e/etc/passwd"):
            for method in ("GET", "POST"):
                assert ask_on(connection, path, method).status == 404, path


# The document and the stream of it.


def test_the_snapshot_is_of_the_server(serving: Serving, administering: Administering) -> None:
    server = serving(reverse)
    with Peer(server.address) as peer:
        peer.say(b"hello\n")
        assert peer.hear_line() == b"olleh\n"
        found = ask(administering(server), "/snapshot").json()
    assert found["service"] == {
        "addresses": [str(server.address)],
        "handler": "reverse",
        "session": False,
        "framing": str(server.framing),
    }
    assert (found["phase"], found["ready"]) == ("serving", True)
    assert found["totals"]["messages_received"] == 1
    (client,) = found["clients"]["shown"]
    assert (client["bytes_received"], client["bytes_sent"]) == (6, 6)
    assert client["state"] == "idle"


def test_a_stream_tells_of_clients_that_come_block_and_leave(
    serving: Serving, administering: Administering
) -> None:
    handler = Blocking()
    server = serving(handler)
    with Events(administering(server)) as stream:
        first = stream.document()
        assert first["clients"]["total"] == 0
        assert first["history"] == []
        with blocked(server, handler):
            seen = stream.until(lambda document: document["clients"]["states"]["blocked"])
            (client,) = seen["clients"]["shown"]
            assert client["state"] == "blocked"
            assert client["busy"] > 0
            assert "support.py" in client["line"]
            assert seen["handoffs"][-1]["connection"] == client["id"]
            assert "history" not in seen
        stream.until(lambda document: not document["clients"]["total"])


def test_a_stream_that_begins_later_has_the_history(
    serving: Serving, administering: Administering
) -> None:
    admin = administering(serving(reverse))
    with Events(admin) as stream:
        assert stream.response.headers["content-type"] == "text/event-stream"
        fields = stream.fields()
        assert set(fields) == {"retry", "id", "event", "data"}
        assert fields["event"] == "snapshot"
        stream.until(lambda document: document["interval"])
        with Events(admin) as later:
            (point, *_) = later.document()["history"]
            assert point["messages_per_second"] == 0


def test_streams_are_limited_and_others_are_answered_meanwhile(
    serving: Serving, administering: Administering
) -> None:
    admin = administering(serving(reverse))
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(Events(admin)) for _ in range(MAX_STREAMS)]
        for stream in streams:
            assert stream.document()
        refused = ask(admin, "/events")
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        for path in ("/livez", "/metrics", "/snapshot"):
            assert ask(admin, path).status == 200
        streams[0].close()
        eventually(lambda: ask(admin, "/events", "HEAD").status == 200)


def test_a_stream_whose_reader_is_stuck_holds_up_no_other(
    serving: Serving, administering: Administering
) -> None:
    admin = administering(serving(reverse))
    with Peer(admin.address, receive_buffer=4096) as stuck:
        stuck.say(b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n")
        with Events(admin) as stream:
            numbers = [int(stream.fields()["id"]) for _ in range(3)]
    assert numbers == sorted(set(numbers))


# Clients.


def test_clients_are_listed_as_asked(serving: Serving, administering: Administering) -> None:
    handler = Blocking()
    server = serving(handler)
    admin = administering(server)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(4)]
        for number, peer in enumerate(peers):
            peer.say(b"x" * number + b"\n")
            assert peer.hear_line() == b"x" * number + b"\n"
        stack.enter_context(blocked(server, handler))

        def listed(query: str = "") -> list[int]:
            return [client["id"] for client in ask(admin, f"/clients{query}").json()["clients"]]

        eventually(lambda: listed("?state=blocked") == [5])
        assert listed() == [1, 2, 3, 4, 5]
        assert listed("?sort=busy")[0] == 5
        assert listed("?sort=bytes")[:2] == [4, 3]
        assert listed("?sort=age") == [1, 2, 3, 4, 5]
        assert listed("?state=idle") == [1, 2, 3, 4]
        assert listed("?limit=2&after=1") == [2, 3]
        assert listed("?sort=idle&state=idle&limit=1") == [1]
        assert sorted(listed("?sort=rate")) == [1, 2, 3, 4, 5]
        whole = ask(admin, "/clients?limit=4").json()
        assert (whole["schema"], whole["total"], whole["more"]) == (1, 5, True)
        assert whole["states"]["idle"] == 4
        assert ask(admin, "/clients?limit=5").json()["more"] is False


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("sort=peer", "sort must be one of"),
        ("state=bored", "state must be one of"),
        ("limit=0", "limit must be 1 to"),
        ("limit=99999999", "limit must be 1 to"),
        ("limit=-1", "limit must be a whole number"),
        ("limit=\u00b2", "limit must be a whole number"),
        ("limit=1e9", "limit must be a whole number"),
        ("after=x", "after must be a whole number"),
        ("sort=age&after=1", "after, an id, goes with"),
        ("page=1", "there is no 'page'"),
    ],
)
def test_a_list_that_is_asked_for_wrongly(
    serving: Serving, administering: Administering, query: str, problem: str
) -> None:
    quoted = query.encode().decode("latin-1").encode("ascii", "backslashreplace").decode()
    quoted = re.sub(r"\\x(..)", r"%\1", quoted)
    answer = ask(administering(serving(reverse)), f"/clients?{quoted}")
    assert answer.status == 400
    assert problem in answer.error


def test_a_client_is_told_of_with_its_stack(serving: Serving, administering: Administering) -> None:
    handler = Blocking()
    server = serving(handler)
    admin = administering(server)
    with blocked(server, handler):
        eventually(lambda: ask(admin, "/clients/1").json()["stack"])
        found = ask(admin, "/clients/1").json()
        assert found["id"] == 1
        assert found["local"] == str(server.address)
        assert any(" in __call__: wait_for(self.go)" in line for line in found["stack"])
    ask(admin, "/clients")
    with Peer(server.address):
        eventually(lambda: server.connections and server.connections[-1].id == 2)
        assert ask(admin, "/clients/2").json()["stack"] == [], "though no list has it yet"
    for number in ("99", "0", "x", "-1", "1" * 400, "%00", "\u0661".encode().hex("%")):
        assert ask(admin, f"/clients/{number}").status == 404


def test_a_client_is_closed(serving: Serving, administering: Administering) -> None:
    server = serving(reverse)
    admin = administering(server)
    with Peer(server.address) as peer, Peer(server.address) as other:
        eventually(lambda: len(server.connections) == 2)
        answer = ask(admin, "/clients/1/close", "POST")
        assert (answer.status, answer.json()) == (202, {"closing": 1})
        assert peer.hear_all() == b""
        other.say(b"ab\n")
        assert other.hear_line() == b"ba\n"
        eventually(lambda: len(server.connections) == 1)
        assert ask(admin, "/clients/1/close", "POST").status == 404


def test_threads_are_told_of_by_name_with_what_they_serve(
    serving: Serving, administering: Administering
) -> None:
    handler = Blocking()
    server = serving(handler)
    admin = administering(server)
    with blocked(server, handler):

        def serves_one() -> list[Any]:
            json_wanted = {"Accept": "application/json"}
            found = ask(admin, "/threads", headers=json_wanted).json()
            assert found["left_out"] == 0
            return [thread for thread in found["threads"] if thread["serves"]]

        eventually(serves_one)
        (thread,) = serves_one()
        assert thread["serves"]["id"] == 1
        assert any("wait_for(self.go)" in line for line in thread["stack"])
        answer = ask(admin, "/threads")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        text = answer.body.decode()
        assert ", serves client 1 tcp://127.0.0.1:" in text
        assert "wait_for(self.go)" in text
        assert threading.current_thread().name in text
        assert "threadwire-admin-sampler" in text


# Health.


def test_ready_is_who_serves(serving: Serving, administering: Administering) -> None:
    server = serving(reverse)
    admin = administering(server)

    def ready() -> tuple[int, Any]:
        answer = ask(admin, "/readyz")
        return answer.status, answer.json()

    assert ready() == (200, {"ready": True})
    server.suspend()
    assert ready() == (503, {"ready": False, "why": "suspended"})
    server.resume()
    assert ready() == (200, {"ready": True})
    server.close()
    assert ready() == (503, {"ready": False, "why": "closed"})
    assert ask(admin, "/livez").status == 200


def test_a_server_that_has_not_started_is_told_of(administering: Administering) -> None:
    server = threadwire.Server(reverse, "tcp://127.0.0.1:0")
    admin = administering(server)
    assert ask(admin, "/readyz").json() == {"ready": False, "why": "new"}
    assert ask(admin, "/livez").status == 200
    assert ask(admin, "/snapshot").json()["phase"] == "new"
    for action in ("/drain", "/suspend", "/resume"):
        answer = ask(admin, action, "POST")
        assert (answer.status, answer.error) == (409, "the server has not been started")
    server.close()


class StuckCodec(threadwire.Codec):
    """Stays inside ``feed``, on the loop, until it is let go."""

    def __init__(self, inside: threading.Event, go: threading.Event) -> None:
        self._inside = inside
        self._go = go

    def feed(self, data: bytes) -> None:
        self._inside.set()
        wait_for(self._go)

    def end(self) -> None: ...

    def next_message(self) -> bytes | None:
        return None

    def encode(self, message: bytes) -> bytes:
        return message

    @property
    def unread(self) -> int:
        return 0


class Stuck(threadwire.Framing):
    """What holds up a loop, where no hand-off helps."""

    __slots__ = ("go", "inside")

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.go = threading.Event()

    def codec(self, max_message: int = 1) -> threadwire.Codec:
        return StuckCodec(self.inside, self.go)

    def __str__(self) -> str:
        return "stuck"


def test_a_loop_that_does_not_answer_is_not_live(
    serving: Serving, administering: Administering
) -> None:
    framing = Stuck()
    server = serving(reverse, framing=framing)
    admin = administering(server)
    assert ask(admin, "/livez").json() == {"live": True}
    with Peer(server.address) as peer:
        peer.say(b"x")
        wait_for(framing.inside)
        try:
            answer = ask(admin, "/livez")
            assert answer.status == 503
            assert answer.json()["why"] == "a loop has not answered within 1 s"
            assert ask(admin, "/metrics").status == 200
            assert ask(admin, "/snapshot").status == 200
        finally:
            framing.go.set()
    eventually(lambda: ask(admin, "/livez").status == 200)


# Acting.


def test_draining_ends_clients_and_lets_no_new_ones_in_until_it_resumes(
    serving: Serving, administering: Administering, events: Logged
) -> None:
    handler = Blocking()
    server = serving(handler)
    admin = administering(server)
    with Peer(server.address) as idle, blocked(server, handler) as busy:
        eventually(lambda: len(server.connections) == 2)
        answer = ask(admin, "/drain", "POST")
        assert (answer.status, answer.json()["phase"]) == (202, "draining")
        assert idle.hear_all() == b""
        assert ask(admin, "/readyz").json()["why"] == "draining"
        assert ask(admin, "/drain", "POST").status == 202, "as often as one likes"
        handler.go.set()
        assert busy.hear_all() == b"yats\n", "what was begun is finished"
    with Peer(server.address) as late:
        late.say(b"ab\n")
        late.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            late.hear_line()
        answer = ask(admin, "/resume", "POST")
        assert (answer.status, answer.json()["phase"]) == (200, "serving")
        late.socket.settimeout(PATIENCE)
        assert late.hear_line() == b"ba\n"
    assert [told["action"] for told in events.named("admin-action")] == ["drain", "drain", "resume"]
    told = [list(fields) for fields in events.named("draining")]
    assert told == [["connections"]] * 2, "nobody is cut, so there is no deadline"


def test_suspending_keeps_clients_and_lets_no_new_ones_in(
    serving: Serving, administering: Administering
) -> None:
    server = serving(reverse)
    admin = administering(server)
    with Peer(server.address) as peer:
        eventually(lambda: server.connections)
        answer = ask(admin, "/suspend", "POST")
        assert (answer.status, answer.json()) == (200, {"phase": "suspended", "connections": 1})
        peer.say(b"ab\n")
        assert peer.hear_line() == b"ba\n"
        assert ask(admin, "/resume", "POST").json()["phase"] == "serving"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "rebound.example:9180"},
    ],
)
def test_a_page_of_another_site_can_do_nothing(
    serving: Serving, administering: Administering, headers: dict[str, str]
) -> None:
    server = serving(reverse)
    admin = administering(server)
    with Peer(server.address):
        eventually(lambda: server.connections)
        for path in ("/drain", "/suspend", "/clients/1/close"):
            assert ask(admin, path, "POST", headers).status == 403
        for path in ("/snapshot", "/events", "/clients", "/threads", "/metrics"):
            assert ask(admin, path, headers=headers).status == 403
        assert server.snapshot().phase == "serving"
        assert len(server.connections) == 1


# The page.


def test_the_page_and_its_files(serving: Serving, administering: Administering) -> None:
    admin = administering(serving(reverse))
    page = ask(admin, "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    names = set(re.findall(r'(?:href|src)="/?(assets/[^"]+)"', page.body.decode()))
    assert names
    types = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
    for name in names:
        asset = ask(admin, f"/{name}")
        assert asset.status == 200, name
        ending = name.rpartition(".")[2]
        assert asset.headers["content-type"] == types.get(ending, "image/svg+xml")
        assert asset.headers["cache-control"] == "no-cache"
        again = ask(admin, f"/{name}", headers={"If-None-Match": asset.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        assert ask(admin, f"/{name}", headers={"If-None-Match": '"other"'}).body == asset.body


@pytest.mark.parametrize(
    "name", ["nothing.js", "", "..", "%2e%2e%2fadmin.py", "../admin.py", ".%00.js", "__init__.py"]
)
def test_no_other_file_is_given_out(
    serving: Serving, administering: Administering, name: str
) -> None:
    assert ask(administering(serving(reverse)), f"/assets/{name}").status == 404


# Bounds.


def test_it_answers_when_the_service_is_full(
    serving: Serving, administering: Administering
) -> None:
    server = serving(reverse, max_clients=2)
    admin = administering(server)
    with Peer(server.address), Peer(server.address), Peer(server.address):
        eventually(lambda: len(server.connections) == 2)
        limits = {limit["name"]: limit for limit in ask(admin, "/snapshot").json()["limits"]}
        assert (limits["max_clients"]["used"], limits["max_clients"]["limit"]) == (2, 2)
        assert ask(admin, "/livez").status == 200
        assert ask(admin, "/readyz").status == 200
        assert b'threadwire_limit_used{name="max_clients"} 2.0' in ask(admin, "/metrics").body


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """The process gets no further one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.open("/", os.O_RDONLY)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_it_answers_when_no_descriptor_is_left(
    serving: Serving, administering: Administering, events: Logged
) -> None:
    admin = administering(serving(reverse))
    paths = ("/", "/livez", "/readyz", "/metrics", "/snapshot", "/clients", "/threads")
    with contextlib.closing(http(admin)) as kept:
        for path in paths:
            assert ask_on(kept, path).status == 200
        with no_descriptors():
            for path in paths:
                assert ask_on(kept, path).status == 200, path
    assert not events.tracebacks()


def many(most: int) -> int:
    """As many connections as the descriptors allow."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return int(most if soft == resource.RLIM_INFINITY else min(most, soft - 300))


@contextlib.contextmanager
def crowd(admin: Admin, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that ask for nothing."""
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex((admin.address.host, admin.address.port))
            sockets.append(connection)
        yield sockets
    finally:
        for connection in sockets:
            connection.close()


def test_thousands_of_connections_that_ask_for_nothing(
    serving: Serving, administering: Administering, events: Logged
) -> None:
    server = serving(reverse)
    admin = administering(server)
    with crowd(admin, many(2000)), Peer(server.address) as peer:
        for _ in range(20):
            peer.say(b"hello\n")
            assert peer.hear_line() == b"olleh\n"
        for path in ("/livez", "/metrics", "/snapshot"):
            assert ask(admin, path).status == 200
        assert len(admin._server.connections) <= MAX_CONNECTIONS
        own = [thread for thread in threading.enumerate() if "threadwire" in thread.name]
        assert len(own) < MAX_CONNECTIONS + 20
        assert server.snapshot().accepted == 1
    assert not events.tracebacks()


def test_clients_that_never_stop_asking(serving: Serving, administering: Administering) -> None:
    admin = administering(serving(reverse))
    stop = threading.Event()
    asked = threading.Semaphore(0)

    def ask_on_and_on() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError, HTTPException), contextlib.closing(http(admin)) as c:
                while not stop.is_set():
                    ask_on(c, "/readyz")
                    asked.release()

    asking = [threading.Thread(target=ask_on_and_on) for _ in range(MAX_CONNECTIONS + 10)]
    for thread in asking:
        thread.start()
    try:
        for _ in asking:
            assert asked.acquire(timeout=PATIENCE)
        for path in ("/livez", "/metrics", "/snapshot"):
            assert ask(admin, path).status == 200
    finally:
        stop.set()
        for thread in asking:
            thread.join(PATIENCE)


def test_its_own_clients_are_in_none_of_the_service_s_figures(
    serving: Serving, administering: Administering
) -> None:
    admin = administering(serving(reverse))
    for _ in range(5):
        ask(admin, "/clients")
    found = ask(admin, "/snapshot").json()
    assert found["totals"]["accepted"] == 0
    assert found["totals"]["bytes_received"] == 0
    assert found["now"]["connections"] == 0
    assert not found["totals"]["closed"]


def test_whatever_is_asked_there_is_an_answer(
    serving: Serving, administering: Administering, events: Logged
) -> None:
    admin = administering(serving(reverse))
    text = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)
    known = st.sampled_from(
        ["", "metrics", "livez", "readyz", "snapshot", "clients", "threads", "assets", "close"]
    )
    paths = st.lists(st.one_of(known, text), max_size=4).map("/".join)
    names = st.sampled_from(
        ["Accept", "Authorization", "Origin", "Sec-Fetch-Site", "If-None-Match", "X"]
    )
    methods = st.sampled_from(["GET", "HEAD", "POST", "DELETE", "X"])

    @settings(max_examples=200, deadline=None)
    @given(methods, paths, st.dictionaries(names, text))
    def holds(method: str, path: str, headers: dict[str, str]) -> None:
        lines = [f"{method} /{path} HTTP/1.1", "Host: localhost", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        data = "\r\n".join([*lines, "", ""]).encode()
        (answer,) = say(admin.address, data, method=method)
        assert answer.status in (200, 202, 304, 400, 403, 404, 405), (answer.status, path)
        if answer.status >= 400 and method != "HEAD":
            assert answer.error

    holds()
    assert not events.tracebacks()


# Its life.


def test_it_listens_on_a_unix_socket(
    serving: Serving, administering: Administering, tmp_path: Path
) -> None:
    admin = administering(serving(reverse), f"unix://{tmp_path}/admin.sock")
    assert admin.url == f"unix://{tmp_path}/admin.sock"
    with Peer(admin.address) as peer:
        peer.say(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        (answer,) = answers(peer.socket)
        assert answer.json() == {"ready": True}


def test_its_url_is_where_it_listens(serving: Serving, administering: Administering) -> None:
    admin = administering(serving(reverse))
    assert admin.url == f"http://127.0.0.1:{admin.address.port}"
    assert str(admin.address.port) in repr(admin)
    if socket.has_dualstack_ipv6():
        admin = administering(serving(reverse), "[::1]:0")
        assert admin.url == f"http://[::1]:{admin.address.port}"
        assert ask(admin, "/livez").status == 200


def test_a_port_that_is_taken_is_a_listen_error_and_leaves_nothing(
    serving: Serving, administering: Administering
) -> None:
    server = serving(reverse)
    taken = administering(server)
    with pytest.raises(ListenError):
        Admin(server, taken.address).start()
    assert ask(taken, "/livez").status == 200


@pytest.mark.parametrize("address", ["", "9180", "tcp://127.0.0.1", "ftp://127.0.0.1:1", 7])
def test_an_address_that_is_none(serving: Serving, address: Any) -> None:
    with pytest.raises(UsageError):
        Admin(serving(reverse), address)


def test_closing_ends_streams_and_kept_connections(
    serving: Serving, administering: Administering, events: Logged
) -> None:
    admin = administering(serving(reverse))
    with contextlib.closing(http(admin)) as kept, Events(admin) as stream:
        assert ask_on(kept, "/livez").status == 200
        assert stream.document()
        admin.close()
        while stream.fields():
            pass
        admin.close()
    assert not events.named("cut")
    with pytest.raises(ConnectionRefusedError):
        http(admin)


def test_it_goes_before_or_after_the_server(serving: Serving) -> None:
    server = serving(reverse)
    with Admin(server, "127.0.0.1:0") as admin:
        with Events(admin) as stream:
            assert stream.document()["phase"] == "serving"
            server.close()
            stream.until(lambda document: document["phase"] == "closed")


def test_another_one_may_follow_at_the_same_address(serving: Serving) -> None:
    server = serving(reverse)
    with Admin(server, "127.0.0.1:0") as admin:
        address = admin.address
        with Events(admin) as stream:
            assert stream.document()
    with Admin(server, address) as admin:
        assert ask(admin, "/livez").status == 200


def test_what_it_does_is_in_the_log(
    serving: Serving, administering: Administering, events: Logged
) -> None:
    server = serving(reverse)
    admin = administering(server)
    (listening,) = events.named("admin-listening")
    assert listening == {"url": admin.url, "token": False}
    with Peer(server.address):
        eventually(lambda: server.connections)
        ask(admin, "/clients/1/close", "POST")
    (action,) = events.named("admin-action")
    assert (action["action"], action["connection"]) == ("close-client", 1)
    assert action["peer"].host == "127.0.0.1"
    eventually(lambda: any(told["reason"] for told in events.named("closed")))
    assert CloseReason.HANDLER_CLOSED in {told["reason"] for told in events.named("closed")}


def test_its_own_clients_leave_no_lines_in_the_log(
    serving: Serving, administering: Administering, events: Logged
) -> None:
    admin = administering(serving(reverse))
    with Events(admin) as stream:
        assert stream.document()
    for path in ("/", "/metrics", "/nothing"):
        ask(admin, path)
    admin.close()
    for name in ("opened", "closed", "draining", "stopped"):
        assert not events.named(name)


def test_a_fault_of_ours_is_logged_and_the_next_request_is_answered(
    serving: Serving,
    administering: Administering,
    events: Logged,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admin = administering(serving(reverse))

    def failing(*, clients: bool = False) -> None:
        raise MemoryError

    monkeypatch.setattr(admin._sampler, "_take_snapshot", failing)
    answer = ask(admin, "/clients")
    assert answer.status == 500
    assert json.loads(answer.body) == {"error": "this failed; see the log"}
    monkeypatch.undo()
    eventually(lambda: ask(admin, "/clients").status == 200)
    assert events.named("admin-failed")
