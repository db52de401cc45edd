"""Truth and scores to figures with confidence intervals."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

Counts = NDArray[np.int64]
Values = NDArray[np.float64]

_INTERVAL = (2.5, 97.5)
_CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate with its 95 % bootstrap percentile interval; NaN where a class does not occur."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What a confusion matrix (truth, prediction) says. Values are shares, 0..1."""

    labels: tuple[str, ...]
    images: int
    confusion: tuple[tuple[int, ...], ...]
    accuracy: Figure
    macro: dict[str, Figure]
    per_class: dict[str, dict[str, Figure]]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values; NaN becomes None."""
        plain: dict[str, Any] = _without_nan(asdict(self))
        return plain


def confusion(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Counts:
    """Count (truth, prediction) pairs of class indices: (classes, classes)."""
    return np.asarray(confusion_matrix(truth, predicted, labels=np.arange(classes)), np.int64)


def figures(counts: Counts, labels: tuple[str, ...], bootstrap: int = 1000, seed: int = 0) -> Figures:
    """Turn a confusion matrix into accuracy, precision, recall and F1 with intervals.

    Per class and macro; macro is the mean over the classes that occur as truth or as prediction, as in
    scikit-learn. Resampling images with replacement is drawing the matrix from a multinomial (Efron 1979);
    `bootstrap` is the number of resamples, 0 gives intervals of the estimate alone.
    """
    estimate = _scores(counts[None])
    resampled = _resample(counts, bootstrap, seed) if bootstrap else estimate
    names = ("precision", "recall", "f1")
    per_class = {
        label: {name: _figure(estimate[name][:, index], resampled[name][:, index]) for name in names}
        for index, label in enumerate(labels)
    }
    macro = {name: _figure(_mean(estimate[name]), _mean(resampled[name])) for name in names}
    return Figures(
        labels=labels,
        images=int(counts.sum()),
        confusion=tuple(tuple(int(count) for count in row) for row in counts),
        accuracy=_figure(estimate["accuracy"], resampled["accuracy"]),
        macro=macro,
        per_class=per_class,
    )


def _resample(counts: Counts, bootstrap: int, seed: int) -> dict[str, Values]:
    generator = np.random.default_rng(seed)
    total = int(counts.sum())
    shares = counts.ravel() / total
    chunks = []
    for start in range(0, bootstrap, _CHUNK):
        drawn = generator.multinomial(total, shares, size=min(_CHUNK, bootstrap - start))
        chunks.append(_scores(drawn.reshape(-1, *counts.shape)))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _scores(counts: Counts) -> dict[str, Values]:
    """Score matrices (n, k, k): accuracy (n,), precision, recall and F1 (n, k), NaN for classes not seen."""
    hits = np.diagonal(counts, axis1=1, axis2=2).astype(np.float64)
    truth, predicted = counts.sum(axis=2), counts.sum(axis=1)
    absent = truth + predicted == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = {
            "precision": np.where(predicted > 0, hits / predicted, 0.0),
            "recall": np.where(truth > 0, hits / truth, 0.0),
            "f1": 2 * hits / (truth + predicted),
        }
    for values in scores.values():
        values[absent] = np.nan
    return {**scores, "accuracy": hits.sum(axis=1) / counts.sum(axis=(1, 2))}


def _mean(values: Values) -> Values:
    return np.asarray(np.nanmean(values, axis=1))


def _figure(estimate: Values, resampled: Values) -> Figure:
    value = float(estimate[0])
    kept = resampled[~np.isnan(resampled)]
    if np.isnan(value) or not kept.size:
        return Figure(float("nan"), float("nan"), float("nan"))
    low, high = np.percentile(kept, _INTERVAL)
    return Figure(value, min(float(low), value), max(float(high), value))


def threshold_for_precision(confidence: Values, correct: NDArray[np.bool_], precision: float) -> float:
    """Return the lowest confidence above which at least `precision` of the answers are right.

    Returns 0 if all answers together reach it, and just above the highest confidence if none do.
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


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value
