"""The servers that are compared, and the commands that start them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVERS_DIR = HERE / "servers"
BUILD_DIR = HERE / "build"
SUBJECT = "threadwire"
YARDSTICK = "c-epoll"


@dataclass(frozen=True)
class Server:
    name: str
    command: Sequence[str]
    module: str | None = None
    mixed: bool = False
    # Its event loop runs the slow handlers, and notices a signal only after them.
    blocked: bool = False


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, str(SERVERS_DIR / script), *arguments, "--port", "0"]


def threadwire(handler: str, extra: Sequence[str]) -> list[str]:
    return [
        *(sys.executable, "-m", "threadwire", "serve"),
        *("--listen", "tcp://127.0.0.1:0", "--framing", "lines"),
        *extra,
        handler,
    ]


def all_servers(extra: Sequence[str]) -> list[Server]:
    return [
        Server(SUBJECT, threadwire("handlers:reverse", extra), "threadwire.__main__"),
        Server(YARDSTICK, [str(BUILD_DIR / "epoll_server"), "--port", "0"]),
        Server("uvloop-protocol", python("asyncio_protocol.py", "--loop", "uvloop"), "uvloop"),
        Server("uvloop-streams", python("asyncio_streams.py", "--loop", "uvloop"), "uvloop"),
        Server("asyncio-protocol", python("asyncio_protocol.py", "--loop", "asyncio")),
        Server("asyncio-streams", python("asyncio_streams.py", "--loop", "asyncio")),
        Server("gevent", python("gevent_server.py"), "gevent"),
        Server("twisted", python("twisted_server.py"), "twisted"),
        Server("socketserver", python("socketserver_threads.py")),
        Server("pinned-threads", python("pinned_threads.py")),
        Server(SUBJECT, threadwire("handlers:mixed", extra), "threadwire.__main__", mixed=True),
        Server("pinned-threads", python("pinned_threads.py", "--mixed"), mixed=True),
        *(
            Server(
                f"uvloop-{where}",
                python("uvloop_mixed.py", "--where", where),
                "uvloop",
                mixed=True,
                blocked=where == "inline",
            )
            for where in ("inline", "executor", "routed")
        ),
    ]
