"""Serving until a signal comes: what a program does whose server is all there is to it."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Unpack

from . import events
from .address import Address
from .handler import Handler, MessageHandler, SessionHandler
from .options import ServerOptions
from .reports import CloseReport
from .server import Server

__all__ = ["serve", "serve_until_signal"]

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_HEEDED = (*_STOPPING, signal.SIGHUP)


def serve(
    handler: MessageHandler | SessionHandler | Handler,
    *addresses: str | Address,
    **options: Unpack[ServerOptions],
) -> CloseReport:
    """Serve until SIGINT or SIGTERM, then drain; blocks, and returns how the drain went.

    Arguments are those of :class:`Server`. A second signal cuts what is left at
    once. SIGHUP has the TLS certificates loaded anew, unless it says that the terminal is
    gone: then the server drains, too. Off the main thread, where Python has no signals, it
    serves until the process ends.
    """
    return serve_until_signal(Server(handler, *addresses, **options))


def serve_until_signal(
    server: Server,
    when_listening: Callable[[Server], None] | None = None,
    *,
    start: Callable[[], object] | None = None,
    when_stopping: Callable[[], object] | None = None,
    reload: Callable[[], object] | None = None,
) -> CloseReport:
    """What :func:`serve` does with a server.

    when_listening, when_stopping
        Called once it listens, and when the first signal to stop has come.
    start
        Called to start it, instead of its own ``start()``.
    reload
        Called, on a thread of its own, when SIGHUP has come [loads the TLS certificates anew].

    The calling thread waits for bytes: one for each signal, its number, which the
    interpreter writes in whichever thread the system chose to interrupt (a wait for a
    lock would sleep on if that was another one), and a zero when the server is closed.
    """
    bell, hear = socket.socketpair()
    with hear, bell, _signals_ring(bell), contextlib.ExitStack() as stack:
        stack.callback(server.close)
        (start or server.start)()
        if when_listening is not None:
            when_listening(server)
        waiter = threading.Thread(
            target=_ring_when_closed, args=(server, bell), name="threadwire-waiter", daemon=True
        )
        waiter.start()
        stops, on_terminal = 0, _has_terminal()
        while number := hear.recv(1)[0]:
            if number == signal.SIGHUP and on_terminal and not _has_terminal():
                number = signal.SIGTERM  # else nobody could stop it
            if number == signal.SIGHUP:
                events.signalled("SIGHUP", "reload")
                _in_background(reload or server.reload_certificates)
            elif number in _STOPPING:  # else it is the handler's own affair
                stops += 1
                events.signalled(signal.Signals(number).name, "drain" if stops == 1 else "cut")
                if stops == 1 and when_stopping is not None:
                    when_stopping()
                # Not on this thread, which has to be there for the next signal.
                _in_background(server.close if stops == 1 else functools.partial(server.close, 0))
        waiter.join()
        return server.close()


def _has_terminal() -> bool:
    """Whether there is a terminal from which a person can stop this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _ring_when_closed(server: Server, bell: socket.socket) -> None:
    """Whoever closes it."""
    server.wait()
    bell.send(b"\0")


def _in_background(call: Callable[[], object]) -> None:
    threading.Thread(target=call, name="threadwire-signal", daemon=True).start()


@contextlib.contextmanager
def _signals_ring(bell: socket.socket) -> Iterator[None]:
    """Signals are written to ``bell``; off the main thread, nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    bell.setblocking(False)  # what a signal's wake-up needs; the other writer sends one byte
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in _HEEDED}
    descriptor_before = signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor_before)
        for number, action in before.items():
            signal.signal(number, action)
