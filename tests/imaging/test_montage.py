"""Several views on one canvas: as large as they can be, whole, in order, and never larger than as read."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest

from dicomsort.imaging.canvas import Canvas, Preprocessing, fit, picture_on
from dicomsort.imaging.montage import MOST_VIEWS, ROW, laid_out

CANVAS = Preprocessing(size=224)


def view(rows: int, columns: int, gray: int) -> Canvas:
    """A picture of one gray, as it is read: its longer side fills the canvas."""
    return fit(np.full((rows, columns), gray, np.float32), CANVAS)


def views(*shapes: tuple[int, int]) -> list[Canvas]:
    return [view(*shape, 100 + 10 * at) for at, shape in enumerate(shapes)]


def spans(canvas: Canvas, count: int) -> list[tuple[int, int, int, int]]:
    """Where each picture lies, by its gray: top, left, bottom, right."""
    return [picture_on(np.where(canvas == 100 + 10 * at, canvas, 0), 0) for at in range(count)]


def shapes_of(canvas: Canvas, count: int) -> list[tuple[int, int]]:
    return [(bottom - top, right - left) for top, left, bottom, right in spans(canvas, count)]


def share(canvas: Canvas) -> float:
    return float((canvas > 0).mean())


def test_three_wide_views_fill_the_canvas_instead_of_a_ninth_of_it() -> None:
    wide = views((100, 300), (100, 300), (100, 300))
    assert share(laid_out(wide, CANVAS, ROW)) < 0.12
    stacked = laid_out(wide, CANVAS)
    assert share(stacked) > 0.99
    tops = [top for top, *_ in spans(stacked, 3)]
    assert tops == sorted(tops)


LAYOUTS = [  # views, and what share of the canvas the best layout by hand shows
    ([(300, 250)] * 2, 2 * 112 * 134),  # two chests side by side
    ([(250, 300)] * 2, 2 * 112 * 134),  # two wide ones above each other
    ([(300, 250)] * 3, 112 * 134 + 2 * 112 * 93),  # one on the left, two on the right
    ([(300, 300)] * 4, 224 * 224),
    ([(300, 100), (100, 200), (100, 200)], 224 * 75 + 2 * 112 * 56),  # a spine, and two wide ones beside it
    ([(300, 50)] * 4, 4 * 224 * 37),
]


@pytest.mark.parametrize(("shapes", "area"), LAYOUTS)
def test_no_layout_by_hand_shows_more(shapes: Sequence[tuple[int, int]], area: int) -> None:
    assert share(laid_out(views(*shapes), CANVAS)) * 224**2 > 0.98 * area


@pytest.mark.parametrize("shapes", [*(shapes for shapes, _ in LAYOUTS), [(90, 200), (200, 90), (7, 200)]])
def test_pictures_keep_their_aspect_ratio_do_not_overlap_and_do_not_grow(
    shapes: Sequence[tuple[int, int]],
) -> None:
    read = views(*shapes)
    together = laid_out(read, CANVAS)
    for (rows, columns), (height, width), alone in zip(
        shapes, shapes_of(together, len(shapes)), read, strict=True
    ):
        assert abs(height - width * rows / columns) <= max(1, rows / columns)
        assert height <= (alone > 0).any(axis=1).sum()
    covered = sum(height * width for height, width in shapes_of(together, len(shapes)))
    assert covered == (together > 0).sum()  # of an overlap one would be missing


def test_a_picture_that_is_small_on_its_canvas_stays_small() -> None:
    small = [np.zeros((224, 224), np.uint8) for _ in range(2)]
    for at, canvas in enumerate(small):
        canvas[100:120, 50:70] = 100 + 10 * at
    assert shapes_of(laid_out(small, CANVAS), 2) == [(20, 20)] * 2


def test_the_order_is_kept_whatever_the_layout() -> None:
    for order in permutations(range(4)):
        together = laid_out([view(300, 300, 100 + 10 * at) for at in order], CANVAS)
        corners = [together[56 + 112 * row, 56 + 112 * column] for row in (0, 1) for column in (0, 1)]
        assert corners == [100 + 10 * at for at in order]


def test_what_is_nothing_but_background_takes_its_place() -> None:
    empty = np.zeros((224, 224), np.uint8)
    together = laid_out([empty, view(200, 200, 200)], CANVAS)
    assert together.shape == (224, 224)
    assert (together > 0).sum() == 112 * 112


def test_very_many_views_cost_little_and_the_first_are_shown() -> None:
    canvas = Preprocessing(size=32)
    many = [np.full((32, 32), 1 + at % 255, np.uint8) for at in range(500)]
    together = laid_out(many, canvas)
    assert sorted(np.unique(together)) == list(range(1, MOST_VIEWS + 1))


def test_another_fill_is_no_part_of_a_picture() -> None:
    canvas = Preprocessing(size=64, fill=9)
    read = [fit(np.full((20, 60), 200, np.float32), canvas) for _ in range(3)]
    together = laid_out(read, canvas)
    assert set(np.unique(together)) <= {9, 200}
    assert (together == 200).mean() > 0.95
