"""Models against labelled images: whose figures, of which images, resampled how, and what is told apart."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled import FAST, LEVELS, Several, draw, samples_of, write_csv
from predictors import ROUTER_LABELS, FixedPredictor
from program import inside

from dicomsort.data.dataset import Columns, load
from dicomsort.data.table import columns_of
from dicomsort.errors import ExitCode, UsageError
from dicomsort.evaluation import baselines
from dicomsort.evaluation.evaluate import compare, evaluate, worst
from dicomsort.evaluation.predictions import EvalSettings, predict_samples, questions
from dicomsort.evaluation.run import evaluate_models
from dicomsort.evaluation.subgroups import REST, UNKNOWN, groups_of
from dicomsort.model.bundle import Bundle
from dicomsort.model.bundle import load as load_bundle
from dicomsort.model.heads import Head
from dicomsort.outcome import Reason
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.reporting import Count

POOL = PoolSettings(workers=1)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures as bright as their label wants, but for every fifth, of ten patients."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = []
    for number in range(20):
        label = number % 5
        shown = (label + 1) % 5 if number % 5 == 0 else label
        draw(folder / f"{number}.png", LEVELS[shown], seed=number)
        rows.append(
            {
                "file": f"{number}.png", "group": ROUTER_LABELS[label], "patient": number // 2,
                "age": 4 * number, "source": "ab"[number % 2], "signs": ("x", "x|y", "")[number % 3],
                "ill": number % 2, "ward": "",
            }
        )  # fmt: skip
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    rows.append({**rows[4], "file": "broken.png"})
    return write_csv(folder / "labels.csv", rows)


@pytest.fixture
def several(small_bundle: Bundle) -> Several:
    signs = Head("signs", ("x", "y"), kind="multilabel", thresholds=(0.5, 0.99))
    return Several(replace(small_bundle, further=(signs, Head("ill", ("no_ill", "ill"), kind="binary"))))


def test_figures_are_those_of_a_count_by_hand(labelled: Path, predictor: FixedPredictor) -> None:
    answered = predict_samples(predictor, samples_of(labelled, "group"), FAST)
    (found,) = evaluate([answered], ("group",), FAST)
    figures = found.measured[0].figures
    assert figures.images == len(answered.predictions) == 20
    assert figures.overall["accuracy"].value == pytest.approx(16 / 20)
    assert figures.clusters is None
    assert figures.per_class["abdominal"]["recall"].value == 0
    assert figures.per_class["adult_chest"]["precision"].value == pytest.approx(0.5)
    assert [failure.reason for _, failure in answered.failures] == [Reason.PICTURE_DAMAGED]
    assert 0 < answered.network_seconds_per_image < answered.seconds_per_image
    assert [one.sample.name for one in answered.predictions] == [f"{number}.png" for number in range(20)]


def test_patients_are_resampled_with_all_their_images(labelled: Path, predictor: FixedPredictor) -> None:
    answered = predict_samples(predictor, samples_of(labelled, "group", facts=("ward",)), FAST)

    def interval(cluster: str | None) -> tuple[int | None, float]:
        settings = replace(FAST, cluster=cluster, bootstrap=2000)
        figures = evaluate([answered], ("group",), settings)[0].measured[0].figures
        return figures.clusters, figures.overall["accuracy"].low

    assert interval("patient")[0] == 10
    assert interval(None)[0] is None
    assert interval("patient") != interval(None)
    assert interval("ward")[0] == 20, "an empty cell stands for its file"


def test_groups_have_figures_of_their_own(labelled: Path, predictor: FixedPredictor) -> None:
    answered = predict_samples(
        predictor, samples_of(labelled, "group", facts=("age", "source", "ward")), FAST
    )
    settings = replace(FAST, by=("age", "source", "ward", "transfer_syntax"))
    (found,) = evaluate([answered], ("group",), settings)
    groups = found.measured[0].groups
    assert {name: figures.images for name, figures in groups["age"].items()} == {
        "0-2": 1, "3-12": 3, "13-17": 1, "18-39": 5, "40-64": 7, "65+": 3,
    }  # fmt: skip
    assert set(groups["source"]) == {"a", "b"}
    assert set(groups["ward"]) == set(groups["transfer_syntax"]) == {UNKNOWN}
    alone = groups["age"]["0-2"]
    assert alone.overall["accuracy"].value == 0
    assert math.isnan(alone.overall["auc_macro"].value)
    assert math.isnan(alone.per_class["spine"]["f1"].value), "no figure for a label that does not occur"


def test_the_header_tells_what_the_csv_does_not(archive: Path, tmp_path: Path, predictor: Any) -> None:
    files = [*sorted((archive / "2020" / "PAED").rglob("IM*")), archive / "2019" / "ABD" / "a0001.dcm"]
    rows = [
        {"file": str(path), "group": "spine", "modality": f"m{index % 2}"} for index, path in enumerate(files)
    ]
    samples = samples_of(write_csv(tmp_path / "d.csv", rows), "group", facts=("modality",))
    answered = predict_samples(predictor, samples, FAST)
    settings = replace(FAST, by=("transfer_syntax", "modality", "photometric_interpretation"))
    groups = evaluate([answered], ("group",), settings)[0].measured[0].groups
    assert set(groups["modality"]) == {"m0", "m1"}
    assert len(groups["transfer_syntax"]) > 1
    assert all(name.startswith("1.2.840.10008.1.2") for name in groups["transfer_syntax"])
    assert set(groups["photometric_interpretation"]) <= {"MONOCHROME1", "MONOCHROME2", "RGB", UNKNOWN}


def test_each_head_has_its_own_figures(labelled: Path, several: Several) -> None:
    samples = samples_of(labelled, "group", "signs", "ill")
    (found,) = evaluate([predict_samples(several, samples, FAST)], ("group", "signs", "ill"), FAST)
    group, signs, ill = found.measured
    assert group.figures.overall["accuracy"].value == pytest.approx(0.8)
    known = [sample for sample in samples if sample.targets[1] and sample.name != "broken.png"]
    assert signs.figures.images == len(known) == 14
    bright = {f"{number}.png" for number in range(20) if (LEVELS[(number % 5) + (number % 5 == 0)]) > 100}
    right = sum(one.targets[1] == "x" and one.name in bright for one in known)
    assert signs.figures.overall["subset_accuracy"].value == pytest.approx(right / 14), (
        "y is never above 0.99"
    )
    hits = sum((one.name in bright) == (one.targets[2] == "1") for one in samples if one.name != "broken.png")
    assert ill.figures.overall["accuracy"].value == pytest.approx(hits / 20)
    assert ill.figures.labels == ("no_ill", "ill")
    wrong = worst(signs)
    assert len(wrong) == 14 - right
    assert [one.confidence for one in wrong] == sorted((one.confidence for one in wrong), reverse=True)


def test_targets_find_their_heads() -> None:
    heads = (Head("a", ("p", "q")), Head("b", ("r", "s")))
    assert [question.at for question in questions(heads, ("b", "a"))] == [1, 0]
    assert [question.at for question in questions(heads, ("other",))] == [0]
    assert [question.target for question in questions(heads, ())] == ["a"]
    with pytest.raises(UsageError, match="no answer to target 'z'"):
        questions(heads, ("a", "b", "z"))
    with pytest.raises(UsageError, match="two targets belong to one head"):
        questions(heads, ("b", "x"))


def test_models_are_compared_on_the_images_that_all_can_read(
    labelled: Path, predictor: FixedPredictor, small_bundle: Bundle
) -> None:
    samples = samples_of(labelled, "group")
    one = predict_samples(predictor, samples, FAST)
    turned = replace(small_bundle.head, labels=ROUTER_LABELS[::-1])
    other = predict_samples(FixedPredictor(replace(small_bundle, head=turned)), samples, FAST)
    other = replace(other, predictions=other.predictions[2:])
    found = evaluate([one, other], ("group",), FAST)
    assert [each.unshared for each in found] == [2, 0]
    first, second = (each.measured[0] for each in found)
    assert first.figures.images == second.figures.images == 18
    rows = compare({"one": first.predictions, "other": second.predictions}, first.figures, FAST)
    assert rows[0].differences == {}
    assert rows[1].figures.labels == ROUTER_LABELS
    lost = rows[1].figures.overall["accuracy"].value - rows[0].figures.overall["accuracy"].value
    assert rows[1].differences["accuracy"].value == pytest.approx(lost)
    assert rows[1].figures.overall["accuracy"].value == pytest.approx(
        second.figures.overall["accuracy"].value
    )
    same = compare({"one": first.predictions, "again": first.predictions}, first.figures, FAST)[1]
    assert same.differences["f1_macro"] == type(same.differences["f1_macro"])(0.0, 0.0, 0.0)
    with pytest.raises(UsageError, match="do not choose among the same labels"):
        compare(
            {"a": first.predictions, "b": replace(first.predictions, labels=tuple("abcde"))},
            first.figures,
            FAST,
        )


def test_baselines_learn_from_the_training_part(labelled: Path, several: Several) -> None:
    targets = ("group", "signs", "ill")
    samples = samples_of(labelled, *targets)
    (found,) = evaluate([predict_samples(several, samples, FAST)], targets, FAST)
    trained = [sample for sample in samples if sample.name not in ("0.png", "5.png", "broken.png")]
    pixels = baselines.read_pixels(samples, FAST)
    assert len(pixels) == 20
    group, signs, ill = (baselines.baselines(one, trained, pixels) for one in found.measured)
    for made in (group, signs, ill):
        assert set(made.predictions) == {"majority", "logistic"}
        assert len(made.remarks) == 1, "it is asked about images that it has learned from"
    assert group.remarks[0].startswith(
        "warning: 'group': the logistic row has learned from 18 of the 20 images evaluated"
    )
    unseen = [sample for sample in trained if sample.name in ("1.png", "2.png", "3.png", "4.png")]
    (apart,) = evaluate(
        [predict_samples(several, [one for one in samples if one not in unseen], FAST)],
        ("group", "signs", "ill"),
        FAST,
    )
    assert baselines.baselines(apart.measured[0], unseen, pixels).remarks == ()
    assert len(set(group.predictions["majority"].chosen.tolist())) == 1
    right = np.mean(group.predictions["logistic"].chosen == group.predictions["logistic"].truth)
    assert right >= found.measured[0].figures.overall["accuracy"].value
    share = np.mean([one.targets[1] == "x|y" for one in trained if one.targets[1]])
    assert signs.predictions["majority"].scores == pytest.approx(np.array([[1, share]] * 14))
    assert group.predictions["logistic"].scores.sum(axis=1) == pytest.approx(np.ones(20))

    nothing = baselines.baselines(found.measured[0], [], {})
    assert set(nothing.predictions) == {"majority"}
    assert "of the images evaluated" in nothing.remarks[0]
    alike = baselines.baselines(found.measured[0], [trained[0]], pixels)
    assert set(alike.predictions) == {"majority"}
    assert "no logistic row" in alike.remarks[0]


@pytest.mark.parametrize(
    ("column", "values", "groups"),
    [
        ("age", ["0", "2.9", "3", "17", "064Y", "18M", "?", ""], "0-2:3 3-12:1 13-17:1 40-64:1 unknown:2"),
        ("patient_age", ["30"], "18-39:1"),
        ("dose", list(map(str, range(12))), "0 to 2.75:3 2.75 to 5.5:3 5.5 to 8.25:3 8.25 to 11:3"),
        ("dose", [*map(str, range(13)), ""], "0 to 3:4 3 to 6:3 6 to 9:3 9 to 12:3 unknown:1"),
        ("grade", ["3", "1", "3", ""], "1:1 3:2 unknown:1"),
        ("view", ["PA", "AP", "PA"], "AP:1 PA:2"),
        ("empty", ["", ""], "unknown:2"),
    ],
)  # fmt: skip
def test_values_are_grouped(column: str, values: list[str], groups: str) -> None:
    found = groups_of(column, values)
    assert " ".join(f"{name}:{members.sum()}" for name, members in found.items()) == groups


def test_many_values_have_one_group_for_the_rare_ones() -> None:
    values = [f"v{number}" for number in range(40)] + [f"v{number}" for number in range(30)]
    found = groups_of("site", values)
    assert len(found) == 31
    assert found[REST].sum() == 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "grup"], "has no column 'grup'"),
        (["--target", "group", "--by", "colour"], "no column 'colour'"),
        (["--target", "group", "--by", "patient"], "would name people"),
        (["--target", "group", "--cluster", "ward2"], "no column 'ward2'"),
        (["--target", "group", "--patient", "ward2"], "no column 'ward2'"),
        (["--target", "group", "--patient", "source", "--by", "source"], "would name people"),
        (["--target", "group", "--patient", "none", "--cluster", "patient"], "exclude each other"),
        (["--target", "source"], "does not know the label 'a'"),
        (["--target", "group", "--target", "signs"], "no answer to target 'signs'"),
        (["--target", "group", "--part", "train"], "is in the train part"),
        (["--target", "ward"], "holds no labelled file"),
    ],
)
def test_what_cannot_be_measured_has_one_clear_line(
    words: list[str], message: str, labelled: Path, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = inside(capfd, "eval", labelled, "--model", small_model, *words)
    assert ran.code == ExitCode.USAGE, ran.err
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1
    assert ran.out == ""


def test_patients_of_another_column_are_resampled_and_unknown_ones_told(
    labelled: Path, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    head, _, rest = labelled.read_text(encoding="utf-8").partition("\n")
    data = labelled.with_name("other.csv")
    cases: list[tuple[str, list[str], int | None, int]] = [
        ("PatientID", ["--patient", "PatientID"], 10, 0),
        ("PatientID", ["--cluster", "PatientID"], 10, 0),
        ("PatientID", ["--patient", "PatientID", "--cluster", "patient"], 10, 0),
        ("PatientID", ["--cluster", "none"], None, 0),
        ("PatientID", ["--patient", "none"], None, 0),
        ("ward_no", [], None, 1),
    ]
    for name, words, clusters, told in cases:
        data.write_text(f"{head.replace('patient', name)}\n{rest}", encoding="utf-8")
        options = ("--target", "group", "--model", small_model, "--bootstrap", "20", "--json")
        ran = inside(capfd, "eval", data, *options, *words)
        assert ran.code == ExitCode.SOME_FAILED, ran.err
        assert ran.err.count("warning: no patient is known") == told
        assert ran.json["heads"]["label"]["clusters"] == clusters


def test_nothing_readable_is_said(tmp_path: Path, predictor: FixedPredictor) -> None:
    (tmp_path / "spine").mkdir()
    (tmp_path / "spine" / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    answered = predict_samples(predictor, load(tmp_path, Columns()).samples, FAST)
    with pytest.raises(UsageError, match="1 file given, and none can be read"):
        evaluate([answered], (), FAST)


def test_columns_of_what_is_no_csv(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    assert columns_of(tmp_path / "x.csv") == columns_of(tmp_path) == ()


class Listening:
    """A reporter that remembers what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.counted: dict[str, list[int]] = {}

    def info(self, line: str) -> None:
        self.lines.append(line)

    def warn(self, line: str) -> None:
        self.lines.append(line)

    @contextmanager
    def counting(self, what: str, total: int | None) -> Iterator[Count]:
        self.counted[what] = [total or 0, 0]

        def count(steps: int) -> None:
            self.counted[what][1] += steps

        yield count


def test_the_library_measures_as_the_command_does(
    labelled: Path, small_bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small_bundle.save(tmp_path / "small")
    reporter, settings = Listening(), EvalSettings(bootstrap=50, pool=POOL, part="all", baseline=True)
    results = evaluate_models(labelled, [load_bundle(tmp_path / "small")], ["group"], settings, reporter)
    assert results.settings.cluster == "patient", "patients are known, so they are what is resampled"
    assert reporter.counted["evaluating"] == [21, 21]
    results.save(tmp_path / "library")
    assert capfd.readouterr() == ("", "")
    words: list[str | Path] = ["eval", labelled, "--target", "group", "--model", tmp_path / "small"]
    words += ["--part", "all", "--quiet", "--bootstrap", "50", "--baseline"]
    ran = inside(capfd, *words, "--out", tmp_path / "command")
    assert ran.code == ExitCode.SOME_FAILED
    for name in ("predictions.csv", "not_read.csv", "confusion.png"):
        assert (tmp_path / "library" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
    library, command = (
        json.loads((tmp_path / folder / "metrics.json").read_text()) for folder in ("library", "command")
    )
    for found in (library, command):
        assert found.pop("seconds_per_image") > found.pop("network_seconds_per_image") > 0
    assert library == command
    assert [row["model"] for row in library["comparison"]["group"]][1:] == ["majority"]
    assert library["remarks"] == list(results.remarks)
