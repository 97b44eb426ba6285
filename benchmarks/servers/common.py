"""What the reference servers written in Python share."""

import argparse

BACKLOG = 4096
READ_SIZE = 64 * 1024


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True, help="0 takes any free port")
    return parser


def announce(port: int) -> None:
    print(f"listening {port}", flush=True)


class Lines:
    """Puts the lines of one connection together, in linear time however long they are."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        if b"\n" not in data:
            self._pieces.append(data)
            return []
        if self._pieces:
            self._pieces.append(data)
            data = b"".join(self._pieces)
            self._pieces.clear()
        lines = data.split(b"\n")
        if rest := lines.pop():
            self._pieces.append(rest)
        return lines


def reverse_all(lines: list[bytes]) -> bytes:
    return b"".join([line[::-1] + b"\n" for line in lines])
