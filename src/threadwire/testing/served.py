"""A server for the length of a block, which says what went wrong in its handler."""

from __future__ import annotations

import contextlib
import logging
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from ..address import Address
from ..client import Client, connect
from ..errors import TimeLimitError
from ..events import Event, logger
from ..handler import Handler, MessageHandler, SessionHandler
from ..server import Server
from .peer import Peer

if TYPE_CHECKING:
    from typing import Unpack

    from ..client import ClientOptions
    from ..options import ServerOptions
    from ..reports import CloseReport

__all__ = ["Served", "serving"]

_Error = TypeVar("_Error", bound=BaseException)


def serving(
    handler: MessageHandler | SessionHandler | Handler,
    *addresses: str | Address,
    **options: Unpack[ServerOptions],
) -> Served:
    """Serve ``handler`` for the length of a block.

    ::

        with serving(reverse) as served, served.connect() as client:
            assert client.request(b"hello") == b"olleh"

    Arguments are those of :class:`~threadwire.Server`; without an address, it listens on a
    free port of 127.0.0.1. At the end clients made by :meth:`Served.connect` and
    :meth:`Served.peer` are closed, and then the server, at once: what is still under way is cut.
    """
    return Served(Server(handler, *(addresses or ("tcp://127.0.0.1:0",)), **options))


class Served:
    """A ``server`` that serves until the block ends.

    errors
        What its handler has raised, oldest first, as far as threadwire has logged it with a
        traceback: not :class:`~threadwire.Close`, and not that a client has left.

    A test that expects an error takes it out, by :meth:`take_error`. Those that are left at
    the end are raised, as an ``ExceptionGroup``: a handler that has failed unnoticed is a test
    that has proved nothing. The same goes for a handler that has still not returned one second
    after its connection was cut. If the block itself raises, its exception gets all that as
    a note.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.report: CloseReport | None = None  # of the closing
        self._log = _Errors(server)
        self._open = contextlib.ExitStack()  # clients; the thread of the block

    @property
    def address(self) -> Address:
        """The first that it listens on."""
        return self.server.address

    @property
    def errors(self) -> list[BaseException]:
        return self._log.all()

    @overload
    def take_error(self, *, timeout: float = 10.0) -> BaseException: ...

    @overload
    def take_error(self, kind: type[_Error], *, timeout: float = 10.0) -> _Error: ...

    def take_error(
        self, kind: type[BaseException] = BaseException, *, timeout: float = 10.0
    ) -> BaseException:
        """Wait for an error of this kind, take it out of ``errors`` and return it.

        Raises :class:`~threadwire.TimeLimitError`.
        """
        return self._log.take(kind, timeout)

    def connect(self, address: Address | None = None, **options: Unpack[ClientOptions]) -> Client:
        """A client with the server's framing; ``options`` are those of :func:`threadwire.connect`.

        ``address``: another one than the server's own, as that of a proxy before it.
        """
        options.setdefault("framing", self.server.framing)
        return self._open.enter_context(connect(address or self.address, **options))

    def peer(self, address: Address | None = None, **options: Any) -> Peer:
        """A plain socket at the server; ``options`` are those of :class:`Peer`."""
        return self._open.enter_context(Peer(address or self.address, **options))

    def close(self) -> None:
        """End it, and raise what the handler has raised; any number of times."""
        problems = self._end()
        if problems:
            raise BaseExceptionGroup(_FAILED, problems)

    def __enter__(self) -> Self:
        logger.addHandler(self._log)
        try:
            self.server.start()
        except BaseException:
            logger.removeHandler(self._log)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        problems = self._end()
        if error is None and problems:
            raise BaseExceptionGroup(_FAILED, problems)
        for problem in problems:
            assert error is not None
            error.add_note(f"{_FAILED}: {problem!r}")

    def _end(self) -> list[BaseException]:
        if self.report is not None:
            return []  # all has been told
        try:
            self._open.close()
            self.report = self.server.close(0)
        finally:
            logger.removeHandler(self._log)
        problems = self._log.take_all()
        if self.report.threads_left:
            threads = ", ".join(self.report.threads_left)
            problems.append(AssertionError(f"a handler has not returned yet, in {threads}"))
        return problems


_FAILED = "in the handler of the server under test"


class _Errors(logging.Handler):
    """Collects what one server logs with a traceback. Any thread may log."""

    def __init__(self, server: Server) -> None:
        super().__init__(logging.ERROR)
        self._server = server
        self._changed = threading.Condition()  # guards what follows
        self._errors: list[BaseException] = []

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the handler's own lock, beside which the server's would be taken."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        event = record.msg
        if not isinstance(event, Event) or record.exc_info is None or record.exc_info[1] is None:
            return
        if "connection" in event.fields and not self._ours(event.fields):
            return
        with self._changed:
            self._errors.append(record.exc_info[1])
            self._changed.notify_all()

    def _ours(self, fields: dict[str, Any]) -> bool:
        """Whether the event is about a connection of this server: its very address object."""
        return any(
            connection.id == fields["connection"] and connection.peer is fields["peer"]
            for connection in self._server.connections
        )

    def all(self) -> list[BaseException]:
        with self._changed:
            return list(self._errors)

    def take_all(self) -> list[BaseException]:
        with self._changed:
            errors, self._errors = self._errors, []
            return errors

    def take(self, kind: type[BaseException], timeout: float) -> BaseException:
        with self._changed:
            if not self._changed.wait_for(lambda: self._first(kind) is not None, timeout):
                others = ", ".join(map(repr, self._errors)) or "none"
                raise TimeLimitError(f"{kind.__name__} from a handler ({others} came)", timeout)
            error = self._first(kind)
            assert error is not None
            self._errors = [each for each in self._errors if each is not error]
            return error

    def _first(self, kind: type[BaseException]) -> BaseException | None:
        return next((error for error in self._errors if isinstance(error, kind)), None)
