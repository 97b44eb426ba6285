"""The admin endpoint: a server of its own that tells of another one, and acts upon it.

It has its own threads, descriptors and limits, so it answers when the service is full, and
whatever its clients do, the service does not feel it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from ..address import Address, parse_address
from ..connection import Connection
from ..errors import UsageError
from ..framing import Raw
from ..handler import as_handler, session
from ..server import Server
from ..transport import Listener
from . import log
from .auth import FixedToken, Guard, Token, TokenFile, is_local
from .http import converse
from .routes import Routes, Watched
from .sampler import Sampler
from .seats import Seats

__all__ = ["Admin"]

DEFAULT_ADDRESS = "tcp://127.0.0.1:9180"

MAX_CONNECTIONS = 64  # further ones wait in the backlog
# Over TLS, where those at their handshakes take no thread. So it takes many that are silent to
# fill it, and then so many places become free within each timeout that the backlog passes soon.
MAX_TLS_CONNECTIONS = 256
# Fewer, so that who comes when all are taken is accepted, and one that waits leaves for it.
_SEATS = 56
_WRITE_TIMEOUT = 10.0  # seconds for the next 16 KiB: a stream's reader that is stuck is let go
ACCEPT_RATE = 500.0  # connections a second, so that a flood of them takes little of the processor
_BACKLOG = 128
HANDSHAKE_TIMEOUT = 2.0
_CLOSE_TIMEOUT = 1.0  # seconds that close() lets responses finish


class Admin:
    """Tells of ``server``, by HTTP: metrics, health, clients, threads, and a live page.

    ::

        with Server(reverse, "tcp://:12345") as server, Admin(server) as admin:
            print(admin.url)

    address
        ``127.0.0.1:9180``, ``tcp://127.0.0.1:9180`` [so], ``tls://...`` or ``unix:///path``.
        Without a token it must be one that only this machine reaches.
    token, token_file
        What requests have to bear as ``Authorization: Bearer TOKEN``, or the path of a file
        that holds it, which is read anew whenever it has changed [none].
    tls_cert, tls_key
        PEM files for a ``tls://`` address, as of :class:`~threadwire.ServerOptions`.

    Wrong arguments raise :class:`~threadwire.UsageError` here; an address that cannot be
    listened on raises :class:`~threadwire.ListenError` from :meth:`start`. Needs h11 and
    prometheus-client.
    """

    def __init__(
        self,
        server: Watched,
        address: str | Address = DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        token_file: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
    ) -> None:
        if isinstance(address, str) and "://" not in address:
            address = f"tcp://{address}"
        wanted = parse_address(address)
        self._token = _token(token, token_file)
        if wanted.scheme not in ("fd", "tls+fd"):  # of which nothing is known before the start
            self._check_reach(wanted)
        self._sampler = Sampler(server.snapshot)
        guard = Guard(self._token, frozenset({wanted.host.lower()} - {""}))
        self._routes = Routes(server, self._sampler, guard)
        self._seats = Seats(_SEATS)
        most = MAX_TLS_CONNECTIONS if wanted.secure else MAX_CONNECTIONS
        options: dict[str, Any] = {"tls_cert": tls_cert, "tls_key": tls_key}
        self._server = Server(
            as_handler(session(self._serve)).aside("admin"),
            wanted,
            framing=Raw(),
            max_clients=most,
            max_threads=most,
            accept_rate=ACCEPT_RATE,
            backlog=_BACKLOG,
            handshake_timeout=HANDSHAKE_TIMEOUT,
            write_timeout=_WRITE_TIMEOUT,
            **{name: value for name, value in options.items() if value is not None},
        )

    def start(self, adopt: Callable[[Address], Sequence[Listener]] | None = None) -> Self:
        """Listen and begin to answer; returns at once. Raises ListenError, UsageError.

        ``adopt`` is as for :meth:`threadwire.Server.start`.
        """
        self._sampler.start()
        try:
            self._server.start(adopt)
            for address in self._server.addresses:
                self._check_reach(address)
        except BaseException:
            self.close()
            raise
        log.listening(self.url, self._token is not None)
        if self._token is not None and not all(map(_is_private, self._server.addresses)):
            problem = "it goes over the network in the clear; use a tls:// address"
            log.token_problem(self.address, problem)
        return self

    def close(self) -> None:
        """End the streams, finish the other responses, and stop; any number of times."""
        self._sampler.stop()
        self._server.close(_CLOSE_TIMEOUT)
        self._sampler.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def hand_over(self) -> None:
        """Another process accepts from the same listening sockets: stop accepting here."""
        self._server.hand_over()

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The listening sockets; to be handed over, and for nothing else."""
        return self._server.listeners

    @property
    def address(self) -> Address:
        """Where it listens, with the real port."""
        return self._server.address

    @property
    def url(self) -> str:
        """What a browser, curl or ``threadwire top`` is given: ``http://127.0.0.1:9180``."""
        address = self.address
        if address.scheme == "unix":
            return str(address)
        scheme = "https" if address.secure else "http"
        return f"{scheme}://{str(address).partition('://')[2]}"

    def __repr__(self) -> str:
        return f"<Admin {self._server!r}>"

    # Inner workings.

    def _check_reach(self, address: Address) -> None:
        if self._token is None and not is_local(address):
            raise UsageError(
                f"admin address {address}: without a token it must be a loopback one, as in "
                "127.0.0.1:9180, or unix:///PATH; or give token_file"
            )

    def _serve(self, connection: Connection) -> None:
        with self._seats.seat(connection):
            converse(
                connection,
                self._routes.respond,
                lambda waiting: self._seats.note(connection, waiting),
            )


def _is_private(address: Address) -> bool:
    """Whether nobody on the way can read what goes there."""
    return address.secure or is_local(address)


def _token(token: str | None, token_file: str | None) -> Token | None:
    if token is not None and token_file is not None:
        raise UsageError("token and token_file exclude each other")
    if token is not None:
        return FixedToken(token)
    return None if token_file is None else TokenFile(token_file)
