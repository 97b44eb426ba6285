"""Room for the clients: raising the limit of descriptors, and what is told of it."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from threadwire.address import parse_address
from threadwire.admin.admin import MAX_CONNECTIONS, MAX_TLS_CONNECTIONS
from threadwire.cli.capacity import Capacity, capacity, make_room
from threadwire.limits import DESCRIPTOR_RESERVE

from ..support import Peer, Served, eventually, served

Allow = Callable[[int], None]


@pytest.fixture
def allow() -> Iterator[Allow]:
    """Set the soft limit of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 5000:
        pytest.skip(f"no more than {hard} descriptors are allowed here")
    yield lambda count: resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (400, Capacity(400, 400, 1024)),
        (1024 - DESCRIPTOR_RESERVE, Capacity(960, 960, 1024)),
        (961, Capacity(961, 961, 1025)),
        (4000, Capacity(4000, 4000, 4064)),
    ],
)
def test_the_limit_is_raised_as_far_as_needed(wanted: int, found: Capacity, allow: Allow) -> None:
    allow(1024)
    assert capacity(wanted) == found
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1024, "only looked at"
    assert make_room(wanted) == found
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == found.descriptors


def test_a_limit_that_is_high_enough_stays(allow: Allow) -> None:
    allow(3000)
    assert make_room(10) == capacity(10) == Capacity(10, 10, 3000)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 3000


@pytest.mark.parametrize(
    ("address", "most"),
    [
        ("tcp://127.0.0.1:9180", MAX_CONNECTIONS),
        ("tls://127.0.0.1:9180", MAX_TLS_CONNECTIONS),
    ],
)
def test_the_admin_endpoint_has_descriptors_of_its_own(
    address: str, most: int, allow: Allow
) -> None:
    allow(1024)
    admin = parse_address(address)
    without = capacity(4000).descriptors
    assert capacity(4000, admin=admin).descriptors == without + most + 16
    assert make_room(4000, admin=admin).descriptors == without + most + 16


def test_no_more_than_the_hard_limit(allow: Allow) -> None:
    allow(1024)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        pytest.skip("there is no hard limit here")
    room = Capacity(2 * hard, hard - DESCRIPTOR_RESERVE, hard)
    assert make_room(2 * hard) == capacity(2 * hard) == room


def limited(limit: str) -> list[str]:
    """What stands before a command that is to run with this limit."""
    return ["bash", "-c", f'ulimit {limit}; exec "$0" "$@"']


def first_event(server: Served) -> list[str]:
    """Level, name and fields of the first line of the log."""
    eventually(lambda: server.log)
    return server.log[0].split()[2:]


def test_serve_raises_the_soft_limit_and_says_so() -> None:
    with served(prefix=limited("-Sn 256")) as server:
        expected = ["INFO", "capacity", "max_clients=10000", "descriptors=10064"]
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard != resource.RLIM_INFINITY and hard < 10_064:
            expected = ["INFO", "capacity", f"max_clients={hard - 64}", f"descriptors={hard}"]
        assert first_event(server) == expected
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        assert expected[3].partition("=")[2] in limits


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), ["INFO", "capacity", "max_clients=75", "descriptors=100"]),
        (("--max-clients", "75"), ["INFO", "capacity", "max_clients=75", "descriptors=100"]),
        (
            ("--max-clients", "76"),
            ["WARNING", "capacity-short", "max_clients=75", "descriptors=100", "wanted=76"],
        ),
    ],
)
def test_who_asks_for_what_cannot_be_had_is_warned(
    arguments: tuple[str, ...], told: list[str]
) -> None:
    with served(*arguments, prefix=limited("-n 100")) as server:
        assert first_event(server) == told


def test_no_more_clients_are_served_than_there_is_room_for() -> None:
    with (
        served("--max-clients", "70", prefix=limited("-n 80")) as server,
        contextlib.ExitStack() as open_peers,
    ):
        peers = [open_peers.enter_context(Peer(server.address)) for _ in range(61)]
        for peer in peers[:60]:
            peer.say(b"ab\n")
            assert peer.hear_line() == b"ba\n"
        paused = 'accept-paused reason="max_clients=60"'
        eventually(lambda: any(paused in line for line in server.log))
        peers[0].close()
        peers[60].say(b"ab\n")
        assert peers[60].hear_line() == b"ba\n"
