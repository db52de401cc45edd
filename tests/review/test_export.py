"""What persons decided comes back into training: as a table, and as corrections of one."""

import csv
import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from outputs import rows, settings
from predictors import FixedPredictor
from program import command
from written import picture, write_dicom

from dicomsort.data import corrections, dataset
from dicomsort.data.dataset import Columns
from dicomsort.errors import UsageError
from dicomsort.review.export import Trained, export
from dicomsort.review.index import Filter
from dicomsort.review.opening import opened
from dicomsort.sorting.pipeline import sort
from dicomsort.system.pool_settings import PoolSettings

POOL = PoolSettings(1)
PATIENTS = {"0": "A", "1": "A", "2": "B", "3": "B "}


@pytest.fixture
def out(tmp_path: Path, predictor: FixedPredictor) -> Path:
    for name, patient in PATIENTS.items():
        write_dicom(tmp_path / "in" / f"{name}.dcm", picture(int(name)), PatientID=patient)
    for name, study in {"4": "1.2.3", "5": "1.2.3", "6": None, "7": None}.items():
        elements = {"PatientID": "", "StudyInstanceUID": study}
        write_dicom(tmp_path / "in" / f"{name}.dcm", picture(int(name)), **elements)
    sort(settings(tmp_path / "in", tmp_path / "out", review_below=1.0), predictor)
    with opened(str(tmp_path / "out"), "Dr. A") as desk:
        by_name = {Path(item.path).stem: item.id for item in desk.items(desk.find(Filter()))}
        desk.decide([by_name[name] for name in "012345"], "spine")
        desk.decide([by_name["6"]], "others")
        desk.decide([by_name["7"]], "excluded")
    return tmp_path / "out"


def table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {Path(row["file"]).stem: row for row in csv.DictReader(file)}


def test_the_table_is_a_data_set_that_tells_patients_apart(out: Path, tmp_path: Path) -> None:
    done = export(str(out), str(tmp_path / "labels.csv"), POOL)
    found = table(tmp_path / "labels.csv")
    assert (done.images, done.left) == (7, [])
    assert {name: row["label"] for name, row in found.items()} == {
        **dict.fromkeys("012345", "spine"),
        "6": "others",
    }
    keys = {name: row["patient"] for name, row in found.items()}
    assert keys["0"] == keys["1"] != keys["2"] == keys["3"]
    assert keys["4"] == keys["5"]
    assert len(set(keys.values())) == 4
    assert all(re.fullmatch("p[0-9a-f]{16}", key) for key in keys.values())
    assert {row["source"] for row in found.values()} == {"in"}
    said = next(row for path, row in rows(out).items() if path.endswith("/0.dcm"))
    assert (found["0"]["model_label"], found["0"]["model_confidence"]) == (said["label"], said["confidence"])
    loaded = dataset.load(tmp_path / "labels.csv", Columns(targets=("label",), source="source"))
    assert loaded.has_patients
    assert {(sample.path.stem, sample.label) for sample in loaded.samples} == {
        (name, row["label"]) for name, row in found.items()
    }


def test_keys_of_two_outputs_tell_nothing_of_each_other(out: Path, tmp_path: Path) -> None:
    export(str(out), str(tmp_path / "one.csv"), POOL)
    export(str(out), str(tmp_path / "same.csv"), POOL)
    (out / ".dicomsort" / "salt").unlink()
    export(str(out), str(tmp_path / "other.csv"), POOL)
    one, same, other = (table(tmp_path / f"{name}.csv") for name in ("one", "same", "other"))
    assert one == same
    assert not {row["patient"] for row in one.values()} & {row["patient"] for row in other.values()}
    assert (out / ".dicomsort" / "salt").stat().st_mode & 0o777 == 0o600
    plain = hashlib.sha256(b"A").hexdigest()[:16]
    assert plain not in {row["patient"] for row in one.values()}


def test_images_of_the_training_table_come_as_its_corrections(out: Path, tmp_path: Path) -> None:
    trained = tmp_path / "trained.csv"
    trained.write_text("file,group\nin/0.dcm,others\nin/1.dcm,spine\nin/2.dcm,\n")
    done = export(str(out), str(tmp_path / "labels.csv"), POOL, Trained(trained, "group"))
    assert (done.images, done.known, done.corrected) == (4, 3, 2)
    assert set(table(tmp_path / "labels.csv")) == set("3456")
    path = tmp_path / "labels-corrections.csv"
    given = {one.sha256: (one.was, one.becomes) for one in corrections.read(path)}
    hashes = [
        hashlib.sha256((tmp_path / "in" / f"{name}.dcm").read_bytes()).hexdigest()[:16] for name in "02"
    ]
    assert given == dict(zip(hashes, [("others", "spine"), ("", "spine")], strict=True))
    right, count = corrections.load(trained, Columns(targets=("group",)), path)
    assert count == 2
    assert {sample.label for sample in right.samples} == {"spine"}


def test_our_copy_is_taken_where_the_source_is_gone(out: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "0.dcm").unlink()
    (tmp_path / "in" / "1.dcm").unlink()
    (out / "spine" / "1.dcm").unlink()
    done = export(str(out), str(tmp_path / "labels.csv"), POOL)
    assert table(tmp_path / "labels.csv")["0"]["file"] == str(out / "spine" / "0.dcm")
    assert [why for _, why in done.left] == ["it cannot be read any more"]


def test_nothing_is_replaced_and_nothing_decided_is_told(
    out: Path, tmp_path: Path, inbox: Path, predictor: FixedPredictor
) -> None:
    (tmp_path / "labels.csv").write_text("mine")
    with pytest.raises(UsageError, match="exists: choose a new file"):
        export(str(out), str(tmp_path / "labels.csv"), POOL)
    sort(settings(inbox, tmp_path / "other"), predictor)
    with pytest.raises(UsageError, match="nobody has decided"):
        export(str(tmp_path / "other"), str(tmp_path / "new.csv"), POOL)


def test_the_command_says_what_it_wrote_and_names_nobody(out: Path, tmp_path: Path) -> None:
    done = command("review", str(out), "--export", str(tmp_path / "labels.csv"))
    assert (done.code, done.out) == (0, "")
    assert "7 images with a class that a person decided" in done.err
    assert f"dicomsort: to go on: dicomsort train {tmp_path}/labels.csv --target label " in done.err
    both = command("review", str(out), "--export", str(tmp_path / "other.csv"), "--sample", "3")
    assert both.code == 2
    assert both.err == "dicomsort: --sample does not go with --export, which opens no page\n"
    written = (tmp_path / "labels.csv").read_text()
    assert "CANARY" not in written + done.err
    assert json.loads((out / "run.json").read_text())["decisions"] == os.path.getsize(out / "decisions.csv")


def test_a_label_goes_with_the_bytes_that_were_decided_on(out: Path, tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "0.dcm", picture(40))
    write_dicom(tmp_path / "in" / "1.dcm", picture(41))
    copy = out / rows(out)[str(tmp_path / "in" / "1.dcm")]["destination"]
    copy.unlink()
    done = export(str(out), str(tmp_path / "labels.csv"), POOL)
    found = table(tmp_path / "labels.csv")
    assert found["0"]["file"] == str(out / "spine" / "0.dcm")
    assert "1" not in found
    assert done.left == [(str(tmp_path / "in" / "1.dcm"), "it has changed since it was sorted")]


def test_a_secret_that_was_cut_short_makes_no_keys(out: Path, tmp_path: Path) -> None:
    (out / ".dicomsort").mkdir(exist_ok=True)
    (out / ".dicomsort" / "salt").write_bytes(b"")
    with pytest.raises(UsageError, match="salt' is damaged"):
        export(str(out), str(tmp_path / "labels.csv"), POOL)
    (out / ".dicomsort" / "salt").unlink()
    export(str(out), str(tmp_path / "labels.csv"), POOL)
    assert [path.name for path in (out / ".dicomsort").glob("*")] == ["salt"]
    assert (out / ".dicomsort" / "salt").stat().st_mode & 0o777 == 0o600


def test_a_folder_whose_name_is_not_utf8_does_not_end_the_export(
    tmp_path: Path, predictor: FixedPredictor
) -> None:
    write_dicom(tmp_path / "in" / "0.dcm", picture(0))
    inbox = (tmp_path / "in").rename(tmp_path / "in\udcff")
    sort(settings(inbox, tmp_path / "out", review_below=1.0), predictor)
    with opened(str(tmp_path / "out"), "Dr. A") as desk:
        desk.decide([0], "spine")
    (inbox / "0.dcm").unlink()
    assert export(str(tmp_path / "out"), str(tmp_path / "labels.csv"), POOL).images == 1
    assert table(tmp_path / "labels.csv")["0"]["source"] == "in\\xff"
