"""Hooks around connections and messages, for tracing: context managers of the user's.

What they set in :mod:`contextvars`, as tracers do to know the current span, holds for the
handler, on whichever thread it runs: each connection has a context of its own, and each of
its messages a copy of that, so that a message's span is a child of its connection's.

A server without hooks pays nothing for them. Hooks are the user's code: ``on_message`` runs
where the handler does, and may block as it may; ``on_connection`` runs in the loop that all
clients share, and must not, unless the handler is a session.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from . import events
from .errors import UsageError
from .handler import Handler, Reply

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Hooks", "OnConnection", "OnMessage"]

_Manager: TypeAlias = "AbstractContextManager[object] | None"
OnConnection: TypeAlias = "Callable[[Connection], _Manager]"
OnMessage: TypeAlias = "Callable[[Connection, bytes], _Manager]"

_NO_MORE: Any = object()


class Hooks:
    """Calls the hooks, and enters what they return: a context manager, or ``None`` for nothing.

    on_connection
        Called with each client's connection when it is open. What it returns is left when the
        connection is closed for good.
    on_message
        Called with the connection and each message. What it returns is left when the message is
        handled; that of a handler that is a generator function, when its last part is made.
        Sessions take their messages themselves, and have none.
    """

    def __init__(self, on_connection: OnConnection | None, on_message: OnMessage | None) -> None:
        for name, hook in (("on_connection", on_connection), ("on_message", on_message)):
            if hook is not None and not callable(hook):
                raise UsageError(f"{name} must be a function, not {hook!r}")
        self._on_connection = on_connection
        self._on_message = on_message

    def around(self, handler: Handler) -> Handler:
        """``handler``, with the hooks."""
        hooked = handler.copy()
        hooked.hooks = self
        if handler.is_session:
            hooked.run_session = functools.partial(self._run_session, handler.run_session)
        elif self._on_message is not None or self._on_connection is not None:
            hooked.plain = None
            call = self._call_parts if handler.is_generator else self._call
            hooked.call = functools.partial(call, handler.call)
        return hooked

    # Whoever opens and closes a connection: the loop, or a session's thread.

    def opened(self, connection: Connection) -> None:
        """It is open, and no message has been handled."""
        context = connection._context = contextvars.copy_context()
        if self._on_connection is not None:
            scope = _Scope(context, functools.partial(self._on_connection, connection))
            try:
                scope.__enter__()
            except BaseException as error:  # noqa: BLE001 - it is not the client's fault
                events.hook_failed(connection, "on_connection", error)
            else:
                connection._scope = scope

    def closed(self, connection: Connection) -> None:
        """It is closed for good."""
        scope, connection._scope = connection._scope, None
        connection._context = None  # which may lead back to it
        if scope is not None:
            try:
                scope.__exit__(None, None, None)
            except BaseException as error:  # noqa: BLE001 - the same
                events.hook_failed(connection, "on_connection", error)

    # Whoever calls the handler.

    def _run_session(self, session: Callable[[Connection], None], connection: Connection) -> None:
        # In a copy, since a session that was cut may still run when the connection is closed.
        _context_of(connection).run(session, connection)

    def _call(
        self, call: Callable[[bytes, Connection], Reply], message: bytes, connection: Connection
    ) -> Reply:
        context = _context_of(connection)
        with self._scope(context, connection, message):
            return context.run(call, message, connection)
        return None  # the hook has swallowed what the handler raised

    def _call_parts(
        self, call: Callable[[bytes, Connection], Any], message: bytes, connection: Connection
    ) -> Iterator[bytes]:
        """Each step in the context, on whichever thread it is made."""
        context = _context_of(connection)
        with self._scope(context, connection, message):
            parts = call(message, connection)
            try:
                while (part := context.run(next, parts, _NO_MORE)) is not _NO_MORE:
                    yield part
            finally:
                context.run(parts.close)

    def _scope(
        self, context: contextvars.Context, connection: Connection, message: bytes
    ) -> _Scope:
        hook = self._on_message
        return _Scope(context, hook and functools.partial(hook, connection, message))


def _context_of(connection: Connection) -> contextvars.Context:
    context = connection._context
    return contextvars.copy_context() if context is None else context.copy()


class _Scope:
    """What a hook returns, entered and left in a context; one thread at a time."""

    def __init__(self, context: contextvars.Context, hook: Callable[[], _Manager] | None) -> None:
        self._context = context
        self._hook = hook
        self._manager: _Manager = None

    def __enter__(self) -> None:
        if self._hook is not None:
            self._manager = self._context.run(self._hook)
        if self._manager is not None:
            self._context.run(self._manager.__enter__)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Whether it swallows what was raised."""
        if self._manager is None:
            return False
        return bool(self._context.run(self._manager.__exit__, kind, error, traceback))
