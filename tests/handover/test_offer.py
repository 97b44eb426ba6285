"""The old process's side: to whom the sockets are offered, and what changes nothing."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from threadwire import ListenError, UsageError
from threadwire.handover import Handed, Offer, Taken, take

from ..support import PATIENCE, wait_for
from .support import (
    Raw,
    Reports,
    assert_it_stands,
    taking,
)


def test_a_new_process_that_dies_when_it_has_said_that_it_serves(
    path: str, listening: socket.socket
) -> None:
    reports = Reports(hold_at="refused")
    handed = [Handed("tcp://:1", listening, {})]
    with Offer(path, handed, lambda: pytest.fail("taken"), report=reports):
        with Raw(path) as dying:
            dying.say("take")
            assert dying.hear() is not None
            with Raw(path) as second:
                second.say("take")
                wait_for(reports.held)
                dying.say("serving")
        reports.go_on.set()
        assert "said that it serves, and ended" in reports.wait_for("gone")
        assert_it_stands(path)


def test_a_new_process_that_dies_before_it_is_answered(path: str, listening: socket.socket) -> None:
    reports = Reports(hold_at="garbage")
    handed = [Handed("tcp://:1", listening, {})]
    with Offer(path, handed, lambda: pytest.fail("taken"), report=reports):
        with Raw(path) as first:
            first.say("nonsense")
            wait_for(reports.held)
            with Raw(path) as dying:
                dying.say("take")
        reports.go_on.set()
        assert "ended before it served" in reports.wait_for("gone")
        assert_it_stands(path)


def test_a_new_process_that_gives_up(path: str, offer: Offer, reports: Reports) -> None:
    with taking(path) as taken:
        taken.failed("its configuration\nis wrong")
        assert reports.wait_for("failed").endswith("its configuration?is wrong")
        with pytest.raises(UsageError, match="told already"):
            taken.serving()
    assert offer.taker is None
    with pytest.raises(ZeroDivisionError), taking(path):
        raise ZeroDivisionError("oh")
    assert reports.wait_for("failed").endswith("ZeroDivisionError('oh')")
    taking(path).close()
    assert reports.wait_for("failed").endswith("it gave up")


@pytest.mark.usefixtures("offer")
def test_a_second_one_at_the_same_time_is_busy(path: str, reports: Reports) -> None:
    with taking(path):
        with pytest.raises(ListenError, match=r"refuses: process .* is taking over") as caught:
            take(path)
        assert caught.value.errno == errno.EBUSY
        assert reports.wait_for("refused")


def test_after_a_take_over_further_ones_are_busy(path: str, listening: socket.socket) -> None:
    called = threading.Event()
    with Offer(path, [Handed("tcp://:1", listening, {})], called.set) as offer:
        with taking(path) as taken:
            taken.serving()
        assert called.is_set()
        assert offer.taker == os.getpid() == taken.pid
        with pytest.raises(ListenError) as caught:
            take(path)
        assert caught.value.errno == errno.EBUSY
    assert os.path.exists(path), "which is the new process's now"


def test_one_that_takes_too_long(
    path: str, listening: socket.socket, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threadwire.handover.offer._GREETING_TIMEOUT", 2 * PATIENCE)
    handed = [Handed("tcp://:1", listening, {})]
    taken_over = threading.Event()
    with Offer(path, handed, taken_over.set, report=reports, timeout=0.1):
        with taking(path) as taken:
            assert reports.wait_for("late").endswith("did not serve within 0.1 s")
            with pytest.raises(ListenError, match=r"refuses: .* did not serve within"):
                taken.serving()
        assert not taken_over.is_set()
        assert_it_stands(path)


@pytest.mark.usefixtures("offer")
def test_processes_that_connect_and_say_nothing(
    path: str, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [Raw(path) for _ in range(8)]
    with Raw(path) as crowded_out:
        crowded_out.say("take")
        crowded_out.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            crowded_out.hear()
    ninth: list[Taken | None] = []
    waiting = threading.Thread(target=lambda: ninth.append(take(path)))
    waiting.start()
    monkeypatch.setattr("threadwire.handover.offer._GREETING_TIMEOUT", 0.05)
    silent.pop().socket.close()  # which makes room
    waiting.join(PATIENCE)
    (taken,) = ninth
    assert taken is not None
    taken.close()
    with taking(path):  # who has asked has more time
        with Raw(path) as late:
            assert late.refusal() == "late"
        assert "asked for nothing within 0.05 s" in reports.wait_for("late")
    assert "it gave up" in reports.wait_for("failed")
    for one in silent:
        one.socket.close()


@pytest.mark.parametrize(
    "packet",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xfe\x00",
        b"{",
        b"[" * 60000,
        b"1" * 60000,
        b"[]",
        b"{}",
        b'{"say": 1}',
        b'{"handover": 1, "say": "take", "more": "' + b"x" * 70000 + b'"}',
        b'{"handover": 1, "say": "serving"}',
        b'{"handover": 1, "say": "more"}',
        b'{"handover": 1, "say": "failed", "reason": "of course"}',
        b'{"handover": 1, "say": "\\n\\u0000"}',
    ],
    ids=range(13),
)
@pytest.mark.usefixtures("offer")
def test_garbage(packet: bytes, path: str, reports: Reports) -> None:
    with Raw(path) as raw:
        raw.socket.send(packet)
        assert raw.refusal() == "garbage"
    detail = reports.wait_for("garbage")
    assert detail.startswith(f"process {os.getpid()}: it s")
    assert len(detail) < 700
    assert detail.isprintable()


@pytest.mark.parametrize("words", [("take", "take"), ("take", "more"), ("take", "go")])
@pytest.mark.usefixtures("offer")
def test_words_out_of_turn(words: tuple[str, ...], path: str) -> None:
    with Raw(path) as raw:
        raw.say(*words)
        answer = raw.hear()
        assert answer is not None
        assert answer["say"] == "listeners"
        assert raw.refusal() == "garbage"


@pytest.mark.parametrize("version", [2, "1", None, 1.5, [1]])
@pytest.mark.usefixtures("offer")
def test_another_version(version: object, path: str, reports: Reports) -> None:
    with Raw(path) as raw:
        raw.say("take", version=version)
        assert raw.refusal() == "version"
    assert "it speaks version 1 of the handover, not " in reports.wait_for("refused")


@pytest.mark.usefixtures("offer")
def test_descriptors_that_come_along_are_closed(path: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, Raw(path) as raw:
        with theirs:
            data = json.dumps({"handover": 1, "say": "take"}).encode()
            socket.send_fds(raw.socket, [data], [theirs.fileno()])
        assert raw.hear() is not None
        ours.settimeout(PATIENCE)
        assert ours.recv(1) == b"", "the last copy is closed"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(min_size=1, max_size=100),
            st.sampled_from(["take", "more", "failed"]).map(
                lambda word: json.dumps({"handover": 1, "say": word}).encode()
            ),
        ),
        max_size=4,
    )
)
def test_whatever_is_sent_the_offer_stands(offer: Offer, packets: list[bytes]) -> None:
    with Raw(offer.path) as raw, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for packet in packets:
            raw.socket.send(packet)
    assert_it_stands(offer.path)


def test_an_old_process_that_cannot_stop_goes_on(
    path: str, listening: socket.socket, reports: Reports
) -> None:
    failures = iter([RuntimeError("no")])

    def taken_over() -> None:
        for failure in failures:
            raise failure

    with Offer(path, [Handed("tcp://:1", listening, {})], taken_over, report=reports) as offer:
        with taking(path) as taken:
            with pytest.raises(ListenError, match="could not stop accepting: RuntimeError"):
                taken.serving()
        assert "RuntimeError('no')" in reports.wait_for("stop-failed")
        assert offer.taker is None
        with taking(path) as taken:
            taken.serving()
        assert reports.wait_for("taken") == f"by process {os.getpid()}"


# Offering.


def test_closing_refuses_who_has_the_sockets_and_removes_the_file(
    path: str, listening: socket.socket
) -> None:
    offer = Offer(path, [Handed("tcp://:1", listening, {})], lambda: None).start()
    with taking(path) as taken:
        offer.close()
        offer.close()
        with pytest.raises(ListenError, match="offers its sockets no more"):
            taken.serving()
    assert take(path) is None
    assert not os.path.exists(path)
    assert os.listdir(os.path.dirname(path)) == []


def test_the_owner_may_close_it_when_it_is_taken(path: str, listening: socket.socket) -> None:
    def taken_over() -> None:
        made.close()

    made = Offer(path, [Handed("tcp://:1", listening, {})], taken_over).start()
    with taking(path) as taken:
        taken.serving()
    made.close()
    assert take(path) is None


def test_a_stale_file_is_replaced(path: str, listening: socket.socket) -> None:
    for dead in (path, f"{path}.{os.getpid()}"):
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(dead)
    with Offer(path, [Handed("tcp://:1", listening, {})], lambda: None):
        assert_it_stands(path)
        assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    assert os.listdir(os.path.dirname(path)) == []


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_living_one_is_not_replaced(
    kind: socket.SocketKind, path: str, listening: socket.socket
) -> None:
    with socket.socket(socket.AF_UNIX, kind) as living:
        living.bind(path)
        living.listen()
        with pytest.raises(ListenError, match="in use") as caught:
            Offer(path, [Handed("tcp://:1", listening, {})], lambda: None).start()
        assert caught.value.errno == errno.EADDRINUSE
        assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def test_who_has_taken_over_replaces_it(path: str, listening: socket.socket) -> None:
    handed = [Handed("tcp://:1", listening, {})]
    with Offer(path, handed, lambda: None) as old:
        with taking(path) as taken:
            taken.serving()
        with Offer(path, handed, lambda: None, replace=True):
            assert_it_stands(path)
            old.close()
            assert_it_stands(path)
    assert not os.path.exists(path)


@pytest.mark.parametrize("replace", [False, True])
def test_a_successors_file_is_left_alone(
    replace: bool, path: str, listening: socket.socket
) -> None:
    """Also where nothing was taken over, as when an administrator has cleaned up."""
    handed = [Handed("tcp://:1", listening, {})]
    with Offer(path, handed, lambda: None) as old:
        os.unlink(path)
        with Offer(path, handed, lambda: None, replace=replace):
            old.close()
            assert_it_stands(path)


def test_of_two_that_start_at_once_one_wins(
    path: str, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = [Handed("tcp://:1", listening, {})]
    link = os.link
    with contextlib.ExitStack() as stack:

        def link_too_late(source: str, target: str) -> None:
            monkeypatch.setattr(os, "link", link)
            os.rename(source, f"{source}.x")
            stack.enter_context(Offer(path, handed, lambda: None))
            link(f"{source}.x", target)

        monkeypatch.setattr(os, "link", link_too_late)
        with pytest.raises(ListenError, match="file exists"):
            Offer(path, handed, lambda: None).start()
        assert_it_stands(path)


@pytest.mark.parametrize("replace", [False, True])
def test_another_kind_of_file_is_not_touched(
    replace: bool, path: str, listening: socket.socket
) -> None:
    Path(path).write_text("precious")
    with pytest.raises(ListenError, match="not a socket"):
        Offer(path, [Handed("tcp://:1", listening, {})], lambda: None, replace=replace).start()
    assert Path(path).read_text() == "precious"
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def test_a_directory_that_is_not_there(tmp_path: Path, listening: socket.socket) -> None:
    handed = [Handed("tcp://:1", listening, {})]
    with pytest.raises(ListenError, match="no such file"):
        Offer(str(tmp_path / "nowhere" / "s"), handed, lambda: None).start()


def test_a_thread_that_cannot_start(
    path: str, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    offer = Offer(path, [Handed("tcp://:1", listening, {})], lambda: None)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", cannot)
        with pytest.raises(ListenError, match="can't start new thread"):
            offer.start()
    assert not os.path.exists(path)
    offer.close()


def test_no_descriptors_are_free_in_the_old_process(path: str, reports: Reports) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with Offer(path, [Handed("tcp://:1", listening, {})], lambda: None, report=reports):
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            with Raw(path, connect=False) as raw, open(os.devnull) as highest:
                # Every lower number is in use.
                resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno() + 1, hard))
                try:
                    raw.socket.connect(path)
                    assert "Too many open files" in reports.wait_for("accept-failed")
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                raw.say("take")
                assert raw.hear() is not None
    assert len(reports.all) < 50, "it has not been spinning"


def test_sockets_that_are_closed_cannot_be_passed(path: str, reports: Reports) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        offer = Offer(path, [Handed("tcp://:1", listening, {})], lambda: None, report=reports)
    with offer:
        with pytest.raises(ListenError, match="refuses: its sockets cannot be passed"):
            take(path)
        assert "cannot be passed" in reports.wait_for("failed")


def test_wrong_arguments(path: str, listening: socket.socket, tmp_path: Path) -> None:
    handed = Handed("tcp://:1", listening, {})
    with pytest.raises(UsageError, match="at least one listening socket"):
        Offer(path, [], lambda: None)
    with socket.socket() as plain:
        with pytest.raises(UsageError, match="must be listening stream sockets"):
            Offer(path, [handed, Handed("tcp://:2", plain, {})], lambda: None)
    with pytest.raises(UsageError, match="must be listening stream sockets"):
        Offer(path, [Handed("tcp://:2", plain, {})], lambda: None)  # closed by now
    with pytest.raises(UsageError, match="what JSON can carry"):
        Offer(path, [Handed("tcp://:1", listening, {"a": b"bytes"})], lambda: None)
    with pytest.raises(UsageError, match="at most 16384 bytes"):
        Offer(path, [Handed("tcp://:1", listening, {"a": "x" * 17000})], lambda: None)
    with pytest.raises(UsageError, match="handover_timeout"):
        Offer(path, [handed], lambda: None, timeout=0)
    with pytest.raises(UsageError, match="answer_timeout"):
        take(path, -1)
    with Offer(path, [handed], lambda: None) as offer:
        with pytest.raises(UsageError, match="starts once"):
            offer.start()


@pytest.mark.parametrize("bad", ["", "nul\0", "/" + "x" * 99, None, Path("/run/x")])
def test_paths_that_are_none(bad: Any, listening: socket.socket) -> None:
    with pytest.raises(UsageError, match="the path of a handover must"):
        take(bad)
    with pytest.raises(UsageError, match="the path of a handover must"):
        Offer(bad, [Handed("tcp://:1", listening, {})], lambda: None)


def test_the_longest_path_leaves_room_for_the_temporary_name(
    tmp_path: Path, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "getpid", lambda: 2**22)  # the highest number there is
    path = "x" * 99
    with Offer(path, [Handed("tcp://:1", listening, {})], lambda: None):
        assert_it_stands(path)
