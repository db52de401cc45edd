"""Intervals by resampling: what units there are, how often each is drawn, and what that does to a figure.

Intervals are 95 % percentile intervals of the bootstrap (Efron 1979).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Values = NDArray[np.float64]
Weights = NDArray[np.int32]
Scores = dict[str, Values]

_INTERVAL = (2.5, 97.5)
_ELEMENTS = 1 << 20
"""Array elements of the resamples that are drawn at a time."""

_DRAWN = 1 << 16
"""Units of the resamples that are drawn at a time one by one: as many as a processor has close at hand."""

_THREADS = 2
"""Threads that score while the main one draws, which is nearly half of the work."""

_OFTEN = 12
"""Groups of at least so many units are drawn as a whole: a binomial costs as much as a dozen indices."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate and its 95 % bootstrap percentile interval, which always holds it; NaN where undefined."""

    value: float
    low: float
    high: float


def group_alike(cell: Counts, patient: Counts | None) -> tuple[Counts, Counts, Counts]:
    """Group what is resampled by its cells; units of one group are interchangeable.

    Returns how many units each group has, and of one unit of each group the images: group and cell (m,).
    Without patients a unit is an image. Patients with the same cells, in whatever order, are told by the sum
    of a random 64-bit number for each cell, which two others share with a chance of 2**-63.
    """
    if patient is None:
        frequency = np.bincount(cell)
        return frequency, np.arange(len(frequency)), np.arange(len(frequency))
    mark = np.random.default_rng(0).integers(2**64, size=cell.max(initial=0) + 1, dtype=np.uint64)
    order = np.argsort(patient, kind="stable")
    starts = np.flatnonzero(np.diff(patient[order], prepend=-1))
    sums = np.add.reduceat(mark[cell[order]], starts)
    _, first, group, frequency = np.unique(sums, return_index=True, return_inverse=True, return_counts=True)
    shown = np.isin(patient, first)
    return frequency, group[patient[shown]], cell[shown]


def draw(frequency: Counts, size: int, generator: np.random.Generator) -> Weights:
    """Resample units with replacement: how often each group of alike units is drawn (size, groups).

    That is a multinomial. Groups of few units are drawn unit by unit, which is the same and faster.
    """
    often, groups = frequency >= _OFTEN, len(frequency)
    rare = np.repeat(np.flatnonzero(~often), frequency[~often])
    units = int(frequency.sum())
    drawn = generator.multinomial(units, np.append(len(rare), frequency[often]) / units, size=size)
    counts = np.zeros((size, groups), np.int32)
    counts[:, often] = drawn[:, 1:]
    rows = max(1, _DRAWN // max(len(rare), groups))
    for start in range(0, size if len(rare) else 0, rows):
        several = drawn[start : start + rows, 0]
        group = rare[generator.integers(len(rare), size=int(several.sum()))]
        cell = np.repeat(np.arange(0, len(several) * groups, groups), several) + group
        found = np.bincount(cell, minlength=len(several) * groups)
        counts[start : start + rows] += found.reshape(-1, groups)
    return counts


def estimates(
    frequency: Counts,
    score: Callable[[Weights], Scores],
    width: int,
    bootstrap: int,
    generator: np.random.Generator,
) -> dict[str, list[Estimate]]:
    """Score the data and their resamples: of each name the figures of its columns.

    score: takes how often each group was drawn (b, groups), returns values (b,) or (b, columns). width: how
    many numbers it works with for each resample, which bounds the resamples drawn at a time.
    """
    first = score(frequency[None].astype(np.int32))
    size, chunks = max(1, _ELEMENTS // max(width, 1)), [first]
    if bootstrap and frequency.size:
        sizes = (min(size, bootstrap - start) for start in range(0, bootstrap, size))
        chunks = list(_scored((draw(frequency, each, generator) for each in sizes), score))
    found = {}
    for name, values in first.items():
        resampled = np.concatenate([chunk[name] for chunk in chunks])
        columns = resampled.reshape(len(resampled), -1).T
        found[name] = [estimate(*pair) for pair in zip(map(float, values.ravel()), columns, strict=True)]
    return found


def _scored(draws: Iterable[Weights], score: Callable[[Weights], Scores]) -> Iterator[Scores]:
    """Score resamples in threads, in their order; few are kept at a time."""
    waiting: deque[Future[Scores]] = deque()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="bootstrap") as executor:
        for drawn in draws:
            waiting.append(executor.submit(score, drawn))
            if len(waiting) > _THREADS:
                yield waiting.popleft().result()
        yield from (each.result() for each in waiting)


def estimate(value: float, resampled: Values) -> Estimate:
    """Return a value with the interval of its resamples (b,), of which those that are NaN do not count."""
    kept = resampled[~np.isnan(resampled)]
    if np.isnan(value) or not kept.size:
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.percentile(kept, _INTERVAL)
    return Estimate(value, min(float(low), value), max(float(high), value))
