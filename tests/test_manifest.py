"""The journal: one line a file, whatever the name; torn lines, resumption, compaction."""

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from dicomsort.errors import TargetError, UsageError
from dicomsort.manifest import Manifest, Row, columns
from dicomsort.names import cell, escape, uncell, unescape
from dicomsort.outcome import Header, Placement, Reason, Stamp, Status
from dicomsort.runfile import RunFacts

ANSWERS = ("score_hand", "score_spine")
FIXED: dict[str, Any] = {"model": "m@1", "review_below": 0.5}
ODD_NAMES = [b"caf\xe9", b"a\nb", b"a\rb\tc", b"back\\slash", b"\\x41", b"\xff\xfe", "Röntgen №1".encode(),
             "line\u2028sep".encode(), b"'=1", b"\x7f\x1b[31m"]  # fmt: skip


def manifest(folder: Path, dry_run: bool = False, **fixed: Any) -> Manifest:
    return Manifest(str(folder), ANSWERS, "m@1", RunFacts({**FIXED, **fixed}, {"dry_run": dry_run}))


def lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_survive_and_stay_on_one_line(name: bytes) -> None:
    text = escape(os.fsdecode(name))
    assert os.fsencode(unescape(text)) == name
    assert text.encode("utf-8").decode("utf-8").splitlines() == [text]
    assert text.isprintable()


def test_every_row_is_one_line(tmp_path: Path) -> None:
    with manifest(tmp_path) as journal:
        for name in ODD_NAMES:
            journal.append([Row(os.fsdecode(b"/in/" + name), Status.IO_ERROR, (Reason.UNREADABLE,))])
    assert len((tmp_path / "manifest.csv").read_bytes().decode("utf-8").splitlines()) == len(ODD_NAMES) + 1
    assert [os.fsencode(unescape(row["path"])) for row in lines(tmp_path)] == [
        b"/in/" + name for name in ODD_NAMES
    ]


def test_a_full_row(tmp_path: Path) -> None:
    header = Header(sop_instance_uid="1.2", modality="DX", rows=5, columns=4, frames=None)
    reasons = (Reason.BELOW_THRESHOLD, Reason.NONE, Reason.PERCENTILE_WINDOW)
    row = Row(
        path="/in/a",
        status=Status.REVIEW,
        reasons=reasons,
        label="hand",
        confidence=0.75,
        action="copy",
        destination="review/a",
        header=header,
        scores=(0.75, 0.25),
        stamp=Stamp(9, 8),
    )
    with manifest(tmp_path) as journal:
        journal.append([row])
    (read,) = lines(tmp_path)
    assert list(read) == columns(ANSWERS)
    assert read["reason"] == f"{Reason.BELOW_THRESHOLD}; {Reason.PERCENTILE_WINDOW}"
    assert (read["confidence"], read["score_spine"], read["frames"]) == ("0.750000", "0.250000", "")
    assert (read["model"], read["size"], read["mtime_ns"], read["rows"]) == ("m@1", "9", "8", "5")


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    with manifest(tmp_path) as journal:
        journal.append([Row("=cmd|' /C calc'!A0", Status.SORTED, header=Header(view_position="-AP"))])
    (read,) = lines(tmp_path)
    assert read["path"].startswith("'=")
    assert read["view_position"] == "'-AP"


@pytest.mark.parametrize("text", ["=1", "'=1", "'", "''-", "-", "plain", "", "it's", "\t=1"])
def test_a_guarded_cell_comes_back(text: str) -> None:
    assert uncell(cell(text)) == text
    assert not cell(text).startswith(("=", "+", "-", "@", "\t"))


def test_a_torn_last_line_is_cut(tmp_path: Path) -> None:
    with manifest(tmp_path) as journal:
        journal.append([Row("/in/a", Status.SORTED, stamp=Stamp(1, 2))])
        journal.append([Row("/in/b", Status.SORTED, stamp=Stamp(1, 2))])
    path = tmp_path / "manifest.csv"
    whole = path.read_bytes()
    for length in range(len(whole) - 1, whole.index(b"\n") + 1, -1):
        path.write_bytes(whole[:length])
        with manifest(tmp_path) as journal:
            kept = [record["path"] for record in journal.records()]
        assert kept == ["/in/a", "/in/b"][: whole[:length].count(b"\n") - 1]


def test_the_history_knows_path_size_time_and_status(tmp_path: Path) -> None:
    stamp = Stamp(10, 20)
    with manifest(tmp_path) as journal:
        journal.append([Row("/in/a", Status.PLANNED, stamp=stamp)])
        journal.append([Row("/in/a", Status.SORTED, stamp=stamp)])
        journal.append([Row("/in/b", Status.PLANNED, stamp=stamp)])
        journal.append([Row("/in/c", Status.CRASH, stamp=stamp)])
        journal.append([Row("/in/folder", Status.IO_ERROR)])
        done, again = journal.history(), journal.history(retry_failed=True)
    assert done.status("/in/a", stamp) is Status.SORTED
    assert done.status("/in/a", Stamp(11, 20)) is None
    assert done.status("/in/a", Stamp(10, 21)) is None
    assert done.status("/in/b", stamp) is None
    assert done.status("/in/c", stamp) is Status.CRASH
    assert again.status("/in/c", stamp) is None
    assert (len(done), len(again)) == (2, 1)


def test_compaction_keeps_the_last_row_of_each_file(tmp_path: Path) -> None:
    with manifest(tmp_path) as journal:
        for status in (Status.PLANNED, Status.TIMEOUT, Status.SORTED):
            journal.append([Row("/in/a", status)])
            journal.append([Row("/in/b", Status.CRASH)])
        journal.compact()
        journal.append([Row("/in/c", Status.SORTED)])
    assert [(row["path"], row["status"]) for row in lines(tmp_path)] == [
        ("/in/a", "sorted"), ("/in/b", "crash"), ("/in/c", "sorted"),
    ]  # fmt: skip


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with manifest(tmp_path), pytest.raises(UsageError, match="another dicomsort"), manifest(tmp_path):
        pass


def test_another_model_or_threshold_is_refused(tmp_path: Path) -> None:
    with manifest(tmp_path):
        pass
    for change in ({"model": "other@2"}, {"review_below": 0.6}):
        with pytest.raises(UsageError, match="use another --out"), manifest(tmp_path, **change):
            pass
    with manifest(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_a_target_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TargetError, match="cannot be written"), manifest(tmp_path / "file" / "out"):
        pass


def test_the_history_finds_what_was_placed(tmp_path: Path) -> None:
    with manifest(tmp_path) as journal:
        journal.append(
            [Row("/in/a\\b", Status.SORTED, action="copy", destination="spine/a\\b", stamp=Stamp(1, 2))]
        )
        journal.append(
            [Row("/in/c", Status.REVIEW, action="copy", destination="review/c", stamp=Stamp(3, 4))]
        )
        journal.append([Row("/in/c", Status.DECODE_ERROR, stamp=Stamp(5, 6))])
        history = journal.history()
    assert history.placement("/in/a\\b") == Placement("spine/a\\b", "copy", Stamp(1, 2))
    assert history.placement("/in/c") is None
    assert history.placement("/in/d") is None


@pytest.mark.parametrize("spoil", [b"\xff\xfe\x00\n", b"a,b\n", b"x" * 5000 + b"\n", b"\n"])
def test_a_manifest_that_holds_anything_but_rows_is_refused(tmp_path: Path, spoil: bytes) -> None:
    with manifest(tmp_path) as journal:
        journal.append([Row("/in/a", Status.SORTED, stamp=Stamp(1, 2))])
    path = tmp_path / "manifest.csv"
    whole = path.read_bytes()
    for damaged in (spoil + whole, whole + spoil):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="use another --out"), manifest(tmp_path) as journal:
            journal.history()
    assert path.read_bytes() == damaged


@pytest.mark.parametrize(
    "text", ["", "{}", "null", "[]", '{"fixed": null, "runs": []}', '{"fixed": {}}', "\x00"]
)
def test_a_damaged_run_file_is_refused(tmp_path: Path, text: str) -> None:
    with manifest(tmp_path):
        pass
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UsageError, match=r"run\.json' is damaged"), manifest(tmp_path):
        pass


def test_a_plan_after_the_deed_is_refused(tmp_path: Path) -> None:
    with manifest(tmp_path, dry_run=True):
        pass
    with manifest(tmp_path):
        pass
    with pytest.raises(UsageError, match="dry run"), manifest(tmp_path, dry_run=True):
        pass
