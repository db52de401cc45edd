"""What all makers of pictures share: types, shapes, noise, distances."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Gray = NDArray[np.uint8]
Field = NDArray[np.float64]
"""Grays 0 to 1: (rows, columns)."""
Dice = np.random.Generator

GREATEST = 384
"""The longer side of a picture, in pixels; a smaller one stays as it is."""


def shape_of(dice: Dice, ratio: tuple[float, float], least: int = 240) -> tuple[int, int]:
    """Draw a shape (rows, columns) whose height is so many times its width."""
    longer, tall = int(dice.integers(least, GREATEST + 1)), dice.uniform(*ratio)
    return (longer, max(8, round(longer / tall))) if tall >= 1 else (max(8, round(longer * tall)), longer)


def to_bytes(gray: NDArray[Any]) -> Gray:
    """Round grays 0 to 255."""
    return np.asarray(np.clip(gray + 0.5, 0, 255), np.uint8)


def stretched(field: Field) -> Field:
    """Let a field reach from 0 to 1."""
    return np.asarray((field - field.min()) / max(float(np.ptp(field)), 1e-9))


def noise(dice: Dice, shape: tuple[int, int], power: float) -> Field:
    """Draw noise whose amplitude falls with frequency to this power (0 white, 1 pink, 2 clouds): 0 to 1."""
    rows, columns = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1]), indexing="ij")
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf if power else 1
    spectrum = np.fft.rfft2(dice.standard_normal(shape)) / np.maximum(frequency, 1 / max(shape)) ** power
    return stretched(np.fft.irfft2(spectrum, shape))


def grid(shape: tuple[int, int]) -> tuple[Field, Field]:
    """Return rows and columns, -1 to 1 along the shorter side and beyond that along the longer."""
    rows, columns = np.indices(shape).astype(float)
    radius = min(shape) / 2
    return (rows - shape[0] / 2) / radius, (columns - shape[1] / 2) / radius


def blurred(field: Field, radius: float) -> Field:
    """Blur by about so many pixels, by shrinking and growing: Pillow's own filter takes bytes only."""
    if radius <= 0.3:
        return field
    picture = Image.fromarray(field.astype(np.float32))
    small = picture.resize(
        (max(2, round(picture.width / (1 + radius))), max(2, round(picture.height / (1 + radius)))),
        Image.Resampling.BOX,
    )
    return np.asarray(small.resize(picture.size, Image.Resampling.BICUBIC), np.float64)


def ellipse(
    shape: tuple[int, int], centre: tuple[float, float], axes: tuple[float, float], turn: float = 0.0
) -> Field:
    """Return the distance from an ellipse's centre, 1 on its edge; coordinates as in `grid`."""
    rows, columns = grid(shape)
    rows, columns = rows - centre[0], columns - centre[1]
    along = rows * math.cos(turn) + columns * math.sin(turn)
    across = columns * math.cos(turn) - rows * math.sin(turn)
    return np.hypot(along / axes[0], across / axes[1])


def empty_sheet(shape: tuple[int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return a float sheet of zeros, and a pen for it."""
    picture = Image.new("F", (shape[1], shape[0]), 0)
    return picture, ImageDraw.Draw(picture)
