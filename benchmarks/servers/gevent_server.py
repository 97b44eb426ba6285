"""A greenlet for each connection; on one core if so told."""

import contextlib
import os
import signal
import socket

import gevent
from common import BACKLOG, READ_SIZE, Lines, announce, arguments, reverse_all
from gevent.server import StreamServer


def converse(connection: socket.socket, _address: object) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = Lines()
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(READ_SIZE):
            if found := lines.feed(data):
                connection.sendall(reverse_all(found))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pin", action="store_true", help="run on one core")
    options = parser.parse_args()
    if options.pin:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    server = StreamServer(("127.0.0.1", options.port), converse, backlog=BACKLOG)
    server.start()
    gevent.signal_handler(signal.SIGTERM, server.stop)
    announce(server.socket.getsockname()[1])
    server.serve_forever()


if __name__ == "__main__":
    main()
