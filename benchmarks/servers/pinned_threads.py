"""A thread for each connection, all on one core.

The threads take turns at the interpreter lock in any case; on one core the turns are cheaper.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

from common import BACKLOG, READ_SIZE, Lines, announce, arguments, reverse_all
from handlers import mixed_all


def converse(connection: socket.socket, answer: Callable[[list[bytes]], bytes]) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = Lines()
    with connection, contextlib.suppress(ConnectionError):
        while data := connection.recv(READ_SIZE):
            if found := lines.feed(data):
                connection.sendall(answer(found))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--mixed", action="store_true", help="be slow for some lines")
    options = parser.parse_args()
    answer = mixed_all if options.mixed else reverse_all
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    listener = socket.create_server(("127.0.0.1", options.port), backlog=BACKLOG)
    announce(listener.getsockname()[1])
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=converse, args=(connection, answer), daemon=True).start()


if __name__ == "__main__":
    main()
