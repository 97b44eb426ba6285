"""An HTTP connection to an address of ours, which another thread can cut."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from typing import Any

from ..address import Address

__all__ = ["PATIENCE", "Connection"]

PATIENCE = 5.0  # seconds without a byte; the endpoint answers at once


class Connection(http.client.HTTPConnection):
    """HTTP to an address of ours; one thread alone, but for ``cut``."""

    def __init__(self, address: Address, context: ssl.SSLContext | None) -> None:
        super().__init__(address.host or "localhost", address.port or 80, timeout=PATIENCE)
        self._address = address
        self._context = context
        self._lock = threading.Lock()  # held while what follows changes, and while it is cut
        self._socket: socket.socket | None = None  # which is connected, or about to be
        self._cut = False

    def connect(self) -> None:
        problem = OSError("the host has no address")
        for family, name in self._targets():
            plain = socket.socket(family, socket.SOCK_STREAM)
            try:
                plain.settimeout(PATIENCE)
                self._take(plain)
                plain.connect(name)
                if self._context is not None:
                    plain = self._context.wrap_socket(plain, server_hostname=self.host)
                    self._take(plain)
            except OSError as error:
                plain.close()
                problem = error
            else:
                self.sock = plain
                return
        raise problem

    def _targets(self) -> list[tuple[int, Any]]:
        if self._address.scheme == "unix":
            return [(socket.AF_UNIX, self._address.path)]
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return [(family, name) for family, _, _, _, name in found]

    def _take(self, plain: socket.socket) -> None:
        with self._lock:
            if self._cut:
                raise ConnectionAbortedError("it is not asked any more")
            self._socket = plain

    def wait_at_most(self, seconds: float) -> None:
        """How long the next bytes may take."""
        with self._lock:
            if self._socket is not None:
                self._socket.settimeout(seconds)

    def cut(self) -> None:
        """Wake whoever connects, sends or reads here, from another thread."""
        with self._lock:
            self._cut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """The end of it. ``close`` is not: http.client calls it when a response has begun."""
        self.close()
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
