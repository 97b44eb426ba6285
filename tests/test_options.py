"""A server's options: each checked at once, by its name; which can be changed while serving."""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import threading
import types
import typing
from collections.abc import Callable
from typing import Any

import pytest

import threadwire
from threadwire import CloseReason, Connection, Server, ServerOptions, UsageError, limits
from threadwire.clock import SYSTEM
from threadwire.limits import OFF, Limit
from threadwire.options import CHANGEABLE, NAMES, Options
from threadwire.rules import Rules
from threadwire.settings import SETTINGS
from threadwire.testing import Clock

from .conftest import Events, Serving
from .support import PATIENCE, Peer, eventually, reverse, wait_for

URL = "tcp://127.0.0.1:0"


def server_with(**options: Any) -> Server:
    return Server(reverse, URL, **options)


# Of each option: values that are right, and what has to go along with them.
RIGHT: dict[str, list[Any]] = {
    "framing": [None, threadwire.Netstring()],
    "max_message": [1, 1 << 30],
    "max_clients": [None, 1, 10_000, 5.0],
    "overload": ["wait", "refuse"],
    "busy_reply": [None, b"busy", b""],
    "max_clients_per_ip": [None, 1, 100, math.inf],
    "accept_rate": [None, 0.01, 1e6],
    "max_threads": [None, 1, 5000],
    "max_handshakes": [1, 5000],
    "max_refusals": [0, 100],
    "allow": [(), ["10.0.0.0/8", "::1"]],
    "deny": [(), ["10.0.0.0/8", "::1"]],
    "backlog": [1, 4096],
    "handshake_timeout": [0.001, 10],
    "proxy_timeout": [0.001, 10],
    "message_timeout": [None, 0.001, 1e9],
    "idle_timeout": [None, 0.001, 1e9],
    "write_timeout": [0.001, 1e9],
    "drain_timeout": [0, 1e9],
    "keepalive_idle": [1, 7200, 32767],
    "keepalive_interval": [1, 1.4, 32767],
    "keepalive_count": [1, 127],
    "user_timeout": [None, 0.001, 1e9],
    "high_water": [1, 1 << 30],
    "on_connection": [None, print],
    "on_message": [None, print],
    "tls_cert": [None],
    "tls_key": [None],
    "tls_client_ca": [None],
    "tls_client_auth": ["required", "optional"],
    "tls_alpn": [(), []],
    "tls_context": [None],
    "proxy_protocol": [None],
    "proxy_trust": [()],
    "handoff_after": [0.0005, 3600],
    "slow": [None, 0.01, 1e9],
    "pin": [False],
    "clock": [SYSTEM, Clock()],
}

WORDS = ["", "often", b"5", [], {}, object()]

WRONG: dict[str, list[Any]] = {
    "framing": ["lines", 5, threadwire.Lines],
    "overload": ["drop", None, b"wait", 1, []],
    "busy_reply": ["busy", 5, bytearray(b"busy"), [b"busy"]],
    "allow": [None, 5, "10.0.0.0/8", ["10.0.0.1/8"], [5], ["localhost"]],
    "deny": [None, 5, "10.0.0.0/8", ["10.0.0.1/8"], [5], ["localhost"]],
    "on_connection": [5, "print", []],
    "on_message": [5, "print", []],
    "tls_cert": [5, b"cert.pem", ["cert.pem"]],
    "tls_key": [5, b"key.pem", "/nowhere/key.pem"],
    "tls_client_ca": [5, b"ca.pem", "/nowhere/ca.pem"],
    "tls_client_auth": ["maybe", None, True],
    "tls_alpn": [None, "h2", 5, ["h2"]],
    "tls_context": [5, "context", ssl],
    "proxy_protocol": ["maybe", True, "required"],
    "proxy_trust": [None, 5, "10.0.0.0/8", ["10.0.0.1/8"], ["10.0.0.0/8"]],
    "pin": [None, 1, "yes", 0],
    "clock": [None, 0, 5, "clock", Clock],
    "keepalive_idle": [0.5, 32768, 32767.6],
    "keepalive_interval": [0.5, 32768],
    "keepalive_count": [128, 1.5],
}


def wrong_values(name: str) -> list[Any]:
    """Values that ``name`` may not have."""
    limit = limits.LIMITS.get(name)
    return WRONG.get(name, []) + ([] if limit is None else _wrong_for(limit))


def _wrong_for(limit: Limit) -> list[Any]:
    values: list[Any] = [*WORDS, True, math.nan, -1, limit.smallest - 0.0005, 1e300]
    if limit.unit in {"bytes", "count"}:
        values.append(limit.smallest + 0.5)
    if not limit.optional:
        values.append(math.inf)
        if limit.name not in ("max_clients", "max_threads"):  # None is their default's name
            values.append(None)
    return values


def test_every_option_is_tried() -> None:
    """None can be added that these tests say nothing about."""
    assert set(RIGHT) == NAMES
    assert {name for name in NAMES if wrong_values(name)} == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_what_is_right_is_taken(name: str) -> None:
    for value in RIGHT[name]:
        options = Options({name: value})
        assert isinstance(options.rules(), Rules)
        assert options.certificates() is None


@pytest.mark.parametrize("name", sorted(NAMES))
def test_what_is_wrong_is_refused_at_once_by_its_name(name: str) -> None:
    """With any one of them not looked at: it comes to light while serving, if at all."""
    for value in wrong_values(name):
        with pytest.raises(UsageError) as caught:
            server_with(**{name: value})
        assert name in str(caught.value), value


def test_the_types_that_are_declared_are_those_that_are_taken() -> None:
    """Where None is declared it is taken, and elsewhere refused."""
    for name, annotation in typing.get_type_hints(
        ServerOptions,
        localns={"ssl": ssl, "Clock": Clock, "OnConnection": Callable, "OnMessage": Callable},
    ).items():
        may_be_none = types.NoneType in typing.get_args(annotation)
        assert may_be_none == (None in RIGHT[name]), name
        assert may_be_none != (None in wrong_values(name)), name


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("max_client", "; did you mean 'max_clients'?"),
        ("keep_alive_idle", "; did you mean 'keepalive_idle'?"),
        ("tls_certificate", "; did you mean 'tls_cert'?"),
        ("zzz", ""),
    ],
)
def test_a_name_that_is_not_one_is_refused_with_the_nearest(given: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        server_with(**{given: 5})
    assert str(caught.value) == f"a server has no option {given!r}{hint}"


def test_every_keyword_that_is_a_setting_is_an_option() -> None:
    """The command's settings and the library's options are the same, by name."""
    settings = {name for name, setting in SETTINGS.items() if setting.keyword}
    assert NAMES - settings == {"tls_context", "clock", "on_connection", "on_message"}
    assert settings <= NAMES


def test_what_can_be_changed_is_reloadable() -> None:
    reloadable = {name for name, s in SETTINGS.items() if s.reloadable and s.keyword}
    assert reloadable >= CHANGEABLE
    assert reloadable - CHANGEABLE == {"tls_cert", "tls_key", "tls_client_ca"}  # with their files


def test_defaults() -> None:
    """Those of the limits, which are documented."""
    options, rules = Options({}), Options({}).rules()
    for limit in limits.LIMITS.values():
        here = options if hasattr(options, limit.name) else rules
        if hasattr(here, limit.name) and limit is not limits.MAX_CLIENTS:
            assert getattr(here, limit.name) == limit.default, limit.name
    assert options.max_clients == limits.default_max_clients()
    assert options.keepalive == (60, 15, 4)
    assert (options.refuse, options.busy_reply, options.pin) == (False, None, False)
    assert options.framing == threadwire.Lines()
    assert not options.threads_limited
    assert rules.clock is SYSTEM


def test_what_was_given_reaches_the_engine() -> None:
    """With one of them forgotten in ``_ruled``: the default holds."""
    given: dict[str, Any] = {
        name: RIGHT[name][-1] for name in Rules.__slots__ if name in NAMES and name != "tls"
    }
    rules = Options(given).rules()
    for name, value in given.items():
        assert getattr(rules, name) == value


# What goes together.


@pytest.mark.parametrize("name", ["tls_key", "tls_client_ca"])
def test_tls_needs_a_certificate(name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name} needs tls_cert$"):
        server_with(**{name: "file.pem"})


@pytest.mark.parametrize("name", ["tls_cert", "tls_key", "tls_client_ca", "tls_alpn"])
def test_a_context_goes_with_nothing_else(name: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    value = ["h2"] if name == "tls_alpn" else "file.pem"
    with pytest.raises(UsageError, match=f"^{name} cannot go with tls_context$"):
        server_with(tls_context=context, **{name: value})


def test_a_secure_address_needs_a_certificate() -> None:
    with pytest.raises(UsageError, match=r"^tls://127\.0\.0\.1:0 needs tls_cert and tls_key"):
        Server(reverse, "tls://127.0.0.1:0")


def test_a_proxy_protocol_and_whom_it_is_heeded_from_go_together() -> None:
    with pytest.raises(UsageError, match=r"^proxy_protocol needs proxy_trust"):
        Options({"proxy_protocol": "required"})
    with pytest.raises(UsageError, match=r"^proxy_trust needs proxy_protocol"):
        Options({"proxy_trust": ["10.0.0.0/8"]})
    assert Options({"proxy_protocol": "optional", "proxy_trust": ["10.0.0.0/8"]}).proxy_trust


def test_a_busy_reply_that_cannot_be_framed() -> None:
    with pytest.raises(threadwire.UnencodableMessage):
        Options({"busy_reply": b"two\nlines"})
    assert Options({"busy_reply": b"two\nlines", "framing": threadwire.Netstring()}).busy_reply


def test_keepalive_reaches_the_connections(serving: Serving) -> None:
    server = serving(
        reverse,
        keepalive_idle=77,
        keepalive_interval=1.6,
        keepalive_count=3,
        user_timeout=12.5,
    )
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        assert peer.hear_line() == b"x\n"
        connected = server.connections[0]._stream.socket
        found = [
            connected.getsockopt(socket.IPPROTO_TCP, option)
            for option in (
                socket.TCP_KEEPIDLE,
                socket.TCP_KEEPINTVL,
                socket.TCP_KEEPCNT,
                socket.TCP_USER_TIMEOUT,
            )
        ]
        assert found == [77, 2, 3, 12500]
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize("name", ["keepalive_idle", "keepalive_interval", "keepalive_count"])
def test_the_most_of_keepalive_is_what_the_system_takes(serving: Serving, name: str) -> None:
    """With no bound of our own: an address that cannot be listened on."""
    most = RIGHT[name][-1]
    serving(reverse, **{name: most})
    with socket.socket() as plain, pytest.raises(OSError, match="Invalid argument"):
        option = {"idle": "IDLE", "interval": "INTVL", "count": "CNT"}[
            name.removeprefix("keepalive_")
        ]
        plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_KEEP{option}"), most + 1)


# Changes while serving.


@pytest.mark.parametrize("name", sorted(NAMES - CHANGEABLE))
def test_what_cannot_be_changed_while_serving(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        Options({}).changed({name: RIGHT[name][-1]})
    assert str(caught.value) == (
        f"{name!r} cannot be changed while serving; a server has to be started anew for it"
    )


def test_a_name_that_is_not_one_cannot_be_changed_either() -> None:
    with pytest.raises(UsageError, match="did you mean 'idle_timeout'"):
        Options({}).changed({"idle_timout": 5})


def test_what_is_not_changed_stays() -> None:
    before = Options({"max_message": 5, "idle_timeout": 7})
    after = before.changed({"idle_timeout": 9})
    assert after.max_message == 5
    assert (before.rules().idle_timeout, after.rules().idle_timeout) == (7, 9)


def state_of(server: Server) -> dict[str, Any]:
    """All that a change could have changed."""
    rules, reception = server._rules, server._reception
    state = {name: getattr(rules, name) for name in Rules.__slots__ if not name.startswith("_")}
    gate, admission = reception._gate, reception.admission
    return state | {
        "max_clients": reception._permits.most,
        "overload": gate.refuse,
        "accept_rate": gate.rate,
        "allow": admission.allow.texts,
        "deny": admission.deny.texts,
        "max_clients_per_ip": admission.most,
        "drain_timeout": server._options.drain_timeout,
    }


# For each, another value than the default, and what the engine then has.
CHANGES: dict[str, tuple[Any, Any]] = {
    "max_clients": (7, 7),
    "overload": ("refuse", True),
    "max_clients_per_ip": (3, 3),
    "accept_rate": (0.5, 0.5),
    "max_threads": (9, 9),
    "max_handshakes": (11, 11),
    "allow": (["127.0.0.0/8"], ("127.0.0.0/8",)),
    "deny": (["::1"], ("::1/128",)),
    "handshake_timeout": (1.5, 1.5),
    "proxy_timeout": (2.5, 2.5),
    "message_timeout": (None, OFF),
    "idle_timeout": (600, 600),
    "write_timeout": (3.5, 3.5),
    "drain_timeout": (4.5, 4.5),
    "high_water": (1000, 1000),
    "handoff_after": (0.1, 0.1),
    "slow": (2, 2),
}


def test_every_change_is_tried() -> None:
    assert set(CHANGES) == CHANGEABLE


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("name", sorted(CHANGEABLE))
def test_a_change_changes_that_and_nothing_else(serving: Serving, name: str, started: bool) -> None:
    server = serving(reverse) if started else server_with()
    before = state_of(server)
    value, expected = CHANGES[name]
    server.reconfigure(**{name: value})
    assert state_of(server) == before | {name: expected}


def test_changes_add_up(serving: Serving) -> None:
    """With each made from what the server began with: the first is undone by the second."""
    server = serving(reverse)
    before = state_of(server)
    for name, (value, _) in CHANGES.items():
        server.reconfigure(**{name: value})
    assert state_of(server) == before | {name: new for name, (_, new) in CHANGES.items()}


@pytest.mark.parametrize("name", sorted(CHANGEABLE))
def test_a_wrong_change_changes_nothing_though_others_are_right(
    serving: Serving, name: str
) -> None:
    """With values checked when they are set: those before the wrong one are set."""
    server = serving(reverse)
    before, options = state_of(server), server._options
    for value in wrong_values(name):
        right = {other: new for other, (new, _) in CHANGES.items() if other != name}
        with pytest.raises(UsageError, match=name):
            server.reconfigure(**right, **{name: value})
        assert state_of(server) == before
        assert server._options is options
    with pytest.raises(UsageError, match="max_message"):
        server.reconfigure(idle_timeout=5, max_message=5)
    assert state_of(server) == before


class Slow(threadwire.Lines):
    """Whoever checks it lets others come in between."""

    def codec(self, max_message: int = 0) -> threadwire.Codec:
        threading.Event().wait(0.01)
        return super().codec(max_message)


def test_changes_from_many_threads_are_all_made(serving: Serving) -> None:
    """With no lock: one is made from what another is about to replace, and undoes it."""
    server = serving(reverse, framing=Slow())
    before = state_of(server)
    begin = threading.Barrier(len(CHANGES))

    def change(name: str) -> None:
        begin.wait(PATIENCE)
        server.reconfigure(**{name: CHANGES[name][0]})

    threads = [threading.Thread(target=change, args=(name,)) for name in CHANGES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert state_of(server) == before | {name: new for name, (_, new) in CHANGES.items()}


# What a change does to those who are there, and to those who wait.


@threadwire.session
def echo_session(connection: Connection) -> None:
    for message in connection:
        connection.send(message)


def looked(server: Server) -> None:
    """Every loop has done what was asked of it, and what was due."""
    for _ in range(2):
        assert server.healthy(PATIENCE)


def settled(server: Server) -> None:
    """A client is there, and whoever serves it waits for it: from there on its time counts.

    A thread of its own may be late to do so, and an idle client is not closed before.
    """
    eventually(lambda: server.connections)
    connection = server.connections[0]
    eventually(lambda: connection._here or connection._reading)


every_handler = pytest.mark.parametrize("handler", [reverse, echo_session], ids=["loop", "session"])


@every_handler
@pytest.mark.parametrize("message_timeout", [None, 30])
def test_an_idle_timeout_for_those_who_are_idle_already(
    serving: Serving, events: Events, handler: Any, message_timeout: float | None
) -> None:
    """With loops that are not told: who came before it may be idle for ever."""
    clock = Clock()
    server = serving(handler, message_timeout=message_timeout, clock=clock)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        peer.hear_line()
        looked(server)
        server.reconfigure(idle_timeout=60)
        looked(server)
        settled(server)
        clock.turn(5)
        looked(server)
        assert not server.connections[0].closed
        clock.turn(70)
        assert peer.hear_all() == b""
    assert events.closed_reason() is CloseReason.IDLE_TIMEOUT


@every_handler
def test_a_message_timeout_for_those_who_have_begun_one(
    serving: Serving, events: Events, handler: Any
) -> None:
    clock = Clock()
    server = serving(handler, message_timeout=None, clock=clock)
    with Peer(server.address) as peer:
        peer.say(b"ha")
        eventually(lambda: server.connections and server.connections[0].begun)
        settled(server)
        looked(server)
        server.reconfigure(message_timeout=30)
        looked(server)
        for _ in range(2):
            clock.turn(34)
            looked(server)
        assert peer.hear_all() == b""
    assert events.closed_reason() is CloseReason.MESSAGE_TIMEOUT


@every_handler
def test_a_shorter_timeout_is_not_waited_for_as_long_as_the_one_before(
    serving: Serving, handler: Any
) -> None:
    """With the next look left where it was: a minute's timeout is noticed after hours."""
    clock = Clock()
    server = serving(handler, idle_timeout=1e6, message_timeout=1e6, clock=clock)
    with Peer(server.address) as peer:
        eventually(lambda: server._engine._loops[0]._clients.deadlines.watched)
        settled(server)
        server.reconfigure(idle_timeout=60)
        looked(server)
        for _ in range(2):
            clock.turn(70)
            looked(server)
        assert peer.hear_all() == b""


@every_handler
def test_timeouts_that_are_turned_off_and_on(serving: Serving, handler: Any) -> None:
    """With nothing looked at again once nothing was armed: nobody is ever closed."""
    clock = Clock()
    server = serving(handler, idle_timeout=60, clock=clock)
    with Peer(server.address) as peer:
        eventually(lambda: server._engine._loops[0]._clients.deadlines.watched)
        settled(server)
        server.reconfigure(idle_timeout=None, message_timeout=None)
        looked(server)
        clock.turn(1000)
        looked(server)
        assert len(server._engine._loops[0]._timers) == 0
        assert not server.connections[0].closed
        server.reconfigure(idle_timeout=60)
        looked(server)
        clock.turn(4)
        looked(server)
        clock.turn(70)
        assert peer.hear_all() == b""


def test_a_handshake_is_not_idle(serving: Serving) -> None:
    """Before its first message a client has deadlines of its own.

    With those looked after that are still being opened: a silent proxy is idle.
    """
    clock = Clock()
    server = serving(
        reverse,
        clock=clock,
        proxy_protocol="required",
        proxy_trust=["127.0.0.1"],
        proxy_timeout=1000,
    )
    with Peer(server.address) as peer:
        eventually(lambda: server._reception.connections)
        server.reconfigure(idle_timeout=60)
        looked(server)
        clock.turn(500)
        looked(server)
        peer.say(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhello\n")
        assert peer.hear_line() == b"olleh\n"


def test_more_clients_at_once(serving: Serving) -> None:
    """Who waits is accepted at once. With ``resize`` calling nobody: when somebody leaves."""
    server = serving(reverse, max_clients=1)
    with Peer(server.address) as one, Peer(server.address) as two:
        one.say(b"ab\n")
        assert one.hear_line() == b"ba\n"
        two.say(b"cd\n")
        server.reconfigure(max_clients=2)
        assert two.hear_line() == b"dc\n"


def test_fewer_clients_at_once(serving: Serving) -> None:
    """Those who are there stay."""
    server = serving(reverse, max_clients=3)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(3)]
        eventually(lambda: len(server.connections) == 3)
        server.reconfigure(max_clients=1)
        late = stack.enter_context(Peer(server.address))
        late.say(b"ab\n")
        for peer in peers:
            peer.say(b"ab\n")
            assert peer.hear_line() == b"ba\n"
        peers[0].close()
        peers[1].close()
        eventually(lambda: len(server.connections) == 1)
        looked(server)
        assert len(server.connections) == 1
        peers[2].close()
        assert late.hear_line() == b"ba\n"


def test_who_waits_is_refused_once_that_is_the_policy(serving: Serving, events: Events) -> None:
    """With the acceptor left at rest: they wait until somebody leaves."""
    server = serving(reverse, max_clients=1, busy_reply=b"busy")
    with Peer(server.address) as one, Peer(server.address) as two:
        eventually(lambda: events.named("accept-paused"))
        server.reconfigure(overload="refuse")
        assert two.hear_all() == b"busy\n"
        one.say(b"ab\n")
        assert one.hear_line() == b"ba\n"
    assert server.refused == {CloseReason.BUSY: 1}


@pytest.mark.parametrize("rate", [None, 1000])
def test_a_higher_rate_is_not_waited_for(
    serving: Serving, events: Events, rate: float | None
) -> None:
    """With the acceptor left at rest until the old rate lets one in: for a hundred seconds."""
    clock = Clock()
    server = serving(reverse, accept_rate=0.01, clock=clock)
    with Peer(server.address) as one, Peer(server.address) as two:
        one.say(b"ab\n")
        assert one.hear_line() == b"ba\n"
        eventually(lambda: events.named("accept-paused"))
        server.reconfigure(accept_rate=rate)
        clock.turn(1)
        two.say(b"cd\n")
        assert two.hear_line() == b"dc\n"


def test_networks_hold_for_who_comes(serving: Serving) -> None:
    server = serving(reverse)
    with Peer(server.address) as one:
        eventually(lambda: server.connections)
        server.reconfigure(deny=["127.0.0.1"])
        with Peer(server.address) as two:
            assert two.hear_all() == b""
        one.say(b"ab\n")
        assert one.hear_line() == b"ba\n"
        server.reconfigure(deny=())
        with Peer(server.address) as three:
            three.say(b"ab\n")
            assert three.hear_line() == b"ba\n"


def test_max_threads_that_is_given_later_holds_for_sessions(serving: Serving) -> None:
    """With what it began with kept: as many as there may be clients."""
    server = serving(echo_session)
    server.reconfigure(max_threads=1)
    with Peer(server.address) as one, Peer(server.address) as two:
        one.say(b"a\n")
        assert one.hear_line() == b"a\n"
        two.say(b"b\n")
        looked(server)
        assert len(server.connections) == 1
        one.close()
        assert two.hear_line() == b"b\n"


def test_a_longer_write_timeout_for_the_next_who_does_not_read(serving: Serving) -> None:
    clock = Clock()
    server = serving(
        lambda message: message * 8_000_000, write_timeout=1, handoff_after=3600, clock=clock
    )
    server.reconfigure(write_timeout=100)
    with Peer(server.address, receive_buffer=4096) as peer:
        peer.say(b"x\n")
        eventually(lambda: server.connections and server.connections[0]._timer)
        clock.turn(50)
        looked(server)
        assert not server.connections[0].closed
        clock.turn(51)
        eventually(lambda: not server.connections)


def test_the_drain_timeout_is_the_one_at_the_close(serving: Serving) -> None:
    blocked, go_on = threading.Event(), threading.Event()

    def block(message: bytes) -> None:
        blocked.set()
        wait_for(go_on)

    server = serving(block, drain_timeout=3600)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        wait_for(blocked)
        server.reconfigure(drain_timeout=0.05)
        assert len(server.close().cut) == 1
        go_on.set()


def test_a_handler_may_change_its_server(serving: Serving) -> None:
    server: Server

    def handler(message: bytes) -> bytes:
        server.reconfigure(max_clients=5, idle_timeout=60)
        return message

    server = serving(handler)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        assert peer.hear_line() == b"x\n"
    assert state_of(server)["max_clients"] == 5


def test_a_server_that_has_closed_may_be_changed_in_vain(serving: Serving) -> None:
    server = serving(reverse)
    server.close()
    server.reconfigure(idle_timeout=60, max_clients=3, accept_rate=5)
