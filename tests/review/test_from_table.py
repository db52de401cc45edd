"""Decisions from a table, whatever a spreadsheet has made of it."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from outputs import rows, settings, tree
from predictors import ROUTER_LABELS, FixedPredictor
from program import command
from written import picture

from dicomsort.errors import ExitCode, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.review.from_table import Known, correct
from dicomsort.review.opening import opened
from dicomsort.sorting.pipeline import sort
from dicomsort.sorting.reviewing import Refused
from dicomsort.system.locks import take


@pytest.fixture
def out(inbox: Path, tmp_path: Path, predictor: FixedPredictor) -> Path:
    shutil.copy(inbox / "s1" / "4.dcm", inbox / "s1" / "44.dcm")
    sort(settings(inbox, tmp_path / "out", review_below=1.0), predictor)
    return tmp_path / "out"


def table(folder: Path, text: str) -> str:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return str(folder / "labels.csv")


def decided(out: Path) -> dict[str, str]:
    found = {"/".join(path.rsplit("/", 2)[1:]): row["reviewed_label"] for path, row in rows(out).items()}
    return {path: label for path, label in found.items() if label}


def test_each_line_is_done_or_refused_with_its_reason(inbox: Path, out: Path, tmp_path: Path) -> None:
    lines = [
        "path,label",
        f"{inbox}/s0/0.dcm,spine",
        f"{inbox}/s0/3.dcm,EXCLUDED",
        f"{inbox}/s0/6.dcm,foot",
        f"{inbox}/s0/99.dcm,spine",
        f"{inbox}/s1/1.dcm,spine",
        f"{inbox}/s1/1.dcm,others",
        f"{inbox}/ct.dcm,spine",
        f"{inbox}/s1/44.dcm,spine",
        f"{inbox}/s2/2.dcm,",
        f"{out}/review/s2/5.dcm,unsure",
        "",
    ]
    given = table(tmp_path, "\n".join(lines))
    before = tree(out)
    planned = correct(str(out), given, "Dr. A", dry_run=True)
    assert tree(out) == before
    done = correct(str(out), given, "Dr. A")
    assert (planned.decided, planned.refused) == (done.decided, done.refused)
    assert decided(out) == {"s0/0.dcm": "spine", "s0/3.dcm": "excluded", "s2/5.dcm": "unsure"}
    assert (done.decided, done.empty, done.exit_code) == (3, 1, ExitCode.SOME_FAILED)
    assert dict(done.refused) == {
        "line 4": "there is no class 'foot' (" + ", ".join(ROUTER_LABELS) + "; --label adds one)",
        "line 5": "no file of the manifest has that name",
        "line 6": "lines 6, 7 say different things of one file",
        "line 7": "lines 6, 7 say different things of one file",
        "line 8": Refused.NO_PLACE,
        "line 9": "it repeats another file: decide on that one",
    }
    assert (out / "spine" / "s0" / "0.dcm").is_file()
    again = correct(str(out), given, "Dr. B")
    assert (again.decided, again.unchanged) == (0, 3)
    assert {row["reviewed_by"] for row in rows(out).values()} == {"", "Dr. A"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_from_a_spreadsheet_is_read(separator: str, inbox: Path, out: Path, tmp_path: Path) -> None:
    text = f"﻿Label{separator}SOP_Instance_UID\r\n"
    uid = next(row["sop_instance_uid"] for path, row in rows(out).items() if path.endswith("s1/4.dcm"))
    done = correct(str(out), table(tmp_path, f"{text}spine{separator}{uid}\r\n"), "Dr. A")
    assert (done.decided, done.refused) == (1, [])
    assert decided(out) == {"s1/4.dcm": "spine"}


def test_a_manifest_saved_elsewhere_is_a_table_whose_reviewed_label_counts(out: Path, tmp_path: Path) -> None:
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        saved = list(csv.DictReader(file))
    with pytest.raises(UsageError, match="its column 'reviewed_label' is empty"):
        correct(str(out), str(out / "manifest.csv"), "Dr. A")
    for row in saved:
        row["reviewed_label"] = "spine" if row["path"].endswith("s0/0.dcm") else ""
    with (tmp_path / "saved.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(saved[0]))
        writer.writeheader()
        writer.writerows(saved)
    assert correct(str(out), str(tmp_path / "saved.csv"), "Dr. A").decided == 1
    assert decided(out) == {"s0/0.dcm": "spine"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "must have a column 'label'"),
        ("", "must have a column"),
        ("path,label\nx\n", "says nothing"),
    ],
)
def test_what_is_no_table_ends_with_one_line(text: str, says: str, out: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        correct(str(out), table(tmp_path, text), "Dr. A")


@pytest.mark.parametrize(
    "named", ["review/s0/0.dcm", "{out}/review/s0/0.dcm", "../in/s0/0.dcm", "../out/review/s0/0.dcm"]
)
def test_a_path_may_be_that_of_the_copy_and_relative(
    named: str, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "in")
    given = table(tmp_path, f"path,label\n{named.format(out=out)},spine\n")
    assert correct(str(out), given, "Dr. A").refused == []
    assert decided(out) == {"s0/0.dcm": "spine"}


def test_a_class_that_cannot_be_one_is_refused(out: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be a class"):
        correct(str(out), table(tmp_path, "path,label\nx,a/b\n"), "Dr. A", further=("a/b",))


def test_a_busy_folder_is_left_alone(out: Path, tmp_path: Path) -> None:
    with take(str(out)), pytest.raises(UsageError, match="another dicomsort is writing"):
        correct(str(out), table(tmp_path, "path,label\nx,spine\n"), "Dr. A")


def test_the_command_tells_a_person_and_a_program(inbox: Path, out: Path, tmp_path: Path) -> None:
    given = table(tmp_path, f"path,label\n{inbox}/s0/0.dcm,spine\n{inbox}/s0/3.dcm,foot\n")
    planned = command("correct", str(out), given, "--dry-run")
    assert planned.code == 3
    assert "1 file would be decided on" in planned.err
    workbook = command("correct", str(out), str(tmp_path / "labels.XLSX"))
    assert workbook.code == 2
    assert "labels.XLSX' is not a CSV: save it as CSV UTF-8" in workbook.err
    assert "refused: line 3: there is no class 'foot'" in planned.err
    done = command("correct", str(out), given, "--json", "--label", "foot", "--by", "Dr. B")
    assert json.loads(done.out)["decided"] == 2
    assert done.code == 0
    assert rows(out)[f"{inbox}/s0/3.dcm"]["reviewed_by"] == "Dr. B"


@pytest.mark.parametrize("label", ["../../elsewhere", "review", "a/b", "/abs", "run.json"])
def test_no_further_class_leads_out_of_the_output(label: str, inbox: Path, out: Path, tmp_path: Path) -> None:
    given = table(tmp_path, f"path,label\n{inbox}/s0/0.dcm,{label}\n")
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="cannot be a class"):
        correct(str(out), given, "Dr. A", further=(label,))
    assert tree(tmp_path) == before


@pytest.mark.parametrize("label", ["spine|others", "excluded|spine", "unsure|unsure", "spine|spine", "|"])
def test_several_labels_are_no_class_of_a_model_that_gives_one(
    label: str, inbox: Path, out: Path, tmp_path: Path
) -> None:
    done = correct(str(out), table(tmp_path, f"path,label\n{inbox}/s0/0.dcm,{label}\n"), "Dr. A")
    assert (done.decided, len(done.refused)) == (0, 1)
    assert decided(out) == {}


def test_several_labels_stand_in_the_order_of_the_model() -> None:
    known = Known(("adult_chest", "spine"), True)
    assert known.label("Spine|adult_chest") == known.label("adult_chest|spine") == "adult_chest|spine"
    assert known.label("spine|excluded") is known.label("spine|foot") is None
    assert (known.label("UNSURE"), known.label("spine|spine")) == ("unsure", "spine")


@pytest.mark.parametrize("by", ["Dr.\nA", "Dr.\rA", "Dr.\udcff", "\0", "A" * 5000])
def test_no_name_of_a_person_breaks_the_manifest(by: str, inbox: Path, out: Path, tmp_path: Path) -> None:
    before = tree(out)
    with pytest.raises(UsageError, match="is no name"):
        correct(str(out), table(tmp_path, f"path,label\n{inbox}/s0/0.dcm,spine\n"), by)
    with pytest.raises(UsageError, match="is no name"), opened(str(out), by):
        pass
    assert tree(out) == before


def test_a_manifest_filled_in_where_it_lies_is_carried_out_and_not_called_done(
    inbox: Path, out: Path
) -> None:
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        saved = list(csv.DictReader(file))
    for row in saved:
        row["reviewed_label"] = "spine" if row["path"].endswith("s0/0.dcm") else ""
    with (out / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(saved[0]))
        writer.writeheader()
        writer.writerows(saved)
    done = correct(str(out), str(out / "manifest.csv"), "Dr. A")
    assert (done.decided, done.unchanged) == (1, 0)
    assert rows(out)[f"{inbox}/s0/0.dcm"]["destination"] == "spine/s0/0.dcm"
    assert (out / "spine" / "s0" / "0.dcm").is_file()
    assert not (out / "review" / "s0" / "0.dcm").exists()
    assert correct(str(out), str(out / "manifest.csv"), "Dr. B").unchanged == 1


def test_of_two_columns_of_one_name_none_is_guessed(inbox: Path, out: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="several columns 'label'"):
        correct(str(out), table(tmp_path, f"path,label,Label\n{inbox}/s0/0.dcm,spine,others\n"), "Dr. A")


def test_a_uid_of_several_images_decides_on_none(
    tmp_path: Path, predictor: FixedPredictor, write_dicom: Callable[..., Path]
) -> None:
    for number in range(2):
        write_dicom(tmp_path / "in" / f"{number}.dcm", picture(number), SOPInstanceUID="1.2.3")
    sort(settings(tmp_path / "in", tmp_path / "out", review_below=1.0), predictor)
    done = correct(str(tmp_path / "out"), table(tmp_path, "sop_instance_uid,label\n1.2.3,spine\n"), "Dr. A")
    assert done.refused == [("line 2", "several images have this UID: name the file by its path")]
    assert done.decided == 0


def test_shards_that_wait_are_merged_before_anything_is_decided(
    inbox: Path, out: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    sort(settings(inbox, out, review_below=1.0, shard=Shard(1, 2)), predictor)
    with pytest.raises(UsageError, match="not merged yet"):
        correct(str(out), table(tmp_path, f"path,label\n{inbox}/s0/0.dcm,spine\n"), "Dr. A")


def test_an_earlier_decision_that_cannot_be_carried_out_is_told(
    inbox: Path, out: Path, tmp_path: Path
) -> None:
    correct(str(out), table(tmp_path, f"path,label\n{inbox}/s0/0.dcm,spine\n"), "Dr. A")
    text = (out / "decisions.csv").read_text().replace(",spine,", ",others,")
    (out / "decisions.csv").write_text(text)
    (out / "others" / "s0").mkdir(parents=True)
    (out / "others" / "s0" / "0.dcm").write_bytes(b"somebody's")
    again = shutil.copytree(out, tmp_path / "again")
    done = command("correct", str(out), table(tmp_path, f"path,label\n{inbox}/s0/3.dcm,spine\n"))
    assert "decisions on 1 file could not be carried out: decide on them again" in done.err
    assert done.code == 3
    with opened(str(again), "Dr. A") as desk:
        assert desk.notices() == [f"{inbox}/s0/0.dcm: {Refused.TAKEN}"]


def test_a_table_that_contradicts_itself_a_thousand_times_is_refused_in_short(
    inbox: Path, out: Path, tmp_path: Path
) -> None:
    lines = [f"{inbox}/s0/0.dcm,{label}\n" for label in ("spine", "others") * 500]
    done = correct(str(out), table(tmp_path, "path,label\n" + "".join(lines)), "Dr. A", dry_run=True)
    assert len(done.refused) == 1000
    assert {why for _, why in done.refused} == {"lines 2, 3, 4, 5, 6, ... say different things of one file"}


def test_a_line_is_never_both_done_and_refused(inbox: Path, out: Path, tmp_path: Path) -> None:
    uid = next(row["sop_instance_uid"] for path, row in rows(out).items() if path.endswith("s1/4.dcm"))
    lines = ["path,sop_instance_uid,label", f",{uid},spine", f"{inbox}/s1/44.dcm,,others"]
    done = correct(str(out), table(tmp_path, "\n".join(lines)), "Dr. A")
    assert done.refused == [("line 3", "it repeats another file: decide on that one")]
    assert decided(out) == {"s1/4.dcm": "spine"}
