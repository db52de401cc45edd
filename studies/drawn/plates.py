"""Exposures of nobody: blank plates, test objects, and what a broken channel gives.

Each maker draws one picture from a generator of random numbers: the same seed gives the same picture.
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from drawn.basics import (
    Dice,
    Field,
    Gray,
    blurred,
    ellipse,
    empty_sheet,
    grid,
    noise,
    shape_of,
    stretched,
    to_bytes,
)


def blank_plate(dice: Dice) -> Gray:
    """Draw a plate that was exposed without anybody: a level with noise, slopes, edges, dust, lines."""
    shape = shape_of(dice, (0.7, 1.45))
    rows, columns = grid(shape)
    level, slope = dice.uniform(0.08, 0.92), dice.normal(0, 0.06, 2)
    field = level + slope[0] * rows + slope[1] * columns - dice.uniform(0, 0.1) * (rows**2 + columns**2)
    field += dice.uniform(0.005, 0.06) * dice.standard_normal(shape)
    field += dice.uniform(0, 0.08) * (noise(dice, shape, dice.uniform(0.5, 2)) - 0.5)
    for part, change in ((0.5, _dust), (0.4, _lines), (0.5, _collimated), (0.3, _marker), (0.2, _shadow)):
        if dice.random() < part:
            field = change(dice, field)
    return to_bytes(255 * (1 - field if dice.random() < 0.5 else field))


def _dust(dice: Dice, field: Field) -> Field:
    picture = Image.new("F", (field.shape[1], field.shape[0]), 0)
    pen = ImageDraw.Draw(picture)
    for _ in range(int(dice.integers(3, 60))):
        x, y, size = dice.uniform(0, field.shape[1]), dice.uniform(0, field.shape[0]), dice.uniform(0.3, 2.5)
        pen.ellipse((x - size, y - size, x + size, y + size), float(dice.normal(0, 0.3)))
    for _ in range(int(dice.integers(0, 4))):
        across, down = dice.uniform(0, field.shape[1], 2), dice.uniform(0, field.shape[0], 2)
        pen.line((across[0], down[0], across[1], down[1]), float(dice.normal(0, 0.3)))
    return field + np.asarray(picture, np.float64)


def _lines(dice: Dice, field: Field) -> Field:
    """Add an anti-scatter grid or a detector's rows."""
    at = np.arange(field.shape[1]) + dice.uniform(-0.05, 0.05) * np.arange(field.shape[0])[:, None]
    wave = dice.uniform(0.01, 0.08) * np.sin(2 * math.pi * at / dice.uniform(2.2, 12))
    if dice.random() < 0.3:
        wave = wave + dice.normal(0, 0.03, (field.shape[0], 1))
    return field + wave


def _collimated(dice: Dice, field: Field, least: float = 0.6) -> Field:
    """Darken or brighten what lies outside of a rectangle, perhaps turned, or of a circle."""
    height, width = dice.uniform(least, 1.05, 2) * np.array(field.shape) / min(field.shape)
    rows, columns = grid(field.shape)
    turn = dice.normal(0, 0.05)
    rows, columns = rows + turn * columns, columns - turn * rows
    outside = np.maximum(np.abs(rows) / height, np.abs(columns) / width)
    if dice.random() < 0.2:
        outside = np.hypot(rows, columns) / max(height, width)
    level = dice.choice([0.0, 0.03, 0.97, 1.0])
    edge = np.clip((outside - 1) / dice.uniform(0.005, 0.05), 0, 1)
    return np.asarray(field * (1 - edge) + level * edge)


def _marker(dice: Dice, field: Field) -> Field:
    """Put a lead letter somewhere near an edge."""
    picture = Image.new("F", (field.shape[1], field.shape[0]), 0)
    at = dice.uniform(0.05, 0.25) * field.shape[1], dice.uniform(0.03, 0.9) * field.shape[0]
    ImageDraw.Draw(picture).text(
        at, str(dice.choice(["L", "R", "D", "E"])), 1.0, font_size=int(dice.integers(14, 40))
    )
    ink = np.asarray(picture, np.float64)
    return np.asarray(field * (1 - ink) + ink * dice.choice([0.0, 1.0]))


def _shadow(dice: Dice, field: Field) -> Field:
    """Leave the ghost of an earlier exposure."""
    ghost = ellipse(
        field.shape, (dice.normal(0, 0.3), dice.normal(0, 0.3)), (dice.uniform(0.3, 1), dice.uniform(0.3, 1))
    )
    return field + dice.normal(0, 0.04) * np.clip(2 - 2 * ghost, 0, 1)


def phantom(dice: Dice) -> Gray:
    """Draw an exposure of test objects: steps of metal, faint discs, bars, balls, screws, rulers."""
    shape = shape_of(dice, (0.7, 1.4))
    rows, columns = grid(shape)
    absorbed = 0.25 + dice.uniform(-0.1, 0.1) * rows + dice.uniform(-0.1, 0.1) * columns
    if dice.random() < 0.7:
        plate = np.maximum(np.abs(rows) / dice.uniform(0.6, 1), np.abs(columns) / dice.uniform(0.6, 1))
        round_one = ellipse(shape, (0, 0), (dice.uniform(0.6, 0.95),) * 2)
        absorbed = absorbed + dice.uniform(0.1, 0.5) * ((plate if dice.random() < 0.6 else round_one) < 1)
    objects: tuple[Callable[[Dice, tuple[int, int]], Field], ...] = (
        _steps, _discs, _bars, _balls, _metal, _ruler, _wires,
    )  # fmt: skip
    for at in dice.choice(len(objects), int(dice.integers(1, 5)), replace=False):
        absorbed = absorbed + objects[at](dice, shape)
    field = blurred(np.exp(-dice.uniform(1, 2.5) * np.clip(absorbed, 0, 4)), dice.uniform(0, 1.2))
    field = field + dice.uniform(0.005, 0.05) * dice.standard_normal(shape) * np.sqrt(np.clip(field, 0, 1))
    field = 1 - stretched(field)
    for part, change in ((0.5, _collimated), (0.4, _marker), (0.2, _lines)):
        if dice.random() < part:
            field = change(dice, field)
    return to_bytes(255 * (1 - field if dice.random() < 0.25 else field))


def _steps(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw a step wedge."""
    picture, pen = empty_sheet(shape)
    steps, wide = int(dice.integers(5, 16)), dice.uniform(0.08, 0.25) * min(shape)
    long = dice.uniform(0.4, 0.85) * max(shape) / steps
    x, y = dice.uniform(0, 0.6) * shape[1], dice.uniform(0, 0.4) * shape[0]
    upright = shape[0] > shape[1] or dice.random() < 0.3
    for step in range(steps):
        corner = (x, y + step * long) if upright else (x + step * long, y)
        size = (wide, long) if upright else (long, wide)
        pen.rectangle((*corner, corner[0] + size[0], corner[1] + size[1]), 0.1 + 1.5 * step / steps)
    return np.asarray(picture, np.float64)


def _discs(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw rows of discs, smaller to one side and fainter to the other."""
    picture, pen = empty_sheet(shape)
    rows, columns, room = int(dice.integers(3, 12)), int(dice.integers(3, 12)), dice.uniform(0.5, 0.9)
    strongest = dice.uniform(0.05, 0.6) * dice.choice([-0.5, 1])
    for row in range(rows):
        for column in range(columns):
            x = shape[1] * ((1 - room) / 2 + room * (column + 0.5) / columns)
            y = shape[0] * ((1 - room) / 2 + room * (row + 0.5) / rows)
            size = 0.35 * room * min(shape) / max(rows, columns) * (column + 1) / columns + 0.5
            pen.ellipse((x - size, y - size, x + size, y + size), strongest * (row + 1) / rows)
    return np.asarray(picture, np.float64)


def _bars(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw groups of bars that become finer."""
    picture, pen = empty_sheet(shape)
    x, y = dice.uniform(0.05, 0.4) * shape[1], dice.uniform(0.05, 0.7) * shape[0]
    period, high = dice.uniform(8, 16), dice.uniform(0.08, 0.25) * shape[0]
    while period > 1.5 and x < shape[1]:
        for _ in range(int(dice.integers(3, 7))):
            pen.rectangle((x, y, x + period / 2, y + high), 1.6)
            x += period
        x, period = x + period, period * 0.8
    return np.asarray(picture, np.float64)


def _balls(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw balls in a circle, a cross or a lattice."""
    picture, pen = empty_sheet(shape)
    many, way = int(dice.integers(4, 40)), int(dice.integers(3))
    for at in range(many):
        angle = 2 * math.pi * at / many
        if way == 0:
            x, y = 0.5 + 0.38 * math.cos(angle), 0.5 + 0.38 * math.sin(angle)
        elif way == 1:
            x, y = (at / many, 0.5) if at % 2 else (0.5, at / many)
        else:
            x, y = (at % 6 + 0.5) / 6, (at // 6 + 0.5) / 6
        size = dice.uniform(2, 5)
        x, y = x * shape[1], y * shape[0]
        pen.ellipse((x - size, y - size, x + size, y + size), 2.0)
    return np.asarray(picture, np.float64)


def _metal(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw rods, screws and plates."""
    picture, pen = empty_sheet(shape)
    for _ in range(int(dice.integers(2, 9))):
        x, y = dice.uniform(0.1, 0.9, 2) * shape[1], dice.uniform(0.1, 0.9, 2) * shape[0]
        pen.line((x[0], y[0], x[1], y[1]), float(dice.uniform(0.4, 2)), int(dice.integers(2, 16)))
        if dice.random() < 0.5:
            size = dice.uniform(5, 25)
            pen.rectangle((x[0], y[0], x[0] + size, y[0] + 2 * size), float(dice.uniform(0.2, 2)))
    return np.asarray(picture, np.float64)


def _ruler(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw a ruler with marks."""
    picture, pen = empty_sheet(shape)
    x, step = dice.uniform(0.05, 0.85) * shape[1], dice.uniform(3, 8)
    for number, y in enumerate(np.arange(5, shape[0] - 5, step)):
        long = 14 if number % 10 == 0 else 8 if number % 5 == 0 else 5
        pen.line((x, y, x + long, y), 1.8)
        if number % 10 == 0:
            pen.text((x + 16, y - 5), str(number // 10), 1.8, font_size=10)
    return np.asarray(picture, np.float64)


def _wires(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw a mesh."""
    picture, pen = empty_sheet(shape)
    step, slant = dice.uniform(8, 50), dice.normal(0, 0.1)
    for at in np.arange(-max(shape), 2 * max(shape), step):
        pen.line((at, 0, at + slant * shape[0], shape[0]), 0.8)
        pen.line((0, at, shape[1], at - slant * shape[1]), 0.8)
    return np.asarray(picture, np.float64)


def noise_field(dice: Dice) -> Gray:
    """Draw what a broken channel gives: noise of any color, stripes, moire, blocks."""
    shape = shape_of(dice, (0.6, 1.6))
    kinds: tuple[Callable[[Dice, tuple[int, int]], Field], ...] = (
        _colored, _colored, _stripes, _moire, _blocks, _sparse, _torn,
    )  # fmt: skip
    return to_bytes(255 * kinds[int(dice.integers(len(kinds)))](dice, shape))


def _colored(dice: Dice, shape: tuple[int, int]) -> Field:
    field = noise(dice, shape, dice.choice([0, 0.5, 1, 1.5]))
    return np.asarray(np.clip(0.5 + (field - field.mean()) * dice.uniform(0.5, 3), 0, 1))


def _stripes(dice: Dice, shape: tuple[int, int]) -> Field:
    lines = dice.random((shape[0], 1)) if dice.random() < 0.5 else dice.random((1, shape[1]))
    return np.clip(lines + dice.uniform(0, 0.3) * dice.standard_normal(shape), 0, 1)


def _moire(dice: Dice, shape: tuple[int, int]) -> Field:
    rows, columns = np.indices(shape)
    waves = np.zeros(shape)
    for _ in range(int(dice.integers(2, 5))):
        angle, period = dice.uniform(0, math.pi), dice.uniform(2, 25)
        waves += np.sin(2 * math.pi * (rows * math.sin(angle) + columns * math.cos(angle)) / period)
    return stretched(np.sign(waves) * np.abs(waves) ** dice.uniform(0.5, 1.5))


def _blocks(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw squares of one gray, as a damaged JPEG has."""
    side = int(dice.choice([4, 8, 16, 32]))
    rough = dice.random((shape[0] // side + 1, shape[1] // side + 1)) ** dice.uniform(0.5, 2)
    large = np.kron(rough, np.ones((side, side)))[: shape[0], : shape[1]]
    return np.clip(large + dice.uniform(0, 0.2) * dice.standard_normal(shape), 0, 1)


def _sparse(dice: Dice, shape: tuple[int, int]) -> Field:
    ground, share = dice.uniform(0, 1), dice.uniform(0.002, 0.2)
    return np.where(dice.random(shape) < share, dice.random(shape).round(), ground)


def _torn(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw clouds whose lines are shifted, as with a wrong row length."""
    field = noise(dice, shape, 1.8)
    shift = (np.arange(shape[0]) * dice.integers(1, 40)) % shape[1]
    return np.asarray(field[np.arange(shape[0])[:, None], (np.arange(shape[1]) + shift[:, None]) % shape[1]])
