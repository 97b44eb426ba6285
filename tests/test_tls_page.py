"""docs/tls.md: its certificates are made, its programs run with them, its messages exist."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import threadwire
from threadwire import limits
from threadwire.certificates import Certificates, client_context
from threadwire.transport import tls, tls_problem

from .conftest import Serving
from .support import PATIENCE
from .tls_support import connected

PAGE = (Path(__file__).parent.parent / "docs" / "tls.md").read_text()
PROGRAMS = re.findall(r"(?ms)^```python no-run\n(.*?)^```$", PAGE)

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")


def made(directory: Path, file: str) -> Path:
    """Run the page's first commands that write ``file`` in ``directory``."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", PAGE)
    commands = next(block for block in blocks if f"-out {file}" in block)
    command = ["bash", "-ec", commands]
    subprocess.run(command, cwd=directory, capture_output=True, check=True, timeout=PATIENCE)
    return directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the authority's certificates in it."""
    return made(tmp_path_factory.mktemp("page"), "ca.pem")


def test_the_certificate_that_is_its_own_authority(tmp_path: Path) -> None:
    made(tmp_path, "cert.pem")
    cert = tmp_path / "cert.pem"
    certificates = Certificates(cert, tmp_path / "key.pem", warn=pytest.fail)
    assert certificates.names == ("localhost", "127.0.0.1")
    for client in client_context(ca=cert), ssl.create_default_context(cafile=cert):
        connected(certificates.context, client, "localhost")


@pytest.mark.parametrize("text", [text for text in PROGRAMS if "# prints:" in text])
def test_programs(directory: Path, text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == re.findall(r"# prints: (.*)", text)


def test_a_client_that_is_let_in_and_not_served(directory: Path, serving: Serving) -> None:
    (text,) = [text for text in PROGRAMS if "not for you" in text]
    names: dict[str, Any] = {}
    exec(text.partition("with threadwire.Server")[0], names)
    options = {"tls_cert": directory / "cert.pem", "tls_key": directory / "key.pem"}
    server = serving(names["handle"], "tls://127.0.0.1:0", **options)
    with threadwire.connect(server.address, tls_ca=str(directory / "ca.pem")) as client:
        assert client.request(b"hello") == b"not for you"


def test_starttls(directory: Path, serving: Serving) -> None:
    (text,) = [text for text in PROGRAMS if "start_tls" in text]
    names: dict[str, Any] = {}
    exec(text, names)
    options = {"tls_cert": directory / "cert.pem", "tls_key": directory / "key.pem"}
    server = serving(names["talk"], **options)
    context = ssl.create_default_context(cafile=directory / "ca.pem")
    with socket.create_connection(("127.0.0.1", server.address.port), PATIENCE) as plain:
        for said, heard in (b"hello\n", b"STARTTLS first\n"), (b"STARTTLS\n", b"go ahead\n"):
            plain.sendall(said)
            assert plain.recv(100) == heard
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            secure.sendall(b"hello\n")
            assert secure.recv(100) == b"olleh\n"


def test_what_it_says_is_what_is_said() -> None:
    section = PAGE.partition("## When it fails")[2].partition("\n## ")[0]
    told = [cell for row in re.findall(r"(?m)^\| (`.*?) \|", section) for cell in _codes(row)]
    assert len(told) > 10
    said = "".join(Path(str(module.__file__)).read_text() for module in (tls, tls_problem))
    said = said.replace("the peer's certificate {_verification(error)}", "")
    for text in told:
        for part in text.removeprefix("the peer's certificate ").split("…"):
            assert part.strip(" '\"").removesuffix(": it began with b") in said, text


def _codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_numbers_are_the_limits() -> None:
    for limit in (limits.HANDSHAKE_TIMEOUT, limits.MAX_HANDSHAKES):
        row = re.search(rf"(?m)^\| `--{limit.name.replace('_', '-')}` \| ([\d,]+)", PAGE)
        assert row is not None
        assert float(row[1].replace(",", "")) == limit.default
    assert f"every {limits.RELOAD_INTERVAL.whole} seconds" in PAGE
