"""What a share of a sample says of the whole: exact bounds (Clopper and Pearson 1934)."""

import math

import numpy as np

_HALVINGS = 50


def interval(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a share, of which `hits` of `count` were seen.

    count: 0 tells nothing, (0, 1).
    """
    each = (1 + confidence) / 2
    return lower_bound(hits, count, each), 1 - lower_bound(count - hits, count, each)


def lower_bound(hits: int, count: int, confidence: float) -> float:
    """Return the exact one-sided lower bound of a share, of which `hits` of `count` were seen."""
    low, high = 0.0, 1.0
    if hits == 0:
        return 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        unlikely = at_most(count - hits, count, 1 - middle) <= 1 - confidence
        low, high = (middle, high) if unlikely else (low, middle)
    return low


def at_most(wrong: int, count: int, share: float) -> float:
    """Return how likely it is that at most `wrong` of `count` are wrong where `share` is (binomial)."""
    if share <= 0 or wrong >= count:
        return 1.0
    if share >= 1:
        return 0.0
    number = np.arange(1, wrong + 1)
    steps = np.log(count - number + 1) - np.log(number) + math.log(share) - math.log1p(-share)
    terms = count * math.log1p(-share) + np.concatenate([[0.0], np.cumsum(steps)])
    return min(1.0, float(np.exp(terms).sum()))
