"""Rows that have one thing in common, such as a UID, found among more rows than memory holds."""

import os
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from dicomsort.manifest.lines import Block, Hashes, hashes_of
from dicomsort.manifest.spill import KeySpill, LineSpill, repeated

Blocks = Callable[[], Iterable[Block]]
"""Gives all lines, each time from the beginning."""

Keys = Callable[[Block], tuple[Hashes, NDArray[np.bool_]]]
"""Returns of each row a hash of what may be common, and whether the row counts."""

Also = Callable[[Block], NDArray[np.bool_]]
"""Returns which rows are wanted alone, too."""


def none(block: Block) -> NDArray[np.bool_]:
    """Return that no row is wanted alone."""
    return np.zeros(len(block), np.bool_)


def grouped(blocks: Blocks, keys: Keys, folder: str, also: Also = none) -> LineSpill:
    """Return the lines of rows whose hash another row has, with where they begin; equal ones in one part.

    Different things may have one hash. folder: for what memory does not hold. One byte a row is held, and
    `blocks` is asked twice, if anything is to be returned.
    """
    spill, rows = KeySpill(os.path.join(folder, "keys")), 0
    for block in blocks():
        hashes, counts = keys(block)
        numbers = np.flatnonzero(counts).astype(np.uint64) + np.uint64(rows)
        spill.add(np.column_stack([hashes[counts], numbers]))
        rows += len(block)
    found = repeated(spill, rows)
    lines = LineSpill(os.path.join(folder, "lines"), int(found.sum()))
    if also is none and not found.any():
        return lines
    rows = 0
    for block in blocks():
        wanted = found[rows : rows + len(block)] | also(block)
        rows += len(block)
        if wanted.any():
            _add(lines, block, wanted, keys(block)[0])
    return lines


def _add(lines: LineSpill, block: Block, wanted: NDArray[np.bool_], hashes: Hashes) -> None:
    places = np.flatnonzero(wanted)
    parts = (hashes[places] % np.uint64(lines.parts)).tolist()
    offsets = block.offsets[places].tolist()
    for row, part, offset in zip(places.tolist(), parts, offsets, strict=True):
        lines.add(part, offset, block.line(row))


def is_one_of(block: Block, column: str, texts: Iterable[str]) -> NDArray[np.bool_]:
    """Return for each row whether its cell is one of some texts, (rows,)."""
    return np.isin(block.cells(column).hashes(), hashes_of(text.encode() for text in texts))
