"""A Protocol on the event loop of asyncio or uvloop.

asyncio's loop allocates 256 KiB for each read of an ordinary Protocol, which costs more than the
rest of the work; it gets a BufferedProtocol. uvloop's loop is quicker with the ordinary one.
"""

import asyncio
import signal
from collections.abc import Callable
from typing import cast

from common import BACKLOG, READ_SIZE, announce, arguments
from loops import loop_factory


class Reverse(asyncio.Protocol):
    __slots__ = ("pieces", "transport")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.pieces: list[bytes] = []

    # Lines.feed and reverse_all, without the two calls.
    def data_received(self, data: bytes) -> None:
        if b"\n" not in data:
            self.pieces.append(data)
            return
        if self.pieces:
            self.pieces.append(data)
            data = b"".join(self.pieces)
            self.pieces.clear()
        lines = data.split(b"\n")
        if rest := lines.pop():
            self.pieces.append(rest)
        self.transport.write(b"".join([line[::-1] + b"\n" for line in lines]))

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


# One for all connections: what is read is taken out at once.
BUFFER = memoryview(bytearray(READ_SIZE))


class BufferedReverse(asyncio.BufferedProtocol):
    __slots__ = ("reverse",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.reverse = Reverse()
        self.reverse.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self.reverse.data_received(bytes(BUFFER[:nbytes]))

    def pause_writing(self) -> None:
        self.reverse.pause_writing()

    def resume_writing(self) -> None:
        self.reverse.resume_writing()


async def serve(port: int, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(protocol, "127.0.0.1", port, backlog=BACKLOG)
    announce(server.sockets[0].getsockname()[1])
    await stop.wait()
    server.close()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], required=True)
    options = parser.parse_args()
    protocol = Reverse if options.loop == "uvloop" else BufferedReverse
    with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
        runner.run(serve(options.port, protocol))


if __name__ == "__main__":
    main()
