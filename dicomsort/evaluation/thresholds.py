"""What a score means for one head: its temperature, its thresholds, and where a person should look.

Temperature: Guo et al. 2017, On Calibration of Modern Neural Networks.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dicomsort.evaluation.bootstrap import Values
from dicomsort.model.heads import Head

REVIEW_PRECISION = 0.99
"""The share of predictions that is to be right where no person looks, by default."""

_LOWEST, _HIGHEST = 0.05, 20.0
_HALVINGS = 60
_FINEST = 1e4


def threshold_for_precision(confidence: Values, correct: NDArray[np.bool_], precision: float) -> float:
    """Return the lowest confidence above which at least `precision` of the predictions are right.

    Returns 0 if all predictions together reach it, and just above the highest confidence if none do.
    """
    order = np.argsort(-confidence, kind="stable")
    right = np.cumsum(correct[order]) / np.arange(1, len(order) + 1)
    last_of_ties = np.append(np.diff(confidence[order]) != 0, True)
    reaching = np.flatnonzero((right >= precision) & last_of_ties)
    if not reaching.size:
        return float(min(1.0, np.nextafter(confidence.max(), 2.0)))
    if reaching[-1] == len(order) - 1:
        return 0.0
    return float(confidence[order[reaching[-1]]])


def best_thresholds(truth: NDArray[np.bool_], scores: Values) -> tuple[float, ...]:
    """Return for each label the score from which on it should count for its F1 on these data to be highest.

    truth, scores: (n, k). Looks at 0.0100, 0.0101 ... 0.9900; of several best ones the middle of the longest
    row of neighbors; 0.5 for a label that does not occur.
    """
    return tuple(map(_best_threshold, np.asarray(truth, np.bool_).T, np.asarray(scores, np.float64).T))


def _best_threshold(truth: NDArray[np.bool_], scores: Values) -> float:
    if not truth.any():
        return 0.5
    grid = np.arange(100, 9901) / 10_000
    chosen = len(scores) - np.searchsorted(np.sort(scores), grid)
    hits = truth.sum() - np.searchsorted(np.sort(scores[truth]), grid)
    f1 = 2 * hits / (chosen + truth.sum())
    edges = np.flatnonzero(np.diff(f1 == f1.max(), prepend=False, append=False))
    first, after = edges[::2], edges[1::2]
    longest = int(np.argmax(after - first))
    return float(grid[(first[longest] + after[longest] - 1) // 2])


def fitted_head(
    head: Head, logits: NDArray[np.float32], truth: NDArray[np.float32], coldest: float = 0.0
) -> Head:
    """Give a head the temperature, and of several labels the thresholds, that suit (n, head.width) logits.

    truth: what `targets.encode` gives, NaN where unknown. coldest: the lowest temperature.
    """
    known = ~np.isnan(truth).any(axis=1)
    found = fit_temperature(head.kind, logits[known], truth[known])
    fitted = replace(head, temperature=max(coldest, found))
    if head.kind != "multilabel" or not known.any():
        return fitted
    scores = fitted.scores(logits[known]).astype(np.float64)
    return replace(fitted, thresholds=best_thresholds(head.truth(truth[known]) > 0.5, scores))


def right(head: Head, scores: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which predictions are right (n,); with several labels: right in all of them.

    An ancestor that a rare label was merged into is right where that label is true.
    """
    chosen, truth = head.chosen(scores), head.truth(truth)
    if head.kind == "multilabel":
        return np.asarray((chosen == (truth > 0.5)).all(axis=1))
    return np.asarray(chosen == (truth[:, 0] if head.kind == "binary" else truth.argmax(axis=1)))


def review_threshold(confidence: NDArray[np.float64], correct: NDArray[np.bool_], precision: float) -> float:
    """Return the confidence 0..1 from which `precision` of the predictions are right, rounded up if possible.

    Just above the highest confidence, or 1, if even the surest predictions are not.
    """
    exact = min(threshold_for_precision(confidence, correct, precision), 1.0)
    rounded = min(math.ceil(exact * _FINEST) / _FINEST, 1.0)
    enough = confidence >= rounded
    return rounded if enough.any() and correct[enough].mean() >= precision else exact


def reaches(
    threshold: float, confidence: NDArray[np.float64], correct: NDArray[np.bool_], precision: float
) -> bool:
    """Return whether some predictions have at least this confidence, and `precision` of them are right."""
    above = correct[confidence >= threshold]
    return bool(above.size and above.mean() >= precision)


def fit_temperature(kind: str, logits: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the temperature, 0.05 to 20, that minimizes the log loss; 1 without data.

    logits, truth: (n, width), truth 0 and 1 as `targets.encode` gives it; rows with NaN do not count. The
    loss is convex in 1 / temperature, so its slope is halved down: softmax for multiclass, else the logistic
    function of every logit.
    """
    known = ~np.isnan(truth).any(axis=1)
    values, wanted = np.asarray(logits, np.float64)[known], np.asarray(truth, np.float64)[known]
    if not len(values):
        return 1.0
    head = Head("slope", tuple(f"c{index}" for index in range(max(2, values.shape[1]))), kind=kind)
    low, high = math.log(1 / _HIGHEST), math.log(1 / _LOWEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        said = head.scores(values * math.exp(middle))[:, -values.shape[1] :]
        slope = float(((said - wanted) * values).sum())
        low, high = (middle, high) if slope < 0 else (low, middle)
    return round(float(np.clip(math.exp(-(low + high) / 2), _LOWEST, _HIGHEST)), 4)
