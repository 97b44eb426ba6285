"""``threadwire client --interactive``: a prompt with history and line editing."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.utils import is_dumb_terminal

from ..client import Client
from ..errors import CloseReason, ConnectionClosed, ThreadwireError, UsageError


def converse(connection: Client, show: Callable[[bytes, bytes, float], None]) -> None:
    """Send each line typed; print whatever the server says, when it says it.

    Nothing is assumed about who speaks first or how often, so services that are not
    request and reply can be talked to as well. Ctrl-D ends.
    """
    if is_dumb_terminal():
        raise UsageError(
            "--interactive needs a terminal that can move its cursor, and TERM says it is dumb; "
            "pipe the lines in instead"
        )
    session: PromptSession[str] = PromptSession(history=_history())
    ended: list[ThreadwireError] = []  # at most one; the listening thread's until it is joined

    def listen() -> None:
        try:
            while True:
                reply = connection.receive(timeout=float("inf"))
                show(b"", reply, 0.0)
                sys.stdout.flush()
        except ThreadwireError as error:
            ended.append(error)
            # Ends the prompt that waits for a line; one that is about to begin asks by itself.
            if (loop := session.app.loop) is not None:
                with contextlib.suppress(RuntimeError):  # that loop is closed already
                    loop.call_soon_threadsafe(leave_if_ended)

    def leave_if_ended() -> None:
        if ended and session.app.is_running and not session.app.is_done:
            session.app.exit(exception=EOFError())

    listener = threading.Thread(target=listen, name="threadwire-listen", daemon=True)
    with patch_stdout(raw=True):
        listener.start()
        while not ended:
            try:
                line = session.prompt("> ", pre_run=leave_if_ended)
            except EOFError:
                break
            connection.send(os.fsencode(line))
    connection.close()
    listener.join()
    error = ended[0]
    if not (isinstance(error, ConnectionClosed) and error.reason is CloseReason.HANDLER_CLOSED):
        raise error


def _history() -> History:
    """Kept across runs where there is a place for it."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    file = Path(base) / "threadwire" / "client-history"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(file))
