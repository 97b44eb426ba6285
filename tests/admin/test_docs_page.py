"""docs/admin.md: what it says of routes, limits, events and members is so."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import threadwire
from threadwire.admin import Admin, log
from threadwire.admin.admin import (
    ACCEPT_RATE,
    HANDSHAKE_TIMEOUT,
    MAX_CONNECTIONS,
    MAX_TLS_CONNECTIONS,
)
from threadwire.admin.document import SCHEMA, SHOWN, changes, document
from threadwire.admin.http import MAX_BODY, MAX_HEAD, MAX_TARGET, Timeouts
from threadwire.admin.process import ProcessReader
from threadwire.admin.routes import MAX_PROBE_RATE, MAX_RATE, MAX_STREAMS
from threadwire.admin.seats import Seats
from threadwire.admin.stacks import MOST_THREADS
from threadwire.snapshot import ClientState, LimitUse

from ..support import reverse
from .snapshots import client, snapshot

PAGE = (Path(__file__).parents[2] / "docs" / "admin.md").read_text()


def section(title: str) -> str:
    found = re.search(rf"(?ms)^(#+) {re.escape(title)}$(.*?)(?=^#|\Z)", PAGE)
    assert found is not None, title
    return found[2]


def names_in(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names_in(inner)


@pytest.fixture
def admin() -> Iterator[Admin]:
    admin = Admin(threadwire.Server(reverse, "tcp://127.0.0.1:0"), "127.0.0.1:0")
    yield admin
    admin.close()


def test_every_route_is_in_the_page(admin: Admin) -> None:
    told = set(re.findall(r"(?m)^\| (GET|POST) \| `([^`]+)`", section("What there is")))
    assert told | {("GET", "/assets/ID")} == {
        (route.method, "/" + "/".join("ID" if s == "*" else s for s in route.pattern))
        for route in admin._routes._table
    }


def test_the_public_routes_are_named(admin: Admin) -> None:
    public = {"/" + "/".join(r.pattern[:1]) for r in admin._routes._table if r.public}
    (line,) = re.findall(r"(?m)^- (.*) need no token", section("Tokens"))
    assert {name.rstrip("/") or "/" for name in re.findall("`([^`]+)`", line)} == public


def test_every_member_of_the_document_is_in_the_page() -> None:
    reader = ProcessReader()
    facts = reader.facts()
    reader.close()
    now = snapshot(
        clock=2.0,
        clients=(client(1),),
        certificates_expire_at=1.0,
        limits=(LimitUse("max_clients", 1, 2),),
    )
    whole = document(now, facts, changes(now, snapshot(clock=1.0), facts, facts))
    text = section("The document") + section("Clients in the document")
    told = {name for code in re.findall("`([^`]+)`", text) for name in re.findall(r"[\w-]+", code)}
    assert set(names_in(whole)) <= told
    assert f"| `schema` | {SCHEMA} |" in text
    assert f"{SHOWN} at most" in text


def test_every_state_is_in_the_page() -> None:
    told = re.findall(r"(?m)^\| `([\w-]+)` \|", section("Clients in the document"))
    assert sorted(told) == sorted(ClientState)


def test_the_limits_are_as_the_page_says() -> None:
    text, timeouts = section("What it costs"), Timeouts()
    for said in (
        f"{MAX_CONNECTIONS} at once; further ones wait. When there are {_seats()},",
        f"| {MAX_TLS_CONNECTIONS} at once, with those at their handshake, which may take "
        f"{HANDSHAKE_TIMEOUT:g} s",
        f"{MAX_STREAMS} at once; further ones are answered",
        f"| {MAX_RATE:g} a second, and {MAX_PROBE_RATE:g} a second of `/livez` and `/readyz`",
        f"| {ACCEPT_RATE:g} a second; the rest wait |",
        f"| {MAX_HEAD >> 10} KiB, its target {MAX_TARGET >> 10} KiB, its body {MAX_BODY >> 10} KiB",
        f"{timeouts.request:g} s from its first byte; a connection without one is kept "
        f"for {timeouts.idle:g} s",
    ):
        assert said in text, said
    assert f"The first {MOST_THREADS:,} threads" in section("Threads").replace("\n", " ")


def _seats() -> int:
    admin = Admin(threadwire.Server(reverse, "tcp://127.0.0.1:0"), "127.0.0.1:0")
    seats: Seats = admin._seats
    admin.close()
    return seats._seats


def test_every_event_is_in_the_page_with_its_fields() -> None:
    rows = re.findall(r"(?m)^\| `(admin-[\w-]+)` \| (\w+) \| (.*?) \|", section("The log"))
    told = {name: (level, set(re.findall(r"`(\w+)`", fields))) for name, level, fields in rows}
    declared: dict[str, tuple[str, set[str]]] = {}
    for name in log.__all__:
        source = inspect.getsource(getattr(log, name))
        level, event = re.findall(r'logging\.(\w+),\s*"([\w-]+)"', source)[0]
        fields = set(re.findall(r"\b(\w+)=", source.split("emit(")[1])) - {"exception"}
        before = declared.get(event, ("", set()))[1]
        declared[event] = (level.lower(), fields | before)
    assert told == declared
