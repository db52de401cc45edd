"""The end of a run over more rows than memory holds says what a plain one in memory says."""

import csv
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from manifests import manifest
from settled import Cells, made, settled

from dicomsort.manifest import lines, names, spill
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import Action
from dicomsort.sorting import repeats
from dicomsort.sorting.deduplicate import settle
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.repeats import SettleSettings, Wanted
from dicomsort.system.pool_settings import PoolSettings


def table(folder: Path) -> list[Cells]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*.dcm"))
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


def noting(spilling: Callable[..., None], spills: list[str]) -> Callable[..., None]:
    def noted(*arguments: object) -> None:
        spills.append("")
        spilling(*arguments)

    return noted


def end(journal: Manifest, out: Path, dry_run: bool) -> None:
    placing = PlacementSettings(Action.COPY, False, True)
    settle(journal, SettleSettings(str(out), dry_run, placing, PoolSettings(1)), lambda _row, _status: None)


@pytest.fixture(params=[False, True], ids=["in memory", "on the disk"])
def spilt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether next to nothing is held in memory: blocks of some rows, parts of a few."""
    if request.param:
        monkeypatch.setattr(spill, "_IN_MEMORY", 1000)
        monkeypatch.setattr(spill, "_PARTS", 5)
        monkeypatch.setattr(spill, "_LINES_A_PART", 7)
        monkeypatch.setattr(lines, "_BLOCK", 2000)
    return bool(request.param)


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_any_manifest_ends_as_in_memory(
    seed: int, dry_run: bool, spilt: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, digests = made(tmp_path, seed)
    out = tmp_path / "out"
    with manifest(out, dry_run) as journal:
        journal.append(rows)
    shutil.copytree(out, tmp_path / "plain", copy_function=shutil.copy2)
    expected = settled(table(out), digests, tmp_path / "plain", dry_run)

    def read(wanted: Iterable[Wanted], _: PoolSettings) -> Iterator[tuple[Wanted, str]]:
        return ((one, digests[one.path]) for one in wanted)

    monkeypatch.setattr(repeats, "read_pixels", read)
    spills = list[str]()
    for kind in (spill.KeySpill, spill.LineSpill):
        monkeypatch.setattr(kind, "_spill", noting(kind._spill, spills))
    with Manifest.open_existing(str(out / "manifest.csv")) as journal:
        end(journal, out, dry_run)
    assert table(out) == expected
    assert files(out) == files(tmp_path / "plain")
    assert {row["status"] for row in expected} >= {"sorted", "duplicate", "planned", "io_error"}
    assert bool(spills) == spilt
    assert not os.path.exists(names.scratch_of(str(out)))
