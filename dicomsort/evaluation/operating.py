"""Operating points: what a threshold does to the images with a label, and to those without it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dicomsort.errors import UsageError
from dicomsort.evaluation import binomial
from dicomsort.evaluation.bootstrap import Counts, Estimate, Scores, Values, Weights, estimates, group_alike
from dicomsort.evaluation.delong import auc_with_interval
from dicomsort.evaluation.metrics import Predictions, without_nan
from dicomsort.model.heads import Head

FIGURES = ("sensitivity", "specificity", "ppv", "npv", "f1")
SENSITIVITY, SPECIFICITY, YOUDEN = "sensitivity", "specificity", "youden"
MODEL, VALIDATION, MEASURED = "model", "validation", "measured"
"""Where a threshold comes from: the model itself, its validation part, or the very images measured."""

_SHARES = {"sensitivity": (3, 2), "specificity": (0, 1), "ppv": (3, 1), "npv": (0, 2)}
"""Of each share of `_cells` the hits, and what else it is a share of."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a threshold is to reach: at least `least` (0..1) of a figure, or the greatest Youden's J."""

    figure: str
    least: float = 0.0

    @property
    def name(self) -> str:
        """The goal in words."""
        return "Youden's J" if self.figure == YOUDEN else f"{self.figure} {self.least:g}"


@dataclass(frozen=True, slots=True)
class Point:
    """A threshold and its figures; `threshold` is None where the largest score decides.

    chosen_on: `model`, `validation` or `measured`. figures: those of FIGURES; NaN of no images.
    """

    name: str
    threshold: float | None
    chosen_on: str
    figures: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class LabelPoints:
    """The operating points of one label against the rest. auc: with the interval of DeLong et al."""

    label: str
    positives: int
    negatives: int
    auc: Estimate
    points: tuple[Point, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values; NaN becomes None."""
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain


class _Truth(NamedTuple):
    """Of one label: which images have it (n,), and its scores (n,)."""

    relevant: NDArray[np.bool_]
    scores: Values


def goal_of(text: str) -> Goal:
    """Read `sensitivity=0.95`, `specificity=0.9` or `youden`. Raises UsageError for anything else."""
    figure, _, number = text.strip().partition("=")
    try:
        least = float(number or "nan")
    except ValueError:
        least = float("nan")
    if figure == YOUDEN and not number:
        return Goal(YOUDEN)
    if figure not in (SENSITIVITY, SPECIFICITY) or not 0 < least <= 1:
        raise UsageError(f"--at '{text}': use sensitivity=0.95, specificity=0.9 or youden")
    return Goal(figure, least)


def threshold_for(goal: Goal, relevant: NDArray[np.bool_], scores: Values) -> float:
    """Return the score from which on a label should count: scores >= it reach the goal on these images.

    Of those that reach a sensitivity the highest, of those that reach a specificity the lowest, of those
    with the greatest Youden's J (Youden 1950) the highest. Needs images with the label and without it.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.diff(ranked, append=-np.inf))
    found = np.append(0, np.cumsum(relevant[order])[ends])
    wrong = np.append(0, np.cumsum(~relevant[order])[ends])
    limits = np.append(np.nextafter(ranked[0], np.inf), ranked[ends])
    if goal.figure == SENSITIVITY:
        return float(limits[np.argmax(found / found[-1] >= goal.least)])
    if goal.figure == SPECIFICITY:
        return float(limits[np.flatnonzero((wrong[-1] - wrong) / wrong[-1] >= goal.least)[-1]])
    return float(limits[np.argmax(found * wrong[-1] - wrong * found[-1])])


def operating_points(
    head: Head,
    predictions: Predictions,
    tuning: Predictions | None,
    goals: Sequence[Goal],
    bootstrap: int,
    seed: int,
) -> tuple[LabelPoints, ...]:
    """Compute the points of the second label of two, of each of several labels, or of each class if asked.

    tuning: the images that thresholds are chosen on, those measured where there are none or a label is
    missing among them. goals: further points beside the one in use and Youden's J; those of a multiclass
    head, one class against the rest, are computed only if there is a goal.
    """
    if predictions.kind == "multiclass" and not goals:
        return ()
    wanted = tuple(dict.fromkeys((*goals, Goal(YOUDEN))))
    first = 1 if predictions.kind == "binary" else 0
    thresholds = head.answering.thresholds or (0.5,) * len(predictions.labels)

    def label_points(index: int) -> LabelPoints:
        own, label = _truth(predictions, index), predictions.labels[index]
        limit = None if predictions.kind == "multiclass" else thresholds[index - first]
        found = [Point("in use", limit, MODEL, measured(own.relevant, _chosen(predictions, index)))]
        for goal, threshold, where in _thresholds(
            wanted, own, None if tuning is None else _truth(tuning, index)
        ):
            figures = measured(own.relevant, own.scores >= threshold)
            found.append(Point(goal.name, threshold, where, figures))
        positives = int(own.relevant.sum())
        auc = auc_with_interval(own.relevant, own.scores, predictions.clusters)
        return LabelPoints(label, positives, len(own.relevant) - positives, auc, tuple(found))

    def measured(relevant: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> dict[str, Estimate]:
        return figures_of(relevant, chosen, predictions.clusters, bootstrap, seed)

    return tuple(label_points(index) for index in range(first, len(predictions.labels)))


def _truth(predictions: Predictions, index: int) -> _Truth:
    truth = predictions.truth
    relevant = truth[:, index] if predictions.kind == "multilabel" else truth == index
    return _Truth(np.asarray(relevant, np.bool_), predictions.scores[:, index])


def _chosen(predictions: Predictions, index: int) -> NDArray[np.bool_]:
    chosen = predictions.chosen
    return np.asarray(chosen[:, index] if predictions.kind == "multilabel" else chosen == index, np.bool_)


def _thresholds(
    goals: Sequence[Goal], own: _Truth, tuning: _Truth | None
) -> Iterator[tuple[Goal, float, str]]:
    """Choose the thresholds on the tuning images, or on those measured; none if these lack either kind."""
    for given, where in ((tuning, VALIDATION), (own, MEASURED)):
        if given is not None and given.relevant.any() and not given.relevant.all():
            for goal in goals:
                yield goal, threshold_for(goal, *given), where
            return


def figures_of(
    relevant: NDArray[np.bool_],
    chosen: NDArray[np.bool_],
    clusters: Counts | None,
    bootstrap: int,
    seed: int,
) -> dict[str, Estimate]:
    """Compute the figures of a yes or no for each image (n,), with intervals.

    Those are bootstrap intervals of images or patients. A share of 0 or 1 is the same in every resample; it
    has the exact interval of Clopper and Pearson, for as many images, or patients, as it is a share of.
    """
    cell = 2 * relevant.astype(np.int64) + chosen
    unit = None if clusters is None else np.unique(clusters, return_inverse=True)[1]
    frequency, group, shown = group_alike(cell, unit)
    table = np.zeros((len(frequency), 4))
    np.add.at(table, (group, shown), 1)

    def score(counts: Weights) -> Scores:
        return _figures(counts @ table)

    found = estimates(frequency, score, len(frequency), bootstrap, np.random.default_rng(seed))
    single = {name: each[0] for name, each in found.items()}
    for name, of in _SHARES.items() if bootstrap else ():
        if single[name].value in (0.0, 1.0):
            counted = np.isin(cell, of)
            units = int(counted.sum()) if unit is None else len(np.unique(unit[counted]))
            single[name] = _exact(int(single[name].value), units)
    return single


def _exact(value: int, count: int) -> Estimate:
    return Estimate(float(value), *binomial.interval(value * count, count))


def _figures(cells: Values) -> Scores:
    """Compute the figures of counts (b, 4): tn, fp, fn, tp."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = {
            name: cells[:, hit] / (cells[:, hit] + cells[:, other]) for name, (hit, other) in _SHARES.items()
        }
        return {**shares, "f1": 2 * cells[:, 3] / (2 * cells[:, 3] + cells[:, 1] + cells[:, 2])}
