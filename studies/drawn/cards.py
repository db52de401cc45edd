"""Test images of monitors and printers.

Each maker draws one picture from a generator of random numbers: the same seed gives the same picture.
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from drawn.basics import Dice, Gray, shape_of, to_bytes
from drawn.pages import Page, words


def card(dice: Dice) -> Gray:
    """Draw a monitor's or a printer's test image."""
    kinds: tuple[Callable[[Dice], Gray], ...] = (_smpte, _smpte, _wedge, _checks, _star, _line_pairs, _rings)
    gray = kinds[int(dice.integers(len(kinds)))](dice)
    if dice.random() < 0.25:
        gray = 255 - gray
    picture = Image.fromarray(gray)
    if dice.random() < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(dice.uniform(0.3, 1.2)))
    return np.asarray(picture, np.uint8)


def _smpte(dice: Dice) -> Gray:
    """Draw after SMPTE RP 133: patches of gray in a ring, a grid, line pairs in the corners, a frame."""
    page = Page(dice, shape_of(dice, (0.75, 1.0)), 0.0)
    side, ground = min(page.width, page.height), int(dice.integers(90, 150))
    left, top = (page.width - side) / 2, (page.height - side) / 2
    page.box((0, 0, page.width, page.height), ground)
    step = side / int(dice.integers(8, 14))
    for at in np.arange(0, side + 1, step):
        page.pen.line((left + at, top, left + at, top + side), 200, 2)
        page.pen.line((left, top + at, left + side, top + at), 200, 2)
    patch, ring = 1.1 * step, 2.9 * step
    for number in range(int(dice.integers(10, 17))):
        angle = 2 * math.pi * number / 12 + 0.3
        x = page.width / 2 + ring * math.cos(angle) * 1.25 - patch / 2
        y = page.height / 2 + ring * math.sin(angle) * 1.25 - patch / 2
        page.box((x, y, x + patch, y + patch), round(255 * (number % 12) / 11))
    for x in (left + 4, page.width / 2 - patch, left + side - 2 * patch):
        for y in (top + 4, top + side - 2 * patch):
            _pairs(page, (x, y, x + 2 * patch, y + 2 * patch), dice.uniform(3, 14))
    page.box(
        (page.width / 2 - patch, page.height / 2 - patch / 2, page.width / 2, page.height / 2 + patch / 2), 0
    )
    page.box(
        (page.width / 2, page.height / 2 - patch / 2, page.width / 2 + patch, page.height / 2 + patch / 2),
        255,
    )
    if dice.random() < 0.6:
        page.pen.ellipse((left, top, left + side, top + side), None, 255, 4)
    page.write((left + 3 * step, top + side - step), words(dice, 2).upper(), int(step * 0.5), 255)
    return page.done()


def _pairs(page: Page, box: tuple[float, float, float, float], period: float) -> None:
    left, top, right, bottom = box
    page.box(box, 0)
    upright = page.dice.random() < 0.5
    for at in np.arange(0, (right - left) if upright else (bottom - top), period):
        bar = (
            (left + at, top, left + at + period / 2, bottom)
            if upright
            else (left, top + at, right, top + at + period / 2)
        )
        page.box(bar, 255)


def _wedge(dice: Dice) -> Gray:
    """Draw a ramp or steps of gray, perhaps two against each other."""
    height, width = shape_of(dice, (0.4, 1.2))
    steps = int(dice.choice([0, 8, 11, 16, 32]))
    ramp = np.linspace(0, 1, width)
    ramp = np.floor(ramp * steps) / max(steps - 1, 1) if steps else ramp
    gray = np.tile(np.clip(ramp, 0, 1), (height, 1))
    if dice.random() < 0.5:
        gray[height // 2 :] = gray[height // 2 :, ::-1]
    if dice.random() < 0.4:
        gray[:: int(dice.integers(20, 60))] = 1
    return to_bytes(255 * (gray.T if dice.random() < 0.4 else gray))


def _checks(dice: Dice) -> Gray:
    """Draw a checkerboard, perhaps with finer ones inside."""
    height, width = shape_of(dice, (0.6, 1.3))
    field = int(dice.integers(6, 60))
    rows, columns = np.indices((height, width))
    gray = ((rows // field + columns // field) % 2).astype(float)
    if dice.random() < 0.5:
        fine = (rows // max(2, field // 6) + columns // max(2, field // 6)) % 2
        inside = slice(height // 4, 3 * height // 4), slice(width // 4, 3 * width // 4)
        gray[inside] = fine[inside]
    low, high = np.sort(dice.uniform(0, 1, 2)) if dice.random() < 0.4 else (0.0, 1.0)
    return to_bytes(255 * (low + gray * (high - low) * (1 - 1e-3) + 1e-3))


def _star(dice: Dice) -> Gray:
    """Draw a Siemens star or a zone plate."""
    height, width = shape_of(dice, (0.7, 1.2))
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    radius, angle = np.hypot(rows, columns), np.arctan2(rows, columns)
    spokes = int(dice.integers(12, 60))
    star = np.sin(spokes * angle) if dice.random() < 0.5 else np.cos(dice.uniform(30, 120) * radius**2)
    if dice.random() < 0.6:
        star = np.sign(star)
    return to_bytes(np.where(radius < dice.uniform(0.8, 1.5), 127.5 + 127 * star, dice.uniform(0, 255)))


def _line_pairs(dice: Dice) -> Gray:
    """Draw groups of bars that become finer."""
    page = Page(dice, shape_of(dice, (0.5, 1.2)), 0.5)
    groups = int(dice.integers(3, 9))
    for row in range(groups):
        for column in range(groups):
            box = [
                (column + 0.1) / groups,
                (row + 0.1) / groups,
                (column + 0.9) / groups,
                (row + 0.9) / groups,
            ]
            corners = tuple(
                each * side for each, side in zip(box, (page.width, page.height) * 2, strict=True)
            )
            if dice.random() < 0.8:
                _pairs(page, (corners[0], corners[1], corners[2], corners[3]), 4 + 30 * dice.random() ** 2)
    return page.done()


def _rings(dice: Dice) -> Gray:
    """Draw circles and a cross hatch for geometry."""
    page = Page(dice, shape_of(dice, (0.7, 1.1)), 0.6)
    step = dice.uniform(30, 120)
    for at in np.arange(step / 2, max(page.width, page.height), step):
        page.pen.line((at, 0, at, page.height), page.ink, 2)
        page.pen.line((0, at, page.width, at), page.ink, 2)
    for share in dice.uniform(0.1, 0.95, int(dice.integers(1, 6))):
        x, y, radius = page.width / 2, page.height / 2, share * min(page.width, page.height) / 2
        page.pen.ellipse((x - radius, y - radius, x + radius, y + radius), None, page.ink, 3)
    page.write((page.width / 3, page.height / 2), words(dice, 2), int(step / 2))
    return page.done()
