"""Making connections, securing them, and making them anew when they have broken.

A client whose connection has broken comes back at once the first time, and then after a
back-off that doubles with every further failure, until a reply is right again: a service that
is down is not hammered.
"""

from __future__ import annotations

import errno
import functools
import random
import socket
import time
from collections.abc import Callable

from ..errors import TlsError, describe_os_error
from ..retry import Retry
from ..transport.poller import READ, WRITE, Poller
from ..transport.tls_problem import HUNG_UP
from .client import Client, State
from .endpoint import Endpoint
from .records import Records
from .sending import Sender

__all__ = ["Connector"]

_BACKLOG_PAUSE = 0.005  # seconds until a unix listener without room is asked again

Later = Callable[[float, Callable[[], None]], object]


class Connector:
    """Belongs to the process's load.

    up
        Called when a connection can be used.
    failed
        Called with kind and example when one could not be made; it is dropped already.
    later
        Makes a call after so many seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        poller: Poller,
        sender: Sender,
        records: Records,
        *,
        timeout: float,
        seed: str,
        up: Callable[[Client, float], None],
        failed: Callable[[Client, str, str], None],
        later: Later,
    ) -> None:
        self._endpoint = endpoint
        self._poller = poller
        self._sender = sender
        self._records = records
        self._timeout = timeout
        self._up = up
        self._failed = failed
        self._later = later
        self._retry = Retry()
        self._chance = random.Random(seed)

    def connect(self, client: Client) -> None:
        client.state = State.CONNECTING
        client.began = time.monotonic()
        client.tries = 0
        self._try(client)

    def _try(self, client: Client) -> None:
        if client.state is not State.CONNECTING or client.sock is not None:
            return  # it was given up meanwhile
        try:
            sock, problem = self._endpoint.open(client.target)
        except OSError as error:
            self._fail(client, "connect-failed", describe_os_error(error))
            return
        if problem:
            sock.close()
            if problem == errno.EAGAIN and self._endpoint.unix:
                self._later(_BACKLOG_PAUSE, functools.partial(self._try, client))
            else:
                self._try_next(client, problem)
            return
        client.sock, client.fd = sock, sock.fileno()
        self._poller.add(sock, client, WRITE)

    def _try_next(self, client: Client, problem: int) -> None:
        """Try another of the service's addresses; they are all tried before it is an error."""
        client.tries += 1
        client.target = (client.target + 1) % len(self._endpoint.targets)
        if client.tries < len(self._endpoint.targets):
            self._try(client)
        else:
            self._fail(client, *_connect_problem(problem))

    def connected(self, client: Client, now: float) -> None:
        """The system is done connecting."""
        sock = client.sock
        if sock is None or client.state is not State.CONNECTING:
            return
        problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            self._release(client)
            self._try_next(client, problem)
            return
        self._poller.modify(client.fd, READ)
        client.tls = self._endpoint.tls()
        if client.tls is None:
            self._is_up(client, now)
        else:
            client.state = State.SECURING
            self.secure(client, b"", now)

    def secure(self, client: Client, data: bytes, now: float) -> None:
        """Go on with the handshake."""
        tls = client.tls
        assert tls is not None
        try:
            done = tls.handshake(data)
        except TlsError as error:
            self._poller.write([(client.fd, tls.take())])  # which says why
            self._fail(client, "tls", error.problem)
            return
        self._sender.queue(client, tls.take())
        if done and client.state is State.SECURING:
            self._is_up(client, now)

    def _is_up(self, client: Client, now: float) -> None:
        client.state = State.UP
        self._records.connects.append(now - client.began)
        self._up(client, now)

    def hung_up(self, client: Client) -> None:
        """The service has ended the connection during the handshake."""
        self._fail(client, "tls", HUNG_UP)

    def check_time(self, client: Client, now: float) -> None:
        """Give up connecting when it has taken too long."""
        if now - client.began > self._timeout:
            what = "TLS handshake" if client.state is State.SECURING else "answer"
            self._fail(client, "connect-timeout", f"no {what} within {self._timeout:g} s")

    def _fail(self, client: Client, kind: str, example: str) -> None:
        self.drop(client)
        self._failed(client, kind, example)

    def drop(self, client: Client, *, politely: bool = False) -> None:
        """Close the connection; ``politely``: tell the service first, as TLS would have it."""
        tls = client.tls
        if politely and tls is not None and client.state is State.UP and not client.out:
            self._poller.write([(client.fd, tls.take_end())])
        self._sender.unblock(client)
        self._release(client)
        client.state = State.DOWN
        client.tls = client.codec = client.awaited = None
        client.got = 0
        client.out.clear()

    def _release(self, client: Client) -> None:
        if client.sock is not None:
            self._poller.remove(client.fd)
            client.sock.close()
            client.sock, client.fd = None, -1

    def back_off(self, client: Client) -> float:
        """Seconds until it may try again, after one more failure."""
        client.failures += 1
        if client.failures == 1:
            return 0.0
        return self._chance.uniform(0, self._retry.longest_backoff(client.failures - 1))


def _connect_problem(number: int) -> tuple[str, str]:
    text = describe_os_error(OSError(number, ""))
    if number == errno.ECONNREFUSED:
        return "connect-refused", text
    if number == errno.ETIMEDOUT:
        return "connect-timeout", text
    return "connect-failed", text
