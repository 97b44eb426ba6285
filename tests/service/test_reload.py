"""SIGHUP: settings and certificates are read anew, and clients that are there stay."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
from pathlib import Path
from typing import Any, Protocol

import pytest

import threadwire
from threadwire import limits

from ..conftest import Events, Serving
from ..support import eventually, reverse
from .support import Service, ask, dial, hear_line, running, served_by


class Settings:
    """A service's configuration file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reloads = 0
        self.write()

    def write(self, *lines: str) -> None:
        self._path.write_text("\n".join(["[serve]", *lines]))

    def reload(self, service: Service, *lines: str) -> dict[str, Any]:
        """Write these, have them read, and return what the log says of it."""
        self.write(*lines)
        service.send(signal.SIGHUP)
        self._reloads += 1
        return service.wait_for("reloaded", self._reloads)

    def fail_to_reload(self, service: Service, *lines: str) -> str:
        self.write(*lines)
        failures = len(service.events("reload-failed"))
        service.send(signal.SIGHUP)
        return str(service.wait_for("reload-failed", failures + 1)["detail"])


@pytest.fixture
def settings(here: Path) -> Settings:
    return Settings(here / "threadwire.toml")


def talk(client: socket.socket, question: bytes, service: Service) -> None:
    client.sendall(question + b"\n")
    assert served_by(hear_line(client), question) == service.pid


def test_settings_take_effect_at_once(here: Path, settings: Settings) -> None:
    settings.write("max_clients = 2")
    with running("app:hold", cwd=here) as service, contextlib.ExitStack() as clients:
        address = service.address
        first, second, third = (clients.enter_context(dial(address)) for _ in range(3))
        service.wait_for("accept-paused")
        talk(first, b"there is room for two", service)
        assert len(service.events("opened")) == 2

        told = settings.reload(service, "max_clients = 3")
        assert (told["changed"], told["needs_restart"]) == ("max_clients", "")
        talk(third, b"and now for three", service)

        told = settings.reload(service, "deny = ['127.0.0.0/8']")
        assert set(told["changed"].split(", ")) == {"max_clients", "deny"}
        with dial(address) as denied:
            assert denied.recv(1) == b""
        service.wait_for("refused", reason="denied")
        talk(second, b"who is there stays", service)

        settings.reload(service, "log_level = 'debug'")
        talk(second, b"each message is a line", service)
        service.wait_for("message")

        settings.reload(service, "idle_timeout = 0.05")
        for client in (first, second, third):
            assert client.recv(1) == b""
            client.close()
        service.wait_for("closed", 3, reason="idle-timeout")

        settings.reload(service, "drain_timeout = 0", "log_level = 'info'")
        with dial(address) as stuck:
            stuck.sendall(b"/never\n")
            service.wait_for("opened", 4)
            assert service.stop() == 4
        assert service.events("draining", drain_timeout=0)
        assert len(service.events("message")) == 1


def test_what_is_quiet_can_be_made_to_speak(here: Path, settings: Settings) -> None:
    """What is logged less than before is the line about it, too."""
    settings.write("log_level = 'error'")
    with running(cwd=here) as service:
        address = service.address
        settings.reload(service, "log_level = 'info'")
        with dial(address) as client:
            client.sendall(b"abc\n")
            assert hear_line(client) == b"cba\n"
        (closed,) = [service.wait_for("closed")]
        assert closed["messages_received"] == 1
        assert not service.events("capacity")


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (("log_level = 'debug'", "max_clients = 0"), "max_clients must be at least 1"),
        (("log_level = 'debug'", "deny = ['10.0.0.0/33']"), "10.0.0.0/33"),
        (("log_level = 'debug'", "no_such_setting = 1"), "no_such_setting"),
        (("log_level = 'debug'", "idle_timeout = "), "at line 3"),
    ],
)
def test_a_wrong_file_changes_nothing(
    here: Path, settings: Settings, lines: tuple[str, ...], problem: str
) -> None:
    with running("app:handle", cwd=here) as service, dial(service.address) as client:
        assert problem in settings.fail_to_reload(service, *lines)
        talk(client, b"as before", service)
        assert not service.events("message")
        assert not service.events("reloaded")
        told = settings.reload(service, lines[0])
        assert told["changed"] == "log_level"
        talk(client, b"it is well again", service)
        service.wait_for("message")


def test_all_that_is_wrong_is_told(here: Path, settings: Settings) -> None:
    with running(cwd=here) as service:
        service.wait_for("listening")
        detail = settings.fail_to_reload(service, "max_clients = 0", "write_timeout = true")
        assert "max_clients" in detail
        assert "write_timeout" in detail


def test_a_file_that_is_gone_changes_nothing(here: Path) -> None:
    (here / "own.toml").write_text("[serve]\n")
    with running("--config", "own.toml", cwd=here) as service:
        service.wait_for("listening")
        (here / "own.toml").unlink()
        service.send(signal.SIGHUP)
        assert "own.toml" in service.wait_for("reload-failed")["detail"]


def test_what_needs_a_restart_is_named_until_it_has_none(here: Path, settings: Settings) -> None:
    with running("--listen", f"unix://{here}/s", cwd=here, listen=()) as service:
        service.wait_for("listening")
        later = ("backlog = 10", "framing = 'netstring'", "tls_alpn = ['x']")
        told = settings.reload(service, *later, "max_threads = 5", "listen = ['tcp://:1']")
        assert told["changed"] == "max_threads"
        assert told["needs_restart"] == "framing, backlog, tls_alpn", "listen is an option's"
        assert told["level"] == "warning"
        told = settings.reload(service, *later[1:])
        assert told["changed"] == "max_threads"
        assert told["needs_restart"] == "framing, tls_alpn"
        told = settings.reload(service)
        assert (told["changed"], told["needs_restart"], told["level"]) == ("", "", "info")
        with dial(service.address) as client:
            client.sendall(b"abc\n")
            assert hear_line(client) == b"cba\n"


def test_more_clients_than_there_may_be_descriptors_for(here: Path, settings: Settings) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is not installed")
    with running(cwd=here, prefix=("prlimit", "--nofile=300:300")) as service:
        service.wait_for("listening")
        settings.reload(service, "max_clients = 5000")
        short = service.wait_for("capacity-short")
        assert (short["descriptors"], short["wanted"]) == (300, 5000)
        assert 200 <= short["max_clients"] < 300


# Certificates.


class Authority(Protocol):
    """What is used of trustme's."""

    def issue_cert(self, *names: str) -> Any: ...


@pytest.fixture
def authority(here: Path) -> Any:
    trustme = pytest.importorskip("trustme")
    return trustme.CA()


@pytest.fixture
def trusts(authority: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def replace(path: Path, data: bytes) -> None:
    """As a whole, in one step."""
    beside = path.with_suffix(".new")
    beside.touch(0o600)
    beside.write_bytes(data)
    beside.rename(path)


def renew(path: Path, authority: Authority) -> bytes:
    """A new certificate and its key are in the file from now on."""
    made = bytes(authority.issue_cert("localhost").private_key_and_cert_chain_pem.bytes())
    replace(path, made)
    return made


def shown(address: threadwire.Address, trusts: ssl.SSLContext) -> bytes:
    """The certificate that the server shows, as PEM."""
    with dial(address, trusts) as client:
        assert isinstance(client, ssl.SSLSocket)
        der = client.getpeercert(binary_form=True)
        assert der is not None
        return ssl.DER_cert_to_PEM_cert(der).encode().strip()


def test_certificates_are_renewed_by_sighup(
    here: Path, authority: Any, trusts: ssl.SSLContext
) -> None:
    path = here / "own.pem"
    first = renew(path, authority)
    (here / "waiting.py").write_text(
        "from app import handle\n"
        "from threadwire import limits\n"
        "limits.RELOAD_INTERVAL = limits.RELOAD_INTERVAL._replace(default=1e6)\n"
    )
    service = running(
        "waiting:handle", "--tls-cert", "own.pem", cwd=here, listen=("tls://127.0.0.1:0",)
    )
    with service as serving, dial(serving.address, trusts) as client:
        address = serving.address
        assert shown(address, trusts) in first
        second = renew(path, authority)
        serving.send(signal.SIGHUP)
        told = serving.wait_for("certificates-reloaded")
        assert told["names"] == "localhost"
        assert told["days_left"] > 0
        assert shown(address, trusts) in second
        assert shown(address, trusts) not in first
        talk(client, b"who is connected stays", serving)

        third = authority.issue_cert("localhost").private_key_and_cert_chain_pem.bytes()
        for part in (third[: len(third) // 2], b"", third[-300:]):  # while it is being written
            failures = len(serving.events("reload-failed"))
            path.write_bytes(part)
            serving.send(signal.SIGHUP)
            serving.wait_for("reload-failed", failures + 1)
            assert shown(address, trusts) in second
        path.write_bytes(third)
        serving.send(signal.SIGHUP)
        serving.wait_for("certificates-reloaded", 2)
        assert shown(address, trusts) in third
        talk(client, b"and still is", serving)
    assert not serving.complaints


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers look at their certificates' files all the time."""
    often = limits.RELOAD_INTERVAL._replace(default=0.01)
    monkeypatch.setattr(limits, "RELOAD_INTERVAL", often)


@pytest.mark.usefixtures("often")
def test_certificates_are_renewed_by_themselves(
    here: Path, authority: Any, trusts: ssl.SSLContext, serving: Serving, events: Events
) -> None:
    cert, key = here / "cert.pem", here / "key.pem"

    made = [authority.issue_cert("localhost") for _ in range(2)]
    certs = [bytes(one.cert_chain_pems[0].bytes()) for one in made]
    keys = [bytes(one.private_key_pem.bytes()) for one in made]
    replace(cert, certs[0])
    replace(key, keys[0])
    server = serving(reverse, "tls://127.0.0.1:0", tls_cert=str(cert), tls_key=str(key))
    with dial(server.address, trusts) as client:
        assert shown(server.address, trusts) in certs[0]
        replace(cert, certs[1])  # its key comes later
        eventually(lambda: events.named("reload-failed"))
        for _ in range(5):  # it looks again and again meanwhile
            assert shown(server.address, trusts) in certs[0]
        replace(key, keys[1])
        eventually(lambda: shown(server.address, trusts) in certs[1])
        (told,) = events.named("certificates-reloaded")
        assert told["names"] == "localhost"
        assert len(events.named("reload-failed")) == 1, "once for each state of the files"
        client.sendall(b"abc\n")
        assert hear_line(client) == b"cba\n"


def test_certificates_are_read_anew_with_the_settings(
    here: Path, settings: Settings, authority: Any, trusts: ssl.SSLContext
) -> None:
    """Both by one signal; what is wrong with one does not keep the other out."""
    first = renew(here / "own.pem", authority)
    settings.write("tls_cert = 'own.pem'", "tls_key = 'off'")
    listen = ("tls://127.0.0.1:0",)
    with running("app:handle", cwd=here, listen=listen) as service:
        address = service.address
        os.truncate(here / "own.pem", 100)
        told = settings.reload(service, "tls_cert = 'own.pem'", "max_clients = 5")
        assert told["changed"] == "max_clients"
        service.wait_for("reload-failed")
        assert shown(address, trusts) in first
        assert ask(address, trusts=trusts) == service.pid
