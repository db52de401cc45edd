"""Figures as shapes: bars of shares, and how sure a model is, in numbers that a template draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicomsort.report.counts import BINS, Cross, Spread, place_on_scale
from dicomsort.report.gather import Group

WIDTH, HEIGHT = 300.0, 84.0
"""Of a histogram, in the units of its drawing."""

_TICKS = (("0", 0.0), ("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("0.999", 0.999), ("1", 1.0))


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a bar of shares. share: of the whole bar, in percent."""

    name: str
    kind: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a histogram, in its units; `height` counts from `top` downwards."""

    left: float
    width: float
    top: float
    height: float
    kind: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """How sure a model is of the radiographs of one label.

    most: how many the highest bar stands for. threshold: where the review threshold is, and what it is.
    ticks: where which confidence stands.
    """

    label: str
    count: int
    most: int
    bars: Sequence[Bar]
    threshold: tuple[float, str] | None
    ticks: Sequence[tuple[float, str]]


def kind_of(group: str) -> str:
    """Return the name of a group's color in the style sheet."""
    return group.replace(" ", "-")


def shares(counts: Mapping[str, int]) -> list[Part]:
    """Return the parts of a bar, by `Group`; without those that nothing is in."""
    whole = sum(counts.get(group, 0) for group in Group)
    return [
        Part(group.value, kind_of(group), count, round(100 * count / whole, 3))
        for group in Group
        if (count := counts.get(group, 0))
    ]


def row_shares(table: Cross, row: str) -> list[Part]:
    """Return the parts of the bar of one row."""
    return shares({group: table[row, group] for group in Group})


def histogram(label: str, placed: Spread, review: Spread, threshold: object) -> Histogram:
    """Return how the radiographs of a label spread, those in review on top of the others."""
    most = max(map(sum, zip(placed.counts, review.counts, strict=True)))
    bars = []
    for at, (low, high) in enumerate(zip(placed.counts, review.counts, strict=True)):
        left, width = at * WIDTH / BINS, WIDTH / BINS - 0.8
        for count, below, kind in ((low, 0, "sorted"), (high, low, "in-review")):
            if count:
                top, height = (below + count) / most, count / most
                bars.append(_bar(left, width, (top, height), kind))
    is_number = isinstance(threshold, int | float) and 0 <= threshold <= 1
    line = (round(WIDTH * place_on_scale(float(threshold)), 1), f"{threshold:g}") if is_number else None  # type: ignore[arg-type]
    ticks = [(round(WIDTH * place_on_scale(value), 1), text) for text, value in _TICKS]
    return Histogram(label, sum(placed.counts) + sum(review.counts), most, bars, line, ticks)


def _bar(left: float, width: float, extent: tuple[float, float], kind: str) -> Bar:
    """Return a bar, at least so high that it can be seen. extent: its top and its height, from 0 to 1."""
    top, height = extent
    high = max(1.0, height * HEIGHT)
    return Bar(
        round(left, 1), round(width, 1), round(HEIGHT - max(top * HEIGHT, high), 1), round(high, 1), kind
    )
