"""A model adapted to one place: it learns what the place shows, and keeps all else."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from program import inside
from scipy.optimize import minimize
from trainings import LEVELS, SMALL, draw, table

from dicomsort.errors import ExitCode
from dicomsort.evaluation.metrics import macro
from dicomsort.evaluation.predictions import predictions_of
from dicomsort.model import bundle as bundles
from dicomsort.model import load
from dicomsort.model.heads import Head
from dicomsort.training import adapt, head_shift

HEAD = Head("part", ("a", "b", "c"), temperature=0.5)


def judged(folder: Path, count: int = 40, **labels: str) -> Path:
    """Draw dark and bright pictures in turn, two of each patient, and call them what a person would not."""
    called = labels or {"dark": "spine", "bright": "abdominal"}
    rows = []
    for number in range(count):
        level = ("bright", "dark")[number % 2]
        draw(folder / f"{number}.png", LEVELS[level], number)
        rows.append({"file": f"{number}.png", "group": called[level], "patient": f"p{number // 2}"})
    path = folder / "judged.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_model_learns_what_a_place_shows_and_keeps_all_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, out = judged(tmp_path / "data"), tmp_path / "here"
    ran = inside(capfd, "train", data, "--target", "group", "--adapt", "router5", "--out", out, "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    figures = told["figures"]["group"]["accuracy"]
    assert figures["before"]["value"] < 0.7
    assert (figures["after"]["value"] > 0.9, told["better"]) == (True, True)
    old, new = bundles.load(bundles.locate("router5")), bundles.load(out)
    changed = [name for name in old.weights if not np.array_equal(old.weights[name], new.weights[name])]
    assert sorted(changed) == ["classifier.bias", "classifier.weight"]
    assert (new.graph, new.reject, new.evidence) == (old.graph, old.reject, old.evidence)
    assert new.training["adapted"][0] | {"data_sha256": "", "dicomsort": ""} == {
        "model": old.tag, "images": 40, "patients": 20, "unreadable": 0, "data_sha256": "", "seed": 0,
        "dicomsort": "",
    }  # fmt: skip
    assert new.head.temperature >= old.head.temperature  # all are told apart: no reason to be surer
    assert set(old.split.items()) < set(new.split.items())
    assert len(new.split) == len(old.split) + 40
    ran = inside(
        capfd, "eval", data, "--target", "group", "--model", out, "--part", "all", "--bootstrap", "0",
        "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "40 of these files" in ran.err


def test_an_adapted_model_says_the_same_on_both_engines(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "here"
    ran = inside(
        capfd, "train", judged(tmp_path / "data"), "--target", "group", "--adapt", "router5", "--out", out
    )
    assert ran.code == 0, ran.err
    bundle = bundles.load(out)
    images = np.random.default_rng(1).integers(0, 256, (8, 160, 160), np.uint8)
    said = []
    for engine in ("openvino", "torch"):
        with load.predictor_for(bundle, "cpu", "float32", engine) as predictor:
            said.append(predictor.logits(images))
    assert np.allclose(said[0], said[1], atol=2e-2)
    start = load.predictor_for(bundles.load(bundles.locate("router5")), "cpu", "float32", "torch")
    with start as predictor:
        assert not np.allclose(predictor.logits(images), said[1], atol=2e-2)


def test_adapting_twice_gives_the_same_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data, found = judged(tmp_path / "data"), []
    for name in ("a/here", "b/here"):
        ran = inside(
            capfd, "train", data, "--target", "group", "--adapt", "router5", "--out", tmp_path / name
        )
        assert ran.code == 0, ran.err
        found.append(bundles.load(tmp_path / name).digest)
    assert found[0] == found[1]


def test_what_is_not_shown_to_be_better_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = judged(tmp_path / "data")
    lines = data.read_text(encoding="utf-8").splitlines()
    lot = np.random.default_rng(3).permutation(lines[1:])
    names = [line.partition(",")[2] for line in lot]
    shuffled = [f"{number}.png,{name}" for number, name in enumerate(names)]  # labels that nothing tells
    data.write_text("\n".join([lines[0], *shuffled]) + "\n", encoding="utf-8")
    ran = inside(capfd, "train", data, "--target", "group", "--adapt", "router5", "--out", tmp_path / "m")
    assert ran.code == 0, ran.err
    assert "not shown to be better than that of router5" in " ".join(ran.err.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--epochs", "3"), "leave --epochs away"),
        (("--balance-power", "0.5"), "leave --balance-power away"),
        (("--folds", "5"), "leave --folds away"),
        (("--resume",), "leave --resume away"),
        (("--recipe", "registry"), "leave --recipe away"),
        (("--interpolate", "0"), "leave --interpolate away"),
        (("--no-graph",), "leave --no-graph away"),
    ],
)
def test_options_of_a_training_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    data = judged(tmp_path / "data", 2)
    ran = inside(
        capfd, "train", data, "--target", "group", "--adapt", "router5", "--out", tmp_path / "m", *words
    )
    assert (ran.code, said in ran.err) == (ExitCode.USAGE, True), ran.err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("count", "labels", "said"),
    [
        (12, {}, "review at least 20"),
        (40, {"dark": "spine", "bright": "spine"}, "of two labels or more"),
        (40, {"dark": "spine", "bright": "skull"}, "does not know the label 'skull'"),
    ],
)
def test_images_that_a_model_cannot_learn_from_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], count: int, labels: dict[str, str], said: str
) -> None:
    data = judged(tmp_path / "data", count, **labels)
    ran = inside(capfd, "train", data, "--target", "group", "--adapt", "router5", "--out", tmp_path / "m")
    assert (ran.code, said in " ".join(ran.err.split())) == (ExitCode.USAGE, True), ran.err
    assert not (tmp_path / "m").exists()


def seen(count: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lot = np.random.default_rng(0)
    features = lot.normal(2, 3, (count, 12)).astype(np.float32)
    logits = lot.normal(0, 1, (count, 3)).astype(np.float32)
    label = (features[:, 0] > 2).astype(int) + (features[:, 1] > 4)
    return features, logits, np.eye(3, dtype=np.float32)[label]


def test_the_shift_is_the_minimum_of_its_penalized_loss() -> None:
    features, logits, truth = seen()
    scale = np.sqrt(features.var(axis=0).mean()) * np.sqrt(12)
    values = np.hstack([(features - features.mean(axis=0)) / scale, np.full((60, 1), 12**-0.5)])
    weight = (truth / truth.sum(axis=0)).sum(axis=1) / 3

    def loss(flat: np.ndarray) -> float:
        raw = logits / 0.5 + values @ flat.reshape(13, 3)
        highest = raw.max(axis=1, keepdims=True)
        told = raw - highest - np.log(np.exp(raw - highest).sum(axis=1, keepdims=True))
        return float(-(weight * (told * truth).sum(axis=1)).sum() + 0.6 / 60 / 2 * np.square(flat).sum())

    best = minimize(loss, np.zeros(39), options={"gtol": 1e-7})
    wanted = logits + 0.5 * values @ best.x.reshape(13, 3)
    found = head_shift.fit(features, logits, truth, HEAD).applied(features, logits)
    assert np.allclose(found, wanted, atol=1e-3)


def test_an_image_is_judged_by_a_layer_that_has_not_seen_it() -> None:
    features, logits, truth = seen()
    folds = np.arange(60) % 3
    found = head_shift.out_of_fold(features, logits, truth, HEAD, folds)
    others = folds != 1
    shift = head_shift.fit(features[others], logits[others], truth[others], HEAD)
    assert np.array_equal(found[~others], shift.applied(features[~others], logits[~others]))


@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_yes_and_no_and_several_labels_move_as_well(kind: str) -> None:
    features, logits, truth = seen()
    head = Head("part", ("a", "b"), kind=kind)
    width = head.width
    wanted = truth[:, :width]
    shift = head_shift.fit(features, logits[:, :width], wanted, head)
    found = shift.applied(features, logits[:, :width])
    before, after = (((values > 0) == (wanted > 0)).mean() for values in (logits[:, :width], found))
    assert after > before + 0.2
    still = head_shift.fit(features, 20 * (2 * wanted - 1), wanted, replace(head))  # already sure and right
    assert np.abs(still.weight).max() < 1e-3


def test_a_model_with_hidden_layers_is_adapted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data, made = table(tmp_path / "data"), tmp_path / "made"
    ran = inside(
        capfd, "train", data, "--target", "light", *SMALL, "--epochs", "1", "--hidden", "4", "--out", made
    )
    assert ran.code == 0, ran.err
    ran = inside(capfd, "train", data, "--target", "light", "--adapt", made, "--out", tmp_path / "here")
    assert ran.code == 0, ran.err
    old, new = bundles.load(made), bundles.load(tmp_path / "here")
    changed = {name for name in old.weights if not np.array_equal(old.weights[name], new.weights[name])}
    assert changed == {"fc.2.weight", "fc.2.bias"}  # fc.0 is the hidden layer


def test_images_that_were_judged_in_two_ways_do_not_count(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = judged(tmp_path / "data")
    again = [
        "0.png,spine,p0",
        "1.png,spine,p90",
        "2.png,abdominal,p91",
    ]  # others said of 0.png, the same of two
    with data.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in again)
    ran = inside(
        capfd, "train", data, "--target", "group", "--adapt", "router5", "--out", tmp_path / "m", "--json"
    )
    assert (ran.code, "1 image is judged more than once and differently" in ran.err) == (0, True), ran.err
    facts = json.loads(ran.out)["adapted"][0]
    assert (facts["images"], facts["patients"]) == (39, 20)  # p90 is p0, and p91 is p1


def test_no_mean_over_classes_is_told_where_one_was_not_judged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = inside(
        capfd, "train", judged(tmp_path / "data"), "--target", "group", "--adapt", "router5",
        "--out", tmp_path / "m", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert list(json.loads(ran.out)["figures"]["group"]) == ["accuracy"]
    assert "no judged image is of adult_chest, others, pediatric_chest" in " ".join(ran.err.split())


def test_the_thresholds_that_answer_an_image_have_not_seen_it() -> None:
    lot = np.random.default_rng(0)
    head = Head("part", tuple("abcdefghij"), kind="multilabel")
    truth = (lot.random((60, 10)) < 0.1).astype(np.float32)
    logits = lot.normal(0, 1, (60, 10)).astype(np.float32)  # know nothing
    images = adapt._Seen(logits, logits, truth, np.arange(60))
    fitted = adapt._fitted(head, logits, truth)
    seen = macro(predictions_of(fitted, truth, fitted.scores(logits)))["f1_macro"]
    unseen = macro(adapt._answers(fitted, images, logits, np.arange(60) % 5))["f1_macro"]
    assert seen > unseen + 0.05


def test_a_label_that_nobody_judged_counts_from_where_it_did() -> None:
    lot = np.random.default_rng(0)
    head = Head("part", ("a", "b"), temperature=0.5, kind="multilabel", thresholds=(0.3, 0.8))
    truth = np.zeros((50, 2), np.float32)
    truth[:20, 0] = 1
    logits = lot.normal(0, 1, (50, 2)).astype(np.float32)
    fitted = adapt._fitted(head, logits, truth)
    values = np.linspace(-8, 8, 400, dtype=np.float32)[:, None].repeat(2, axis=1)
    before, after = (one.chosen(one.scores(values))[:, 1] for one in (head, fitted))
    assert fitted.temperature != head.temperature
    assert np.array_equal(before, after)
