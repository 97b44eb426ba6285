"""Serving until a signal comes: what a program does whose server is all there is to it."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Unpack

from . import events
from .address import Address
from .handler import Handler, MessageHandler, SessionHandler
from .options import ServerOptions
from .reports import CloseReport
from .server import Server

__all__ = ["serve", "serve_until_signal"]

_STOPPING = (signal.SIGINT, signal.SIGTERM)


def serve(
    handler: MessageHandler | SessionHandler | Handler,
    *addresses: str | Address,
    **options: Unpack[ServerOptions],
) -> CloseReport:
    """Serve until SIGINT or SIGTERM, then drain; blocks, and returns how the drain went.

    Arguments are those of :class:`Server`. A second signal cuts what is left at
    once. Off the main thread, where Python has no signals, it serves until the
    process ends.
    """
    return serve_until_signal(Server(handler, *addresses, **options))


def serve_until_signal(
    server: Server, when_listening: Callable[[Server], None] | None = None
) -> CloseReport:
    """What :func:`serve` does with a server; ``when_listening`` is called once it listens.

    The calling thread waits for bytes: one for each signal, its number, which the
    interpreter writes in whichever thread the system chose to interrupt (a wait for a
    lock would sleep on if that was another one), and a zero when the server is closed.
    """
    bell, hear = socket.socketpair()

    def ring_when_closed() -> None:  # whoever closes it
        server.wait()
        bell.send(b"\0")

    with hear, bell, _signals_ring(bell), server:
        if when_listening is not None:
            when_listening(server)
        waiter = threading.Thread(target=ring_when_closed, name="threadwire-waiter", daemon=True)
        waiter.start()
        signals = 0
        while number := hear.recv(1)[0]:
            if number not in _STOPPING:  # the handler's own affair
                continue
            signals += 1
            then = "drain" if signals == 1 else "cut"
            events.signalled(signal.Signals(number).name, then)
            # Not on this thread, which has to be there for the next signal.
            timeout = None if signals == 1 else 0.0
            threading.Thread(
                target=server.close, args=(timeout,), name="threadwire-closer", daemon=True
            ).start()
        waiter.join()
        return server.close()


@contextmanager
def _signals_ring(bell: socket.socket) -> Iterator[None]:
    """SIGINT and SIGTERM are written to ``bell``; off the main thread, nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    bell.setblocking(False)  # what a signal's wake-up needs; the other writer sends one byte
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in _STOPPING}
    descriptor_before = signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor_before)
        for number, action in before.items():
            signal.signal(number, action)
