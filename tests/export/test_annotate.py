"""Corrected copies and reports of an output: written once, told in a journal, and taken away again."""

import csv
import errno
import os
import random
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
from annotating import CHEST, HAND, MODELS, NONE, SAID, Says, four_files, output, run
from outputs import tree
from program import command, inside
from pydicom.dataset import Dataset
from written import write_dicom

from dicomsort.audit.terms import Terms
from dicomsort.errors import TargetError, UsageError
from dicomsort.export.answers import Answer
from dicomsort.export.instances import Correcting, Image, correct
from dicomsort.export.journal import undo
from dicomsort.export.kinds import Flaw, Kind
from dicomsort.export.written import Left
from dicomsort.manifest.reading import read_manifest
from dicomsort.model.anatomy import region_of
from dicomsort.outcome import Reason, Status
from dicomsort.system import locks


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return four_files(tmp_path)


def copies(out: Path) -> dict[str, Dataset]:
    """The copies by the SOP Instance UID of what they were made of."""
    files = map(pydicom.dcmread, (out.parent / "copies").rglob("*.dcm"))
    return {file.SourceImageSequence[0].ReferencedSOPInstanceUID: file for file in files}


def rows(out: Path) -> list[dict[str, str]]:
    with (out.parent / "copies" / "annotations.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_wrong_or_missing_is_put_right_and_what_is_right_gets_no_copy(out: Path) -> None:
    sources = tree(out.parent / "in")
    done = run(out)
    assert (done.written, done.right, done.left) == (2, 2, {})
    made = copies(out)
    assert set(made) == {"2.25.2", "2.25.3"}
    chest, hand = made["2.25.2"], made["2.25.3"]
    assert (chest.BodyPartExamined, hand.BodyPartExamined) == ("CHEST", "HAND")
    assert (chest.ViewPosition, chest.ViewCodeSequence[0].CodeMeaning) == ("", "frontal")
    assert hand.ViewCodeSequence[0].CodeMeaning == "lateral"
    assert MODELS in chest.ContributingEquipmentSequence[-1].ContributionDescription
    assert tree(out.parent / "in") == sources


def test_a_copy_has_new_uids_in_the_same_study(out: Path) -> None:
    run(out)
    copy = copies(out)["2.25.2"]
    assert copy.StudyInstanceUID == "2.25.10"
    assert copy.SOPInstanceUID != "2.25.2"
    assert copy.SeriesInstanceUID != "2.25.102"
    assert copy.filename.endswith(f"2.25.10/{copy.SOPInstanceUID}.dcm")


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
@pytest.mark.parametrize("kind", Kind)
def test_files_in_an_archive_are_annotated_and_the_copies_taken_away_again(
    tmp_path: Path, ending: str, kind: Kind
) -> None:
    """Though no copy of them lies in the output, as with `--action none`."""
    four_files(tmp_path)
    shutil.make_archive(str(tmp_path / "a"), "gztar" if ending == "tar.gz" else ending, tmp_path / "in")
    shutil.rmtree(tmp_path / "in")
    out = output(
        tmp_path / "archived", {tmp_path / f"a.{ending}!" / name: says for name, says in SAID.items()}
    )
    done = run(out, kind)
    assert done.written
    assert not done.left
    taken = undo(str(tmp_path / "copies"))
    assert (taken.done, dict(taken.left)) == (done.written, {})
    assert not list((tmp_path / "copies").rglob("*.dcm"))


def test_copies_of_one_series_stay_together(tmp_path: Path) -> None:
    same = {"SeriesInstanceUID": "2.25.5", "StudyInstanceUID": "2.25.6"}
    files = [write_dicom(tmp_path / "in" / f"{n}.dcm", SOPInstanceUID=f"2.25.1{n}", **same) for n in range(3)]
    out = output(tmp_path / "out", dict.fromkeys(files, Says("chest")))
    run(out)
    assert len(copies(out)) == 3
    assert len({copy.SeriesInstanceUID for copy in copies(out).values()}) == 1


def test_a_person_is_believed_and_named_as_one(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "in" / CHEST
    decided = output(tmp_path / "second", {path: Says("hand", 0.3, person="hand", view_confidence=0.1)})
    run(decided)
    copy = copies(decided)["2.25.1"]
    assert copy.BodyPartExamined == "HAND"
    assert "decided by a person;" in copy.ContributingEquipmentSequence[-1].ContributionDescription


def test_the_same_command_again_writes_nothing_twice(out: Path) -> None:
    run(out)
    before = tree(out.parent / "copies")
    done = run(out)
    assert (done.written, done.there, done.right) == (0, 2, 2)
    assert tree(out.parent / "copies") == before


def test_what_a_killed_run_has_written_but_not_told_is_told_by_the_next(out: Path) -> None:
    run(out)
    journal = out.parent / "copies" / "annotations.csv"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + lines[2][:30])
    assert run(out).there == 2
    assert sorted(journal.read_bytes().splitlines()) == sorted(b"".join(lines).splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("kind", Kind)
def test_annotate_killed_at_any_moment_goes_on_and_writes_nothing_twice(kind: Kind, tmp_path: Path) -> None:
    said = {}
    for number in range(300):
        uids = {"SOPInstanceUID": f"2.25.1{number}", "StudyInstanceUID": f"2.25.2{number % 60}"}
        path = write_dicom(tmp_path / "in" / f"{number}.dcm", SeriesInstanceUID=f"2.25.3{number}", **uids)
        said[path] = Says()
    out, folder = output(tmp_path / "out", said), tmp_path / "copies"
    words = ("annotate", str(out), "--as", kind.value, "--out")
    assert command(*words, tmp_path / "whole").code == 0
    rng = random.Random(kind.value)
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-m", "dicomsort", *words, folder], stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(0.5, 2.5))
        process.kill()
        process.wait()
    assert command(*words, folder).code == 0
    names = {name for name in tree(tmp_path / "whole") if name.endswith(".dcm")}
    assert {name for name in tree(folder) if name.endswith(".dcm")} == names
    with (folder / "annotations.csv").open(newline="") as file:
        told = [row["file"] for row in csv.DictReader(file)]
    assert sorted(told) == sorted(names)
    assert command("undo", folder, "--verify").code == 0
    assert tree(folder) == {}


def test_a_dry_run_says_what_would_be_written_and_writes_nothing(out: Path) -> None:
    planned = run(out, dry_run=True)
    assert not (out.parent / "copies").exists()
    done = run(out)
    assert planned.as_dict() == done.as_dict()
    assert done.corrected == {
        ("anatomy", Flaw.WRONG): 1,
        ("anatomy", Flaw.MISSING): 1,
        ("view", Flaw.WRONG): 1,
        ("view", Flaw.MISSING): 1,
    }
    assert run(out, dry_run=True).there == 2


def test_only_what_is_asked_for_is_corrected(out: Path) -> None:
    assert run(out, wanted=(Flaw.WRONG,)).written == 1
    assert set(copies(out)) == {"2.25.2"}


def test_below_the_confidence_nothing_is_written(out: Path) -> None:
    told = run(out, min_confidence=0.995).as_dict()
    assert told["written"] == 0
    radiographs = sum(bool(row.label) for row in read_manifest(str(out)))
    assert told["nothing_to_correct"] + told["not_sure"] == radiographs == 4


def test_every_radiograph_is_accounted_for(out: Path) -> None:
    told = run(out).as_dict()
    assert told["written"] + told["nothing_to_correct"] + told["not_sure"] == 4


def test_the_journal_tells_every_file(out: Path) -> None:
    run(out)
    told = {row["source"]: row for row in rows(out)}
    row = told[str(out.parent / "in" / HAND)]
    file = out.parent / "copies" / row["file"]
    assert (row["kind"], row["corrected"]) == ("instance", "anatomy wrong; view wrong")
    assert (int(row["size"]), int(row["mtime_ns"])) == (file.stat().st_size, file.stat().st_mtime_ns)


def test_undo_takes_all_away_and_it_can_be_written_again(out: Path) -> None:
    run(out)
    before = {name for name in tree(out.parent / "copies") if name.endswith(".dcm")}
    done = undo(str(out.parent / "copies"), verify=True)
    assert (done.done, done.left) == (2, {})
    assert tree(out.parent / "copies") == {}
    assert run(out).written == 2
    assert {name for name in tree(out.parent / "copies") if name.endswith(".dcm")} == before


def test_undo_leaves_what_was_changed_and_the_last_copy_of_an_image(out: Path) -> None:
    run(out)
    files = {row["source"]: out.parent / "copies" / row["file"] for row in rows(out)}
    files[str(out.parent / "in" / HAND)].write_bytes(b"mine now")
    os.unlink(out.parent / "in" / NONE)
    done = undo(str(out.parent / "copies"))
    assert (done.done, dict(done.left)) == (0, {Reason.CHANGED_COPY: 1, Reason.LAST_COPY: 1})
    assert all(file.exists() for file in files.values())
    assert len(rows(out)) == 2


def test_a_copy_that_somebody_has_removed_is_written_again_and_undo_knows_it(out: Path) -> None:
    run(out)
    (out.parent / "copies" / rows(out)[0]["file"]).unlink()
    again = run(out)
    assert (again.written, again.there) == (1, 1)
    done = undo(str(out.parent / "copies"), verify=True)
    assert (done.done, done.left) == (2, {})


def test_a_journal_that_leads_elsewhere_is_refused(out: Path) -> None:
    run(out)
    mine = out.parent / "mine.dcm"
    mine.write_text("mine")
    journal = out.parent / "copies" / "annotations.csv"
    journal.write_text(journal.read_text().replace("2.25.10/", "../"))
    with pytest.raises(UsageError, match="is damaged"):
        undo(str(out.parent / "copies"))
    assert mine.exists()


@pytest.mark.parametrize("where", ["out", "out/below", "in/below"])
def test_copies_do_not_go_where_the_next_sorting_would_take_them_for_sources(out: Path, where: str) -> None:
    run_json = out / "run.json"
    run_json.write_text(run_json.read_text().replace(str(out / "nowhere"), str(out.parent / "in")))
    with pytest.raises(UsageError, match="choose a"):
        run(out, folder=str(out.parent / where))


def test_a_file_that_has_changed_since_is_left_and_one_that_is_gone_too(out: Path) -> None:
    os.utime(out.parent / "in" / HAND, ns=(1, 1))
    os.unlink(out.parent / "in" / NONE)
    done = run(out)
    assert (done.written, done.exit_code) == (0, 3)
    assert dict(done.left) == {Left.CHANGED: 1, Left.GONE: 1}


def test_a_signed_file_and_one_without_uids_are_left(tmp_path: Path) -> None:
    mac = Dataset()
    mac.MACIDNumber, mac.MACAlgorithm = 1, "SHA1"
    uids = {"SeriesInstanceUID": "2.25.5", "StudyInstanceUID": "2.25.6"}
    signed = write_dicom(tmp_path / "in" / "signed.dcm", MACParametersSequence=[mac], **uids)
    bare = write_dicom(tmp_path / "in" / "bare.dcm")
    done = run(output(tmp_path / "out", {signed: Says(), bare: Says()}))
    assert dict(done.left) == {Left.SIGNED: 1, Left.NO_UIDS: 1}


@pytest.mark.parametrize("kind", Kind)
def test_an_image_that_shares_its_uid_with_another_is_left(kind: Kind, tmp_path: Path) -> None:
    uids = {"SOPInstanceUID": "2.25.3", "SeriesInstanceUID": "2.25.5", "StudyInstanceUID": "2.25.6"}
    first, second, third = (write_dicom(tmp_path / "in" / f"{name}.dcm", **uids) for name in "abc")
    kept = Says()  # a duplicate that --keep-duplicates has kept, or another image: no reason tells
    out = output(tmp_path / "out", {first: Says(), second: Says(reasons=(Reason.SAME_UID,)), third: kept})
    done = run(out, kind)
    assert (done.written, done.images, dict(done.left)) == (1, 1, {Left.SAME_UID: 2})


def test_another_file_of_the_name_is_left_alone(out: Path) -> None:
    run(out)
    name = next(row["file"] for row in rows(out) if HAND in row["source"])
    undo(str(out.parent / "copies"))
    (out.parent / "copies" / name).parent.mkdir(parents=True)
    (out.parent / "copies" / name).write_text("mine")
    assert dict(run(out).left) == {Left.TAKEN: 1}
    assert (out.parent / "copies" / name).read_text() == "mine"


def test_a_full_disk_ends_the_run_and_keeps_what_is_written(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dicomsort.export.annotate.isolation.read_all", lambda *_: ((None, one) for one in [Left.FULL])
    )
    with pytest.raises(TargetError, match="no space left"):
        run(out)


def test_the_command_tells_what_it_did_and_undo_knows_the_folder(
    out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = out.parent / "copies"
    words = ("annotate", out, "--as", "instances", "--out", folder, "--workers", "1")
    dry = inside(capfd, *words, "--dry-run")
    assert dry.code == 0
    assert "what is corrected" in dry.out
    assert "2 corrected copies would be written; 2 files with nothing to correct" in dry.err
    assert inside(capfd, *words, "--json").json["written"] == 2
    gone = inside(capfd, "undo", folder, "--verify")
    assert (gone.code, gone.err) == (0, "dicomsort: 2 removed\n")


def test_no_name_of_a_patient_is_told(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = out.parent / "copies"
    for kind in Kind:
        ran = inside(capfd, "annotate", out, "--as", kind.value, "--out", folder, "--json", "--workers", "1")
        assert ran.code == 0
        assert "CANARY" not in ran.out + ran.err + (folder / "annotations.csv").read_text()
    assert all(b"CANARY^NAME" in path.read_bytes() for path in folder.rglob("*.dcm"))  # the hospital's own


def test_rows_in_review_are_left_to_a_person(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "in" / "a.dcm", StudyInstanceUID="2.25.6", SeriesInstanceUID="2.25.5")
    says = Says(status=Status.REVIEW, reasons=(Reason.UNLIKE,))
    assert run(output(tmp_path / "out", {path: says})).as_dict()["written"] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere", "--out", "copies"), "there is no manifest at 'nowhere'"),
        (("out", "--out", ""), "--out is empty"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    words: tuple[str, ...],
    told: str,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(out.parent)
    before = tree(out.parent)
    ran = inside(capfd, "annotate", *words, "--as", "instances")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert told in ran.err
    assert tree(out.parent) == before


def test_undo_leaves_an_empty_folder_and_says_of_one_it_cannot_write_that_it_cannot(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(out)
    folder = str(out.parent / "copies")

    def read_only(_path: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(locks, "take", read_only)
        with pytest.raises(TargetError, match="cannot be written: Read-only"):
            undo(folder)
    undo(folder)
    assert os.listdir(folder) == []


def test_a_fault_of_this_program_is_not_told_as_a_damaged_file(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", BodyPartExamined="HAND", StudyInstanceUID="2.25.6")
    answer = Answer(region_of("chest"))
    image = Image(str(path), str(path), None, "2.25.1", "2.25.6", answer)
    broken: Any = None  # no table of terms
    assert correct(image, Correcting(str(tmp_path), broken, datetime.now(UTC))) is Left.INTERNAL
    path.write_bytes(path.read_bytes().replace(b"\x18\0\x15\0CS", b"\x08\0\x18\x22LO"))
    assert correct(image, Correcting(str(tmp_path), Terms.load(None), datetime.now(UTC))) is Left.UNREADABLE
