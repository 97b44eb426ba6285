"""HTTP/1.1 upon a session's connection: one request at a time, each within bounds.

h11 knows the protocol; here its events meet a :class:`~threadwire.Connection` whose framing is
:class:`~threadwire.Raw`. Whatever a client does ends in a response or a close: a request that
is malformed, too large or too slow is answered with the status for it, and a client that does
not read is closed by the server's ``write_timeout``.

What a request means is not known here: ``respond`` answers it, or raises :class:`HttpError`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple, Protocol, TypeAlias
from urllib.parse import parse_qsl, unquote

import h11

from ..address import Address
from ..connection import Connection
from ..errors import ConnectionClosed, TimeLimitError
from . import log

__all__ = [
    "MAX_BODY",
    "MAX_HEAD",
    "MAX_TARGET",
    "Headers",
    "HttpError",
    "Request",
    "Respond",
    "Response",
    "Stream",
    "Timeouts",
    "converse",
    "json_response",
]

MAX_HEAD = 16 << 10  # bytes of a request's first line and headers: 431 beyond
MAX_TARGET = 2 << 10  # bytes of a request's target: 414 beyond
MAX_BODY = 16 << 10  # bytes of a request's body, which no route has a use for: 413 beyond

_MOST_FIELDS = 16  # of a query
_MOST_ECHOED = 200  # characters that tell what is malformed, and may repeat it

Headers: TypeAlias = tuple[tuple[str, str], ...]

# What every response has: nothing is guessed, nor given to another site's page.
_ALWAYS: Headers = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
)
_UNFINISHED = (h11.IDLE, h11.SEND_BODY, h11.ERROR)  # a client's whose request is not whole


class Timeouts(NamedTuple):
    """In seconds."""

    request: float = 10.0  # from its first byte to its last, however it drips: 408
    idle: float = 60.0  # until a request's first byte; then the connection is closed


class Request(NamedTuple):
    """A request that has arrived whole; what was in its body is of no interest."""

    method: str
    path: str  # decoded, and without the query
    query: dict[str, str]
    headers: dict[str, str]  # by lower-case name; several of one name are joined by commas
    peer: Address

    def header(self, name: str) -> str:
        """The value of a header, by its lower-case name; empty if there is none."""
        return self.headers.get(name, "")


class Stream(Protocol):
    """A body whose parts are sent as they come; closed when it is over, also if none was sent."""

    def parts(self) -> Iterable[bytes]: ...

    def close(self) -> None: ...


class Response(NamedTuple):
    """What a request is answered with."""

    body: bytes | Stream
    content_type: str = "application/json"
    status: int = HTTPStatus.OK
    headers: Headers = ()
    cache: str = "no-store"


class HttpError(Exception):
    """A request that is refused: the status, and a sentence for whoever has sent it."""

    def __init__(self, status: int, text: str, headers: Headers = ()) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = headers


Respond: TypeAlias = Callable[[Request], Response]


def json_response(value: object, status: int = HTTPStatus.OK, headers: Headers = ()) -> Response:
    """``value`` as JSON; in ASCII, since a path can hold what UTF-8 cannot."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Response(text.encode("ascii") + b"\n", status=status, headers=headers)


def converse(
    connection: Connection,
    respond: Respond,
    waiting: Callable[[bool], object] = bool,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - it is immutable
) -> None:
    """Answer a client's requests, one after another, until either side has had enough.

    ``waiting`` is told when the wait for a request begins, and when it is over.
    """
    conversation = _Conversation(connection, respond, waiting, timeouts)
    try:
        while conversation.exchange():
            pass
    except ConnectionClosed:
        pass  # it has left or did not read, or this server closes


class _Conversation:
    """One connection's; for its own thread alone."""

    def __init__(
        self,
        connection: Connection,
        respond: Respond,
        waiting: Callable[[bool], object],
        timeouts: Timeouts,
    ) -> None:
        self._connection = connection
        self._respond = respond
        self._waiting = waiting
        self._timeouts = timeouts
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._begun_at: float | None = None  # when the request's first byte came
        self._ended = False  # the client sends no more
        self._head: h11.Request | None = None  # the request's, as soon as it has come

    def exchange(self) -> bool:
        """One request and its response; whether there may be another."""
        try:
            self._waiting(True)
            try:
                head = self._receive_request()
            finally:
                self._waiting(False)
            if head is None or self._connection.closed:  # dismissed, with more that has arrived
                return False
            response = self._answer(_request(head, self._connection.peer))
        except HttpError as error:
            if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                return False
            response = json_response({"error": error.text}, error.status, error.headers)
        self._send(response)
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def _answer(self, request: Request) -> Response:
        try:
            return self._respond(request)
        except (HttpError, ConnectionClosed):
            raise
        except Exception as error:  # a fault of ours, which ends this request alone
            log.failed(f"{request.method} {request.path}", error)
            raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "this failed; see the log") from error

    # Receiving.

    def _receive_request(self) -> h11.Request | None:
        """The next request's head, when all of it has come; ``None`` if none comes."""
        self._begun_at = time.monotonic() if self._http.trailing_data[0] else None
        self._head = None
        size = 0
        while True:
            event = self._next_event()
            if event is h11.NEED_DATA:
                if not self._receive():
                    return None
            elif isinstance(event, h11.Request):
                self._head = event
                _check_head(event)
            elif isinstance(event, h11.Data):
                size += len(event.data)
                _check_body(size)
            elif isinstance(event, h11.EndOfMessage):
                return self._head
            else:  # the client has ended its side between two requests
                return None

    def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                raise _head_too_large() from None
            problem = str(error).partition(": bytearray(")[0][:_MOST_ECHOED]
            raise HttpError(error.error_status_hint, f"malformed request: {problem}") from None

    def _receive(self) -> bool:
        """Wait for more bytes; ``False`` if there was time for a request and none has begun."""
        if self._http.they_are_waiting_for_100_continue:
            self._invite()
        begun, timeouts = self._begun_at, self._timeouts
        left = timeouts.idle if begun is None else begun + timeouts.request - time.monotonic()
        try:
            if left <= 0:
                raise TimeLimitError("request", timeouts.request)
            data = self._connection.receive(left)
        except TimeLimitError:
            if begun is None:
                return False
            text = f"a request has to arrive within {timeouts.request:g} s"
            raise HttpError(HTTPStatus.REQUEST_TIMEOUT, text) from None
        except ConnectionClosed:
            if self._ended:
                raise
            self._ended = True
            data = b""  # so that h11 tells an end between two requests from one within
        if begun is None:
            self._begun_at = time.monotonic()
        self._http.receive_data(data)
        return True

    def _invite(self) -> None:
        """The client asks before it sends a body: let it, unless that would be too large."""
        assert self._head is not None
        announced = dict(self._head.headers).get(b"content-length", b"0")
        _check_body(int(announced))
        go_on = h11.InformationalResponse(status_code=HTTPStatus.CONTINUE, headers=[])
        self._connection.send(self._http.send(go_on) or b"")

    # Sending.

    def _send(self, response: Response) -> None:
        http, body = self._http, response.body
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", response.content_type),
            ("Cache-Control", response.cache),
            *_ALWAYS,
            *response.headers,
        ]
        if isinstance(body, bytes) and response.status != HTTPStatus.NOT_MODIFIED:
            headers.append(("Content-Length", str(len(body))))
        if http.their_state in _UNFINISHED:
            headers.append(("Connection", "close"))
        reason = HTTPStatus(response.status).phrase.encode("ascii")
        start = h11.Response(status_code=response.status, headers=headers, reason=reason)
        bodiless = self._head is not None and self._head.method == b"HEAD"
        if isinstance(body, bytes):
            self._finish(http.send(start) or b"", b"" if bodiless else body)
            return
        try:
            head = http.send(start) or b""
            if not bodiless:
                self._connection.send(head)
                head = b""
                for part in body.parts():
                    self._connection.send(http.send(h11.Data(data=part)) or b"")
            self._finish(head, b"")
        finally:
            body.close()

    def _finish(self, head: bytes, body: bytes) -> None:
        """The last of a response, in one piece."""
        http = self._http
        data = http.send(h11.Data(data=body)) if body else None
        end = http.send(h11.EndOfMessage())
        last = b"".join((head, data or b"", end or b""))
        if last:
            self._connection.send(last)


def _request(head: h11.Request, peer: Address) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    target = head.target.decode("ascii")
    if target.lower().startswith(("http://", "https://")):  # RFC 9112, section 3.2.2
        headers["host"], slash, rest = target.partition("://")[2].partition("/")
        target = slash + rest
    path, _, query = target.partition("?")
    try:
        fields = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        text = f"a query may have {_MOST_FIELDS} fields"
        raise HttpError(HTTPStatus.BAD_REQUEST, text) from None
    return Request(head.method.decode("ascii"), unquote(path), fields, headers, peer)


def _check_head(head: h11.Request) -> None:
    """What h11 lets pass; raises HttpError."""
    if head.http_version not in (b"1.0", b"1.1"):
        raise HttpError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is spoken here")
    if head.method == b"CONNECT":
        raise HttpError(HTTPStatus.NOT_IMPLEMENTED, "this is no proxy")
    if len(head.target) > MAX_TARGET:
        raise HttpError(
            HTTPStatus.REQUEST_URI_TOO_LONG, f"a request's target may have {MAX_TARGET} bytes"
        )
    # With ": " and the line's end, as they came.
    if sum(len(name) + len(value) + 4 for name, value in head.headers) > MAX_HEAD:
        raise _head_too_large()
    names = {name for name, _ in head.headers}
    if {b"content-length", b"transfer-encoding"} <= names:  # RFC 9112, section 6.1
        raise HttpError(
            HTTPStatus.BAD_REQUEST, "malformed request: Content-Length beside Transfer-Encoding"
        )


def _check_body(size: int) -> None:
    if size > MAX_BODY:
        raise HttpError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request's body may have {MAX_BODY} bytes"
        )


def _head_too_large() -> HttpError:
    return HttpError(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a request's head may have {MAX_HEAD} bytes"
    )
