"""Stored values to grey levels, in the standard's order (PS3.4 N.2): modality, VOI, 0..255, polarity."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.preprocess import Box, GreyFloat, shrink

_PERCENTILES = (0.5, 99.5)
_MARGIN, _LEAST_INNER = 0.005, 0.05  # of the range between percentiles, of the pixels
_LEAST_SEEN, _LEAST_CONTRAST = 0.1, 0.06  # of the image's values, of the window's greys


@dataclass(frozen=True, slots=True)
class LookUpTable:
    """A Modality or VOI LUT (PS3.3 C.11.1, C.11.2): values below `first` map to the first entry."""

    first: int
    table: NDArray[np.uint16]

    def apply(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """Map integers of any shape."""
        index = np.clip(values.astype(np.int64) - self.first, 0, len(self.table) - 1)
        return self.table[index]

    @property
    def top(self) -> int:
        """Greatest output the table's bits can hold; descriptors often claim more bits than are used."""
        return int((1 << int(self.table.max()).bit_length()) - 1)


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window (PS3.3 C.11.2.1.2). function: LINEAR, LINEAR_EXACT or SIGMOID."""

    center: float
    width: float
    function: str = "LINEAR"

    @property
    def usable(self) -> bool:
        """Whether the function allows the width: LINEAR needs at least 1, the others more than 0."""
        finite = bool(np.isfinite(self.center) and np.isfinite(self.width))
        return finite and (self.width >= 1 if self.function == "LINEAR" else self.width > 0)

    def bounds(self) -> tuple[float, float]:
        """Values that become black and white (for SIGMOID: about 12 % and 88 %)."""
        if self.function == "LINEAR":
            low = self.center - 0.5 - (self.width - 1) / 2
            return low, low + max(self.width - 1, 1e-6)
        return self.center - self.width / 2, self.center + self.width / 2

    def apply(self, values: GreyFloat) -> GreyFloat:
        """Map values to 0..255."""
        if self.function == "SIGMOID":
            exponent = np.clip(-4 * (values - self.center) / self.width, -80, 80)
            return np.asarray(255 / (1 + np.exp(exponent)), np.float32)
        return _stretch(values, *self.bounds())


@dataclass(frozen=True, slots=True)
class GreyScale:
    """What a header says about the meaning of its stored values.

    padding: lowest and highest stored value of pixels that are no image. logarithm: values are proportional
    to X-ray intensity and look like a radiograph only as logarithms. sound: False if a table was unusable.
    """

    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: LookUpTable | None = None
    voi_lut: LookUpTable | None = None
    window: Window | None = None
    inverse: bool = False
    padding: tuple[int, int] | None = None
    logarithm: bool = False
    sound: bool = True

    @property
    def has_tables(self) -> bool:
        """Whether values must be looked up one by one, so that only all pixels will do."""
        return self.modality_lut is not None or self.voi_lut is not None


def render(
    stored: NDArray[Any], scale: GreyScale, shape: tuple[int, int], box: Box | None = None
) -> tuple[GreyFloat, bool]:
    """Turn stored values (rows, columns) into a float32 image of `shape` with greys 0..255.

    Averaging commutes with everything linear, so the image is shrunk before the rescale and the window;
    only look-up tables are applied at full size. box: the part of `stored` that counts. Returns the image
    and whether the file's own window or LUT could be used or none was given (False: it was unusable, a
    percentile window took its place). Raises ValueError for a constant image.
    """
    padded = _padded(stored, scale, shape, box)
    values: NDArray[Any] = stored if scale.modality_lut is None else scale.modality_lut.apply(stored)
    if scale.voi_lut is not None:
        grey, honoured = shrink(_present(values, scale, scale.voi_lut), shape, box), True
        _refuse_constant(grey)
    else:
        small = shrink(values, shape, box)
        if scale.modality_lut is None:
            small = small * np.float32(scale.slope) + np.float32(scale.intercept)
        image = small[~padded] if padded is not None else small
        _refuse_constant(image)
        if scale.logarithm:
            small, image = (np.log1p(np.maximum(part - image.min(), 0)) for part in (small, image))
        grey, honoured = _window(small, image, scale.window)
    grey = np.float32(255) - grey if scale.inverse else grey
    if padded is not None:
        grey = np.where(padded, np.float32(0), grey)
    return grey, honoured and scale.sound


def _padded(
    stored: NDArray[Any], scale: GreyScale, shape: tuple[int, int], box: Box | None
) -> NDArray[np.bool_] | None:
    """Find the pixels of the small image that are mostly padding; None if there are none, or nothing else."""
    if scale.padding is None:
        return None
    low, high = scale.padding
    mask = (stored >= low) & (stored <= high)
    if not mask.any():
        return None
    small = shrink(mask, shape, box) > 0.5  # noqa: PLR2004
    return small if small.any() and not small.all() else None


def _present(values: NDArray[Any], scale: GreyScale, voi_lut: LookUpTable) -> GreyFloat:
    if scale.modality_lut is None and (scale.slope, scale.intercept) != (1.0, 0.0):
        values = np.rint(values * scale.slope + scale.intercept)
    return voi_lut.apply(values).astype(np.float32) * np.float32(255 / max(voi_lut.top, 1))


def _window(values: GreyFloat, image: GreyFloat, window: Window | None) -> tuple[GreyFloat, bool]:
    """Apply the window if it shows something of `image`, the values that count; else percentiles."""
    low, high = _bounds(image)
    if window is None:
        return _stretch(values, low, high), True
    if window.usable and _shows(window, low, high):
        return window.apply(values), True
    return _stretch(values, low, high), False


def _shows(window: Window, low: float, high: float) -> bool:
    """Tell whether a window shows an image of values low to high.

    It must neither lie beside them (a window of another image) nor squeeze them into a few greys (a CT
    window on a radiograph).
    """
    black, white = window.bounds()
    seen = min(high, white) - max(low, black)
    return seen >= _LEAST_SEEN * (high - low) and seen >= _LEAST_CONTRAST * (white - black)


def _bounds(image: GreyFloat) -> tuple[float, float]:
    """Return the values to show as black and white: percentiles of what is no border.

    Shutters, collimation and burnt edges all have the lowest or the highest value, so these do not count.
    """
    lowest, highest = float(image.min()), float(image.max())
    low, high = np.percentile(image, _PERCENTILES)
    margin = _MARGIN * float(high - low)
    inner = image[(image > lowest + margin) & (image < highest - margin)]
    if inner.size >= _LEAST_INNER * image.size:
        low, high = np.percentile(inner, _PERCENTILES)
    return (float(low), float(high)) if high > low else (lowest, highest)


def _stretch(values: GreyFloat, low: float, high: float) -> GreyFloat:
    return np.asarray(np.clip((values - low) * (255 / (high - low)), 0, 255), np.float32)


def _refuse_constant(values: NDArray[Any]) -> None:
    if values.min() == values.max():
        raise ValueError("constant image")
