"""A handler that takes its time, by the message: a server whose latency is known."""

import time
import zlib

QUICK_SECONDS, SLOW_SECONDS = 0.002, 0.02
SLOW_SHARE = 5  # of a hundred messages


def paced(message: bytes) -> bytes:
    slow = zlib.crc32(message) % 100 < SLOW_SHARE
    time.sleep(SLOW_SECONDS if slow else QUICK_SECONDS)
    return message[::-1]
