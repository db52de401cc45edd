"""Rules of evidence: what labeled images bear out, what is stated, and what eval makes of them."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from labelled import FAST, LEVELS, draw, samples_of, write_csv
from predictors import ROUTER_LABELS, FixedPredictor
from program import inside
from written import write_dicom

from dicomsort.data.dataset import Columns, load
from dicomsort.errors import ExitCode, UsageError
from dicomsort.evaluation.evaluate import evaluate
from dicomsort.evaluation.evidence import fitted
from dicomsort.evaluation.predictions import predict_samples
from dicomsort.evaluation.run import evaluate_models
from dicomsort.model import bundle as bundles
from dicomsort.model.bundle import Bundle
from dicomsort.model.evidence import Evidence, Rule
from dicomsort.model.heads import Head
from dicomsort.outcome import Facts

HEAD = Head("group", ROUTER_LABELS)
AGES: list[tuple[str, Facts]] = [
    *[("adult_chest", ("age=adult",))] * 30,
    *[("pediatric_chest", ("age=child",))] * 10,
]
EVIDENCE = Evidence(
    (
        Rule("age=adult", {"adult_chest": 0, "pediatric_chest": math.log(1 / 40)}, "x", 3),
        Rule("age=child", {"adult_chest": math.log(1 / 40), "pediatric_chest": 0}, "x", 3),
    )
)


def rules(known: Sequence[tuple[str, Facts]], *labels: str) -> dict[str, Rule]:
    evidence = fitted(Head("group", labels) if labels else HEAD, known)
    return {} if evidence is None else {rule.fact: rule for rule in evidence.rules}


def test_a_ratio_is_observed_over_expected_with_one_image_more_each() -> None:
    found = rules(AGES)
    # 40 images, 30 of adults: of 10 children 7.5 adults are expected and 0 seen, 1 / 8.5; so of 30 adults
    against = pytest.approx(math.log(1 / 8.5), abs=1e-4)
    assert found["age=adult"].log_ratios == {"adult_chest": 0, "pediatric_chest": against}
    assert found["age=child"].log_ratios == {"adult_chest": against, "pediatric_chest": 0}
    assert found["age=adult"].images == 40
    assert "30 adult_chest, 10 pediatric_chest" in found["age=adult"].basis
    assert "age=teenager" not in found


def test_a_handful_of_images_rules_nothing_out() -> None:
    few = rules([("adult_chest", ("age=adult",)), ("pediatric_chest", ("age=child",))])
    assert min(*few["age=adult"].log_ratios.values(), *few["age=child"].log_ratios.values()) > math.log(1 / 2)


@pytest.mark.parametrize("known", [[], [("adult_chest", ()), ("pediatric_chest", ("modality=RF",))]])
def test_without_ages_there_is_no_rule_of_age(known: list[tuple[str, Facts]]) -> None:
    assert not [fact for fact in rules(known) if fact.startswith("age=")]


def test_ages_are_evidence_only_for_labels_that_name_one() -> None:
    confounded: list[tuple[str, Facts]] = [("hand", ("age=child",)), ("chest", ("age=adult",))]
    assert not [fact for fact in rules(confounded * 50, "hand", "chest") if fact.startswith("age=")]
    mixed = [*AGES, *[("spine", ("age=child",))] * 500]
    assert rules(mixed)["age=child"].log_ratios == rules(AGES)["age=child"].log_ratios
    assert rules([("adult_hand", ("age=adult",)), ("hand-child", ("age=child",))], "adult_hand", "hand-child")


def test_dental_apparatus_rules_out_the_trunk_where_labels_are_known_by_name() -> None:
    for fact in ("sop_class=intra-oral", "modality=IO", "modality=PX"):
        ratios = rules([])[fact].log_ratios
        against = pytest.approx(math.log(1 / 1000), abs=1e-4)
        assert ratios == {**dict.fromkeys(ROUTER_LABELS, against), "others": 0}
    assert rules([], "Chest", "hand")["modality=IO"].log_ratios["hand"] == 0
    assert rules([], "a", "b") == rules([], "chest", "abdomen") == {}


def test_an_angiogram_is_less_likely_a_chest_than_an_abdomen() -> None:
    ratios = rules([])["modality=XA"].log_ratios
    assert ratios["adult_chest"] < ratios["abdominal"] < 0
    assert ratios["others"] == 0
    assert "modality=RF" not in rules([])


def test_other_heads_than_multiclass_have_no_evidence() -> None:
    assert fitted(Head("x", ("adult_chest", "pediatric_chest"), kind="multilabel"), AGES) is None


@pytest.fixture
def aged(tmp_path: Path) -> Path:
    """Six pictures between an adult's and a child's chest, nearer to the wrong one, with their ages."""
    level = {"adult_chest": LEVELS[3] - 21, "pediatric_chest": LEVELS[1] + 21}  # between these lies `others`
    rows, known = [], [("adult_chest", "44"), ("pediatric_chest", "3"), ("adult_chest", "")]
    for number, (label, age) in enumerate(known * 2):
        draw(tmp_path / f"{number}.png", level[label], spread=1, seed=number)
        rows.append({"file": f"{number}.png", "group": label, "age": age, "modality": ""})
    return write_csv(tmp_path / "labels.csv", rows)


@pytest.fixture
def weighing(small_bundle: Bundle) -> FixedPredictor:
    head = replace(small_bundle.head, temperature=4.0, review_below=0.9)
    return FixedPredictor(replace(small_bundle, head=head, evidence=EVIDENCE))


def test_eval_tells_the_figures_with_and_without_the_header(aged: Path, weighing: FixedPredictor) -> None:
    samples = load(aged, Columns(("group",), evidence=("age", "modality"))).samples
    assert [sample.facts for sample in samples[:3]] == [("age=adult",), ("age=child",), ()]
    settings = replace(FAST, by=("age_group",))
    said = predict_samples(weighing, samples, settings)
    (found,) = evaluate([said], ("group",), settings)
    measured = found.measured[0]
    assert measured.pixels is not None
    assert [len(one.evidence) for one in measured.known] == [1, 1, 0] * 2
    assert {name: each.images for name, each in measured.groups["age_group"].items()} == {
        "adult": 2, "child": 2, "unknown": 2,
    }  # fmt: skip
    for one in measured.known:
        assert float(one.scores.sum()) == pytest.approx(1, abs=1e-5)
    alone = replace(settings, evidence="pixels")
    (without,) = evaluate([predict_samples(weighing, samples, alone)], ("group",), alone)
    assert without.measured[0].pixels is None
    assert without.measured[0].figures.overall == measured.pixels.overall != measured.figures.overall


def test_a_dicom_file_speaks_for_itself_whatever_the_csv_says(
    tmp_path: Path, weighing: FixedPredictor
) -> None:
    write_dicom(tmp_path / "a.dcm", PatientAge="040Y")
    write_dicom(tmp_path / "b.dcm")
    rows = [{"file": name, "group": "spine", "age": "5"} for name in ("a.dcm", "b.dcm")]
    path = write_csv(tmp_path / "labels.csv", rows)
    samples = load(path, Columns(("group",), evidence=("age",))).samples
    said = predict_samples(weighing, samples, FAST)
    assert [one.evidence for one in said.predictions] == [("age=adult",), ()]
    assert [one.header.age_group for one in said.predictions] == ["adult", ""]


def test_a_label_column_is_never_its_own_evidence(tmp_path: Path, weighing: FixedPredictor) -> None:
    rows = [{"file": "0.png", "age": "adult_chest"}, {"file": "1.png", "age": "spine"}]
    for row in rows:
        draw(tmp_path / row["file"], 50)
    path = write_csv(tmp_path / "labels.csv", rows)
    results = evaluate_models(
        path, [weighing.bundle], ("age",), replace(FAST, part="all"), None, lambda _: _Ready(weighing)
    )
    assert results.evaluations[0].measured[0].pixels is None


class _Ready:
    def __init__(self, predictor: FixedPredictor) -> None:
        self._predictor = predictor

    def __enter__(self) -> FixedPredictor:
        return self._predictor

    def __exit__(self, *_: object) -> None:
        pass


def test_an_unknown_source_of_evidence_is_refused(aged: Path, weighing: FixedPredictor) -> None:
    with pytest.raises(UsageError, match="--evidence 'tags' is unknown: use header, pixels"):
        evaluate_models(aged, [weighing.bundle], ("group",), replace(FAST, evidence="tags"))


def test_rules_are_fitted_into_a_bundle(
    aged: Path, small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m"
    write_dicom(aged.parent / "6.dcm", PatientAge="033Y")
    with aged.open("a", encoding="utf-8") as file:
        file.write("6.dcm,adult_chest,,\n")
    words = ("model", "evidence", small_model, aged, "--target", "group", "--part", "all", "--workers", "1")
    ran = inside(capfd, *words, "--out", out, "--json")
    assert ran.code == 0, ran.err
    loaded = bundles.load(out)
    assert loaded.evidence is not None
    ages = {rule.fact: rule for rule in loaded.evidence.rules if rule.fact.startswith("age=")}
    assert set(ages) == {"age=adult", "age=child"}
    assert ages["age=adult"].images == 5  # two adults and two children of the table, and one of the header
    assert ran.json["model"] == loaded.tag != bundles.load(small_model).tag
    again = inside(capfd, "model", "evidence", out, *words[3:])
    assert again.code == 0, again.err
    assert "age=child against adult_chest" in again.err
    assert bundles.load(out).digest == loaded.digest
    shipped = inside(capfd, "model", "evidence", "router5", *words[3:])
    assert (shipped.code, "makes a changed copy" in shipped.err) == (ExitCode.USAGE, True)


def test_eval_writes_what_the_pixels_alone_say(
    aged: Path, small_bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    replace(small_bundle, evidence=EVIDENCE, head=replace(small_bundle.head, review_below=1.0)).save(
        tmp_path / "m"
    )
    words = ("--target", "group", "--bootstrap", "10", "--workers", "1", "--device", "cpu", "--json")
    ran = inside(capfd, "eval", aged, "--model", tmp_path / "m", *words)
    assert ran.code == 0, ran.err
    head = ran.json["heads"]["label"]
    assert head["pixels_alone"]["images"] == head["images"] == 6
    assert ran.json["evidence"] == "header"
    pixels = inside(capfd, "eval", aged, "--model", tmp_path / "m", *words, "--evidence", "pixels")
    assert "pixels_alone" not in pixels.json["heads"]["label"]
    assert json.dumps(pixels.json["heads"]["label"]["overall"]) == json.dumps(head["pixels_alone"]["overall"])


def test_samples_without_columns_of_evidence_have_no_facts(aged: Path) -> None:
    assert {sample.facts for sample in samples_of(aged, "group")} == {()}
