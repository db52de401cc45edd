"""Counts that stay small whatever they count: cross tables, and the best few of many."""

import math
from collections import Counter
from dataclasses import dataclass, field
from heapq import heappush, heapreplace
from typing import NamedTuple

REST = "(all others)"
"""What everything together is called that has no row, or no column, of its own."""

DECADES, PER_DECADE = 4, 8
BINS = DECADES * PER_DECADE


class Cross:
    """Counts by two texts, a row and a column.

    Only so many rows and columns, those that come first, are kept apart; all others count as REST.
    """

    def __init__(self, most_rows: int = 5000, most_columns: int = 50) -> None:
        self._cells: Counter[tuple[str, str]] = Counter()
        self.rows: Counter[str] = Counter()
        self.columns: Counter[str] = Counter()
        self._most_rows, self._most_columns = most_rows, most_columns

    def add(self, row: str, column: str, count: int) -> None:
        """Count something."""
        row = row if row in self.rows or len(self.rows) < self._most_rows else REST
        column = column if column in self.columns or len(self.columns) < self._most_columns else REST
        self._cells[row, column] += count
        self.rows[row] += count
        self.columns[column] += count

    def __getitem__(self, place: tuple[str, str]) -> int:
        return self._cells[place]

    def __bool__(self) -> bool:
        return bool(self.rows)

    def most(self, rows: int, columns: int) -> "Cross":
        """Return the counts with no more rows and columns than this, the largest, and REST."""
        smaller = Cross(rows + 1, columns + 1)
        kept_rows, kept_columns = _largest(self.rows, rows), _largest(self.columns, columns)
        for row in (*kept_rows, REST):
            for column in (*kept_columns, REST):
                smaller._reserve(row, column)
        for (row, column), count in self._cells.items():
            smaller.add(row if row in kept_rows else REST, column if column in kept_columns else REST, count)
        smaller._drop_empty()
        return smaller

    def _reserve(self, row: str, column: str) -> None:
        """Keep a row and a column apart, in this order."""
        self.rows[row] += 0
        self.columns[column] += 0

    def _drop_empty(self) -> None:
        self.rows, self.columns = +self.rows, +self.columns

    def as_dict(self) -> dict[str, dict[str, int]]:
        """Return the counts as JSON values, without those that are 0."""
        return {
            row: {column: self[row, column] for column in self.columns if self[row, column]}
            for row in self.rows
        }


def _largest(counts: Counter[str], most: int) -> dict[str, int]:
    """Return the largest counts, and of equal ones the first by name; REST is none of them."""
    named = ((name, count) for name, count in counts.items() if name != REST)
    return dict(sorted(named, key=lambda each: (-each[1], each[0]))[:most])


class Spread:
    """How many numbers from 0 to 1 lie where, on a scale that widens towards 1: 0, 0.9, 0.99, 0.999."""

    def __init__(self) -> None:
        self.counts = [0] * BINS

    def add(self, number: float) -> None:
        """Count a number."""
        self.counts[min(BINS - 1, int(place_on_scale(number) * BINS))] += 1


def place_on_scale(number: float) -> float:
    """Return where a number from 0 to 1 stands on the scale of `Spread`, from 0 (left) to 1 (right)."""
    left = 1.0 - number
    return 1.0 if left <= 10**-DECADES else max(0.0, -math.log10(left) / DECADES)


class Shown(NamedTuple):
    """A file whose picture may be shown; texts as the manifest writes them. at: the place of its row.

    label: the model's, where a person has said another.
    """

    confidence: float
    at: int
    path: str
    destination: str
    action: str
    label: str = ""


class Best:
    """The few files of the highest confidence, or of the lowest; of equal ones those that came first."""

    def __init__(self, most: int, lowest: bool) -> None:
        self._most, self._sign = most, -1.0 if lowest else 1.0
        self._heap: list[tuple[float, int, Shown]] = []

    def offer(self, one: Shown) -> None:
        """Keep a file if it is one of the best so far."""
        key = self._sign * one.confidence
        if len(self._heap) < self._most:
            heappush(self._heap, (key, -one.at, one))
        elif self._heap and key > self._heap[0][0]:
            heapreplace(self._heap, (key, -one.at, one))

    def ranked(self) -> list[Shown]:
        """Return them, the best first."""
        return [one for _, _, one in sorted(self._heap, reverse=True)]


@dataclass(slots=True)
class Examples:
    """How many there are of something, and the first few of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, one: str, most: int) -> None:
        """Count one, and keep it if there are fewer than `most`."""
        self.count += 1
        if len(self.first) < most:
            self.first.append(one)


def sure(confidence: float) -> str:
    """Return a confidence as a person reads it; `>0.999` instead of one that would be rounded to 1."""
    text = f"{confidence:.3f}"
    return ">0.999" if text == "1.000" else text


def share(count: float, of: float) -> str:
    """Return a count as a share of others: `12.3 %`; empty if there are none."""
    return f"{100 * count / of:.1f} %" if of else ""
