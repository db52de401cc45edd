"""How many rows a manifest has of each kind, counted without a Python object for each row."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from dicomsort.manifest.groups import is_one_of
from dicomsort.manifest.lines import Block
from dicomsort.manifest.records import Record

_TOLD = ("status", "reason", "label", "reviewed_label")
_EMPTY = {"reviewed_by": "", "reviewed_at": ""}


def census(blocks: Iterable[Block], fresh: int) -> Iterator[tuple[Record, bool, int]]:
    """Yield rows that stand for many: with the cells that say what became of a file, and no others.

    Each with whether the rows have the number `fresh` or a later one, and how many there are.
    """
    counts: Counter[tuple[bytes, ...]] = Counter()
    for block in blocks:
        counts.update(_counted(block, fresh))
    for (is_fresh, *texts), number in counts.items():
        told = dict(zip(_TOLD, (text.decode() for text in texts), strict=True))
        yield Record({**told, **_EMPTY}), is_fresh == b"1", number


def _counted(block: Block, fresh: int) -> dict[tuple[bytes, ...], int]:
    columns = [block.cells(name) for name in _TOLD]
    is_fresh = np.arange(block.first, block.first + len(block)) >= fresh
    kinds = is_fresh.astype(np.uint64)
    for number, column in enumerate(columns):
        kinds += column.hashes() * np.uint64(2 * number + 3)
    _, firsts, counts = np.unique(kinds, return_index=True, return_counts=True)
    found = ((b"%d" % is_fresh[row], *(column.text(row) for column in columns)) for row in firsts.tolist())
    return dict(zip(found, counts.tolist(), strict=True))


def first_with(blocks: Iterable[Block], statuses: Iterable[str], fresh: int, most: int) -> list[Record]:
    """Return the first rows with one of some statuses, from the row with the number `fresh` on."""
    wanted = tuple(statuses)
    found = (
        block.record(row)
        for block in blocks
        if block.first + len(block) > fresh
        for row in np.flatnonzero(is_one_of(block, "status", wanted)).tolist()
        if block.first + row >= fresh
    )
    return list(islice(found, most))
