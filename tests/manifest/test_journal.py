"""Rows and what they tell of: the file is on the disk first."""

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from manifests import manifest

from dicomsort.errors import TargetError
from dicomsort.manifest import journal as journals
from dicomsort.manifest.journal import Journal
from dicomsort.manifest.rows import Row
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import FileStamp, Status
from dicomsort.system import durable


def row(number: int, action: str = "copy") -> Row:
    return Row(
        f"/in/{number}", Status.SORTED, action=action, destination=f"spine/{number}", stamp=FileStamp(1, 2)
    )


def test_what_is_placed_is_on_the_disk_before_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spine").mkdir()
    for number in range(20):
        (tmp_path / "spine" / str(number)).write_text("x")
    synced: list[str] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    with manifest(tmp_path) as table:
        monkeypatch.setattr(os, "fsync", noting)
        with Journal(table, str(tmp_path)) as journal:
            for number in range(20):
                journal.write(row(number))
        lines = len(list(table.records()))
    assert lines == 20
    placed = [str(tmp_path / "spine" / str(number)) for number in range(20)]
    last = max(index for index, name in enumerate(synced) if name.endswith("manifest.csv"))
    assert set(placed) | {str(tmp_path), str(tmp_path / "spine")} <= set(synced[:last])


def test_rows_are_written_within_a_second_or_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "_SECONDS", 0.05)
    written = threading.Event()
    with manifest(tmp_path) as table:
        append = table.append

        def noting(rows: Any) -> None:
            append(rows)
            written.set()

        monkeypatch.setattr(table, "append", noting)
        with Journal(table, str(tmp_path)) as journal:
            journal.write(row(0, action=""))
            assert written.wait(60), "without another row or an end"


def test_a_row_and_the_one_that_it_keeps_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that is killed between them would leave two rows of one copy."""

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    with manifest(tmp_path) as table:
        table.append([row(0, action="move")])
        kept = next(table.records()).renamed()
        monkeypatch.setattr(durable, "sync", lambda *_: None)
        monkeypatch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt), Journal(table, str(tmp_path)) as journal:
            journal.write(replace(row(0, action=""), kept=kept))
        assert [record.path for record in table.records()] == ["/in/0", kept.path, "/in/0"]


def write_for_ever(table: Manifest, folder: Path) -> None:
    with Journal(table, str(folder)) as journal:
        while True:
            journal.write(row(0))


def write_and_interrupt(table: Manifest, folder: Path) -> None:
    with Journal(table, str(folder)) as journal:
        journal.write(row(0, action=""))
        raise KeyboardInterrupt


def test_trouble_of_the_disk_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "_SECONDS", 0.01)

    def full(*_: object) -> None:
        raise TargetError("no space left")

    with manifest(tmp_path) as table:
        monkeypatch.setattr(durable, "sync", full)
        with pytest.raises(TargetError, match="no space left"):
            write_for_ever(table, tmp_path)
        assert list(table.records()) == []


def test_rows_written_before_another_end_are_kept(tmp_path: Path) -> None:
    with manifest(tmp_path) as table:
        with pytest.raises(KeyboardInterrupt):
            write_and_interrupt(table, tmp_path)
        assert len(list(table.records())) == 1


def test_what_somebody_removed_or_linked_away_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    names = [str(tmp_path / name) for name in ("link", "gone", "no/where")]
    durable.sync(names, names, str(tmp_path))
