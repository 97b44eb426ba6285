"""Tls: handshakes, records, ends and failures, all in memory."""

from __future__ import annotations

import contextlib
import functools
import itertools
import queue
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import example, given, settings
from hypothesis import strategies as st

from threadwire import TlsError, UsageError
from threadwire.transport.tls import Tls
from threadwire.transport.tls_records import RecordBoundaries

from ..support import PATIENCE
from ..tls_support import (
    NAME,
    Forger,
    authority,
    both_ends,
    certificate,
    client_side,
    connected,
    forged_client,
    server_side,
    shake_hands,
)

modest = settings(max_examples=60, deadline=None)
versions = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


def info_of(tls: Tls) -> tuple[str | None, str | None, str | None]:
    assert tls.info is not None
    return tls.info.version, tls.info.alpn, tls.info.server_name


def certificate_of(tls: Tls) -> object:
    assert tls.info is not None
    return tls.info.peer_certificate


def refusal(server: Tls, client: Tls) -> tuple[str, str]:
    """What each end says when no connection comes about; "" for an end that is content."""
    problems = {server: "", client: ""}
    for tls, other in itertools.islice(itertools.cycle([(client, server), (server, client)]), 12):
        data = other.take()
        try:
            if tls.info is None:
                tls.handshake(data)
            else:
                tls.open(data)
        except TlsError as error:
            problems[tls] = error.problem
    assert any(problems.values())
    return problems[server], problems[client]


# The handshake.


@versions
def test_messages_go_both_ways(version: ssl.TLSVersion) -> None:
    server, client = both_ends(server_side(most=version))
    assert [server.info, client.info] == [None, None]
    shake_hands(server, client)
    assert info_of(server) == info_of(client) == (version.name.replace("_", "."), None, NAME)
    assert client.info is not None
    assert client.info.cipher
    assert client.info.peer_certificate is not None
    assert ("DNS", NAME) in client.info.peer_certificate["subjectAltName"]
    pem = certificate().cert_chain_pems[0].bytes()
    assert client.info.peer_certificate_der == ssl.PEM_cert_to_DER_cert(pem.decode())
    assert server.open(client.seal(b"request")) == b"request"
    assert client.open(server.seal(memoryview(b"reply"))) == b"reply"
    assert server.open(client.seal(b"")) == b""


@versions
def test_streams_may_be_cut_anywhere(version: ssl.TLSVersion) -> None:
    server, client = both_ends(server_side(most=version))
    done = [server.handshake(), client.handshake()]
    while not all(done):
        for n, (tls, other) in enumerate([(server, client), (client, server)]):
            for byte in other.take():
                done[n] = tls.handshake(bytes([byte]))
    plain = b""
    for byte in client.seal(b"one") + client.seal(b"two") + client.take_end():
        assert not server.ended
        plain += server.open(bytes([byte]))
    assert plain == b"onetwo"
    assert server.ended


def test_what_comes_right_behind_the_handshake_is_not_lost() -> None:
    server, client = both_ends()
    assert not client.handshake()
    assert not server.handshake(client.take())
    assert client.handshake(server.take())
    everything = client.take() + client.seal(b"early ") + client.seal(b"bird") + client.take_end()
    assert server.handshake(everything)
    assert server.ended
    assert server.open(b"") == b"early bird"
    assert server.open(b"") == b""


def test_more_than_the_handshake_may_be_given_to_it() -> None:
    server, client = connected()
    assert server.handshake(client.seal(b"a"))
    assert server.handshake(client.seal(b"b"))
    assert server.open(client.seal(b"c")) == b"abc"


def test_the_end_can_be_said_before_early_data_is_opened() -> None:
    server, client = both_ends()
    client.handshake()
    server.handshake(client.take())
    client.handshake(server.take())
    assert server.handshake(client.take() + client.seal(b"early"))
    assert client.open(server.take_end()) == b""
    assert client.ended
    assert server.open(client.seal(b" late")) == b"early late"


def test_application_protocols() -> None:
    server = server_side(alpn=["new", "old"])
    assert info_of(connected(server, client_side(alpn=["old", "new"]))[0])[1] == "new"
    assert info_of(connected(server, client_side(alpn=["old"]))[1])[1] == "old"
    assert info_of(connected(server, client_side(alpn=["other"]))[0])[1] is None
    assert info_of(connected(server)[0])[1] is None


def test_the_server_name() -> None:
    assert info_of(connected()[0])[2] == NAME
    assert info_of(connected(name="127.0.0.1")[0])[2] is None, "an address is no name"
    context = server_side()
    asked = []
    context.sni_callback = lambda tls, name, context: asked.append(name)
    assert info_of(connected(context)[0])[2] == NAME
    assert asked == [NAME], "the context is left as it was"


def test_a_server_name_that_is_none_is_nobodys_business() -> None:
    """Anybody may send it; it must not come out on standard error."""
    server, client = both_ends()
    client.handshake()
    hello = client.take().replace(NAME.encode(), b"\xff" + NAME.encode()[1:])
    assert not server.handshake(hello)
    assert server.failure is None


def test_two_connections_of_a_context_have_names_of_their_own() -> None:
    context = server_side()
    ends = [both_ends(context, name=name) for name in (NAME, "localhost")]
    for server, client in ends:
        client.handshake()
        server.handshake(client.take())
    for server, client in ends:
        shake_hands(server, client)
    assert [info_of(server)[2] for server, _ in ends] == [NAME, "localhost"]


def test_information_is_a_value() -> None:
    (_, one), (_, other) = connected(), connected()
    assert one.info == other.info
    assert hash(one.info) == hash(other.info)
    assert "peer_certificate_der" not in repr(one.info)
    assert one.info != connected()[0].info


# Certificates of clients.


@versions
@pytest.mark.parametrize("verify", [ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL])
def test_a_client_shows_a_certificate(version: ssl.TLSVersion, verify: ssl.VerifyMode) -> None:
    client_cert = certificate("client.example")
    server, _ = connected(server_side(verify=verify, most=version), client_side(cert=client_cert))
    shown = certificate_of(server)
    assert isinstance(shown, dict)
    assert shown["subjectAltName"] == (("DNS", "client.example"),)
    assert server.info is not None
    assert server.info.peer_certificate_der


@versions
def test_a_certificate_that_is_required_and_missing(version: ssl.TLSVersion) -> None:
    ends = both_ends(server_side(verify=ssl.CERT_REQUIRED, most=version))
    here, there = refusal(*ends)
    assert here == "the peer sent no certificate, and one is required"
    if version is ssl.TLSVersion.TLSv1_3:
        assert there == "the peer requires a certificate and got none"
    else:
        assert there == "the peer accepts nothing that was offered (handshake failure)"


def test_a_certificate_that_is_optional_and_missing() -> None:
    server, _ = connected(server_side(verify=ssl.CERT_OPTIONAL))
    assert certificate_of(server) is None
    assert server.info is not None
    assert server.info.peer_certificate_der is None


@versions
@pytest.mark.parametrize("verify", [ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL])
def test_a_certificate_of_somebody_else(version: ssl.TLSVersion, verify: ssl.VerifyMode) -> None:
    theirs = certificate("client.example", by="theirs")
    ends = both_ends(server_side(verify=verify, most=version), client_side(cert=theirs))
    here, there = refusal(*ends)
    assert here == "the peer's certificate is signed by an authority that is not trusted"
    assert there == "the peer does not trust the authority that signed our certificate"


def test_a_certificate_that_cannot_be_understood() -> None:
    """OpenSSL verifies it, and Python cannot make a dict of it."""
    names = x509.UnrecognizedExtension(x509.OID_SUBJECT_ALTERNATIVE_NAME, b"\x30\x03\x82\x01\xff")
    odd = authority().issue_cert("client.example")
    signed = _with_extension(odd.cert_chain_pems[0].bytes(), names)
    key = odd.private_key_pem.bytes()
    client = client_side()
    _load(client, key + signed)
    here, _ = refusal(*both_ends(server_side(verify=ssl.CERT_REQUIRED), client))
    assert here == "the peer's certificate cannot be understood"


def _with_extension(pem: bytes, extension: x509.UnrecognizedExtension) -> bytes:
    """The certificate again, with this one in the place of its names."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    old = x509.load_pem_x509_certificate(pem)
    ca_key = serialization.load_pem_private_key(authority().private_key_pem.bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateBuilder(
        old.issuer,
        old.subject,
        old.public_key(),
        old.serial_number,
        old.not_valid_before_utc,
        old.not_valid_after_utc,
    ).add_extension(extension, critical=False)
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)


# Handshakes that fail.


@pytest.mark.parametrize("name", ["other.example", "127.0.0.2"])
def test_the_wrong_host(name: str) -> None:
    here, there = refusal(*both_ends(name=name))
    assert there == f"the peer's certificate is not for '{name}'"
    assert here == "the peer refuses our certificate"


def test_an_unknown_authority() -> None:
    here, there = refusal(*both_ends(client=client_side(trusts="theirs")))
    assert there == "the peer's certificate is signed by an authority that is not trusted"
    assert here == "the peer does not trust the authority that signed our certificate"


def test_an_expired_certificate() -> None:
    from datetime import UTC, datetime

    expired = authority().issue_cert(NAME, not_after=datetime(2001, 1, 1, tzinfo=UTC))
    here, there = refusal(*both_ends(server_side(cert=expired)))
    assert there == "the peer's certificate has expired"
    assert here == "the peer refuses our certificate: it has expired"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(version: ssl.TLSVersion) -> None:
    client = client_side()
    client.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = client.maximum_version = version
    here, there = refusal(*both_ends(client=client))
    assert here == there == "no version of TLS that both ends allow"


def test_no_common_cipher() -> None:
    server = server_side(most=ssl.TLSVersion.TLSv1_2)
    server.set_ciphers("ECDHE+CHACHA20")
    client = client_side()
    client.set_ciphers("ECDHE+AESGCM")
    here, _ = refusal(*both_ends(server, client))
    assert here == "no cipher suite that both ends allow"


@pytest.mark.parametrize("who", ["server", "client"])
@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"hello\n", b"\x80\x2e\x01\x03\x01", b"\0"]
)
def test_plain_text(who: str, data: bytes) -> None:
    server, client = both_ends()
    tls = server if who == "server" else client
    tls.handshake()
    tls.take()
    with pytest.raises(TlsError) as caught:
        tls.handshake(data)
    assert caught.value.problem == f"the peer does not speak TLS: it began with {data[:16]!r}"
    assert tls.take() == b"", "there is nobody to understand it"
    for _ in range(2):
        with pytest.raises(TlsError, match="does not speak TLS"):
            tls.handshake(b"more")


def test_garbage_that_begins_like_a_handshake() -> None:
    server, _ = both_ends()
    with pytest.raises(TlsError, match="does not speak TLS"):
        server.handshake(b"\x16garbage, and more of it")


def test_a_wrong_handshake_is_answered_with_an_alert() -> None:
    server, _ = both_ends()
    with pytest.raises(TlsError) as caught:
        server.handshake(b"\x16\3\1\0\5\1\0\0\1\0")
    assert server.failure is not None
    assert server.failure.problem == caught.value.problem
    assert server.take()[0] == 21


def test_an_end_inside_the_handshake() -> None:
    server, client = both_ends()
    client.handshake()
    server.handshake(client.take())
    with pytest.raises(TlsError, match="hung up"):
        server.handshake(b"\x15\x03\x03\0\x02\x01\0")


@pytest.mark.parametrize(
    ("alert", "said"),
    [
        (49, "the peer sent an alert: access denied"),
        (90, "the peer gave up"),
        (112, "the peer does not serve the name it was asked for"),
        (120, "application protocol"),
        (255, "TLS failed: unknown error$"),
    ],
)
def test_alerts(alert: int, said: str) -> None:
    _, client = both_ends()
    client.handshake()
    with pytest.raises(TlsError, match=said):
        client.handshake(b"\x15\3\3\0\2\2" + bytes([alert]))


def test_a_failure_may_be_ended_too() -> None:
    server, _ = both_ends()
    with pytest.raises(TlsError):
        server.handshake(b"\x16\3\1\0\5\1\0\0\1\0")
    alert = server.take_end()
    assert alert[0] == 21
    assert len(alert) == 7, "one record, no more"
    assert server.take_end() == b""


# Records.


def test_begun_says_whether_a_record_is_incomplete() -> None:
    server, client = connected()
    record = client.seal(b"hello")
    for at in range(1, len(record)):
        assert server.open(record[:at]) == b""
        states = [server.begun]
        assert server.open(record[at:]) == b"hello"
        assert [*states, server.begun] == [True, False]
        record = client.seal(b"hello")


def test_nothing_is_begun_after_the_handshake() -> None:
    server, client = connected()
    assert not server.begun
    assert not client.begun


@given(st.lists(st.integers(0, 700), max_size=8), st.data())
@modest
def test_boundaries_wherever_the_stream_is_cut(sizes: list[int], data: st.DataObject) -> None:
    stream = b"".join(b"\x17\3\3" + size.to_bytes(2) + bytes(size) for size in sizes)
    ends = {0, *itertools.accumulate(5 + size for size in sizes)}
    records = RecordBoundaries()
    at = 0
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream) - at))
        records.follow(stream[at : at + step])
        at += step
        assert records.inside == (at not in ends)


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 65536, 5_000_000])
def test_any_size(size: int) -> None:
    server, client = connected()
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert server.open(client.seal(data)) == data


def test_a_lot_in_small_pieces() -> None:
    server, client = connected()
    piece = bytes(range(256)) * 4
    sealed = bytearray()
    for _ in range(16 << 10):
        sealed += client.seal(piece)
    got = bytearray()
    with memoryview(sealed) as view:
        for at in range(0, len(view), 1024):
            got += server.open(bytes(view[at : at + 1024]))
    assert got == piece * (16 << 10)


def test_several_messages_in_one_read() -> None:
    server, client = connected()
    sealed = b"".join(client.seal(bytes([n])) for n in range(256))
    assert server.open(sealed) == bytes(range(256))


def test_a_damaged_record_is_told_after_what_came_before_it() -> None:
    server, client = connected()
    good, bad = client.seal(b"good"), bytearray(client.seal(b"bad"))
    bad[-1] ^= 1
    assert server.open(good + bad) == b"good"
    assert server.failure is not None
    assert server.begun, "so that a deadline finds it"
    for _ in range(2):
        with pytest.raises(TlsError, match="a record was damaged or forged") as caught:
            server.open(b"")
        assert caught.value is not server.failure, "another thread may be raising that"
    with pytest.raises(BrokenPipeError):
        server.seal(b"reply")
    alert = server.seal()
    with pytest.raises(TlsError, match="the peer found a record damaged or forged"):
        client.open(alert)


def test_garbage_after_the_handshake() -> None:
    server, _ = connected()
    with pytest.raises(TlsError):
        server.open(b"GET / HTTP/1.1\r\n\r\n")


# Ends.


@versions
def test_ends_one_way_and_then_the_other(version: ssl.TLSVersion) -> None:
    server, client = connected(server_side(most=version))
    end = client.seal(b"last") + client.take_end()
    assert client.closing
    assert server.open(end) == b"last"
    assert server.ended
    assert not server.closing
    assert client.open(server.seal(b"still here")) == b"still here"
    assert client.open(server.take_end()) == b""
    assert client.ended


def test_nothing_can_be_sent_after_the_end() -> None:
    server, client = connected()
    end = client.take_end()
    assert client.take_end() == b""
    assert client.seal() == b""
    with pytest.raises(BrokenPipeError):
        client.seal(b"late")
    assert server.open(end) == b""


def test_what_comes_after_the_end_is_ignored() -> None:
    server, client = connected()
    assert server.open(client.seal(b"x") + client.take_end() + b"garbage") == b"x"
    assert server.open(b"more") == b""
    assert not server.begun


def test_an_end_in_the_middle_of_a_record_from_the_peer() -> None:
    server, client = connected()
    record = client.seal(b"hello")
    server.open(record[:7])
    assert client.open(server.take_end()) == b""
    assert server.open(record[7:]) == b"hello"


# What must not happen at once, and what may.


def test_two_threads_at_each_end() -> None:
    """Each end receives in one thread and sends in another; every message arrives, in order."""
    count = 10_000
    ends = connected()
    wires: list[queue.SimpleQueue[bytes]] = [queue.SimpleQueue(), queue.SimpleQueue()]
    wrong: list[str] = []

    def send(n: int) -> None:
        for number in range(count):
            wires[n].put(ends[n].seal(f"{n}:{number}:{'x' * (number % 300)}\n".encode()))

    def receive(n: int) -> None:
        text = b""
        for _ in range(count):
            text += ends[n].open(wires[1 - n].get(timeout=PATIENCE))
        lines = text.decode().splitlines()
        expected = [f"{1 - n}:{number}:{'x' * (number % 300)}" for number in range(count)]
        if lines != expected:
            wrong.append(f"end {n} got {len(lines)} lines")

    run_all([functools.partial(do, n) for n in (0, 1) for do in (send, receive)])
    assert not wrong


def test_answers_made_while_receiving_go_out_in_their_order(tmp_path: Path) -> None:
    """Each answer changes the keys, so that one out of place could not be decrypted."""
    server, client, forger = forged_client(tmp_path / "keys")
    count = 2000
    requests = [forger.change_of_keys()[1] for _ in range(count)]
    wire: list[bytes] = []

    def receive() -> None:
        for request in requests:
            assert server.open(request) == b""

    def send() -> None:
        for number in range(count):
            wire.append(server.seal(b"%d " % number))
        wire.append(server.take())

    run_all([receive, send])
    wire.append(server.take_end())
    text = b"".join(client.open(data) for data in wire)
    assert text == b"".join(b"%d " % number for number in range(count))
    assert client.ended


def run_all(works: list[Callable[[], None]]) -> None:
    failed: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not failed


def test_the_lock_may_be_taken_again_by_its_thread() -> None:
    """As by a signal handler that ends the connection inside of a call."""
    server, client = connected()
    with server._lock:
        end = server.take_end()
    client.open(end)
    assert client.ended


# Handshake messages after the handshake.


def test_a_change_of_keys_is_answered(tmp_path: Path) -> None:
    server, client, forger = forged_client(tmp_path / "keys")
    plain = len(server.seal(b"reply")) - len(b"reply")
    server, client, forger = forged_client(tmp_path / "other keys")
    assert server.open(forger.change_of_keys()[1]) == b""
    assert server.open(forger.data(b"with new keys")) == b"with new keys"
    reply = server.seal(b"reply")
    assert len(reply) > 2 * plain, "the answer goes before what is sent next"
    assert client.open(reply) == b"reply"
    assert client.open(server.seal(b"again")) == b"again"


def test_there_is_something_pending_until_it_is_taken(tmp_path: Path) -> None:
    server, client, forger = forged_client(tmp_path / "keys")
    for _ in range(2):  # the answer to the first is made when the second comes
        assert server.open(forger.change_of_keys()[1]) == b""
    states = [server.pending]
    assert client.open(server.take()) == b""
    assert [*states, server.pending] == [True, False]
    assert client.open(server.seal(b"reply")) == b"reply"


@pytest.mark.parametrize("cut_at", [1, 4])
def test_half_a_handshake_message_holds_up_what_is_sent(tmp_path: Path, cut_at: int) -> None:
    server, client, forger = forged_client(tmp_path / "keys")
    first, second = forger.change_of_keys(cut_at=cut_at)
    assert server.open(first) == b""
    sealed = server.seal(b"one ") + server.seal(b"two ") + server.seal(b"x" * 20_000)
    if not sealed:
        assert server.begun
    assert server.open(second + forger.data(b"go on")) == b"go on"
    assert not server.begun
    sealed += server.seal(b" three")
    assert client.open(sealed) == b"one two " + b"x" * 20_000 + b" three"


def test_what_is_held_up_is_bounded(tmp_path: Path) -> None:
    server, client, forger = forged_client(tmp_path / "keys")
    server.open(forger.change_of_keys(cut_at=4)[0])
    with pytest.raises(TlsError, match="does not end it"):
        for _ in range(100):
            assert server.seal(b"x" * (1 << 16)) == b""
    assert server.failure is not None
    assert client.open(server.take_end()) == b""


def test_the_end_inside_half_a_handshake_message(tmp_path: Path) -> None:
    server, _, forger = forged_client(tmp_path / "keys")
    server.open(forger.change_of_keys(cut_at=4)[0])
    assert server.seal(b"never") == b""
    assert server.take_end() == b"", "there is no place for it"
    assert not server.begun, "nobody waits for the rest any more"


def test_answers_that_nobody_reads_are_bounded(tmp_path: Path) -> None:
    server, _, forger = forged_client(tmp_path / "keys")
    with pytest.raises(TlsError, match="asks for more answers than it reads"):
        for _ in range(10_000):
            server.open(forger.change_of_keys()[1])


def test_answers_that_are_read_are_not(tmp_path: Path) -> None:
    server, client, forger = forged_client(tmp_path / "keys")
    for _ in range(5000):
        server.open(forger.change_of_keys()[1])
        client.open(server.take())
    assert client.open(server.seal(b"reply")) == b"reply"


def test_a_client_gets_half_a_ticket(tmp_path: Path) -> None:
    client = client_side()
    client.keylog_filename = str(tmp_path / "keys")
    server_context = server_side()
    server_context.num_tickets = 0
    server, end = connected(server_context, client)
    forger = Forger(tmp_path / "keys", "SERVER_TRAFFIC_SECRET_0")
    ticket = b"\x04\0\0\x14" + bytes(4) + bytes(4) + b"\x01n" + b"\0\x06ticket" + b"\0\0"
    assert end.open(forger.record(22, ticket[:9])) == b""
    assert end.seal(b"request") == b""
    assert end.open(forger.record(22, ticket[9:])) == b""
    assert end.pending
    assert server.open(end.take()) == b"request"


# Importing.


def test_ssl_is_imported_only_where_it_is_used() -> None:
    """It takes longer than all the rest of threadwire."""
    script = (
        "import sys, threadwire, threadwire.transport.tls_info; assert 'ssl' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# Wrong use.


def test_wrong_arguments() -> None:
    with pytest.raises(UsageError, match=r"context must be an ssl\.SSLContext, not 'x'"):
        Tls("x", server_side=True)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="server_name is for clients"):
        Tls(server_side(), server_side=True, server_name=NAME)
    with pytest.raises(UsageError, match="context is for clients"):
        Tls(client_side(), server_side=True)
    with pytest.raises(UsageError, match="context is for servers"):
        Tls(server_side(), server_side=False, server_name=NAME)
    for name in ["", ".x", "a\0b", "x" * 64, "x." * 200, b"x"]:
        with pytest.raises(UsageError, match=r"server_name .* is not a host name"):
            Tls(client_side(), server_side=False, server_name=name)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="server_name is needed"):
        Tls(client_side(), server_side=False)


def test_a_client_that_checks_nothing_needs_no_name() -> None:
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    ends = Tls(server_side(), server_side=True), Tls(trusting, server_side=False)
    shake_hands(*ends)
    assert certificate_of(ends[1]) is None, "not verified"
    assert info_of(ends[0])[2] is None


def test_calls_before_the_handshake() -> None:
    server, client = both_ends()
    with pytest.raises(UsageError, match="before the handshake"):
        server.open(b"")
    with pytest.raises(UsageError, match="before the handshake"):
        server.seal(b"x")
    assert server.seal() == server.take() == server.take_end() == b""
    assert not client.handshake()


# Anything at all.

client_hello = both_ends()[1]
client_hello.handshake()
HELLO = client_hello.take()
CONTEXTS = server_side(verify=ssl.CERT_OPTIONAL), client_side()
record_like = st.builds(
    lambda kind, body: bytes([kind]) + b"\3\3" + len(body).to_bytes(2) + body,
    st.integers(20, 24),
    st.binary(max_size=300),
)
anything = st.one_of(st.binary(max_size=300), record_like)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        found[draw(st.integers(0, len(found) - 1))] = draw(st.integers(0, 255))
    return bytes(found) + draw(anything)


@given(st.lists(st.one_of(anything, damaged(HELLO), st.just(HELLO)), max_size=4), st.booleans())
@example([HELLO + b"\x16\3\3\xff\xff"], True)
@modest
def test_any_bytes_into_a_handshake(chunks: list[bytes], as_server: bool) -> None:
    tls = both_ends(*CONTEXTS)[0 if as_server else 1]
    with contextlib.suppress(TlsError):
        for chunk in chunks:
            assert not tls.handshake(chunk)
    tls.take_end()


@given(st.lists(anything, max_size=4), st.booleans(), st.data())
@modest
def test_any_bytes_after_the_handshake(
    chunks: list[bytes], as_server: bool, data: st.DataObject
) -> None:
    server, client = connected(*CONTEXTS)
    tls, other = (server, client) if as_server else (client, server)
    chunks.insert(0, data.draw(damaged(other.seal(b"one") + other.seal(b"two"))))
    plain = b""
    with contextlib.suppress(TlsError):
        for chunk in chunks:
            plain += tls.open(chunk)
    assert b"onetwo".startswith(plain)
    tls.take_end()
