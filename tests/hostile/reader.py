"""``python -m tests.hostile.reader PORT COUNT SIZE``: a client that is stopped as it reads.

It asks for COUNT replies of SIZE bytes, stops itself when the first has come, and when it is
continued looks whether all come, in their order. It prints what it has got.
"""

from __future__ import annotations

import os
import signal
import sys

import threadwire


def main(port: str, count: str, size: str) -> None:
    address = threadwire.Address("tcp", "127.0.0.1", int(port))
    got = 0
    with threadwire.connect(address, timeout=30) as client:
        client.send(b"*many %d %d" % (int(count), int(size)))
        try:
            while got < int(count):
                reply = client.receive()
                assert reply == b"%d " % got + b"x" * int(size), reply[:20]
                got += 1
                if got == 1:
                    os.kill(os.getpid(), signal.SIGSTOP)
        except threadwire.ConnectionClosed as error:
            print(f"closed after {got}: {error.reason}")
            return
    print(f"all {got}")


if __name__ == "__main__":
    main(*sys.argv[1:])
