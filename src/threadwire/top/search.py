"""Which clients are to be shown, and in which order; no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .columns import Column, sort_clients
from .documents import Client

__all__ = ["Search"]


class Search(NamedTuple):
    """What is looked for: clients with all these words, the first ``limit`` in this order."""

    sort: Column
    falling: bool
    words: tuple[str, ...]  # in lower case
    limit: int

    @property
    def pages(self) -> bool:
        """Whether every client has to be looked at."""
        return bool(self.words) or not self.sort.known or self.falling != self.sort.falling

    def fits(self, client: Client) -> bool:
        """Whether the client has the words."""
        if not self.words:
            return True
        text = f"{client.id} {client.peer} {client.state} {client.line} {client.tls}".lower()
        return all(word in text for word in self.words)

    def choose(self, clients: Iterable[Client]) -> list[Client]:
        """Those that fit, in their order, not more than wanted."""
        fitting = [client for client in clients if self.fits(client)]
        return sort_clients(fitting, self.sort, self.falling)[: self.limit]
