"""Figures as Markdown and JSON, and 95 % intervals of sums over what is resampled as one."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.evaluation.bootstrap import Estimate

Values = NDArray[np.float64]
Units = Sequence[str] | NDArray[np.str_]

_INTERVAL = (2.5, 97.5)
_TOGETHER = 1 << 21  # draws at a time


def resampled(units: Units, columns: Values, bootstrap: int, seed: int = 0) -> Values:
    """Resample units with all their rows and sum the columns (n, c) of what was drawn: (bootstrap, c)."""
    _, unit = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    count = int(unit.max(initial=-1)) + 1
    sums = np.zeros((count, columns.shape[1]))
    np.add.at(sums, unit, columns)
    generator, size = np.random.default_rng(seed), max(1, _TOGETHER // max(count, 1))
    parts = [np.zeros((0, columns.shape[1]))]
    for start in range(0, bootstrap if count else 0, size):
        several = min(size, bootstrap - start)
        drawn = generator.integers(count, size=(several, count)) + count * np.arange(several)[:, None]
        parts.append(np.bincount(drawn.ravel(), minlength=several * count).reshape(several, count) @ sums)
    return np.concatenate(parts)


def figure(value: float, draws: Values) -> Estimate:
    """Put the 95 % percentile interval of resamples (b,), which always holds the value, around it."""
    kept = draws[~np.isnan(draws)]
    if math.isnan(value) or not kept.size:
        return Estimate(value, math.nan, math.nan)
    low, high = np.percentile(kept, _INTERVAL)
    return Estimate(value, min(float(low), value), max(float(high), value))


def ratio(hits: Values, among: Values) -> Values:
    """Divide, NaN where there is nothing to divide by."""
    return np.asarray(np.divide(hits, among, out=np.full(np.shape(among), np.nan), where=among > 0))


def share(hits: NDArray[np.bool_], units: Units, bootstrap: int, seed: int = 0) -> Estimate:
    """Return the share of hits (n,) with its interval, units resampled; NaN of nothing."""
    columns = np.column_stack([hits, np.ones(len(hits))])
    draws = resampled(units, columns, bootstrap, seed)
    return figure(float(hits.mean()) if len(hits) else math.nan, ratio(draws[:, 0], draws[:, 1]))


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def plain(value: float) -> str:
    """Write a figure between 0 and 1; nothing for NaN."""
    return "" if math.isnan(value) else f"{value:.3f}"


def percent(value: float) -> str:
    """Write a share in per cent; nothing for NaN."""
    return "" if math.isnan(value) else f"{100 * value:.1f} %"


def spread(given: Estimate) -> str:
    """Write a figure with its interval, if it has one."""
    if math.isnan(given.low):
        return plain(given.value)
    return f"{given.value:.3f} ({given.low:.3f} to {given.high:.3f})"


def percent_spread(given: Estimate) -> str:
    """Write a share in per cent with its interval, if it has one."""
    if math.isnan(given.low):
        return percent(given.value)
    return f"{percent(given.value)} ({100 * given.low:.1f} to {100 * given.high:.1f})"


def without_nan(value: Any) -> Any:
    """Turn NaN into None, for JSON."""
    if isinstance(value, dict):
        return {name: without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
