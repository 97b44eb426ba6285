"""Which of the requests that were sent at once are answered."""

from __future__ import annotations

from threadwire.bench.requests import Burst, Request

REPLIES = [b"one\n", b"three\n", b"\n", b"five\n"]
ALL = b"".join(REPLIES)


def burst() -> Burst:
    return Burst([Request(b"?", reply, b"") for reply in REPLIES])


def test_all_at_once() -> None:
    asked = burst()
    assert asked.take(b"--" + ALL + b"more", 2) == len(ALL)
    assert (asked.answered, asked.begun) == (4, 0)


def test_byte_by_byte() -> None:
    asked = burst()
    seen = []
    for at in range(len(ALL)):
        assert asked.take(ALL[: at + 1], at) == 1
        seen.append((asked.answered, asked.begun))
    assert seen == [
        *((0, 1), (0, 2), (0, 3), (1, 0)),
        *((1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 0)),
        (3, 0),
        *((3, 1), (3, 2), (3, 3), (3, 4), (4, 0)),
    ]


def test_what_differs_changes_nothing() -> None:
    asked = burst()
    asked.take(ALL[:6], 0)
    assert asked.take(b"reX", 0) == 0
    assert asked.take(ALL, 0) == 0
    assert (asked.answered, asked.begun) == (1, 2)
    assert asked.take(ALL, 6) == len(ALL) - 6
    assert asked.answered == 4
