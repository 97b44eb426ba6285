"""Handlers that write to the log, for the tests of the command's."""

from __future__ import annotations

import logging
import threading
import time

import threadwire
from threadwire import Connection

log = logging.getLogger("app")


def quick(message: bytes) -> bytes:
    """``warn N`` warns so many times; ``fail`` raises; ``sleep S`` sleeps; all else is said."""
    word, _, rest = message.partition(b" ")
    if word == b"warn":
        for n in range(int(rest)):
            log.warning("no %s, for the %d. time", "luck", n)
        return b"warned"
    if word == b"fail":
        raise ValueError(f"as asked: {rest.decode()}")
    if word == b"sleep":
        log.info("before the sleep")
        time.sleep(float(rest))  # the line where it stands
        log.info("after the sleep")
        return b"slept"
    log.info("heard %s", message.decode())
    return message


@threadwire.session
def session(connection: Connection) -> None:
    log.info("begins")
    for message in connection:
        connection.send(quick(message))
    log.info("ends")


def elsewhere(message: bytes) -> bytes:
    """Has a thread of its own log, of which nobody knows for whom it is."""
    thread = threading.Thread(target=log.info, args=("heard %s", message.decode()))
    thread.start()
    thread.join()
    return message
