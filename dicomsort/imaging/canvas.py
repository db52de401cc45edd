"""Fit a gray image to the model's canvas."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from dicomsort.errors import UsageError

GrayFloat = NDArray[np.float32]
Canvas = NDArray[np.uint8]

MIN_SIZE, MAX_SIZE = 32, 1024

NOTHING: Canvas = np.zeros((0, 0), np.uint8)
"""The picture of a file of which only the header was asked for."""

SMOOTHING: dict[str, ImageFilter.Filter | None] = {
    "none": None,
    "gaussian": ImageFilter.GaussianBlur(1),
    "median": ImageFilter.MedianFilter(3),
}
"""Filters of the finished canvas: a Gaussian of 1 pixel, or the median of 3 x 3."""

_GAP = 3.0  # whole-pixel averaging leaves at least this factor to the filter
_STRIP_ROWS = 256
_MOST_IN_32_BITS = 181  # squares of this many 16-bit values a side
_MOST_IN_A_FLOAT = 16  # the same, for whole numbers up to 2**24: float32 holds them, and divides as exactly


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a gray image becomes the network's input; stored in the model bundle.

    size: side of the square canvas in pixels. fill: gray value 0..255 of the canvas beside the image. smooth:
    a name in SMOOTHING.
    """

    size: int = 224
    fill: int = 0
    smooth: str = "none"

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or not isinstance(self.fill, int) or not 0 <= self.fill <= 255:
            raise ValueError("canvas size and fill must be whole numbers, fill 0 to 255")
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise ValueError(f"canvas size must be {MIN_SIZE} to {MAX_SIZE} pixels, not {self.size}")
        if self.smooth not in SMOOTHING:
            raise ValueError(f"smoothing '{self.smooth}' is unknown: use {', '.join(SMOOTHING)}")

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)


def canvas_of(size: int, smooth: str) -> Preprocessing:
    """Return the canvas for images. Raises UsageError for an impossible one."""
    try:
        return Preprocessing(size=size, smooth=smooth)
    except ValueError as error:
        raise UsageError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Fitted:
    """A picture without a canvas around it.

    size: pixels of the longer side, which is never enlarged; None for all there are. bits: 8 for a picture as
    a person sees it, 16 for its gray values without a window.
    """

    size: int | None = None
    bits: int = 8


def fitted_shape(rows: int, columns: int, size: int, aspect: float = 1.0) -> tuple[int, int]:
    """Return (height, width) in pixels that fill a square of `size` with the aspect ratio kept.

    aspect: height of a pixel divided by its width (Pixel Aspect Ratio, PS3.3 C.7.6.3.1.7).
    """
    height, width = rows * aspect, float(columns)
    scale = size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


Box = tuple[float, float, float, float]
"""Left, top, right, bottom of the part of an image that counts, in its pixels; fractions are allowed."""


Span = tuple[int, int, int, int]
"""Top, left, bottom, right of a part of an image in whole pixels; bottom and right lie outside of it."""


def shrink(
    image: NDArray[Any], shape: tuple[int, int], box: Box | None = None, bits: int | None = None
) -> GrayFloat:
    """Resize a (rows, columns) image of any number type to `shape`; values keep their unit.

    Shrinking averages over the source area: whole pixels first, a strip at a time so that no float copy of
    the full image is made, then Pillow's Hamming filter; within 0.4 of 255 gray levels of an exact area
    average on radiographs. Growing interpolates. bits: see `lower_bits`.
    """
    if box is None and shape == image.shape:
        return np.ascontiguousarray(lower_bits(image, bits), np.float32)
    image, box = coarsen(image, shape, box, bits)
    grows = shape[0] > box[3] - box[1] or shape[1] > box[2] - box[0]
    filter_ = Image.Resampling.BILINEAR if grows else Image.Resampling.HAMMING
    whole = Image.fromarray(np.ascontiguousarray(image, np.float32))
    return np.asarray(whole.resize((shape[1], shape[0]), filter_, box=box), dtype=np.float32)


def coarsen(
    image: NDArray[Any], shape: tuple[int, int], box: Box | None, bits: int | None = None
) -> tuple[NDArray[Any], Box]:
    """Average whole pixels, so many that `shrink` can still make an image of `shape`, or a smaller one.

    bits: see `lower_bits`. Returns the image, and the part of it that counts.
    """
    box = box or (0.0, 0.0, float(image.shape[1]), float(image.shape[0]))
    image = _with_margin(image, box)
    factor = int(min((box[3] - box[1]) / shape[0], (box[2] - box[0]) / shape[1]) / _GAP)
    if factor <= 1:
        return lower_bits(image, bits), box
    left, top, right, bottom = (edge / factor for edge in box)
    return _average(image, factor, bits), (left, top, right, bottom)


def lower_bits(image: NDArray[Any], bits: int | None) -> NDArray[Any]:
    """Return unsigned values without what they may hold above their lower bits; all as they are if None."""
    if bits is None or bits >= 8 * image.itemsize or int(image.max(initial=0)) >> bits == 0:
        return image
    return np.asarray(np.bitwise_and(image, image.dtype.type((1 << bits) - 1)))


def _with_margin(image: NDArray[Any], box: Box) -> NDArray[Any]:
    """Repeat the right and lower edge if the box reaches over it."""
    right, down = math.ceil(box[2]) - int(image.shape[1]), math.ceil(box[3]) - int(image.shape[0])
    if right <= 0 and down <= 0:
        return image
    return np.pad(image, ((0, max(0, down)), (0, max(0, right))), mode="edge")


def _average(image: NDArray[Any], factor: int, bits: int | None = None) -> GrayFloat:
    """Average squares of `factor` pixels; those at the right and lower edges may be cut."""
    height, width = (
        np.minimum(factor, side - np.arange(0, side, factor), dtype=np.float32) for side in image.shape
    )
    strip = factor * max(1, _STRIP_ROWS // factor)
    means = np.empty((height.size, width.size), np.float32)
    for top in range(0, image.shape[0], strip):
        at = slice(top // factor, (top + strip) // factor)
        pixels = lower_bits(image[top : top + strip], bits)
        np.divide(_sums(pixels, factor, bits), height[at, None] * width, out=means[at])
    return means


def _sums(strip: NDArray[Any], factor: int, bits: int | None) -> NDArray[Any]:
    """Add up squares of `factor` pixels, rows first: those lie side by side, and fit a narrow type.

    The sums are float32 where that holds them exactly, for NumPy divides other numbers as float64.
    """
    kind, whole = _sum_type(strip, factor, bits), len(strip) // factor * factor
    tall = np.add.reduce(strip[:whole].reshape(-1, factor, strip.shape[1]), axis=1, dtype=kind)
    if whole < len(strip):
        tall = np.concatenate([tall, np.add.reduce(strip[whole:], axis=0, dtype=kind, keepdims=True)])
    wide = tall[:, ::factor].astype(kind if kind in (np.float32, np.int64) else np.int32)
    for offset in range(1, factor):
        part = tall[:, offset::factor]
        wide[:, : part.shape[1]] += part
    exact = kind is not np.int64 and factor <= _MOST_IN_A_FLOAT
    return np.asarray(wide, np.float32 if exact else None)


def _sum_type(strip: NDArray[Any], factor: int, bits: int | None) -> Any:
    """Name the narrowest type that holds the sum of `factor` values."""
    if strip.dtype.kind == "f":
        return np.float32
    if strip.itemsize > 2 or factor > _MOST_IN_32_BITS:
        return np.int64
    if strip.dtype.kind == "i":
        greatest = max(int(strip.max()), -int(strip.min()))
        return np.int16 if strip.itemsize == 2 and greatest * factor <= 0x7FFF else np.int32
    most = (1 << min(bits or 16, 8 * strip.itemsize)) - 1
    if strip.itemsize == 1 and most * factor <= 0xFF:
        return np.uint8
    return np.uint16 if most * factor <= 0xFFFF or int(strip.max()) * factor <= 0xFFFF else np.int32


def to_bytes(image: GrayFloat) -> Canvas:
    """Round values 0..255 to uint8; what lies outside becomes black or white."""
    return np.asarray(np.clip(image + 0.5, 0, 255), np.uint8)


def to_words(image: GrayFloat) -> NDArray[np.uint16]:
    """Round values to uint16; what lies outside becomes 0 or 65535."""
    return np.asarray(np.clip(image + 0.5, 0, 65535), np.uint16)


def to_canvas(image: GrayFloat, preprocessing: Preprocessing) -> Canvas:
    """Center an image of values 0..255 on the square canvas.

    image: float32, at most (size, size). Returns uint8 (size, size).
    """
    size = preprocessing.size
    canvas = np.full((size, size), preprocessing.fill, np.uint8)
    top, left = (size - image.shape[0]) // 2, (size - image.shape[1]) // 2
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = to_bytes(image)
    smooth = SMOOTHING[preprocessing.smooth]
    return canvas if smooth is None else np.asarray(Image.fromarray(canvas).filter(smooth))


def fit(image: GrayFloat, preprocessing: Preprocessing) -> Canvas:
    """Shrink a (rows, columns) image of values 0..255 and center it on the canvas: uint8 (size, size)."""
    shape = fitted_shape(image.shape[0], image.shape[1], preprocessing.size)
    return to_canvas(shrink(image, shape), preprocessing)


def fit_alone(image: GrayFloat, fitted: Fitted) -> NDArray[Any]:
    """Shrink a (rows, columns) image of values 0..255 for a picture of its own: uint8, or uint16 to 65535."""
    longest = max(image.shape)
    shape = fitted_shape(image.shape[0], image.shape[1], min(fitted.size or longest, longest))
    small = shrink(image, shape)
    return to_bytes(small) if fitted.bits == 8 else to_words(small * np.float32(257))


def picture_on(canvas: Canvas, fill: int) -> Span:
    """Find the picture on its canvas (rows, columns): all but the edges that are nothing but `fill`.

    Four zeros if there is nothing else.
    """
    other = canvas != fill
    rows, columns = np.flatnonzero(other.any(axis=1)), np.flatnonzero(other.any(axis=0))
    if not rows.size:
        return 0, 0, 0, 0
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
