"""Canvases as few bytes, to be kept on disk for a while."""

import zlib
from collections.abc import Sequence

import numpy as np

from dicomsort.imaging.canvas import Canvas, Preprocessing

_LEVEL = 1  # half the size at some hundred canvases a second; more effort saves little of a radiograph


def packed(canvases: Sequence[Canvas]) -> bytes:
    """Return square canvases, uint8 (size, size), as bytes (RFC 1950)."""
    return zlib.compress(b"".join(canvas.tobytes() for canvas in canvases), _LEVEL)


def unpacked(data: bytes, made_for: Sequence[Preprocessing]) -> tuple[Canvas, ...]:
    """Return the canvases again. made_for: of each, in their order. Raises ValueError if they are damaged."""
    try:
        pixels = np.frombuffer(zlib.decompress(data), np.uint8)
    except zlib.error as error:
        raise ValueError("canvases are damaged") from error
    sides = [each.size for each in made_for]
    ends = np.cumsum([side * side for side in sides])
    if len(pixels) != ends[-1]:
        raise ValueError("canvases are of another size")
    parts = np.split(pixels, ends[:-1])
    return tuple(part.reshape(side, side) for part, side in zip(parts, sides, strict=True))
