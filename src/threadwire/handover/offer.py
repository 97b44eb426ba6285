"""The old process's side: its listening sockets are offered, to one new process at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from ..errors import ListenError, UsageError
from ..limits import ACCEPT_PAUSE, HANDOVER_TIMEOUT
from .wire import (
    LARGEST_MESSAGE,
    MOST_DESCRIPTORS,
    VERSION,
    Handed,
    Unintelligible,
    check_path,
    connect,
    in_short,
    other_end,
    receive,
    send,
    trusted,
)

__all__ = ["Offer"]

_GREETING_TIMEOUT = 5.0  # seconds for a process that has connected to ask for something
_MOST_CONVERSATIONS = 8  # with processes that have connected; others wait in the backlog
_LARGEST_DESCRIPTION = 16 << 10  # bytes, of one listener


class _Conversation:
    """With a process that has connected. The offer's thread."""

    __slots__ = ("deadline", "pid", "sent", "socket")

    def __init__(self, connected: socket.socket, pid: int) -> None:
        self.socket = connected
        self.pid = pid
        self.deadline = time.monotonic() + _GREETING_TIMEOUT
        self.sent = 0  # listeners


class Offer:
    """Offers ``listeners`` at the unix socket ``path``.

    listeners
        They stay the owner's, who closes the offer before them.
    taken
        Called, on the offer's thread, when the new process serves. It has to stop the
        accepting before it returns, without accepting what is queued, without
        ``shutdown()`` and without unlinking the files of unix sockets, which are the new
        process's now; the rest of the drain goes on elsewhere. If it raises, the new
        process is told so and the offer stands.
    report
        Called, on the offer's thread, with a word and an explanation: ``taken``; or, when
        nothing has changed, ``refused``, ``garbage``, ``gone``, ``late``, ``failed`` (of the
        new process), ``stop-failed`` (``taken`` raised), ``accept-failed``. It must not raise.
    timeout
        Seconds that a new process may take to begin to serve [60].
    replace
        Whether the file of a living process at ``path`` is replaced: by a process that has
        just taken over from it [no].

    Only the owner and root can connect (mode 0600). When a new process has taken over,
    further ones are refused as busy until :meth:`close`, which then leaves the file to the
    new process; otherwise it removes it.

    Wrong arguments raise :class:`~threadwire.UsageError`. A process that is forked off must
    not keep the offer's sockets: whoever connects would wait in vain.
    """

    def __init__(
        self,
        path: str,
        listeners: Sequence[Handed],
        taken: Callable[[], None],
        *,
        report: Callable[[str, str], None] | None = None,
        timeout: float = HANDOVER_TIMEOUT.default,
        replace: bool = False,
    ) -> None:
        self.path = check_path(path)
        self._listeners = list(listeners)
        self._sizes = [_described(listener) for listener in self._listeners]
        if not self._listeners:
            raise UsageError("listeners must have at least one listening socket to offer")
        self._taken = taken
        self._report = report or (lambda _what, _detail: None)
        self._timeout = HANDOVER_TIMEOUT.check(timeout)
        self._replace = replace
        self._lock = threading.Lock()
        self._wake: int | None = None  # under the lock: an eventfd, while the thread runs
        self._thread: threading.Thread | None = None  # set by start()
        self._identity: tuple[int, int] | None = None  # of our file; set by start()
        self.taker: int | None = None
        """The process that has taken over; set, by the offer's thread, before ``taken``."""
        # The offer's thread.
        self._conversations: list[_Conversation] = []
        self._holder: _Conversation | None = None  # to whom the sockets are being passed
        self._rest_until = 0.0  # no accepting before, for want of descriptors

    def start(self) -> Self:
        """Offer from now on; returns at once. Raises :class:`~threadwire.ListenError`."""
        if self._thread is not None:
            raise UsageError("an Offer starts once; make another one")
        try:
            listening = self._listen()
        except OSError as error:
            raise ListenError(self.path, error) from error
        try:
            wake = self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            thread = threading.Thread(
                target=self._run, args=(listening, wake), name="threadwire-handover", daemon=True
            )
            thread.start()
        except (OSError, RuntimeError) as error:
            self._end(listening)
            cause = error if isinstance(error, OSError) else str(error)
            raise ListenError(self.path, cause) from error
        self._thread = thread
        return self

    def close(self) -> None:
        """Offer no more, from any thread; again does nothing.

        A process that has the sockets already, but does not serve yet, is refused. Waits
        for the offer's thread, unless it is the caller, as in ``taken``.
        """
        with self._lock:
            if self._wake is not None:
                os.eventfd_write(self._wake, 1)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _listen(self) -> socket.socket:
        """A socket whose file appears at the path in one step, and only when it listens."""
        temporary = f"{self.path}.{os.getpid()}"
        _clear(temporary)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            os.fchmod(listening.fileno(), 0o600)  # which is what Linux then gives the file
            listening.bind(temporary)
            try:
                listening.listen(_MOST_CONVERSATIONS)
                listening.setblocking(False)
                self._identity = _file_identity(temporary)
                if self._replace:
                    _check_kind(self.path)
                    os.rename(temporary, self.path)
                else:
                    _clear(self.path)
                    os.link(temporary, self.path)  # replaces nothing
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
        except OSError:
            listening.close()
            raise
        return listening

    # The offer's thread.

    def _run(self, listening: socket.socket, wake: int) -> None:
        try:
            while wake not in (ready := self._wait(listening, wake)):
                for talk in list(self._conversations):
                    if talk.socket.fileno() in ready:
                        self._hear(talk)
                    elif time.monotonic() >= talk.deadline:
                        self._late(talk)
                if listening.fileno() in ready:
                    self._meet(listening)
        finally:
            for talk in list(self._conversations):
                self._refuse(talk, "closed", "it offers its sockets no more")
            self._end(listening)

    def _end(self, listening: socket.socket) -> None:
        with self._lock:
            if self._wake is not None:
                os.close(self._wake)
                self._wake = None
        # After a take-over the new process may be putting its own file there right now.
        # What can no longer be seen or removed is not ours any more.
        with contextlib.suppress(OSError):
            if self.taker is None and _file_identity(self.path) == self._identity:
                os.unlink(self.path)
        listening.close()

    def _wait(self, listening: socket.socket, wake: int) -> set[int]:
        """The descriptors at which there is something to do; none when a deadline is over."""
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        moments = []
        for talk in self._conversations:
            poll.register(talk.socket, select.POLLIN)
            moments.append(talk.deadline)
        now = time.monotonic()
        if now < self._rest_until:
            moments.append(self._rest_until)
        elif len(self._conversations) < _MOST_CONVERSATIONS:
            poll.register(listening, select.POLLIN)
        milliseconds = max(0.0, min(moments) - now) * 1000 if moments else None
        return {fd for fd, _ in poll.poll(milliseconds)}

    def _meet(self, listening: socket.socket) -> None:
        """Somebody connects."""
        try:
            connected, _ = listening.accept()
        except BlockingIOError:
            return
        except OSError as error:
            self._rest_until = time.monotonic() + ACCEPT_PAUSE.default
            self._report("accept-failed", str(error))
            return
        connected.setblocking(False)
        pid, user = other_end(connected)
        talk = _Conversation(connected, pid)
        self._conversations.append(talk)
        if not trusted(user):
            problem = f"process {pid} runs as user {user}, neither {os.geteuid()} nor root"
            self._report("refused", problem)
            self._refuse(talk, "denied", problem)

    def _hear(self, talk: _Conversation) -> None:
        try:
            message, _ = receive(talk.socket)
        except BlockingIOError:
            return
        except Unintelligible as error:
            self._garbage(talk, str(error))
            return
        except OSError:
            message = None  # a reset ends the conversation as well
        holds = talk is self._holder
        if message is None:
            if holds:
                self._report("gone", f"process {talk.pid} ended before it served")
            self._drop(talk)
            return
        left = len(self._listeners) - talk.sent
        match message["say"]:
            case "take" if not holds:
                self._begin(talk, message.get("handover"))
            case "more" if holds and left:
                self._pass_on(talk)
            case "serving" if holds and not left:
                self._stop_for(talk)
            case "failed" if holds:
                self._report("failed", f"process {talk.pid}: {in_short(message.get('reason'))}")
                self._drop(talk)
            case said:
                self._garbage(talk, f"it said {in_short(said)}, out of turn")

    def _begin(self, talk: _Conversation, version: object) -> None:
        if version != VERSION:
            problem = f"it speaks version {VERSION} of the handover, not {in_short(version)}"
            self._report("refused", f"process {talk.pid}: {problem}")
            self._refuse(talk, "version", problem)
        elif self._holder is not None or self.taker is not None:
            holder = self.taker if self._holder is None else self._holder.pid
            problem = f"process {holder} is taking over already"
            self._report("refused", f"process {talk.pid}: {problem}")
            self._refuse(talk, "busy", problem)
        else:
            self._holder = talk
            talk.deadline = time.monotonic() + self._timeout
            self._pass_on(talk)

    def _pass_on(self, talk: _Conversation) -> None:
        """Send as many listeners as one message holds."""
        size, chosen = 0, []
        for n in range(talk.sent, min(talk.sent + MOST_DESCRIPTORS, len(self._listeners))):
            size += self._sizes[n]
            if size > LARGEST_MESSAGE - _LARGEST_DESCRIPTION:
                break
            chosen.append(self._listeners[n])
        talk.sent += len(chosen)
        message = {
            "say": "listeners",
            "left": len(self._listeners) - talk.sent,
            "listeners": [{"address": one.address, "options": one.options} for one in chosen],
        }
        try:
            send(talk.socket, message, [one.socket.fileno() for one in chosen])
        except (BrokenPipeError, ConnectionResetError):
            self._report("gone", f"process {talk.pid} ended before it served")
            self._drop(talk)
        except OSError as error:
            problem = f"its sockets cannot be passed: {error}"
            self._report("failed", f"process {talk.pid}: {problem}")
            self._refuse(talk, "failed", problem)

    def _stop_for(self, talk: _Conversation) -> None:
        if _hung_up(talk.socket):
            self._report("gone", f"process {talk.pid} said that it serves, and ended")
            self._drop(talk)
            return
        self.taker = talk.pid
        try:
            self._taken()
        except Exception as error:  # noqa: BLE001 - the owner's; both processes are told
            self.taker = None
            problem = f"it could not stop accepting: {error!r}"
            self._report("stop-failed", problem)
            self._refuse(talk, "failed", problem)
            return
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            send(talk.socket, {"say": "stopped"})
        self._drop(talk)
        self._report("taken", f"by process {talk.pid}")

    def _late(self, talk: _Conversation) -> None:
        if talk is self._holder:
            problem = f"process {talk.pid} did not serve within {self._timeout:g} s"
        else:
            problem = f"process {talk.pid} asked for nothing within {_GREETING_TIMEOUT:g} s"
        self._report("late", problem)
        self._refuse(talk, "late", problem)

    def _garbage(self, talk: _Conversation, problem: str) -> None:
        self._report("garbage", f"process {talk.pid}: {problem}")
        self._refuse(talk, "garbage", problem)

    def _refuse(self, talk: _Conversation, why: str, problem: str) -> None:
        with contextlib.suppress(OSError):  # it may have gone
            send(talk.socket, {"say": "refused", "why": why, "problem": problem})
        self._drop(talk)

    def _drop(self, talk: _Conversation) -> None:
        self._conversations.remove(talk)
        if talk is self._holder:
            self._holder = None
        talk.socket.close()


def _described(listener: Handed) -> int:
    """How many bytes describe it in a message; raises UsageError if it cannot be handed over."""
    import json

    listening = listener.socket
    try:
        accepts = listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        accepts = 0
    if not accepts or listening.type != socket.SOCK_STREAM:
        raise UsageError(f"listeners must be listening stream sockets, not {listening!r}")
    try:
        text = json.dumps({"address": listener.address, "options": listener.options})
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the options of a listener must be what JSON can carry: {error}"
        ) from error
    size = len(text) + len(", ")
    if size > _LARGEST_DESCRIPTION:
        raise UsageError(
            f"a listener's address and options must have at most {_LARGEST_DESCRIPTION} bytes "
            f"as JSON, not {size}"
        )
    return size


def _hung_up(connected: socket.socket) -> bool:
    """Whether the other process has closed its end, as one that has died."""
    try:
        return not connected.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


# The file.


def _clear(path: str) -> None:
    """Remove a socket file that a dead process left; raise if somebody lives behind it."""
    before = _file_identity(path)
    if before is None:
        return
    _check_kind(path)
    try:
        probe = connect(path)
    except OSError as error:
        # Another kind of socket lives there, or one whose backlog is full.
        if error.errno not in (errno.EPROTOTYPE, errno.EAGAIN):
            raise
    else:
        if probe is None:
            # Another process may have replaced it since; its file is not ours to remove.
            if _file_identity(path) == before:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            return
        probe.close()
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _check_kind(path: str) -> None:
    """Raise if there is something else than a socket in the way."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "a file that is not a socket is in the way")


def _file_identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
