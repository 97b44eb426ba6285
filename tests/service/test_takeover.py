"""``--takeover``: one service after another at the same addresses, and no client notices."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import threadwire
from threadwire.handover import Handed, Offer, wire

from ..support import PATIENCE, eventually
from .support import Crowd, Service, ask, calm, dial, hear_line, running, served_by

PATH = "upgrade.sock"


def taking_over(
    handler: str, here: Path, *arguments: str, **options: Any
) -> contextlib.AbstractContextManager[Service]:
    return running(handler, "--takeover", PATH, *arguments, cwd=here, **options)


@contextlib.contextmanager
def standing(handler: str, here: Path, *arguments: str, **options: Any) -> Iterator[Service]:
    """The service that the next one takes over from."""
    with taking_over(handler, here, *arguments, **options) as service:
        await_offer(service, here)
        yield service


def await_offer(service: Service, here: Path) -> None:
    def offered() -> bool:
        connected = wire.connect(str(here / PATH))
        if connected is None:
            return False
        with connected:
            return wire.other_end(connected)[0] == service.pid

    eventually(offered, "its offer")


def stranger(
    address: threadwire.Address, trusts: ssl.SSLContext | None = None
) -> Callable[[bytes], int]:
    """A client that comes, asks and goes."""
    return lambda question: ask(address, question, trusts)


def replaced(old: Service, new: Service, code: int = 0) -> None:
    """``new`` has taken over from ``old``, which has ended."""
    new.wait_for("handover", what="taken-over")
    assert old.wait() == code
    old.wait_for("handover", what="taken")


def test_ten_restarts_in_a_row_and_no_client_notices(here: Path, trusts: ssl.SSLContext) -> None:
    unix = here / "service.sock"
    listen = ("tcp://127.0.0.1:0", f"unix://{unix}", "tls://127.0.0.1:0")
    service = functools.partial(
        taking_over, "app:handle", here, "--tls-cert", "own.pem", listen=listen
    )
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(service())
        addresses = old.addresses

        strangers = [stranger(address, trusts) for address in addresses]
        pool = stack.enter_context(
            threadwire.connect(addresses[0], timeout=PATIENCE, pool=4, retry=threadwire.Retry())
        )

        def regular(question: bytes) -> int:
            return served_by(pool.request(question, repeatable=True) + b"\n", question)

        ways = [*strangers, *strangers, strangers[0], strangers[1], *[regular] * 5]
        with Crowd(*ways) as crowd:
            await_offer(old, here)
            crowd.all_served(by=old.pid)
            leaving = []
            for _ in range(10):  # the next one comes while the one before still drains
                new = stack.enter_context(service())
                new.wait_for("handover", what="taken-over")
                assert new.addresses == addresses
                await_offer(new, here)
                crowd.all_served(by=new.pid)
                leaving.append(old)
                old = new
            for one in leaving:
                assert one.wait() == 0
                calm(one)
        assert stat.S_ISSOCK(unix.lstat().st_mode), "nobody may remove the file of the service"
        assert old.stop() == 0
        calm(old)
    assert not unix.exists()
    assert not (here / PATH).exists()


def test_who_asks_late_is_not_taken_for_idle(here: Path) -> None:
    """A client that the old process has accepted, and that asks after the new one serves."""
    with standing("app:handle", here) as old:
        with dial(old.address) as early, dial(old.address) as late, dial(old.address) as silent:
            old.wait_for("opened", count=3)
            early.sendall(b"early\n")
            assert served_by(hear_line(early), b"early") == old.pid
            with taking_over("app:handle", here) as new:
                new.wait_for("handover", what="taken-over")
                late.sendall(b"late\n")
                assert served_by(hear_line(late), b"late") == old.pid
                for client in (early, late, silent):
                    assert client.recv(1) == b""
                replaced(old, new)


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_who_waits_in_the_backlog_is_served_by_the_new_one(here: Path, scheme: str) -> None:
    listen = "tcp://127.0.0.1:0" if scheme == "tcp" else f"unix://{here}/service.sock"
    service = functools.partial(
        taking_over, "app:hold", here, "--max-clients", "2", "--overload", "wait", listen=(listen,)
    )
    with service() as old, contextlib.ExitStack() as clients:
        await_offer(old, here)
        question = os.fsencode(here / "gate")
        served = [clients.enter_context(dial(old.address)) for _ in range(2)]
        for client in served:
            client.sendall(question + b"\n")
        old.wait_for("opened", count=2)
        waiting = [clients.enter_context(dial(old.address)) for _ in range(6)]
        for client in waiting:
            client.sendall(b"waiting\n")
        old.wait_for("accept-paused")
        with service() as new:
            for client in waiting:
                assert served_by(hear_line(client), b"waiting") == new.pid
                client.close()
            (here / "gate").touch()
            for client in served:
                assert served_by(hear_line(client), question) == old.pid
            replaced(old, new)
            assert len(old.events("opened")) == 2


# Ends its process when it takes the n-th step with a socket, as hard as SIGKILL always does: it
# makes one, connects, says "take", makes two of what it gets, and says "serving".
DYING = """
import os, signal, sys
from app import handle

left = int(os.environ["STEPS"])

def step(event, _):
    global left
    if event.startswith("socket."):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(step)
"""


def test_a_new_process_that_is_killed_while_it_starts_changes_nothing(here: Path) -> None:
    (here / "dying.py").write_text(DYING)
    listen = ("tcp://127.0.0.1:0", f"unix://{here}/service.sock")
    with standing("app:handle", here, listen=listen) as old:

        def killed_at(step: int) -> bool:
            """Whether it accepted already."""
            with taking_over(
                "dying:handle", here, listen=listen, variables={"STEPS": str(step)}
            ) as new:
                assert new.wait() == -signal.SIGKILL
            return bool(new.events("listening"))

        with Crowd(*map(stranger, old.addresses)) as crowd:
            for step in range(1, 6):
                assert not killed_at(step)
                crowd.all_served(by=old.pid)
            old.wait_for("handover", what="gone", count=2)  # had been given the sockets
        assert killed_at(6)
        old.wait_for("handover", what="gone", count=3)
        for address in old.addresses:
            assert ask(address) == old.pid
        with taking_over("app:handle", here, listen=listen) as new:
            replaced(old, new)
            for address in new.addresses:
                assert ask(address) == new.pid


def test_a_new_process_that_cannot_start_changes_nothing(here: Path) -> None:
    listen = ("tcp://127.0.0.1:0", f"unix://{here}/service.sock")
    (here / "broken.py").write_text("raise ImportError('a library is missing')")
    with (
        standing("app:handle", here, listen=listen) as old,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        in_use = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with Crowd(*map(stranger, old.addresses)) as crowd:
            for handler, arguments, code, problem in (
                ("broken:handle", (), 2, "a library is missing"),
                ("app:handle", ("--max-clients", "0"), 2, "max_clients"),
                ("app:handle", ("--listen", "tls://127.0.0.1:0"), 2, "tls_cert"),
                ("app:handle", ("--listen", in_use), 3, "address already in use"),
            ):
                with taking_over(handler, here, *arguments, listen=listen) as new:
                    assert new.wait() == code
                    (line,) = new.complaints
                    assert problem in line
                crowd.all_served(by=old.pid)
        # The one whose address was in use had been given the sockets.
        (told,) = old.events("handover")
        assert told["what"] == "failed"
        assert "address already in use" in told["detail"]
        assert old.stop() == 0


def test_an_old_process_that_cannot_stop_keeps_its_queue(here: Path) -> None:
    """The new one gives up what it had begun to accept from, without a trace."""

    def cannot() -> None:
        raise OSError("no")

    with socket.socket(socket.AF_UNIX) as old:
        url = f"unix://{here}/service.sock"
        old.bind(str(here / "service.sock"))
        old.listen(8)
        with Offer(str(here / PATH), [Handed(url, old, {})], cannot):
            with taking_over("app:handle", here, listen=(url,)) as new:
                assert new.wait() == 3
                assert "could not stop" in new.complaints[0]
                assert new.events("listening"), "it had begun"
        with contextlib.ExitStack() as clients:
            for _ in range(8):  # a queue of one place would not take them
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(here / "service.sock"))


def test_a_stuck_handler_holds_up_its_own_process_alone(here: Path) -> None:
    with standing("app:hold", here, "--drain-timeout", "300ms") as old:
        with dial(old.address) as stuck, dial(old.address) as slow:
            stuck.sendall(b"/never\n")
            slow.sendall(os.fsencode(here / "gate") + b"\n")
            old.wait_for("opened", count=2)
            with taking_over("app:hold", here) as new:
                new.wait_for("handover", what="taken-over")
                assert ask(new.address) == new.pid
                (here / "gate").touch()
                assert served_by(hear_line(slow), os.fsencode(here / "gate")) == old.pid
                replaced(old, new, code=4)
                cut = old.wait_for("cut")
                assert cut["peer"] == f"tcp://127.0.0.1:{stuck.getsockname()[1]}"
                assert cut["doing"].endswith("in hold")
                assert hear_line(stuck) == b""
                assert old.events("stopped", finished=1, cut=1)
                assert ask(new.address) == new.pid


def test_addresses_may_change(here: Path) -> None:
    stays, goes, comes = (f"unix://{here}/{name}" for name in ("stays", "goes", "comes"))
    tcp = "tcp://127.0.0.1:0"
    with standing("app:handle", here, listen=(tcp, stays, goes)) as first:
        port = first.address.port
        with taking_over("app:handle", here, listen=(comes, tcp, stays)) as second:
            replaced(first, second)
            assert goes in second.wait_for("handover", what="unused")["detail"]
            with pytest.raises(FileNotFoundError):
                ask(threadwire.parse_address(goes))
            assert second.addresses[1].port == port
            for address in second.addresses:
                assert ask(address) == second.pid
            with taking_over("app:handle", here, listen=(stays,)) as third:
                replaced(second, third)
                with pytest.raises(ConnectionRefusedError):
                    ask(threadwire.Address("tcp", "127.0.0.1", port))
                assert ask(third.address) == third.pid
                assert third.stop() == 0
    assert {path.name for path in here.iterdir()} <= {"__pycache__", "app.py"}


# Once it is told that the old process has stopped, somebody puts a file in the next offer's way.
IN_THE_WAY = """
import os, sys
from app import handle

def stand_in_the_way(event, _):
    if event == "socket.sendmsg" and os.path.exists("serving"):
        os.unlink("upgrade.sock")
        open("upgrade.sock", "w").close()
    elif event == "socket.sendmsg":
        open("serving", "w").close()

sys.addaudithook(stand_in_the_way)
"""


def test_who_cannot_be_taken_over_from_serves_nevertheless(here: Path) -> None:
    (here / "in_the_way.py").write_text(IN_THE_WAY)
    with standing("app:handle", here) as old:
        with taking_over("in_the_way:handle", here) as new:
            replaced(old, new)
            assert PATH in new.wait_for("handover", what="not-offered")["detail"]
            assert ask(new.address) == new.pid
            assert new.stop() == 0


def test_a_process_that_was_told_to_stop_is_not_taken_over_from(here: Path) -> None:
    """What it is about to close is of no use; whoever comes listens anew."""
    with standing("app:hold", here) as old, dial(old.address) as client:
        question = os.fsencode(here / "gate")
        client.sendall(question + b"\n")
        old.wait_for("opened")
        old.send(signal.SIGTERM)
        old.wait_for("draining")
        assert not (here / PATH).exists()
        with taking_over("app:handle", here) as new:
            assert ask(new.address) == new.pid
            assert not new.events("handover")
            (here / "gate").touch()
            assert served_by(hear_line(client), question) == old.pid
            assert old.wait() == 0
            assert (here / PATH).exists()


def test_of_two_at_a_time_the_second_is_refused(here: Path) -> None:
    """The first holds the sockets until it is told to go on."""
    (here / "slow.py").write_text(
        "import os, sys, time\n"
        "from app import handle\n"
        "def wait(event, _):\n"
        "    while event == 'socket.sendmsg' and os.path.exists('hold'):\n"
        "        time.sleep(0.005)\n"
        "    if event == 'socket.sendmsg': open('hold', 'w').close()\n"
        "sys.addaudithook(wait)\n"
    )
    with standing("app:handle", here) as old, taking_over("slow:handle", here) as first:
        first.wait_for("listening")
        with taking_over("app:handle", here) as second:
            assert second.wait() == 3
            assert f"process {first.pid} is taking over" in second.complaints[0]
        (here / "hold").unlink()
        replaced(old, first)
        assert ask(first.address) == first.pid
