"""Which images a figure is of, by which names, and from where they are read."""

import csv
import math
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled import FAST, LEVELS, Several, draw, write_csv
from predictors import ROUTER_LABELS, FixedPredictor
from program import inside

from dicomsort.data.cache import Cache
from dicomsort.data.dataset import Columns, content_hash, load
from dicomsort.errors import UsageError
from dicomsort.evaluation import mapping, report
from dicomsort.evaluation.operating import goal_of
from dicomsort.evaluation.report import Results
from dicomsort.evaluation.run import evaluate_models
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Head
from dicomsort.model.size import size_of


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pictures as bright as their label wants; every third is bright but not ill, or the other way."""
    folder, rows = tmp_path_factory.mktemp("data"), []
    for number in range(30):
        label = number % 5
        draw(folder / f"{number}.png", LEVELS[label], seed=number)
        ill = int((label > 2) != (number % 7 == 0))
        row = {"file": f"{number}.png", "group": ROUTER_LABELS[label], "patient": number // 2, "ill": ill}
        rows.append({**row, "signs": "x|y" if ill else "x", "place": "one" if label < 2 else "other"})
    return write_csv(folder / "labels.csv", rows)


def parts(data: Path, **numbers: Sequence[int]) -> dict[str, str]:
    """Make a split of the files of these numbers."""
    return {content_hash(data.parent / f"{n}.png"): part for part, some in numbers.items() for n in some}


def measured(
    data: Path, bundles: Sequence[Bundle], targets: Sequence[str] = ("group",), **more: Any
) -> Results:
    kinds = [Several(one) if one.further else FixedPredictor(one) for one in bundles]
    settings = replace(FAST, **more)
    return evaluate_models(data, bundles, targets, settings, ready=lambda place: nullcontext(kinds[place]))


@pytest.fixture
def ill(small_bundle: Bundle) -> Bundle:
    return replace(small_bundle, further=(Head("ill", ("no_ill", "ill"), kind="binary"),))


# --- files that no model has seen


def test_several_models_are_compared_on_files_that_none_of_them_has_seen(
    data: Path, small_bundle: Bundle
) -> None:
    one = replace(small_bundle, name="one", split=parts(data, train=range(8), validation=(8, 9)))
    two = replace(small_bundle, name="two", split=parts(data, train=range(5, 15), validation=(15,)))
    found = measured(data, [one, two], baseline=False)
    assert found.overlaps == ({"train": 0, "validation": 0}, {"train": 0, "validation": 0})
    assert [each.measured[0].figures.images for each in found.evaluations] == [14, 14]
    (line,) = [line for line in report.lines_of(found) if "left out" in line]
    assert line.startswith("compared on 14 of 30 files: 16 left out that at least one of the models")
    alone = measured(data, [one])
    assert alone.evaluations[0].measured[0].figures.images == 20
    assert not [line for line in report.lines_of(alone) if "left out" in line]


def test_all_files_are_compared_on_with_a_warning_for_each_model(data: Path, small_bundle: Bundle) -> None:
    one = replace(small_bundle, name="one", split=parts(data, train=range(8)))
    two = replace(small_bundle, name="two", split=parts(data, validation=range(3)))
    found = measured(data, [one, two], part="all", baseline=False)
    assert found.evaluations[1].measured[0].figures.images == 30
    warned = [line for line in report.lines_of(found) if line.startswith("warning")]
    assert len(warned) == 3
    assert warned[0].startswith("warning: 8 of these files are in the train part of the split of one@")
    assert warned[1].startswith("warning: 3 of these files are in the validation part of the split of two@")
    assert warned[2].startswith("warning: two@")
    assert "has seen other files of the patients of 1 of these files" in warned[2]


@pytest.mark.parametrize(("train", "count"), [(range(20), 0), (range(0, 20, 2), 10), ((29,), 1)])
def test_files_of_patients_that_a_model_has_seen_are_told(
    data: Path, small_bundle: Bundle, train: Sequence[int], count: int
) -> None:
    """Pictures 2n and 2n + 1 are of one patient; what is in no split counts for the test part."""
    found = measured(data, [replace(small_bundle, split=parts(data, train=train))])
    told = [line for line in report.lines_of(found) if "other files of the patients" in line]
    assert len(told) == bool(count)
    assert all(f"patients of {count} of these files" in line for line in told)


def test_models_that_have_seen_every_file_between_them_are_not_compared(
    data: Path, small_bundle: Bundle
) -> None:
    one = replace(small_bundle, split=parts(data, train=range(15)))
    two = replace(small_bundle, split=parts(data, train=range(15, 30)))
    with pytest.raises(UsageError, match="new to all of the models"):
        measured(data, [one, two])


def test_warnings_come_before_the_figures(
    data: Path, small_bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    from dicomsort.cli import console

    replace(small_bundle, split=parts(data, train=range(30))).save(tmp_path / "seen")
    order: list[str] = []
    monkeypatch.setattr(console, "info", lambda message: order.append(message))
    monkeypatch.setattr(console, "table", lambda title, *words, **more: order.append(f"table {title}"))
    words = ("--target", "group", "--part", "all", "--bootstrap", "10", "--workers", "1", "--device", "cpu")
    assert inside(capfd, "eval", data, "--model", tmp_path / "seen", *words).code == 0
    warned = next(at for at, line in enumerate(order) if line.startswith("warning: 30 of these files"))
    assert warned < next(at for at, line in enumerate(order) if line.startswith("table"))


# --- thresholds


def test_thresholds_are_chosen_on_the_validation_part_where_the_data_have_it(data: Path, ill: Bundle) -> None:
    split = parts(data, train=range(4), validation=range(4, 16))
    found = measured(data, [replace(ill, split=split)], ("group", "ill"), at=(goal_of("specificity=0.9"),))
    group, sick = found.evaluations[0].measured
    assert sick.figures.images == 14
    assert sick.tuned == 12
    points = sick.points[0].points
    assert [point.chosen_on for point in points] == ["model", "validation", "validation"]
    lines = report.lines_of(found)
    assert any("'ill': thresholds are chosen on 12 images of the validation part" in line for line in lines)
    assert [one.label for one in group.points] == list(ROUTER_LABELS), (
        "one against the rest, for it was asked"
    )
    told = found.as_dict()["heads"]["ill"]["operating_points"][0]
    assert (told["label"], told["positives"] + told["negatives"]) == ("ill", 14)
    assert told["points"][1]["name"] == "specificity 0.9"


def test_thresholds_chosen_on_the_images_measured_are_said_to_be_optimistic(data: Path, ill: Bundle) -> None:
    found = measured(data, [ill], ("group", "ill"))
    group, sick = found.evaluations[0].measured
    assert group.points == ()
    assert [point.chosen_on for point in sick.points[0].points] == ["model", "measured"]
    assert any("'ill'" in line and "optimistic" in line for line in report.lines_of(found))


def test_a_label_that_all_images_have_is_said_to_have_no_threshold(data: Path, ill: Bundle) -> None:
    rows = [row for row in csv.DictReader(data.read_text().splitlines()) if row["ill"] == "1"]
    alone = write_csv(data.parent / "ill.csv", rows)
    found = measured(alone, [ill], ("group", "ill"), at=(goal_of("sensitivity=0.95"),))
    assert [point.name for point in found.evaluations[0].measured[1].points[0].points] == ["in use"]
    assert any("'ill': no threshold can be chosen for ill" in line for line in report.lines_of(found))


# --- groups


def test_a_group_without_some_classes_has_no_mean_over_classes(data: Path, small_bundle: Bundle) -> None:
    """Accuracy is that of the group; a recall of 0 for classes that are not there would be none."""
    found = measured(data, [small_bundle], by=("place",))
    groups = found.evaluations[0].measured[0].groups["place"]
    for name in ("one", "other"):
        assert groups[name].overall["accuracy"].value == 1
        for figure in ("precision_macro", "recall_macro", "f1_macro", "auc_macro"):
            assert math.isnan(groups[name].overall[figure].value)
    assert not math.isnan(groups["one"].overall["recall_weighted"].value)
    (line,) = [line for line in report.lines_of(found) if "by place" in line]
    assert "one lacks others, pediatric_chest and spine" in line
    assert "other lacks abdominal and adult_chest" in line
    whole = found.as_dict()["heads"]["label"]
    assert whole["by"]["place"]["one"]["overall"]["recall_macro"]["value"] is None
    assert whole["overall"]["recall_macro"]["value"] == 1


def test_of_many_absent_classes_the_number_is_told() -> None:
    """A model of 24 labels filled the screen with those that each group lacks."""
    assert report._few(("hand", "knee")) == "hand and knee"
    assert report._few([f"label{n}" for n in range(12)]) == "12 classes"


def test_a_group_with_every_class_keeps_its_means(data: Path, small_bundle: Bundle) -> None:
    found = measured(data, [small_bundle], by=("ill",), part="all")
    kept = found.evaluations[0].measured[0].groups["ill"]["1"].overall["recall_macro"].value
    assert kept == 1
    assert not [line for line in report.lines_of(found) if "by ill" in line]


# --- names


def test_labels_of_another_model_are_called_as_in_the_data(data: Path, small_bundle: Bundle) -> None:
    foreign = tuple("thorax" if label == "adult_chest" else label for label in ROUTER_LABELS)
    other = replace(small_bundle, name="other", head=Head("label", foreign))
    with pytest.raises(UsageError, match="does not know the label 'adult_chest'"):
        measured(data, [small_bundle, other], baseline=False)
    found = measured(data, [small_bundle, other], baseline=False, mapping={"thorax": "adult_chest"})
    first, second = found.comparisons["group"]
    assert first.figures.labels == second.figures.labels == ROUTER_LABELS
    assert second.figures.overall == first.figures.overall
    assert found.evaluations[1].predicted.tag == other.tag, "it is the same model"


def test_labels_of_the_data_are_called_as_the_model_does(
    data: Path, small_bundle: Bundle, tmp_path: Path
) -> None:
    text = data.read_text(encoding="utf-8").replace("spine", "columna")
    renamed = data.with_name("renamed.csv")
    renamed.write_text(text, encoding="utf-8")
    wanted = measured(data, [small_bundle])
    found = measured(renamed, [small_bundle], mapping={"columna": "spine"})
    assert found.evaluations[0].measured[0].figures == wanted.evaluations[0].measured[0].figures


def test_two_labels_with_one_name_are_one_with_the_sum_of_their_scores(
    data: Path, small_bundle: Bundle, tmp_path: Path
) -> None:
    names = {"adult_chest": "chest", "pediatric_chest": "chest"}
    (apart,) = measured(data, [small_bundle]).evaluations
    results = measured(data, [small_bundle], mapping=names)
    found = results.evaluations[0].measured[0]
    assert found.figures.labels == ("abdominal", "chest", "others", "spine")
    own = apart.measured[0].predictions.scores
    assert np.allclose(found.predictions.scores[:, 1], own[:, 1] + own[:, 3], atol=1e-6)
    assert np.allclose(found.predictions.scores.sum(axis=1), 1, atol=1e-6)
    assert found.figures.support["chest"] == 12
    report._write_predictions(results.evaluations[0], tmp_path)
    rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert {row.split(",")[1] for row in rows[1:]} == {"abdominal", "chest", "others", "spine"}
    assert {row.split(",")[2] for row in rows[1:]} == {"abdominal", "chest", "others", "spine"}


def test_labels_that_are_one_by_map_are_not_said_to_have_too_few_images(
    data: Path, small_bundle: Bundle
) -> None:
    names = {"adult_chest": "chest", "pediatric_chest": "chest"}
    told = report.lines_of(measured(data, [small_bundle], mapping=names))
    assert told
    assert not [line for line in told if "too few" in line]
    head = Head("part", ("adult_chest", "hand", "finger", "pediatric_chest"),
                parents={"finger": "hand"}, rare=("finger",))  # fmt: skip
    assert report._merged(mapping.renamed_head(head, names), names).endswith("others: finger as hand")


def test_two_labels_may_change_their_names() -> None:
    head = Head("kind", ("a", "b", "c"), thresholds=(), parents={"a": "b"})
    swapped = mapping.renamed_head(head, {"a": "b", "b": "a"})
    assert swapped.labels == ("b", "a", "c")
    assert swapped.parents == {"b": "a"}
    with pytest.raises(UsageError, match="--map"):
        mapping.renamed_head(Head("ill", ("no", "yes"), kind="binary"), {"no": "yes"})


@pytest.mark.parametrize("pairs", [["a"], ["=b"], ["a="], ["a=b", "a=c"], ["a=re/view"], ["a=review"]])
def test_a_name_that_cannot_be_is_refused(pairs: list[str]) -> None:
    with pytest.raises(UsageError, match="use OLD=NEW"):
        mapping.names_of(pairs)


def test_an_old_name_that_nobody_uses_is_refused(data: Path, small_bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="neither the data nor a model has a label 'torax'"):
        measured(data, [small_bundle], mapping={"torax": "adult_chest"})


# --- the cache


def test_pictures_of_the_cache_give_the_same_figures_and_the_files_are_not_read(
    data: Path, small_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = measured(data, [small_bundle])
    cold = measured(data, [small_bundle], cache=tmp_path / "cache")

    def never(*words: Any, **more: Any) -> Any:
        raise AssertionError("a file is read that is in the cache")

    monkeypatch.setattr(
        "dicomsort.data.cache.read_all", lambda samples, *more: never() if [*samples] else iter(())
    )
    monkeypatch.setattr("dicomsort.data.cache.content_hash", never)
    warm = measured(data, [small_bundle], cache=tmp_path / "cache")
    for found in (cold, warm):
        assert found.evaluations[0].measured[0].figures == wanted.evaluations[0].measured[0].figures
    assert any("s per image from cache to answer" in line for line in report.lines_of(warm))


def test_the_cache_is_that_of_a_training(data: Path, small_bundle: Bundle, tmp_path: Path) -> None:
    """Other bytes in a training's cache are other answers: nothing else is looked at."""
    cache, samples = Cache(tmp_path, small_bundle.preprocessing), load(data, Columns(("group",))).samples
    cache.fill(samples, FAST.pool)
    with cache._connection() as file:
        file.execute("UPDATE pixels SET image = ?", (bytes(64 * 64),))
    found = measured(data, [small_bundle], cache=tmp_path)
    assert set(found.evaluations[0].measured[0].predictions.chosen.tolist()) == {0}


def test_a_file_that_cannot_be_read_is_told_with_a_cache_too(
    data: Path, small_bundle: Bundle, tmp_path: Path
) -> None:
    draw(tmp_path / "spine" / "a.png", 200)
    (tmp_path / "spine" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    found = measured(tmp_path, [small_bundle], (), cache=tmp_path.with_name("cache"))
    assert [sample.name for sample, _ in found.evaluations[0].predicted.failures] == ["spine/b.png"]


def test_groups_by_what_only_headers_tell_are_refused_with_a_cache(
    data: Path, small_bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="--by transfer_syntax needs the headers"):
        measured(data, [small_bundle], by=("transfer_syntax",), cache=tmp_path)
    assert not (tmp_path / "pixels.sqlite").exists()


def test_data_that_are_refused_leave_no_cache(small_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data at"):
        measured(tmp_path / "none.csv", [small_bundle], cache=tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


def test_tables_of_several_models_say_whose_they_are(
    data: Path, small_bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        replace(small_bundle, name=name).save(tmp_path / name)
    models = ("--model", tmp_path / "one", "--model", tmp_path / "two", "--no-baseline")
    words = ("--target", "group", "--bootstrap", "10", "--workers", "1", "--device", "cpu")
    printed = inside(capfd, "eval", data, *models, *words).out
    for name in ("one", "two"):
        assert re.search(rf"^{name}@[0-9a-f]{{12}}: overall$", printed, re.MULTILINE)


# --- what a model takes


def test_parameters_are_what_is_learned_and_megabytes_what_is_stored() -> None:
    weights: dict[str, Any] = {
        "body.conv.weight": np.zeros((4, 3), np.float32),
        "body.bn.running_mean": np.zeros(4, np.float32),
        "body.bn.num_batches_tracked": np.zeros((), np.int64),
    }
    assert size_of(weights) == (12, (48 + 16 + 8) / 1e6)
