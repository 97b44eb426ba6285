"""Who is let in: by networks, by how many of one address there are; and the account of refusals.

Clients of many addresses are had by a PROXY header, or by the loopback network's other addresses.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import threadwire
from threadwire import Address, CloseReason, Connection
from threadwire.engine.admission import Admission
from threadwire.limits import OFF
from threadwire.networks import Networks
from threadwire.rules import Rules
from threadwire.testing import Clock
from threadwire.transport import Stream

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually
from .ways import NEVER, both_twins


def echo(message: bytes) -> bytes:
    return message


@threadwire.session
def echo_session(connection: Connection) -> None:
    for message in connection:
        connection.send(message)


every_handler = pytest.mark.parametrize("handler", [echo, echo_session], ids=["loop", "session"])

BEHIND_A_PROXY: dict[str, Any] = {"proxy_protocol": "required", "proxy_trust": ["127.0.0.0/8"]}


class From(Peer):
    """A peer whose own address is another one of the loopback network's."""

    def __init__(self, host: str, address: Address) -> None:
        self.socket = socket.create_connection(
            (address.host, address.port), PATIENCE, source_address=(host, 0)
        )


class Behind(Peer):
    """A peer that a proxy has sent, with the address ``host``."""

    def __init__(self, host: str, address: Address) -> None:
        super().__init__(address)
        to, family = ("2001:db8::1", "TCP6") if ":" in host else ("192.0.2.1", "TCP4")
        self.say(f"PROXY {family} {host} {to} 1000 443\r\n".encode())


def is_served(peer: Peer) -> bool:
    """Whether it is answered; otherwise it has been refused."""
    with contextlib.suppress(OSError):  # it may be refused before it has said anything
        peer.say(b"hello\n")
        return peer.hear_line() == b"hello\n"
    return False


# One address at a time, without a server.


@pytest.fixture
def visit(pair: tuple[Stream, socket.socket]) -> Callable[[str], Connection]:
    """Somebody with this address."""

    def make(host: str) -> Connection:
        stream = Stream(pair[0].socket, Address("tcp", host, 1), pair[0].local)
        codec = threadwire.Lines().codec(1 << 20)
        return Connection(1, stream, codec, _Nobody(), session=False, rules=Rules())

    return make


class _Nobody:
    def attend(self, connection: object, /) -> None:
        raise AssertionError("nobody is asked")


def admission(
    allow: tuple[str, ...] = (), deny: tuple[str, ...] = (), most: float = OFF
) -> Admission:
    return Admission(Networks("allow", allow), Networks("deny", deny), most)


@pytest.mark.parametrize(
    ("allow", "deny", "host", "reason"),
    [
        ((), (), "192.0.2.1", None),
        (("192.0.2.0/24",), (), "192.0.2.1", None),
        (("192.0.2.0/24",), (), "192.0.3.1", CloseReason.DENIED),
        (("192.0.2.0/24",), (), "::1", CloseReason.DENIED),
        (("0.0.0.0/0", "::/0"), (), "2001:db8::1", None),
        ((), ("192.0.2.0/24",), "192.0.2.255", CloseReason.DENIED),
        ((), ("192.0.2.0/24",), "192.0.3.0", None),
        (("192.0.2.0/24",), ("192.0.2.7",), "192.0.2.7", CloseReason.DENIED),
        (("192.0.2.7",), ("192.0.2.0/24",), "192.0.2.7", CloseReason.DENIED),
        (("192.0.2.0/24",), ("192.0.2.7",), "192.0.2.8", None),
        ((), ("2001:db8::/32",), "2001:db8:ffff::1", CloseReason.DENIED),
        ((), ("::ffff:10.0.0.0/104",), "10.1.2.3", CloseReason.DENIED),
        ((), ("10.0.0.0/8",), "::ffff:10.1.2.3", CloseReason.DENIED),
        ((), ("fe80::/10",), "fe80::1%eth0", CloseReason.DENIED),
        (("::1",), ("0.0.0.0/0", "::/0"), "", None),  # the peer of a unix socket
    ],
)
def test_who_is_denied(
    visit: Callable[[str], Connection],
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    host: str,
    reason: CloseReason | None,
) -> None:
    """Who is denied is refused, whoever is allowed; without an allow list all others may come."""
    assert admission(allow, deny).judge(visit(host)) is reason


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8:0:0:ffff::2", True),  # one /64
        ("2001:db8::1", "2001:db8:0:1::1", False),  # the next
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::1", "127.0.0.1", False),
    ],
)
def test_what_counts_as_one_address(
    visit: Callable[[str], Connection], one: str, other: str, same: bool
) -> None:
    """With an IPv6 address counted whole: one customer takes all places."""
    judge = admission(most=1).judge
    assert judge(visit(one)) is None
    assert judge(visit(other)) is (CloseReason.ADDRESS_BUSY if same else None)


def test_a_place_is_free_again_when_its_client_leaves(visit: Callable[[str], Connection]) -> None:
    """Once for each, however often that is said; nothing is kept of who has gone."""
    made = admission(most=2)
    one, two, three = (visit("192.0.2.1") for _ in range(3))
    assert made.judge(one) is made.judge(two) is None
    assert made.judge(three) is CloseReason.ADDRESS_BUSY
    made.leave(three)  # who was never let in
    assert made.judge(three) is CloseReason.ADDRESS_BUSY
    made.leave(one)
    made.leave(one)
    assert made.judge(three) is None
    assert made.judge(one) is CloseReason.ADDRESS_BUSY
    made.leave(two)
    made.leave(three)
    assert not made._sites


def test_fewer_from_now_on(visit: Callable[[str], Connection]) -> None:
    """Who is there stays, and is counted when it leaves; who was not counted is not."""
    made = admission()
    early, one, two = (visit("192.0.2.1") for _ in range(3))
    assert made.judge(early) is None
    made.rule(Networks("allow", ()), Networks("deny", ()), 1)
    assert made.judge(one) is None
    assert made.judge(two) is CloseReason.ADDRESS_BUSY
    made.leave(early)
    assert made.judge(two) is CloseReason.ADDRESS_BUSY
    made.rule(Networks("allow", ()), Networks("deny", ()), OFF)
    made.leave(one)
    assert not made._sites


# Whole servers.


@both_twins
@every_handler
def test_networks_on_a_dual_stack_listener(serving: Serving, handler: Any) -> None:
    """An IPv4 peer of an IPv6 socket has its IPv4 address.

    With ``judge`` not asked: all are served.
    """
    server = serving(handler, "tcp://:0", allow=["127.0.0.0/8"], deny=["127.0.0.3"])
    address = Address("tcp", "127.0.0.1", server.address.port)
    with From("127.0.0.2", address) as allowed, From("127.0.0.3", address) as denied:
        assert is_served(allowed)
        assert not is_served(denied)
        with Peer(Address("tcp", "::1", server.address.port)) as other:
            assert not is_served(other)
        assert is_served(allowed)
    assert server.refused == {CloseReason.DENIED: 2}


@every_handler
def test_who_is_denied_gets_no_reply(serving: Serving, handler: Any) -> None:
    """The word for being busy would be a lie."""
    server = serving(
        handler, deny=["127.0.0.0/8"], busy_reply=b"busy", overload="refuse", max_clients=1
    )
    with Peer(server.address) as peer:
        assert peer.hear_all() == b""
    assert server.refused == {CloseReason.DENIED: 1}


@every_handler
def test_peers_of_a_unix_socket_have_no_address(
    serving: Serving, handler: Any, tmp_path: Path
) -> None:
    server = serving(
        handler, f"unix://{tmp_path}/s", deny=["0.0.0.0/0", "::/0"], max_clients_per_ip=1
    )
    with Peer(server.address) as one, Peer(server.address) as two:
        assert is_served(one)
        assert is_served(two)
    assert server.refused == {}


@both_twins
@every_handler
def test_max_clients_per_ip(serving: Serving, handler: Any, events: Events) -> None:
    """Other addresses are served; who is refused is told."""
    server = serving(handler, max_clients_per_ip=2, busy_reply=b"busy")
    with contextlib.ExitStack() as stack:
        one, two = (stack.enter_context(From("127.0.0.2", server.address)) for _ in range(2))
        assert is_served(one)
        assert is_served(two)
        for _ in range(3):
            with From("127.0.0.2", server.address) as refused:
                assert refused.hear_all() == b"busy\n"
        assert is_served(stack.enter_context(From("127.0.0.3", server.address)))
        assert is_served(one)
        one.close()
        eventually(lambda: len(server.connections) == 2)
        assert is_served(stack.enter_context(From("127.0.0.2", server.address)))
    assert server.refused == {CloseReason.ADDRESS_BUSY: 3}
    (line,) = events.named("refused")
    assert (line["reason"], line["peer"].host) == (CloseReason.ADDRESS_BUSY, "127.0.0.2")


@every_handler
def test_behind_a_proxy_the_clients_address_counts(serving: Serving, handler: Any) -> None:
    """With the proxy's address judged: all are one, or all are let in."""
    server = serving(handler, max_clients_per_ip=1, deny=["192.0.2.66"], **BEHIND_A_PROXY)
    with contextlib.ExitStack() as stack:

        def served(host: str) -> bool:
            return is_served(stack.enter_context(Behind(host, server.address)))

        assert served("192.0.2.1")
        assert served("192.0.2.2")
        assert not served("192.0.2.1")
        assert not served("192.0.2.66")
        assert served("2001:db8::1")
        assert not served("2001:db8::2")
        assert served("2001:db8:0:1::1")
        assert not served("::ffff:192.0.2.66")
        assert not served("::ffff:192.0.2.2")
        assert served("::ffff:192.0.2.3")
    assert server.refused == {CloseReason.ADDRESS_BUSY: 3, CloseReason.DENIED: 2}
    eventually(lambda: not server.connections)
    assert not server._reception.admission._sites


def test_reasons_have_their_own_episodes(serving: Serving, events: Events) -> None:
    """With one for all: the first denial after a busy spell is not said."""
    server = serving(echo, max_clients_per_ip=1, deny=["192.0.2.66"], **BEHIND_A_PROXY)
    with Behind("192.0.2.1", server.address) as first:
        assert is_served(first)
        for host in ("192.0.2.1", "192.0.2.66") * 3:
            with Behind(host, server.address) as refused:
                assert refused.hear_all() == b""
    assert server.refused == {CloseReason.ADDRESS_BUSY: 3, CloseReason.DENIED: 3}
    reasons = [line["reason"] for line in events.named("refused")]
    assert reasons == [CloseReason.ADDRESS_BUSY, CloseReason.DENIED]


# A client's place is given back, however it ends.


class Place:
    """A server with one place for each address, which is taken; and a way to end who has it."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.clock = Clock()

    def serve(self, handler: Any = echo, **options: Any) -> Peer:
        self.server = self.serving(
            handler, max_clients_per_ip=1, max_clients=2, clock=self.clock, **options
        )
        self.peer = Peer(self.server.address)
        return self.peer

    @property
    def connection(self) -> Connection:
        eventually(lambda: self.server.connections)
        return self.server.connections[0]


Ending = Callable[[Place], None]


def peer_closes(place: Place) -> None:
    place.serve().say(b"x\n")
    place.peer.hear_line()


def peer_resets(place: Place) -> None:
    place.serve().say(b"begun")
    eventually(lambda: place.connection.begun)
    place.peer.reset()


def handler_closes(place: Place) -> None:
    def handler(message: bytes) -> None:
        raise threadwire.Close(b"bye")

    place.serve(handler).say(b"x\n")
    assert place.peer.hear_all() == b"bye\n"


def handler_fails(place: Place) -> None:
    def handler(message: bytes) -> None:
        raise ValueError("this test's")

    place.serve(handler).say(b"x\n")
    assert place.peer.hear_all() == b""


def own_thread_fails(place: Place) -> None:
    def handler(message: bytes) -> None:
        eventually(lambda: place.connection.owner)
        raise ValueError("this test's")

    place.serve(handler).say(b"x\n")
    assert place.peer.hear_all() == b""


def framing_is_broken(place: Place) -> None:
    place.serve(framing=threadwire.Netstring()).say(b"nonsense")
    assert place.peer.hear_all() == b""


def message_is_too_large(place: Place) -> None:
    place.serve(max_message=10).say(b"x" * 100)
    assert place.peer.hear_all() == b""


def message_takes_too_long(place: Place) -> None:
    place.serve(message_timeout=30).say(b"begun")
    eventually(lambda: place.connection.begun)
    assert place.server.healthy(PATIENCE)
    place.clock.turn(60)
    assert place.peer.hear_all() == b""


def is_idle(place: Place) -> None:
    place.serve(idle_timeout=60)
    eventually(lambda: place.connection._here)
    place.clock.turn(100)
    assert place.peer.hear_all() == b""


def replies_are_not_taken(place: Place) -> None:
    def handler(message: bytes) -> bytes:
        return message * 8_000_000

    place.serve(handler, write_timeout=30, handoff_after=NEVER).say(b"x\n")
    eventually(lambda: place.connection._timer)
    place.clock.turn(31)
    eventually(lambda: not place.server.connections)


def session_returns(place: Place) -> None:
    place.serve(threadwire.session(lambda connection: None))
    assert place.peer.hear_all() == b""


def session_fails(place: Place) -> None:
    def talk(connection: Connection) -> None:
        raise ValueError("this test's")

    place.serve(threadwire.session(talk))
    assert place.peer.hear_all() == b""


def another_thread_closes(place: Place) -> None:
    place.serve()
    place.connection.close()
    assert place.peer.hear_all() == b""


def it_is_cut(place: Place) -> None:
    place.serve(echo_session)
    place.connection.abort(CloseReason.CUT)
    assert place.peer.hear_all() == b""


def it_is_drained(place: Place) -> None:
    place.serve()
    eventually(lambda: place.connection._here)
    place.server.drain(0)
    assert place.peer.hear_all() == b""
    place.server.resume()


ENDINGS: list[Ending] = [
    peer_closes,
    peer_resets,
    handler_closes,
    handler_fails,
    own_thread_fails,
    framing_is_broken,
    message_is_too_large,
    message_takes_too_long,
    is_idle,
    replies_are_not_taken,
    session_returns,
    session_fails,
    another_thread_closes,
    it_is_cut,
    it_is_drained,
]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
def test_the_place_of_who_has_ended_is_free(serving: Serving, ending: Ending) -> None:
    """With ``leave`` not called, or no permit given back: the next is refused, or waits."""
    place = Place(serving)
    ending(place)
    with contextlib.closing(place.peer):
        pass
    server = place.server
    eventually(lambda: not server._reception.connections)
    assert not server._reception.admission._sites
    eventually(lambda: server._reception._permits._taken - server._engine.acceptor._permit == 0)  # type: ignore[union-attr]
    for _ in range(3):  # more often than there are permits
        with Peer(server.address):
            eventually(lambda: server.refused or server._reception.admission._sites)
        eventually(lambda: not server._reception.connections)
    assert server.refused == {}


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    @contextlib.contextmanager
    def refusing() -> Iterator[None]:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            yield

    return refusing


@pytest.mark.parametrize("proxied", [False, True])
def test_a_session_without_a_thread_gives_its_place_back(
    serving: Serving, no_threads: Callable[[], Any], proxied: bool
) -> None:
    options = BEHIND_A_PROXY if proxied else {}
    server = serving(echo_session, max_clients_per_ip=1, max_clients=1, **options)

    def come() -> Peer:
        return Behind("192.0.2.1", server.address) if proxied else Peer(server.address)

    with no_threads(), come() as refused:
        assert refused.hear_all() == b""
    eventually(lambda: not server._reception.connections)
    with come() as served:
        assert is_served(served)
    assert server.refused == {}


def test_a_proxy_that_says_nothing_right_takes_no_place(serving: Serving) -> None:
    """Nor the permit for ever."""
    server = serving(echo, max_clients_per_ip=1, max_clients=1, **BEHIND_A_PROXY)
    for header in (b"nonsense\r\n", b"PROXY TCP4 1 2 3\r\n", b"PROXY"):
        with Peer(server.address) as wrong:
            wrong.say(header)
            wrong.finish()
            assert wrong.hear_all() == b""
    with Behind("192.0.2.1", server.address) as served:
        assert is_served(served)


# The account.


def test_the_account_is_kept_whoever_writes_it(visit: Callable[[str], Connection]) -> None:
    """With no lock: some are lost."""
    made = admission()
    peer = Address("tcp", "192.0.2.1", 1)
    begin = threading.Barrier(8)

    def refuse() -> None:
        begin.wait(PATIENCE)
        for _ in range(250):
            made.note_refused(CloseReason.BUSY, peer)
            made.note_refused(CloseReason.DENIED, peer)

    threads = [threading.Thread(target=refuse) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert made.refused == {CloseReason.BUSY: 2000, CloseReason.DENIED: 2000}


def test_refusals_are_told_at_the_end(serving: Serving, events: Events) -> None:
    server = serving(echo, deny=["127.0.0.1"])
    for _ in range(3):
        with Peer(server.address) as peer:
            assert peer.hear_all() == b""
    server.close()
    (stopped,) = events.named("stopped")
    assert stopped["refused"] == 3
    assert server.refused == {CloseReason.DENIED: 3}


def test_the_account_that_is_given_is_a_copy(serving: Serving) -> None:
    server = serving(echo)
    server.refused[CloseReason.DENIED] = 5
    assert server.refused == {}
