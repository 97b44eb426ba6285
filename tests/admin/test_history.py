"""What charts remember."""

from __future__ import annotations

from typing import Any

import pytest

from threadwire.admin.history import SPAN, History

from .snapshots import FACTS, client, snapshot


def looked(*clocks: float, **more: Any) -> list[dict[str, Any]]:
    """The points after looks at these times, at each of which ten messages a second have come."""
    history = History()
    for clock in clocks:
        now = snapshot(
            clock=clock, taken_at=1e6 + clock, messages_received=round(10 * clock), **more
        )
        history.add(now, FACTS)
    return history.points()


def test_a_point_is_what_has_changed_between_two_looks() -> None:
    assert looked(1.0) == []
    first, second = looked(1.0, 2.0, 7.0)
    assert (first["time"], first["seconds"], first["messages_per_second"]) == (1e6 + 2, 1.0, 10.0)
    assert (second["time"], second["seconds"], second["messages_per_second"]) == (
        1e6 + 7,
        5.0,
        10.0,
    )


def test_a_look_that_comes_too_soon_is_told_of_with_the_next() -> None:
    """With a point for it: one message that came then is a thousand a second."""
    (point,) = looked(1.0, 1.01, 2.0)
    assert (point["seconds"], point["messages_per_second"]) == (1.0, 10.0)


def test_a_look_that_comes_too_late_tells_of_no_time() -> None:
    (point,) = looked(1.0, 5000.0, 5001.0)
    assert point["time"] == 1e6 + 5001


def test_clients_are_not_kept() -> None:
    history = History()
    history.add(snapshot(clock=1.0, clients=(client(1),)), FACTS)
    assert history._last is not None
    assert history._last[0].clients is None


@pytest.mark.parametrize("apart", [1.0, 5.0])
def test_the_last_minutes_are_remembered_however_long_it_goes_on(apart: float) -> None:
    points = looked(*(n * apart for n in range(1000)))
    assert len(points) == pytest.approx(SPAN / apart, abs=1)
    assert points[-1]["time"] - points[0]["time"] <= SPAN
