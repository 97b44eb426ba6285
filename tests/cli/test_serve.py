"""``threadwire serve`` as a user meets it: a process with options, signals and exit codes."""

from __future__ import annotations

import datetime
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

import threadwire

from ..support import COMMAND, PATIENCE, Peer, eventually, run, served

REVERSE = "def handle(message: bytes) -> bytes:\n    return message[::-1]\n"


@pytest.fixture
def app(tmp_path: Path) -> str:
    """A directory with a module ``app``."""
    (tmp_path / "app.py").write_text(
        "import sys, threading, threadwire\n" + REVERSE + "def fail(message: bytes) -> bytes:\n"
        "    raise ValueError('no\\nway')\n"
        "def stuck(message: bytes) -> None:\n"
        "    sys.stderr.write('stuck now\\n'); sys.stderr.flush()\n"
        "    threading.Event().wait()\n"
        "@threadwire.session\n"
        "def chat(connection: threadwire.Connection) -> None:\n"
        "    connection.send(b'name?')\n"
        "    connection.send(b'hello ' + connection.receive())\n"
        "class Handlers:\n"
        "    inner = staticmethod(handle)\n"
        "number = 7\n"
        "async def coroutine(message: bytes) -> bytes:\n"
        "    return message\n"
    )
    (tmp_path / "broken.py").write_text("def handle(:\n")
    (tmp_path / "raising.py").write_text("1 / 0\n")
    (tmp_path / "exiting.py").write_text("raise SystemExit(5)\n")
    (tmp_path / "needing.py").write_text("import no_such_module_anywhere\n")
    return str(tmp_path)


USUAL = {"capacity", "opened", "closed", "signal", "draining", "stopped"}


def events_of(log: list[str], name: str) -> list[str]:
    return [line for line in log if re.match(rf"\S+ \S+ [A-Z]+ {name}\b", line)]


def test_the_default_service_reverses_and_stops_cleanly() -> None:
    with served() as server:
        assert re.fullmatch(
            r"threadwire: listening on tcp://127\.0\.0\.1:\d+ \(framing: auto\)\n", server.greeting
        )
        with Peer(server.address) as peer:
            peer.say(b"hello from client")
            assert peer.hear(17) == b"tneilc morf olleh"
        eventually(lambda: events_of(server.log, "closed"))
        assert server.stop(signal.SIGINT) == 0
    assert [line.split()[3] for line in server.log] == [
        "capacity",
        "opened",
        "closed",
        "signal",
        "draining",
        "stopped",
    ]
    closed = server.log[2]
    assert "reason=peer-closed messages_received=1 messages_sent=1" in closed
    assert "bytes_received=17 bytes_sent=17 seconds=" in closed


def test_every_address_is_printed_and_served(tmp_path: Path) -> None:
    listen = ("tcp://localhost:0", f"unix://{tmp_path}/s", "tcp://:0")
    with served(listen=listen) as server:
        assert len(server.addresses) >= 3
        for address in server.addresses:
            host = "127.0.0.1" if address.host == "::" else address.host
            reachable = threadwire.Address(address.scheme, host, address.port, address.path)
            with Peer(reachable) as peer:
                peer.say(b"ab\n")
                assert peer.hear_line() == b"ba\n"
        assert server.stop() == 0
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("handler", "said", "heard"),
    [
        ("app:handle", b"abc\n", b"cba\n"),
        ("app:Handlers.inner", b"abc\n", b"cba\n"),
        ("app:chat", b"ann\n", b"name?\nhello ann\n"),
    ],
)
def test_a_named_handler(app: str, handler: str, said: bytes, heard: bytes) -> None:
    with served(handler, cwd=app) as server:
        assert "(framing: lines)" in server.greeting
        with Peer(server.address) as peer:
            peer.say(said)
            peer.finish()
            assert peer.hear_all() == heard


@pytest.mark.parametrize(
    ("spec", "said", "heard"),
    [
        ("netstring", b"3:abc,", b"3:cba,"),
        ("length:2:little", b"\3\0abc", b"\3\0cba"),
        (r"delimited:\x03", b"abc\x03", b"cba\x03"),
        ("lines:crlf", b"abc\n", b"cba\r\n"),
        ("raw", b"a\n", b"\na"),
    ],
)
def test_framings(spec: str, said: bytes, heard: bytes) -> None:
    with served("--framing", spec) as server, Peer(server.address) as peer:
        peer.say(said)
        assert peer.hear(len(heard)) == heard


def test_text_is_reversed_by_character() -> None:
    with served("--text") as server, Peer(server.address) as peer:
        peer.say("noe\u0301l 👩‍👩‍👧 🇩🇪\n".encode())
        assert peer.hear_line().decode() == "🇩🇪 👩‍👩‍👧 le\u0301on\n"
        peer.say(b"ab\xff\n")
        assert peer.hear_line() == b"error: not UTF-8: byte 0xff at position 2\n"
        peer.say(b"on\n")
        assert peer.hear_line() == b"no\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--bogus",), "--bogus"),
        (("--framing", "foo"), "'foo'"),
        (("--framing", "length:9"), "size"),
        (("--max-message", "-1"), "'-1' is not a size"),
        (("--max-message", "0"), "max_message"),
        (("--max-clients", "many"), "--max-clients: 'many' is not a whole number"),
        (("--drain-timeout", "soon"), "'soon' is not a duration"),
        (("--listen", "localhost:1"), "localhost:1"),
        (("--listen", "ftp://localhost:1"), "ftp"),
        (("--log-format", "xml"), "xml"),
        (("nocolon",), "'nocolon'"),
        (("no_such_module:handle",), "no module named 'no_such_module'"),
        (("app:missing",), "no 'missing'"),
        (("app:number",), "int"),
        (("app:coroutine",), "async"),
        (("broken:handle",), "SyntaxError"),
        (("raising:handle",), "ZeroDivisionError"),
        (("exiting:handle",), "SystemExit"),
        (("needing:handle",), "no_such_module_anywhere"),
        (("app:handle", "--text"), "--text belongs to the reversing handler"),
        (("--log-level", "debug", "-q"), "--log-level"),
        (
            ("--log-level", "trace"),
            "--log-level: 'trace' is not one of debug, info, warning, error",
        ),
        (("--overload", "panic"), "--overload: 'panic' is not one of wait, refuse"),
        (("--idle-timeout", "never"), "--idle-timeout: 'never' is not a duration"),
        (("--config", "no.toml"), "no.toml: cannot read it: no such file or directory"),
        (("app:handle", "surplus"), "surplus"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    app: str, arguments: tuple[str, ...], said: str
) -> None:
    done = run("serve", *arguments, cwd=app)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("threadwire: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_all_that_is_wrong_is_told_each_on_a_line(app: str) -> None:
    (Path(app) / "threadwire.toml").write_text("[serve]\nbacklog = 0\nwrite_timeout = true\n")
    done = run("serve", "--max-clients", "0", cwd=app)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "threadwire: ./threadwire.toml: backlog must be at least 1 items, not 0",
        "threadwire: ./threadwire.toml: write_timeout must be a number of seconds, not True",
        "threadwire: --max-clients: max_clients must be at least 1 items, not 0",
    ]


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:{port}", "tcp://localhost:{port}"])
def test_a_port_in_use_is_one_line_and_exit_3(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = url.format(port=taken.getsockname()[1])
        done = run("serve", "--listen", url)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"threadwire: cannot listen on {url}: address already in use\n"


def test_a_handler_that_raises_is_one_event_with_its_traceback(app: str) -> None:
    with served("app:fail", cwd=app) as server:
        with Peer(server.address) as peer:
            peer.say(b"x\n")
            assert peer.hear_all() == b""
        eventually(lambda: events_of(server.log, "closed"))
        assert server.stop() == 0
    (failed,) = events_of(server.log, "handler-failed")
    assert r'error=ValueError detail="no\nway"' in failed
    trace = server.log[server.log.index(failed) + 1 :]
    assert trace[0] == "    Traceback (most recent call last):"
    assert any("app.py" in line for line in trace)


def test_a_peers_fault_is_one_line_without_traceback() -> None:
    with served("--max-message", "10") as server:
        with Peer(server.address) as peer:
            peer.say(b"12345678901\n")
            assert peer.hear_all() == b""
        eventually(lambda: events_of(server.log, "closed"))
        server.stop()
    assert len(events_of(server.log, "peer-fault")) == 1
    assert not any("Traceback" in line for line in server.log)


def test_the_drain_deadline_cuts_names_the_line_and_exits_4(app: str) -> None:
    with served("app:stuck", "--drain-timeout", "50ms", cwd=app) as server:
        with Peer(server.address) as peer:
            peer.say(b"x\n")
            eventually(lambda: "stuck now" in server.log)
            assert server.stop() == 4
    (cut,) = events_of(server.log, "cut")
    assert "app.py:8 in stuck" in cut


def test_a_second_signal_cuts_at_once(app: str) -> None:
    with served("app:stuck", "--drain-timeout", "1h", cwd=app) as server:
        with Peer(server.address) as peer:
            peer.say(b"x\n")
            eventually(lambda: "stuck now" in server.log)
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: events_of(server.log, "draining"))
            assert server.stop(signal.SIGINT) == 4


def test_json_logs() -> None:
    with served("--log-format", "json") as server:
        greeting = json.loads(server.greeting)
        assert greeting["event"] == "listening"
        assert greeting["addresses"] == [str(server.address)]
        with Peer(server.address) as peer:
            peer.say(b"hello\n")
            peer.hear_line()
        eventually(lambda: len(server.log) == 3)
        server.stop()
    entries = [json.loads(line) for line in server.log]
    assert [entry["event"] for entry in entries] == [
        "capacity",
        "opened",
        "closed",
        "signal",
        "draining",
        "stopped",
    ]
    assert entries[2]["messages_received"] == 1
    assert entries[2]["reason"] == "peer-closed"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entries[0]["time"])


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("-v",), {*USUAL, "message"}),
        ((), USUAL),
        (("-q",), set()),
        (("-qq",), set()),
        (("--log-level", "debug"), {*USUAL, "message"}),
        (("--log-level", "info"), USUAL),
        (("--log-level", "warning"), set()),
    ],
)
def test_verbosity(flags: tuple[str, ...], expected: set[str]) -> None:
    with served(*flags) as server:
        with Peer(server.address) as peer:
            peer.say(b"hello\n")
            peer.hear_line()
            peer.finish()
            peer.hear_all()
        assert server.stop() == 0
    assert {line.split()[3] for line in server.log} == expected


def test_lines_are_never_interleaved_however_many_threads_log() -> None:
    with served() as server:

        def come_and_go() -> None:
            for _ in range(50):
                with Peer(server.address) as peer:
                    peer.say(b"x\n")
                    peer.hear_line()

        threads = [threading.Thread(target=come_and_go) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert server.stop() == 0
    line = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO [a-z]+( \w+=\S+)+")
    assert all(line.fullmatch(entry) for entry in server.log)
    assert len(events_of(server.log, "opened")) == len(events_of(server.log, "closed")) == 800


def test_nobody_waits_for_whoever_reads_the_log() -> None:
    """A log's reader that has stopped reading: the pipe fills, the clients do not notice."""
    with served(read_log=False) as server:
        for _ in range(30):
            peers = [Peer(server.address) for _ in range(40)]
            for peer in peers:
                peer.say(b"abc\n")
            for peer in peers:
                assert peer.hear_line() == b"cba\n"
                peer.close()


def test_a_log_that_nobody_can_read_any_more_does_not_end_the_service() -> None:
    with served(read_log=False) as server:
        assert server.process.stderr is not None
        server.process.stderr.close()
        server.process.stderr = None
        for _ in range(5):
            with Peer(server.address) as peer:
                peer.say(b"abc\n")
                assert peer.hear_line() == b"cba\n"
        assert server.stop() == 0


# What stands in files and variables.


def test_everything_may_stand_in_a_file(app: str) -> None:
    (Path(app) / "app.toml").write_text(
        "[serve]\n"
        "handler = 'app:handle'\n"
        f"listen = ['unix://{app}/a', 'unix://{app}/b']\n"
        "framing = 'netstring'\n"
        "log_format = 'json'\n"
        "log_level = 'debug'\n"
    )
    with served("--config", "app.toml", cwd=app, listen=()) as server:
        greeting = json.loads(server.greeting)
        assert greeting["addresses"] == [f"unix://{app}/a", f"unix://{app}/b"]
        for address in server.addresses:
            with Peer(address) as peer:
                peer.say(b"3:abc,")
                assert peer.hear(6) == b"3:cba,"
        eventually(lambda: sum(json.loads(line)["event"] == "message" for line in server.log) == 2)
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "variables", "limit"),
    [
        ((), {}, 10),
        (("--config", "more.toml"), {}, 20),
        (("--config", "more.toml"), {"THREADWIRE_MAX_MESSAGE": "30B"}, 30),
        (("--config", "more.toml", "--max-message=40"), {"THREADWIRE_MAX_MESSAGE": "30"}, 40),
    ],
)
def test_what_goes_before_what(
    app: str, arguments: tuple[str, ...], variables: dict[str, str], limit: int
) -> None:
    (Path(app) / "threadwire.toml").write_text("[serve]\nmax_message = 10\nhandler = 'app:fail'\n")
    (Path(app) / "more.toml").write_text("[serve]\nmax_message = '20'\nhandler = 'app:handle'\n")
    with served("app:handle", *arguments, cwd=app, options=variables) as server:
        with Peer(server.address) as peer:
            peer.say(b"x" * limit + b"\n")
            assert peer.hear_line() == b"x" * limit + b"\n"
            peer.say(b"x" * (limit + 1) + b"\n")
            assert peer.hear_all() == b""
        eventually(lambda: events_of(server.log, "peer-fault"))
        server.stop()
    assert f"({limit} bytes)" in events_of(server.log, "peer-fault")[0]


def test_an_option_turns_off_what_a_file_has_turned_on(app: str) -> None:
    (Path(app) / "threadwire.toml").write_text(
        "[serve]\ntext = true\nidle_timeout = 0.001\ndeny = ['0.0.0.0/0']\n"
    )
    arguments = ("--no-text", "--idle-timeout", "off", "--deny", "off")
    with served(*arguments, cwd=app) as server, Peer(server.address) as peer:
        peer.say("é\n".encode())
        assert peer.hear_line() == "é".encode()[::-1] + b"\n"


@pytest.mark.parametrize(
    ("settings", "event"),
    [
        ("idle_timeout = 0.01", "closed .*reason=idle-timeout"),
        ("deny = ['127.0.0.0/8']", "refused .*reason=denied"),
        ("allow = ['192.0.2.0/24']", "refused .*reason=denied"),
        (
            "proxy_protocol = 'required'\nproxy_trust = ['::1']",
            "refused .*reason=denied",
        ),
    ],
)
def test_a_file_is_obeyed(app: str, settings: str, event: str) -> None:
    (Path(app) / "threadwire.toml").write_text(f"[serve]\n{settings}\n")
    with served(cwd=app) as server:
        with Peer(server.address) as peer:
            assert peer.hear_all() == b""
        eventually(lambda: any(re.search(event, line) for line in server.log), event)


@pytest.mark.parametrize(
    ("arguments", "seconds"), [((), 0.001), (("--switch-interval=0.25",), 0.25)]
)
def test_the_switch_interval(app: str, arguments: tuple[str, ...], seconds: float) -> None:
    (Path(app) / "telling.py").write_text(
        "import sys\n"
        "def handle(message: bytes) -> bytes:\n"
        "    return str(sys.getswitchinterval()).encode()\n"
    )
    with served("telling:handle", *arguments, cwd=app) as server, Peer(server.address) as peer:
        peer.say(b"\n")
        assert float(peer.hear_line()) == pytest.approx(seconds)


def test_tls_from_a_file(app: str) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(f"{app}/own.pem")
    (Path(app) / "etc").mkdir()
    (Path(app) / "etc" / "app.toml").write_text(
        "[serve]\ntls_cert = '../own.pem'\ntls_alpn = ['reverse/1']\nlisten = 'tls://127.0.0.1:0'\n"
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["reverse/1"])
    with served("--config", "etc/app.toml", cwd=app, listen=()) as server:
        found = re.search(r"tls://127\.0\.0\.1:(\d+)", server.greeting)
        assert found is not None
        with (
            socket.create_connection(("127.0.0.1", int(found[1])), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            assert secure.selected_alpn_protocol() == "reverse/1"
            secure.sendall(b"abc\n")
            assert secure.recv(4) == b"cba\n"


def test_what_is_odd_about_a_certificate_is_in_the_log(app: str) -> None:
    trustme = pytest.importorskip("trustme")
    expired = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = trustme.CA().issue_cert("localhost", not_after=expired)
    certificate.private_key_and_cert_chain_pem.write_to_path(f"{app}/own.pem")
    arguments = ("--tls-cert", "own.pem", "--log-format", "json")
    with served(*arguments, cwd=app) as server:
        eventually(lambda: server.log)
        assert json.loads(server.log[0])["event"] == "certificate"


def test_a_program_that_sets_up_its_own_log_does_not_take_ours_away(app: str) -> None:
    (Path(app) / "logging_app.py").write_text(
        "import logging, sys\nfrom app import handle\n"
        "logging.basicConfig(level=50, stream=sys.stdout, force=True)\n"
    )
    with served("logging_app:handle", cwd=app) as server:
        eventually(lambda: events_of(server.log, "capacity"))
        assert server.stop() == 0


def test_max_clients_and_the_busy_reply_are_obeyed() -> None:
    arguments = ("--max-clients=1", "--overload=refuse", "--busy-reply=come later")
    with served(*arguments) as server, Peer(server.address) as first:
        first.say(b"ab\n")
        assert first.hear_line() == b"ba\n"
        with Peer(server.address) as second:
            assert second.hear_all() == b"come later\n"
        eventually(lambda: "max_clients=1" in " ".join(events_of(server.log, "capacity")).split())


@pytest.mark.parametrize(
    ("file", "variables", "told"),
    [
        ("handler = 'app:missing'", {}, "./threadwire.toml:handler: handler 'app:missing'"),
        ("", {"THREADWIRE_HANDLER": "no:no"}, "THREADWIRE_HANDLER: handler 'no:no'"),
        ("text = true\nhandler = 'app:handle'", {}, "./threadwire.toml:text belongs to the"),
        ("proxy_protocol = 'required'", {}, "proxy_protocol needs proxy_trust"),
    ],
)
def test_what_is_only_found_wrong_at_the_start(
    app: str, file: str, variables: dict[str, str], told: str
) -> None:
    (Path(app) / "threadwire.toml").write_text(f"[serve]\n{file}\n")
    done = subprocess.run(
        [*COMMAND, "serve"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=app,
        env={**os.environ, **variables},
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"threadwire: {told}")
    assert done.stderr.count("\n") == 1


def test_make_serve_and_python_m_are_the_command() -> None:
    done = subprocess.run(
        [*COMMAND, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert done.stdout == f"threadwire, version {threadwire.__version__}\n"
    assert run().returncode == 2
    help_text = run("--help").stdout
    assert "serve" in help_text
    assert "client" in help_text


def test_a_socket_that_the_process_was_started_with() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        number = given.fileno()
        os.set_inheritable(number, True)
        server = subprocess.Popen(
            [*COMMAND, "serve", "--listen", f"fd://{number}"],
            pass_fds=(number,),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert server.stdout is not None
        try:
            assert f":{given.getsockname()[1]} " in server.stdout.readline()
            address = threadwire.Address("tcp", "127.0.0.1", given.getsockname()[1])
            with Peer(address) as peer:
                peer.say(b"abc\n")
                assert peer.hear_line() == b"cba\n"
            server.send_signal(signal.SIGTERM)
            assert server.wait(PATIENCE) == 0
        finally:
            server.kill()
            server.wait(PATIENCE)
            server.stdout.close()
