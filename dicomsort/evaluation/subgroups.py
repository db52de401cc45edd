"""Values of a column to groups of images: as they stand, by bands of age, or by quartiles."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

UNKNOWN, REST = "unknown", "other values"

_AGES = ((3, "0-2"), (13, "3-12"), (18, "13-17"), (40, "18-39"), (65, "40-64"), (float("inf"), "65+"))
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([YMWD]?)", re.IGNORECASE)
_YEARS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 1 / 52.18, "D": 1 / 365.25}
_MOST_NUMBERS, _MOST_GROUPS = 10, 30


def groups_of(column: str, values: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Return for each group of values which of them belong to it (n,); no group is empty.

    Ages (the column `age`, or one that ends in `_age`; years, or DICOM's 012M) are put into bands of years,
    other columns of more than 10 different numbers into quartiles. Of other values the 30 most common have a
    group each, the rest one together.
    """
    if column.casefold() == "age" or column.casefold().endswith("_age"):
        names, order = [_age_band(value) for value in values], [band for _, band in _AGES]
    elif (numbers := _numbers(values)) is not None:
        names, order = _quartiles(numbers)
    else:
        common = Counter(value for value in values if value).most_common(_MOST_GROUPS)
        order = sorted(value for value, _ in common)
        names = [value if value in order else REST if value else UNKNOWN for value in values]
    found = np.array(names, np.object_)
    order = list(dict.fromkeys((*order, REST, UNKNOWN)))
    return {name: members for name in order if (members := np.asarray(found == name, np.bool_)).any()}


def _age_band(value: str) -> str:
    found = _AGE.fullmatch(value.strip())
    if not found:
        return UNKNOWN
    years = float(found[1]) * _YEARS[found[2].upper()]
    return next(name for below, name in _AGES if years < below)


def _numbers(values: Sequence[str]) -> NDArray[np.float64] | None:
    """Read numbers, NaN for an empty cell; None if there are other texts, or few different numbers."""
    try:
        numbers = np.array([float(value) if value else np.nan for value in values])
    except ValueError:
        return None
    known = numbers[~np.isnan(numbers)]
    return numbers if np.isfinite(known).all() and len(np.unique(known)) > _MOST_NUMBERS else None


def _quartiles(numbers: NDArray[np.float64]) -> tuple[list[str], list[str]]:
    """Name the quartile of each number by its ends; the upper end belongs to it."""
    edges = np.unique(np.nanpercentile(numbers, [0, 25, 50, 75, 100]))
    order = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    places = np.clip(np.searchsorted(edges, numbers, side="left") - 1, 0, len(order) - 1)
    names = [
        UNKNOWN if np.isnan(number) else order[place] for number, place in zip(numbers, places, strict=True)
    ]
    return names, order
