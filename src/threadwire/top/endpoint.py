"""Asking an admin endpoint, over HTTP on tcp, TLS or a unix socket."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..address import Address, parse_address
from ..errors import AddressError, ConnectError, ThreadwireError, UsageError, describe_os_error
from .connection import PATIENCE, Connection
from .documents import DocumentError, clean, parse_json
from .sse import Event, EventDecoder, EventTooLarge

__all__ = ["Endpoint", "EventStream", "Lost", "NotAdmin", "Refused", "parse_admin_url"]

# Seconds between two events. There is one a second, but where so many clients are that a document
# is a lot of work.
_STREAM_PATIENCE = 15.0
_MAX_ANSWER = 8 << 20  # bytes; a client's answer has some 10 KiB
_READ_SIZE = 1 << 16

_SCHEMES = {"http": "tcp", "https": "tls", "tcp": "tcp", "tls": "tls"}
_FORMS = "write HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:///PATH"


class Refused(ThreadwireError):
    """The endpoint has answered, and does not do it.

    ``status`` is HTTP's, ``problem`` what it says of it.
    """

    def __init__(self, url: str, status: int, problem: str) -> None:
        super().__init__(url, status, problem)
        self.url = url
        self.status = status
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.url} refuses ({self.status}): {self.problem}"


class NotAdmin(ThreadwireError):
    """Something else than an admin endpoint is there; ``problem`` says what gives that away."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(url, problem)
        self.url = url
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.url} is no admin endpoint of this threadwire: {self.problem}"


class Lost(ThreadwireError):
    """The endpoint had begun to answer, and is gone; ``problem`` says how."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(url, problem)
        self.url = url
        self.problem = problem

    def __str__(self) -> str:
        return f"lost {self.url}: {self.problem}"


def parse_admin_url(text: str) -> Address:
    """Where ``text`` says that the endpoint is; raises :class:`~threadwire.AddressError`.

    ``host:port``, ``http://host:port``, ``https://host:port`` or ``unix:///path``; and as
    ``--admin`` has it, ``tcp://host:port`` or ``tls://host:port``.
    """
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        scheme, rest = "http", scheme
    if scheme in _SCHEMES:
        scheme, rest = _SCHEMES[scheme], rest.removesuffix("/")
        if "/" in rest:
            raise AddressError(text, f"it has a path, which is not wanted here; {_FORMS}")
    elif scheme != "unix":
        raise AddressError(text, f"unknown scheme {scheme!r}; {_FORMS}")
    try:
        address = parse_address(f"{scheme}://{rest}")
    except AddressError as error:
        problem = f"no port; {_FORMS}" if error.problem.startswith("no port") else error.problem
        raise AddressError(text, problem) from None
    if address.scheme == "unix":
        return address
    if not address.port:
        raise AddressError(text, f"nobody can be reached at port 0; {_FORMS}")
    return Address(address.scheme, address.host or "localhost", address.port)


class Endpoint:
    """An admin endpoint. Any thread may ask; each question has a connection of its own.

    token_file
        The file with the token, read for every connection, so that it may change [none].
    ca
        PEM file: the authorities to trust, of ``tls`` [those that the system trusts].

    Raises :class:`~threadwire.UsageError` for files that cannot be read.
    """

    def __init__(
        self, address: Address, *, token_file: str | None = None, ca: str | None = None
    ) -> None:
        self.address = address
        scheme = {"tcp": "http", "tls": "https"}.get(address.scheme)
        self.url = str(address) if scheme is None else f"{scheme}{str(address)[3:]}"
        self._token_file = None if token_file is None else Path(token_file)
        self._context: ssl.SSLContext | None = None
        if address.scheme == "tls":
            from ..certificates import client_context

            self._context = client_context(ca=None if ca is None else Path(ca))
        elif ca is not None:
            raise UsageError(f"ca is for https://, and the address is {self.url}")
        self._headers()
        self._lock = threading.Lock()
        self._open: set[Connection] = set()  # under the lock
        self._closed = False  # under the lock

    def get(self, path: str) -> Any:
        """What the endpoint says at ``path``, from JSON.

        Raises ConnectError, :class:`Refused`, :class:`Lost`, :class:`NotAdmin`.
        """
        return self._ask("GET", path)

    def post(self, path: str) -> Any:
        """Have the endpoint do what ``path`` says; raises like :meth:`get`."""
        return self._ask("POST", path)

    def events(self) -> EventStream:
        """The endpoint's events, from now on; raises like :meth:`get`. The caller closes it."""
        connection = self._connect()
        try:
            response = self._response(connection, "GET", "/events", "text/event-stream")
            kind = response.getheader("Content-Type", "").partition(";")[0].strip()
            if kind != "text/event-stream":
                raise NotAdmin(self.url, f"its events are of the type {clean(kind, 60)!r}")
            connection.wait_at_most(_STREAM_PATIENCE)
        except BaseException:
            self._release(connection)
            raise
        return EventStream(self, connection, response)

    def close(self) -> None:
        """End whatever is being asked, in whichever thread; further questions fail."""
        with self._lock:
            self._closed = True
            for connection in self._open:
                connection.cut()

    def _ask(self, method: str, path: str) -> Any:
        connection = self._connect()
        try:
            response = self._response(connection, method, path, "application/json")
            return self._json(response)
        finally:
            self._release(connection)

    def _connect(self) -> Connection:
        connection = Connection(self.address, self._context)
        with self._lock:
            if self._closed:
                raise Lost(self.url, "it is not asked any more")
            self._open.add(connection)
        try:
            connection.connect()
        except (OSError, UnicodeError) as error:
            self._release(connection)
            raise ConnectError(self.url, _problem(error)) from error
        return connection

    def _release(self, connection: Connection) -> None:
        with self._lock:
            self._open.discard(connection)
        connection.release()

    def _response(
        self, connection: Connection, method: str, path: str, accept: str
    ) -> http.client.HTTPResponse:
        """The beginning of a response that says yes."""
        headers = self._headers() | {"Accept": accept, "Connection": "close"}
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
        except (http.client.RemoteDisconnected, OSError) as error:
            raise ConnectError(self.url, _problem(error)) from error
        except http.client.HTTPException as error:
            raise NotAdmin(self.url, f"it does not speak HTTP ({type(error).__name__})") from error
        if response.status not in (200, 202):
            raise self._refusal(response)
        return response

    def _json(self, response: http.client.HTTPResponse) -> Any:
        try:
            return parse_json(self._body(response))
        except DocumentError as error:
            raise NotAdmin(self.url, error.problem) from error

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        try:
            body = response.read(_MAX_ANSWER + 1)
        except OSError as error:
            raise Lost(self.url, _problem(error)) from error
        except http.client.HTTPException as error:
            raise Lost(self.url, "it hung up before it had answered") from error
        if len(body) > _MAX_ANSWER:
            raise NotAdmin(self.url, f"it answers with more than {_MAX_ANSWER} bytes")
        if response.length:
            raise Lost(self.url, "it hung up before it had answered")
        return body

    def _refusal(self, response: http.client.HTTPResponse) -> Refused | NotAdmin:
        """What a response that says no amounts to."""
        reason = clean(response.reason, 100)
        told = None
        with contextlib.suppress(ThreadwireError):
            said = self._json(response)
            told = said.get("error") if isinstance(said, dict) else None
        if isinstance(told, str):
            reason = clean(told)
        elif response.status in (404, 405, 501):
            return NotAdmin(self.url, f"it answers {response.status} {reason}")
        if response.status == 401:
            hint = "is it the right one?" if self._token_file else "give it with --token-file"
            reason = f"{reason} (a token is wanted; {hint})"
        return Refused(self.url, response.status, reason)

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        return {"Authorization": f"Bearer {_read_token(self._token_file)}"}


class EventStream:
    """The endpoint's events as they come; one thread alone. A context manager."""

    def __init__(
        self, endpoint: Endpoint, connection: Connection, response: http.client.HTTPResponse
    ) -> None:
        self._endpoint = endpoint
        self.url = endpoint.url
        self._connection = connection
        self._response = response
        self._decoder = EventDecoder()

    def __iter__(self) -> Iterator[Event]:
        """Each event; never ends but by an error, which is :class:`Lost` or :class:`NotAdmin`."""
        url = self.url
        while True:
            while (event := self._decoder.next_event()) is not None:
                yield event
            try:
                data = self._response.read1(_READ_SIZE)
            except TimeoutError as error:
                raise Lost(url, f"it has said nothing for {_STREAM_PATIENCE:g} s") from error
            except OSError as error:
                raise Lost(url, _problem(error)) from error
            except (http.client.HTTPException, ValueError) as error:
                raise Lost(url, "it hung up") from error
            if not data:
                raise Lost(url, "it hung up")
            try:
                self._decoder.feed(data)
            except EventTooLarge as error:
                raise NotAdmin(url, str(error)) from error

    def close(self) -> None:
        self._response.close()
        self._endpoint._release(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _read_token(file: Path) -> str:
    try:
        token = file.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"token-file {str(file)!r}: {describe_os_error(error)}") from error
    text = token.decode("ascii", "replace")
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(
            f"token-file {str(file)!r} must have a token, of visible ASCII characters and no space"
        )
    return text


def _problem(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE:g} s"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it hung up without an answer"
    if isinstance(error, ssl.SSLError):
        from ..transport.tls_problem import explain

        return explain(error)
    return clean(describe_os_error(error) if isinstance(error, OSError) else error)
