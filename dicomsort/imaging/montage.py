"""Lay the views of a study out on one canvas, so that they are shown as large as possible."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np

from dicomsort.imaging.canvas import Canvas, Preprocessing, Span, fit, picture_on, shrink, to_bytes

GRID, ROW = LAYOUTS = ("grid", "row")
"""Rows and columns that fill the canvas; or all views in one row, as bundles without a rule were trained."""

MOST_VIEWS = 64
"""How many views are shown; of a study that has more, the first ones."""

_MOST_TRIED = 8  # views whose every layout is tried; of more only rows as full as each other

Cells = tuple[Span, ...]


def laid_out(canvases: Sequence[Canvas], preprocessing: Preprocessing, layout: str = GRID) -> Canvas:
    """Put several canvases on one, without what is empty around each: uint8 (size, size).

    The order is kept: in rows from left to right, or in columns from top to bottom. Rows are equally high,
    and the cells of one are equally wide (columns likewise); how many there are, and how many pictures stand
    in each, is what shows the largest area of pictures. Of layouts that show the same the first counts:
    fewer rows, and rows before columns. Each picture keeps its aspect ratio and never grows.
    layout: one of LAYOUTS.
    """
    pictures = [_without_margins(canvas, preprocessing.fill) for canvas in canvases[:MOST_VIEWS]]
    if layout == ROW:
        return _in_a_row(pictures, preprocessing)
    size = preprocessing.size
    cells = max(_layouts(len(pictures), size), key=lambda cells: _shown(pictures, cells))
    canvas = np.full((size, size), preprocessing.fill, np.uint8)
    for picture, cell in zip(pictures, cells, strict=True):
        _put(canvas, picture, cell)
    return canvas


def _in_a_row(pictures: Sequence[Canvas], preprocessing: Preprocessing) -> Canvas:
    """Put pictures side by side. All get the same height, so that none grows for the sake of another."""
    height = min(picture.shape[0] for picture in pictures)
    shapes = [(height, max(1, round(height * each.shape[1] / each.shape[0]))) for each in pictures]
    row = [shrink(picture, shape) for picture, shape in zip(pictures, shapes, strict=True)]
    return fit(np.concatenate(row, axis=1), replace(preprocessing, smooth="none"))


def _layouts(count: int, size: int) -> Iterator[Cells]:
    """Go through ways to cut the square canvas into cells, one for each picture."""
    for counts in _rows_of(count, size):
        rows = _cells(counts, size)
        yield rows
        yield tuple((left, top, right, bottom) for top, left, bottom, right in rows)


def _rows_of(count: int, size: int) -> Iterator[tuple[int, ...]]:
    """Go through ways to divide pictures into rows, fewer rows first: how many stand in each."""
    for rows in range(-(-count // size), min(count, size) + 1):
        if count > _MOST_TRIED:
            yield _lengths(_edges(count, rows))
            continue
        for cuts in combinations(range(1, count), rows - 1):
            yield _lengths((0, *cuts, count))


def _lengths(edges: Sequence[int]) -> tuple[int, ...]:
    return tuple(end - start for start, end in pairwise(edges))


def _edges(length: int, parts: int) -> tuple[int, ...]:
    """Cut a length into parts that differ by 1 at most."""
    return tuple(length * at // parts for at in range(parts + 1))


def _cells(counts: Sequence[int], size: int) -> Cells:
    """Cut the square into rows, and each row into as many cells as are to stand in it."""
    return tuple(
        (top, left, bottom, right)
        for (top, bottom), count in zip(pairwise(_edges(size, len(counts))), counts, strict=True)
        for left, right in pairwise(_edges(size, count))
    )


def _shown(pictures: Sequence[Canvas], cells: Cells) -> int:
    """Return how many pixels of the canvas pictures take in their cells."""
    shapes = (_shape(picture, cell) for picture, cell in zip(pictures, cells, strict=True))
    return sum(height * width for height, width in shapes)


def _shape(picture: Canvas, cell: Span) -> tuple[int, int]:
    """Return (height, width) of a picture that is shrunk to fit into a cell."""
    height, width = picture.shape
    scale = min(1.0, (cell[2] - cell[0]) / height, (cell[3] - cell[1]) / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _put(canvas: Canvas, picture: Canvas, cell: Span) -> None:
    """Center a picture in its cell."""
    height, width = shape = _shape(picture, cell)
    top, left = cell[0] + (cell[2] - cell[0] - height) // 2, cell[1] + (cell[3] - cell[1] - width) // 2
    canvas[top : top + height, left : left + width] = to_bytes(shrink(picture, shape))


def _without_margins(canvas: Canvas, fill: int) -> Canvas:
    top, left, bottom, right = picture_on(canvas, fill)
    return canvas[top:bottom, left:right] if bottom else canvas
