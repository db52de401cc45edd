"""Stored values to gray levels, in the standard's order (PS3.4 N.2): modality, VOI, 0..255, polarity."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.imaging.canvas import Box, GrayFloat, coarsen, fitted_shape, lower_bits, shrink
from dicomsort.outcome import Reason

Mask = NDArray[np.bool_]

_STRIP_ROWS = 256
_WINDOW_SIDE = 160

_EXTREMES, _PERCENTILES = (0.3, 99.7), (0.5, 99.5)
_MARGIN, _LEAST_INNER = 0.02, 0.05  # of the range between the extremes, of the pixels
_IDLE_BITS, _ABSURD = 4, 1e30
_SHARP_BEND = 0.1  # of a table's range
_LEAST_SEEN, _LEAST_CONTRAST = 0.1, 0.06  # of the image's values, of the window's grays


@dataclass(frozen=True, slots=True)
class LookUpTable:
    """A Modality or VOI LUT (PS3.3 C.11.1, C.11.2): values below `first` map to the first entry.

    bits: of an entry, as the descriptor says; they are the range of a VOI LUT's output.
    """

    first: int
    table: NDArray[np.uint16]
    bits: int = 16

    def apply(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """Map whole numbers of any shape."""
        return self.table[np.clip(values.astype(np.int64) - self.first, 0, len(self.table) - 1)]

    @property
    def top(self) -> int:
        """Value of white: the greatest the bits can hold, or the entries, if these use four bits less."""
        used = int(self.table.max()).bit_length()
        return (1 << (self.bits if used <= self.bits < used + _IDLE_BITS else used)) - 1

    @property
    def is_smooth(self) -> bool:
        """Whether a mean of values leads to about the mean of their entries: no bend over 1/32 is sharp."""
        knots = self.table[np.linspace(0, len(self.table) - 1, 33).astype(int)].astype(np.int64)
        return bool(np.abs(np.diff(knots, 2)).max() <= _SHARP_BEND * (self.table.max() - self.table.min()))


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

    def apply(self, values: NDArray[Any]) -> GrayFloat:
        """Map values to 0..255."""
        if self.function == "SIGMOID":
            exponent = np.clip(-4 * (values - self.center) / self.width, -80, 80)
            return np.asarray(255 / (1 + np.exp(exponent)), np.float32)
        return _stretch(values, *self.bounds())


@dataclass(frozen=True, slots=True)
class GrayscaleTransform:
    """What a header says about the meaning of its stored values.

    padding: lowest and highest stored value of pixels that are no image. dark: the stored value of no X-ray
    intensity at all, if values are linear in the intensity and look like a radiograph only as logarithms;
    0, or the highest value if they fall as the intensity grows. sound: False if a table cannot be used.
    remarks: on what was read as meant, or left out.
    """

    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: LookUpTable | None = None
    voi_lut: LookUpTable | None = None
    window: Window | None = None
    inverse: bool = False
    padding: tuple[int, int] | None = None
    zero_exposure: float | None = None
    usable: bool = True
    remarks: tuple[Reason, ...] = ()

    @property
    def tables(self) -> tuple[LookUpTable, ...]:
        """The look-up tables, in their order."""
        return tuple(table for table in (self.modality_lut, self.voi_lut) if table is not None)

    def is_padding(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Return for each stored value whether it is padding."""
        if self.padding is None:
            return np.zeros(stored.shape, np.bool_)
        low, high = self.padding
        return np.asarray(stored == low if low == high else (stored >= low) & (stored <= high))

    @property
    def without_a_table(self) -> "GrayscaleTransform":
        """The same without its last table, and without the window where that counts what a table gives."""
        if self.voi_lut is not None:
            return replace(self, voi_lut=None, usable=False)
        return replace(self, modality_lut=None, window=None, usable=False)

    @property
    def averages(self) -> bool:
        """Whether means may stand for the pixels; a table with sharp bends wants them one by one."""
        return all(table.is_smooth for table in self.tables)


class ConstantImageError(ValueError):
    """All that counts of an image has one value."""


def window_shape(rows: int, columns: int, aspect: float) -> tuple[int, int]:
    """Return the (height, width) at which the window of an image is found, whatever size it is shown at.

    What is border, and which values a percentile leaves out, depends on how many pixels are averaged. The
    longer side is 160, or that of a smaller image.
    """
    longest = max(rows * max(aspect, 1), columns * max(1 / aspect, 1))
    return fitted_shape(rows, columns, min(_WINDOW_SIDE, round(longest)), aspect)


def render(
    stored: NDArray[Any],
    scale: GrayscaleTransform,
    shape: tuple[int, int],
    box: Box | None = None,
    judged: tuple[int, int] | None = None,
    bits: int | None = None,
) -> tuple[GrayFloat, bool]:
    """Turn stored values (rows, columns) into a float image of `shape` with grays 0..255.

    Averaging commutes with everything linear, so the image is shrunk before the rescale and the window;
    only look-up tables are applied at full size. box: the part of `stored` that counts. judged: the shape at
    which the window is found, see `window_shape`; None for `shape`. bits: see `lower_bits`. Returns the image
    and whether the file's own window or LUT could be used or none was given (False: it was unusable, a
    percentile window took its place). Raises ConstantImageError.
    """
    values, part = coarsen(
        _looked_up(stored, scale, bits), max(shape, judged or shape), box, None if scale.tables else bits
    )

    def view(size: tuple[int, int]) -> _View:
        return _View(_rescaled(shrink(values, size, part), scale), _shown(stored, scale, size, box, bits))

    small = view(shape)
    counted = small.counted
    if counted.min() == counted.max() or _is_constant(stored, scale, bits):
        if not scale.tables:
            raise ConstantImageError
        return render(stored, scale.without_a_table, shape, box, judged, bits)
    if scale.voi_lut is not None:
        gray, window_used = small.values * np.float32(255 / max(scale.voi_lut.top, 1)), True
    else:
        gray, window_used = _windowed(small, small if judged in (None, shape) else view(judged), scale)
    gray = np.float32(255) - gray if scale.inverse else gray
    return np.where(small.shown, gray, np.float32(0)), window_used


def gray_values(
    stored: NDArray[Any],
    scale: GrayscaleTransform,
    shape: tuple[int, int],
    limits: tuple[int, int],
    box: Box | None = None,
    bits: int | None = None,
) -> GrayFloat:
    """Shrink stored values (rows, columns) to `shape`, without rescale, table or window: 0 is dark.

    limits: lowest and highest value that can be stored; the lowest becomes 0 or, of an inverse display, the
    highest does. Padding becomes 0. box, bits: see `render`. Raises ConstantImageError.
    """
    values = shrink(stored, shape, box, bits)
    shown = _shown(stored, scale, shape, box, bits)
    counted = values[shown]
    if counted.min() == counted.max() or _is_constant(stored, scale, bits):
        raise ConstantImageError
    low, high = (np.float32(limit) for limit in limits)
    return np.where(shown, high - values if scale.inverse else values - low, np.float32(0))


def _is_constant(stored: NDArray[Any], scale: GrayscaleTransform, bits: int | None) -> bool:
    """Return whether all pixels beside the padding, if there is any, have one value."""
    if scale.padding is None:
        return False
    seen: set[Any] = set()
    for strip in _strips(stored):
        pixels = lower_bits(stored[strip], bits)
        image = pixels[~scale.is_padding(pixels)]
        seen |= {image.min(), image.max()} if image.size else set()
        if len(seen) > 1:
            return False
    return len(seen) == 1


def _strips(image: NDArray[Any]) -> Iterator[slice]:
    """Yield slices of so many rows that the processor keeps them at hand."""
    return (slice(top, top + _STRIP_ROWS) for top in range(0, len(image), _STRIP_ROWS))


@dataclass(frozen=True, slots=True)
class _View:
    """An image at one size: its values, and which of them are no padding, both (height, width)."""

    values: NDArray[Any]
    shown: Mask

    @property
    def counted(self) -> NDArray[Any]:
        """The values that are no padding."""
        return self.values[self.shown]


def _windowed(small: _View, judged: _View, scale: GrayscaleTransform) -> tuple[GrayFloat, bool]:
    """Apply the window that the judged view asks for."""
    if scale.zero_exposure is None:
        return _window(small.values, judged, scale.window, scale.usable)
    attenuate = _attenuation(judged, scale.zero_exposure * scale.slope + scale.intercept)
    logarithms = replace(judged, values=attenuate(judged.values))
    return _window(attenuate(small.values), logarithms, None, scale.usable)


def _rescaled(small: GrayFloat, scale: GrayscaleTransform) -> NDArray[Any]:
    """Apply the rescale, unless a table has taken its place or it leads nowhere."""
    if scale.tables:
        return small
    with np.errstate(over="ignore", invalid="ignore"):
        values = small * np.float64(scale.slope) + scale.intercept
        low, high = values.min(), values.max()
    return values if -_ABSURD < low < high < _ABSURD else small


def _looked_up(stored: NDArray[Any], scale: GrayscaleTransform, bits: int | None) -> NDArray[Any]:
    """Apply the tables to every value that can be, once, then look each pixel up: uint16, or `stored` itself.

    The rescale is left for later unless a VOI LUT expects it.
    """
    if not scale.tables:
        return stored
    if stored.dtype.kind == "f" or stored.dtype.itemsize > 2:
        kind = np.int16 if stored.min() < 0 else np.uint16
        stored = np.rint(stored).clip(np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)
    pattern = np.dtype(f"u{stored.dtype.itemsize}")
    values = lower_bits(np.arange(1 << 8 * pattern.itemsize, dtype=pattern).view(stored.dtype), bits)
    if scale.modality_lut is not None:
        values = scale.modality_lut.apply(values)
    elif scale.voi_lut is not None:
        values = np.rint(values * scale.slope + scale.intercept)
    if scale.voi_lut is not None:
        values = scale.voi_lut.apply(values)
    looked_up = np.empty(stored.shape, values.dtype)
    for strip in _strips(stored):  # NumPy makes 8-byte indices of what it looks up
        np.take(values, stored[strip].view(pattern), out=looked_up[strip], mode="wrap")  # none lies outside
    return looked_up


def _shown(
    stored: NDArray[Any],
    scale: GrayscaleTransform,
    shape: tuple[int, int],
    box: Box | None,
    bits: int | None,
) -> Mask:
    """Find the pixels of the small image that are not mostly padding; all, if that would leave none."""
    if scale.padding is not None:
        padding = np.empty(stored.shape, np.uint8)
        for strip in _strips(stored):
            padding[strip] = scale.is_padding(lower_bits(stored[strip], bits))
        shown = shrink(padding, shape, box, bits=1) <= 0.5 if padding.any() else padding
        if shown.any():
            return np.asarray(shown)
    return np.ones(shape, np.bool_)


def _attenuation(judged: _View, zero_exposure: float) -> Callable[[NDArray[Any]], GrayFloat]:
    """Return what turns values that are linear in X-ray intensity into logarithms, in the same order.

    Half a per cent of the intensity is added, for the noise of a detector in the dark means nothing.
    """
    falls = zero_exposure > np.median(judged.values)

    def intensity(values: NDArray[Any]) -> NDArray[Any]:
        return np.maximum(zero_exposure - values if falls else values - zero_exposure, 0)

    added = max(np.percentile(intensity(judged.counted), _EXTREMES[1]) / 200, 1e-6)

    def attenuate(values: NDArray[Any]) -> GrayFloat:
        logarithm = np.log(intensity(values) + added)
        return np.asarray(-logarithm if falls else logarithm, np.float32)

    return attenuate


def _window(
    values: NDArray[Any], judged: _View, window: Window | None, sound: bool
) -> tuple[GrayFloat, bool]:
    """Apply the window if it shows something of the pixels that are shown; else percentiles."""
    low, high = _bounds(judged)
    if window is None:
        return _stretch(values, low, high), sound
    if window.usable and _shows(window, low, high):
        return window.apply(values), True
    return _stretch(values, low, high), False


def _shows(window: Window, low: float, high: float) -> bool:
    """Return whether a window shows an image of values low to high.

    It must neither lie beside them (a window of another image) nor squeeze them into a few grays (a CT
    window on a radiograph).
    """
    black, white = window.bounds()
    seen = min(high, white) - max(low, black)
    return seen >= _LEAST_SEEN * (high - low) and seen >= _LEAST_CONTRAST * (white - black)


def _bounds(judged: _View) -> tuple[float, float]:
    """Return the values to show as black and white: percentiles of what is no border.

    Shutters, collimation and burnt edges all have about the lowest or the highest value, and the pixels
    beside them are mixtures, so neither count. Every step is by percentiles, never by a single pixel: the
    same image at another resolution, or with the noise of another codec, must get the same window.
    """
    image, values = judged.values, judged.counted
    lowest, highest = np.percentile(values, _EXTREMES)
    margin = _MARGIN * (highest - lowest)
    border = ~judged.shown | (image <= lowest + margin) | (image >= highest - margin)
    inner = image[~_grown(border)]
    counted = inner if inner.size >= _LEAST_INNER * values.size else values
    low, high = (float(value) for value in np.percentile(counted, _PERCENTILES))
    return (low, high) if high > low else (float(values.min()), float(values.max()))


def _grown(mask: Mask) -> Mask:
    """Add the eight neighbors of every pixel of a mask."""
    for _ in range(2):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        mask = grown.T
    return mask


def _stretch(values: NDArray[Any], low: float, high: float) -> GrayFloat:
    return np.asarray(np.clip((values - low) * (255 / (high - low)), 0, 255), np.float32)
