"""socketserver.ThreadingTCPServer, as the standard library has it."""

import contextlib
import signal
import socketserver
import sys

from common import BACKLOG, READ_SIZE, Lines, announce, arguments, reverse_all


class Reverse(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        lines = Lines()
        with contextlib.suppress(ConnectionError):
            while data := self.connection.recv(READ_SIZE):
                if found := lines.feed(data):
                    self.connection.sendall(reverse_all(found))


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG


def main() -> None:
    options = arguments(__doc__).parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Server(("127.0.0.1", options.port), Reverse) as server:
        announce(server.socket.getsockname()[1])
        server.serve_forever()


if __name__ == "__main__":
    main()
