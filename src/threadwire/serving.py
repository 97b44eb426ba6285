"""Serving until a signal comes: what a program does whose server is all there is to it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, Unpack

from . import events
from .address import Address
from .errors import ListenError, UsageError
from .handler import Handler, MessageHandler, SessionHandler
from .options import ServerOptions
from .reports import CloseReport
from .server import Server

__all__ = ["serve", "serve_until_signal"]

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_HEEDED = (*_STOPPING, signal.SIGHUP)
_SHORT_OF_SOMETHING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def serve(
    handler: MessageHandler | SessionHandler | Handler,
    *addresses: str | Address,
    admin: str | Address | None = None,
    admin_token_file: str | None = None,
    **options: Unpack[ServerOptions],
) -> CloseReport:
    """Serve until SIGINT or SIGTERM, then drain; blocks, and returns how the drain went.

    Arguments are those of :class:`Server`; and ``admin``, the address of an admin endpoint with
    metrics, health and a live page, such as ``127.0.0.1:9180`` [none], with
    ``admin_token_file`` if requests are to bear a token; see :class:`threadwire.admin.Admin`.
    A second signal cuts what is left at
    once. SIGHUP has the TLS certificates loaded anew, unless it says that the terminal is
    gone: then the server drains, too. Off the main thread, where Python has no signals, it
    serves until the process ends.
    """
    server = Server(handler, *addresses, **options)
    if admin is None:
        if admin_token_file is not None:
            raise UsageError("admin_token_file needs admin, its address")
        return serve_until_signal(server)
    from .admin import Admin

    endpoint = Admin(server, admin, token_file=admin_token_file)
    try:
        return serve_until_signal(server, lambda _: endpoint.start())
    finally:
        endpoint.close()


def serve_until_signal(
    server: Server,
    when_listening: Callable[[Server], object] | None = None,
    *,
    start: Callable[[], object] | None = None,
    when_stopping: Callable[[], object] | None = None,
    reload: Callable[[], object] | None = None,
    at_last: bool = False,
) -> CloseReport:
    """What :func:`serve` does with a server.

    when_listening, when_stopping
        Called once it listens, and when the first signal to stop has come.
    start
        Called to start it, instead of its own ``start()``.
    reload
        Called, on a thread of its own, when SIGHUP has come [loads the TLS certificates anew].
    at_last
        Whether the process ends when this returns: further signals are ignored from then on,
        so that a late one cannot make a good end a bad one [no: they mean what they did before].

    The calling thread waits for bytes: one for each signal, its number, which the
    interpreter writes in whichever thread the system chose to interrupt (a wait for a
    lock would sleep on if that was another one), and a zero when the server is closed.

    Raises :class:`~threadwire.ListenError`, also for want of threads.
    """
    # A pipe, since one holds as many bytes as there can be signals before they are read.
    hear, bell = os.pipe()
    stop = threading.Event()  # set by this thread, when it is to be closed
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, hear)
        stack.callback(os.close, bell)
        stack.enter_context(_signals_ring(bell, at_last))
        helpers = [
            _helper(_ring_when_closed, server, bell),
            _helper(_close_when_told, server, stop),
        ]
        stack.callback(_join, helpers)
        stack.callback(stop.set)
        stack.callback(server.close)
        (start or server.start)()
        try:
            # Now, since a server that gets no thread any more must still be stopped.
            for helper in helpers:
                helper.start()
        except RuntimeError as error:
            raise ListenError(str(server.address), str(error)) from error
        if when_listening is not None:
            when_listening(server)
        reloading = _Reloading(reload or server.reload_certificates)
        stops, on_terminal = 0, _has_terminal()
        while number := os.read(hear, 1)[0]:
            lost = number == signal.SIGHUP and on_terminal and not _has_terminal()
            if number == signal.SIGHUP and not lost:
                events.signalled("SIGHUP", "reload")
                reloading.ask()
            elif number in _STOPPING or (lost and not stops):  # which shell and system both tell
                stops += 1
                events.signalled(signal.Signals(number).name, "drain" if stops == 1 else "cut")
                if stops == 1:
                    if when_stopping is not None:
                        when_stopping()
                    # Not on this thread, which has to be there for the next signal.
                    stop.set()
                else:
                    server.close(0)
            # Other signals are the handler's own affair.
        return server.close()


class _Reloading:
    """Reloads on a thread of its own; once more if it was asked to meanwhile, however often."""

    def __init__(self, reload: Callable[[], object]) -> None:
        self._reload = reload
        self._lock = threading.Lock()
        self._asked = False  # under the lock
        self._running = False  # under the lock: there is a thread, which looks again

    def ask(self) -> None:
        with self._lock:
            self._asked = True
            if self._running:
                return
            self._running = True
        try:
            threading.Thread(target=self._run, name="threadwire-reload", daemon=True).start()
        except RuntimeError as error:  # no thread is to be had
            with self._lock:
                self._running = False
            events.reload_failed(error)

    def _run(self) -> None:
        while self._is_asked():
            try:
                self._reload()
            except Exception as error:  # noqa: BLE001 - nothing has changed, and the log says so
                events.reload_failed(error)

    def _is_asked(self) -> bool:
        with self._lock:
            self._running, self._asked = self._asked, False
            return self._running


def _has_terminal() -> bool:
    """Whether there is a terminal from which a person can stop this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError as error:
        return error.errno in _SHORT_OF_SOMETHING  # it cannot be told; then nothing has changed
    return True


# The helping threads.


def _helper(target: Callable[..., object], *arguments: object) -> threading.Thread:
    name = f"threadwire{target.__name__.replace('_', '-')}"
    return threading.Thread(target=target, args=arguments, name=name, daemon=True)


def _ring_when_closed(server: Server, bell: int) -> None:
    """Whoever closes it."""
    server.wait()
    os.write(bell, b"\0")


def _close_when_told(server: Server, stop: threading.Event) -> None:
    stop.wait()
    server.close()


def _join(helpers: list[threading.Thread]) -> None:
    for helper in helpers:
        if helper.ident is not None:  # it has been started
            helper.join()


# Signals.

# What they meant before they were taken, as long as they are; the main thread's. A process that
# is forked off has the same pipe, in which its own signals would be taken for this one's.
_taken: dict[signal.Signals, Any] = {}


@contextlib.contextmanager
def _signals_ring(bell: int, at_last: bool) -> Iterator[None]:
    """Signals are written to ``bell``; off the main thread, nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    os.set_blocking(bell, False)  # what a signal's wake-up needs; the other writer writes one byte
    descriptor_before = signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
    try:
        for number in _HEEDED:
            _taken[number] = signal.signal(number, lambda _number, _frame: None)
        yield
    finally:
        signal.set_wakeup_fd(descriptor_before)
        _give_back(signal.SIG_IGN if at_last else None)


def _give_back(instead: Any = None) -> None:
    while _taken:
        number, before = _taken.popitem()
        if before is None:  # not Python's, and so not to be put back by it
            before = signal.SIG_DFL
        signal.signal(number, before if instead is None else instead)


def _forked_off() -> None:
    """In the new process: what is sent to it is its own affair."""
    if _taken:
        signal.set_wakeup_fd(-1)
        _give_back()


os.register_at_fork(after_in_child=_forked_off)
