"""A model of one loop and its hand-offs, small enough to be tried in every order there is.

Actors are generators. What an actor does from one ``yield`` to the next is one atomic step;
what it yields is ``None``, or a condition without which it cannot go on. :func:`explore`
runs every order of steps that leads to a state not seen before; from there on, everything
has been tried already. To go back to a state it starts anew and repeats the steps.

What is real: :class:`~threadwire.engine.baton.Baton`. What is modelled, step by step as in the
code: the leader's turns (Loop.lead), the watchdog's (Watchdog._look, _hand_over), the thread
that was stuck (Loop._stumbled, Lender.serve_alone), letting go and taking in (Lender.part_with,
Clients.take_in). Time is not: the watchdog may be anywhere at any time, and so may a handler.

Beside the model's state is the truth, which the actors cannot see: who leads and who owns each
connection. Whatever an actor does is checked against it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from types import GeneratorType
from typing import Any, TypeAlias

from threadwire.engine.baton import Baton

__all__ = ["Violation", "World", "explore"]

Condition: TypeAlias = Callable[[], bool]
Actor: TypeAlias = Generator[Condition | None, None, None]

WATCHDOG = "watchdog"
LOOP = "loop"
POSTED = "posted"


class Violation(Exception):
    """Something that may not be, and the steps that led to it."""


class World:
    """One loop with connections, the chunks that their peers send, and the actors.

    ``traffic`` maps connections to chunks, each a tuple of messages. The watchdog hands over at
    most ``handoffs`` times. A thread that was stuck reads ``alone`` chunks before it goes back.
    """

    def __init__(self, traffic: dict[str, list[tuple[int, ...]]], handoffs: int, alone: int = 0):
        self.handoffs = handoffs
        self.alone = alone
        # The kernel's.
        self.unread = {c: [list(chunk) for chunk in chunks] for c, chunks in traffic.items()}
        self.written: dict[str, list[int]] = {c: [] for c in traffic}
        # The poller's.
        self.registered = set(traffic)
        # Connections'.
        self.pending: dict[str, list[int]] = {c: [] for c in traffic}
        self.here = dict.fromkeys(traffic, True)
        self.noted: dict[str, str | None] = dict.fromkeys(traffic)
        # The loop's.
        self.batons: list[Baton[str]] = []
        self.baton = self.new_baton()
        self.turns = 0
        self.received: list[tuple[str, list[int]]] = []
        self.posted: list[str] = []
        # The truth.
        self.sent = {c: [m for chunk in chunks for m in chunk] for c, chunks in traffic.items()}
        self.handled: dict[str, list[int]] = {c: [] for c in traffic}
        self.leader = "thread-1"
        self.begun = True  # the leader has, or had before it was stuck
        self.owner = dict.fromkeys(traffic, LOOP)

        self.actors: dict[str, Actor] = {}
        self.waits: dict[str, Condition | None] = {}
        self._numbers = itertools.count(1)
        self.start(self.lead, self.baton, None)
        self.actors[WATCHDOG], self.waits[WATCHDOG] = self.watch(), None

    # Actors.

    def lead(self, me: str, baton: Baton[str], departed: str | None) -> Actor:
        self.must_lead(me)
        self.begun = True
        baton.leader = me  # type: ignore[assignment]  # an ident, in the model a name
        yield from self.begin(me, departed)
        while True:
            while self.received:
                yield None
                self.must_lead(me)
                connection, messages = self.received.pop(0)
                while messages:
                    message = messages.pop(0)
                    baton.enter(connection)
                    yield None
                    self.handle(me, connection, message)
                    yield None
                    if not (yield from self.leave(baton)):
                        yield from self.lost(baton)
                        yield from self.serve_alone(me, connection, message, messages)
                        return
                    self.must_lead(me)
                    self.pending[connection].append(message)
            yield None
            self.flush(me)
            yield None
            self.make_posted_calls(me)
            yield lambda: bool(self.posted) or self.readable()
            self.receive(me)

    def begin(self, me: str, departed: str | None) -> Actor:
        """What a leader begins with."""
        yield from ()
        if departed is not None:
            self.part_with(me, departed)

    def leave(self, baton: Baton[str]) -> Generator[Condition | None, None, bool]:
        """Whether the holder still has the baton."""
        yield from ()
        try:
            baton.leave()
        except IndexError:
            return False
        return True

    def lost(self, baton: Baton[str]) -> Actor:
        yield lambda: not baton._noted.locked()
        baton.lost()

    def serve_alone(self, me: str, connection: str, reply: int, messages: list[int]) -> Actor:
        yield from self.flush_alone(me, connection)
        yield None
        self.write(me, connection, reply)
        for n in range(self.alone + 1):
            if n:
                yield None
                if not messages and self.unread[connection]:
                    messages = self.read(me, connection)
            while messages:
                reply = messages.pop(0)
                yield None
                self.handle(me, connection, reply)
                yield None
                self.write(me, connection, reply)
        yield from self.give_back(me, connection)

    def flush_alone(self, me: str, connection: str) -> Actor:
        yield None
        for message in self.take_pending(connection):
            self.write(me, connection, message)

    def give_back(self, me: str, connection: str) -> Actor:
        yield None
        self.disown(me, connection)
        yield None
        self.posted.append(connection)

    def watch(self) -> Actor:
        for _ in range(self.handoffs):
            connection: str | None = None
            while connection is None:
                # A look at an empty place changes nothing.
                yield lambda: self.baton.busy_with() is not None
                before = self.look()
                yield None
                if self.look() == before:
                    yield None
                    baton: Baton[str] = before[1]
                    connection = yield from self.take(baton)
            self.taken(baton, connection)
            yield None
            self.noted[connection] = str(baton.leader)
            yield None
            successor = self.baton = self.new_baton()
            yield None
            baton.note_taken()
            yield None
            self.leader, self.begun = self.start(self.lead, successor, connection), False
            # Unset, so that what is over does not make states differ.
            before = baton = successor = None  # type: ignore[assignment]

    def look(self) -> tuple[int, Any, str | None]:
        return self.turns, self.baton, self.baton.busy_with()

    def take(self, baton: Baton[str]) -> Generator[Condition | None, None, str | None]:
        yield from ()
        return baton.take()

    # What they do.

    def new_baton(self) -> Baton[str]:
        self.batons.append(Baton())
        return self.batons[-1]

    def readable(self) -> bool:
        return any(self.unread[c] for c in self.registered)

    def receive(self, me: str) -> None:
        self.must_lead(me)
        for connection in sorted(self.registered):
            if self.unread[connection]:
                self.received.append((connection, self.read(me, connection)))
        self.turns += bool(self.received)

    def read(self, me: str, connection: str) -> list[int]:
        self.must_own(me, connection)
        return self.unread[connection].pop(0)

    def handle(self, me: str, connection: str, message: int) -> None:
        self.must_own(me, connection)
        self.handled[connection].append(message)
        self.in_order(self.handled, connection, "handled")

    def flush(self, me: str) -> None:
        self.must_lead(me)
        for connection in self.pending:
            if self.here[connection]:
                for message in self.take_pending(connection):
                    self.write(me, connection, message)

    def take_pending(self, connection: str) -> list[int]:
        taken = self.pending[connection][:]
        del self.pending[connection][:]
        return taken

    def write(self, me: str, connection: str, message: int) -> None:
        self.written[connection].append(message)
        self.in_order(self.written, connection, f"written, by {me},")

    def part_with(self, me: str, connection: str) -> None:
        self.must_lead(me)
        self.here[connection] = False
        self.unregister(me, connection)
        for message in self.take_pending(connection):  # under the send lock, as all writing
            self.write(me, connection, message)

    def disown(self, me: str, connection: str) -> None:
        self.must_own(me, connection)
        self.noted[connection] = None
        self.owner[connection] = POSTED

    def make_posted_calls(self, me: str) -> None:
        self.must_lead(me)
        calls, self.posted = self.posted, []
        for connection in calls:
            self.take_in(me, connection)

    def take_in(self, me: str, connection: str) -> None:
        self.must_lead(me)
        if self.noted[connection] is not None:
            raise Violation(f"{connection} is taken in, noted as {self.noted[connection]}'s")
        if self.owner[connection] != POSTED:
            raise Violation(f"{connection} is taken in, and is {self.owner[connection]}'s")
        self.owner[connection] = LOOP
        self.here[connection] = True
        self.register(me, connection)

    def register(self, me: str, connection: str) -> None:
        if connection in self.registered:
            raise Violation(f"{me} registers {connection} twice")
        self.must_lead(me)
        self.registered.add(connection)

    def unregister(self, me: str, connection: str) -> None:
        self.must_lead(me)
        if connection not in self.registered:
            raise Violation(f"{me} unregisters {connection}, which is not registered")
        self.registered.discard(connection)

    # The truth, and what is checked against it.

    def taken(self, baton: Baton[str], connection: str) -> None:
        """The baton is the watchdog's to give away."""
        holder = str(baton.leader)
        if holder != self.leader:
            raise Violation(f"the baton is taken from {holder}, but {self.leader} leads")
        self.must_own(self.leader, connection)
        self.owner[connection] = self.leader
        self.leader = WATCHDOG

    def must_lead(self, who: str) -> None:
        if who != self.leader:
            raise Violation(f"{who} acts for the loop, but {self.leader} leads")

    def must_own(self, who: str, connection: str) -> None:
        owner = self.owner[connection]
        if owner == LOOP:
            owner = self.leader
        if owner != who:
            raise Violation(f"{who} acts for {connection}, which is {owner}'s")

    def in_order(self, what: dict[str, list[int]], connection: str, how: str) -> None:
        done = what[connection]
        if done != self.sent[connection][: len(done)]:
            raise Violation(f"{connection}: {how} {done} of {self.sent[connection]}")

    def check(self) -> None:
        """Whatever holds in every state."""
        for connection, owner in self.owner.items():
            if owner == LOOP and self.leader != WATCHDOG and self.begun:
                if not self.here[connection]:
                    raise Violation(f"{connection} is the loop's, but the loop does not know")
            elif self.begun and self.leader != WATCHDOG and connection in self.registered:
                raise Violation(f"{connection} is {owner}'s, and registered")

    def check_end(self) -> None:
        """Nobody can go on, but the watchdog that looks."""
        for connection, messages in self.sent.items():
            if self.handled[connection] != messages:
                raise Violation(f"{connection}: handled {self.handled[connection]} of {messages}")
            if self.written[connection] != messages:
                raise Violation(f"{connection}: wrote {self.written[connection]} of {messages}")
            if self.owner[connection] != LOOP or connection not in self.registered:
                raise Violation(f"{connection} is {self.owner[connection]}'s at the end")
        if self.leader not in self.actors:
            raise Violation(f"{self.leader} should lead, and is gone")
        if len(self.actors) - (WATCHDOG in self.actors) != 1:
            raise Violation(f"there are left {sorted(self.actors)}")

    # Running.

    def start(self, actor: Callable[..., Actor], *arguments: Any) -> str:
        name = f"thread-{next(self._numbers)}"
        self.actors[name], self.waits[name] = actor(name, *arguments), None
        return name

    def enabled(self) -> list[str]:
        return [name for name, condition in self.waits.items() if condition is None or condition()]

    def step(self, name: str) -> None:
        try:
            self.waits[name] = next(self.actors[name])
        except StopIteration:
            del self.actors[name], self.waits[name]

    def state(self) -> object:
        """All that what follows depends on."""
        places = tuple((b.busy_with(), b._noted.locked(), b.leader) for b in self.batons)
        fields = (
            self.unread,
            self.written,
            self.registered,
            self.pending,
            self.here,
            self.noted,
            self.baton,
            self.turns,
            self.received,
            self.posted,
            self.handled,
            self.leader,
            self.begun,
            self.owner,
        )
        actors = tuple((name, self._frames(actor)) for name, actor in self.actors.items())
        return places, self._frozen(fields), actors

    def _frames(self, actor: object) -> tuple[object, ...]:
        frames: list[object] = []
        while isinstance(actor, GeneratorType) and (frame := actor.gi_frame) is not None:
            variables = {k: v for k, v in frame.f_locals.items() if k != "self"}
            frames.append((frame.f_lasti, self._frozen(variables)))
            actor = actor.gi_yieldfrom
        return tuple(frames)

    def _frozen(self, value: object) -> object:
        if isinstance(value, dict):
            return tuple((k, self._frozen(v)) for k, v in value.items())
        if isinstance(value, list | tuple):
            return tuple(self._frozen(v) for v in value)
        if isinstance(value, set):
            return frozenset(value)
        if isinstance(value, Baton):
            return f"baton {self.batons.index(value)}"
        if value is None or isinstance(value, str | int):
            return value
        return type(value).__name__  # an iterator: where it stands shows in what it goes over


def explore(make: Callable[[], World]) -> int:
    """Try every order of steps; returns how many states there are. Raises Violation."""
    seen: set[object] = set()
    untried: list[tuple[str, ...]] = [()]
    while untried:
        path = untried.pop()
        world = make()
        try:
            for name in path:
                world.step(name)
            while (state := world.state()) not in seen:
                seen.add(state)
                world.check()
                enabled = world.enabled()
                if not enabled:
                    world.check_end()
                    break
                untried += [(*path, other) for other in enabled[1:]]
                path = (*path, enabled[0])
                world.step(enabled[0])
        except Violation as violation:
            raise Violation(f"{violation}; after {' '.join(path)}") from None
    return len(seen)
