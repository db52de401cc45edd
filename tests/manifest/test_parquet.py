"""manifest.parquet: the same rows with types, and never one that contradicts the CSV."""

import csv
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from manifests import manifest
from outputs import rows, settings
from predictors import FixedPredictor
from program import command, without
from pyarrow import parquet as arrow
from written import picture, write_dicom

from dicomsort.errors import ExitCode, MissingLibraryError, UsageError
from dicomsort.inputs.named import Shard
from dicomsort.manifest import parquet
from dicomsort.manifest.rows import Row
from dicomsort.manifest.table import Manifest
from dicomsort.model.anatomy import Region
from dicomsort.model.bundle import Bundle
from dicomsort.outcome import FileStamp, Header, Reason, Reviewed, Status
from dicomsort.sorting import plan
from dicomsort.sorting.merge import merge
from dicomsort.sorting.pipeline import sort
from dicomsort.system.pool_settings import PoolSettings

ODD = os.fsdecode(b"/in/caf\xe9\\x.dcm")
STAMP = FileStamp(12_345, 1_700_000_000_123_456_789)
HEADER = Header("1.2.3", "1.2", "1.2.9", "DX", "-CHEST", rows=10, columns=20)
FULL = Row(
    ODD, Status.REVIEW, (Reason.BELOW_THRESHOLD, Reason.CONTRADICTION), "hand", 0.25, "copy", "review/é.dcm",
    "", HEADER, (0.25, 0.75), region=Region("85562004", "Hand"), stamp=STAMP, sha256="ab" * 32,
    reviewed=Reviewed("=1+1", "@me", "2026-01-02T03:04:05Z"),
)  # fmt: skip
BARE = Row("/in/text", Status.NOT_DICOM, (Reason.EMPTY_FILE,))


def read(folder: Path) -> list[dict[str, Any]]:
    return list(arrow.read_table(folder / "manifest.parquet").to_pylist())


def keep(folder: Path, *written: Row) -> None:
    with manifest(folder) as book:
        parquet.begin(str(folder), book.run_file, True)
        book.append(written)


def test_cells_have_types_and_what_is_empty_is_null(tmp_path: Path) -> None:
    keep(tmp_path, FULL, BARE)
    full, bare = read(tmp_path)
    assert full["path"] == r"/in/caf\xe9\x5cx.dcm"
    assert (full["status"], full["label"], full["confidence"]) == ("review", "hand", 0.25)
    assert full["reason"] == f"{Reason.BELOW_THRESHOLD.value}; {Reason.CONTRADICTION.value}"
    assert full["reasons"] == [Reason.BELOW_THRESHOLD.value, Reason.CONTRADICTION.value]
    assert (full["score_hand"], full["score_spine"]) == (0.25, 0.75)
    assert (full["rows"], full["columns"], full["frames"], full["size"]) == (10, 20, None, 12_345)
    assert (full["body_part_examined"], full["reviewed_label"]) == ("-CHEST", "=1+1"), "no guards"
    assert full["reviewed_at"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert full["region_code"] == "85562004"
    assert {
        bare[name]
        for name in set(bare) - {"path", "status", "reason", "reasons", "model", "dicomsort_version"}
    } == {None}
    table = arrow.read_table(tmp_path / "manifest.parquet")
    assert table["mtime"].cast("int64").to_pylist() == [STAMP.mtime_ns, None]
    assert str(table.schema.field("mtime").type) == "timestamp[ns, tz=UTC]"
    assert table.schema.metadata[b"dicomsort.schema"] == b"1"


def test_it_has_the_columns_of_the_csv_in_their_order_and_no_other(tmp_path: Path) -> None:
    keep(tmp_path, FULL)
    with (tmp_path / "manifest.csv").open(encoding="utf-8", newline="") as file:
        names = next(csv.reader(file))
    wanted = [{"mtime_ns": "mtime"}.get(name, name) for name in names]
    wanted.insert(wanted.index("reason") + 1, "reasons")
    assert arrow.read_schema(tmp_path / "manifest.parquet").names == wanted


def test_the_last_row_of_a_file_counts(tmp_path: Path) -> None:
    keep(tmp_path, Row("/in/a", Status.REVIEW), Row("/in/b", Status.REVIEW), Row("/in/a", Status.SORTED))
    assert [(row["path"], row["status"]) for row in read(tmp_path)] == [
        ("/in/b", "review"),
        ("/in/a", "sorted"),
    ]


def interrupt(folder: Path) -> None:
    """Write a row, and end as Ctrl-C does."""
    with suppress(KeyboardInterrupt), manifest(folder) as book:
        book.append([Row("/in/c", Status.SORTED)])
        raise KeyboardInterrupt


def test_rows_that_change_take_it_away_until_the_end(tmp_path: Path) -> None:
    keep(tmp_path, FULL)
    with manifest(tmp_path) as book:
        assert (tmp_path / "manifest.parquet").exists(), "nothing has changed yet"
        book.append([BARE])
        assert not (tmp_path / "manifest.parquet").exists()
    assert len(read(tmp_path)) == 2
    interrupt(tmp_path)
    assert not (tmp_path / "manifest.parquet").exists(), "as after a kill"
    with Manifest.open_existing(str(tmp_path / "manifest.csv")):
        pass
    assert len(read(tmp_path)) == 3, "the next one writes it"


def test_it_is_not_written_again_without_need(tmp_path: Path) -> None:
    keep(tmp_path, FULL)
    before = (tmp_path / "manifest.parquet").stat().st_ino
    with Manifest.open_existing(str(tmp_path / "manifest.csv")):
        pass
    assert (tmp_path / "manifest.parquet").stat().st_ino == before


def test_csv_ends_it_and_nothing_leaves_it(tmp_path: Path) -> None:
    keep(tmp_path, FULL)
    with manifest(tmp_path) as book:
        parquet.begin(str(tmp_path), book.run_file, None)
    assert (tmp_path / "manifest.parquet").exists()
    with manifest(tmp_path) as book:
        parquet.begin(str(tmp_path), book.run_file, False)
        book.append([BARE])
    assert not (tmp_path / "manifest.parquet").exists()


def test_a_damaged_cell_is_told_without_its_value(tmp_path: Path) -> None:
    keep(tmp_path, FULL)
    damaged = (tmp_path / "manifest.csv").read_text().replace("0.250000,", "DOE^JOHN,", 1)
    (tmp_path / "manifest.csv").write_text(damaged)
    with pytest.raises(UsageError, match="is damaged") as told:
        parquet.write(str(tmp_path / "manifest.csv"), str(tmp_path / "new.parquet"))
    assert "DOE" not in str(told.value)
    assert not list(tmp_path.glob("new*"))


def test_a_number_too_great_for_its_type_is_none_and_costs_no_other(tmp_path: Path) -> None:
    """A clock that was wrong, and a header that lies."""
    late, vast = FileStamp(7, 2**63), Header("1.2.4", frames=10**11, rows=5, columns=10**300)
    keep(tmp_path, FULL, Row("/in/b", Status.SORTED, stamp=late, header=vast))
    first, second = read(tmp_path)
    assert (first["rows"], first["mtime"].value) == (10, STAMP.mtime_ns)
    assert (second["rows"], second["columns"], second["frames"]) == (5, None, None)
    assert (second["size"], second["mtime"]) == (7, None)


@pytest.mark.parametrize("formats", ["parquet", "csv,xml", "", "csv;parquet"])
def test_other_formats_are_refused(formats: str) -> None:
    with pytest.raises(UsageError, match="use csv, or csv,parquet"):
        parquet.is_wanted(formats)


def statuses(out: Path) -> dict[str, str]:
    return {row["path"]: row["status"] for row in read(out)}


def test_runs_plans_undo_and_merge_keep_it(small_bundle: Bundle, tmp_path: Path) -> None:
    for number in range(3):
        write_dicom(tmp_path / "in" / f"{number}.dcm", picture(number))
    predictor, out = FixedPredictor(small_bundle), tmp_path / "out"
    sort(settings(tmp_path / "in", out, dry_run=True, parquet=True), predictor)
    assert set(statuses(out).values()) == {"planned"}
    plan.apply(str(out / "manifest.csv"))
    assert statuses(out) == {path: row["status"] for path, row in rows(out).items()}
    assert set(statuses(out).values()) <= {"sorted", "review"}
    plan.undo(str(out / "manifest.csv"))
    assert set(statuses(out).values()) == {"planned"}
    for number in (1, 2):
        shard = settings(tmp_path / "in", tmp_path / "shards", shard=Shard(number, 2), parquet=True)
        sort(shard, predictor)
    assert not list((tmp_path / "shards").rglob("*.parquet"))
    merge(str(tmp_path / "shards"), PoolSettings(1))
    assert len(read(tmp_path / "shards")) == 3


def test_without_the_library_nothing_begins_and_a_stale_file_goes(
    small_model: Path, small_bundle: Bundle, tmp_path: Path
) -> None:
    write_dicom(tmp_path / "in" / "a.dcm", picture(0))
    out = tmp_path / "out"
    hidden = without(tmp_path, "pyarrow")
    words = [
        "classify",
        str(tmp_path / "in"),
        "--out",
        str(out),
        "--model",
        str(small_model),
        "--device",
        "cpu",
    ]
    ran = command(*words, "--manifest-format", "csv,parquet", env=hidden)
    assert ran.code == ExitCode.USAGE
    assert "--manifest-format parquet needs pyarrow, which is not installed here: pip install" in ran.err
    assert not out.exists()
    sort(settings(tmp_path / "in", out, parquet=True), FixedPredictor(small_bundle))
    assert (out / "manifest.parquet").exists()
    ran = command("undo", str(out), env=hidden)
    assert ran.code == ExitCode.USAGE
    assert ran.err.count("\n") == 1
    assert "all rows are written, but manifest.parquet needs pyarrow" in ran.err
    assert not (out / "manifest.parquet").exists()
    assert [row["status"] for row in rows(out).values()] == ["planned"]


def test_a_run_in_a_folder_that_has_it_needs_the_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keep(tmp_path, FULL)
    monkeypatch.setattr(parquet, "is_installed", lambda _: False)
    with (
        manifest(tmp_path) as book,
        pytest.raises(MissingLibraryError, match="--manifest-format csv ends it"),
    ):
        parquet.begin(str(tmp_path), book.run_file, None)
