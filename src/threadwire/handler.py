"""What a user's function is to the engine: a message handler or a session handler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from . import events
from .errors import HandlerError

if TYPE_CHECKING:
    from .connection import Connection
    from .hooks import Hooks

__all__ = ["Handler", "MessageHandler", "Reply", "SessionHandler", "as_handler", "session"]

Reply: TypeAlias = "bytes | bytearray | memoryview | Iterable[bytes] | None"
MessageHandler: TypeAlias = "Callable[[bytes], Reply] | Callable[[bytes, Connection], Reply]"

_MARK = "__threadwire_session__"


class SessionHandler(Protocol):
    """What :func:`session` returns: the function itself, with its mark."""

    __threadwire_session__: bool

    def __call__(self, connection: Connection, /) -> None: ...


def session(function: Callable[..., None]) -> SessionHandler:
    """Mark ``function(connection)`` as a session handler: one call a connection.

    It talks by ``connection.receive()`` and ``connection.send()`` for as long as
    it likes; when it returns, the connection is closed.
    """
    try:
        setattr(function, _MARK, True)
    except AttributeError:  # a bound method or builtin: mark a stand-in
        import functools

        @functools.wraps(function)
        def stand_in(connection: Connection) -> None:
            function(connection)

        setattr(stand_in, _MARK, True)
        return cast("SessionHandler", stand_in)
    return cast("SessionHandler", function)


class Handler:
    """A user's function with its kind.

    ``call`` always takes ``(message, connection)``. ``plain`` is the function itself if it
    takes ``(message)`` alone: calling it directly is what a loop saves time with. ``hooks`` are
    told of connections. ``logged``: whether connections, and the server's end, leave lines in
    the log; ``threads`` is what threads are called after.
    """

    __slots__ = (
        "call",
        "hooks",
        "is_generator",
        "is_session",
        "logged",
        "name",
        "plain",
        "run_session",
        "threads",
    )

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = getattr(function, "__qualname__", None) or type(function).__qualname__
        if not callable(function):
            raise HandlerError(f"a handler must be a function, not {function!r}")
        if _is_async(function) or _is_async(type(function).__call__):
            raise HandlerError(
                f"handler {self.name} is an async function; threadwire calls plain ones, "
                "which may block: write def instead of async def"
            )
        self.hooks: Hooks | None = None
        self.logged = True
        self.threads = "serving"
        # Its reply is made when it is iterated.
        self.is_generator = _is_generator(function) or _is_generator(type(function).__call__)
        self.is_session = bool(
            getattr(function, _MARK, False) or getattr(type(function).__call__, _MARK, False)
        )
        if self.is_session and self.is_generator:
            raise HandlerError(
                f"session handler {self.name} is a generator function, which would not run when "
                "called: send with connection.send() instead of yield"
            )
        takes = _positional_arguments(function)
        self.run_session: Callable[[Connection], None] = function
        self.plain: Callable[[bytes], Reply] | None = None
        if self.is_session:
            if takes is not None and 1 not in takes:
                raise HandlerError(f"session handler {self.name} must take (connection)")
            self.call: Callable[[bytes, Connection], Reply] = _no_message_handler
        elif takes and 2 in takes and (1 not in takes or _asks_by_name(function)):
            self.call = function
        elif takes is None or 1 in takes:
            self.plain = function
            self.call = lambda message, _connection: function(message)
        else:
            raise HandlerError(
                f"handler {self.name} must take (message) or (message, connection); "
                "mark a function that takes (connection) with @threadwire.session"
            )

    def opened(self, connection: Connection) -> None:
        """The engine: it has a client; no message of it has been handled yet."""
        if self.logged:
            events.opened(connection)
        if self.hooks is not None:
            self.hooks.opened(connection)

    def closed(self, connection: Connection) -> None:
        """The engine: a connection is closed for good, be it that of a client or of one refused."""
        if self.hooks is not None:
            self.hooks.closed(connection)
        if self.logged:
            events.closed(connection)

    def peer_fault(self, connection: Connection, error: Exception) -> None:
        """What the peer sent, or did not send in time, ends the connection."""
        events.peer_fault(connection, error, "" if self.logged else self.threads)

    def aside(self, threads: str) -> Handler:
        """The same beside a service: what goes well, or is a peer's fault, is not told in the log.

        ``threads`` is what its threads are called after, and its peers' faults at level debug.
        """
        copy = self.copy()
        copy.logged, copy.threads = False, threads
        return copy

    def copy(self) -> Handler:
        """The same, to be changed."""
        copy = object.__new__(Handler)
        for name in self.__slots__:
            setattr(copy, name, getattr(self, name))
        return copy


def as_handler(handler: Callable[..., Any] | Handler) -> Handler:
    """``handler`` as the engine calls it; raises :class:`~threadwire.HandlerError`."""
    return handler if isinstance(handler, Handler) else Handler(handler)


# inspect is imported when a server is made: it would be a quarter of importing threadwire.


def _is_async(function: object) -> bool:
    import inspect

    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _is_generator(function: object) -> bool:
    import inspect

    return inspect.isgeneratorfunction(function)


def _positional_arguments(function: Callable[..., Any]) -> range | None:
    """How many positional arguments ``function`` can be called with; ``None`` if unknown."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return None
    least = most = 0
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            least += parameter.default is parameter.empty
        elif parameter.kind is parameter.VAR_POSITIONAL:
            most = max(most, 2)
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            return range(0)
    return range(least, most + 1)


def _asks_by_name(function: Callable[..., Any]) -> bool:
    """Whether the second parameter is called ``connection``, even where it has a default."""
    import inspect

    parameters = list(inspect.signature(function).parameters)
    return len(parameters) > 1 and parameters[1] == "connection"


def _no_message_handler(_message: bytes, _connection: Connection) -> Reply:
    raise AssertionError("a session handler is not called with messages")
