"""What the hostile peers have in common: a script, a thread to run it, and an end."""

from __future__ import annotations

import contextlib
import enum
import select
import threading
import time
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Final, Self, TypeAlias

from ..address import Address
from ..errors import ConnectError, TimeLimitError, UsageError
from .arguments import check_seconds
from .peer import GONE, Peer

__all__ = ["AT_MOST", "LOOK", "STEP", "Hostile", "Script"]

AT_MOST = 60.0  # seconds that a hostile peer goes on, unless told otherwise
LOOK = 0.02  # seconds between two looks at what nothing announces


class _Pause(enum.Enum):
    STEP = enum.auto()


STEP: Final = _Pause.STEP
"""Yielded by a script that waits for :meth:`Hostile.step`."""

Script: TypeAlias = Generator[float | _Pause, None, None]
"""Yields where it may be stopped: the seconds to wait, or 0, or :data:`STEP`.

It must not block elsewhere."""


class Hostile:
    """Peers that misbehave, in a thread of their own, until the block ends.

    ::

        def half_a_message(run: Hostile) -> Script:
            peer = run.connect(server.address)
            peer.say(b"half a mess")
            yield 0
            yield from run.stay([peer])

        with Hostile(half_a_message) as hostile:
            ...

    script
        Called with this object. What it does before its first ``yield`` is done when the
        block begins, and may raise there; so the block finds its peers connected.
    at_most
        Seconds after which it ends by itself [60].

    That the server ends a connection is what hostile peers are there for: it ends the
    script, or is counted by :meth:`keeps`, and ``thrown_out`` tells of it. Whatever else the
    script raises is raised at the end of the block.

    bytes_sent, connections, thrown_out
        How much it has said, how many connections it has made, and how many of them the
        server has ended or refused. The script's thread sets them.
    """

    def __init__(self, script: Callable[[Hostile], Script], *, at_most: float = AT_MOST) -> None:
        self._at_most = check_seconds("at_most", at_most)
        self._make_script = script
        self.bytes_sent = 0
        self.connections = 0
        self.thrown_out = 0
        self._peers: set[Peer] = set()  # the script's thread
        self._deadline = 0.0  # constant once started
        self._thread: threading.Thread | None = None  # the thread of the block

        self._changed = threading.Condition()  # guards what follows
        self._stopping = False
        self._steps = 0  # asked for, and not yet begun
        self._in_step = False  # it has begun one, and has not yielded since
        self._finished = False
        self._error: BaseException | None = None

    # For scripts.

    def connect(self, address: str | Address, *, receive_buffer: int | None = None) -> Peer:
        """A new peer, closed at the end."""
        peer = Peer(address, receive_buffer=receive_buffer)
        self.connections += 1
        self._peers.add(peer)
        return peer

    def say(self, peer: Peer, data: bytes | memoryview) -> int:
        """Send what there is room for now; returns how much that was."""
        count = peer.offer(data)
        self.bytes_sent += count
        return count

    def say_all(self, peer: Peer, data: bytes) -> Script:
        """``yield from`` it: send all of ``data``, as the server takes it."""
        left = memoryview(data)
        while left:
            count = self.say(peer, left)
            left = left[count:]
            if not count:
                yield LOOK

    def drop_replies(self, peer: Peer) -> None:
        """Read what is there."""
        for _ in range(16):  # the other peers of the script want their turn, too
            if not peer.overhear():
                return

    def keeps(self, peer: Peer) -> bool:
        """Whether the server has not ended the connection; otherwise it is counted and closed."""
        if peer.socket.fileno() < 0:
            return False
        if not peer.ended:
            return True
        self.leave(peer)
        self.thrown_out += 1
        return False

    def stay(self, peers: Iterable[Peer]) -> Script:
        """``yield from`` it: wait until the server has ended all of these, and count them."""
        left = {peer.socket.fileno(): peer for peer in peers}
        poll = select.poll()
        for number in left:
            poll.register(number, GONE)
        while left:
            for number, _ in poll.poll(0):
                poll.unregister(number)
                self.keeps(left.pop(number))
            yield LOOK

    def leave(self, peer: Peer, *, reset: bool = False) -> None:
        """Close the connection from here."""
        if reset:
            peer.reset()
        peer.close()
        self._peers.discard(peer)

    # For tests.

    def step(self, count: int = 1, *, timeout: float = 10.0) -> None:
        """Have the script go on where it waits for that, so many times; returns when it has."""
        with self._changed:
            self._steps += count
            self._changed.notify_all()
            if not self._changed.wait_for(self._has_stepped, timeout):
                raise TimeLimitError("step of the hostile peer", timeout)

    def wait(self, timeout: float = 10.0) -> None:
        """Wait until the script has come to its end; raises TimeLimitError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._finished, timeout):
                raise TimeLimitError("end of the hostile peer", timeout)

    @property
    def finished(self) -> bool:
        """Whether the script has come to its end."""
        with self._changed:
            return self._finished

    def stop(self) -> None:
        """End it; raises what the script has raised. Any number of times."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> Self:
        self._deadline = time.monotonic() + self._at_most
        script = self._make_script(self)
        try:
            next(script)
        except StopIteration:
            raise UsageError("the script has to yield at least once") from None
        except BaseException:
            self._close_peers()
            raise
        self._thread = threading.Thread(
            target=self._run, args=(script,), name="threadwire-hostile-peer", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        except BaseException as own:
            if error is None:
                raise
            error.add_note(f"a hostile peer has failed, too: {own!r}")

    def _has_stepped(self) -> bool:
        """Lock held."""
        return self._finished or not (self._steps or self._in_step)

    # The script's thread.

    def _run(self, script: Script) -> None:
        pause: float | _Pause = 0
        try:
            with contextlib.closing(script):
                while self._may_go_on(pause):
                    pause = next(script)
        except StopIteration:
            pass
        except (ConnectionError, ConnectError):
            self.thrown_out += 1
        except BaseException as error:  # noqa: BLE001 - raised by stop()
            self._error = error
        self._close_peers()
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def _may_go_on(self, pause: float | _Pause) -> bool:
        """Wait as the script has asked for; ``False`` if that was the end."""
        left = self._deadline - time.monotonic()
        with self._changed:
            self._in_step = False
            self._changed.notify_all()
            if pause is STEP:
                self._in_step = self._changed.wait_for(
                    lambda: self._stopping or self._steps > 0, left
                )
                self._steps = max(0, self._steps - 1)
            elif pause:
                self._changed.wait_for(lambda: self._stopping, min(pause, left))
            return not self._stopping and time.monotonic() < self._deadline

    def _close_peers(self) -> None:
        for peer in self._peers:
            peer.close()
        self._peers.clear()
