"""Each destination to one row: two nodes may have placed the same bytes under one name."""

import csv
import os
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dicomsort.manifest.groups import grouped
from dicomsort.manifest.lines import Block, Hashes, read
from dicomsort.manifest.records import Record
from dicomsort.manifest.spill import LineSpill, Ordered
from dicomsort.manifest.table import Manifest
from dicomsort.sorting.deduplicate import Moved
from dicomsort.sorting.place import is_untouched
from dicomsort.sorting.repeats import is_away


def give_to_one(manifest: Manifest, out: str, moved: Moved) -> None:
    """Leave each destination to one row. moved: told of each that has lost its own.

    It stays with one that was moved, for there is no other place where its bytes are, else with the first by
    path of those whose copy it still is; others have found it taken.
    """
    with manifest.scratch() as folder:
        lines = grouped(manifest.blocks, _places, folder)
        end, names = manifest.size, list(manifest.columns)
        refused = Ordered(os.path.join(folder, "refused"), lines.number, end)
        for at, record in _losers(lines, names, out):
            row = record.refused()
            moved(record, row.status)
            refused.add(at, manifest.line(row))
        if refused:
            manifest.change(refused, end)


def _places(block: Block) -> tuple[Hashes, NDArray[np.bool_]]:
    placed = np.asarray(block.cells("action").lengths > 0, np.bool_)
    return block.cells("destination").hashes(), placed


def _losers(lines: LineSpill, names: list[str], out: str) -> Iterator[tuple[int, Record]]:
    for part in range(lines.parts):
        rivals: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        place = names.index("destination")
        for at, line in lines.part(part):
            rivals[next(csv.reader([line.decode()]))[place]].append((at, line))
        for group in rivals.values():
            rows = [(at, read(line, names)) for at, line in group]
            yield from sorted(rows, key=lambda row: _rank(row[1], out))[1:]


def _rank(record: Record, out: str) -> tuple[bool, bool, str]:
    placement = record.placement
    target = os.path.join(out, placement.destination)
    return not is_away(record), not is_untouched(record.path, target, placement), record.key
