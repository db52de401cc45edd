"""Rows found among more of them than memory holds: cells, hashes, the last of each file, groups, counts."""

import csv
import random
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from dicomsort.manifest import groups, lines, spill
from dicomsort.manifest.census import census, first_with
from dicomsort.manifest.history import last_rows
from dicomsort.manifest.lines import STABLE, blocks, hash_of
from dicomsort.manifest.spill import HashSet, Ordered

NAMES = ["path", "status", "reason", "label", "reviewed_label", "uid"]
TEXTS = ["", "a", "a,b", 'say "no"', '"', "ü, é", "x" * 40, "12345678", '""', "'=1,2", 'half"way']


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_IN_MEMORY", 500)
    monkeypatch.setattr(spill, "_PARTS", 3)
    monkeypatch.setattr(spill, "_LINES_A_PART", 4)
    monkeypatch.setattr(lines, "_BLOCK", 300)


def rows_of(seed: int, number: int = 200) -> list[list[str]]:
    draw = random.Random(seed)
    texts = TEXTS if seed % 2 else TEXTS[:2]
    return [[f"/{draw.randrange(120)}{draw.choice(texts)}", *draw.choices(texts, k=5)] for _ in range(number)]


def written(folder: Path, rows: list[list[str]], quoting: Literal[0, 1] = csv.QUOTE_MINIMAL) -> str:
    path = folder / "manifest.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n", quoting=quoting).writerows([NAMES, *rows])
    return str(path)


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("seed", range(4))
def test_cells_are_those_that_were_written(seed: int, quoting: Literal[0, 1], tmp_path: Path) -> None:
    rows = rows_of(seed)
    path = written(tmp_path, rows, quoting)
    for column, name in enumerate(NAMES):
        cells = [(block, block.cells(name)) for block in blocks(path)]
        read = [found.text(row).decode() for block, found in cells for row in range(len(block))]
        assert read == [row[column] for row in rows]
        hashes = np.concatenate([found.hashes() for _, found in cells]).tolist()
        assert hashes == [int(hash_of(row[column].encode())) for row in rows]
        assert len(set(hashes)) == len(set(read))
    whole = Path(path).read_bytes()
    for block in blocks(path):
        assert [whole[at:].splitlines(True)[0] for at in block.offsets.tolist()] == [
            block.line(row) for row in range(len(block))
        ]


def test_a_share_of_uids_is_the_same_in_every_program() -> None:
    texts = [b"", b"1.2.3", b"1.2.840.10008.5.1.4.1.1.1.1"]
    assert [int(hash_of(text, STABLE)) % 97 for text in texts] == PINNED


PINNED = [53, 86, 81]  # of every later version too, or shares of two versions would leave files out


@pytest.mark.parametrize("seed", range(4))
def test_the_last_row_of_each_file_is_found(seed: int, tmp_path: Path) -> None:
    rows = rows_of(seed)
    path = written(tmp_path, rows)
    last = {row[0]: number for number, row in enumerate(rows)}
    expected = [last[row[0]] == number for number, row in enumerate(rows)]
    assert last_rows(path).tolist() == expected
    assert last_rows(path, str(tmp_path / "spilt")).tolist() == expected
    assert (tmp_path / "spilt" / "paths").is_dir()
    with Path(path).open("a") as file:
        file.write("/half a li")
    assert last_rows(path).tolist() == expected


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_share_a_cell_are_together(seed: int, tmp_path: Path) -> None:
    rows = [[*row[:5], str(number * 7 % 90)] for number, row in enumerate(rows_of(seed, 120))]
    path = written(tmp_path, rows)

    def keys(block: lines.Block) -> tuple[lines.Hashes, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        return block.cells("uid").hashes(), block.cells("status").lengths > 0

    counts = Counter(row[5] for row in rows if row[1])
    found = groups.grouped(lambda: blocks(path), keys, str(tmp_path / "spilt"))
    parts = [
        [next(csv.reader([line.decode()])) for _, line in found.part(part)] for part in range(found.parts)
    ]
    assert sorted(row for part in parts for row in part) == sorted(
        row for row in rows if row[1] and counts[row[5]] > 1
    )
    assert sum(len({row[5] for row in part}) for part in parts) == sum(count > 1 for count in counts.values())


@pytest.mark.parametrize("line", ["a,b\n", "a,b,c,d,e,f,g\n", "\n", 'a,"b,c,d,e,f\n'])
def test_what_is_no_row_is_told(line: str, tmp_path: Path) -> None:
    path = written(tmp_path, rows_of(1, 5))
    with Path(path).open("a") as file:
        file.write(line)
    with pytest.raises((ValueError, csv.Error)):
        last_rows(path)
    with pytest.raises((ValueError, csv.Error)):
        _ = [block.cells("uid") for block in blocks(path)]


def test_lines_come_back_in_order_the_later_of_two(tmp_path: Path) -> None:
    ordered, draw = Ordered(str(tmp_path / "spilt"), 100, 1000), random.Random(1)
    expected: dict[int, bytes] = {}
    for _ in range(300):
        number, line = draw.randrange(1000), b"%d\n" % draw.randrange(99)
        ordered.add(number, line)
        expected[number] = line
    assert list(ordered) == sorted(expected.items())
    assert (tmp_path / "spilt").is_dir()


def test_a_set_of_hashes_holds_what_was_put_in() -> None:
    found = HashSet()
    assert not found
    assert "a" not in found
    for text in "abc":
        found.add_text(text)
    assert "b" in found
    assert "d" not in found
    found.add_text("d")
    assert "d" in found


@pytest.mark.parametrize("fresh", [0, 70, 200])
def test_rows_are_counted_by_kind(fresh: int, tmp_path: Path) -> None:
    rows = rows_of(3)
    path = written(tmp_path, rows)
    expected = Counter((*row[1:5], number >= fresh) for number, row in enumerate(rows))
    found = {
        (*(record[name] for name in NAMES[1:5]), new): count
        for record, new, count in census(blocks(path), fresh)
    }
    assert found == dict(expected)
    first = [row for row in rows[fresh:] if row[1] in ("a", "a,b")][:3]
    assert [list(record.values()) for record in first_with(blocks(path), ("a", "a,b"), fresh, 3)] == first
