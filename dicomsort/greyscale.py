"""Stored values to grey levels, in the standard's order (PS3.4 N.2): modality, VOI, 0..255, polarity."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.preprocess import GreyFloat, shrink

_PERCENTILES = (0.5, 99.5)


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
    """What a header says about the meaning of its stored values."""

    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: LookUpTable | None = None
    voi_lut: LookUpTable | None = None
    window: Window | None = None
    inverse: bool = False


def render(stored: NDArray[Any], scale: GreyScale, size: int, aspect: float = 1.0) -> tuple[GreyFloat, bool]:
    """Turn stored values (rows, columns) into a float32 image of greys 0..255 that fits a square of `size`.

    Averaging commutes with everything linear, so the image is shrunk before the rescale and the window;
    only look-up tables are applied at full size. Returns the image and whether the file's own window or
    LUT could be used or none was given (False: it was unusable, a percentile window took its place).
    Raises ValueError for a constant image.
    """
    values: NDArray[Any] = stored
    if scale.modality_lut is not None:
        values = scale.modality_lut.apply(values)
    if scale.voi_lut is not None:
        return _render_voi_lut(values, scale, scale.voi_lut, size, aspect), True
    small = shrink(np.ascontiguousarray(values, dtype=np.float32), size, aspect)
    if scale.modality_lut is None:
        small = small * np.float32(scale.slope) + np.float32(scale.intercept)
    _refuse_constant(small)
    grey, honoured = _window(small, scale.window)
    return _polarity(grey, scale), honoured


def _render_voi_lut(
    values: NDArray[Any], scale: GreyScale, voi_lut: LookUpTable, size: int, aspect: float
) -> GreyFloat:
    if scale.modality_lut is None and (scale.slope, scale.intercept) != (1.0, 0.0):
        values = np.rint(values * scale.slope + scale.intercept)
    presented = voi_lut.apply(values).astype(np.float32) * np.float32(255 / max(voi_lut.top, 1))
    _refuse_constant(presented)
    return _polarity(shrink(presented, size, aspect), scale)


def _window(values: GreyFloat, window: Window | None) -> tuple[GreyFloat, bool]:
    if window is None:
        return _percentile_window(values), True
    low, high = window.bounds() if window.usable else (np.inf, -np.inf)
    if high <= values.min() or low >= values.max():
        return _percentile_window(values), False
    return window.apply(values), True


def _percentile_window(values: GreyFloat) -> GreyFloat:
    low, high = np.percentile(values, _PERCENTILES)
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return _stretch(values, low, high)


def _stretch(values: GreyFloat, low: float, high: float) -> GreyFloat:
    return np.asarray(np.clip((values - low) * (255 / (high - low)), 0, 255), np.float32)


def _polarity(grey: GreyFloat, scale: GreyScale) -> GreyFloat:
    return np.float32(255) - grey if scale.inverse else grey


def _refuse_constant(values: NDArray[Any]) -> None:
    if values.min() == values.max():
        raise ValueError("constant image")
