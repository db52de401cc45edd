"""An output folder of `classify` is a data set: what persons decided in it, patient by patient."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from outputs import rows, settings
from predictors import FixedPredictor
from program import inside
from trainings import SMALL
from written import picture, write_dicom

from dicomsort.data import corrections, dataset, reviewed
from dicomsort.data.dataset import Columns, Data, content_hash, read_facts
from dicomsort.data.table import columns_of, evidence_in
from dicomsort.errors import UsageError
from dicomsort.model.bundle import Bundle
from dicomsort.model.studies import StudyRule
from dicomsort.outcome import Reason
from dicomsort.review.export import export
from dicomsort.review.index import Filter
from dicomsort.review.opening import opened
from dicomsort.sorting.pipeline import sort
from dicomsort.system.pool_settings import PoolSettings

POOL = PoolSettings(1)
PATIENTS = 9
IMAGES = 2 * PATIENTS


def decide(out: Path, labels: dict[str, str]) -> None:
    with opened(str(out), "Dr. A") as desk:
        ids = {Path(item.path).stem: item.id for item in desk.items(desk.find(Filter()))}
        for name, label in labels.items():
            desk.decide([ids[name]], label)


@pytest.fixture
def out(tmp_path: Path, predictor: FixedPredictor) -> Path:
    """Eighteen decisions on nine patients of two images: spines of adults, abdomens of children."""
    for number in range(IMAGES + 3):
        patient, child = number // 2, number // 2 % 2
        facts = {"PatientAge": "006Y" if child else "054Y", "ViewPosition": "AP"}
        uids = {"PatientID": f"CANARY-{patient}", "StudyInstanceUID": f"1.2.{patient}"}
        write_dicom(tmp_path / "in" / f"{number}.dcm", picture(number), **facts, **uids)
    sort(settings(tmp_path / "in", tmp_path / "out", review_below=1.0), predictor)
    said = {str(number): ("spine", "abdominal")[number // 2 % 2] for number in range(IMAGES)}
    decide(tmp_path / "out", {**said, str(IMAGES): "excluded", str(IMAGES + 1): "unsure"})
    return tmp_path / "out"


def load(out: Path, **columns: object) -> Data:
    return dataset.load(out, Columns(**columns), pool=POOL)  # type: ignore[arg-type]


def test_only_what_a_person_decided_is_data_and_the_label_need_not_be_named(out: Path) -> None:
    found = load(out)
    assert found.has_patients
    assert not found.unread
    assert {sample.path.stem: sample.label for sample in found.samples} == {
        str(number): "spine" if number % 4 < 2 else "abdominal" for number in range(IMAGES)
    }
    assert load(out, targets=("label",)) == found == load(out / "manifest.csv")
    with pytest.raises(UsageError, match="what persons decided there is 'label', not 'group'"):
        load(out, targets=("group",))


def test_patients_are_told_apart_by_salted_keys_as_in_an_export(out: Path, tmp_path: Path) -> None:
    export(str(out), str(tmp_path / "labels.csv"), POOL)
    of_table = dataset.load(tmp_path / "labels.csv", Columns(targets=("label",)))
    found = load(out)
    assert [(one.path, one.targets, one.group, one.sha256) for one in found.samples] == [
        (one.path, one.targets, one.group, one.sha256) for one in of_table.samples
    ]
    assert sorted(Counter(sample.group for sample in found.samples).values()) == [2] * PATIENTS
    assert "CANARY" not in repr(found)
    alone = load(out, patient="none")
    assert (len({sample.group for sample in alone.samples}), alone.has_patients) == (IMAGES, False)


def test_the_header_stays_the_evidence(out: Path) -> None:
    assert evidence_in(out) == ()
    facts = {sample.path.stem: told for sample, told in read_facts(load(out).samples, POOL)}
    assert facts == {
        str(number): ("age=adult",) if number % 4 < 2 else ("age=child",) for number in range(IMAGES)
    }


def test_what_the_manifest_says_can_be_asked_for(out: Path, small_bundle: Bundle) -> None:
    assert columns_of(out) == reviewed.TOLD
    found = load(out, metadata=("source", "view", "study", "model_label"), study=StudyRule("study"))
    assert len(found.samples) == PATIENTS
    first = found.samples[0]
    said = rows(out)[str(first.path)]["label"]
    assert dict(first.metadata) == {"source": "in", "view": "AP", "study": "1.2.0", "model_label": said}
    with pytest.raises(UsageError, match="has no column 'hospital'; its columns are: file, label, patient"):
        load(out, metadata=("hospital",))


def test_a_file_that_has_changed_is_told_and_never_read_for_what_it_was(out: Path, tmp_path: Path) -> None:
    for name in ("0", "1", "2"):
        write_dicom(tmp_path / "in" / f"{name}.dcm", picture(90))
    for name in ("1", "2", "3"):
        (out / rows(out)[str(tmp_path / "in" / f"{name}.dcm")]["destination"]).unlink()
    (tmp_path / "in" / "3.dcm").unlink()
    found = load(out)
    assert [(sample.path.stem, failure.reason) for sample, failure in found.unread] == [
        ("1", Reason.DECIDED_BEFORE),
        ("2", Reason.DECIDED_BEFORE),
        ("3", Reason.VANISHED),
    ]
    paths = {sample.path.stem: sample.path for sample in found.samples}
    assert paths["0"] == out / "spine" / "0.dcm", "our copy still holds what was decided on"
    assert len(paths) == IMAGES - 3


def test_an_output_on_which_nobody_has_decided_is_no_data(tmp_path: Path, predictor: FixedPredictor) -> None:
    write_dicom(tmp_path / "in" / "0.dcm", picture(0))
    sort(settings(tmp_path / "in", tmp_path / "out"), predictor)
    with pytest.raises(
        UsageError, match=r"nobody has decided on a class in .* `dicomsort review .*` it first"
    ):
        load(tmp_path / "out")


def test_a_folder_of_classes_beside_another_manifest_stays_one(tmp_path: Path) -> None:
    for name in ("a/1", "b/2"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    (tmp_path / "manifest.csv").write_text("file,licence\n")
    assert [sample.label for sample in load(tmp_path).samples] == ["a", "b"]


def test_decisions_can_be_put_right_like_labels_of_a_table(out: Path, tmp_path: Path) -> None:
    file, first = tmp_path / "corrections.csv", content_hash(tmp_path / "in" / "0.dcm")
    with file.open("w", newline="") as written:
        csv.writer(written).writerows([corrections.COLUMNS, [first, "label", "spine", "others", "a slip"]])
    found, count = corrections.load(out, Columns(), file, pool=POOL)
    assert (count, found.samples[0].label) == (1, "others")


def test_decisions_put_a_table_right_that_holds_the_same_images(out: Path, tmp_path: Path) -> None:
    """0 and 1 are spines, 2 is an abdomen: the table is wrong of one, and does not know another."""
    trained = tmp_path / "trained.csv"
    trained.write_text("file,group\nin/0.dcm,others\nin/1.dcm,spine\nin/2.dcm,\nin/19.dcm,others\n")
    found, count = corrections.load(trained, Columns(("group",)), out, pool=POOL)
    assert count == 2
    assert {sample.name: sample.label for sample in found.samples} == {
        "in/0.dcm": "spine", "in/1.dcm": "spine", "in/2.dcm": "abdominal", "in/19.dcm": "others",
    }  # fmt: skip


def test_the_commands_take_it_as_their_data(
    out: Path, small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stats = inside(capfd, "stats", out, "--json", "--size", "32", "--workers", "1")
    assert stats.code == 0, stats.err
    assert (stats.json["files"], stats.json["patients"]) == (IMAGES, PATIENTS)
    counts = {label: one["images"] for label, one in stats.json["targets"]["label"]["labels"].items()}
    assert counts == {"abdominal": 8, "spine": 10}
    sheet = inside(capfd, "preview", out, "--out", tmp_path / "sheet.png", "--copies", "0", "--size", "32")
    assert sheet.code == 0, sheet.err
    assert (tmp_path / "sheet.png").stat().st_size > 0
    asked = ("--part", "all", "--workers", "1", "--device", "cpu")
    words = ("eval", out, "--model", small_model, *asked, "--bootstrap", "0")
    measured = inside(capfd, *words, "--json", "--by", "age_group")
    assert measured.code == 0, measured.err
    assert "CANARY" not in measured.out + measured.err
    assert inside(capfd, *words, "--target", "label", "--json").json["images"] == IMAGES
    refused = inside(capfd, *words, "--out", out)
    assert (refused.code, "is where the data lie" in refused.err) == (2, True)
    sure = ("--target-precision", "0.01", "--out", tmp_path / "sure", "--json")
    done = inside(capfd, "calibrate", small_model, out, *asked, *sure)
    assert done.code == 0, done.err
    assert done.json["heads"][0]["images"] == IMAGES


def test_a_model_learns_from_it_in_one_command(
    out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = inside(capfd, "train", out, "--out", tmp_path / "m", *SMALL, "--epochs", "1", "--json")
    assert ran.code == 0, ran.err
    assert sum(ran.json["images"].values()) == IMAGES
    assert f"dicomsort eval {out} --model" in ran.err
    assert "no patient is known" not in ran.err
