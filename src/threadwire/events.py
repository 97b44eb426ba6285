"""What happens, told to the standard library's logging: one call here, one record.

Records go to the logger ``threadwire``. A record's message is an :class:`Event`, with
``name`` and the facts in ``fields``, a dict, for a formatter to lay out; its ``str()``
has them all, so that any formatter shows a whole line.

The command's log takes most events without a record, which would cost more than its line;
but never one whose record anybody else would see.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .address import Address
    from .connection import Connection
    from .errors import CloseReason
    from .reports import Cut

logger = logging.getLogger("threadwire")

# Called with level, name and facts of an event without a traceback that is to be logged;
# returns whether it has logged it, otherwise a record is made. It must lay out the facts at
# once, since they may change. Set by whoever has the log of the whole process; any thread reads.
shortcut: Callable[[int, str, dict[str, Any]], bool] | None = None

__all__ = ["Event", "emit", "lay_out", "logger", "show"]


class Event:
    """A record's message: the event's name and its facts, laid out only if shown."""

    __slots__ = ("fields", "name")

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self.name = name
        self.fields = fields

    def __str__(self) -> str:
        return lay_out(self.name, self.fields)


def lay_out(name: str, fields: dict[str, Any]) -> str:
    """An event on one line, ``name key=value key=value``."""
    line = name
    for key, value in fields.items():
        line = f"{line} {key}={value if type(value) is int else show(value)}"
    return line


def show(value: object) -> str:
    """``value`` for a ``key=value`` line: quoted where a reader could mistake it.

    Control characters never reach the log as themselves: a peer that can put a
    newline into a log can forge its lines.
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    if text.isprintable() and text and not (" " in text or '"' in text or "=" in text):
        return text
    return '"' + "".join(_escape(c) for c in text) + '"'


def _microseconds(seconds: float) -> float:
    """``round(seconds, 6)``, in a third of its time."""
    return int(seconds * 1e6 + 0.5) / 1e6


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()


def emit(level: int, name: str, *, exception: BaseException | None = None, **fields: Any) -> None:
    """Log one event with its facts; with ``exception``, its traceback goes along.

    Raises nothing: a logging handler that fails, as on a full disk, is no reason to stop serving.
    """
    try:
        if not logger.isEnabledFor(level):
            return
        exc_info = None
        if exception is not None:
            exc_info = (type(exception), exception, exception.__traceback__)
        elif (short := shortcut) is not None and short(level, name, fields):
            return
        # As logger.log does, without looking for the caller on the stack: it is this function.
        here = emit.__code__
        file, line, function = here.co_filename, here.co_firstlineno, here.co_name
        event = Event(name, fields)
        record = logger.makeRecord(logger.name, level, file, line, event, (), exc_info, function)
        logger.handle(record)
    except Exception:  # noqa: BLE001 - it goes where logging itself reports such things
        if logging.raiseExceptions:
            import traceback

            with contextlib.suppress(Exception):
                traceback.print_exc()


def capacity(max_clients: int, descriptors: float) -> None:
    emit(logging.INFO, "capacity", max_clients=max_clients, descriptors=descriptors)


def capacity_short(max_clients: int, descriptors: float, wanted: int) -> None:
    emit(
        logging.WARNING,
        "capacity-short",
        max_clients=max_clients,
        descriptors=descriptors,
        wanted=wanted,
    )


def _level(connection: Connection) -> int:
    """A proxy that only looks whether we live is no client, and not worth a line."""
    proxy = connection.proxy
    return logging.INFO if proxy is None or not proxy.local else logging.DEBUG


def opened(connection: Connection) -> None:
    if not logger.isEnabledFor(logging.INFO):  # nor what is beneath it
        return
    emit(
        logging.INFO if connection.proxy is None else _level(connection),
        "opened",
        connection=connection.id,
        peer=connection.peer,
        local=connection.local,
    )


def closed(connection: Connection) -> None:
    if not logger.isEnabledFor(logging.INFO):  # as above; there is much to gather
        return
    emit(
        logging.INFO if connection.proxy is None else _level(connection),
        "closed",
        connection=connection.id,
        peer=connection.peer,
        reason=connection.close_reason,
        messages_received=connection.messages_received,
        messages_sent=connection.messages_sent,
        bytes_received=connection.bytes_received,
        bytes_sent=connection.bytes_sent,
        seconds=_microseconds(connection.age),
    )


def peer_fault(connection: Connection, error: Exception, beside: str = "") -> None:
    """``beside``: which server's it is, if one beside the service, where it is no cause to warn."""
    if beside:
        emit(
            logging.DEBUG,
            "peer-fault",
            server=beside,
            connection=connection.id,
            peer=connection.peer,
            error=type(error).__name__,
            detail=error,
        )
    else:
        emit(
            logging.WARNING,
            "peer-fault",
            connection=connection.id,
            peer=connection.peer,
            error=type(error).__name__,
            detail=error,
        )


def handler_failed(connection: Connection, handler: str, error: BaseException) -> None:
    emit(
        logging.ERROR,
        "handler-failed",
        connection=connection.id,
        peer=connection.peer,
        handler=handler,
        error=type(error).__name__,
        detail=error,
        exception=error,
    )


def hook_failed(connection: Connection, hook: str, error: BaseException) -> None:
    emit(
        logging.ERROR,
        "hook-failed",
        connection=connection.id,
        peer=connection.peer,
        hook=hook,
        error=type(error).__name__,
        detail=error,
        exception=error,
    )


def no_capacity(connection: Connection, error: BaseException) -> None:
    emit(
        logging.WARNING,
        "no-capacity",
        connection=connection.id,
        peer=connection.peer,
        error=type(error).__name__,
        detail=error,
    )


def threads_exhausted(most: int) -> None:
    emit(logging.WARNING, "threads-exhausted", max_threads=most)


def stuck(error: BaseException) -> None:
    emit(logging.WARNING, "stuck", error=type(error).__name__, detail=error)


def slow(connection: Connection, seconds: float, doing: str) -> None:
    emit(
        logging.WARNING,
        "slow",
        connection=connection.id,
        peer=connection.peer,
        seconds=round(seconds, 3),
        doing=doing,
    )


def slow_ended(connection: Connection, at_least: float) -> None:
    emit(
        logging.WARNING,
        "slow-ended",
        connection=connection.id,
        peer=connection.peer,
        at_least=round(at_least, 3),
    )


def engine_failed(error: BaseException) -> None:
    emit(
        logging.ERROR,
        "engine-failed",
        error=type(error).__name__,
        detail=error,
        exception=error,
    )


def certificate_warning(problem: str) -> None:
    emit(logging.WARNING, "certificate", problem=problem)


def certificates_reloaded(names: str, days_left: float) -> None:
    emit(logging.INFO, "certificates-reloaded", names=names, days_left=round(days_left, 1))


def reloaded(changed: str, needs_restart: str) -> None:
    emit(
        logging.INFO if not needs_restart else logging.WARNING,
        "reloaded",
        changed=changed,
        needs_restart=needs_restart,
    )


def reload_failed(error: Exception) -> None:
    emit(logging.ERROR, "reload-failed", error=type(error).__name__, detail=error)


def refused(reason: CloseReason, peer: Address, count: int) -> None:
    emit(logging.WARNING, "refused", reason=reason, peer=peer, count=count)


def accept_paused(reason: str, listen: str) -> None:
    emit(logging.WARNING, "accept-paused", reason=reason, listen=listen)


def accept_resumed(refused: int, listen: str) -> None:
    emit(logging.WARNING, "accept-resumed", refused_meanwhile=refused, listen=listen)


def accept_failed(address: Address, error: Exception) -> None:
    emit(
        logging.WARNING,
        "accept-failed",
        listen=address,
        error=type(error).__name__,
        detail=error,
    )


def message(connection: Connection, size: int, sent: int, seconds: float) -> None:
    emit(
        logging.DEBUG,
        "message",
        connection=connection.id,
        message_size=size,
        bytes_sent=sent,
        seconds=_microseconds(seconds),
    )


def signalled(signal: str, then: str) -> None:
    emit(logging.INFO, "signal", signal=signal, then=then)


def draining(connections: int, seconds: float | None) -> None:
    """``seconds``: until those left are cut, or waited for no longer; ``None``: neither."""
    if seconds is None:
        emit(logging.INFO, "draining", connections=connections)
    else:
        emit(logging.INFO, "draining", connections=connections, drain_timeout=seconds)


def cut(cut: Cut) -> None:
    emit(
        logging.WARNING,
        "cut",
        connection=cut.connection,
        peer=cut.peer,
        seconds=round(cut.age, 3),
        bytes_received=cut.bytes_received,
        bytes_sent=cut.bytes_sent,
        doing=cut.doing,
    )


def stopped(finished: int, cut: int, dismissed: int, refused: int) -> None:
    emit(
        logging.INFO,
        "stopped",
        finished=finished,
        cut=cut,
        dismissed=dismissed,
        refused=refused,
    )


def handover(what: str, detail: str) -> None:
    emit(
        logging.INFO if what in ("taken", "taken-over") else logging.WARNING,
        "handover",
        what=what,
        detail=detail,
    )


def notify_failed(error: Exception) -> None:
    emit(logging.WARNING, "notify-failed", error=type(error).__name__, detail=error)


def suspended(connections: int) -> None:
    emit(logging.INFO, "suspended", connections=connections)


def resumed() -> None:
    emit(logging.INFO, "resumed")
