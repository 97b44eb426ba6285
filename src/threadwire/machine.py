"""What the machine and this installation give a server, and what to change for more.

:func:`look` gathers, into an immutable :class:`Machine`; :func:`report` judges, from those
values alone. What cannot be found out is ``None`` and reported as unknown, never an error.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import resource
import sys
from collections.abc import Iterator
from typing import NamedTuple

from ._version import __version__
from .engine.placement import has_lock, loop_count
from .limits import (
    BACKLOG,
    MAX_CLIENTS,
    MAX_MESSAGE,
    MAX_THREADS,
    SWITCH_INTERVAL,
    clients_for,
)
from .transport.poller import TWIN
from .units import format_duration, format_size

__all__ = ["Advice", "Change", "Fact", "Machine", "look", "report"]

# What a server has beside its clients', generously.
_OTHER_THREADS = 24

# What is recommended: enough for handlers' own files and threads, too, and for other programs.
_DESCRIPTORS = 65_536
_THREADS = 4096
_KERNEL_THREADS = 32_768
_SOMAXCONN = 4096  # what Linux has by default since 5.4
_WATCHES = 1_000_000


class Machine(NamedTuple):
    """What was found. ``None`` is unknown; a resource without a limit is ``math.inf``."""

    version: str
    python: str
    linux: bool
    twin: str  # "c" or "python"
    pure: bool  # THREADWIRE_PURE chose the one in Python
    twin_error: str  # what importing the one in C says
    has_lock: bool
    free_threaded: bool  # built so that it can do without the lock
    lock_demanded: bool  # by PYTHON_GIL or -X gil
    cores: int | None
    usable_cores: int
    loops: int
    can_pin: bool
    switch_interval: float
    descriptors: float
    most_descriptors: float  # to which the limit may be raised
    max_clients: int
    somaxconn: int | None
    syn_backlog: int | None
    syn_cookies: int | None
    thread_limits: tuple[tuple[str, int], ...]  # by the name of each
    memory: int | None
    memory_limit: int | None  # of the cgroup
    watches: int | None


class Change(NamedTuple):
    """A command or a setting, and where it belongs."""

    what: str
    where: str = ""

    def __str__(self) -> str:
        return f"`{self.what}` {self.where}".rstrip()


class Advice(NamedTuple):
    """Why something should be changed, and what: one of ``changes``."""

    why: str
    changes: tuple[Change, ...]

    def __str__(self) -> str:
        return f"{self.why}: {', or '.join(map(str, self.changes))}"


class Fact(NamedTuple):
    """A line of the report."""

    name: str
    value: str
    advice: Advice | None = None


# Gathering.


def look(root: str = "/") -> Machine:
    """Gather what there is to know; ``root`` is where the system's own files are."""
    pure = os.environ.get("THREADWIRE_PURE", "") not in ("", "0")
    system = _Files(root)
    soft, hard = (_amount(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    return Machine(
        version=__version__,
        python=_python(),
        linux=sys.platform == "linux",
        twin=TWIN,
        pure=pure,
        # Whoever has chosen the other one may have a reason not to load this one at all.
        twin_error="" if pure else _twin_error(),
        has_lock=has_lock(),
        free_threaded="t" in sys.abiflags,
        lock_demanded=getattr(sys.flags, "gil", None) == 1,
        cores=os.cpu_count(),
        usable_cores=_usable_cores(),
        loops=loop_count(),
        can_pin=hasattr(os, "sched_setaffinity"),
        switch_interval=sys.getswitchinterval(),
        descriptors=soft,
        most_descriptors=hard,
        max_clients=int(min(MAX_CLIENTS.whole, clients_for(hard))),
        somaxconn=system.number("proc/sys/net/core/somaxconn"),
        syn_backlog=system.number("proc/sys/net/ipv4/tcp_max_syn_backlog"),
        syn_cookies=system.number("proc/sys/net/ipv4/tcp_syncookies"),
        thread_limits=tuple(_thread_limits(system)),
        memory=_memory(),
        memory_limit=system.of_cgroup("memory", "memory.max", "memory.limit_in_bytes"),
        watches=system.number("proc/sys/fs/epoll/max_user_watches"),
    )


class _Files:
    """The files in which Linux tells about itself."""

    def __init__(self, root: str) -> None:
        self._root = root

    def text(self, path: str) -> str:
        try:
            with open(os.path.join(self._root, path), encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def number(self, path: str) -> int | None:
        with contextlib.suppress(ValueError):  # not there, or "max"
            return int(self.text(path))
        return None

    def of_cgroup(self, controller: str, name: str, old_name: str) -> int | None:
        """The tightest limit of the cgroups that the process is in; ``old_name`` is version 1's."""
        found = []
        for line in self.text("proc/self/cgroup").splitlines():
            _, controllers, path = [*line.split(":", 2), "", ""][:3]
            if not controllers:
                tops, file = ["sys/fs/cgroup", "sys/fs/cgroup/unified"], name
            elif controller in controllers.split(","):
                tops, file = [f"sys/fs/cgroup/{controller}"], old_name
            else:
                continue
            # Those above bind as well. In a container the path may be the host's, of which
            # only the top is to be seen.
            parts = [part for part in path.split("/") if part]
            above = [] if ".." in parts else [parts[:n] for n in range(1, len(parts) + 1)]
            for top in tops:
                for directory in ([], *above):
                    found.append(self.number("/".join([top, *directory, file])))
        return min((limit for limit in found if limit is not None), default=None)


def _amount(limit: int) -> float:
    return math.inf if limit == resource.RLIM_INFINITY else limit


def _python() -> str:
    name = sys.implementation.name
    name = {"cpython": "CPython", "pypy": "PyPy"}.get(name, name)
    return f"{name} {sys.version.split()[0]}"


def _twin_error() -> str:
    try:
        importlib.import_module("threadwire.transport._speedups")
    except ImportError as error:
        return str(error)
    return ""


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _thread_limits(system: _Files) -> Iterator[tuple[str, int]]:
    if hasattr(resource, "RLIMIT_NPROC"):
        soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        if soft != resource.RLIM_INFINITY:
            yield "ulimit -u", soft
    for name in ("threads-max", "pid_max"):
        if (limit := system.number(f"proc/sys/kernel/{name}")) is not None:
            yield f"kernel.{name}", limit
    if (limit := system.of_cgroup("pids", "pids.max", "pids.max")) is not None:
        yield "cgroup pids.max", limit


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


# Judging.

_BY_ROOT = "as root"
_IN_SHELL = "in the shell that starts the server"
_IN_UNIT = "in its systemd unit"


def report(machine: Machine) -> tuple[Fact, ...]:
    """The facts, in the order in which to show them. What costs a default server has advice."""
    return (
        Fact("threadwire", machine.version),
        Fact("python", machine.python),
        _poller(machine),
        _lock(machine),
        _cores(machine),
        _switch_interval(machine),
        _descriptors(machine),
        _backlog(machine),
        _handshakes(machine),
        _threads(machine),
        _memory_fact(machine),
        _watches(machine),
    )


def _poller(machine: Machine) -> Fact:
    name = "poller"
    if machine.twin == "c":
        return Fact(name, "in C, the fast one")
    value = "in Python, the slower one"
    if not machine.linux:
        return Fact(name, f"{value}; the one in C is for Linux alone")
    slower = "The poller in C serves more messages a second"
    if machine.pure:
        unset = Change("unset THREADWIRE_PURE", _IN_SHELL)
        return Fact(name, f"{value}: THREADWIRE_PURE is set", Advice(slower, (unset,)))
    return Fact(
        name,
        f"{value}: importing the one in C failed ({machine.twin_error})",
        Advice(
            f"{slower}. Reinstall where there is a C compiler",
            (
                # Without --no-cache-dir pip would take what it built without a compiler.
                Change(
                    "pip install --force-reinstall --no-cache-dir --no-binary=threadwire threadwire"
                ),
                Change("pip install .", "in a checkout"),
            ),
        ),
    )


def _lock(machine: Machine) -> Fact:
    name = "interpreter lock"
    if not machine.has_lock:
        return Fact(name, "off: threads run Python on all cores at once")
    if not machine.free_threaded:
        return Fact(name, "on: one thread at a time runs Python")
    if machine.lock_demanded:
        value = "on, demanded by PYTHON_GIL or -X gil"
        change = Change("unset PYTHON_GIL", f"{_IN_SHELL}; no -X gil=1")
    else:
        value = "on, turned on by an extension module that needs it"
        change = Change("PYTHON_GIL=0", "in its environment, if the module can do without it")
    why = "This Python can do without its lock, and serve on all cores"
    return Fact(name, value, Advice(why, (change,)))


def _cores(machine: Machine) -> Fact:
    usable = f"{machine.usable_cores:,}"
    if machine.cores is not None and machine.cores != machine.usable_cores:
        usable += f" of {machine.cores:,}"
    loops = "1 loop" if machine.loops == 1 else f"{machine.loops:,} loops"
    pins = machine.has_lock and machine.can_pin and machine.usable_cores > 1
    placed = "pins its threads to one core" if pins else "leaves its threads unpinned"
    return Fact("cores", f"{usable} usable; {loops}; serve {placed}")


def _switch_interval(machine: Machine) -> Fact:
    usual, ours = map(format_duration, (machine.switch_interval, SWITCH_INTERVAL.default))
    return Fact("switch interval", f"{usual}; serve sets {ours}")


def _descriptors(machine: Machine) -> Fact:
    value = _count(machine.descriptors)
    if machine.most_descriptors > machine.descriptors:
        value += f"; serve raises them as far as it needs, up to {_count(machine.most_descriptors)}"
    if machine.max_clients >= MAX_CLIENTS.whole:
        return Fact("descriptors", value)
    where = "in /etc/security/limits.conf; log in again"
    changes = (
        Change(f"* - nofile {_DESCRIPTORS}", where),
        Change(f"LimitNOFILE={_DESCRIPTORS}", _IN_UNIT),
    )
    why = f"Only {machine.max_clients:,} of {MAX_CLIENTS.whole:,} clients are served at once"
    return Fact("descriptors", value, Advice(f"{why}, the others wait", changes))


def _backlog(machine: Machine) -> Fact:
    cap = "unknown" if machine.somaxconn is None else f"{machine.somaxconn:,}"
    value = f"{BACKLOG.whole:,} connections; the system's cap is {cap}"
    if machine.somaxconn is None or machine.somaxconn >= BACKLOG.whole:
        return Fact("backlog", value)
    why = "In a burst of connections the system drops what is over its cap"
    change = Change(f"sysctl -w net.core.somaxconn={_SOMAXCONN}", _BY_ROOT)
    return Fact("backlog", value, Advice(why, (change,)))


def _handshakes(machine: Machine) -> Fact:
    name, room = "handshakes", machine.syn_backlog
    if machine.syn_cookies is None:
        return Fact(name, "unknown")
    if machine.syn_cookies:
        return Fact(name, "SYN cookies on, so a burst of connections gets through")
    value = f"SYN cookies off, room for {'unknown' if room is None else f'{room:,}'}"
    # The system keeps the last quarter for peers that it knows.
    if room is None or room * 3 // 4 >= BACKLOG.whole:
        return Fact(name, value)
    why = "In a burst of connections the system drops what it has no room for"
    change = Change("sysctl -w net.ipv4.tcp_syncookies=1", _BY_ROOT)
    return Fact(name, value, Advice(why, (change,)))


def _threads(machine: Machine) -> Fact:
    wanted = f"slow handlers take {MAX_THREADS.whole:,}"
    if not machine.thread_limits:
        return Fact("threads", f"limit unknown; {wanted}")
    tightest, most = min(machine.thread_limits, key=lambda named: named[1])
    value = f"up to {most:,} ({tightest}); {wanted}"
    if most >= MAX_THREADS.whole + _OTHER_THREADS:
        return Fact("threads", value)
    why = "Clients of slow handlers wait for threads that are not to be had"
    return Fact("threads", value, Advice(why, _more_threads(tightest)))


def _more_threads(limit: str) -> tuple[Change, ...]:
    if limit == "ulimit -u":
        return (
            Change(f"ulimit -u {_THREADS}", _IN_SHELL),
            Change(f"LimitNPROC={_THREADS}", _IN_UNIT),
        )
    if limit == "cgroup pids.max":
        return (
            Change(f"TasksMax={_THREADS}", _IN_UNIT),
            Change(f"docker run --pids-limit {_THREADS}", "for a container"),
        )
    return (Change(f"sysctl -w {limit}={_KERNEL_THREADS}", _BY_ROOT),)


def _memory_fact(machine: Machine) -> Fact:
    amounts = {"the cgroup's limit": machine.memory_limit, "the machine's": machine.memory}
    known = {whose: size for whose, size in amounts.items() if size is not None}
    if not known:
        return Fact("memory", "unknown")
    # Version 1 says "no limit" with a number larger than any memory.
    whose = min(known, key=lambda name: known[name])
    value = f"{format_size(known[whose])}, {whose}"
    if known[whose] < machine.max_clients * MAX_MESSAGE.whole:
        value += (
            f"; {machine.max_clients:,} clients with messages of {format_size(MAX_MESSAGE.whole)} "
            "could fill it: --max-clients and --max-message bound that"
        )
    return Fact("memory", value)


def _watches(machine: Machine) -> Fact:
    name, watches = "epoll watches", machine.watches
    if watches is None:
        return Fact(name, "unknown")
    value = f"{watches:,}; {machine.max_clients:,} clients take one each"
    if watches > machine.max_clients:
        return Fact(name, value)
    why = "Clients beyond the number of watches cannot be served"
    change = Change(f"sysctl -w fs.epoll.max_user_watches={_WATCHES}", _BY_ROOT)
    return Fact(name, value, Advice(why, (change,)))


def _count(amount: float) -> str:
    return "unlimited" if amount == math.inf else f"{amount:,.0f}"
