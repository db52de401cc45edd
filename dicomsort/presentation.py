"""What a header says about how its stored values are meant to look: VOI, polarity, pixel shape."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from dicomsort.greyscale import GreyScale, LookUpTable, Window
from dicomsort.header import integer, number, sop_class, text
from dicomsort.pixels import Layout

_FOR_PROCESSING = frozenset({"1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.3.1"})
_ANGIOGRAPHY = "1.2.840.10008.5.1.4.1.1.12."
_BT601 = np.array([0.299, 0.587, 0.114])


def grey_scale(dataset: Dataset, layout: Layout, frame: int) -> GreyScale:
    """Collect modality, VOI and polarity of one frame (PS3.3 C.11.1, C.11.2, and C.7.6.16.2 if enhanced)."""
    groups = [dataset, *_functional_groups(dataset, frame)]
    slope, intercept = (_first_number(groups, keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    modality_lut, modality_whole = _table(dataset, "ModalityLUTSequence", layout)
    voi_lut, voi_whole = _table(dataset, "VOILUTSequence", layout)
    if layout.photometric == "PALETTE COLOR":
        voi_lut = _palette_brightness(dataset, layout)
    window = _window(groups)
    shape = text(dataset, "PresentationLUTShape", "CS").upper()
    return GreyScale(
        slope=slope or 1.0,
        intercept=intercept or 0.0,
        modality_lut=None if _is_not_for_display(dataset) else modality_lut,
        voi_lut=voi_lut,
        window=window,
        inverse=layout.photometric == "MONOCHROME1" or shape == "INVERSE",
        padding=_padding(dataset, layout),
        dark=_dark(dataset, layout) if window is None and voi_lut is None else None,
        sound=modality_whole and voi_whole,
    )


def pixel_aspect(dataset: Dataset) -> float:
    """Return pixel height / width: Pixel Aspect Ratio (PS3.3 C.7.6.3.1.7), else unequal spacing, else 1."""
    for keyword in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing"):
        try:
            vertical, horizontal = (float(value) for value in dataset.get(keyword) or ())
            ratio = vertical / horizontal
        except (TypeError, ValueError, ArithmeticError):
            continue
        if 0.1 <= ratio <= 10:
            return ratio
    return 1.0


def _functional_groups(dataset: Dataset, frame: int) -> list[Dataset]:
    """Return the items that hold window and rescale of a frame of an enhanced multi-frame object."""
    per_frame: Any = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared: Any = dataset.get("SharedFunctionalGroupsSequence") or []
    items = [*per_frame[frame : frame + 1], *shared[:1]]
    keywords = ("FrameVOILUTSequence", "PixelValueTransformationSequence")
    return [inner for item in items for keyword in keywords for inner in (item.get(keyword) or [])[:1]]


def _first_number(groups: Sequence[Dataset], keyword: str) -> float | None:
    return next((value for group in groups if (value := number(group, keyword)) is not None), None)


def _window(groups: Sequence[Dataset]) -> Window | None:
    for group in groups:
        center, width = number(group, "WindowCenter"), number(group, "WindowWidth")
        if center is not None and width is not None:
            function = text(group, "VOILUTFunction", "CS").upper()
            return Window(center, width, function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR")
    return None


def _table(dataset: Dataset, keyword: str, layout: Layout) -> tuple[LookUpTable | None, bool]:
    """Return the first item's table, if there is a whole one, and whether there is none or it is whole."""
    items = dataset.get(keyword)
    if not items:
        return None, True
    if "LUTDescriptor" not in items[0] or "LUTData" not in items[0]:
        return None, False
    table = _look_up_table(items[0].LUTDescriptor, items[0].LUTData, layout)
    return table, table is not None


def _look_up_table(descriptor: Sequence[int], data: Any, layout: Layout) -> LookUpTable | None:
    entries, first = (int(value) for value in descriptor[:2])
    entries = entries or 1 << 16
    if isinstance(data, bytes):  # 8-bit entries may lie two to a word (PS3.3 C.11.2.1.1)
        table = np.frombuffer(data, np.uint8 if entries <= len(data) <= entries + 1 else layout.word)
    else:
        table = np.asarray(data)
    if table.size < entries:
        return None
    if layout.signed and first >= 1 << 15:
        first -= 1 << 16
    return LookUpTable(first, table[:entries].astype(np.uint16))


def _palette_brightness(dataset: Dataset, layout: Layout) -> LookUpTable | None:
    """Turn a colour palette (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6) into one of brightness."""
    tables = []
    for colour in ("Red", "Green", "Blue"):
        descriptor = dataset.get(f"{colour}PaletteColorLookupTableDescriptor")
        data = dataset.get(f"{colour}PaletteColorLookupTableData")
        table = _look_up_table(descriptor, data, layout) if descriptor and data else None
        if table is None:
            return None
        tables.append(table)
    brightness = np.stack([table.table for table in tables], axis=-1) @ _BT601
    return LookUpTable(tables[0].first, brightness.astype(np.uint16))


def _padding(dataset: Dataset, layout: Layout) -> tuple[int, int] | None:
    """Return the lowest and highest stored value of pixels that are none (PS3.3 C.7.5.1.1.2)."""
    value = integer(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = integer(dataset, "PixelPaddingRangeLimit")
    limit = value if limit is None else limit
    low, high = min(value, limit), max(value, limit)
    if layout.signed and low >= 1 << 15:
        low, high = low - (1 << 16), high - (1 << 16)
    return low, high


def _is_not_for_display(dataset: Dataset) -> bool:
    """Tell an angiography's Modality LUT that leads back to X-ray intensity (PS3.3 C.8.7.1.1.2)."""
    relationship = text(dataset, "PixelIntensityRelationship", "CS").upper()
    return sop_class(dataset).startswith(_ANGIOGRAPHY) and relationship in ("LOG", "DISP")


def _dark(dataset: Dataset, layout: Layout) -> float | None:
    """Return the stored value of no X-ray, for detector values that nobody has prepared for viewing.

    That is a Pixel Intensity Relationship of LIN in a FOR PROCESSING object (PS3.3 C.8.11.3.1.1); by its
    sign (C.8.11.3.1.2) values grow with the intensity, or fall from the highest that the bits can hold.
    """
    raw = sop_class(dataset) in _FOR_PROCESSING
    if not raw or text(dataset, "PixelIntensityRelationship", "CS").upper() != "LIN":
        return None
    falls = integer(dataset, "PixelIntensityRelationshipSign") == -1
    return float((1 << layout.bits_stored - layout.signed) - 1) if falls else 0.0
