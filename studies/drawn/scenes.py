"""What a camera sees: tissue under a microscope, scenes, surfaces.

Each maker draws one picture from a generator of random numbers: the same seed gives the same picture.
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

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


def slide(dice: Dice) -> Gray:
    """Draw stained tissue under a microscope, from near or as a whole piece on glass."""
    shape = shape_of(dice, (0.6, 1.4))
    tissue = noise(dice, shape, dice.uniform(1.0, 2.0))
    field = 0.62 + 0.25 * (noise(dice, shape, 0.8) - 0.5)
    if dice.random() < 0.35:
        piece = (
            ellipse(shape, (0, 0), (dice.uniform(0.4, 0.9), dice.uniform(0.4, 0.9)), dice.uniform(0, 3))
            + tissue
            - 0.5
        )
        field = np.where(piece < 1, field, 0.94)
        field = np.where((piece < 1) & (tissue > 0.62), 0.9, field)
    picture = Image.fromarray(to_bytes(255 * field))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(dice.integers(0, 7))):
        _gland(dice, pen, shape)
    size = dice.uniform(1.5, 6)
    for _ in range(int(dice.integers(60, 900))):
        x, y = dice.uniform(0, shape[1]), dice.uniform(0, shape[0])
        a, b = size * dice.uniform(0.5, 1.3, 2)
        if picture.getpixel((min(int(x), shape[1] - 1), min(int(y), shape[0] - 1))) != 240:
            pen.ellipse((x - a, y - b, x + a, y + b), int(dice.integers(50, 120)))
    soft = picture.filter(ImageFilter.GaussianBlur(dice.uniform(0.4, 1.2)))
    return to_bytes(np.asarray(soft, np.float64) + dice.uniform(0, 6) * dice.standard_normal(shape))


def _gland(dice: Dice, pen: ImageDraw.ImageDraw, shape: tuple[int, int]) -> None:
    """Draw a gland: a bright middle with nuclei around."""
    x, y, radius = dice.uniform(0, shape[1]), dice.uniform(0, shape[0]), dice.uniform(15, 60)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), 130)
    inner = radius * dice.uniform(0.4, 0.75)
    pen.ellipse((x - inner, y - inner, x + inner, y + inner), 225)
    for angle in np.arange(0, 2 * math.pi, 6 / radius):
        a, b = x + 0.9 * radius * math.cos(angle), y + 0.9 * radius * math.sin(angle)
        pen.ellipse((a - 3, b - 3, a + 3, b + 3), int(dice.integers(50, 100)))


def scene(dice: Dice) -> Gray:
    """Draw what a camera might see: hills, rooms, heaps of things, with light, grain and a little blur."""
    shape = shape_of(dice, (0.6, 1.4))
    kinds: tuple[Callable[[Dice, tuple[int, int]], Field], ...] = (_hills, _room, _things)
    field = kinds[int(dice.integers(3))](dice, shape)
    rows, columns = grid(shape)
    field = blurred(field, dice.uniform(0, 0.8)) * (1 - dice.uniform(0, 0.25) * (rows**2 + columns**2) / 2)
    field = stretched(field) ** dice.uniform(0.6, 1.6) + dice.uniform(0, 0.03) * dice.standard_normal(shape)
    return to_bytes(255 * field)


def _hills(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw a sky with clouds and ridges that become darker as they come nearer."""
    rows = np.linspace(0, 1, shape[0])[:, None]
    field = dice.uniform(0.6, 0.9) + 0.1 * rows + dice.uniform(0, 0.3) * (noise(dice, shape, 1.8) - 0.5)
    if dice.random() < 0.4:
        field = np.where(ellipse(shape, (-0.6, dice.uniform(-0.7, 0.7)), (0.12, 0.12)) < 1, 1.2, field)
    layers = int(dice.integers(2, 6))
    for layer in range(layers):
        ridge = noise(dice, (8, shape[1]), 1.6)[0]
        line = 0.3 + 0.6 * layer / layers + 0.3 * (ridge - ridge.mean())
        ground = 0.6 - 0.5 * layer / layers + 0.25 * (noise(dice, shape, 1.0) - 0.5)
        field = np.where(rows > line, ground, field)
    return field


def _room(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw walls, floor and ceiling towards a far wall, with windows and tiles."""
    picture, pen = empty_sheet(shape)
    height, width = shape
    x, y = dice.uniform(0.3, 0.6) * width, dice.uniform(0.3, 0.6) * height
    far = (x - 0.2 * width, y - 0.2 * height, x + 0.25 * width, y + 0.2 * height)
    corners = ((0, 0), (width, 0), (width, height), (0, height))
    inner = ((far[0], far[1]), (far[2], far[1]), (far[2], far[3]), (far[0], far[3]))
    for at, shade in enumerate(dice.uniform(0.2, 0.9, 4)):
        pen.polygon([corners[at], corners[(at + 1) % 4], inner[(at + 1) % 4], inner[at]], float(shade))
    pen.rectangle(far, float(dice.uniform(0.3, 1)))
    for share in np.linspace(0, 1, int(dice.integers(4, 12))):
        pen.line((share * width, height, far[0] + share * (far[2] - far[0]), far[3]), 0.1)
    for _ in range(int(dice.integers(2, 9))):
        left, top = dice.uniform(0, 0.9) * width, dice.uniform(0, 0.9) * height
        wide, high = dice.uniform(0.05, 0.3, 2) * min(shape)
        pen.rectangle((left, top, left + wide, top + high), float(dice.random()), float(dice.random()))
    return np.asarray(picture, np.float64) + 0.15 * (noise(dice, shape, 1.2) - 0.5)


def _things(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw shaded balls, boxes and rods in a heap."""
    field = 0.3 + 0.4 * noise(dice, shape, 1.5)
    for _ in range(int(dice.integers(5, 40))):
        centre, size = tuple(dice.uniform(-1.2, 1.2, 2)), dice.uniform(0.08, 0.45)
        away = ellipse(shape, (centre[0], centre[1]), (size, size * dice.uniform(0.4, 1)), dice.uniform(0, 3))
        rows, columns = grid(shape)
        light = 0.5 - 0.35 * (rows - centre[0]) / size - 0.25 * (columns - centre[1]) / size
        field = np.where(away < 1, dice.uniform(0.2, 1) * np.clip(light, 0.05, 1), field)
    return field


def texture(dice: Dice) -> Gray:
    """Draw a surface from near: wood, cloth, marble, cells, bricks, relief."""
    shape = shape_of(dice, (0.6, 1.4))
    kinds: tuple[Callable[[Dice, tuple[int, int]], Field], ...] = (
        _wood,
        _cloth,
        _marble,
        _cells,
        _bricks,
        _relief,
    )
    field = stretched(kinds[int(dice.integers(len(kinds)))](dice, shape))
    return to_bytes(
        255 * (dice.uniform(0, 0.3) + field * dice.uniform(0.5, 0.7)) + 4 * dice.standard_normal(shape)
    )


def _wood(dice: Dice, shape: tuple[int, int]) -> Field:
    rows, columns = grid(shape)
    radius = np.hypot(columns + dice.uniform(-1, 1), rows * dice.uniform(0.05, 0.4)) + 0.3 * noise(
        dice, shape, 1.8
    )
    return np.sin(radius * dice.uniform(25, 90)) + 0.4 * noise(dice, shape, 0.6)


def _cloth(dice: Dice, shape: tuple[int, int]) -> Field:
    rows, columns = np.indices(shape) + 3 * noise(dice, shape, 1.8)
    period = dice.uniform(4, 16)
    over = (np.floor(rows / period) + np.floor(columns / period)) % 2
    thread = np.where(over > 0, np.sin(math.pi * rows / period), np.sin(math.pi * columns / period))
    return np.asarray(np.abs(thread) + 0.8 * noise(dice, shape, 1.6))


def _marble(dice: Dice, shape: tuple[int, int]) -> Field:
    rows, columns = grid(shape)
    return np.abs(
        np.sin(6 * (rows * dice.normal() + columns) + dice.uniform(6, 20) * noise(dice, shape, 1.5))
    )


def _cells(dice: Dice, shape: tuple[int, int]) -> Field:
    """Draw cells around scattered points (Voronoi), darker towards their edges."""
    points = dice.uniform(0, 1, (int(dice.integers(20, 140)), 2)) * shape
    rows, columns = np.indices(shape)
    nearest, second = np.full(shape, np.inf), np.full(shape, np.inf)
    for y, x in points:
        away = np.hypot(rows - y, columns - x)
        second = np.minimum(second, np.maximum(nearest, away))
        nearest = np.minimum(nearest, away)
    return np.asarray(np.sqrt(second - nearest) + dice.uniform(0, 2) * noise(dice, shape, 1.0))


def _bricks(dice: Dice, shape: tuple[int, int]) -> Field:
    rows, columns = np.indices(shape)
    high, wide = dice.integers(10, 40), dice.integers(25, 90)
    course = rows // high
    shifted = columns + (course % 2) * wide // 2
    joint = (rows % high < 2) | (shifted % wide < 2)
    shades = dice.uniform(0.4, 0.9, (course.max() + 1, shifted.max() // wide + 1))
    return np.where(joint, 0.2, shades[course, shifted // wide]) + 0.2 * noise(dice, shape, 0.7)


def _relief(dice: Dice, shape: tuple[int, int]) -> Field:
    """Light a rough ground from one side."""
    height = noise(dice, shape, dice.uniform(1.4, 2.2)) * dice.uniform(10, 40)
    down, across = np.gradient(height)
    return np.asarray(np.arctan(down * dice.normal() + across * dice.normal()))
