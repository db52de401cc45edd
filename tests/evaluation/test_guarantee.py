"""The review threshold's guarantee: exact bounds, patients as one, and that it holds on new draws."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from dicomsort.evaluation.guarantee import (
    guarantee_of,
    guaranteed_threshold,
    least_patients,
    lower_bound,
    reviewed,
    told,
    weak_labels,
)
from dicomsort.evaluation.thresholds import review_threshold
from dicomsort.model.heads import Head

DRAWS, IMAGES = 400, 800  # of 2000 draws 4 % broke it; of the sample's thresholds 54 %


def population(images: int, generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Confidences that are not to be believed: the share of wrong answers is (1 - confidence) / 2."""
    confidence = 1 - generator.random(images) * 0.5
    return confidence, generator.random(images) >= (1 - confidence) / 2


def precision_above(threshold: float) -> float:
    """Of the population: the mean of 1 - (1 - c) / 2 over c from the threshold, at least 0.5, to 1."""
    return 1 - (1 - max(threshold, 0.5)) / 4


@pytest.mark.parametrize(("right", "count"), [(598, 598), (597, 598), (40, 50), (1, 3)])
def test_the_bound_is_that_of_clopper_and_pearson(right: int, count: int) -> None:
    """If the share were the bound, as many right answers as these, or more, would come up once in twenty."""
    share = lower_bound(right, count)
    chances = (math.comb(count, n) * share**n * (1 - share) ** (count - n) for n in range(right, count + 1))
    assert sum(chances) == pytest.approx(0.05, abs=1e-6)
    assert lower_bound(0, 5) == lower_bound(0, 0) == 0


def test_it_takes_598_patients_for_995_in_a_thousand() -> None:
    assert least_patients(0.995) == 598
    assert 0.995**598 <= 0.05 < 0.995**597
    assert least_patients(1.0) is None
    sure, all_right = np.full(598, 0.9), np.ones(598, np.bool_)
    assert guaranteed_threshold(sure[1:], all_right[1:], np.arange(597), 0.995) is None
    assert guaranteed_threshold(sure, all_right, np.arange(598), 0.995) == 0
    assert guaranteed_threshold(sure, all_right, np.arange(598), 1.0) is None


def test_the_guarantee_holds_on_new_draws_and_the_sample_alone_gives_none() -> None:
    generator, patients, target = np.random.default_rng(0), np.arange(IMAGES), 0.9
    broken, broken_by_sample, given = 0, 0, 0
    for _ in range(DRAWS):
        confidence, correct = population(IMAGES, generator)
        found = guaranteed_threshold(confidence, correct, patients, target)
        given += found is not None
        broken += found is not None and precision_above(found) < target
        broken_by_sample += precision_above(review_threshold(confidence, correct, target)) < target
    assert broken <= DRAWS * 0.05 + 3 * math.sqrt(DRAWS * 0.05 * 0.95)
    assert broken_by_sample > 0.3 * DRAWS
    assert given > 0.9 * DRAWS, "a guarantee that is never given is never broken"


def test_a_patient_counts_once_and_as_wrong_if_any_image_is() -> None:
    confidence = np.linspace(0.99, 0.6, 900)
    correct = np.ones(900, np.bool_)
    assert guaranteed_threshold(confidence, correct, np.arange(900), 0.995) == 0
    assert guaranteed_threshold(confidence, correct, np.arange(900) // 2, 0.995) is None, "450 patients"
    assert guaranteed_threshold(confidence, correct, np.arange(900) // 2, 0.99) == 0
    correct[[800, 801, 802]] = False
    found = guaranteed_threshold(confidence, correct, np.arange(900), 0.995)
    assert found is not None
    assert found == pytest.approx(confidence[799], abs=0.01)
    apart, together = np.arange(900), np.where(np.arange(900) >= 800, 0, np.arange(900))
    bounds = []
    for patients in (apart, together):
        head = Head("h", ("a", "b"), review_below=0.5)
        scores = np.stack([confidence, 1 - confidence], axis=1).astype(np.float32)
        truth = np.stack([correct, ~correct], axis=1).astype(np.float32)
        made = guarantee_of(head, scores, truth, patients, 0.99, True)
        assert (made.images, made.wrong) == (900, 3)
        bounds.append((made.patients, made.patients_wrong))
    assert bounds == [(900, 3), (800, 1)]


def test_a_wrong_answer_among_the_surest_leaves_no_guarantee_but_the_sample() -> None:
    confidence = np.linspace(0.99, 0.6, 700)
    correct = np.arange(700) != 300
    scores = np.stack([confidence, 1 - confidence], axis=1).astype(np.float32)
    truth = np.stack([correct, ~correct], axis=1).astype(np.float32)
    head, reached, guaranteed = reviewed(Head("h", ("a", "b")), scores, truth, np.arange(700), 0.995)
    assert (reached, guaranteed) == (True, False)
    assert head.review_below == 0, "699 of 700 are right"
    promise = guarantee_of(head, scores, truth, np.arange(700), 0.995, guaranteed)
    assert "WITHOUT GUARANTEE" in told("h", promise)
    assert "598 patients" in told("h", promise)
    head, _, guaranteed = reviewed(Head("h", ("a", "b")), scores, truth, np.arange(700), 0.99)
    assert guaranteed
    assert "at least 99.0%" in told("h", guarantee_of(head, scores, truth, np.arange(700), 0.99, True))


def test_each_label_has_a_bound_of_its_own() -> None:
    chosen, correct = np.repeat([0, 1, 2], [700, 40, 10]), np.ones(750, np.bool_)
    correct[745] = False
    scores = np.full((750, 3), 0.02, np.float32)
    scores[np.arange(750), chosen] = 0.96
    truth = np.eye(3, dtype=np.float32)[np.where(correct, chosen, 0)]
    head = Head("h", ("a", "b", "c"), review_below=0.9)
    promise = guarantee_of(head, scores, truth, np.arange(750), 0.995, True)
    found = {label: (one.images, one.right, one.enough) for label, one in promise.by_label.items()}
    assert found == {"a": (700, 700, True), "b": (40, 40, False), "c": (10, 9, False)}
    assert promise.by_label["b"].lower_bound == pytest.approx(0.05 ** (1 / 40))
    assert weak_labels("h", promise).endswith("alone: b, c")
    several = Head("h", ("a", "b", "c"), kind="multilabel", review_below=0.9)
    both = guarantee_of(several, np.array([[0.95, 0.97, 0.01]], np.float32),
                        np.array([[1, 0, 0]], np.float32), np.arange(1), 0.9, False)  # fmt: skip
    assert [(one.images, one.right) for one in both.by_label.values()] == [(1, 1), (1, 0), (0, 0)]
    assert weak_labels("h", replace(promise, by_label={})) == ""


@pytest.mark.parametrize(("patients", "held"), [(800, True), (500, False)])
def test_one_odd_answer_among_the_surest_ends_all_only_where_patients_are_few(
    patients: int, held: bool
) -> None:
    confidence = np.linspace(0.9999, 0.5, patients)
    correct = np.ones(patients, np.bool_)
    correct[100] = False
    found = guaranteed_threshold(confidence, correct, np.arange(patients), 0.99)
    assert (found is not None) is held
    if found is not None:
        above = confidence >= found
        assert lower_bound(int(correct[above].sum()), int(above.sum())) >= 0.99
