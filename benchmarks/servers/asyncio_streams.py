"""Streams on the event loop of asyncio or uvloop."""

import asyncio
import contextlib
import signal

from common import BACKLOG, READ_SIZE, Lines, announce, arguments, reverse_all
from loops import loop_factory


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    lines = Lines()
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(READ_SIZE):
            if found := lines.feed(data):
                writer.write(reverse_all(found))
                await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(converse, "127.0.0.1", port, backlog=BACKLOG)
    announce(server.sockets[0].getsockname()[1])
    await stop.wait()
    server.close()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], required=True)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
        runner.run(serve(options.port))


if __name__ == "__main__":
    main()
