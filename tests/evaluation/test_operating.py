"""Operating points and areas under the curve: published examples and scikit-learn say what is right."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from sklearn import metrics as oracle

from dicomsort.errors import UsageError
from dicomsort.evaluation.delong import auc_with_interval
from dicomsort.evaluation.metrics import Predictions, measure
from dicomsort.evaluation.operating import (
    FIGURES,
    Goal,
    figures_of,
    goal_of,
    operating_points,
    threshold_for,
)
from dicomsort.model.heads import Head

OVARIAN = """
3.0 5.8 10 0   3.2 6.3  5 1   3.9 6.8  3 1   2.8 4.8  6 0   3.2 5.8  3 1   0.9 4.0  5 0   2.5 5.7  8 0
1.6 5.6  5 1   3.8 5.7  5 1   3.7 6.7  6 1   3.2 5.4  4 1   3.8 6.6  6 1   4.1 6.6  5 1   3.6 5.7  5 1
4.3 7.0  4 1   3.6 6.7  4 0   2.3 4.4  6 1   4.2 7.6  4 0   4.0 6.6  6 0   3.5 5.8  6 1   3.8 6.8  7 1
3.0 4.7  8 0   4.5 7.4  5 1   3.7 7.4  5 1   3.1 6.6  6 1   4.1 8.2  6 1   4.3 7.0  5 1   4.3 6.5  4 1
3.2 5.1  5 1   2.6 4.7  6 1   3.3 6.8  6 0   1.7 4.0  7 0   3.7 6.1  5 1   3.3 6.3  7 1   4.2 7.7  6 1
3.5 6.2  5 1   2.9 5.7  9 0   2.1 4.8  7 1   2.8 6.2  8 0   4.0 7.0  7 1   3.3 5.7  6 1   3.7 6.9  5 1
3.6 6.6  5 1
"""
"""Albumin, total protein, K-G score and who was helped, of the 43 patients in DeLong et al. 1988."""

PUBLISHED = {
    "albumin": (0.7366, 0.5549, 0.9182),
    "protein": (0.6478, 0.4518, 0.8439),
    "K-G": (0.7258, 0.5243, 0.9273),
}
"""Area and 95 % limits by DeLong's method: SAS/STAT User's Guide, LOGISTIC, 'Comparing ROC Curves'."""


def ovarian() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    albumin, protein, score, helped = np.array(OVARIAN.split(), np.float64).reshape(-1, 4).T
    return helped == 1, {"albumin": albumin, "protein": protein, "K-G": 10 - score}


def made_up(images: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties, the higher the likelier the label."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 41, images) / 40
    return generator.random(images) < scores, scores


def binary(relevant: np.ndarray, scores: np.ndarray, clusters: np.ndarray | None = None) -> Predictions:
    both = np.stack([1 - scores, scores], axis=1)
    truth, chosen = relevant.astype(np.int64), (scores >= 0.5).astype(np.int64)
    return Predictions("binary", ("no", "yes"), truth, chosen, both, clusters)


@pytest.mark.parametrize("test", PUBLISHED)
def test_the_area_and_its_interval_are_those_published_for_the_data_of_delong(test: str) -> None:
    helped, scores = ovarian()
    found = auc_with_interval(helped, scores[test])
    assert (found.value, found.low, found.high) == pytest.approx(PUBLISHED[test], abs=5e-5)


def test_the_bootstrap_interval_of_the_area_is_close_to_the_published_one() -> None:
    helped, scores = ovarian()
    value, low, high = PUBLISHED["albumin"]
    found = measure(binary(helped, scores["albumin"] / 10), 4000).per_class["yes"]["auc"]
    assert found.value == pytest.approx(value, abs=5e-5)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.03)


def test_images_shown_twice_add_nothing_where_patients_are_known() -> None:
    relevant, scores = made_up(80)
    once, again = auc_with_interval(relevant, scores), np.tile(np.arange(80), 2)
    twice = auc_with_interval(np.tile(relevant, 2), np.tile(scores, 2), again)
    assert (twice.value, twice.low, twice.high) == pytest.approx((once.value, once.low, once.high))
    alone = auc_with_interval(np.tile(relevant, 2), np.tile(scores, 2))
    assert alone.high - alone.low < 0.75 * (once.high - once.low)


def test_the_interval_of_patients_with_both_kinds_of_images_covers_the_truth() -> None:
    """Each patient adds the same to all scores, so the true area of two images of two patients is known."""
    generator, covered = np.random.default_rng(0), 0
    shift, spread = 1.0, math.sqrt(2 * (1 + 1))
    truth = NormalDist().cdf(shift / spread)
    for _ in range(300):
        patient = np.repeat(np.arange(60), 4)
        relevant = np.tile([False, False, True, True], 60)
        scores = generator.normal(size=60)[patient] + generator.normal(size=240) + shift * relevant
        found = auc_with_interval(relevant, scores, patient)
        covered += found.low <= truth <= found.high
    assert 0.91 <= covered / 300 <= 0.98


def test_an_area_without_one_kind_is_not_defined_and_one_unit_has_no_interval() -> None:
    assert np.isnan(auc_with_interval(np.array([True, True]), np.array([0.1, 0.2])).value)
    lone = auc_with_interval(np.array([True, False, False]), np.array([0.3, 0.2, 0.4]))
    assert lone.value == 0.5
    assert np.isnan(lone.low)


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_are_those_of_the_roc_curve_of_scikit_learn(seed: int) -> None:
    relevant, scores = made_up(seed=seed)
    wrong, found, limits = oracle.roc_curve(relevant, scores, drop_intermediate=False)
    assert threshold_for(Goal("youden"), relevant, scores) == limits[np.argmax(found - wrong)]
    for least in (0.5, 0.8, 0.95, 1.0):
        highest = max(limit for limit, share in zip(limits, found, strict=True) if share >= least)
        assert threshold_for(Goal("sensitivity", least), relevant, scores) == highest
        lowest = min(limit for limit, share in zip(limits, wrong, strict=True) if 1 - share >= least - 1e-12)
        assert threshold_for(Goal("specificity", least), relevant, scores) == (
            lowest if np.isfinite(lowest) else np.nextafter(scores.max(), 2)
        )


def test_a_threshold_may_have_to_lie_above_every_score() -> None:
    relevant, scores = np.array([True, False]), np.array([0.2, 0.9])
    limit = threshold_for(Goal("specificity", 1.0), relevant, scores)
    assert limit > 0.9
    figures = figures_of(relevant, scores >= limit, None, 0, 0)
    assert figures["specificity"].value == 1
    assert figures["sensitivity"].value == 0
    assert np.isnan(figures["ppv"].value)


@pytest.mark.parametrize("patients", [None, 90])
def test_the_figures_are_those_of_scikit_learn(patients: int | None) -> None:
    relevant, scores = made_up()
    chosen = scores >= 0.6
    clusters = None if patients is None else np.random.default_rng(0).integers(0, patients, 300)
    got = figures_of(relevant, chosen, clusters, 200, 0)
    wanted = {
        "sensitivity": oracle.recall_score(relevant, chosen),
        "specificity": oracle.recall_score(~relevant, ~chosen),
        "ppv": oracle.precision_score(relevant, chosen),
        "npv": oracle.precision_score(~relevant, ~chosen),
        "f1": oracle.f1_score(relevant, chosen),
    }
    assert tuple(got) == FIGURES
    assert {name: each.value for name, each in got.items()} == pytest.approx(wanted)
    assert all(each.low < each.value < each.high for each in got.values())


def test_the_intervals_are_those_of_drawing_the_images_one_by_one() -> None:
    relevant, scores = made_up()
    chosen, generator = scores >= 0.6, np.random.default_rng(5)
    drawn = generator.integers(0, 300, (4000, 300))
    hits = (relevant & chosen)[drawn].sum(axis=1)
    wanted = np.percentile(hits / relevant[drawn].sum(axis=1), [2.5, 97.5])
    got = figures_of(relevant, chosen, None, 4000, 0)["sensitivity"]
    assert (got.low, got.high) == pytest.approx(wanted, abs=0.012)


def test_a_share_of_one_has_an_exact_interval_and_not_none() -> None:
    """Six of six: the lower limit of Clopper and Pearson is 0.025 ** (1 / 6)."""
    relevant = np.array([True] * 6 + [False] * 20)
    got = figures_of(relevant, relevant, None, 100, 0)
    assert got["sensitivity"].value == got["sensitivity"].high == 1
    assert got["sensitivity"].low == pytest.approx(0.025 ** (1 / 6), abs=1e-6)
    patients = np.array([0, 0, 0, 1, 1, 1, *range(2, 22)])
    assert figures_of(relevant, relevant, patients, 100, 0)["sensitivity"].low == pytest.approx(
        0.025 ** (1 / 2), abs=1e-6
    )
    assert figures_of(relevant, relevant, None, 0, 0)["sensitivity"].low == 1, "no resamples, no interval"


def test_thresholds_come_from_the_images_for_tuning_where_there_are_some() -> None:
    head = Head("ill", ("no", "yes"), kind="binary", thresholds=(0.7,))
    measured, tuning = binary(*made_up(seed=1)), binary(*made_up(seed=2))
    goals = (goal_of("sensitivity=0.95"), goal_of("specificity=0.9"))
    (own,) = operating_points(head, measured, None, goals, 50, 0)
    (other,) = operating_points(head, measured, tuning, goals, 50, 0)
    names = ["in use", "sensitivity 0.95", "specificity 0.9", "Youden's J"]
    assert [point.name for point in own.points] == [point.name for point in other.points] == names
    assert [point.chosen_on for point in own.points] == ["model", *["measured"] * 3]
    assert [point.chosen_on for point in other.points] == ["model", *["validation"] * 3]
    assert own.points[0].threshold == other.points[0].threshold == 0.7
    assert own.points[1].figures["sensitivity"].value >= 0.95
    relevant, scores = made_up(seed=2)
    for goal, point in zip((*goals, Goal("youden")), other.points[1:], strict=True):
        assert point.threshold == threshold_for(goal, relevant, scores)
    (lacking,) = operating_points(head, measured, binary(np.zeros(3, bool), np.ones(3) / 2), goals, 0, 0)
    assert lacking.points[1].chosen_on == "measured", "no image for tuning has the label"


def test_each_label_of_several_has_points_and_each_class_only_if_asked() -> None:
    generator = np.random.default_rng(0)
    scores = generator.dirichlet(np.ones(3), 100)
    truth = np.array([generator.choice(3, p=row) for row in scores])
    classes = Predictions("multiclass", ("a", "b", "c"), truth, scores.argmax(axis=1), scores)
    head = Head("kind", ("a", "b", "c"))
    assert operating_points(head, classes, None, (), 20, 0) == ()
    asked = operating_points(head, classes, None, (goal_of("youden"),), 20, 0)
    assert [one.label for one in asked] == ["a", "b", "c"]
    assert [point.name for point in asked[0].points] == ["in use", "Youden's J"]
    assert asked[0].points[0].threshold is None
    recall = oracle.recall_score(truth, classes.chosen, average=None)
    assert [one.points[0].figures["sensitivity"].value for one in asked] == pytest.approx(recall)
    signs = Head("signs", ("a", "b"), kind="multilabel", thresholds=(0.2, 0.8))
    several = Predictions(
        "multilabel", ("a", "b"), truth[:, None] == np.arange(2), scores[:, :2] >= [0.2, 0.8], scores[:, :2]
    )
    found = operating_points(signs, several, None, (), 20, 0)
    assert [one.points[0].threshold for one in found] == [0.2, 0.8]


@pytest.mark.parametrize(
    "text",
    ["sensitivity=", "recall=0.9", "specificity=0", "specificity=2", "specificity=x", "youden=1"]
)  # fmt: skip
def test_a_goal_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"use sensitivity=0\.95"):
        goal_of(text)
