"""Plots for the report: HTML with inline SVG, drawn here, that needs nothing from elsewhere.

The SVG holds what may be stretched: lines, bars and the grid, in a box of 0..1000 each way
that takes whatever shape the page gives it. What may not be stretched, text, is HTML that
stands at percentages of the same box. So a plot is as readable on a telephone as on paper.
Colours are the style sheet's, by class.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Axis", "Bars", "Curve", "linear_axis", "log_axis", "nines_axis", "plot", "span_axis"]

_SIDE = 1000.0  # of the box, in its own units
_ALL_STEPS = 2.0  # decades, up to which all steps of a logarithmic axis have labels
_TICK_ROOM = 0.12  # of an axis that two labels need

Point = tuple[float, float | None]  # without a value: the curve is interrupted here
Words = Callable[[float], str]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A scale: ``place`` maps a value to 0..1, ``ticks`` are values with their labels."""

    title: str
    place: Callable[[float], float]
    ticks: tuple[tuple[float, str], ...]
    words: Words  # a value as the readout shows it


@dataclass(frozen=True)
class Curve:
    """A line through ``points``; ``look`` is its class: corrected, uncorrected, p50..."""

    name: str
    look: str
    points: Sequence[Point]
    filled: bool = False  # down to the axis


@dataclass(frozen=True)
class Bars:
    """Bars from the axis up, each from x ``low`` to ``high``, the least first."""

    name: str
    look: str
    bars: Sequence[tuple[float, float, float]]  # low, high, value
    outlined: bool = False  # without what is inside, so that others are seen behind them


# Scales.


def linear_axis(title: str, low: float, high: float, words: Words, ticks: int = 5) -> Axis:
    """From ``low`` to ``high``, or somewhat beyond, so that a tick ends it."""
    step = _nice((high - low) / ticks if high > low else max(abs(high), 1.0) / ticks)
    first, last = math.floor(low / step + 1e-9), max(math.ceil(high / step - 1e-9), 1)
    bottom, top = first * step, max(last, first + 1) * step
    values = [number * step for number in range(first, max(last, first + 1) + 1)]
    return Axis(
        title=title,
        place=lambda value: (value - bottom) / (top - bottom),
        ticks=tuple((value, words(value)) for value in values),
        words=words,
    )


def span_axis(title: str, low: float, high: float, words: Words, ticks: int = 6) -> Axis:
    """From ``low`` to ``high`` exactly, as time goes; ticks have no unit."""
    length = (high - low) or 1.0
    step = _nice(length / ticks)
    number = math.ceil(low / step - 1e-9)
    values = []
    while number * step <= high + length * 1e-9:
        values.append(number * step)
        number += 1
    return Axis(
        title=title,
        place=lambda value: (value - low) / length,
        ticks=tuple((value, f"{round(value, 9):g}") for value in values),
        words=words,
    )


def log_axis(title: str, low: float, high: float, words: Words) -> Axis:
    """From a power of ten, or 2 or 5 times one, to another; ``low`` and ``high`` above 0."""
    steps = _one_two_five(low, max(high, low * 1.0001))
    bottom, top = math.log10(steps[0]), math.log10(steps[-1])
    marked = steps
    if top - bottom > _ALL_STEPS:
        powers = [value for value in steps if _is_power(value)]
        room = (top - bottom) * _TICK_ROOM
        ends = [
            end
            for end, power in ((steps[0], powers[0]), (steps[-1], powers[-1]))
            if abs(math.log10(end / power)) > room
        ]
        marked = sorted(powers + ends)
    return Axis(
        title=title,
        place=lambda value: (math.log10(max(value, steps[0])) - bottom) / (top - bottom),
        ticks=tuple((value, words(value)) for value in marked),
        words=words,
    )


def nines_axis(title: str, most: float) -> Axis:
    """Percentages, so that each further nine has the same room; up to ``most`` below 100."""
    nines = max(_nines(most), 1.0)
    named = [50.0, 90.0, *(100.0 - 10.0 ** (1 - n) for n in range(1, 7))]
    values = [value for value in dict.fromkeys(named) if _nines(value) <= nines + 1e-9]
    return Axis(
        title=title,
        place=lambda value: min(_nines(value) / nines, 1.0),
        ticks=tuple((value, f"{percent(value)} %") for value in values),
        words=lambda value: f"{percent(value)} %",
    )


def percent(value: float) -> str:
    """All the nines that there are: 99.9, 99.99; else as few digits as possible."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _nines(value: float) -> float:
    return -math.log10(max(1.0 - value / 100.0, 1e-9))


def _nice(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    for factor in (1, 2, 5, 10):
        if step <= factor * power * (1 + 1e-9):
            return factor * power
    raise AssertionError("unreachable")


def _one_two_five(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from the last one below ``low`` to the first above."""
    exponent = math.floor(math.log10(low)) - 1
    all_steps = [
        float(f"{factor}e{power}")
        for power in range(exponent, math.ceil(math.log10(high)) + 2)
        for factor in (1, 2, 5)
    ]
    first = max(n for n, step in enumerate(all_steps) if step <= low * (1 + 1e-9))
    last = min(n for n, step in enumerate(all_steps) if step >= high * (1 - 1e-9))
    return all_steps[first : max(last, first + 1) + 1]


def _is_power(value: float) -> bool:
    exponent = math.log10(value)
    return abs(exponent - round(exponent)) < 1e-9


# The plot.


def plot(
    title: str,
    x: Axis,
    y: Axis,
    curves: Iterable[Curve | Bars],
    *,
    note: str = "",
    mark: tuple[float, str] | None = None,
) -> str:
    """A figure; ``mark`` is a level on the y axis that a dashed line shows, with its name."""
    shapes = list(curves)
    drawn = "".join(_drawn(shape, x, y) for shape in shapes)
    marked = labelled = ""
    if mark is not None:
        level = _from_top(y, mark[0])
        marked = f'<path class="mark" d="M0 {level:.1f}H{_SIDE:.0f}"/>'
        labelled = f'<span class="marked" style="top:{level / 10:.2f}%">{escape(mark[1])}</span>'
    return (
        f'<figure class="chart"><figcaption><h3>{escape(title)}</h3>'
        f"{_legend(shapes)}</figcaption>"
        f'<div class="frame"><span class="unit">{escape(y.title)}</span>'
        f'<div class="plot" data-readout="{escape(_readout(shapes, x, y))}">'
        f'<svg viewBox="0 0 {_SIDE:.0f} {_SIDE:.0f}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(title)}">{_grid(x, y)}{drawn}{marked}</svg>'
        f"{labelled}{_labels(x, y)}</div>"
        f'<span class="unit x">{escape(x.title)}</span></div>'
        + (f'<p class="note">{escape(note)}</p>' if note else "")
        + "</figure>"
    )


def _from_top(y: Axis, value: float) -> float:
    return _SIDE * (1 - min(max(y.place(value), 0.0), 1.0))


def _grid(x: Axis, y: Axis) -> str:
    across = "".join(f"M0 {_from_top(y, value):.1f}H{_SIDE:.0f}" for value, _ in y.ticks)
    down = "".join(f"M{_SIDE * x.place(value):.1f} 0V{_SIDE:.0f}" for value, _ in x.ticks)
    return f'<path class="grid" d="{across}{down}"/>'


def _labels(x: Axis, y: Axis) -> str:
    rows = [
        f'<span class="tick y" style="top:{_from_top(y, value) / 10:.2f}%">{escape(label)}</span>'
        for value, label in y.ticks
    ]
    # Every second label may go where there is little room; the style sheet decides.
    last = len(x.ticks) - 1
    rows += [
        f'<span class="tick x{" odd" if (last - n) % 2 else ""}" '
        f'style="left:{100 * x.place(value):.2f}%">{escape(label)}</span>'
        for n, (value, label) in enumerate(x.ticks)
    ]
    return "".join(rows)


def _drawn(shape: Curve | Bars, x: Axis, y: Axis) -> str:
    if isinstance(shape, Bars):
        if shape.outlined:
            return f'<path class="line {shape.look}" d="{_outline(shape, x, y)}"/>'
        path = "".join(
            f"M{_SIDE * x.place(low):.1f} {_SIDE:.0f}V{_from_top(y, value):.1f}"
            f"H{_SIDE * x.place(high):.1f}V{_SIDE:.0f}Z"
            for low, high, value in shape.bars
        )
        return f'<path class="bars {shape.look}" d="{path}"/>'
    runs = [_run(run, x, y) for run in _unbroken(shape.points)]
    line = "".join("M" + "L".join(run if len(run) > 1 else run * 2) for run in runs)
    area = ""
    if shape.filled:
        shut = "".join(
            f"M{run[0].split()[0]} {_SIDE:.0f}L{'L'.join(run)}L{run[-1].split()[0]} {_SIDE:.0f}Z"
            for run in runs
        )
        area = f'<path class="area {shape.look}" d="{shut}"/>'
    return f'{area}<path class="line {shape.look}" d="{line}"/>'


def _outline(shape: Bars, x: Axis, y: Axis) -> str:
    path = ""
    end: float | None = None  # where the last bar ended
    for low, high, value in shape.bars:
        if low != end:
            path += ("" if end is None else f"V{_SIDE:.0f}") + f"M{_SIDE * x.place(low):.1f} "
            path += f"{_SIDE:.0f}"
        path += f"V{_from_top(y, value):.1f}H{_SIDE * x.place(high):.1f}"
        end = high
    return path + ("" if end is None else f"V{_SIDE:.0f}")


def _run(points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> list[str]:
    return [f"{_SIDE * x.place(at):.1f} {_from_top(y, value):.1f}" for at, value in points]


def _unbroken(points: Iterable[Point]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for at, value in points:
        if value is not None:
            runs[-1].append((at, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _legend(shapes: Sequence[Curve | Bars]) -> str:
    keys = "".join(
        f'<span class="key"><i class="{"block " if _is_block(shape) else ""}{shape.look}">'
        f"</i>{escape(shape.name)}</span>"
        for shape in shapes
    )
    return f'<p class="legend">{keys}</p>'


def _is_block(shape: Curve | Bars) -> bool:
    return isinstance(shape, Bars) and not shape.outlined


def _readout(shapes: Sequence[Curve | Bars], x: Axis, y: Axis) -> str:
    """What the pointer shows: places from the left, what they are called, and the values."""
    table: dict[float, dict[int, float]] = {}
    names: dict[float, str] = {}
    for n, shape in enumerate(shapes):
        if isinstance(shape, Bars):
            for low, high, value in shape.bars:
                middle = (x.place(low) + x.place(high)) / 2
                names[round(middle, 4)] = f"{x.words(low)} to {x.words(high)}"
                table.setdefault(round(middle, 4), {})[n] = value
        else:
            for at, point in shape.points:
                if point is not None:
                    place = round(x.place(at), 4)
                    names.setdefault(place, x.words(at))
                    table.setdefault(place, {})[n] = point
    places = sorted(table)
    return json.dumps(
        {
            "names": [[shape.name, shape.look] for shape in shapes],
            "places": places,
            "at": [names[place] for place in places],
            "values": [
                [
                    y.words(table[place][n]) if n in table[place] else None
                    for n in range(len(shapes))
                ]
                for place in places
            ],
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
