"""What the endpoint answers: its routes, each a method, each in the one table."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from typing import NamedTuple, Protocol

from ..connection import Connection
from ..errors import UsageError
from ..snapshot import ClientSnapshot, ClientState, ServerSnapshot
from . import log, stacks
from .assets import Assets
from .auth import Guard
from .document import SCHEMA, client_entry, client_states
from .http import HttpError, Request, Response, json_response
from .metrics import Exposition
from .pace import Pace
from .sampler import PERIOD, Sample, Sampler

__all__ = ["LIVE_TIMEOUT", "MAX_PROBE_RATE", "MAX_RATE", "MAX_STREAMS", "Routes", "Watched"]

MAX_STREAMS = 32  # event streams at once; 503 beyond, so that others find a seat
LIVE_TIMEOUT = 1.0  # seconds that every loop has to answer /livez
MAX_RATE = 200.0  # requests a second; further ones wait for their turn
MAX_PROBE_RATE = 100.0  # of the health's, which need not wait for others
_PROBES = ("/livez", "/readyz")
_FRESH = 0.25  # seconds that a list of clients may be old
_LISTED = 200  # clients in a list, unless asked for more
_MOST_LISTED = 10_000


class Watched(Protocol):
    """What of a :class:`~threadwire.Server` is needed here."""

    def snapshot(self, *, clients: bool = False) -> ServerSnapshot: ...

    @property
    def connections(self) -> tuple[Connection, ...]: ...

    def suspend(self) -> None: ...

    def resume(self) -> None: ...

    def drain(self, timeout: float | None = None) -> int: ...

    def healthy(self, timeout: float = 1.0) -> bool: ...


class _Route(NamedTuple):
    method: str  # GET stands for HEAD, too
    pattern: tuple[str, ...]  # the path's segments; "*" stands for any
    answer: Callable[[Request, str], Response]  # with what stands for "*"
    public: bool = False  # without a token


class Routes:
    """Answers requests about one server; any thread."""

    def __init__(self, server: Watched, sampler: Sampler, guard: Guard) -> None:
        self._server = server
        self._sampler = sampler
        self._guard = guard
        self._assets = Assets()
        self._exposition = Exposition(server.snapshot)
        self._pace = Pace(MAX_RATE, MAX_RATE)
        self._probe_pace = Pace(MAX_PROBE_RATE, MAX_PROBE_RATE)
        self._streams = threading.BoundedSemaphore(MAX_STREAMS)
        self._table = (
            _Route("GET", (), self._page, public=True),
            _Route("GET", ("assets", "*"), self._asset, public=True),
            _Route("GET", ("livez",), self._livez, public=True),
            _Route("GET", ("readyz",), self._readyz, public=True),
            _Route("GET", ("metrics",), self._metrics),
            _Route("GET", ("snapshot",), self._snapshot),
            _Route("GET", ("events",), self._events),
            _Route("GET", ("clients",), self._clients),
            _Route("GET", ("clients", "*"), self._client),
            _Route("GET", ("threads",), self._threads),
            _Route("POST", ("drain",), self._drain),
            _Route("POST", ("suspend",), self._suspend),
            _Route("POST", ("resume",), self._resume),
            _Route("POST", ("clients", "*", "close"), self._close_client),
        )

    def respond(self, request: Request) -> Response:
        """Raises HttpError."""
        (self._probe_pace if request.path in _PROBES else self._pace).wait()
        segments = tuple(request.path.removeprefix("/").split("/")) if request.path != "/" else ()
        method = "GET" if request.method == "HEAD" else request.method
        here = [route for route in self._table if _matches(route.pattern, segments)]
        chosen = next((route for route in here if route.method == method), None)
        self._guard.check(request, public=chosen is not None and chosen.public)
        if not here:
            raise HttpError(HTTPStatus.NOT_FOUND, f"there is nothing at {request.path}")
        if chosen is None:
            allowed = ", ".join(_methods(here))
            raise HttpError(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"{request.path} takes {allowed}",
                (("Allow", allowed),),
            )
        wild = next((s for s, p in zip(segments, chosen.pattern, strict=True) if p == "*"), "")
        return chosen.answer(request, wild)

    # The page.

    def _page(self, request: Request, _: str) -> Response:
        return self._assets.page(request)

    def _asset(self, request: Request, name: str) -> Response:
        return self._assets.file(request, name)

    # For machines.

    def _livez(self, _request: Request, _: str) -> Response:
        phase = self._server.snapshot().phase
        serves = phase in ("serving", "suspended", "draining")  # so it has loops
        if serves and not self._server.healthy(LIVE_TIMEOUT):
            why = f"a loop has not answered within {LIVE_TIMEOUT:g} s"
            return json_response({"live": False, "why": why}, HTTPStatus.SERVICE_UNAVAILABLE)
        return json_response({"live": True})

    def _readyz(self, _request: Request, _: str) -> Response:
        phase = self._server.snapshot().phase
        if phase == "serving":
            return json_response({"ready": True})
        return json_response({"ready": False, "why": phase}, HTTPStatus.SERVICE_UNAVAILABLE)

    def _metrics(self, request: Request, _: str) -> Response:
        text, content_type = self._exposition.render(request.header("accept"))
        return Response(text, content_type)

    def _snapshot(self, _request: Request, _: str) -> Response:
        return Response(self._sampler.sample(PERIOD).data + b"\n")

    def _events(self, request: Request, _: str) -> Response:
        if not self._streams.acquire(blocking=False):
            raise HttpError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{MAX_STREAMS} streams are open, which is as many as there may be",
                (("Retry-After", "5"),),
            )
        admitted = partial(self._guard.still_admits, request)
        stream = _Events(self._sampler, admitted, self._streams.release)
        return Response(stream, "text/event-stream")

    # Clients and threads.

    def _clients(self, request: Request, _: str) -> Response:
        wanted = _Listing.of(request.query)
        sample = self._sampler.sample(_FRESH)
        clients = sample.snapshot.clients or ()
        listed, more = wanted.choose(clients, sample)
        return json_response(
            {
                "schema": SCHEMA,
                "time": round(sample.snapshot.taken_at, 3),
                "total": len(clients),
                "states": client_states(clients),
                "clients": [client_entry(client, sample.rate(client.id)) for client in listed],
                "more": more,
            }
        )

    def _client(self, _request: Request, number: str) -> Response:
        wanted = _number(number)
        connection = self._connection(wanted)
        sample = self._sampler.sample(_FRESH)
        found = sample.client(wanted)
        if found is None and connection is not None:  # it has come since
            sample = self._sampler.sample(0)
            found = sample.client(wanted)
        if found is None:
            raise _no_client(number)
        entry = client_entry(found, sample.rate(found.id))
        entry["local"] = str(found.local)
        entry["opened_at"] = round(found.opened_at, 3)
        entry["stack"] = [] if connection is None else stacks.stack_of(connection)
        return json_response(entry)

    def _threads(self, request: Request, _: str) -> Response:
        found = stacks.threads(self._server.connections)
        accept = request.header("accept")
        if "application/json" in accept:
            return json_response(found)
        return Response(stacks.as_text(found).encode(errors="replace"), "text/plain; charset=utf-8")

    # Acting.

    def _drain(self, request: Request, _: str) -> Response:
        """Tells every connection to come to its end; none of them is waited for."""
        return self._act(request, "drain", lambda: self._server.drain(0), HTTPStatus.ACCEPTED)

    def _suspend(self, request: Request, _: str) -> Response:
        return self._act(request, "suspend", self._server.suspend)

    def _resume(self, request: Request, _: str) -> Response:
        return self._act(request, "resume", self._server.resume)

    def _act(
        self,
        request: Request,
        action: str,
        call: Callable[[], object],
        status: int = HTTPStatus.OK,
    ) -> Response:
        log.acted(action, request.peer)
        try:
            call()
        except UsageError as error:  # it has not started
            raise HttpError(HTTPStatus.CONFLICT, str(error)) from None
        now = self._server.snapshot()
        return json_response({"phase": now.phase, "connections": now.connections}, status)

    def _close_client(self, request: Request, number: str) -> Response:
        connection = self._connection(_number(number))
        if connection is None:
            raise _no_client(number)
        log.closed_client(connection.id, request.peer)
        connection.close()
        return json_response({"closing": connection.id}, HTTPStatus.ACCEPTED)

    def _connection(self, number: int) -> Connection | None:
        return next((c for c in self._server.connections if c.id == number), None)


class _Events:
    """A stream of samples, a server-sent event each (HTML Standard, section 9.2).

    It ends when its reader is ``admitted`` no longer: a stream does not outlive its token.
    """

    def __init__(
        self, sampler: Sampler, admitted: Callable[[], bool], release: Callable[[], object]
    ) -> None:
        self._sampler = sampler
        self._admitted = admitted
        self._release = release

    def parts(self) -> Iterator[bytes]:
        with self._sampler.watch() as next_sample:
            sample = next_sample()
            if sample is None:
                return
            yield sample.first_event(self._sampler.history())
            while (sample := next_sample()) is not None and self._admitted():
                yield sample.event()

    def close(self) -> None:
        self._release()


class _Listing(NamedTuple):
    """Which clients a list is to have, and in which order."""

    sort: str
    state: str
    limit: int
    after: int  # an id

    @classmethod
    def of(cls, query: dict[str, str]) -> _Listing:
        """As a query says; raises HttpError."""
        for name in query:
            if name not in cls._fields:
                raise _wrong(f"there is no {name!r}; there are {', '.join(cls._fields)}")
        sort, state = query.get("sort", "id"), query.get("state", "")
        if sort not in _ORDERS:
            raise _wrong(f"sort must be one of {', '.join(_ORDERS)}")
        if state and state not in list(ClientState):
            raise _wrong(f"state must be one of {', '.join(ClientState)}")
        if "after" in query and sort != "id":
            raise _wrong("after, an id, goes with sort=id alone")
        limit = _query_number("limit", query.get("limit", str(_LISTED)))
        if not 1 <= limit <= _MOST_LISTED:
            raise _wrong(f"limit must be 1 to {_MOST_LISTED}")
        return cls(sort, state, limit, _query_number("after", query.get("after", "0")))

    def choose(
        self, clients: tuple[ClientSnapshot, ...], sample: Sample
    ) -> tuple[list[ClientSnapshot], bool]:
        """Those to be listed, and whether there are more of them."""
        order = _ORDERS[self.sort]
        fitting = sorted(
            (c for c in clients if c.id > self.after and (not self.state or c.state == self.state)),
            key=lambda client: (order(client, sample), client.id),
        )
        return fitting[: self.limit], len(fitting) > self.limit


# The first are the busiest, the most, the longest; of equals, the oldest client.
_ORDERS: dict[str, Callable[[ClientSnapshot, Sample], float]] = {
    "id": lambda client, _: 0,
    "busy": lambda client, _: -1.0 if client.busy is None else -client.busy - 2.0,
    "rate": lambda client, sample: -sample.rate(client.id),
    "idle": lambda client, _: -client.idle,
    "age": lambda client, _: -client.age,
    "bytes": lambda client, _: -(client.bytes_received + client.bytes_sent),
}


def _matches(pattern: tuple[str, ...], segments: tuple[str, ...]) -> bool:
    return len(pattern) == len(segments) and all(
        wanted in ("*", segment) for wanted, segment in zip(pattern, segments, strict=True)
    )


def _methods(routes: list[_Route]) -> Iterator[str]:
    for route in routes:
        yield route.method
        if route.method == "GET":
            yield "HEAD"


def _number(text: str) -> int:
    """A client's id in a path; raises HttpError."""
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise _no_client(text)
    return int(text)


def _query_number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise _wrong(f"{name} must be a whole number")
    return int(text)


def _wrong(problem: str) -> HttpError:
    return HttpError(HTTPStatus.BAD_REQUEST, problem)


def _no_client(number: str) -> HttpError:
    return HttpError(HTTPStatus.NOT_FOUND, f"there is no client {number}")
