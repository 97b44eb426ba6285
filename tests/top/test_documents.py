"""What the endpoint says is checked, and made harmless."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadwire.top.documents import (
    DocumentError,
    clean,
    parse_json,
    read_client,
    read_document,
    read_listing,
)

from .documents import STEP, client_value, document, document_value, interval_value

WHOLE = document_value(
    client_value(7, state="blocked", busy=1.5, line="app.py:7 in slow", tls="TLSv1.3"),
    certificates={"names": "example.org", "expires_at": 1_086_400.0},
    interval=interval_value(lock_wait=STEP),
    history=[{"time": 999_999.0, "seconds": 1.0, "messages_per_second": 5.0}],
)


def test_a_document_is_read() -> None:
    found = read_document(WHOLE)
    assert (found.pid, found.handler, found.phase, found.ready) == (
        4711,
        "reverse",
        "serving",
        True,
    )
    assert found.rates is not None
    assert (found.rates.messages, found.rates.handler.p99) == (1234.5, 5e-5)
    assert found.certificates_expire_at == 1_086_400.0
    assert found.history == (5.0,)
    (client,) = found.clients
    assert (client.id, client.state, client.busy, client.line) == (
        7,
        "blocked",
        1.5,
        "app.py:7 in slow",
    )
    assert found.limits[1].limit is None


def test_a_history_that_has_the_document_in_it_gives_it_once() -> None:
    history = [
        {"time": 999_999.0, "seconds": 1.0, "messages_per_second": 5.0},
        {"time": 1_000_000.0, "seconds": 1.0, "messages_per_second": 6.0},
    ]
    assert document(history=history).history == (5.0,)


def test_a_history_begins_where_somebody_has_watched_since() -> None:
    times = (999_000.0, 999_001.0, 999_995.0, 999_998.0)
    history = [
        {"time": time, "seconds": 1.0, "messages_per_second": time - 999_000} for time in times
    ]
    assert document(history=history).history == (995.0, 998.0)
    assert document(history=history[:2]).history == ()


def test_a_point_of_a_history_counts_for_as_many_seconds_as_it_tells_of() -> None:
    """While nobody watches there are fewer; however many one says it is, the curve is bounded."""
    history = [
        {"time": 999_990.0 + n, "seconds": seconds, "messages_per_second": float(n)}
        for n, seconds in enumerate((1e9, 0.0, 5.04, 1.0))
    ]
    assert document(history=history).history == (0.0,) * 60 + (1.0,) + (2.0,) * 5 + (3.0,)


def test_points_that_tell_of_long_times_belong_together_all_the_same() -> None:
    """With the time between two points for the gap: what was before the busiest time is lost."""
    history = [
        {"time": 1e6 - 45.0, "seconds": 5.0, "messages_per_second": 1.0},
        {"time": 1e6 - 5.0, "seconds": 40.0, "messages_per_second": 2.0},
    ]
    assert document(history=history).history == (1.0,) * 5 + (2.0,) * 40


def members(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where everything is that a document has."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*path, name)
            yield from members(inner, (*path, name))
    elif isinstance(value, list) and value:
        yield from members(value[0], (*path, 0))


MEMBERS = list(members(WHOLE))
# Without these, top has all that it shows; "*" stands for any step.
SPARE = {
    *("process.started_at", "process.cpu_seconds", "process.cpu", "process.resident_bytes"),
    *("process.open_files", "why", "certificates", "certificates.names", "interval", "history"),
    *("certificates.expires_at", "interval.seconds", "interval.lock_wait", "interval.*.p50"),
    *("interval.*.p99", "interval.*.max", "handoffs", "handoffs.*", "handoffs.*.at", "limits.*"),
    *("handoffs.*.connection", "limits.*.limit", "history.*", "clients.shown.*", "totals.closed.*"),
    *("clients.shown.*.rate", "clients.shown.*.busy", "clients.shown.*.line", "totals.refused.*"),
    *("clients.shown.*.tls", "clients.states.*"),
}


def is_spare(path: tuple[Any, ...]) -> bool:
    return any(
        len(steps) == len(path)
        and all(step in ("*", str(p)) for step, p in zip(steps, path, strict=True))
        for steps in (text.split(".") for text in SPARE)
    )


def changed(path: tuple[Any, ...], *, to: Any = None, remove: bool = False) -> Any:
    value = copy.deepcopy(WHOLE)
    inner = value
    for step in path[:-1]:
        inner = inner[step]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return value


def texts(value: Any) -> Iterator[str]:
    """Every text that is in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from texts([*value.keys(), *value.values()])
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from texts(inner)


def outcome(value: Any) -> list[str]:
    """The texts of the document, or what is said of the fault."""
    try:
        return list(texts(dataclasses.astuple(read_document(value))))
    except DocumentError as error:
        return [str(error)]


@pytest.mark.parametrize("path", MEMBERS, ids=str)
@pytest.mark.parametrize("wrong", [[[]], {"x": []}, -math.inf, math.nan, 10**400, "x\0y"], ids=repr)
def test_a_member_of_another_kind_is_a_typed_error_or_harmless(
    path: tuple[Any, ...], wrong: Any
) -> None:
    assert all(text.isprintable() for text in outcome(changed(path, to=wrong)))


@pytest.mark.parametrize("path", MEMBERS, ids=str)
def test_a_missing_member_is_named_unless_it_is_not_needed(path: tuple[Any, ...]) -> None:
    value = changed(path, remove=True)
    if is_spare(path):
        read_document(value)
    else:
        with pytest.raises(DocumentError, match=rf"{path[-1]} is missing"):
            read_document(value)


def test_another_schema_is_told_apart() -> None:
    with pytest.raises(DocumentError, match=r"schema 2.*understands 1.*same version"):
        read_document({"schema": 2, "whatever": "else"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.sampled_from(MEMBERS), JSON)
def test_no_document_makes_another_error(path: tuple[Any, ...], value: Any) -> None:
    for given_value in (value, changed(path, to=value)):
        assert all(text.isprintable() for text in outcome(given_value))


@given(JSON)
def test_no_client_makes_another_error(value: Any) -> None:
    for given_value in (value, client_value(1, peer=value, line=value, busy=value, stack=[value])):
        try:
            client, stack = read_client(given_value)
        except DocumentError:
            continue
        assert client.peer.isprintable()
        assert all(line.isprintable() for line in stack)


@given(st.text())
def test_no_text_can_command_a_terminal(text: str) -> None:
    assert clean(text).isprintable()
    if text.isprintable() and len(text) <= 500:
        assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\nb", r"a\nb"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\x9b31m", r"\x9b31m"),
        ("\udcff", r"\udcff"),
        ("[bold red]x[/]", "[bold red]x[/]"),
    ],
)
def test_what_a_terminal_obeys_is_shown(text: str, harmless: str) -> None:
    assert clean(text) == harmless
    value = client_value(1, peer=f"unix://{text}", line=text)
    assert read_client(value)[0].peer == f"unix://{harmless}"
    assert document(value).clients[0].line == harmless
    assert document(phase=text).phase == harmless
    assert list(document(clients={**WHOLE["clients"], "states": {text: 1}}).states) == [harmless]


def test_a_long_text_is_cut() -> None:
    assert clean("x" * 1000, 10) == "x" * 9 + "…"


@pytest.mark.parametrize("text", ["", "{", "nul", "[" * 100_000, b"\xff", "1" * 5000])
def test_what_is_no_json_is_a_typed_error(text: str | bytes) -> None:
    with pytest.raises(DocumentError, match="JSON"):
        parse_json(text)


def test_a_stack_may_come_as_entries_of_several_lines() -> None:
    value = client_value(1, stack=["a.py:1 in f\n    f()", "b.py:2 in g"])
    assert read_client(value)[1] == ("a.py:1 in f", "    f()", "b.py:2 in g")


def test_a_listing_has_what_each_client_was_read_from() -> None:
    value = {"clients": [client_value(3), client_value(5)], "more": True, "extra": 1}
    found, more = read_listing(json.loads(json.dumps(value)))
    assert more
    assert [(client.id, raw["id"]) for client, raw in found] == [(3, 3), (5, 5)]
    with pytest.raises(DocumentError, match="more"):
        read_listing({"clients": []})
