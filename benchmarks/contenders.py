"""The servers that are compared, and the commands that start them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

HERE = Path(__file__).resolve().parent
SERVERS_DIR = HERE / "servers"
BUILD_DIR = HERE / "build"
SUBJECT = "threadwire"
PURE = "threadwire-pure"
NO_PIN = "threadwire-no-pin"
YARDSTICK = "c-epoll"
BEFORE = "threadwire-before"

# What a row is about, and a server is for: reversing handlers, handlers that are slow for some,
# sessions, and threadwire's reversing handler alone.
Kind = Literal["plain", "mixed", "sessions", "alone"]


@dataclass(frozen=True)
class Server:
    name: str
    command: Sequence[str]
    kinds: Sequence[Kind] = ("plain",)
    # Those that the servers' interpreter must find.
    modules: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    # Its event loop runs the slow handlers, and notices a signal only after them.
    blocked: bool = False
    is_threadwire: bool = False


@dataclass(frozen=True)
class Contenders:
    """Makes the servers: of which interpreter, and how threadwire is run."""

    python: str
    threadwire_arguments: Sequence[str]
    threadwire_environment: Mapping[str, str]
    before: str | None = None  # a checkout of an older threadwire, built in place

    def threadwire(
        self,
        name: str,
        handler: str,
        kinds: Sequence[Kind],
        *arguments: str,
        pure: bool = False,
        source: str | None = None,
    ) -> Server:
        command = [
            *(self.python, "-m", "threadwire", "serve"),
            *("--listen", "tcp://127.0.0.1:0", "--framing", "lines"),
            *self.threadwire_arguments,
            *arguments,
            handler,
        ]
        environment = {
            **self.threadwire_environment,
            **({"THREADWIRE_PURE": "1"} if pure else {}),
            **({"PYTHONPATH": source} if source else {}),
        }
        modules = ("threadwire.__main__", "click")
        return Server(name, command, kinds, modules, environment, is_threadwire=True)

    def rival(
        self,
        name: str,
        command: str,
        kinds: Sequence[Kind] = ("plain",),
        module: str | None = None,
        blocked: bool = False,
    ) -> Server:
        script, *arguments = command.split()
        return Server(
            name,
            [self.python, str(SERVERS_DIR / script), *arguments, "--port", "0"],
            kinds,
            [module] if module else [],
            blocked=blocked,
        )

    def older(self) -> list[Server]:
        """The threadwire of another checkout, on the same work."""
        if self.before is None:
            return []
        source = str(Path(self.before).resolve() / "src")
        handlers: list[tuple[str, Sequence[Kind]]] = [
            ("handlers:reverse", ("plain", "alone")),
            ("sessions:reverse_session", ("sessions",)),
            ("handlers:mixed", ("mixed",)),
        ]
        return [self.threadwire(BEFORE, *handler, source=source) for handler in handlers]

    def all(self) -> list[Server]:
        rival, threadwire = self.rival, self.threadwire
        both: Sequence[Kind] = ("plain", "sessions")
        return [
            threadwire(SUBJECT, "handlers:reverse", ("plain", "alone")),
            *self.older(),
            threadwire(PURE, "handlers:reverse", ("plain",), pure=True),
            Server(YARDSTICK, [str(BUILD_DIR / "epoll_server"), "--port", "0"]),
            rival("uvloop-protocol", "asyncio_protocol.py --loop uvloop", module="uvloop"),
            rival("uvloop-streams", "asyncio_streams.py --loop uvloop", module="uvloop"),
            rival("asyncio-protocol", "asyncio_protocol.py --loop asyncio"),
            rival("asyncio-streams", "asyncio_streams.py --loop asyncio", both),
            rival("gevent", "gevent_server.py", both, "gevent"),
            rival("gevent-pinned", "gevent_server.py --pin", ("sessions",), "gevent"),
            rival("twisted", "twisted_server.py", module="twisted"),
            rival("socketserver", "socketserver_threads.py"),
            rival("pinned-threads", "pinned_threads.py"),
            threadwire(SUBJECT, "sessions:reverse_session", ("sessions",)),
            threadwire(NO_PIN, "sessions:reverse_session", ("sessions",), "--no-pin"),
            threadwire(SUBJECT, "handlers:mixed", ("mixed",)),
            rival("pinned-threads", "pinned_threads.py --mixed", ("mixed",)),
            *(
                rival(
                    f"uvloop-{where}",
                    f"uvloop_mixed.py --where {where}",
                    ("mixed",),
                    "uvloop",
                    blocked=where == "inline",
                )
                for where in ("inline", "executor", "routed")
            ),
        ]
