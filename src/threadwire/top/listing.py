"""Asking for clients beyond those in a document, which has the worst and the busiest alone.

Where there are more, an order by another column, or words to look for, need all of them. Some
orders the endpoint knows itself; else every client is looked at, page by page, so that no page is
much work for the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode

from .documents import Client, DocumentError, read_listing
from .endpoint import Endpoint, NotAdmin
from .search import Search

__all__ = ["Listed", "list_clients"]

_PAGE = 500  # clients
_MOST_PAGES = 1000
_MOST = 10_000  # clients that the endpoint lists at once


class Listed(NamedTuple):
    """Clients, and the JSON object that each was read from, by id."""

    clients: list[Client]
    values: dict[int, dict[str, Any]]


def list_clients(endpoint: Endpoint, search: Search) -> Listed:
    """What ``search`` finds; raises like :meth:`~.endpoint.Endpoint.get`."""
    clients: list[Client] = []
    values: dict[int, dict[str, Any]] = {}
    try:
        for page in _pages(endpoint, search):
            clients = search.choose(clients + [client for client, _ in page])
            values |= {client.id: value for client, value in page}
            values = {client.id: values[client.id] for client in clients}
    except DocumentError as error:
        raise NotAdmin(endpoint.url, error.problem) from error
    return Listed(clients, values)


def _pages(endpoint: Endpoint, search: Search) -> Iterator[list[tuple[Client, dict[str, Any]]]]:
    if not search.pages:
        query = urlencode({"sort": search.sort.name, "limit": min(search.limit, _MOST)})
        yield read_listing(endpoint.get(f"/clients?{query}"))[0]
        return
    after = 0
    for _ in range(_MOST_PAGES):
        query = urlencode({"limit": _PAGE, "after": after})
        page, more = read_listing(endpoint.get(f"/clients?{query}"))
        yield page
        if not more or not page:
            return
        last = page[-1][0].id
        if last <= after:
            raise DocumentError("its list of clients does not get on")
        after = last
