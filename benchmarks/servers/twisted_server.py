"""A Twisted Protocol on the default reactor, which uses epoll."""

from typing import Any

from common import BACKLOG, Lines, announce, arguments, reverse_all
from twisted.internet import reactor as default_reactor
from twisted.internet.protocol import Factory, Protocol


class Reverse(Protocol):  # type: ignore[misc, unused-ignore]
    transport: Any

    def connectionMade(self) -> None:
        self.lines = Lines()
        self.transport.setTcpNoDelay(True)
        # Reading stops while the peer does not take its replies.
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        if found := self.lines.feed(data):
            self.transport.write(reverse_all(found))


def main() -> None:
    options = arguments(__doc__).parse_args()
    reactor: Any = default_reactor
    factory = Factory.forProtocol(Reverse)
    port = reactor.listenTCP(options.port, factory, backlog=BACKLOG, interface="127.0.0.1")
    announce(port.getHost().port)
    reactor.run()


if __name__ == "__main__":
    main()
