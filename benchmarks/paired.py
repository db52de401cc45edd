"""Figures of two builds that took turns: the order, the ratios by pairs, and the table."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")

_HEAD = ("figure", "unit", "older", "newer", "ratio", "range", "to reach", "reached")


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be reached: a limit of the ratio, or (own) of the newer build's figure in its own unit."""

    limit: float
    at_least: bool = False
    own: bool = False

    def met(self, value: float) -> bool:
        """Return whether a ratio, or a figure, is within the limit."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {number(self.limit)}"


@dataclass(frozen=True, slots=True)
class Kind:
    """What is measured. comparable: whether the ratio of two such figures says anything."""

    name: str
    unit: str
    goal: Goal | None = None
    comparable: bool = True

    def not_slower(self) -> "Kind":
        """Return the same with no other goal than to take no longer, or to do no less a second."""
        goals = {"s": Goal(1.0), "ms": Goal(1.0), "images/s": Goal(1.0, at_least=True)}
        return replace(self, goal=goals.get(self.unit))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A figure of the older and of a newer build, one for each pair, in the order of the pairs."""

    kind: Kind
    build: str
    older: tuple[float, ...]
    newer: tuple[float, ...]

    def ratios(self) -> list[float]:
        """Return newer over older, pair by pair; none where a ratio says nothing."""
        if not self.kind.comparable or min(self.older) <= 0:
            return []
        return [newer / older for older, newer in zip(self.older, self.newer, strict=True)]

    def reached(self) -> tuple[bool, int] | None:
        """Return whether the median meets the goal, and how many of the pairs do; None without a goal."""
        goal = self.kind.goal
        values = self.newer if goal and goal.own else self.ratios()
        if goal is None or not values:
            return None
        return goal.met(statistics.median(values)), sum(map(goal.met, values))

    def summary(self) -> dict[str, Any]:
        """Return all there is to know, for JSON."""
        ratios, reached, goal = self.ratios(), self.reached(), self.kind.goal
        return {
            "figure": self.kind.name,
            "unit": self.kind.unit,
            "build": self.build,
            "older": self.older,
            "newer": self.newer,
            "ratios": ratios,
            "ratio": statistics.median(ratios) if ratios else None,
            "goal": str(goal) if goal else None,
            "of": None if goal is None else "newer" if goal.own else "ratio",
            "reached": reached[0] if reached else None,
            "pairs_that_reach_it": reached[1] if reached else None,
        }


def turns(builds: Sequence[T], rounds: int) -> Iterator[Sequence[T]]:
    """Yield the order of each round: A B, B A, A B ..., so that a drift of the machine favors neither."""
    for at in range(rounds):
        yield builds if at % 2 == 0 else builds[::-1]


def number(value: float) -> str:
    """Write a number with as many digits as it deserves."""
    return f"{value:.{2 if abs(value) < 100 else 0}f}"


def row(found: Comparison) -> tuple[str, ...]:
    """Return the cells of one comparison: medians of the figures, median and range of the paired ratios."""
    kind, ratios, reached = found.kind, found.ratios(), found.reached()
    goal = f"{kind.goal}{f' {kind.unit}' if kind.goal and kind.goal.own else ''}" if reached else ""
    return (
        kind.name if found.build == "newer" else f"  the same, {found.build}",
        kind.unit,
        number(statistics.median(found.older)),
        number(statistics.median(found.newer)),
        number(statistics.median(ratios)) if ratios else "",
        f"{number(min(ratios))} to {number(max(ratios))}" if ratios else "",
        goal.rstrip(),
        f"{'yes' if reached[0] else 'no'}, {reached[1]} of {len(found.newer)}" if reached else "",
    )


def lines(found: Sequence[Comparison], head: bool = True) -> list[str]:
    """Return the lines of the table, figures to the right and words to the left."""
    return [_line(cells) for cells in ([_HEAD] if head else []) + [row(each) for each in found]]


def machine(cpuinfo: str, cores: int) -> dict[str, Any]:
    """Name a machine by Linux's /proc/cpuinfo, and tell which bfloat16 instructions it has."""
    values = dict(_pairs(cpuinfo))
    flags = (values.get("flags") or values.get("Features") or "").split()
    names = ("avx512_bf16", "amx_bf16", "bf16")  # the last on arm64
    return {
        "processor": values.get("model name", "unknown processor"),
        "cores": cores,
        "bfloat16": [name for name in names if name in flags],
    }


def _pairs(cpuinfo: str) -> Iterator[tuple[str, str]]:
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip(), value.strip()


def _line(cells: tuple[str, ...]) -> str:
    first, unit, *numbers, goal, reached = cells
    aligned = [f"{cell:>{width}}" for cell, width in zip(numbers, (8, 8, 6, 12), strict=True)]
    return f"{first:46} {unit:8} {' '.join(aligned)}  {goal:18} {reached}".rstrip()
