"""Candidates on hospitals they have not seen: the choice without looking, and what is compared with what."""

import csv
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import candidates
import hospitals
import numpy as np
import pytest
import told
from candidates import Run

from dicomsort.evaluation.bootstrap import Estimate

LABELS = ("adult_chest", "pediatric_chest")
FOLDS = ("east", "east", "east", "east", "west", "west", "west", "west")
TRUTH = (0, 0, 1, 1, 0, 0, 1, 1)


def run_of(name: str, chosen: Sequence[int], labels: tuple[str, ...] = LABELS) -> Run:
    """Answers to four images of each of two folds, two of each class."""
    truth = np.array([labels.index(LABELS[each]) for each in TRUTH])
    said = np.array([labels.index(LABELS[each]) for each in chosen])
    return Run(
        name=name, folder=Path(name), labels=labels, fold_order=("east", "west"),
        files=np.array([f"{number}.png" for number in range(8)]), folds=np.array(FOLDS),
        patients=np.array(list("aabbccdd")), sources=np.array(FOLDS),
        truth=truth, chosen=said, scores=np.where(said[:, None] == np.arange(2), 0.8, 0.2),
    )  # fmt: skip


ON_EAST = run_of("on_east", (0, 0, 1, 1, 0, 0, 0, 1))  # macro recall 1 in the east, 0.75 in the west
ON_WEST = run_of("on_west", (0, 1, 0, 1, 0, 0, 1, 1), LABELS[::-1])  # 0.5 and 1
BAD = run_of("bad", (1, 1, 0, 0, 1, 1, 0, 0))


def test_the_choice_never_sees_the_fold_that_it_is_reported_on() -> None:
    found = candidates.nested([BAD, ON_EAST, ON_WEST])
    assert [(each.fold, each.chosen) for each in found.choices] == [("east", "on_west"), ("west", "on_east")]
    assert [(each.elsewhere, each.here) for each in found.choices] == [(1.0, 0.5), (1.0, 0.75)]
    assert found.run.labels == LABELS
    assert found.run.chosen.tolist() == [0, 1, 0, 1, 0, 0, 0, 1], "of other labels' order, too"
    assert np.array_equal(found.run.scores.argmax(axis=1), found.run.chosen)
    assert candidates.macro_recall(found.run.truth, found.run.right) == 0.625
    assert candidates.best_of([BAD, ON_EAST, ON_WEST]).name == "on_east"
    assert found.optimism == 0.875 - 0.625


def test_figures_of_a_candidate() -> None:
    assert candidates.recall_by_fold(ON_WEST) == {"east": 0.5, "west": 1.0}
    assert candidates.chest_accuracy(ON_EAST) == (1 + 0.75) / 2
    assert math.isnan(candidates.chest_accuracy(ON_EAST.take(ON_EAST.of("adult_chest"))))
    difference = candidates.recall_difference(ON_WEST, ON_EAST, 200)
    assert difference.value == pytest.approx(0.75 - 0.875)
    assert -1 <= difference.low <= difference.value <= difference.high <= 1
    every = candidates.recall_with_interval(ON_EAST, 200)
    assert every.low < every.value == 0.875 < every.high
    assert candidates.chest_with_interval(ON_EAST, 0).value == 0.875


def test_only_what_all_have_answered_is_compared() -> None:
    short = ON_WEST.take(np.array([1, 1, 1, 0, 0, 0, 0, 0], np.bool_))
    shared = candidates.in_common([ON_EAST, short])
    assert [run.files.tolist() for run in shared] == [["0.png", "1.png", "2.png"]] * 2
    assert [run.fold_order for run in shared] == [("east",)] * 2
    assert list(hospitals.remarks([ON_EAST, short], shared)) == [
        "on_east has further folds, which are not compared: west.",
        "on_east has answered 1 more images of these folds, which are not compared.",
    ]
    with pytest.raises(SystemExit, match="no fold"):
        candidates.in_common([ON_EAST.take(ON_EAST.folds == "west"), short])


def test_thresholds_and_rejections() -> None:
    rejecting = np.array([0, 0, 0, 0, 0, 0, 1, 1], np.bool_)
    run = replace(ON_EAST, rejected=rejecting)
    steps = {step.threshold: step for step in hospitals.steps_of(run, np.repeat([0.9, 0.5], 4), 0)}
    assert (steps["0.5"].precision.value, steps["0.5"].coverage) == (0.875, 1.0)
    assert (steps["0.9"].coverage, math.isnan(steps["0.9"].precision.value)) == (0.0, True)
    own = steps[hospitals.OWN]
    assert (own.precision.value, own.coverage) == (0.75, 0.5)
    assert own.kept_precision is not None
    assert (own.kept_precision.value, own.kept_coverage) == (1.0, 0.25)


def test_intervals_resample_patients_with_all_their_images() -> None:
    hits = np.array([1, 1, 1, 0, 0, 0], np.bool_)
    assert told.share(hits, ["a"] * 6, 100) == Estimate(0.5, 0.5, 0.5)
    both = told.share(hits, list("aaabbb"), 400)
    assert (both.low, both.high) == (0.0, 1.0)
    single = told.share(hits, list("abcdef"), 400)
    assert 0 < single.low < 0.5 < single.high < 1
    sums = told.resampled(list("aab"), np.ones((3, 1)), 2000)
    assert sums.mean() == pytest.approx(3, abs=0.1), "two patients a resample"
    assert math.isnan(told.share(hits[:0], [], 10).value)


def test_the_whole_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "labels.csv"
    with data.open("w", newline="") as file:
        rows = [(f"{at}.png", LABELS[TRUTH[at]], FOLDS[at], f"p{at // 2}", "0") for at in range(8)]
        rows.append(("9.png", LABELS[0], "west", "p9", "1"))
        csv.writer(file).writerows([("file", "group", "dataset", "patient", "ambiguous"), *rows])
    for run in (ON_EAST, ON_WEST):
        folder = tmp_path / run.name
        folder.mkdir()
        with (folder / "predictions.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            names = [f"score_{label}" for label in run.labels]
            writer.writerow(["file", "fold", "truth", "label", "confidence", *names])
            for at, chosen in enumerate([*run.chosen, 0]):
                label = run.labels[chosen]
                scores = [0.8 if each == label else 0.2 for each in run.labels]
                fold = FOLDS[at] if at < 8 else "west"
                writer.writerow([f"{at if at < 8 else 9}.png", fold, LABELS[0], label, 0.8, *scores])
    words = [str(data), str(tmp_path / "on_east"), str(tmp_path / "on_west"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["hospitals.py", *words, "--bootstrap", "50"])
    hospitals.main()
    told_all = capsys.readouterr().out
    assert "2 candidates on 8 images of 2 folds" in told_all
    assert "on_east was trained when 4 of its images had other labels." in told_all
    assert "| east | on_west | 1.000 | 0.500 |" in told_all
    figures = json.loads((tmp_path / "out" / "sources.json").read_text())
    assert figures["best"] == figures["report"]["name"] == "on_east"
    assert figures["nested"]["optimism"] == 0.25
    assert figures["report"]["adult_called_pediatric"] == {}
