"""The handlers: one that only reverses its message, one that is slow for some."""

import time

SLOW_SECONDS = 0.1
SLOW_PREFIXES = (b"sleep ", b"burn ")


def reverse(message: bytes) -> bytes:
    return message[::-1]


def mixed(message: bytes) -> bytes:
    if message.startswith(b"sleep "):
        time.sleep(SLOW_SECONDS)
    elif message.startswith(b"burn "):
        until = time.thread_time() + SLOW_SECONDS
        while time.thread_time() < until:
            sum(range(500))
    return message[::-1]


def mixed_all(lines: list[bytes]) -> bytes:
    return b"".join([mixed(line) + b"\n" for line in lines])
