"""HAProxy as tests run it: a process that accepts on a socket of the test's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from .support import PATIENCE

__all__ = ["HAProxy", "program"]


def program() -> str:
    """Where it is; skips the test if it is not."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which("haproxy", path=path)
    if found is None:
        pytest.skip("haproxy is not installed")
    return found


class HAProxy:
    """One between ``listening``, which it accepts on and which is closed with it, and a server.

    bind
        Options of the side that clients come to, as in ``ssl crt FILE``.
    server
        The server's address and options, as in ``127.0.0.1:1234 send-proxy``.
    more
        Further lines of the ``listen`` section.
    """

    def __init__(
        self,
        directory: Path,
        listening: socket.socket,
        *,
        bind: str = "",
        server: str,
        more: Sequence[str] = (),
    ) -> None:
        self.listening = listening
        self._control = socket.create_server(("127.0.0.1", 0))
        config = directory / "haproxy.cfg"
        lines = "".join(f" {line}\n" for line in more)
        config.write_text(
            f"global\n maxconn 500\n stats socket fd@{self._control.fileno()} level admin\n"
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"
            "listen relay\n"
            " unique-id-format id-%ci-%cp\n"
            f" bind fd@{listening.fileno()} {bind}\n{lines}"
            f" server ours {server}\n"
        )
        self._process = subprocess.Popen(
            [program(), "-db", "-f", str(config)],
            pass_fds=[listening.fileno(), self._control.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def client(self) -> socket.socket:
        """A plain client of it."""
        client = socket.socket(self.listening.family)
        client.settimeout(PATIENCE)
        client.connect(self.listening.getsockname())
        return client

    def state(self) -> dict[str, str]:
        """What it says of the server, by the names of its ``show stat``, as in ``check_status``."""
        with socket.create_connection(self._control.getsockname(), PATIENCE) as asking:
            asking.sendall(b"show stat\n")
            text = b""
            while data := asking.recv(65536):
                text += data
        names, *rows = (line.split(",") for line in text.decode().splitlines() if line)
        names[0] = names[0].removeprefix("# ")
        (row,) = (row for row in rows if row[1] == "ours")
        return dict(zip(names, row, strict=False))

    def close(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        self._control.close()
        self.listening.close()
