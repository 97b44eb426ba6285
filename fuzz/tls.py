"""TLS: what a peer without the keys sends at any moment, and what one with them may send."""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.tls_support import Forger, certificate, client_side, connected, server_side
from threadwire import TlsError
from threadwire.transport.client_hello import MOST_HELLO, asked_name
from threadwire.transport.tls import Tls
from threadwire.transport.tls_records import RecordBoundaries

from .inputs import PLAN, Input, chunks

__all__ = ["client_hello", "tls_conversation", "tls_forged", "tls_records"]

_MOST_STEPS = 40
_MOST_PENDING = (1 << 16) + (1 << 15)  # bytes of answers: what tls.py says, and the last ones
_MOST_UNSEALED = (1 << 20) + (1 << 14)  # bytes that wait to be encrypted: likewise


def tls_records(data: bytes) -> None:
    """Where records begin and end, whatever the pieces."""
    plan, stream = data[:PLAN], data[PLAN:]
    boundaries = RecordBoundaries()
    for chunk, _ in chunks(plan, stream):
        boundaries.follow(chunk)
    at = 0
    while at + 5 <= len(stream):
        at += 5 + int.from_bytes(stream[at + 3 : at + 5], "big")
    assert boundaries.inside == (at != len(stream))


def client_hello(data: bytes) -> None:
    """The name in what a client sends first is the one that OpenSSL finds there, if it does."""
    name = asked_name(data[:MOST_HELLO])
    assert name is None or name.isascii()
    found = _name_for_openssl(data[:MOST_HELLO])
    assert found in (None, name), f"OpenSSL finds {found!r} instead of {name!r}"


def _name_for_openssl(data: bytes) -> str | None:
    found: list[str | None] = []

    def note(tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int:
        found.append(name)
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME  # it need not go on

    context = _contexts(0, 0)[0]
    incoming = ssl.MemoryBIO()
    incoming.write(data)
    complain = sys.unraisablehook
    sys.unraisablehook = lambda _: None  # where a name is not ASCII
    context.sni_callback = note
    try:
        with contextlib.suppress(ssl.SSLError):
            context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True).do_handshake()
    finally:
        context.sni_callback = None
        sys.unraisablehook = complain
    return found[0] if found else None


class _End:
    """One end of a connection, and what it has been given to say and was told."""

    def __init__(self, tls: Tls) -> None:
        self.tls = tls
        self.said = b""
        self.heard = b""
        self.wire = b""  # what it has written, on its way to the other

    def hear(self, data: bytes) -> None:
        """What was read, as the engine does it."""
        tls = self.tls
        try:
            if tls.info is None:
                if not tls.handshake(data):
                    return
                data = b""
            self.heard += tls.open(data)
        except TlsError as error:
            assert tls.failure is not None
            assert error.problem == tls.failure.problem
            assert error.problem.isprintable()
        finally:
            self._check()

    def say(self, data: bytes) -> None:
        if self.tls.info is None:
            return
        with contextlib.suppress(BrokenPipeError, TlsError):
            self.wire += self.tls.seal(data)
            self.said += data
        self._check()

    def write(self) -> None:
        self.wire += self.tls.take()
        assert not self.tls.pending

    def end(self) -> None:
        self.wire += self.tls.take_end()
        self._check()

    def _check(self) -> None:
        tls = self.tls
        assert tls.pending == (tls._outgoing.pending > 0)
        assert tls._outgoing.pending <= _MOST_PENDING
        assert tls._unsealed_bytes <= _MOST_UNSEALED
        if tls.failure is not None:
            _check_failed(tls)


def _check_failed(tls: Tls) -> None:
    """It stays failed, and nothing is sent that the peer would take for data."""
    assert tls.failure is not None
    waiting = tls._outgoing.pending
    calls: list[Callable[[], object]] = [lambda: tls.handshake(b"\x16")]
    if tls.info is not None:
        calls.append(lambda: tls.open(b"\x17"))
    for call in calls:
        try:
            call()
        except TlsError as error:
            assert error.problem == tls.failure.problem
        else:
            raise AssertionError("it goes on after a failure")
    try:
        tls.seal(b"x")
    except BrokenPipeError:
        pass
    else:
        raise AssertionError("something is sent after a failure")
    assert tls._outgoing.pending == waiting


def tls_conversation(data: bytes) -> None:
    """Two ends talk, and what is between them is read, cut, changed and added to.

    Whatever happens, each is told a beginning of what the other has said, and nothing else;
    and all of it where nobody interferes.
    """
    given = Input(data)
    kind = given.byte()
    server, client = (_End(tls) for tls in _ends(kind))
    client.hear(b"")
    quiet = True
    for _ in range(_MOST_STEPS):
        if not given.left:
            break
        code = given.byte()
        here, there = (server, client) if code & 1 else (client, server)
        step = _STEPS[(code >> 1) % len(_STEPS)]
        step(here, there, given)
        quiet = quiet and step not in _INTERFERING
    if quiet:
        _shake_hands(client, server, given)
    failed = any(end.tls.failure for end in (server, client))  # as without a certificate
    for here, there in ((server, client), (client, server)):
        assert here.said.startswith(there.heard), "something else was heard than said"
        assert there.heard == here.said or failed or not quiet, "something was lost"
    if server.tls.info is not None:
        assert server.tls.info.server_name == _name(kind)


def _ends(kind: int) -> tuple[Tls, Tls]:
    server, client = _contexts(kind & 1, kind >> 1 & 3)
    return (
        Tls(server, server_side=True),
        Tls(client, server_side=False, server_name=_name(kind)),
    )


def _name(kind: int) -> str:
    return "localhost" if kind & 8 else "server.example"


@functools.cache
def _contexts(old: int, verify: int) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = server_side(
        verify=(ssl.CERT_NONE, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED, ssl.CERT_REQUIRED)[verify],
        most=ssl.TLSVersion.TLSv1_2 if old else None,
        alpn=["h2", "x"],
    )
    cert = certificate("client.example") if verify in (1, 2) else None
    return server, client_side(cert=cert, alpn=["x"])


# What can happen; each has the end that is concerned, and the other one.


def _deliver(here: _End, there: _End, given: Input) -> None:
    """All that it has written."""
    here.write()
    there.hear(_taken(here, len(here.wire)))


def _deliver_some(here: _End, there: _End, given: Input) -> None:
    here.write()
    there.hear(_taken(here, given.byte()))


def _change(here: _End, there: _End, given: Input) -> None:
    """A byte of what is on its way."""
    here.write()
    at, change = int.from_bytes(given.take(2), "big"), given.byte()
    if here.wire:
        at %= len(here.wire)
        changed = bytes([here.wire[at] ^ change])
        here.wire = here.wire[:at] + changed + here.wire[at + 1 :]


def _lose(here: _End, there: _End, given: Input) -> None:
    here.write()
    at, size = int.from_bytes(given.take(2), "big"), given.byte()
    at %= len(here.wire) + 1
    here.wire = here.wire[:at] + here.wire[at + size :]


def _repeat(here: _End, there: _End, given: Input) -> None:
    here.write()
    here.wire += here.wire[: 1 << 14]


def _add(here: _End, there: _End, given: Input) -> None:
    here.write()
    here.wire += given.take(given.byte())


def _hear(here: _End, there: _End, given: Input) -> None:
    """Bytes that nobody has written."""
    here.hear(given.take(given.byte()))


def _say(here: _End, there: _End, given: Input) -> None:
    size = (1, 100, 1 << 14, 50_000)[given.byte() & 3]
    here.say(bytes([given.byte()]) * size)


def _end(here: _End, there: _End, given: Input) -> None:
    here.end()


def _shake_hands(here: _End, there: _End, given: Input) -> None:
    """To the end, if nothing is in the way."""
    for _ in range(4):
        _deliver(here, there, given)
        _deliver(there, here, given)


def _taken(end: _End, size: int) -> bytes:
    taken, end.wire = end.wire[:size], end.wire[size:]
    return taken


_STEPS = (
    _deliver,
    _deliver_some,
    _change,
    _lose,
    _repeat,
    _add,
    _hear,
    _say,
    _end,
    _shake_hands,
)
_INTERFERING = {_change, _lose, _repeat, _add, _hear}


def tls_forged(data: bytes) -> None:
    """A client that has the keys, and puts into its records what it likes."""
    given = Input(data)
    client_speaks = given.byte() & 1
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "keys")
        end, forger = _forged(log, of_client=bool(client_speaks))
    said = b""
    for _ in range(_MOST_STEPS):
        if not given.left:
            break
        code = given.byte()
        if code & 0x80:
            end.say(bytes([code]) * (1, 50_000)[code & 1])
        if code & 0x40:
            end.write()
        if code & 7 == len(_FORGERIES):
            end.end()
            continue
        plain, records = _FORGERIES[code & 7](forger, given)
        said += plain
        for chunk, _ in chunks(given.take(2) if code & 0x20 else b"\7", records):
            end.hear(chunk)
    assert said.startswith(end.heard), "something else was heard than said"


# What can be forged: the data in some records, and the records.


def _data(forger: Forger, given: Input) -> tuple[bytes, bytes]:
    plain = given.take(given.byte())
    return plain, forger.data(plain)


def _change_of_keys(forger: Forger, given: Input) -> tuple[bytes, bytes]:
    """Perhaps in two records, so that half of it has come for a while."""
    return b"", b"".join(forger.change_of_keys(cut_at=given.byte() % 5))


def _many_changes(forger: Forger, given: Input) -> tuple[bytes, bytes]:
    return b"", b"".join(forger.change_of_keys()[1] for _ in range(given.byte()))


def _alert(forger: Forger, given: Input) -> tuple[bytes, bytes]:
    return b"", forger.record(21, given.take(2))


def _handshake_message(forger: Forger, given: Input) -> tuple[bytes, bytes]:
    return b"", forger.record(22, given.take(given.byte()))


def _any_record(forger: Forger, given: Input) -> tuple[bytes, bytes]:
    kind, content = given.byte(), given.take(given.byte())
    return content if kind == 23 else b"", forger.record(kind, content)


def _no_record(forger: Forger, given: Input) -> tuple[bytes, bytes]:
    return b"", given.take(given.byte())


_FORGERIES = (
    _data,
    _change_of_keys,
    _alert,
    _handshake_message,
    _any_record,
    _many_changes,
    _no_record,
)


def _forged(log: Path, *, of_client: bool) -> tuple[_End, Forger]:
    """One end, and who speaks in the other one's place."""
    context = client_side()
    context.keylog_filename = os.fspath(log)
    server, client = connected(client=context)
    if of_client:
        return _End(server), Forger(log)
    return _End(client), Forger(log, "SERVER_TRAFFIC_SECRET_0")
