"""Settings of a small run, and what lies in its output folder afterwards."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

from dicomsort.sorting.pipeline import SortSettings
from dicomsort.system.escaping import unescape
from dicomsort.system.pool_settings import PoolSettings


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under a folder by its relative name, but for the lock and the log of parts."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".dicomsort.lock", "parts.log")
    }


def settings(inbox: Path, out: Path, **changes: Any) -> SortSettings:
    return replace(SortSettings((str(inbox),), str(out), batch_size=5, pool=PoolSettings(2)), **changes)


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    by_path = {row["path"]: row for row in table}
    assert len(by_path) == len(table), "one row a file"
    return by_path


def check_places(inbox: Path, out: Path) -> None:
    """Every row's destination is its source, and nothing else lies in the output."""
    placed = set()
    for path, row in rows(out).items():
        if row["destination"]:
            target = out / unescape(row["destination"])
            assert target.read_bytes() == Path(unescape(path)).read_bytes()
            folder = "review" if row["status"] == "review" else row["label"]
            assert unescape(row["destination"]) == f"{folder}/{Path(unescape(path)).relative_to(inbox)}"
            placed.add(target.relative_to(out).as_posix())
    assert set(tree(out)) - {"manifest.csv", "run.json"} == placed
