"""The header as evidence, from the file to the manifest: what it moves, what it never does, and who hears."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outputs import rows, settings
from predictors import ROUTER_LABELS, FixedPredictor
from program import command, inside

from dicomsort import load_model
from dicomsort.errors import ExitCode, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.manifest.columns import columns
from dicomsort.manifest.reading import read_manifest
from dicomsort.manifest.table import Manifest
from dicomsort.model.bundle import Bundle
from dicomsort.model.evidence import Evidence, Rule
from dicomsort.model.model_set import ModelSet
from dicomsort.outcome import Reason, Status
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.system.pool_settings import PoolSettings

Write = Callable[..., Path]
AGAINST = math.log(1 / 40)
EVIDENCE = Evidence(
    (
        Rule("age=adult", {"adult_chest": 0, "pediatric_chest": AGAINST}, "x", 9),
        Rule("age=child", {"adult_chest": AGAINST, "pediatric_chest": 0}, "x", 9),
        Rule("modality=PX", {**dict.fromkeys(ROUTER_LABELS, -6.9), "others": 0}, "x"),
    )
)


class Flat(FixedPredictor):
    """Looks at brightness; an adult's and a child's chest are as good as each other near the middle."""

    def logits(self, images: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        bright = images.reshape(len(images), -1).mean(axis=1)
        return np.asarray([_ANSWERS[int(np.abs(_SHOWN - one).argmin())] for one in bright], np.float32)


_SHOWN = np.array([40.0, 90.0, 140.0])
_ANSWERS = np.log(np.clip([[0, 0.99, 0, 0.01, 0], [0, 0.2, 0, 0.8, 0], [0, 0.1, 0.3, 0.6, 0]], 1e-9, 1))
_FILES = {
    "unsure": (90, {"PatientAge": "044Y"}),
    "sure": (40, {"PatientAge": "011M"}),
    "agrees": (40, {"PatientBirthDate": "19331122", "StudyDate": "20200101"}),
    "silent": (90, {}),
    "dental": (140, {"Modality": "PX", "PatientAge": "6 years"}),
}


@pytest.fixture
def told(tmp_path: Path, write_dicom: Write) -> Path:
    """Five radiographs, as bright as what the pixels are to say, with headers that say more."""
    folder = tmp_path / "told"
    for number, (name, (level, header)) in enumerate(_FILES.items()):
        pixels = np.full((64, 64), level, np.uint8)
        pixels[0, :2] = 0, 255  # no constant, and a range that the window leaves alone
        extra = {"WindowCenter": 128, "WindowWidth": 256, "SOPInstanceUID": f"2.25.7{number}"}
        write_dicom(folder / f"{name}.dcm", pixels, **{**extra, **header})
    return folder


@pytest.fixture
def flat(small_bundle: Bundle) -> Flat:
    head = replace(small_bundle.head, review_below=0.9)
    return Flat(replace(small_bundle, head=head, evidence=EVIDENCE))


def named(out: Path) -> dict[str, dict[str, str]]:
    return {Path(path).stem: row for path, row in rows(out).items()}


def test_the_header_moves_unsure_pixels_and_contradicts_sure_ones(
    told: Path, tmp_path: Path, flat: Flat
) -> None:
    sort(settings(told, tmp_path / "out"), flat)
    found = named(tmp_path / "out")
    wanted = {  # status, label, pixel_label, evidence, age_group
        "unsure": ("sorted", "adult_chest", "pediatric_chest", "age=adult", "adult"),
        "sure": ("review", "adult_chest", "adult_chest", "age=child", "child"),
        "agrees": ("sorted", "adult_chest", "adult_chest", "age=adult", "adult"),
        "silent": ("review", "pediatric_chest", "pediatric_chest", "", ""),
        "dental": ("sorted", "others", "pediatric_chest", "age=child; modality=PX", "child"),
    }
    names = ("status", "label", "pixel_label", "evidence", "age_group")
    assert {name: tuple(row[column] for column in names) for name, row in found.items()} == wanted
    assert found["sure"]["reason"] == Reason.CONTRADICTION
    assert float(found["unsure"]["pixel_confidence"]) == pytest.approx(0.8, abs=1e-4)
    assert float(found["unsure"]["confidence"]) == pytest.approx(0.2 / 0.22, abs=1e-4)
    scores = [float(found["unsure"][f"score_{label}"]) for label in ROUTER_LABELS]
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    assert (tmp_path / "out" / "review" / "sure.dcm").is_file()


def test_pixels_alone_decide_if_that_is_asked(told: Path, tmp_path: Path, flat: Flat) -> None:
    sort(settings(told, tmp_path / "out", evidence="pixels"), flat)
    for row in named(tmp_path / "out").values():
        assert (row["label"], row["confidence"]) == (row["pixel_label"], row["pixel_confidence"])
        assert row["evidence"] == ""
        assert Reason.CONTRADICTION not in row["reason"]
    assert named(tmp_path / "out")["sure"]["age_group"] == "child"


def test_a_folder_is_continued_with_the_same_evidence(told: Path, tmp_path: Path, flat: Flat) -> None:
    out = tmp_path / "out"
    sort(settings(told, out), flat)
    assert json.loads((out / "run.json").read_text())["fixed"]["evidence"] == "header"
    with pytest.raises(UsageError, match=r"another evidence \(header, now pixels\).* --evidence header"):
        sort(settings(told, out, evidence="pixels"), flat)
    assert sort(settings(told, out), flat).already_done == 5


def test_a_folder_that_does_not_say_was_filled_by_pixels(told: Path, tmp_path: Path, flat: Flat) -> None:
    out = tmp_path / "out"
    sort(settings(told, out, evidence="pixels"), flat)
    run = json.loads((out / "run.json").read_text())
    del run["fixed"]["evidence"]
    (out / "run.json").write_text(json.dumps(run))
    with pytest.raises(UsageError, match="or --evidence pixels"):
        sort(settings(told, out), flat)
    assert sort(settings(told, out, evidence="pixels"), flat).already_done == 5


def test_a_model_without_rules_looks_at_pixels_whatever_is_asked(
    told: Path, tmp_path: Path, flat: Flat
) -> None:
    plain = Flat(replace(flat.bundle, evidence=None))
    for asked in ("header", "pixels"):
        sort(settings(told, tmp_path / "out", evidence=asked), plain)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["fixed"]["evidence"] == "pixels"
    assert {row["evidence"] for row in rows(tmp_path / "out").values()} == {""}
    assert ModelSet((plain,)).rests_on == "pixels"


def test_only_the_first_model_weighs_the_header(told: Path, tmp_path: Path, flat: Flat) -> None:
    beside = Flat(replace(flat.bundle, name="beside"))
    sort(settings(told, tmp_path / "out"), flat, further=[beside])
    row = named(tmp_path / "out")["unsure"]
    assert (row["label"], row["beside.label"]) == ("adult_chest", "pediatric_chest")


def test_shards_and_a_plan_keep_the_columns(told: Path, tmp_path: Path, flat: Flat) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    sort(settings(told, whole, dry_run=True), flat)
    for number in (1, 2, 3):
        sort(settings(told, out, shard=Shard(number, 3), dry_run=True), flat)
    merge(str(out), PoolSettings(1))
    names = ("label", "reason", "pixel_label", "pixel_confidence", "evidence", "age_group")
    assert [[row[name] for name in names] for _, row in sorted(rows(out).items())] == [
        [row[name] for name in names] for _, row in sorted(rows(whole).items())
    ]
    typed = {Path(row.path).stem: row for row in read_manifest(out)}
    assert typed["dental"].evidence == ("age=child", "modality=PX")
    assert typed["unsure"].pixel_label == "pediatric_chest"
    assert typed["unsure"].header.age_group == "adult"


NEW = ("pixel_label", "pixel_confidence", "evidence", "region_code", "region_meaning", "age_group")


def older(out: Path) -> None:
    """Make an output folder what an earlier version left: without the new columns."""
    lines = [row for _, row in rows(out).items()]
    names = [name for name in lines[0] if name not in NEW]
    text = [",".join(names), *(",".join(row[name] for name in names) for row in lines)]
    (out / "manifest.csv").write_text("\n".join(text) + "\n")
    run = json.loads((out / "run.json").read_text())
    run["fixed"].pop("evidence", None)
    (out / "run.json").write_text(json.dumps(run))


def test_a_folder_of_an_earlier_version_is_continued_read_and_undone(
    told: Path, tmp_path: Path, flat: Flat, write_dicom: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    sort(settings(told, out, evidence="pixels"), flat)
    before = rows(out)
    older(out)
    assert {row.path for row in read_manifest(out)} == set(before)
    assert {row.pixel_label for row in read_manifest(out)} == {""}
    write_dicom(told / "new.dcm")
    tally = sort(settings(told, out, evidence="pixels"), flat)
    assert (tally.already_done, tally.found) == (5, 6)
    after = named(out)
    assert list(after["new"]) == columns([f"score_{label}" for label in ROUTER_LABELS])
    assert after["new"]["pixel_label"] == after["new"]["label"]
    assert [after["sure"][name] for name in NEW] == [""] * len(NEW)
    for name in set(after["sure"]) - set(NEW):
        assert after["sure"][name] == before[str(told / "sure.dcm")][name]
    older(out)
    assert inside(capfd, "undo", out / "manifest.csv").code == 0
    assert {row["status"] for row in rows(out).values()} == {Status.PLANNED}


def test_no_age_and_no_date_appears_anywhere(
    tmp_path: Path, write_dicom: Write, small_bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    planted = {"PatientAge": "087Y", "PatientBirthDate": "19331122", "StudyDate": "20210813"}
    odd = {"PatientAge": "87 years CANARY", "PatientBirthDate": "1933.11.22", "AcquisitionDate": "2021-08-13"}
    for number, elements in enumerate((planted, odd)):
        write_dicom(folder / f"x{number}.dcm", **elements)
    replace(small_bundle, evidence=EVIDENCE).save(tmp_path / "m")
    ran = command("classify", folder, "--out", out, "--model", tmp_path / "m", "-v", "--json")
    assert ran.code == 0, ran.err
    texts = [ran.out, ran.err, *((out / name).read_text() for name in ("manifest.csv", "run.json"))]
    table = tmp_path / "labels.csv"
    table.write_text(
        "file,group,age\n" + "".join(f"{path},spine,87.5\n" for path in sorted(folder.iterdir()))
    )
    words = ("--target", "group", "--part", "all", "--bootstrap", "5", "--workers", "1", "--by", "age_group")
    measured = inside(capfd, "eval", table, "--model", tmp_path / "m", "--out", tmp_path / "e", *words)
    assert measured.code == 0, measured.err
    texts += [measured.out, measured.err]
    texts += [path.read_text("latin-1") for path in (tmp_path / "e").iterdir() if path.suffix != ".png"]
    assert "adult" in texts[2]
    dates = ("20210813", "2021-08-13", "19331122", "1933.11.22")  # four digits alone may be of a hash
    for text in texts[:4]:
        assert not [word for word in ("087Y", "87 years", "CANARY", *dates) if word in text]
    for text in texts[4:]:
        assert not [
            word for word in ("087Y", "87 years", "CANARY", "87.5", "19331122", "20210813") if word in text
        ]


def test_python_weighs_the_header_of_files_and_arrays_have_none(
    tmp_path: Path, write_dicom: Write, small_bundle: Bundle
) -> None:
    sure = replace(small_bundle.head, review_below=1.0)
    always = Evidence(
        (Rule("age=child", {**dict.fromkeys(ROUTER_LABELS, -10.0), "abdominal": 0}, "x"),), possible=1e-6
    )
    replace(small_bundle, head=sure, evidence=always).save(tmp_path / "m")
    path = write_dicom(tmp_path / "a.dcm", PatientAge="003Y")
    model = load_model(tmp_path / "m", device="cpu")
    (weighed,), (alone,) = model.predict(path), model.predict(path, evidence="pixels")
    assert weighed.label == "abdominal"
    assert weighed.evidence == ("age=child",)
    assert weighed.pixels == alone
    (array,) = model.predict(np.zeros((64, 64), np.uint8))
    assert array.evidence == ()
    with pytest.raises(UsageError, match="use header, pixels"):
        model.predict(path, evidence="tags")


def test_an_unknown_source_of_evidence_is_refused(
    told: Path, tmp_path: Path, small_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("classify", told, "--out", tmp_path / "out", "--model", small_model, "--evidence", "body")
    ran = inside(capfd, *words)
    assert (ran.code, "--evidence 'body' is unknown: use header, pixels" in ran.err) == (ExitCode.USAGE, True)


@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_an_older_manifest_that_a_spreadsheet_has_saved_is_read(
    told: Path, tmp_path: Path, flat: Flat, mark: str
) -> None:
    out = tmp_path / "out"
    sort(settings(told, out, evidence="pixels"), flat)
    older(out)
    text = (out / "manifest.csv").read_text()
    (out / "manifest.csv").write_bytes((mark + text.replace("\n", "\r\n")).encode())
    with Manifest.open_existing(str(out / "manifest.csv")) as journal:
        assert {record.status for record in journal.records()} == {Status.SORTED, Status.REVIEW}
        assert {record["evidence"] for record in journal.records()} == {""}


def test_a_cluster_weighs_as_one_process_does(
    told: Path, tmp_path: Path, small_bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    sure = replace(small_bundle.head, review_below=1.0)
    rules = [
        Rule(f"age={age}", {**dict.fromkeys(ROUTER_LABELS, -9.0), "spine": 0}, "x")
        for age in ("child", "adult")
    ]
    replace(small_bundle, head=sure, evidence=Evidence(tuple(rules), possible=1e-6)).save(tmp_path / "m")
    words = ("classify", told, "--model", tmp_path / "m", "--device", "cpu", "-q")
    assert inside(capfd, *words, "--out", tmp_path / "one").code == 0
    ran = command(*words, "--out", tmp_path / "many", "--backend", "loky", "--tasks", "1")
    assert ran.code == 0, ran.err
    one, many = named(tmp_path / "one"), named(tmp_path / "many")
    names = ("label", "confidence", "reason", *NEW)
    assert {key: [row[name] for name in names] for key, row in one.items()} == {
        key: [row[name] for name in names] for key, row in many.items()
    }
    assert many["unsure"]["label"] == "spine" != many["unsure"]["pixel_label"]
    fixed = json.loads((tmp_path / "many" / "run.json").read_text())["fixed"]
    assert fixed["evidence"] == "header"
