"""The area under a ROC curve with an interval that no resampling is needed for.

DeLong, DeLong and Clarke-Pearson 1988, Comparing the Areas under Two or More Correlated Receiver Operating
Characteristic Curves; with several images of a patient: Obuchowski 1997, Nonparametric Analysis of Clustered
ROC Curve Data, which is the same where every patient has one image.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from dicomsort.evaluation.bootstrap import Counts, Estimate, Values

_WIDTH = NormalDist().inv_cdf(0.975)


def auc_with_interval(relevant: NDArray[np.bool_], scores: Values, units: Counts | None = None) -> Estimate:
    """Compute the area under the ROC curve, ties counting half, and its 95 % interval, cut to 0..1.

    relevant, scores: of each image (n,). units: the patient of each, None where each stands alone. NaN
    without relevant images or without others; no interval with fewer than two units of either kind.
    """
    nan = float("nan")
    if relevant.all() or not relevant.any():
        return Estimate(nan, nan, nan)
    own = np.arange(len(scores)) if units is None else np.unique(units, return_inverse=True)[1]
    above = _placed(scores[relevant], scores[~relevant])
    below = 1 - _placed(scores[~relevant], scores[relevant])
    auc = float(above.mean())
    deviation = _deviation(above - auc, below - auc, own[relevant], own[~relevant])
    low, high = np.clip([auc - _WIDTH * deviation, auc + _WIDTH * deviation], 0.0, 1.0)
    return Estimate(auc, float(low), float(high))


def _placed(scores: Values, others: Values) -> Values:
    """Return of each score (n,) the share of the others that are lower, ties counting half."""
    ranked = np.sort(others)
    places = np.searchsorted(ranked, scores, "left") + np.searchsorted(ranked, scores, "right")
    return np.asarray(places / (2 * len(others)), np.float64)


def _deviation(above: Values, below: Values, positive: Counts, negative: Counts) -> float:
    """Return the standard error; of the images with the label and without: what they add, and their units."""
    units = int(np.append(positive, negative).max()) + 1
    with_label, without = len(np.unique(positive)), len(np.unique(negative))
    if min(with_label, without) < 2:
        return float("nan")
    one = np.bincount(positive, above, units) / len(positive)
    other = np.bincount(negative, below, units) / len(negative)
    variance = (one @ one) * with_label / (with_label - 1) + (other @ other) * without / (without - 1)
    variance += 2 * (one @ other) * units / (units - 1)
    return math.sqrt(max(0.0, float(variance)))
