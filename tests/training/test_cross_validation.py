"""Folds: each trained on the others, measured on what was left out, in a folder of its own."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from program import inside
from trainings import SMALL, read_csv, width_of

from dicomsort.data.dataset import Sample
from dicomsort.errors import ExitCode
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head
from dicomsort.training.cross_validation import FoldResult


def test_folds_and_audit(pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "data"
    shutil.copytree(pictures.parent, wrong)
    rows = read_csv(wrong / "labels.csv")
    rows[5]["light"] = "bright"  # it is dark
    with (wrong / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    out, audit = tmp_path / "m", tmp_path / "doubts.csv"
    words: list[str | Path] = [
        "train", wrong / "labels.csv", "--target", "light", "--out", out, *SMALL, "--epochs", "6",
        "--learning-rate", "0.003", "--folds", "3", "--audit", audit, "--json",
    ]  # fmt: skip
    ran = inside(capfd, *words)
    assert ran.code == 0, ran.err
    accuracy = ran.json["figures"]["light"]["accuracy"]
    assert len(accuracy["values"]) == 3
    assert accuracy["mean"] == pytest.approx(np.mean(accuracy["values"]))
    assert accuracy["deviation"] == pytest.approx(np.std(accuracy["values"], ddof=1))
    answers = read_csv(out / "predictions.csv")
    assert len(answers) == len({row["file"] for row in answers}) == 24
    assert {row["fold"] for row in answers} == {"fold-1", "fold-2", "fold-3"}
    right = np.mean([row["truth"] == row["label"] for row in answers])
    assert ran.json["pooled"]["light"]["overall"]["accuracy"]["value"] == pytest.approx(right)
    assert ran.json["pooled"]["light"]["clusters"] == 12
    assert read_csv(audit)[0]["file"] == "5.png"
    assert width_of(audit.with_suffix(".png")) > 100
    for fold in (out / "fold-1", out / "fold-3"):
        assert bundles.load(fold).head.labels == ("bright", "dark")
    shutil.rmtree(out / "fold-3")
    before = (out / "fold-1" / "config.json").stat().st_mtime_ns
    again = inside(capfd, *words, "--resume")
    assert again.json["figures"] == ran.json["figures"]
    assert (out / "fold-1" / "config.json").stat().st_mtime_ns == before


def test_a_fold_without_truth_has_no_figures_and_shifts_no_others() -> None:
    heads = (Head("light", ("a", "b")), Head("metal", ("no_metal", "metal"), kind="binary"))
    bundle = Bundle("m", networks.spec_for("test_resnet"), Preprocessing(), heads[0], {}, further=heads[1:])
    scores = np.array([[0.9, 0.1, 0.2, 0.8], [0.2, 0.8, 0.7, 0.3]], np.float32)
    rounds = []
    for fold, cells in (
        ("x", (("a", "1"), ("b", "0"))),
        ("y", (("a", ""), ("b", ""))),
        ("z", (("b", "0"), ("b", "0"))),
    ):
        samples = tuple(
            Sample(f"{fold}{n}", f"{fold}{n}", cell, f"{fold}{n}", f"{fold}{n:015}")
            for n, cell in enumerate(cells)
        )
        rounds.append(FoldResult(fold, bundle, samples, scores))
    from dicomsort.training.cross_validation import summarize

    summary = summarize(rounds, 10, 0)
    told = json.loads(json.dumps(summary.as_dict(), allow_nan=False))
    assert told["figures"]["metal"]["accuracy"]["values"] == [1.0, None, 0.5]
    assert told["figures"]["metal"]["accuracy"]["mean"] == 0.75
    assert told["figures"]["light"]["accuracy"]["values"] == [1.0, 1.0, 0.5]
    assert told["pooled"]["metal"]["images"] == 4


def test_folds_of_any_name_have_folders_of_their_own() -> None:
    from dicomsort.training.cross_validation import _folder_name

    names = ["北京", "上海", "a b", "a_b", "fold-1", "x" * 90, "x" * 91, ".."]
    folders = [_folder_name(name) for name in names]
    assert len(set(folders)) == len(names)
    assert folders[3:5] == ["a_b", "fold-1"]
    for folder in folders:
        bundles.check_name(folder)


def test_a_column_of_patients_makes_no_folds(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--folds", "site", "--patient", "site")
    ran = inside(capfd, "train", pictures, "--target", "light", "--out", tmp_path / "m", *SMALL, *words)
    assert ran.code == ExitCode.USAGE
    assert "--folds site would name people" in ran.err
