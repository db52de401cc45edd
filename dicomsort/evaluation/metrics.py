"""Truth and scores to figures with confidence intervals; two models on the same images.

Intervals are 95 % percentile intervals of the bootstrap (Efron 1979). What is resampled are images or, where
patients are known, patients with all their images (Field and Welsh 2007, Bootstrapping clustered data).
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.evaluation.bootstrap import Counts, Estimate, Scores, Values, Weights, estimates, group_alike
from dicomsort.evaluation.ranking import Ranking, ranking_of

BINS = 15
_DENSE = 40  # products that take as long as looking up one image
_EACH = ("precision", "recall", "f1", "auc", "ap")
_COMPARED = (
    "accuracy", "subset_accuracy", "f1_macro", "recall_macro", "precision_macro", "kappa", "log_loss",
    "auc_macro", "auc_positive",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model said of n images; what every figure is computed from.

    kind: `multiclass`, `binary` or `multilabel`. labels: k names, of binary the negative, then the positive.
    truth, chosen: class indices (n,), or for multilabel bool (n, k). scores: probabilities (n, k); rows of
    multiclass and binary add up to 1. clusters: the number of each image's patient (n,), None where unknown.
    """

    kind: str
    labels: tuple[str, ...]
    truth: NDArray[Any]
    chosen: NDArray[Any]
    scores: Values
    clusters: Counts | None = None

    def take(self, indices: NDArray[Any]) -> "Predictions":
        """Return some of the images, by index or by a bool for each."""
        clusters = None if self.clusters is None else self.clusters[indices]
        truth, chosen, scores = self.truth[indices], self.chosen[indices], self.scores[indices]
        return replace(self, truth=truth, chosen=chosen, scores=scores, clusters=clusters)


@dataclass(frozen=True, slots=True)
class Metrics:
    """What `measure` says.

    images, clusters: how many images and patients (None: images were resampled). bootstrap: resamples.
    confusion: (k, k), rows are the truth; multilabel (k, 4): tn, fp, fn, tp of each label. per_class:
    precision, recall, f1, auc and ap of each label against the rest. support: images with that truth.
    """

    kind: str
    labels: tuple[str, ...]
    images: int
    clusters: int | None
    bootstrap: int
    confusion: tuple[tuple[int, ...], ...]
    overall: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]
    support: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values; NaN becomes None."""
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain


def confusion(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Counts:
    """Count (truth, prediction) pairs of class indices: (classes, classes)."""
    cells = np.asarray(truth, np.int64) * classes + predicted
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def measure(predictions: Predictions, bootstrap: int = 1000, seed: int = 0) -> Metrics:
    """Compute every figure, with intervals from `bootstrap` resamples; 0 gives the estimates alone.

    Precision, recall and F1 are 0 for a class never predicted (or never true), NaN for one that is neither;
    macro is the mean over the classes that occur as truth or prediction, weighted the mean by true images.
    auc: area under the ROC curve, one class against the rest, ties count half; NaN without the class or its
    rest. ap: average precision, stepwise; NaN without the class. Their macro is the mean over the classes
    that have one; in binary there is none, but `auc_positive` and `ap_positive`, of the positive class.
    log_loss: natural logarithm, probabilities clipped to the machine's epsilon. brier: squared error of the
    probabilities, of binary that of the positive, of multiclass summed over the classes (0..2), of multilabel
    their mean.
    ece: expected calibration error, 15 bins of equal width (Guo et al. 2017), of the chosen class; of
    multilabel that of every image and label. kappa: Cohen 1960.
    f1_samples: F1 of each image's labels, then the mean; 1 where none is true and none chosen.

    A resample in which a figure is undefined does not count for its interval.
    """
    generator = np.random.default_rng(seed)
    patient, patients = _patients(predictions)
    cell, table = _cells(predictions)
    frequency, unit, cell = group_alike(cell, None if predictions.clusters is None else patient)
    counted, judged = (
        _confusion_metrics(predictions, unit, cell, table),
        _score_metrics(predictions, patient, patients),
    )
    figures = estimates(frequency, counted.scores, len(unit), bootstrap, generator)
    figures |= estimates(np.ones(patients, np.int64), judged.scores, len(patient), bootstrap, generator)
    matrix = _matrix(predictions)
    support = matrix[:, 2:].sum(axis=1) if predictions.kind == "multilabel" else matrix.sum(axis=1)
    return Metrics(
        kind=predictions.kind,
        labels=predictions.labels,
        images=len(patient),
        clusters=None if predictions.clusters is None else patients,
        bootstrap=bootstrap,
        confusion=tuple(tuple(map(int, row)) for row in matrix),
        overall={name: each[0] for name, each in figures.items() if name not in _EACH},
        per_class={
            label: {name: figures[name][index] for name in _EACH}
            for index, label in enumerate(predictions.labels)
        },
        support=dict(zip(predictions.labels, map(int, support), strict=True)),
    )


def differences(
    one: Predictions, other: Predictions, bootstrap: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Compute the differences other - one of two models on the same images, each resample drawn for both.

    Names and definitions as in `measure`. Raises ValueError if kind, labels, truth or patients differ.
    """
    _check_same(one, other)
    patient, patients = _patients(one)
    parts = [
        (
            _confusion_metrics(predictions, patient, *_cells(predictions)),
            _score_metrics(predictions, patient, patients),
        )
        for predictions in (one, other)
    ]

    def score(counts: Weights) -> Scores:
        first, second = (counted.scores(counts) | judged.scores(counts) for counted, judged in parts)
        return {name: second[name] - first[name] for name in _COMPARED if name in first}

    units, generator = np.ones(patients, np.int64), np.random.default_rng(seed)
    figures = estimates(units, score, len(patient), bootstrap, generator)
    return {name: figure for name, (figure,) in figures.items()}


def macro(predictions: Predictions) -> dict[str, float]:
    """Compute precision_macro, recall_macro, f1_macro and accuracy (of multilabel: subset), no intervals."""
    cell, table = _cells(predictions)
    frequency, unit, cell = group_alike(cell, None)
    scores = _confusion_metrics(predictions, unit, cell, table).scores(frequency[None].astype(np.int32))
    names = {name: name for name in ("precision_macro", "recall_macro", "f1_macro")}
    names["accuracy"] = "subset_accuracy" if predictions.kind == "multilabel" else "accuracy"
    return {name: float(scores[source][0]) for name, source in names.items()}


def _check_same(one: Predictions, other: Predictions) -> None:
    if (one.kind, one.labels) != (other.kind, other.labels):
        raise ValueError("the two models answer different questions: kind or labels differ")
    if not np.array_equal(one.truth, other.truth):
        raise ValueError("the two models were not asked about the same images: their truth differs")
    if not np.array_equal(_patients(one)[0], _patients(other)[0]):
        raise ValueError("the two models were not asked about the same images: their patients differ")


def _patients(predictions: Predictions) -> tuple[Counts, int]:
    """Return the unit that each image is resampled with, numbered from 0 (n,), and how many there are."""
    if predictions.clusters is None:
        return np.arange(len(predictions.truth)), len(predictions.truth)
    found, patient = np.unique(predictions.clusters, return_inverse=True)
    return patient, len(found)


def _matrix(predictions: Predictions) -> Counts:
    if predictions.kind != "multilabel":
        return confusion(predictions.truth, predictions.chosen, len(predictions.labels))
    return np.stack([each.sum(axis=0) for each in _outcomes(predictions.truth, predictions.chosen)], axis=1)


def _outcomes(truth: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
    """Return tn, fp, fn and tp, each bool (n, k)."""
    return ~truth & ~chosen, ~truth & chosen, truth & ~chosen, truth & chosen


def _cells(predictions: Predictions) -> tuple[Counts, Values]:
    """Return the number of each image's pair of truth and answer (n,), and what each pair adds to the sums.

    `_ConfusionMetrics` computes with the sums (cells, columns): of multiclass and binary the confusion matrix
    (k * k), of multilabel tn, fp, fn, tp (4 * k), whether all labels are right, and F1 over the labels.
    """
    k = len(predictions.labels)
    if predictions.kind != "multilabel":
        found, cell = np.unique(predictions.truth * k + predictions.chosen, return_inverse=True)
        return cell, (found[:, None] == np.arange(k * k)).astype(np.float64)
    bits = np.packbits(np.hstack([predictions.truth, predictions.chosen]), axis=1)
    _, first, cell = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    truth, chosen = predictions.truth[first], predictions.chosen[first]
    named = truth.sum(axis=1) + chosen.sum(axis=1)
    f1 = np.where(named > 0, 2 * (truth & chosen).sum(axis=1) / np.maximum(named, 1), 1.0)
    exact = (truth == chosen).all(axis=1)
    return cell.reshape(-1), np.column_stack([*_outcomes(truth, chosen), exact, f1])


@dataclass(frozen=True, slots=True)
class _ConfusionMetrics:
    """What is computed from sums over the images.

    adds: what a unit of each group adds to the sums (groups, columns); empty where that would be too much to
    multiply. Then groups: of each image, by cell; starts: of each cell; table: as `_cells` gives it.
    """

    kind: str
    classes: int
    adds: Values
    groups: Counts
    starts: Counts
    table: Values

    def scores(self, counts: Weights) -> Scores:
        """Score resamples (b, groups)."""
        sums = (
            counts @ self.adds
            if self.adds.size
            else np.add.reduceat(counts[:, self.groups], self.starts, axis=1) @ self.table
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.kind == "multilabel":
                return _multilabel_scores(sums, self.classes)
            return _multiclass_scores(sums.reshape(-1, self.classes, self.classes))


def _confusion_metrics(
    predictions: Predictions, unit: Counts, cell: Counts, table: Values
) -> _ConfusionMetrics:
    order = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[order], np.arange(len(table)))
    groups, columns = int(unit.max(initial=-1)) + 1, table.shape[1]
    adds = np.zeros((groups if groups * columns <= _DENSE * len(unit) else 0, columns))
    if len(adds):
        np.add.at(adds, unit, table[cell])
    return _ConfusionMetrics(predictions.kind, len(predictions.labels), adds, unit[order], starts, table)


def _multiclass_scores(matrix: Values) -> Scores:
    """Score confusion matrices (b, k, k)."""
    hits = np.diagonal(matrix, axis1=1, axis2=2)
    truth, predicted, images = matrix.sum(axis=2), matrix.sum(axis=1), matrix.sum(axis=(1, 2))
    accuracy = hits.sum(axis=1) / images
    chance = (truth * predicted).sum(axis=1) / images**2
    kappa = (accuracy - chance) / (1 - chance)
    return {"accuracy": accuracy, **_per_class(hits, truth, predicted), "kappa": kappa}


def _multilabel_scores(sums: Values, k: int) -> Scores:
    """Score sums (b, 4 * k + 2), see `_cells`."""
    negative, false, missed, hits = (sums[:, start : start + k] for start in range(0, 4 * k, k))
    images = (negative + false + missed + hits)[:, 0]
    named = (false + missed + 2 * hits).sum(axis=1)
    return {
        "subset_accuracy": sums[:, -2] / images,
        **_per_class(hits, missed + hits, false + hits),
        "f1_micro": 2 * hits.sum(axis=1) / named,
        "f1_samples": sums[:, -1] / images,
    }


def _per_class(hits: Values, truth: Values, predicted: Values) -> Scores:
    """Compute precision, recall and F1 of each class (b, k), NaN if it does not occur, and their means."""
    absent = truth + predicted == 0
    each = {
        "precision": np.where(predicted > 0, hits / predicted, 0.0),
        "recall": np.where(truth > 0, hits / truth, 0.0),
        "f1": 2 * hits / (truth + predicted),
    }
    for values in each.values():
        values[absent] = np.nan
    total = truth.sum(axis=1)
    even = {f"{name}_macro": _mean(values) for name, values in each.items()}
    weighted = {
        f"{name}_weighted": np.nansum(values * truth, axis=1) / total for name, values in each.items()
    }
    return each | even | weighted


def _mean(values: Values) -> Values:
    """Average each row (b, k) over what is not NaN."""
    return np.asarray(np.nansum(values, axis=1) / (~np.isnan(values)).sum(axis=1))


@dataclass(frozen=True, slots=True)
class _ScoreMetrics:
    """What is computed from scores. sums: images, log loss, Brier, gaps of ECE of each unit (units, 18)."""

    kind: str
    rankings: tuple[Ranking, ...]
    sums: Values

    def scores(self, counts: Weights) -> Scores:
        """Score resamples (b, units)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            pairs = [ranking.scores(counts) for ranking in self.rankings]
            auc, ap = (np.stack(columns, axis=1) for columns in zip(*pairs, strict=True))
            if self.kind == "binary":
                auc[:, 0] = auc[:, 1]
            images, log_loss, brier, *gaps = (counts @ self.sums).T
            means = {
                "log_loss": log_loss / images,
                "brier": brier / images,
                "ece": sum(map(abs, gaps)) / images,
            }
            each = {"auc": auc, "ap": ap}
            if self.kind == "binary":
                return means | each | {f"{name}_positive": values[:, 1] for name, values in each.items()}
            return means | each | {f"{name}_macro": _mean(values) for name, values in each.items()}


def _score_metrics(predictions: Predictions, unit: Counts, units: int) -> _ScoreMetrics:
    k = len(predictions.labels)
    known = (
        predictions.truth if predictions.kind == "multilabel" else predictions.truth[:, None] == np.arange(k)
    )
    rankings = tuple(map(ranking_of, known.T, predictions.scores.T, [unit] * k))
    sums = np.zeros((units, 3 + BINS))
    for column, values in enumerate((np.ones(len(unit)), *_losses(predictions, known).T)):
        sums[:, column] = np.bincount(unit, values, units)
    bins, gaps = _gaps(predictions)
    np.add.at(sums, (unit[:, None], 3 + bins), gaps)
    return _ScoreMetrics(predictions.kind, rankings, sums)


def _losses(predictions: Predictions, known: NDArray[np.bool_]) -> Values:
    """Return each image's log loss and Brier score (n, 2)."""
    tiny = np.finfo(np.float64).eps
    given = np.where(known, predictions.scores, 1 - predictions.scores)
    surprise = -np.log(np.clip(given, tiny, 1 - tiny))
    squares = (1 - given) ** 2
    if predictions.kind == "multilabel":
        return np.column_stack([surprise.mean(axis=1), squares.mean(axis=1)])
    brier = squares[:, 1] if predictions.kind == "binary" else squares.sum(axis=1)
    return np.column_stack([surprise[known], brier])


def _gaps(predictions: Predictions) -> tuple[Counts, Values]:
    """Return by how much each confidence falls short of its being right, and its bin: (n, 1) or (n, k)."""
    if predictions.kind == "multilabel":
        confidence, right = predictions.scores, predictions.truth
    else:
        confidence = np.take_along_axis(predictions.scores, predictions.chosen[:, None], axis=1)
        right = (predictions.truth == predictions.chosen)[:, None]
    return bins_of(confidence), (right - confidence) / confidence.shape[1]


def bins_of(confidence: Values) -> Counts:
    """Return in which of the 15 bins of equal width of the calibration error each confidence 0..1 lies."""
    return np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence)


def without_nan(value: Any) -> Any:
    """Return dicts, lists and numbers for JSON: NaN becomes None, a tuple a list."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value
