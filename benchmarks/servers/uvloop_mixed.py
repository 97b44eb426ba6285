"""A uvloop Protocol whose handler is slow for some lines.

inline: the handler is called in the event loop.
executor: every read's lines go to a thread pool: any line may be slow.
routed: the server knows which lines are slow and sends only those to the pool.
"""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import uvloop
from common import BACKLOG, Lines, announce, arguments
from handlers import SLOW_PREFIXES, mixed_all


class Mixed(asyncio.Protocol):
    def __init__(self, where: str, pool: ThreadPoolExecutor) -> None:
        self.where = where
        self.pool = pool
        self.lines = Lines()
        self.waiting: list[bytes] = []
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.waiting += self.lines.feed(data)
        if not self.busy:
            self.answer_waiting()

    def answer_waiting(self) -> None:
        lines, self.waiting = self.waiting, []
        if not lines:
            return
        if self.where == "inline" or (
            self.where == "routed" and not any(line.startswith(SLOW_PREFIXES) for line in lines)
        ):
            self.transport.write(mixed_all(lines))
            return
        self.busy = True
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self.pool, mixed_all, lines).add_done_callback(self.answered)

    def answered(self, replies: asyncio.Future[bytes]) -> None:
        self.busy = False
        if not self.transport.is_closing():
            self.transport.write(replies.result())
            self.answer_waiting()

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


async def serve(port: int, where: str, pool: ThreadPoolExecutor) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(
        lambda: Mixed(where, pool), "127.0.0.1", port, backlog=BACKLOG
    )
    announce(server.sockets[0].getsockname()[1])
    await stop.wait()
    server.close()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--where", choices=["inline", "executor", "routed"], required=True)
    parser.add_argument("--workers", type=int, default=1024, help="threads of the pool at most")
    options = parser.parse_args()
    with (
        ThreadPoolExecutor(options.workers) as pool,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(serve(options.port, options.where, pool))


if __name__ == "__main__":
    main()
