"""Numbers of a report as the coordinates of its plots. Pure; the drawing is in `templates/report/plots.html.j2`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

WIDTH, HEIGHT = 560.0, 170.0
HITS = 10


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with its label and the text of its value; `share` of the longest, 0 to 1."""

    label: str
    text: str
    share: float


@dataclass(frozen=True, slots=True)
class Curve:
    """How many values are at most so large: points in a box of WIDTH × HEIGHT, ticks on the axis of values."""

    points: str
    ticks: tuple[tuple[float, str], ...]
    median: str
    largest: str


@dataclass(frozen=True, slots=True)
class Dots:
    """One dot a value in a box of WIDTH × HEIGHT, with 1 at its top: (x, y, good). `limit` is the line's y."""

    points: tuple[tuple[float, float, bool], ...]
    limit: float
    least: str


def sizes(found: Mapping[str, int]) -> list[Bar]:
    """Bytes by name as bars, in their order."""
    most = max(found.values(), default=1) or 1
    return [Bar(name, megabytes(size), size / most) for name, size in found.items()]


def ranks(found: Sequence[int]) -> list[Bar]:
    """How often each place was the first right one; the last bar counts what was not found."""
    numbers = [sum(rank == place for rank in found) for place in (*range(1, HITS + 1), 0)]
    labels = [*map(str, range(1, HITS + 1)), "none"]
    most = max(numbers) or 1
    return [Bar(label, str(number), number / most) for label, number in zip(labels, numbers, strict=True)]


def curve(found: Sequence[float]) -> Curve | None:
    """The milliseconds' cumulative distribution; None where there are fewer than two."""
    values = sorted(found)
    if len(values) < 2:
        return None
    top = _round_up(values[-1])
    steps = [(0.0, HEIGHT)]
    for number, value in enumerate(values, start=1):
        x, before = value / top * WIDTH, steps[-1][1]
        steps += [(x, before), (x, HEIGHT * (1 - number / len(values)))]
    steps.append((WIDTH, 0.0))
    ticks = tuple((WIDTH * each / 4, _short(top * each / 4)) for each in range(5))
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in steps)
    return Curve(points, ticks, f"{_short(median_low(values))} ms", f"{_short(values[-1])} ms")


def dots(found: Sequence[float], least: float) -> Dots | None:
    """Values up to 1 with a line at the least good one; None where there are no values."""
    if not found:
        return None
    low = min(least - (1 - least), *found)
    step = WIDTH / len(found)

    def height(value: float) -> float:
        return HEIGHT * (1 - value) / max(1 - low, 1e-9)

    points = tuple((step * (place + 0.5), height(value), value >= least) for place, value in enumerate(found))
    return Dots(points, height(least), f"{least:g}")


def megabytes(size: int) -> str:
    """Bytes in the largest unit that gives a number of at least one."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{_short(size / factor)} {unit}"
    return f"{size} B"


def _round_up(value: float) -> float:
    """The next larger of 1, 2, 5, 10, 20, …"""
    if value <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
