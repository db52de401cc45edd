"""The journal: one line a file, whatever the name; torn lines, resumption, compaction."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from manifests import ANSWERS, manifest
from outputs import check_places, rows, settings, tree
from predictors import FixedPredictor

from dicomsort.errors import TargetError, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.manifest import history
from dicomsort.manifest.columns import columns
from dicomsort.manifest.rows import Row
from dicomsort.outcome import FileStamp, Header, Placement, Reason, Status
from dicomsort.sorting import plan
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.system.escaping import cell, escape, uncell, unescape
from dicomsort.system.pool_settings import PoolSettings

ODD_NAMES = [b"caf\xe9", b"a\nb", b"a\rb\tc", b"back\\slash", b"\\x41", b"\xff\xfe", "Röntgen №1".encode(),
             "line\u2028sep".encode(), b"'=1", b"\x7f\x1b[31m"]  # fmt: skip


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


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.parquet", "run.json"])
def test_what_a_killed_program_has_left_of_a_file_it_was_replacing_goes(
    name: str, inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    """As large as the manifest, it stayed until that was written anew."""
    out = tmp_path / "out"
    sort(settings(inbox, out), predictor)
    before = tree(out)
    (out / f"{name}.part").write_bytes(b"half a fi")
    with pytest.raises(UsageError, match="holds no plan"):
        plan.apply(str(out / "manifest.csv"))
    assert tree(out) == before


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
        stamp=FileStamp(9, 8),
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
        journal.append([Row("/in/a", Status.SORTED, stamp=FileStamp(1, 2))])
        journal.append([Row("/in/b", Status.SORTED, stamp=FileStamp(1, 2))])
    path = tmp_path / "manifest.csv"
    whole = path.read_bytes()
    for length in range(len(whole) - 1, whole.index(b"\n") + 1, -1):
        path.write_bytes(whole[:length])
        with manifest(tmp_path) as journal:
            kept = [record["path"] for record in journal.records()]
        assert kept == ["/in/a", "/in/b"][: whole[:length].count(b"\n") - 1]


def test_the_history_knows_path_size_time_and_status(tmp_path: Path) -> None:
    stamp = FileStamp(10, 20)
    with manifest(tmp_path) as journal:
        journal.append([Row("/in/a", Status.PLANNED, stamp=stamp)])
        journal.append([Row("/in/a", Status.SORTED, stamp=stamp)])
        journal.append([Row("/in/b", Status.PLANNED, stamp=stamp)])
        journal.append([Row("/in/c", Status.CRASH, stamp=stamp)])
        journal.append([Row("/in/folder", Status.IO_ERROR)])
        done, again = journal.history(), journal.history(retry_failed=True)
    assert done.status("/in/a", stamp) is Status.SORTED
    assert done.status("/in/a", FileStamp(11, 20)) is None
    assert done.status("/in/a", FileStamp(10, 21)) is None
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
            [Row("/in/a\\b", Status.SORTED, action="copy", destination="spine/a\\b", stamp=FileStamp(1, 2))]
        )
        journal.append(
            [Row("/in/c", Status.REVIEW, action="copy", destination="review/c", stamp=FileStamp(3, 4))]
        )
        journal.append([Row("/in/c", Status.DECODE_ERROR, stamp=FileStamp(5, 6))])
        history = journal.history()
    assert history.placement("/in/a\\b") == Placement("spine/a\\b", "copy", FileStamp(1, 2))
    assert history.placement("/in/c") is None
    assert history.placement("/in/d") is None


@pytest.mark.parametrize("spoil", [b"\xff\xfe\x00\n", b"a,b\n", b"x" * 5000 + b"\n", b"\n"])
def test_a_manifest_that_holds_anything_but_rows_is_refused(tmp_path: Path, spoil: bytes) -> None:
    with manifest(tmp_path) as journal:
        journal.append([Row("/in/a", Status.SORTED, stamp=FileStamp(1, 2))])
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


MARK = b"\xef\xbb\xbf"
SAVED = {
    "crlf": lambda whole: whole.replace(b"\n", b"\r\n"),
    "mark": lambda whole: MARK + whole,
    "crlf and mark": lambda whole: MARK + whole.replace(b"\n", b"\r\n"),
    "mixed ends": lambda whole: whole.replace(b"\n", b"\r\n", 2),
    "old mac": lambda whole: whole.replace(b"\n", b"\r"),
    "one end behind many blocks": lambda whole: whole[:-1] + b"\r\n",
}


def filled(folder: Path) -> bytes:
    with manifest(folder) as journal:
        for number, name in enumerate(ODD_NAMES):
            path = os.fsdecode(b"/in/" + name)
            action, destination = ("copy", path[1:]) if number % 2 else ("", "")
            stamp = FileStamp(number, 5)
            journal.append([Row(path, Status.SORTED, action=action, destination=destination, stamp=stamp)])
    return (folder / "manifest.csv").read_bytes()


@pytest.mark.parametrize("how", SAVED)
def test_a_manifest_that_a_spreadsheet_has_saved_is_gone_on_with(how: str, tmp_path: Path) -> None:
    whole = filled(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(SAVED[how](whole))
    with manifest(tmp_path) as journal:
        found = journal.history()
        for number, name in enumerate(ODD_NAMES):
            path = os.fsdecode(b"/in/" + name)
            assert found.status(path, FileStamp(number, 5)) is Status.SORTED
            assert found.placement(path) == (
                Placement(path[1:], "copy", FileStamp(number, 5)) if number % 2 else None
            )
        journal.append([Row("/in/more", Status.SORTED)])
    saved = (tmp_path / "manifest.csv").read_bytes()
    assert saved.startswith(whole)
    assert saved.count(b"\n") == whole.count(b"\n") + 1
    assert b"\r" not in saved


@pytest.mark.parametrize("how", ["crlf", "mark", "crlf and mark", "mixed ends"])
def test_a_saved_manifest_is_read_by_whoever_may_not_write_it(how: str, tmp_path: Path) -> None:
    whole = filled(tmp_path)
    path = tmp_path / "manifest.csv"
    as_it_was = list(history.records(str(path)))
    path.write_bytes(SAVED[how](whole))
    assert list(history.records(str(path))) == as_it_was
    found = history.held(str(path))
    for number, name in enumerate(ODD_NAMES):
        placed = found.placement(os.fsdecode(b"/in/" + name))
        assert placed == (
            Placement(os.fsdecode(b"in/" + name), "copy", FileStamp(number, 5)) if number % 2 else None
        )
    assert path.read_bytes() == SAVED[how](whole)


def test_a_torn_line_of_a_saved_manifest_is_cut(tmp_path: Path) -> None:
    whole = SAVED["crlf and mark"](filled(tmp_path))
    path = tmp_path / "manifest.csv"
    for length in range(len(whole) - 1, len(whole) - 300, -7):
        path.write_bytes(whole[:length])
        with manifest(tmp_path) as journal:
            kept = [record["path"] for record in journal.records()]
        assert len(kept) == len(whole[:length].replace(b"\r\n", b"\r").split(b"\r")) - 2
        assert kept == [escape(os.fsdecode(b"/in/" + name)) for name in ODD_NAMES][: len(kept)]


def test_cells_that_were_quoted_mean_the_same(tmp_path: Path) -> None:
    filled(tmp_path)
    table = lines(tmp_path)
    with (tmp_path / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([columns(ANSWERS), *(row.values() for row in table)])
    with manifest(tmp_path) as journal:
        journal.append([Row(os.fsdecode(b"/in/" + ODD_NAMES[0]), Status.CRASH)])
        journal.compact()
        found = journal.history()
    assert len(lines(tmp_path)) == len(ODD_NAMES)
    assert found.placement(os.fsdecode(b"/in/" + ODD_NAMES[1])) is not None


@pytest.mark.parametrize(("mark", "called"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_manifest_saved_without_commas_is_told(mark: str, called: str, tmp_path: Path) -> None:
    whole = filled(tmp_path).replace(b",", mark.encode())
    path = tmp_path / "manifest.csv"
    path.write_bytes(whole)
    with pytest.raises(UsageError, match=f"{called} between its cells"), manifest(tmp_path):
        pass
    with pytest.raises(UsageError, match=f"{called} between its cells"):
        plan.apply(str(path))
    assert path.read_bytes() == whole


def test_numbers_that_a_spreadsheet_has_rounded_are_told(tmp_path: Path) -> None:
    with manifest(tmp_path, dry_run=True) as journal:
        stamp = FileStamp(1, 1_700_000_000_123_456_789)
        journal.append([Row("/in/a", Status.PLANNED, destination="hand/a", stamp=stamp)])
    path = tmp_path / "manifest.csv"
    path.write_bytes(path.read_bytes().replace(b"1700000000123456789", b"1.70000E+18"))
    with pytest.raises(UsageError, match="no whole number"):
        plan.apply(str(path))
    with pytest.raises(UsageError, match="no whole number"), manifest(tmp_path, dry_run=True) as journal:
        journal.history()


def test_a_saved_plan_is_applied_gone_on_with_and_undone(
    inbox: Path, tmp_path: Path, predictor: FixedPredictor
) -> None:
    out = tmp_path / "out"
    path = out / "manifest.csv"

    def save() -> None:
        path.write_bytes(SAVED["crlf and mark"](path.read_bytes()))

    sort(settings(inbox, out, dry_run=True), predictor)
    save()
    assert plan.apply(str(path)).done == 12
    check_places(inbox, out)
    before = rows(out)
    save()
    again = sort(settings(inbox, out), predictor)
    assert (again.already_done, rows(out)) == (again.found, before)
    save()
    shutil.copy(inbox / "s0" / "0.dcm", inbox / "new.dcm")
    for number in (1, 2):
        sort(settings(inbox, out, shard=Shard(number, 2)), predictor)
    merge(str(out), PoolSettings(2))
    assert rows(out).keys() == {*before, str(inbox / "new.dcm")}
    save()
    assert plan.undo(str(path)).done == 12
    assert set(tree(out)) == {"manifest.csv", "run.json"}


def test_what_a_name_is_written_as_does_not_depend_on_the_locale() -> None:
    """In the C locale, without Python's coercion of it, names come as other text of the same bytes."""
    name = b"G\xc3\xa4 \xff"
    script = (
        f"import os; from dicomsort.system.escaping import *; text = escape(os.fsdecode({name!r})); "
        f"print(ascii(text), os.fsencode(unescape(text)) == {name!r})"
    )
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    said = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, **env}, capture_output=True, check=True
        ).stdout
        for env in ({}, plain)
    }
    assert said == {b"'G\\xe4 \\\\xff' True\n"}
