"""How a connection ends: gently, without anybody waiting for it.

All that was sent is given the time to arrive. Then our side is closed, and what the peer
still sends is read and dropped for a moment: closing with unread bytes would make the
system send a reset, which destroys what the peer has not read yet.

A connection whose reading side we have shut down ourselves, to wake its thread, is *deaf*:
its end cannot be read any more, and once our writing side is shut down, too, the system
answers whatever the peer sends with a reset. So there the writing side stays open until the
peer's system has acknowledged everything, which nothing announces: it is asked every few
milliseconds.

Everything here belongs to the holder of the loop's baton. The steps of one farewell:

    flush -> (deaf: deliver) -> linger -> release

The loop does the flushing; this begins when nothing is pending any more.
"""

from __future__ import annotations

from collections.abc import Callable

from ..connection import Connection
from ..limits import LINGER_BYTES, LINGER_TIMEOUT
from .timers import Timer, Timers

__all__ = ["Farewell"]

_DELIVERY_POLL = 0.005  # seconds between two looks at what has not been acknowledged


class Farewell:
    """One connection's last moments; calls ``release`` when they are over.

    ``begin`` returns whether the loop is to go on reading, and to pass on what comes.
    """

    __slots__ = (
        "_connection",
        "_deadline",
        "_left",
        "_progress",
        "_release",
        "_timer",
        "_timers",
        "_unsent",
    )

    def __init__(
        self,
        connection: Connection,
        write_timeout: float,
        timers: Timers,
        release: Callable[[Connection], None],
    ) -> None:
        self._connection = connection
        self._release = release
        self._left = LINGER_BYTES.whole
        self._unsent = -1  # not known yet
        self._timers = timers
        self._progress = timers.now()
        self._deadline = timers.now() + write_timeout
        self._timer: Timer | None = None

    def begin(self) -> bool:
        connection = self._connection
        if connection._deaf:
            self._deliver()
            return False
        connection._stream.shutdown_write()
        self._linger()
        return True

    def received(self, size: int) -> None:
        """The peer still sends; it is owed no more than so many bytes."""
        self._left -= size
        if self._left < 0:
            self.over()

    def over(self) -> None:
        """The peer has closed its side or is gone, or was cut."""
        if self._timer is not None:
            self._timer.cancel()
        self._release(self._connection)

    def _linger(self) -> None:
        """Wait for the peer's end as long as it takes what was sent, and a moment longer."""
        if self._stalled():
            self.over()
        else:
            when = min(self._progress + LINGER_TIMEOUT.default, self._deadline)
            self._timer = self._timers.at(when, self._linger)

    def _deliver(self) -> None:
        stream = self._connection._stream
        try:
            while (data := stream.read_nowait()) and self._left >= 0:
                self._left -= len(data)
        except OSError:
            self._unsent = 0  # a reset: nothing arrives any more
        if self._stalled() or not self._unsent:
            self.over()
        else:
            self._timer = self._timers.after(_DELIVERY_POLL, self._deliver)

    def _stalled(self) -> bool:
        """Whether the peer's system has taken nothing for so long that waiting is vain."""
        now = self._timers.now()
        unsent = self._connection._stream.unsent_bytes() if self._unsent else 0
        if unsent != self._unsent:
            # Of the last one, our own end of the stream, the system makes a byte as well.
            if unsent or self._unsent > 1:
                self._progress = now
            self._unsent = unsent
        return now >= min(self._deadline, self._progress + LINGER_TIMEOUT.default)
