"""``--admin``: the endpoint of a service, as it starts, fills up, drains and is taken over."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import threadwire
from threadwire import UsageError
from threadwire.admin import Admin

from ..support import COMMAND, PATIENCE, eventually, reverse
from .support import Service, ask, dial, hear_line, running
from .test_takeover import replaced, standing, taking_over

ADMIN = ("--admin", "127.0.0.1:0")


def url_of(service: Service) -> str:
    url: str = service.wait_for("listening")["admin"]
    return url


def get(url: str, trusts: ssl.SSLContext | None = None, **headers: str) -> tuple[int, str]:
    """The status and the body."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE, context=trusts) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def metrics(service: Service) -> dict[str, float]:
    status, text = get(f"{url_of(service)}/metrics")
    assert status == 200
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def document(service: Service, path: str) -> Any:
    status, text = get(url_of(service) + path)
    assert status == 200
    return json.loads(text)


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, cwd=cwd, check=False
    )


def test_metrics_of_what_was_served(here: Path) -> None:
    with running("app:handle", *ADMIN, cwd=here) as service:
        for _ in range(3):
            ask(service.address, b"abc")
        closed = 'threadwire_connections_closed_total{reason="peer-closed"}'
        eventually(lambda: metrics(service)[closed] == 3)
        found = metrics(service)
        assert found["threadwire_connections_accepted_total"] == 3
        assert found["threadwire_messages_received_total"] == 3
        assert found["threadwire_handler_duration_seconds_count"] == 3
        assert found['threadwire_limit{name="max_threads"}'] == 1000
        assert service.stop() == 0


def test_its_own_requests_leave_no_lines_in_the_log(here: Path) -> None:
    with running("app:handle", *ADMIN, cwd=here) as service:
        for _ in range(5):
            metrics(service)
        ask(service.address, b"abc")
        assert service.stop() == 0
        assert len(service.events("opened")) == 1
        assert len(service.events("stopped")) == 1


def test_it_answers_when_the_service_is_full_and_its_handlers_are_stuck(here: Path) -> None:
    go = here / "go"
    arguments = ("--max-clients", "4", "--max-threads", "2")
    with running("app:hold", *ADMIN, *arguments, cwd=here) as service:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(dial(service.address)) for _ in range(6)]
            for client in clients:
                client.sendall(f"{go}\n".encode())
            eventually(lambda: metrics(service)["threadwire_connections"] == 4)
            eventually(lambda: document(service, "/clients")["states"]["blocked"] >= 1)
            blocked = [c for c in document(service, "/clients")["clients"] if c["busy"]]
            assert "app.py" in blocked[0]["line"]
            assert metrics(service)['threadwire_limit_used{name="max_clients"}'] == 4
            assert get(f"{url_of(service)}/livez")[0] == 200
            go.touch()
            for client in clients:
                assert hear_line(client)
                client.close()  # two wait in the backlog until there is room
        assert service.stop() == 0


def test_it_says_that_the_service_drains_until_that_is_done(here: Path) -> None:
    go = here / "go"
    with running("app:hold", *ADMIN, cwd=here) as service:
        assert get(f"{url_of(service)}/readyz")[0] == 200
        with dial(service.address) as client:
            client.sendall(f"{go}\n".encode())
            eventually(lambda: metrics(service)["threadwire_messages_received_total"] == 1)
            service.process.send_signal(signal.SIGTERM)
            service.wait_for("draining")
            status, text = get(f"{url_of(service)}/readyz")
            assert (status, json.loads(text)["why"]) == (503, "draining")
            assert get(f"{url_of(service)}/livez")[0] == 200
            go.touch()
            hear_line(client)
        assert service.wait() == 0


def test_the_next_process_answers_at_the_same_address(here: Path) -> None:
    """Also while the old one still drains: nobody who looks meets a closed door."""
    with standing("app:handle", here, *ADMIN) as old:
        url = url_of(old)
        stop, failures, looks = threading.Event(), list[str](), list[int]()

        def look() -> None:
            while not stop.is_set():
                try:
                    looks.append(get(f"{url}/livez")[0])
                except OSError as error:
                    failures.append(repr(error))

        looking = threading.Thread(target=look)
        looking.start()
        try:
            with taking_over("app:handle", here, *ADMIN) as new:
                replaced(old, new)
                assert url_of(new) == url
                ask(new.address, b"abc")
                assert metrics(new)["threadwire_messages_received_total"] == 1
                count = len(looks)
                eventually(lambda: len(looks) > count + 3)
                stop.set()
                looking.join()
                assert new.stop() == 0
        finally:
            stop.set()
            looking.join()
        assert failures == []
        assert set(looks) == {200}


def test_with_a_token_it_may_listen_for_others(here: Path, trusts: ssl.SSLContext) -> None:
    (here / "token").write_text("secret\n")
    arguments = ("--admin", "tls://:0", "--admin-token-file", "token", "--tls-cert", "own.pem")
    with running("app:handle", *arguments, cwd=here) as service:
        port = url_of(service).rpartition(":")[2]
        url = f"https://localhost:{port}/metrics"
        assert get(url, trusts)[0] == 401
        assert get(url, trusts, Authorization="Bearer wrong")[0] == 401
        assert get(url, trusts, Authorization="Bearer secret")[0] == 200
        assert service.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--admin", "0.0.0.0:0"), "without a token"),
        (("--admin", "nonsense"), "--admin"),
        (("--admin-token-file", "token"), "--admin-token-file needs admin"),
        (("--admin", "127.0.0.1:0", "--admin-token-file", "missing"), "missing"),
        (("--admin", "tls://127.0.0.1:0"), "tls_cert"),
    ],
)
def test_what_is_wrong_is_said_before_anything_listens(
    here: Path, arguments: tuple[str, ...], told: str
) -> None:
    (here / "token").write_text("secret\n")
    found = run("serve", "app:handle", "--listen", "tcp://127.0.0.1:0", *arguments, cwd=here)
    assert (found.returncode, found.stdout) == (2, "")
    assert told in found.stderr
    assert "Traceback" not in found.stderr


def test_a_port_that_is_taken(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        found = run("serve", "--listen", "tcp://127.0.0.1:0", "--admin", address, cwd=here)
    assert found.returncode == 3
    assert address in found.stderr.splitlines()[-1]
    assert "Traceback" not in found.stderr


def test_a_configuration_is_checked(here: Path) -> None:
    (here / "good.toml").write_text('[serve]\nadmin = "127.0.0.1:9180"\n')
    (here / "bad.toml").write_text('[serve]\nadmin = "192.0.2.1:9180"\n')
    assert run("check", "--config", "good.toml", cwd=here).returncode == 0
    found = run("check", "--config", "bad.toml", cwd=here)
    assert found.returncode == 2
    assert "without a token" in found.stderr


SCRIPT = """
import threadwire

threadwire.serve(
    lambda message: message, "tcp://127.0.0.1:0", admin="unix://admin.sock", admin_token_file=None
)
"""


def test_a_program_of_ones_own_has_it_too(here: Path) -> None:
    path = here / "admin.sock"
    script = SCRIPT.replace("admin.sock", str(path))
    process = subprocess.Popen([sys.executable, "-c", script], cwd=here)
    try:
        eventually(path.exists)
        with socket.socket(socket.AF_UNIX) as client:
            eventually(lambda: client.connect_ex(str(path)) == 0)
            client.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert not path.exists()
    finally:
        process.kill()
        process.wait()


def test_a_token_without_an_address_is_refused() -> None:
    with pytest.raises(UsageError, match="admin_token_file needs admin"):
        threadwire.serve(reverse, "tcp://127.0.0.1:0", admin_token_file="token")


def test_a_wrong_address_is_refused_before_anything_listens() -> None:
    with pytest.raises(UsageError, match="without a token"):
        threadwire.serve(reverse, "tcp://127.0.0.1:0", admin="192.0.2.1:80")


def test_around_a_server(here: Path) -> None:
    with threadwire.Server(reverse, "tcp://127.0.0.1:0") as server:
        with Admin(server, f"unix://{here}/admin.sock") as admin:
            assert admin.url == f"unix://{here}/admin.sock"
        assert not (here / "admin.sock").exists()
