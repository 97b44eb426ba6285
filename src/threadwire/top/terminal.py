"""The end of the terminal, where the system does not tell of it by a signal.

SIGHUP goes to the processes whose controlling terminal is gone. Others, as one that was started
by a program with a pseudo-terminal for its streams, only read its end from then on, which
textual takes for a pipe with nothing in it yet, and reads again at once, for ever.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterable

__all__ = ["end_with_terminal"]

_LOST = 128 + signal.SIGHUP
_LOOK_AGAIN = 1000  # milliseconds: a poll does not notice that a descriptor is closed meanwhile


def end_with_terminal(descriptors: Iterable[int]) -> None:
    """From now on, end the process as soon as one of them has no terminal any more; code 129.

    At once, as SIGHUP would: there is nothing to be put in order, and whoever waits to write
    there would be waited for.
    """
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, 0)  # POLLHUP, POLLERR and POLLNVAL are told of in any case

    def wait() -> None:
        while not poll.poll(_LOOK_AGAIN):
            pass
        os._exit(_LOST)

    threading.Thread(target=wait, name="threadwire-terminal", daemon=True).start()
