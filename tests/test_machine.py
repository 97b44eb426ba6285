"""What is found out about a machine, and what is advised for which."""

from __future__ import annotations

import math
import os
import resource
import sys
from pathlib import Path
from typing import Any

import pytest

import threadwire
from threadwire import limits
from threadwire.engine import loop_count
from threadwire.limits import BACKLOG, MAX_THREADS
from threadwire.machine import Change, Fact, Machine, look, report
from threadwire.transport import poller

# One that leaves nothing to wish for.
GOOD = Machine(
    version="0.1.0",
    python="CPython 3.13.0",
    linux=True,
    twin="c",
    pure=False,
    twin_error="",
    has_lock=True,
    free_threaded=False,
    lock_demanded=False,
    cores=4,
    usable_cores=4,
    loops=1,
    can_pin=True,
    switch_interval=0.005,
    descriptors=65_536,
    most_descriptors=524_288,
    max_clients=10_000,
    somaxconn=4096,
    syn_backlog=2048,
    syn_cookies=1,
    thread_limits=(("ulimit -u", 95_000), ("kernel.pid_max", 32_768)),
    memory=16 << 30,
    memory_limit=None,
    watches=5_000_000,
)

UNKNOWN = GOOD._replace(
    cores=None,
    can_pin=False,
    somaxconn=None,
    syn_backlog=None,
    syn_cookies=None,
    thread_limits=(),
    memory=None,
    watches=None,
)


def fact(name: str, machine: Machine) -> Fact:
    (found,) = [fact for fact in report(machine) if fact.name == name]
    return found


def changes(name: str, **found: Any) -> list[str]:
    """What is advised where ``found`` differs from the good machine; about ``name`` alone."""
    facts = report(GOOD._replace(**found))
    assert {fact.name for fact in facts if fact.advice is not None} == {name}
    (advice,) = [fact.advice for fact in facts if fact.advice is not None]
    assert advice.why
    return [change.what for change in advice.changes]


@pytest.mark.parametrize("machine", [GOOD, UNKNOWN])
def test_nothing_is_advised_where_nothing_is_wrong_or_known(machine: Machine) -> None:
    facts = report(machine)
    assert [fact.advice for fact in facts] == [None] * len(facts)
    names = [fact.name for fact in facts]
    assert len(set(names)) == len(names)


def test_what_is_unknown_is_said_to_be() -> None:
    unknown = [fact.name for fact in report(UNKNOWN) if "unknown" in fact.value]
    assert unknown == ["backlog", "handshakes", "threads", "memory", "epoll watches"]


# The installation.


def test_a_chosen_poller_in_python() -> None:
    assert changes("poller", twin="python", pure=True) == ["unset THREADWIRE_PURE"]


def test_a_missing_poller_in_c() -> None:
    error = "No module named 'threadwire.transport._speedups'"
    machine = GOOD._replace(twin="python", twin_error=error)
    assert error in fact("poller", machine).value
    command, in_checkout = changes("poller", twin="python", twin_error=error)
    assert command.startswith("pip install --force-reinstall ")
    assert in_checkout == "pip install ."


@pytest.mark.parametrize("pure", [False, True])
def test_the_poller_in_c_is_for_linux_alone(pure: bool) -> None:
    machine = GOOD._replace(twin="python", pure=pure, twin_error="no", linux=False)
    assert fact("poller", machine).advice is None


def test_a_lock_that_was_demanded() -> None:
    assert changes("interpreter lock", free_threaded=True, lock_demanded=True) == [
        "unset PYTHON_GIL"
    ]


def test_a_lock_that_an_extension_has_turned_on() -> None:
    assert changes("interpreter lock", free_threaded=True) == ["PYTHON_GIL=0"]


def test_no_lock_is_no_reason_for_advice() -> None:
    machine = GOOD._replace(free_threaded=True, has_lock=False, loops=4)
    assert fact("interpreter lock", machine).advice is None
    assert fact("cores", machine).value == "4 usable; 4 loops; serve leaves its threads unpinned"


@pytest.mark.parametrize(
    ("found", "value"),
    [
        ({}, "4 usable; 1 loop; serve pins its threads to one core"),
        ({"usable_cores": 2}, "2 of 4 usable; 1 loop; serve pins its threads to one core"),
        ({"usable_cores": 1}, "1 of 4 usable; 1 loop; serve leaves its threads unpinned"),
        ({"can_pin": False}, "4 usable; 1 loop; serve leaves its threads unpinned"),
        ({"cores": None}, "4 usable; 1 loop; serve pins its threads to one core"),
    ],
)
def test_cores(found: dict[str, Any], value: str) -> None:
    assert fact("cores", GOOD._replace(**found)).value == value


# The system's limits.


def test_descriptors_that_anybody_may_have_more_of() -> None:
    """The soft limit is raised by serve, so there is nothing to change."""
    found = fact("descriptors", GOOD._replace(descriptors=1024))
    assert found.value == "1,024; serve raises them as far as it needs, up to 524,288"
    assert found.advice is None


def test_descriptors_that_only_root_can_give() -> None:
    found = {"descriptors": 1024, "most_descriptors": 4096, "max_clients": 4032}
    assert changes("descriptors", **found) == ["* - nofile 65536", "LimitNOFILE=65536"]


def test_unlimited_descriptors() -> None:
    found = fact("descriptors", GOOD._replace(descriptors=math.inf, most_descriptors=math.inf))
    assert found.value == "unlimited"
    assert found.advice is None


def test_a_backlog_that_the_system_caps() -> None:
    assert changes("backlog", somaxconn=BACKLOG.whole - 1) == ["sysctl -w net.core.somaxconn=4096"]
    assert fact("backlog", GOOD._replace(somaxconn=BACKLOG.whole)).advice is None


def test_half_open_connections_without_cookies() -> None:
    assert changes("handshakes", syn_cookies=0, syn_backlog=1024) == [
        "sysctl -w net.ipv4.tcp_syncookies=1"
    ]
    for room in (2048, None):
        assert fact("handshakes", GOOD._replace(syn_cookies=0, syn_backlog=room)).advice is None


@pytest.mark.parametrize(
    ("limit", "commands"),
    [
        ("ulimit -u", ["ulimit -u 4096", "LimitNPROC=4096"]),
        ("kernel.threads-max", ["sysctl -w kernel.threads-max=32768"]),
        ("cgroup pids.max", ["TasksMax=4096", "docker run --pids-limit 4096"]),
    ],
)
def test_too_few_threads(limit: str, commands: list[str]) -> None:
    found = (("kernel.pid_max", 32_768), (limit, MAX_THREADS.whole))
    assert changes("threads", thread_limits=found) == commands
    value = fact("threads", GOOD._replace(thread_limits=found)).value
    assert value.startswith(f"up to 1,000 ({limit}); ")


def test_memory_is_what_the_cgroup_leaves_of_it() -> None:
    assert fact("memory", GOOD).value == "16 GiB, the machine's"
    for none in (1 << 62, None):
        assert fact("memory", GOOD._replace(memory_limit=none)).value == "16 GiB, the machine's"
    small = GOOD._replace(memory_limit=512 << 20)
    assert fact("memory", small).value.startswith("512 MiB, the cgroup's limit; 10,000 clients")
    assert fact("memory", small).advice is None


def test_too_few_watches() -> None:
    assert changes("epoll watches", watches=8000) == ["sysctl -w fs.epoll.max_user_watches=1000000"]


def test_advice_as_text() -> None:
    advice = fact("descriptors", GOOD._replace(most_descriptors=1024, max_clients=960)).advice
    assert str(advice) == (
        "Only 960 of 10,000 clients are served at once, the others wait: `* - nofile 65536` in "
        "/etc/security/limits.conf; log in again, or `LimitNOFILE=65536` in its systemd unit"
    )
    assert str(Change("pip install .")) == "`pip install .`"


# Looking.


def test_this_machine() -> None:
    machine = look()
    assert machine.version == threadwire.__version__
    assert machine.python.endswith(sys.version.split()[0])
    assert machine.twin == poller.TWIN
    assert machine.loops == loop_count()
    assert machine.max_clients >= limits.default_max_clients()
    assert machine.switch_interval == sys.getswitchinterval()
    assert (machine.memory or 0) > 1 << 20
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for known, limit in ((machine.descriptors, soft), (machine.most_descriptors, hard)):
        assert known == (math.inf if limit == resource.RLIM_INFINITY else limit)
    with open("/proc/sys/net/core/somaxconn", encoding="ascii") as file:
        assert machine.somaxconn == int(file.read())
    assert dict(machine.thread_limits)["kernel.pid_max"] > 0


def test_a_machine_is_a_value() -> None:
    machine = look()
    assert machine == look()
    assert hash(machine) == hash(look())
    with pytest.raises(AttributeError):
        machine.loops = 7  # type: ignore[misc]


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    machine = look(str(tmp_path))
    assert machine.somaxconn is machine.syn_backlog is machine.syn_cookies is None
    assert machine.watches is machine.memory_limit is None
    assert {name for name, _ in machine.thread_limits} <= {"ulimit -u"}
    assert report(machine)


@pytest.mark.parametrize("content", ["", "max\n", "no number\n", "7 8\n", b"\xff\xfe"])
def test_a_system_that_talks_nonsense(tmp_path: Path, content: str | bytes) -> None:
    for path in (
        "proc/sys/net/core/somaxconn",
        "proc/sys/kernel/threads-max",
        "proc/self/cgroup",
        "sys/fs/cgroup/memory.max",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / path).write_bytes(data)
    machine = look(str(tmp_path))
    assert machine.somaxconn is machine.memory_limit is None
    assert report(machine)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_system_that_forbids_to_look(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir(mode=0)
    assert look(str(tmp_path)).somaxconn is None


def system(root: Path, files: dict[str, str]) -> Machine:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{content}\n")
    return look(str(root))


def test_the_numbers_of_a_system(tmp_path: Path) -> None:
    files = {
        "proc/sys/net/core/somaxconn": "128",
        "proc/sys/net/ipv4/tcp_max_syn_backlog": "256",
        "proc/sys/net/ipv4/tcp_syncookies": "0",
        "proc/sys/kernel/threads-max": "100",
        "proc/sys/kernel/pid_max": "200",
        "proc/sys/fs/epoll/max_user_watches": "300",
    }
    machine = system(tmp_path, files)
    assert (machine.somaxconn, machine.syn_backlog, machine.syn_cookies) == (128, 256, 0)
    assert machine.watches == 300
    kernel = [named for named in machine.thread_limits if named[0] != "ulimit -u"]
    assert kernel == [("kernel.threads-max", 100), ("kernel.pid_max", 200)]


@pytest.mark.parametrize(
    "files",
    [
        # The process's own cgroup, one above it, and a container's top.
        {"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/X.max": "7"},
        {
            "proc/self/cgroup": "0::/a/b",
            "sys/fs/cgroup/X.max": "9",
            "sys/fs/cgroup/a/X.max": "7",
            "sys/fs/cgroup/a/b/X.max": "max",
        },
        {"proc/self/cgroup": "0::/", "sys/fs/cgroup/X.max": "7"},
        {"proc/self/cgroup": "0::/../x", "sys/fs/cgroup/X.max": "7", "sys/fs/x/X.max": "3"},
        # Version 1, alone and beside version 2.
        {
            "proc/self/cgroup": "5:cpu:/c\n4:memory:/a\n3:pids:/a",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "7",
            "sys/fs/cgroup/pids/a/pids.max": "7",
        },
        {
            "proc/self/cgroup": "4:memory,pids:/of/the/host\n0::/",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "7",
            "sys/fs/cgroup/pids/pids.max": "7",
        },
        {"proc/self/cgroup": "1:cpu:/\n0::/a", "sys/fs/cgroup/unified/a/X.max": "7"},
    ],
)
def test_the_limits_of_cgroups(tmp_path: Path, files: dict[str, str]) -> None:
    both = {
        path.replace("X", name): content
        for path, content in files.items()
        for name in ("memory", "pids")
    }
    machine = system(tmp_path, both)
    assert machine.memory_limit == 7
    assert dict(machine.thread_limits)["cgroup pids.max"] == 7
