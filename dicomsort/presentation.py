"""What a header says about how its stored values are meant to look: VOI, polarity, pixel shape."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from dicomsort.greyscale import GreyScale, LookUpTable, Window
from dicomsort.header import Stop, integer, number, sop_class, term, text
from dicomsort.outcome import Reason, Status
from dicomsort.pixels import Layout

_FOR_PROCESSING = frozenset({"1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.3.1"})
_ANGIOGRAPHY = "1.2.840.10008.5.1.4.1.1.12."
_INVERSE = frozenset({"INVERSE"})
_BT601 = np.array([0.299, 0.587, 0.114])


def grey_scale(dataset: Dataset, layout: Layout, frame: int) -> GreyScale:
    """Collect modality, VOI and polarity of one frame (PS3.3 C.11.1, C.11.2, and C.7.6.16.2 if enhanced).

    Raises Stop for a colour palette that cannot be read.
    """
    groups = [dataset, *_functional_groups(dataset, frame)]
    slope = _first_number(groups, "RescaleSlope") or 1.0
    intercept = _first_number(groups, "RescaleIntercept") or 0.0
    modality = _modality_lut(dataset, layout)
    voi = _voi_lut(dataset, layout, modality.lut is not None, slope, intercept)
    window = _window(groups) if modality.whole else None
    return GreyScale(
        slope=slope,
        intercept=intercept,
        modality_lut=modality.lut,
        voi_lut=voi.lut if modality.whole else None,
        window=window,
        inverse=layout.photometric == "MONOCHROME1" or bool(term(dataset, "PresentationLUTShape", _INVERSE)),
        padding=_padding(dataset, layout),
        dark=_dark(dataset, layout) if window is None and voi.lut is None else None,
        sound=modality.whole and voi.whole,
    )


def pixel_aspect(dataset: Dataset, frame: int) -> float:
    """Return pixel height / width: Pixel Aspect Ratio (PS3.3 C.7.6.3.1.7), else unequal spacing, else 1.

    The spacing of an enhanced object stands in its functional groups.
    """
    groups = [dataset, *_functional_groups(dataset, frame)]
    for keyword in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        for group in groups:
            try:
                vertical, horizontal = (float(value) for value in group.get(keyword) or ())
                ratio = vertical / horizontal
            except (TypeError, ValueError, ArithmeticError):
                continue
            if 0.1 <= ratio <= 10:
                return ratio
    return 1.0


def _functional_groups(dataset: Dataset, frame: int) -> list[Dataset]:
    """Return the items that hold window, rescale and spacing of a frame of an enhanced object."""
    per_frame: Any = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared: Any = dataset.get("SharedFunctionalGroupsSequence") or []
    items = [*per_frame[frame : frame + 1], *shared[:1]]
    keywords = (
        *("FrameVOILUTSequence", "PixelValueTransformationSequence"),
        *("PixelMeasuresSequence", "FramePixelDataPropertiesSequence"),
    )
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


class _Table(NamedTuple):
    """A look-up table, and whether there is none or it could be read."""

    lut: LookUpTable | None
    whole: bool


def _modality_lut(dataset: Dataset, layout: Layout) -> _Table:
    if _is_not_for_display(dataset):
        return _Table(None, True)
    return _table(dataset, "ModalityLUTSequence", layout, layout.signed)


def _voi_lut(dataset: Dataset, layout: Layout, after_table: bool, slope: float, intercept: float) -> _Table:
    """Return the VOI LUT, or the brightness of a colour palette in its place.

    The first value mapped is signed if the values that come in can be (PS3.3 C.11.2.1.1).
    """
    if layout.photometric == "PALETTE COLOR":
        return _Table(_palette_brightness(dataset, layout), True)
    ends = (value * slope + intercept for value in layout.range)
    return _table(dataset, "VOILUTSequence", layout, not after_table and min(ends) < 0)


def _table(dataset: Dataset, keyword: str, layout: Layout, signed: bool) -> _Table:
    items = dataset.get(keyword)
    if not items:
        return _Table(None, True)
    table = _look_up_table(items[0].get("LUTDescriptor"), items[0].get("LUTData"), layout, signed)
    return _Table(table, table is not None)


def _look_up_table(descriptor: Any, data: Any, layout: Layout, signed: bool) -> LookUpTable | None:
    """Read a table (PS3.3 C.11.1.1.1); None if there is none, or less of it than its descriptor says."""
    try:
        entries, first, bits = (int(value) for value in descriptor)
    except (TypeError, ValueError):
        return None
    entries = entries or 1 << 16
    if not isinstance(data, bytes):
        data = np.asarray([] if data is None else data, np.uint16).astype(layout.word).tobytes()
    # 8-bit entries may lie two to a word (PS3.3 C.11.2.1.1)
    table = np.frombuffer(data, np.uint8 if entries <= len(data) <= entries + 1 else layout.word)
    if table.size < entries:
        return None
    first = (first + (1 << 15)) % (1 << 16) - (1 << 15) if signed else first % (1 << 16)
    return LookUpTable(first, table[:entries].astype(np.uint16), bits)


def _palette_brightness(dataset: Dataset, layout: Layout) -> LookUpTable:
    """Turn a colour palette (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6) into one of brightness.

    Raises Stop if a table is missing, too short, or segmented.
    """
    tables = []
    for colour in ("Red", "Green", "Blue"):
        descriptor = dataset.get(f"{colour}PaletteColorLookupTableDescriptor")
        data = dataset.get(f"{colour}PaletteColorLookupTableData")
        table = _look_up_table(descriptor, data, layout, layout.signed)
        if table is None:
            raise Stop(Status.UNSUPPORTED, Reason.PALETTE)
        tables.append(table)
    brightness = np.stack([table.table for table in tables], axis=-1) @ _BT601
    return LookUpTable(tables[0].first, brightness.astype(np.uint16), tables[0].bits)


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

    That is a Pixel Intensity Relationship of LIN in a FOR PROCESSING object (PS3.3 C.8.11.3.1.2); by its
    sign (in the same place) values grow with the intensity, or fall from the highest that the bits can hold.
    """
    raw = sop_class(dataset) in _FOR_PROCESSING
    if not raw or text(dataset, "PixelIntensityRelationship", "CS").upper() != "LIN":
        return None
    falls = integer(dataset, "PixelIntensityRelationshipSign") == -1
    return float(layout.range[1]) if falls else 0.0
