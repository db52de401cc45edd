"""What a radiograph should look like: pydicom's own gray-scale at full size, then an exact area average.

Written apart from the program, from the standard and docs/; it imports nothing of dicomsort. Slow and
simple: every pixel is decoded, every value is a float64, the picture is shrunk last.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing
from pydicom.uid import ImplicitVRLittleEndian

Float = NDArray[np.float64]
_LUMA = (0.299, 0.587, 0.114)


def load(path: Path) -> Dataset:
    """Read a file; one without meta group is implicit little endian."""
    dataset = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return dataset


def picture(dataset: Dataset, size: int, frame: Float | None = None) -> Float:
    """Return the picture as gray levels 0..255, (size, size), centred on black.

    frame: the stored values, where pydicom cannot decode them. Raises whatever pydicom raises.
    """
    stored = frame_of(dataset) if frame is None else frame
    values, gray = _modality(dataset, stored)
    shape = shape_of(dataset, size)
    shown = ~_padding(dataset, stored, shape)
    window = _window(dataset)
    sign = _intensity_sign(dataset) if gray is None and window is None else 0
    if sign:
        values = _attenuation(dataset, values, sign)
    judged = shape_of(dataset, min(160, max(shape_of(dataset, 0))))
    judged_values, judged_shown = area_average(values, judged), ~_padding(dataset, stored, judged)
    if gray is None and window is not None and _shows(window, judged_values, judged_shown):
        gray = window_to_gray(values, window)
    if gray is None:
        low, high = _percentile_window(judged_values, judged_shown)
        small = np.clip((area_average(values, shape) - low) / (high - low) * 255, 0, 255)
    else:
        small = area_average(gray, shape)
    inverse = dataset.PhotometricInterpretation == "MONOCHROME1"
    if inverse or dataset.get("PresentationLUTShape") == "INVERSE":
        small = 255 - small
    return _on_canvas(np.where(shown, small, 0), size)


def frame_of(dataset: Dataset) -> Float:
    """Return the stored values (brightness if it is color) of the middle frame, as pydicom decodes them."""
    index = int(dataset.get("NumberOfFrames") or 1) // 2
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    array, _ = decoder.as_array(dataset, index=index)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        array = apply_color_lut(array, dataset)
    if array.ndim == 3:
        return np.asarray(array[..., :3] @ np.array(_LUMA), np.float64)
    return array.astype(np.float64)


def _modality(dataset: Dataset, stored: Float) -> tuple[Float, Float | None]:
    """Apply Modality LUT or rescale, then a VOI LUT if there is one; the latter gives gray levels."""
    angiography = str(dataset.get("SOPClassUID", "")).startswith("1.2.840.10008.5.1.4.1.1.12.")
    back_to_intensity = angiography and dataset.get("PixelIntensityRelationship") in ("LOG", "DISP")
    values = stored
    if dataset.get("ModalityLUTSequence"):
        if not back_to_intensity:  # PS3.3 C.8.7.1.1.2
            values = table_of(dataset.ModalityLUTSequence[0], stored, dataset)
    else:
        values = apply_modality_lut(stored, dataset).astype(np.float64)
    if not dataset.get("VOILUTSequence"):
        return values, None
    item = dataset.VOILUTSequence[0]
    used, said = int(np.max(_entries(item, dataset))).bit_length(), int(item.LUTDescriptor[2])
    top = (1 << (said if used <= said < used + 4 else used)) - 1  # many descriptors say 16 for 12
    return values, apply_voi(np.rint(values).astype(np.int64), dataset).astype(np.float64) / top * 255


def _padding(dataset: Dataset, stored: Float, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Tell the pixels of the small picture that are mostly padding (PS3.3 C.7.5.1.1.2)."""
    if "PixelPaddingValue" not in dataset:
        return np.zeros(shape, np.bool_)
    ends = [dataset.PixelPaddingValue, dataset.get("PixelPaddingRangeLimit", dataset.PixelPaddingValue)]
    return np.asarray(area_average((stored >= min(ends)) & (stored <= max(ends)), shape) > 0.5)


def _intensity_sign(dataset: Dataset) -> int:
    """Return 1 or -1 for FOR PROCESSING values that are linear in X-ray intensity, else 0."""
    for_processing = str(dataset.get("SOPClassUID", "")) in (
        "1.2.840.10008.5.1.4.1.1.1.1.1",
        "1.2.840.10008.5.1.4.1.1.1.3.1",
    )
    linear = dataset.get("PixelIntensityRelationship") == "LIN"
    return (dataset.get("PixelIntensityRelationshipSign") or 1) if for_processing and linear else 0


def _attenuation(dataset: Dataset, values: Float, sign: int) -> Float:
    """Return the logarithm of the intensity, of which half a per cent is added.

    Sign 1: no X-ray is 0. Sign -1: no X-ray is the highest value that the (unsigned) bits hold.
    """
    intensity = values if sign > 0 else (1 << dataset.BitsStored) - 1 - values
    return np.asarray(sign * np.log(intensity + np.percentile(intensity, 99.7) / 200))


def table_of(item: Dataset, stored: Float, dataset: Dataset) -> Float:
    """Look up in a table; pydicom refuses the ones whose entries have 12 bits."""
    entries, first, _ = item.LUTDescriptor
    data = _entries(item, dataset)
    return np.asarray(data[np.clip(stored - first, 0, (entries or 65536) - 1).astype(int)], np.float64)


def _entries(item: Dataset, dataset: Dataset) -> NDArray[Any]:
    data, word = item.LUTData, "<u2" if dataset.original_encoding[1] else ">u2"
    return np.frombuffer(data, word) if isinstance(data, bytes) else np.array(data)


def shape_of(dataset: Dataset, size: int) -> tuple[int, int]:
    """Return (height, width): the longer side `size` (0: as many pixels as there are), pixels square."""
    pairs = [dataset.get(name) for name in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing")]
    pixel = next((pair for pair in pairs if isinstance(pair, MultiValue) and all(pair)), (1, 1))
    height, width = dataset.Rows * float(pixel[0]) / float(pixel[1]), float(dataset.Columns)
    longest = max(height, width)
    if not size:
        return round(max(height, dataset.Rows)), round(max(width, dataset.Columns / height * dataset.Rows))
    return round(height / longest * size), round(width / longest * size)


def area_average(values: NDArray[Any], shape: tuple[int, int]) -> Float:
    """Average the exact source area of each pixel; a side that grows is interpolated."""
    return np.asarray(_weights(values.shape[0], shape[0]) @ values @ _weights(values.shape[1], shape[1]).T)


def _weights(source: int, target: int) -> Float:
    """Return (target, source) weights: the share of each source pixel in a target pixel; rows sum to 1."""
    if target > source:
        centres = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        distance = np.abs(centres[:, None] - np.arange(source)[None])
        return np.asarray(np.clip(1 - distance, 0, None))
    edges = np.arange(target + 1) * source / target
    first, last = edges[:-1, None], edges[1:, None]
    left, right = np.arange(source)[None], np.arange(1, source + 1)[None]
    overlap = np.clip(np.minimum(last, right) - np.maximum(first, left), 0, None)
    return np.asarray(overlap / overlap.sum(axis=1, keepdims=True))


def _window(dataset: Dataset) -> Dataset | None:
    """Return what holds the window of the frame: the data set, or a functional group if it is enhanced."""
    index = int(dataset.get("NumberOfFrames") or 1) // 2
    holders: list[Any] = [dataset]
    for sequence, item in (
        ("PerFrameFunctionalGroupsSequence", index),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        groups = dataset.get(sequence)
        if groups and len(groups) > item and "FrameVOILUTSequence" in groups[item]:
            holders.append(groups[item].FrameVOILUTSequence[0])
    return next((holder for holder in holders if _first(holder, "WindowWidth") is not None), None)


def _first(dataset: Dataset, keyword: str) -> float | None:
    value = dataset.get(keyword)
    if isinstance(value, MultiValue):
        value = value[0]
    return None if value in (None, "") else float(value)


def window_to_gray(values: Float, holder: Dataset) -> Float:
    """Let pydicom apply the window, and stretch what it says is black and white to 0 and 255."""
    plain = Dataset()
    plain.PhotometricInterpretation, plain.BitsStored, plain.PixelRepresentation = "MONOCHROME2", 16, 0
    plain.WindowCenter, plain.WindowWidth = _first(holder, "WindowCenter"), _first(holder, "WindowWidth")
    if "VOILUTFunction" in holder:
        plain.VOILUTFunction = holder.VOILUTFunction
    return np.asarray(apply_windowing(values, plain), np.float64) / 65535 * 255


def _shows(holder: Dataset, small: Float, shown: NDArray[np.bool_]) -> bool:
    """Tell a window that shows the image; docs/explanation/reading-dicom.md says when it does not."""
    center, width = _first(holder, "WindowCenter"), _first(holder, "WindowWidth")
    if center is None or width is None or width <= 0:
        return False
    linear = holder.get("VOILUTFunction", "LINEAR") == "LINEAR"
    if linear and width < 1:
        return False
    black = center - 0.5 - (width - 1) / 2 if linear else center - width / 2
    white = black + max(width - 1, 1e-6) if linear else center + width / 2
    low, high = _percentile_window(small, shown)
    common = min(high, white) - max(low, black)
    return common >= 0.1 * (high - low) and common >= 0.06 * (white - black)


def _percentile_window(small: Float, shown: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the 0.5th and 99.5th percentile of the pixels whose neighbours are no border either.

    A border is padding, or what lies not at least 2 % inside the 0.3th and 99.7th percentile of the rest.
    """
    lowest, highest = np.percentile(small[shown], [0.3, 99.7])
    away = 0.02 * (highest - lowest)
    inside = shown & (small > lowest + away) & (small < highest - away)
    within = np.pad(inside, 1, constant_values=True)
    around = np.lib.stride_tricks.sliding_window_view(within, (3, 3))
    inner = small[around.all(axis=(2, 3))]
    if inner.size < 0.05 * shown.sum():
        inner = small[shown]
    low, high = np.percentile(inner, [0.5, 99.5])
    return float(low), float(high)


def _on_canvas(small: Float, size: int) -> Float:
    canvas = np.zeros((size, size))
    top, left = (size - small.shape[0]) // 2, (size - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas
