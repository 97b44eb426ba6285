"""A well-behaved client, to see that it is served well whatever else is going on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ..address import Address, parse_address
from ..client import Client, connect
from ..errors import TimeLimitError
from ..framing import Framing
from .arguments import check_whole

__all__ = ["GoodClient"]

_REMEMBERED = 20  # errors
_RECONNECT_PAUSE = 0.05  # seconds after an error


def _reversed(message: bytes) -> bytes:
    return message[::-1]


def _numbered(number: int) -> bytes:
    return b"good client, message %d" % number


class GoodClient:
    """Asks again and again, in a thread of its own, and looks at each answer.

    ::

        with flood(address), GoodClient(address) as good:
            good.wait_for(1000)
        assert good.worst < 0.5

    framing
        The server's [``Lines()``].
    answer
        What the right answer to a message is [the message reversed].
    message
        The n-th message, from 0 [a line of text with n in it].
    each
        Requests in one connection, before it makes a new one [100].
    timeout
        Seconds to wait to connect, and for each answer [10].

    A wrong answer, a late one, or a lost connection is an error; it connects anew and goes
    on. At the end of the block AssertionError is raised if there was an error, or no right
    answer at all.

    count, error_count, errors, worst
        How many right answers there were, how many errors, the first 20 of them in
        words, and the longest time to an answer, in seconds. Its thread sets them.
    """

    def __init__(
        self,
        address: str | Address,
        framing: Framing | None = None,
        *,
        answer: Callable[[bytes], bytes] = _reversed,
        message: Callable[[int], bytes] = _numbered,
        each: int = 100,
        timeout: float = 10.0,
    ) -> None:
        check_whole("each", each, 1)
        self._address = parse_address(address)
        self._framing = framing
        self._answer = answer
        self._message = message
        self._each = each
        self._timeout = timeout
        self._changed = threading.Condition()  # held to set what follows
        self.count = 0
        self.error_count = 0
        self.errors: list[str] = []
        self.worst = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="threadwire-good-client", daemon=True
        )

    def wait_for(self, count: int = 1, *, timeout: float = 30.0) -> None:
        """Wait until it has got so many right answers more.

        Raises TimeLimitError, or AssertionError as soon as there is an error.
        """
        with self._changed:
            goal = self.count + count
            came = self._changed.wait_for(
                lambda: self.count >= goal or self.error_count or not self._thread.is_alive(),
                timeout,
            )
            if self.error_count:
                self._check()
            if not came or self.count < goal:
                got = f"only {count - goal + self.count}"
                raise TimeLimitError(f"{count} right answers, but {got}", timeout)

    def stop(self) -> None:
        """End it, when the answer under way has come; any number of times."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if error is None:
            self._check()
        elif self.error_count:
            error.add_note(self._summary())

    def __repr__(self) -> str:
        return f"<GoodClient of {self._address}: {self._summary()}>"

    def _check(self) -> None:
        assert not self.error_count, self._summary()
        assert self.count, "a good client has got no answer at all"

    def _summary(self) -> str:
        text = f"{self.count} right answers, the slowest {self.worst:.3f} s"
        if self.error_count:
            text += f"; {self.error_count} errors, of which the first: " + "; ".join(self.errors)
        return text

    # Its thread.

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            try:
                with connect(self._address, framing=self._framing, timeout=self._timeout) as client:
                    for _ in range(self._each):
                        if self._stopping.is_set():
                            return
                        self._ask(client, self._message(number))
                        number += 1
            except Exception as error:  # noqa: BLE001 - whatever it was, no answer came
                self._note(f"message {number}: {type(error).__name__}: {error}")
                number += 1

    def _ask(self, client: Client, message: bytes) -> None:
        begun = time.monotonic()
        answer = client.request(message)
        seconds = time.monotonic() - begun
        right = self._answer(message)
        if answer != right:
            raise AssertionError(f"{_shorten(answer)} came instead of {_shorten(right)}")
        with self._changed:
            self.count += 1
            self.worst = max(self.worst, seconds)
            self._changed.notify_all()

    def _note(self, text: str) -> None:
        with self._changed:
            self.error_count += 1
            if len(self.errors) < _REMEMBERED:
                self.errors.append(text)
            self._changed.notify_all()
        self._stopping.wait(_RECONNECT_PAUSE)


def _shorten(data: bytes) -> str:
    return repr(data) if len(data) <= 60 else f"{data[:60]!r}… ({len(data)} bytes)"
