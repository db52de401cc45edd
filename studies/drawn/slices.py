"""Pictures as of other modalities: computed tomography, magnetic resonance, ultrasound.

Each maker draws one picture from a generator of random numbers: the same seed gives the same picture.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from drawn.basics import GREATEST, Dice, Field, Gray, blurred, ellipse, grid, noise, shape_of, to_bytes


def ct_like(dice: Dice) -> Gray:
    """Draw a slice as of computed tomography: a head, a chest, a belly or legs, round, on a table."""
    side = int(dice.integers(200, GREATEST + 1))
    shape = (side, side)
    kinds: tuple[Callable[[Dice, tuple[int, int]], Field], ...] = (_head, _chest, _belly, _legs)
    values = kinds[int(dice.integers(4))](dice, shape)
    rows, columns = grid(shape)
    if dice.random() < 0.7:
        table = np.abs(rows - 0.75 - dice.uniform(0, 0.1) + dice.uniform(0.1, 0.3) * columns**2) < 0.015
        values = np.where(table & (np.abs(columns) < 0.8) & (values < -0.5), 0.2, values)
    values = values + dice.uniform(0.01, 0.08) * (noise(dice, shape, 0.3) - 0.5) * 4
    radius = np.hypot(rows, columns)
    values = values + dice.uniform(0, 0.04) * np.sin(radius * dice.uniform(40, 120))
    low, high = ((-0.2, 0.3), (-1.4, 0.4), (-0.6, 1.2), (-0.3, 0.6))[int(dice.integers(4))]
    field = np.clip((values - low) / (high - low), 0, 1)
    return to_bytes(255 * np.where((radius > 1) & (dice.random() < 0.5), 0, field))


def _body(dice: Dice, shape: tuple[int, int], axes: tuple[float, float]) -> tuple[Field, Field]:
    """Return values of air, skin, fat and muscle (-1, 0.05, -0.1, 0.06), and the distance from the middle."""
    wobble = 0.06 * (noise(dice, shape, 2) - 0.5)
    inside = ellipse(shape, (0, 0), axes, dice.normal(0, 0.04)) + wobble
    values = np.full(shape, -1.0)
    values[inside < 1] = -0.1
    values[(inside < 1) & (inside > 0.985)] = 0.05
    values[inside < dice.uniform(0.78, 0.93)] = 0.06
    return values, inside


def _spine(dice: Dice, shape: tuple[int, int], values: Field, down: float) -> None:
    """Draw a vertebra from behind its body to its spinous process."""
    size = dice.uniform(0.1, 0.15)
    values[ellipse(shape, (down, 0), (size, 1.2 * size)) < 1] = 0.35
    values[np.abs(ellipse(shape, (down, 0), (size, 1.2 * size)) - 1) < 0.12] = 0.9
    arch = ellipse(shape, (down + 1.7 * size, 0), (0.7 * size, 0.8 * size))
    values[np.abs(arch - 1) < 0.3] = 0.8
    values[ellipse(shape, (down + 2.7 * size, 0), (0.7 * size, 0.15 * size)) < 1] = 0.7
    for side in (-1, 1):
        values[ellipse(shape, (down + 1.6 * size, side * 1.5 * size), (0.2 * size, size), side * 0.4) < 1] = (
            0.6
        )


def _head(dice: Dice, shape: tuple[int, int]) -> Field:
    axes = dice.uniform(0.68, 0.9), dice.uniform(0.55, 0.75)
    values, inside = _body(dice, shape, axes)
    values[inside < 0.96] = 1.0
    brain = inside < dice.uniform(0.84, 0.9)
    values[brain] = (0.03 + 0.05 * (noise(dice, shape, 1.2) - 0.5))[brain]
    for side in (-1, 1):
        horn = ellipse(shape, (dice.normal(-0.1, 0.03), side * 0.1), (0.25, 0.06), side * 0.3)
        values[horn < 1] = 0.0
    values[(np.abs(grid(shape)[1]) < 0.008) & brain] = 0.1
    return values


def _ribs(dice: Dice, shape: tuple[int, int], values: Field, inside: Field) -> None:
    rows, columns = grid(shape)
    angle = np.arctan2(rows, columns)
    wave = np.sin(angle * dice.integers(9, 16) + dice.uniform(0, 6))
    values[(np.abs(inside - 0.8) < 0.025) & (wave > 0.2)] = 0.7


def _chest(dice: Dice, shape: tuple[int, int]) -> Field:
    axes = dice.uniform(0.5, 0.68), dice.uniform(0.8, 0.95)
    values, inside = _body(dice, shape, axes)
    vessels = noise(dice, shape, 1.0)
    for side in (-1, 1):
        lung = ellipse(
            shape, (dice.normal(0, 0.02), side * axes[1] * 0.45), (axes[0] * 0.7, axes[1] * 0.32), side * 0.15
        )
        air = (lung < 1) & (inside < 0.77)
        values[air] = np.where(vessels > dice.uniform(0.68, 0.8), 0.0, -0.85)[air]
    values[ellipse(shape, (-0.08, 0.08), (0.24, 0.27), 0.5) < 1] = dice.uniform(0.05, 0.25)
    values[ellipse(shape, (0.18, 0.09), (0.06, 0.06)) < 1] = 0.2
    _ribs(dice, shape, values, inside)
    _spine(dice, shape, values, axes[0] * 0.5)
    return values


def _belly(dice: Dice, shape: tuple[int, int]) -> Field:
    axes = dice.uniform(0.5, 0.7), dice.uniform(0.75, 0.95)
    values, inside = _body(dice, shape, axes)
    values[inside < 0.72] = -0.09
    values[(ellipse(shape, (-0.05, -0.35), (0.32, 0.36), 0.3) < 1) & (inside < 0.75)] = 0.1
    for side in (-1, 1):
        values[ellipse(shape, (0.2, side * 0.4), (0.15, 0.1), side * 0.5) < 1] = dice.uniform(0.05, 0.3)
    for _ in range(int(dice.integers(5, 14))):
        bowel = ellipse(
            shape, (dice.uniform(-0.4, 0.1), dice.uniform(-0.4, 0.6)), (0.09, 0.11), dice.uniform(0, 3)
        )
        values[(bowel < 1) & (inside < 0.72)] = 0.05
        values[(bowel < 0.6) & (inside < 0.72)] = dice.choice([-0.9, 0.02, 0.3])
    values[ellipse(shape, (0.12, 0.04), (0.05, 0.05)) < 1] = 0.2
    _ribs(dice, shape, values, inside)
    _spine(dice, shape, values, axes[0] * 0.45)
    return values


def _legs(dice: Dice, shape: tuple[int, int]) -> Field:
    values = np.full(shape, -1.0)
    size = dice.uniform(0.28, 0.4)
    for side in (-1, 1):
        limb = ellipse(shape, (dice.normal(0, 0.03), side * 0.46), (size * 1.05, size)) + 0.05 * noise(
            dice, shape, 2
        )
        values[limb < 1] = -0.1
        muscle = limb < 0.85
        values[muscle] = np.where(noise(dice, shape, 1.6) > 0.35, 0.06, -0.08)[muscle]
        bone = ellipse(shape, (dice.normal(0, 0.05), side * 0.46), (0.3 * size, 0.28 * size))
        values[bone < 1] = 1.0
        values[bone < 0.65] = -0.02
    return values


def mr_like(dice: Dice) -> Gray:
    """Draw a slice as of magnetic resonance: head, joint or trunk, with an uneven field and ghosts."""
    shape = shape_of(dice, (0.8, 1.25), 180)
    kinds: tuple[Callable[[Dice, tuple[int, int]], Field], ...] = (_brain, _joint, _trunk)
    field = kinds[int(dice.integers(3))](dice, shape)
    rows, columns = grid(shape)
    field = field * (1 + dice.uniform(-0.4, 0.4) * rows + dice.uniform(-0.4, 0.4) * columns)
    field = blurred(field, dice.uniform(0, 0.9))
    ghost = np.roll(field, shape[0] // int(dice.integers(2, 5)), axis=0)
    field = field + dice.uniform(0, 0.06) * ghost
    grain = dice.uniform(0.01, 0.06)
    field = np.hypot(field + grain * dice.standard_normal(shape), grain * dice.standard_normal(shape))
    return to_bytes(255 * np.clip(field / np.percentile(field, dice.uniform(97, 99.8)), 0, 1))


def _folded(dice: Dice, shape: tuple[int, int], width: float) -> Field:
    """Return bands like the folds of a cortex: 0 grooves, 1 ridges."""
    return np.asarray(np.abs(noise(dice, shape, 1.4) - 0.5) * 10 / width < 1, np.float64)


def _brain(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw scalp, dark skull, folded brain and ventricles; bright fluid or dark."""
    axes = dice.uniform(0.75, 0.92), dice.uniform(0.62, 0.8)
    inside = ellipse(shape, (0, 0), axes, dice.normal(0, 0.1)) + 0.05 * (noise(dice, shape, 2) - 0.5)
    field = np.where(inside < 1, dice.uniform(0.7, 1.0), 0.0)
    field[inside < 0.93] = 0.08
    fluid, white, gray = (0.15, 0.75, 0.5) if dice.random() < 0.5 else (1.0, 0.35, 0.55)
    brain = inside < 0.86
    folds = _folded(dice, shape, dice.uniform(0.5, 1.2))
    field[brain] = np.where(folds > 0.5, gray, white)[brain]
    field[(inside > 0.8) & brain & (folds > 0.5)] = fluid
    for side in (-1, 1):
        field[ellipse(shape, (dice.normal(0, 0.05), side * 0.1), (0.26, 0.07), side * 0.25) < 1] = fluid
    return field


def _joint(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw two bones with bright marrow and dark edges, muscle and fat around."""
    rows, columns = grid(shape)
    limb = np.abs(columns) / dice.uniform(0.6, 0.95) + 0.15 * (noise(dice, shape, 2) - 0.5)
    field = np.where(limb < 1, dice.uniform(0.6, 0.95), 0.0)
    muscle = limb < 0.85
    field[muscle] = (0.25 + 0.25 * noise(dice, shape, 1.3))[muscle]
    gap, marrow = dice.uniform(0.02, 0.06), dice.uniform(0.6, 0.95)
    for side in (-1, 1):
        wide = 0.3 + 0.22 * np.exp(-(((np.abs(rows) - 0.15) / 0.25) ** 2))
        bone = np.maximum(np.abs(columns - 0.05 * side) / wide, (gap - side * rows) / 0.1 + 1)
        field[bone < 1] = 0.05
        inner = bone < 0.92
        field[inner] = (marrow + 0.1 * (noise(dice, shape, 0.8) - 0.5))[inner]
    field[(np.abs(rows) < gap * 0.7) & (np.abs(columns) < 0.45)] = dice.uniform(0.3, 1.0)
    return field


def _trunk(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw the middle of a trunk from the side: a row of vertebrae, discs, a canal with its cord."""
    rows, columns = grid(shape)
    skew = dice.uniform(-0.25, 0.25)
    bend = columns - skew * np.sin(2 * rows + dice.uniform(0, 3)) - dice.uniform(-0.1, 0.1)
    field = 0.15 + 0.5 * noise(dice, shape, 1.5)
    field[columns > dice.uniform(0.5, 0.7)] = dice.uniform(0.7, 1.0)
    step = dice.uniform(0.2, 0.3)
    level = (rows + dice.uniform(0, 1)) % step / step
    column = np.abs(bend) < dice.uniform(0.12, 0.17)
    field[column] = np.where(level > 0.22, 0.6, dice.uniform(0.1, 0.9))[column]
    field[column & (np.abs(level - 0.22) < 0.06)] = 0.08
    canal = np.abs(bend - 0.24) < 0.06
    field[canal] = np.where(np.abs(bend - 0.24) < 0.025, 0.55, dice.uniform(0.1, 1.0))[canal]
    field[(np.abs(columns) > 0.97) & (dice.random() < 0.5)] = 0.0
    return field


def us_like(dice: Dice) -> Gray:
    """Draw an ultrasound image: a fan or a strip of speckle on black, with layers, cysts and shadows."""
    shape = shape_of(dice, (0.65, 1.0))
    rows, columns = grid(shape)
    depth, across, inside = _beams(dice, rows, columns)
    echo = 0.35 + 0.35 * (noise(dice, shape, 1.5) - 0.3)
    for _ in range(int(dice.integers(0, 5))):
        layer = depth - dice.uniform(0.05, 0.9) - dice.uniform(-0.2, 0.2) * across - 0.03 * np.sin(5 * across)
        echo = echo + dice.uniform(0.2, 0.9) * np.exp(-((layer / dice.uniform(0.01, 0.04)) ** 2))
    for _ in range(int(dice.integers(0, 4))):
        centre = dice.uniform(0.2, 0.8), dice.uniform(-0.7, 0.7)
        cyst = np.hypot(
            (depth - centre[0]) / dice.uniform(0.05, 0.25), (across - centre[1]) / dice.uniform(0.1, 0.4)
        )
        echo = np.where(cyst < 1, dice.uniform(0, 0.1), echo)
        behind = (np.abs(across - centre[1]) < 0.1) & (depth > centre[0])
        echo = echo * np.where(behind, dice.choice([0.3, 1.0, 1.5]), 1)
    speckle = np.hypot(*(blurred(dice.standard_normal(shape), dice.uniform(0.4, 1.5)) for _ in range(2)))
    field = np.clip(echo, 0, None) * speckle / speckle.mean() * np.exp(-dice.uniform(0.2, 1.5) * depth)
    field = np.where(inside, np.clip(field * dice.uniform(0.9, 1.8), 0, 1) ** dice.uniform(0.5, 1), 0)
    return _with_scale(dice, to_bytes(255 * field))


def _beams(dice: Dice, rows: Field, columns: Field) -> tuple[Field, Field, NDArray[np.bool_]]:
    """Return depth (0 to 1), place across (-1 to 1) and what the probe sees: a sector, or a strip."""
    height = -rows.min()
    if dice.random() < 0.3:
        width = dice.uniform(0.6, 0.95)
        depth, across = (rows / height + 0.9) / 1.75, columns / width
    else:
        apex, near = dice.uniform(0.0, 0.5), dice.uniform(0.02, 0.3)
        down = rows / height + 0.92 + apex
        radius, angle = np.hypot(down, columns / height), np.arctan2(columns / height, down)
        depth, across = (radius - apex - near * apex) / 1.75, angle / dice.uniform(0.45, 0.8)
    return depth, across, (depth > 0) & (depth < 1) & (np.abs(across) < 1)


def _with_scale(dice: Dice, gray: Gray) -> Gray:
    """Add what an ultrasound device writes: names, settings, ticks, a bar of grays."""
    picture = Image.fromarray(gray)
    pen, size = ImageDraw.Draw(picture), int(dice.integers(8, 13))
    if dice.random() < 0.8:
        pen.text((4, 2), "CLINIC 7  12-03-2014\nMI 1.1  TIS 0.4", 230, font_size=size)
        pen.text((4, gray.shape[0] // 3), "FR 32Hz\n2D\n58%\nC 50\nP Low", 200, font_size=size)
    if dice.random() < 0.7:
        for y in range(20, gray.shape[0] - 10, int(dice.integers(10, 30))):
            pen.line((gray.shape[1] - 12, y, gray.shape[1] - 6, y), 220)
    if dice.random() < 0.6:
        bar = Image.fromarray(to_bytes(np.tile(np.linspace(255, 0, 80)[:, None], (1, 8))))
        picture.paste(bar, (gray.shape[1] - 26, 20))
    return np.asarray(picture, np.uint8)
