"""Who may ask: tokens, hosts, and pages of other sites."""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import socket
import threading
from http.client import HTTPSConnection
from pathlib import Path

import pytest

import threadwire
from threadwire import UsageError
from threadwire.admin import Admin
from threadwire.admin.admin import MAX_CONNECTIONS
from threadwire.admin.auth import FixedToken, Guard, Token, TokenFile, is_local
from threadwire.admin.http import HttpError, Request

from ..conftest import Events, Serving
from ..support import PATIENCE, eventually, reverse
from ..tls_support import certificate, client_side
from .conftest import Administering
from .support import Events as Stream
from .support import ask, ask_on

TOKEN = "a-token-of-visible-characters"
PEER = threadwire.Address("tcp", "127.0.0.1", 1)


def asking(method: str = "GET", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, "/snapshot", {}, {"host": "127.0.0.1:9180"} | named, PEER)


def outcome(guard: Guard, request: Request, *, public: bool = False) -> int:
    try:
        guard.check(request, public=public)
    except HttpError as error:
        return error.status
    return 200


OPEN = Guard(None, frozenset({"admin.example"}))
GUARDED = Guard(FixedToken(TOKEN), frozenset())


# Addresses.


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("tcp://127.0.0.1:1", True),
        ("tcp://127.8.9.10:1", True),
        ("tcp://[::1]:1", True),
        ("tcp://localhost:1", True),
        ("unix:///run/admin.sock", True),
        ("tcp://:1", False),
        ("tcp://0.0.0.0:1", False),
        ("tcp://[::]:1", False),
        ("tcp://192.0.2.1:1", False),
        ("tcp://localhost.example:1", False),
        ("tcp://127.0.0.1.example:1", False),
        ("tls://192.0.2.1:1", False),
    ],
)
def test_what_only_this_machine_reaches(url: str, local: bool) -> None:
    assert is_local(threadwire.parse_address(url)) is local


@pytest.mark.parametrize("address", ["0.0.0.0:9180", "tcp://:9180", "[::]:9180", "example.org:1"])
def test_an_address_that_others_reach_needs_a_token(address: str) -> None:
    server = threadwire.Server(reverse, "tcp://127.0.0.1:0")
    with pytest.raises(UsageError, match="without a token it must be a loopback one"):
        Admin(server, address)
    Admin(server, address, token=TOKEN).close()


def test_a_socket_that_is_inherited_is_looked_at_when_it_is_there(serving: Serving) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listening:
        admin = Admin(serving(reverse), f"fd://{os.dup(listening.fileno())}")
        with pytest.raises(UsageError, match="without a token"):
            admin.start()


# Tokens.


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        ("", "is empty"),
        ("two words", "visible ASCII"),
        ("ünïcode", "visible ASCII"),
        ("line\nline", "visible ASCII"),
        ("a" * 5000, "at most 4096"),
        (7, "must be a string"),
    ],
)
def test_a_token_that_is_none_is_refused(token: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        FixedToken(token)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"one\ntwo\n", "one line"),
        (b"\xff\xfe", "visible ASCII"),
        (b"a" * 100_000, "at most 4096"),
        (b"a" * 4097, "at most 4096"),
    ],
)
def test_a_file_that_holds_no_token_is_refused(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=f"{file}.*{problem}"):
        TokenFile(file)


def test_a_file_that_is_not_there_or_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        TokenFile(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="directory"):
        TokenFile(tmp_path)
    with pytest.raises(UsageError, match="no regular file"):
        TokenFile("/dev/null")
    with pytest.raises(UsageError, match="must be the path"):
        TokenFile(7)  # type: ignore[arg-type]


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    problems: list[str] = []

    def look() -> None:
        try:
            TokenFile(pipe)
        except UsageError as error:
            problems.append(str(error))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(PATIENCE)
    if looking.is_alive():  # it waits for this
        pipe.write_bytes(b"")
        looking.join()
        raise AssertionError("it waited for somebody to write")
    assert problems == [f"token_file {pipe} is no regular file"]


def token_file(directory: Path, content: str = TOKEN + "\n", mode: int = 0o600) -> Path:
    """Put it into its place as those do who rotate secrets: whole."""
    new, file = directory / "new", directory / "token"
    new.write_text(content)
    new.chmod(mode)
    new.rename(file)
    return file


def test_a_file_s_line_end_is_no_part_of_its_token(tmp_path: Path) -> None:
    assert TokenFile(token_file(tmp_path)).matches(TOKEN)
    assert not TokenFile(token_file(tmp_path)).matches(TOKEN + "\n")


def test_a_token_that_changes_in_its_file_counts_from_then_on(tmp_path: Path) -> None:
    token = TokenFile(token_file(tmp_path))
    token_file(tmp_path, "another")
    assert token.matches("another")
    assert not token.matches(TOKEN)


@pytest.mark.parametrize("then", ["", "two words", None])
def test_when_the_file_gets_worse_its_token_stays(
    tmp_path: Path, events: Events, then: str | None
) -> None:
    file = token_file(tmp_path)
    token = TokenFile(file)
    if then is None:
        file.unlink()
    else:
        token_file(tmp_path, then)
    assert token.matches(TOKEN)
    assert token.matches(TOKEN)
    assert len(events.named("admin-token")) == 1, "it is told once"
    token_file(tmp_path, "better")
    assert token.matches("better")


def test_a_file_that_others_can_read_is_warned_of(tmp_path: Path, events: Events) -> None:
    TokenFile(token_file(tmp_path))
    assert not events.named("admin-token")
    TokenFile(token_file(tmp_path, mode=0o644))
    (warning,) = events.named("admin-token")
    assert "0644" in warning["problem"]


def test_token_and_file_exclude_each_other(tmp_path: Path) -> None:
    server = threadwire.Server(reverse, "tcp://127.0.0.1:0")
    with pytest.raises(UsageError, match="exclude each other"):
        Admin(server, token=TOKEN, token_file=str(token_file(tmp_path)))


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN} ", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        ("Bearer ", 401),
        ("Bearer", 401),
        ("Bearer \xff\u20ac", 401),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        ("", 401),
    ],
)
def test_the_token_has_to_be_the_one(authorization: str, status: int) -> None:
    request = asking(authorization=authorization)
    assert outcome(GUARDED, request) == status
    assert outcome(GUARDED, request, public=True) == 200


def test_a_refusal_says_what_is_wanted() -> None:
    with pytest.raises(HttpError) as caught:
        GUARDED.check(asking(), public=False)
    assert caught.value.headers == (("WWW-Authenticate", 'Bearer realm="threadwire"'),)
    with pytest.raises(HttpError) as caught:
        GUARDED.check(asking(authorization="Bearer x"), public=False)
    ((_, challenge),) = caught.value.headers
    assert challenge.endswith('error="invalid_token"')


def test_wrong_tokens_are_told_of_once_a_minute(events: Events) -> None:
    guard = Guard(FixedToken(TOKEN), frozenset())
    for _ in range(50):
        assert outcome(guard, asking(authorization="Bearer x")) == 401
    assert [told["count"] for told in events.named("admin-wrong-token")] == [1]


def test_the_comparison_takes_the_same_time_however_much_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []
    compare = hmac.compare_digest

    def noting(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", noting)
    token: Token = FixedToken(TOKEN)
    assert token.matches(TOKEN)
    assert compared == [(TOKEN.encode(), TOKEN.encode())]


# Pages of other sites.


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9180", 200),
        ("127.0.0.1", 200),
        ("[::1]:9180", 200),
        ("[::1]", 200),
        ("localhost:9180", 200),
        ("LOCALHOST", 200),
        ("192.0.2.7:80", 200),
        ("admin.example:9180", 200),
        ("rebound.example", 403),
        ("rebound.example:9180", 403),
        ("localhost.rebound.example:9180", 403),
        ("127.0.0.1.rebound.example:9180", 403),
        ("[rebound.example]", 403),
        (":9180", 403),
        ("127.0.0.1:9180:9180", 403),
        ("a b", 403),
    ],
)
def test_a_name_that_may_be_anybody_s_is_no_host(host: str, status: int) -> None:
    assert outcome(OPEN, asking(host=host)) == status
    assert outcome(OPEN, asking(host=host), public=True) == status, "not even the page"
    request = asking(host=host, authorization=f"Bearer {TOKEN}")
    assert outcome(GUARDED, request) == 200, "the token is what no other site has"


def test_a_client_without_a_host_is_no_browser() -> None:
    assert outcome(OPEN, asking()._replace(headers={})) == 200


@pytest.mark.parametrize("guard", [OPEN, GUARDED])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"origin": "http://127.0.0.1:9180"}, True),
        ({"origin": "https://127.0.0.1:9180"}, True),
        ({"origin": "HTTP://127.0.0.1:9180"}, True),
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://127.0.0.1"}, False),
        ({"origin": "http://127.0.0.1:9181"}, False),
        ({"origin": "http://evil.example/127.0.0.1:9180"}, False),
        ({"origin": "null"}, False),
        ({"origin": "127.0.0.1:9180"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "cross-site", "origin": "http://127.0.0.1:9180"}, False),
    ],
)
def test_a_page_of_another_site_may_not_ask(
    guard: Guard, method: str, headers: dict[str, str], allowed: bool
) -> None:
    request = asking(method, authorization=f"Bearer {TOKEN}", **headers)
    assert outcome(guard, request) == (200 if allowed else 403)


def test_a_link_on_another_site_may_lead_here() -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert outcome(OPEN, asking("GET", **link)) == 200
    assert outcome(OPEN, asking("POST", **link)) == 403, "but a form may not"


# The endpoint.


def test_with_a_token_only_the_page_and_the_probes_are_open(
    serving: Serving, administering: Administering
) -> None:
    admin = administering(serving(reverse), token=TOKEN)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for path in ("/", "/assets/page.css", "/livez", "/readyz"):
        assert ask(admin, path).status == 200, path
    for path in ("/metrics", "/snapshot", "/events", "/clients", "/clients/1", "/threads"):
        answer = ask(admin, path)
        assert answer.status == 401, path
        assert answer.headers["www-authenticate"].startswith("Bearer ")
    for path in ("/drain", "/suspend", "/resume", "/clients/1/close"):
        assert ask(admin, path, "POST").status == 401, path
    assert ask(admin, "/nowhere").status == 401, "nor what there is not"
    assert ask(admin, "/livez", "POST").status == 401
    for path in ("/metrics", "/snapshot", "/clients", "/threads"):
        assert ask(admin, path, headers=bearer).status == 200, path
    assert ask(admin, "/nowhere", headers=bearer).status == 404


def test_a_stream_does_not_outlive_its_token(
    serving: Serving, administering: Administering, events: Events, tmp_path: Path
) -> None:
    admin = administering(serving(reverse), token_file=str(token_file(tmp_path)))
    with Stream(admin, {"Authorization": f"Bearer {TOKEN}"}) as stream:
        assert stream.document()
        assert stream.document(), "as long as it is the one"
        token_file(tmp_path, "another")
        assert any(not stream.fields() for _ in range(int(PATIENCE))), "it goes on"
    with Stream(admin, {"Authorization": "Bearer another"}) as stream:
        assert stream.document()
    assert not events.named("admin-wrong-token"), "it was none"


def test_a_token_that_others_on_the_way_can_read_is_warned_of(
    serving: Serving, administering: Administering, events: Events
) -> None:
    server = serving(reverse)
    administering(server, token=TOKEN)
    assert not events.named("admin-token")
    administering(server, "0.0.0.0:0", token=TOKEN)
    (warning,) = events.named("admin-token")
    assert "in the clear" in warning["problem"]


@pytest.fixture
def tls_files(tmp_path: Path) -> dict[str, str]:
    """The options that name a certificate's files."""
    leaf, cert, key = certificate(), tmp_path / "cert.pem", tmp_path / "key.pem"
    leaf.cert_chain_pems[0].write_to_path(cert)
    leaf.private_key_pem.write_to_path(key)
    return {"tls_cert": str(cert), "tls_key": str(key)}


def test_tls_is_spoken_at_a_tls_address(
    serving: Serving, administering: Administering, events: Events, tls_files: dict[str, str]
) -> None:
    admin = administering(serving(reverse), "tls://0.0.0.0:0", token=TOKEN, **tls_files)
    assert not events.named("admin-token")
    assert admin.url == f"https://0.0.0.0:{admin.address.port}"
    port = admin.address.port
    with contextlib.closing(
        HTTPSConnection("localhost", port, timeout=PATIENCE, context=client_side())
    ) as connection:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert ask_on(connection, "/snapshot", headers=headers).status == 200
        assert ask_on(connection, "/snapshot").status == 401


def test_those_who_are_silent_at_their_handshakes_leave_room(
    serving: Serving, administering: Administering, tls_files: dict[str, str]
) -> None:
    admin = administering(serving(reverse), "tls://127.0.0.1:0", **tls_files)
    with contextlib.ExitStack() as stack:
        for _ in range(2 * MAX_CONNECTIONS):
            silent = stack.enter_context(socket.socket())
            silent.connect((admin.address.host, admin.address.port))
        eventually(lambda: admin._server.snapshot().opening > MAX_CONNECTIONS)
        with contextlib.closing(
            HTTPSConnection(
                "localhost", admin.address.port, timeout=PATIENCE, context=client_side()
            )
        ) as connection:
            assert ask_on(connection, "/livez").status == 200
        own = [thread for thread in threading.enumerate() if "threadwire" in thread.name]
        assert len(own) < MAX_CONNECTIONS, "they take no threads"


def test_a_handshake_that_fails_is_no_warning_of_the_service_s(
    serving: Serving,
    administering: Administering,
    events: Events,
    tls_files: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "threadwire")
    admin = administering(serving(reverse), "tls://127.0.0.1:0", **tls_files)
    with socket.create_connection((admin.address.host, admin.address.port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        eventually(lambda: events.named("peer-fault"))
    (fault,) = events.named("peer-fault")
    assert (fault["server"], fault["error"]) == ("admin", "TlsError")
    told = [record for record in caplog.records if "peer-fault" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.DEBUG]


def test_tls_needs_its_files(serving: Serving) -> None:
    with pytest.raises(UsageError, match="tls_cert"):
        Admin(serving(reverse), "tls://127.0.0.1:0")
