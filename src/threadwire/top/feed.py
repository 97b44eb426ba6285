"""Following an admin endpoint: its documents as they come, and again after it was lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import ThreadwireError
from ..retry import Retry
from .documents import Document, DocumentError, parse_json, read_document
from .endpoint import Endpoint, EventStream, NotAdmin
from .view import Down, Update

__all__ = ["BACKOFF", "Feed", "documents", "measured"]

# A person looks at it: the first back-off is not worth mentioning, and the last one's end is
# still waited for.
BACKOFF = Retry(first_backoff=0.5, max_backoff=5.0)

_JOIN = 1.0  # seconds


def documents(stream: EventStream) -> Iterator[tuple[Document, dict[str, Any]]]:
    """Each document of ``stream``, and the JSON object that it was read from.

    Raises :class:`~.endpoint.Lost` or :class:`~.endpoint.NotAdmin` in the end.
    """
    for event in stream:
        if event.name == "snapshot":
            try:
                value = parse_json(event.data)
                yield read_document(value), value
            except DocumentError as error:
                raise NotAdmin(stream.url, error.problem) from error


def measured(stream: EventStream) -> Iterator[tuple[Document, dict[str, Any]]]:
    """The same, without a first document that knows no rates: nobody had watched before."""
    for document, value in documents(stream):
        if document.rates is not None:
            yield document, value


class Feed:
    """Follows ``endpoint`` on a thread of its own, which calls ``tell`` with every update.

    ``open`` is called first: it raises what is wrong with the endpoint. ``start`` then begins to
    tell, and whatever goes wrong from then on is told. ``tell`` must not wait for anything.
    """

    def __init__(self, endpoint: Endpoint, tell: Callable[[Update], None]) -> None:
        self._endpoint = endpoint
        self._tell = tell
        self._stream: EventStream | None = None  # until the thread runs, its maker's; then its own
        self._stop = threading.Event()
        self._telling = threading.Lock()  # held while something is told, and to stop that
        self._thread = threading.Thread(target=self._run, name="threadwire-top", daemon=True)

    def open(self) -> None:
        """Connect; raises like :meth:`.endpoint.Endpoint.get`."""
        self._stream = self._endpoint.events()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End, and the endpoint with it; ``tell`` is not called any more when this returns."""
        with self._telling:
            self._stop.set()
        self._endpoint.close()
        if self._thread.ident is not None:
            # It ends at once, but while it waits for the system to find a host's address.
            self._thread.join(_JOIN)
        elif self._stream is not None:
            self._stream.close()

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                with self._stream or self._endpoint.events() as stream:
                    self._stream = None
                    for document, _ in documents(stream):
                        failures = 0
                        self._pass_on(document)
            except ThreadwireError as error:
                failures += 1
                # Half of it at least, so that a back-off is one; the rest spreads those who
                # watch the same server.
                seconds = BACKOFF.longest_backoff(failures) * random.uniform(0.5, 1.0)
                self._pass_on(Down(error, seconds))
                self._stop.wait(seconds)

    def _pass_on(self, update: Update) -> None:
        with self._telling:
            if not self._stop.is_set():
                self._tell(update)
