"""The files that are committed with the tests, and what must become of each."""

import csv
import os
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
ARCHIVE, DATA = TESTS / "archive", TESTS / "data"
BROKEN = DATA / "broken"
SMALL_GRAPH = DATA / "small-graph.onnx"
SORT_ONCE = TESTS / "support" / "sort_once.py"
MOVE_ONCE = TESTS / "support" / "move_once.py"


def committed(name: str) -> Path:
    """The file that `expected.csv` names: it lies in the archive or among the broken ones."""
    return (TESTS if name.startswith("archive/") else DATA) / name


def name_of(path: str | Path) -> str:
    """The name by which `expected.csv` knows a file; of any other, the way to it from the tests."""
    below = BROKEN if Path(path).is_relative_to(BROKEN) else ARCHIVE
    return os.path.relpath(path, below.parent)


def expected_rows() -> list[dict[str, str]]:
    """Every row of `expected.csv`."""
    with (DATA / "expected.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
