"""Figures: scikit-learn is the oracle, simulations check the intervals."""

import json
from collections import Counter
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as oracle

from dicomsort.evaluation import bootstrap, metrics
from dicomsort.evaluation.bootstrap import Estimate
from dicomsort.evaluation.metrics import Metrics, Predictions, confusion, differences, macro, measure
from dicomsort.evaluation.thresholds import best_thresholds, threshold_for_precision

KINDS = ("multiclass", "binary", "multilabel")
LABELS = ("a", "b", "c", "d")


def made_up(
    kind: str, seed: int, images: int = 200, patients: int | None = None, absent: int = 0
) -> Predictions:
    """Make up answers with many tied scores; the last `absent` labels occur nowhere."""
    generator = np.random.default_rng(seed)
    labels = ("no", "yes") if kind == "binary" else LABELS
    k = len(labels)
    clusters = None if patients is None else generator.integers(0, patients, images) * 3
    if kind == "multilabel":
        scores = generator.integers(0, 21, (images, k)) / 20
        truth = (generator.random((images, k)) < scores) & (np.arange(k) < k - absent)
        chosen = (scores >= 0.6) & (np.arange(k) < k - absent)
        return Predictions(kind, labels, truth, chosen, scores, clusters)
    shares = np.where(np.arange(k) < k - absent, 1.0, 0.0)
    scores = generator.multinomial(20, shares / shares.sum(), size=images) / 20
    truth = np.array([generator.choice(k, p=row / row.sum()) for row in scores])
    return Predictions(kind, labels, truth, scores.argmax(axis=1), scores, clusters)


def from_counts(counts: Any, labels: tuple[str, ...] = LABELS) -> Predictions:
    truth, chosen = np.repeat(np.indices(np.shape(counts)).reshape(2, -1), np.ravel(counts), axis=1)
    return Predictions("multiclass", labels[: len(counts)], truth, chosen, np.eye(len(counts))[chosen])


def every_figure(figures: Metrics) -> list[Estimate]:
    return [*figures.overall.values(), *(one for part in figures.per_class.values() for one in part.values())]


def value(figures: Metrics, name: str) -> float:
    return figures.overall[name].value


def binned_error(confidence: NDArray[Any], right: NDArray[Any]) -> float:
    """Compute the expected calibration error bin by bin, as Guo et al. define it."""
    total = 0.0
    for low, high in zip(np.linspace(0, 1, 16)[:-1], np.linspace(0, 1, 16)[1:], strict=True):
        inside = (confidence > low) & (confidence <= high) | ((confidence == 0) & (low == 0))
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return float(total)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("absent", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_confusion_figures_equal_scikit_learn(kind: str, absent: int, seed: int) -> None:
    absent *= kind != "binary"
    given = made_up(kind, seed, absent=absent)
    got, present = measure(given, bootstrap=0), range(len(given.labels) - absent)
    each = oracle.precision_recall_fscore_support(given.truth, given.chosen, labels=present, zero_division=0)
    for average in ("macro", "weighted"):
        means = oracle.precision_recall_fscore_support(
            given.truth, given.chosen, labels=present, average=average, zero_division=0
        )
        for name, wanted in zip(("precision", "recall", "f1"), means[:3], strict=True):
            assert value(got, f"{name}_{average}") == pytest.approx(wanted, abs=1e-9)
    for index in present:
        for name, values in zip(("precision", "recall", "f1"), each, strict=False):
            assert got.per_class[given.labels[index]][name].value == pytest.approx(values[index], abs=1e-9)
        assert got.support[given.labels[index]] == each[3][index]
    exact = "subset_accuracy" if kind == "multilabel" else "accuracy"
    assert value(got, exact) == pytest.approx(oracle.accuracy_score(given.truth, given.chosen), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["multiclass", "binary"])
def test_kappa_and_the_confusion_equal_scikit_learn(kind: str, seed: int) -> None:
    given = made_up(kind, seed)
    got = measure(given, bootstrap=0)
    assert value(got, "kappa") == pytest.approx(oracle.cohen_kappa_score(given.truth, given.chosen), abs=1e-9)
    assert np.array_equal(got.confusion, oracle.confusion_matrix(given.truth, given.chosen))


@pytest.mark.parametrize("seed", range(4))
def test_multilabel_means_equal_scikit_learn(seed: int) -> None:
    given = made_up("multilabel", seed, absent=1)
    assert (~given.truth & ~given.chosen).all(axis=1).any()
    got = measure(given, bootstrap=0)
    for average in ("micro", "samples"):
        wanted = oracle.f1_score(given.truth, given.chosen, average=average, zero_division=1.0)
        assert value(got, f"f1_{average}") == pytest.approx(wanted, abs=1e-9)
    tables = oracle.multilabel_confusion_matrix(given.truth, given.chosen)
    assert np.array_equal(got.confusion, tables.reshape(-1, 4))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("absent", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_rank_figures_equal_scikit_learn(kind: str, absent: int, seed: int) -> None:
    absent *= kind != "binary"
    given = made_up(kind, seed, absent=absent)
    got, auc, ap = measure(given, bootstrap=0), [], []
    for index, label in enumerate(given.labels[: len(given.labels) - absent]):
        truth = given.truth[:, index] if kind == "multilabel" else given.truth == index
        auc.append(oracle.roc_auc_score(truth, given.scores[:, index]))
        ap.append(oracle.average_precision_score(truth, given.scores[:, index]))
        assert got.per_class[label]["auc"].value == pytest.approx(auc[-1], abs=1e-9)
        assert got.per_class[label]["ap"].value == pytest.approx(ap[-1], abs=1e-9)
    used = slice(1, None) if kind == "binary" else slice(None)
    mean = "positive" if kind == "binary" else "macro"
    assert value(got, f"auc_{mean}") == pytest.approx(np.mean(auc[used]), abs=1e-9)
    assert value(got, f"ap_{mean}") == pytest.approx(np.mean(ap[used]), abs=1e-9)
    assert not {"auc_macro", "ap_macro", "auc_positive", "ap_positive"} - {
        f"{name}_{mean}" for name in ("auc", "ap")
    } & set(got.overall), "of two classes there is no mean, and of several no positive one"
    for label in given.labels[len(given.labels) - absent :]:
        assert np.isnan([got.per_class[label]["auc"].value, got.per_class[label]["ap"].value]).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_losses_equal_scikit_learn(kind: str, seed: int) -> None:
    given = made_up(kind, seed)
    given.scores[0] = np.eye(len(given.labels))[0 if kind == "multilabel" else 1 - given.truth[0] % 2]
    got = measure(given, bootstrap=0)
    if kind == "multilabel":
        pairs = list(zip(given.truth.T, given.scores.T, strict=True))
        log_loss = np.mean([oracle.log_loss(truth, scores) for truth, scores in pairs])
        brier = np.mean([oracle.brier_score_loss(truth, scores) for truth, scores in pairs])
        ece = binned_error(given.scores.ravel(), given.truth.ravel())
    else:
        classes = np.arange(len(given.labels))
        log_loss = oracle.log_loss(given.truth, given.scores, labels=classes)
        squares = (given.scores - (given.truth[:, None] == classes)) ** 2
        brier = squares.sum(axis=1).mean()
        if kind == "binary":
            brier = oracle.brier_score_loss(given.truth, given.scores[:, 1])
        confidence = given.scores[np.arange(len(given.truth)), given.chosen]
        ece = binned_error(confidence, given.truth == given.chosen)
    assert value(got, "log_loss") == pytest.approx(log_loss, abs=1e-9)
    assert value(got, "brier") == pytest.approx(brier, abs=1e-9)
    assert value(got, "ece") == pytest.approx(ece, abs=1e-9)


@pytest.mark.parametrize("patients", [None, 60])
@pytest.mark.parametrize("kind", KINDS)
def test_a_resample_is_scored_as_its_images(kind: str, patients: int | None) -> None:
    given = made_up(kind, 7, patients=patients)
    patient, units = metrics._patients(given)
    counts = np.random.default_rng(0).integers(0, 3, (3, units)).astype(np.int32)
    counted = metrics._confusion_metrics(given, patient, *metrics._cells(given))
    judged = metrics._score_metrics(given, patient, units)
    got = counted.scores(counts) | judged.scores(counts)
    for row, drawn in enumerate(counts):
        again = measure(given.take(np.repeat(np.arange(len(patient)), drawn[patient])), bootstrap=0)
        for name, figure in again.overall.items():
            assert got[name][row] == pytest.approx(figure.value, abs=1e-9)
        for index, label in enumerate(given.labels):
            for name, figure in again.per_class[label].items():
                assert got[name][row, index] == pytest.approx(figure.value, abs=1e-9)


def test_patients_with_the_same_matrix_are_grouped() -> None:
    given = made_up("multiclass", 1, images=300, patients=150)
    patient, units = metrics._patients(given)
    cell, _ = metrics._cells(given)
    frequency, group, cells = bootstrap.group_alike(cell, patient)
    wanted = Counter(tuple(sorted(cell[patient == one])) for one in range(units))
    shown = {
        tuple(sorted(cells[group == one])): int(frequency[one]) for one in range(len(frequency))
    }  # fmt: skip
    assert shown == dict(wanted)
    assert max(wanted.values()) > 1


@pytest.mark.parametrize("frequency", [[1] * 40, [2, 30, 1, 11, 500], [3], [20, 40]])
def test_resamples_that_are_drawn_together_are_those_drawn_one_by_one(
    frequency: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a figure of an earlier version can be found again, to its last digit."""
    monkeypatch.setattr(bootstrap, "_DRAWN", 100)
    counts, generator = np.array(frequency), np.random.default_rng(1)
    often = counts >= 12
    rare = np.repeat(np.flatnonzero(~often), counts[~often])
    several, *others = generator.multinomial(
        counts.sum(), np.append(len(rare), counts[often]) / counts.sum(), 23
    ).T
    wanted = np.zeros((23, len(counts)), np.int32)
    wanted[:, often] = np.transpose(others)
    for row, count in enumerate(several if len(rare) else ()):
        for unit in rare[generator.integers(len(rare), size=count)]:
            wanted[row, unit] += 1
    assert np.array_equal(bootstrap.draw(counts, 23, np.random.default_rng(1)), wanted)


def test_a_draw_is_a_multinomial() -> None:
    frequency = np.array([400, 1, 30, 5, 1, 0, 63])
    drawn = bootstrap.draw(frequency, 20_000, np.random.default_rng(0))
    shares = frequency / 500
    assert (drawn.sum(axis=1) == 500).all()
    assert drawn.mean(axis=0) == pytest.approx(frequency, rel=0.03)
    wanted = 500 * (np.diag(shares) - np.outer(shares, shares))
    assert np.cov(drawn.T) == pytest.approx(wanted, rel=0.1, abs=0.3)


@pytest.mark.parametrize("patients", [None, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_hold_their_estimate_and_are_reproducible(kind: str, patients: int | None) -> None:
    given = made_up(kind, 3, patients=patients)
    one, two, other = (measure(given, bootstrap=200, seed=seed) for seed in (1, 1, 2))
    assert one == two
    assert one != other
    assert (one.images, one.bootstrap) == (200, 200)
    assert one.clusters == (None if given.clusters is None else len(set(given.clusters.tolist())))
    for figure in every_figure(one):
        assert figure.low <= figure.value <= figure.high
        assert figure.low < figure.high
    for figure in every_figure(measure(given, bootstrap=0)):
        assert figure.low == figure.value == figure.high


def test_an_interval_holds_an_estimate_that_lies_outside_of_the_resamples() -> None:
    assert bootstrap.estimate(0.5, np.array([0.7, 0.8, np.nan])).low == 0.5
    assert bootstrap.estimate(0.9, np.array([0.7, 0.8, np.nan])).high == 0.9


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    shares = np.array([0.45, 0.05, 0.05, 0.45])
    covered = 0
    for seed in range(250):
        given = from_counts(generator.multinomial(200, shares).reshape(2, 2))
        recall = measure(given, bootstrap=300, seed=seed).overall["recall_macro"]
        covered += recall.low <= 0.9 <= recall.high
    assert 0.90 <= covered / 250 <= 0.99


def test_intervals_cover_where_images_of_a_patient_are_alike_only_if_patients_are_resampled() -> None:
    generator = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), 5)
    truth = np.tile(np.arange(2), 150)
    covered, covered_without = 0, 0
    for seed in range(250):
        hard = generator.random(60) < 0.25
        right = generator.random(300) < np.where(hard, 0.2, 1.0)[patient]
        chosen = np.where(right, truth, 1 - truth)
        given = Predictions("multiclass", ("a", "b"), truth, chosen, np.eye(2)[chosen], patient)
        alone = Predictions("multiclass", ("a", "b"), truth, chosen, np.eye(2)[chosen])
        figures = [measure(each, bootstrap=300, seed=seed).overall["accuracy"] for each in (given, alone)]
        covered += figures[0].low <= 0.8 <= figures[0].high
        covered_without += figures[1].low <= 0.8 <= figures[1].high
    assert 0.90 <= covered / 250 <= 0.99
    assert covered_without / 250 < 0.8


def test_intervals_cover_the_area_under_the_curve() -> None:
    generator = np.random.default_rng(0)
    area = NormalDist().cdf(1 / np.sqrt(2))
    covered = 0
    for seed in range(250):
        truth = np.arange(150) % 2
        positive = 1 / (1 + np.exp(-generator.normal(truth)))
        scores = np.stack([1 - positive, positive], axis=1)
        given = Predictions("binary", ("no", "yes"), truth, scores.argmax(axis=1), scores)
        auc = measure(given, bootstrap=300, seed=seed).overall["auc_positive"]
        covered += auc.low <= area <= auc.high
    assert 0.90 <= covered / 250 <= 0.99


def test_a_class_that_does_not_occur_is_left_out() -> None:
    got = measure(from_counts([[5, 1, 0], [0, 4, 0], [0, 0, 0]]), bootstrap=50)
    assert all(np.isnan(figure.value) for figure in got.per_class["c"].values())
    assert value(got, "recall_macro") == pytest.approx((5 / 6 + 1) / 2)
    assert got.support == {"a": 6, "b": 4, "c": 0}
    plain = got.as_dict()
    assert plain["per_class"]["c"]["f1"] == {"value": None, "low": None, "high": None}
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_one_class_alone_has_neither_kappa_nor_a_curve() -> None:
    got = measure(from_counts([[5, 0], [0, 0]]), bootstrap=20)
    assert value(got, "accuracy") == 1
    assert np.isnan([value(got, "kappa"), value(got, "auc_macro")]).all()
    assert value(got, "ap_macro") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_images_have_no_figures(kind: str) -> None:
    got = measure(made_up(kind, 0, patients=5).take(np.zeros(200, bool)), bootstrap=20)
    assert (got.images, got.clusters) == (0, 0)
    assert all(np.isnan([figure.value, figure.low, figure.high]).all() for figure in every_figure(got))


def test_taking_images_keeps_their_patients() -> None:
    given = made_up("multilabel", 0, patients=20)
    part = given.take(np.array([4, 4, 9]))
    assert part.clusters is not None
    assert given.clusters is not None
    assert part.clusters.tolist() == given.clusters[[4, 4, 9]].tolist()
    assert part.truth.tolist() == given.truth[[4, 4, 9]].tolist()
    assert measure(part, bootstrap=0).images == 3


@pytest.mark.parametrize("kind", KINDS)
def test_quick_figures_are_the_same(kind: str) -> None:
    given = made_up(kind, 5, patients=30, absent=1 if kind != "binary" else 0)
    full, quick = measure(given, bootstrap=0), macro(given)
    exact = "subset_accuracy" if kind == "multilabel" else "accuracy"
    assert quick.pop("accuracy") == pytest.approx(value(full, exact), abs=1e-12)
    assert set(quick) == {"precision_macro", "recall_macro", "f1_macro"}
    assert quick == {name: pytest.approx(value(full, name), abs=1e-12) for name in quick}


@pytest.mark.parametrize("patients", [None, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_does_not_differ_from_itself(kind: str, patients: int | None) -> None:
    given = made_up(kind, 2, patients=patients)
    got = differences(given, given, bootstrap=50)
    assert set(got.values()) == {Estimate(0.0, 0.0, 0.0)}
    names = {"f1_macro", "recall_macro", "precision_macro", "log_loss"}
    names |= {"auc_positive" if kind == "binary" else "auc_macro"}
    assert set(got) == names | ({"subset_accuracy"} if kind == "multilabel" else {"accuracy", "kappa"})


@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_the_same_whether_looked_up_or_multiplied(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = made_up(kind, 3, patients=60)
    multiplied = every_figure(measure(given, 100))
    monkeypatch.setattr(metrics, "_DENSE", 0)
    looked_up = every_figure(measure(given, 100))
    for one, other in zip(multiplied, looked_up, strict=True):
        assert (one.value, one.low, one.high) == pytest.approx(
            (other.value, other.low, other.high), abs=1e-12, nan_ok=True
        )


def test_a_better_model_is_told_and_pairs_tell_it_more_sharply() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 600)
    logits = generator.normal(size=(600, 3)) + 1.5 * np.eye(3)[truth]
    models = []
    for gain in (0.0, 0.4):
        scores = np.exp(logits + gain * np.eye(3)[truth] + generator.normal(scale=0.1, size=(600, 3)))
        scores /= scores.sum(axis=1, keepdims=True)
        models.append(Predictions("multiclass", ("a", "b", "c"), truth, scores.argmax(axis=1), scores))
    worse, better = models
    got = differences(worse, better, bootstrap=500)
    one, other = (measure(each, bootstrap=500).overall for each in (worse, better))
    for name, figure in got.items():
        assert figure.value == pytest.approx(other[name].value - one[name].value, abs=1e-12)
        assert figure.low <= figure.value <= figure.high
        assert figure.high < 0 if name == "log_loss" else figure.low > 0
        apart = np.hypot(one[name].high - one[name].low, other[name].high - other[name].low)
        assert figure.high - figure.low < 0.8 * apart
    assert got == differences(worse, better, bootstrap=500)


def test_models_that_saw_other_images_are_not_compared() -> None:
    given = made_up("multiclass", 0, patients=20)
    with pytest.raises(ValueError, match="truth"):
        differences(given, made_up("multiclass", 1, patients=20))
    with pytest.raises(ValueError, match="patients"):
        differences(given, replace(given, clusters=None))
    with pytest.raises(ValueError, match="labels"):
        differences(given, made_up("binary", 0, patients=20))


@pytest.mark.parametrize("decimals", [1, 2, 6])
@pytest.mark.parametrize("seed", range(3))
def test_best_thresholds_are_those_of_a_search(seed: int, decimals: int) -> None:
    generator = np.random.default_rng(seed)
    scores = np.round(generator.random((60, 3)), decimals)
    truth = generator.random((60, 3)) < scores
    grid = np.arange(100, 9901) / 10_000
    for index, got in enumerate(best_thresholds(truth, scores)):
        chosen = scores[:, index, None] >= grid
        f1 = 2 * (chosen & truth[:, index, None]).sum(axis=0) / (chosen.sum(axis=0) + truth[:, index].sum())
        at = int(np.flatnonzero(grid == got)[0])
        assert f1[at] == f1.max()
        assert f1[at] == pytest.approx(oracle.f1_score(truth[:, index], scores[:, index] >= got), abs=1e-12)
        rows = "".join("x" if best else " " for best in f1 == f1.max())
        longest = max(rows.split(), key=len)
        left, right = at - len(rows[:at].split(" ")[-1]), at + len(rows[at:].split(" ")[0])
        assert right - left == len(longest)
        assert abs((at - left) - (right - 1 - at)) <= 1


def test_best_thresholds_without_anything_to_choose() -> None:
    truth = np.array([[False, True], [False, True], [False, False]])
    scores = np.array([[0.9, 0.8], [0.1, 0.7], [0.2, 0.3]])
    assert best_thresholds(truth, scores) == (0.5, 0.5)
    assert best_thresholds(truth[:, 1:], scores[:, 1:] / 1000) == (0.5,)


def test_confusion_counts_classes_that_do_not_occur() -> None:
    got = confusion(np.array([0, 2, 2]), np.array([0, 0, 2]), 4)
    assert got.tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


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
