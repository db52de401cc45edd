"""Fit a grey image to the model's canvas."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GreyFloat = NDArray[np.float32]
Canvas = NDArray[np.uint8]

MIN_SIZE, MAX_SIZE = 32, 1024


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a grey image becomes the network's input; stored in the model bundle.

    size: side of the square canvas in pixels. fill: grey value 0..255 of the canvas beside the image.
    """

    size: int = 224
    fill: int = 0

    def __post_init__(self) -> None:
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise ValueError(f"canvas size must be {MIN_SIZE} to {MAX_SIZE} pixels, not {self.size}")

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)


def fitted_shape(rows: int, columns: int, size: int, aspect: float = 1.0) -> tuple[int, int]:
    """Return (height, width) in pixels that fill a square of `size` with the aspect ratio kept.

    aspect: height of a pixel divided by its width (Pixel Aspect Ratio, PS3.3 C.7.6.3.1.7).
    """
    height, width = rows * aspect, float(columns)
    scale = size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrink(image: GreyFloat, size: int, aspect: float = 1.0) -> GreyFloat:
    """Resize a float32 (rows, columns) image so that it just fits a square of `size`; values keep their unit.

    Shrinking averages over the source area (Pillow's Hamming filter after an integer reduction; within
    0.4 of 255 grey levels of an exact area average on radiographs), growing interpolates.
    """
    height, width = fitted_shape(image.shape[0], image.shape[1], size, aspect)
    if (height, width) == image.shape:
        return image
    grows = height > image.shape[0] or width > image.shape[1]
    filter_ = Image.Resampling.BILINEAR if grows else Image.Resampling.HAMMING
    resized = Image.fromarray(image).resize((width, height), filter_, reducing_gap=3.0)
    return np.asarray(resized, dtype=np.float32)


def to_canvas(image: GreyFloat, preprocessing: Preprocessing) -> Canvas:
    """Centre an image of values 0..255 on the square canvas.

    image: float32, at most (size, size). Returns uint8 (size, size).
    """
    size = preprocessing.size
    canvas = np.full((size, size), preprocessing.fill, np.uint8)
    top, left = (size - image.shape[0]) // 2, (size - image.shape[1]) // 2
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = np.clip(image + 0.5, 0, 255)
    return canvas


def fit(image: GreyFloat, preprocessing: Preprocessing) -> Canvas:
    """Shrink a (rows, columns) image of values 0..255 and centre it on the canvas: uint8 (size, size)."""
    return to_canvas(shrink(image, preprocessing.size), preprocessing)
