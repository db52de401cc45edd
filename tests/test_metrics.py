"""Figures: scikit-learn is the oracle, a simulation checks the intervals."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from dicomsort.metrics import confusion, figures, threshold_for_precision

LABELS = ("a", "b", "c", "d")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [2, 4])
def test_figures_equal_scikit_learn(seed: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    truth, answers = generator.integers(0, classes, 300), generator.integers(0, classes, 300)
    got = figures(confusion(truth, answers, 4), LABELS, bootstrap=20)
    macro = precision_recall_fscore_support(truth, answers, average="macro", zero_division=0)
    for name, value in zip(("precision", "recall", "f1"), macro[:3], strict=True):
        assert got.macro[name].value == pytest.approx(value, abs=1e-9)
    each = precision_recall_fscore_support(truth, answers, labels=range(classes), zero_division=0)
    for index in range(classes):
        for name, values in zip(("precision", "recall", "f1"), each[:3], strict=True):
            assert got.per_class[LABELS[index]][name].value == pytest.approx(values[index], abs=1e-9)
    assert got.accuracy.value == pytest.approx(accuracy_score(truth, answers), abs=1e-9)


def test_intervals_hold_their_estimate_and_are_reproducible() -> None:
    counts = np.array([[50, 2, 0], [3, 40, 1], [0, 1, 4]])
    one, two = (figures(counts, ("a", "b", "c"), bootstrap=2000, seed=1) for _ in range(2))
    assert one == two
    for figure in (
        one.accuracy,
        *one.macro.values(),
        *(f for part in one.per_class.values() for f in part.values()),
    ):
        assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert one.per_class["c"]["recall"].high - one.per_class["c"]["recall"].low > 0.3


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    shares = np.array([[0.45, 0.05], [0.05, 0.45]])
    covered = 0
    for seed in range(300):
        counts = generator.multinomial(200, shares.ravel()).reshape(2, 2)
        recall = figures(counts, ("a", "b"), bootstrap=400, seed=seed).macro["recall"]
        covered += recall.low <= 0.9 <= recall.high
    assert 0.90 <= covered / 300 <= 0.99


def test_a_class_that_does_not_occur_is_left_out() -> None:
    got = figures(np.array([[5, 1, 0], [0, 4, 0], [0, 0, 0]]), ("a", "b", "c"), bootstrap=50)
    assert np.isnan(got.per_class["c"]["f1"].value)
    assert got.macro["recall"].value == pytest.approx((5 / 6 + 1) / 2)
    assert got.as_dict()["per_class"]["c"]["f1"]["value"] is None


@pytest.mark.parametrize(
    ("confidence", "correct", "precision", "threshold"),
    [
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 1, 1], 0.995, 0.0),
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], 0.995, 0.8),
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], 0.75, 0.0),
        ([0.9, 0.8, 0.8, 0.6], [1, 1, 0, 0], 0.9, 0.9),
    ],
)
def test_threshold_for_precision(
    confidence: list[float], correct: list[int], precision: float, threshold: float
) -> None:
    got = threshold_for_precision(np.array(confidence), np.array(correct, bool), precision)
    assert got == pytest.approx(threshold)


def test_threshold_when_even_the_surest_answer_is_wrong() -> None:
    assert threshold_for_precision(np.array([0.9, 0.8]), np.array([False, True]), 0.995) > 0.9
