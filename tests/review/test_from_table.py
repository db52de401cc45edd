"""Decisions from a table, whatever a spreadsheet has made of it."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from outputs import rows, settings, tree
from predictors import FixedPredictor
from program import command

from dicomsort.errors import ExitCode, UsageError
from dicomsort.review.from_table import correct
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
        "line 4": "there is no class 'foot'",
        "line 5": "no file of the manifest",
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
