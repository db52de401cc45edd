"""What a header says about how its stored values are meant to look: VOI, polarity, pixel shape."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from dicomsort.dicom.header import Numbers, Rejected, numbers, sop_class, term, text
from dicomsort.dicom.pixel_data import ImagePixelDescription
from dicomsort.imaging.grayscale import GrayscaleTransform, LookUpTable, Window
from dicomsort.outcome import Reason, Status

_FOR_PROCESSING = frozenset({"1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.3.1"})
_ANGIOGRAPHY = "1.2.840.10008.5.1.4.1.1.12."
_SHAPES = frozenset({"IDENTITY", "INVERSE"})
_GDCM = "1.2.826.0.1.3680043.2.1143."
_BT601 = np.array([0.299, 0.587, 0.114])


def grayscale_transform(dataset: Dataset, layout: ImagePixelDescription, frame: int) -> GrayscaleTransform:
    """Collect modality, VOI and polarity of one frame (PS3.3 C.11.1, C.11.2, and C.7.6.16.2 if enhanced).

    Raises Rejected for a color palette that cannot be read.
    """
    groups = [dataset, *_functional_groups(dataset, frame)]
    slope, intercept = _first(groups, "RescaleSlope"), _first(groups, "RescaleIntercept")
    factor, added = slope.first or 1.0, intercept.first or 0.0
    modality = _modality_lut(dataset, layout)
    voi = _voi_lut(dataset, layout, modality.lut is not None, factor, added)
    window = _window(groups) if modality.whole else _NO_WINDOW
    sound = modality.whole and voi.whole
    padding, inverse = _padding(dataset, layout), _inverse(dataset, layout)
    processing = window.window is None and voi.lut is None
    zero_exposure = _dark(dataset, layout) if processing else _Dark()
    turned = slope.unreadable and modality.lut is None  # a table stands in place of the rescale
    doubts = [Reason.POLARITY] * (turned or zero_exposure.in_doubt)
    return GrayscaleTransform(
        slope=factor,
        intercept=added,
        modality_lut=modality.lut,
        voi_lut=voi.lut if modality.whole else None,
        window=window.window,
        inverse=inverse.inverse,
        padding=padding.values,
        zero_exposure=zero_exposure.value,
        usable=sound,
        remarks=(
            *(*slope.remarks, *intercept.remarks, *window.remarks, *padding.remarks, *inverse.remarks),
            *(*[Reason.TABLE_UNREADABLE] * (not sound), *doubts),
        ),
    )


class Aspect(NamedTuple):
    """Pixel height / width, and remarks on how it was read."""

    ratio: float = 1.0
    remarks: tuple[Reason, ...] = ()


def pixel_aspect(dataset: Dataset, frame: int) -> Aspect:
    """Return pixel height / width: Pixel Aspect Ratio (PS3.3 C.7.6.3.1.7), else unequal spacing, else 1.

    The spacing of an enhanced object stands in its functional groups.
    """
    groups = [dataset, *_functional_groups(dataset, frame)]
    remarks: list[Reason] = []
    for keyword in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        for group in groups:
            found = numbers(group, keyword)
            remarks += found.remarks
            ratio = _ratio(found.values)
            if 0.1 <= ratio <= 10:
                return Aspect(ratio, tuple(remarks))
    return Aspect(1.0, tuple(remarks))


def _ratio(values: Sequence[float | None]) -> float:
    if len(values) != 2 or values[0] is None or not values[1]:
        return 0.0
    return values[0] / values[1]


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


def _first(groups: Sequence[Dataset], keyword: str) -> Numbers:
    """Return the values of the first group that holds any which can be read, else what cannot be read."""
    found = [numbers(group, keyword) for group in groups]
    readable = (each for each in found if each.first is not None)
    return next(readable, next((each for each in found if each.unreadable), Numbers()))


class _Voi(NamedTuple):
    """The window that counts, and remarks on how its numbers were read."""

    window: Window | None = None
    remarks: tuple[Reason, ...] = ()


_NO_WINDOW = _Voi()


def _window(groups: Sequence[Dataset]) -> _Voi:
    """Return the first window of the first group with any; an impossible one only if all are such."""
    remarks: list[Reason] = []
    for group in groups:
        centers, widths = numbers(group, "WindowCenter"), numbers(group, "WindowWidth")
        remarks += [*centers.remarks, *widths.remarks]
        function = text(group, "VOILUTFunction", "CS").upper()
        function = function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR"
        windows = [
            Window(center, width, function)
            for center, width in zip(centers.values, widths.values, strict=False)
            if center is not None and width is not None
        ]
        if windows:
            usable = (window for window in windows if window.usable)
            return _Voi(next(usable, windows[0]), tuple(remarks))
    return _Voi(None, tuple(remarks))


class _Polarity(NamedTuple):
    """Whether low values are white, and remarks on how sure that is."""

    inverse: bool
    remarks: tuple[Reason, ...] = ()


def _inverse(dataset: Dataset, layout: ImagePixelDescription) -> _Polarity:
    """Return which end is white: by Photometric Interpretation, else by Presentation LUT Shape.

    The standard allows INVERSE with MONOCHROME1 and IDENTITY with MONOCHROME2 only (PS3.3 C.8.11.3.1.2). Of
    another pair the former decides: ITK with GDCM turns values and interpretation of an image but keeps the
    shape. What another program meant by it a person must see.
    """
    shape = term(dataset, "PresentationLUTShape", _SHAPES)
    if layout.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return _Polarity(shape == "INVERSE" and not layout.photometric)
    inverse = layout.photometric == "MONOCHROME1"
    if not shape or inverse == (shape == "INVERSE"):
        return _Polarity(inverse)
    doubts = () if _is_by_gdcm(dataset) else (Reason.POLARITY,)
    return _Polarity(inverse, (Reason.SHAPE_IGNORED, *doubts))


def _is_by_gdcm(dataset: Dataset) -> bool:
    """Return whether GDCM wrote the file, by its root of Implementation Class UIDs."""
    return str(getattr(dataset.file_meta, "ImplementationClassUID", "")).startswith(_GDCM)


class _Table(NamedTuple):
    """A look-up table, and whether there is none or it could be read."""

    lut: LookUpTable | None
    whole: bool


def _modality_lut(dataset: Dataset, layout: ImagePixelDescription) -> _Table:
    if _is_not_for_display(dataset):
        return _Table(None, True)
    return _table(dataset, "ModalityLUTSequence", layout, layout.signed)


def _voi_lut(
    dataset: Dataset, layout: ImagePixelDescription, after_table: bool, slope: float, intercept: float
) -> _Table:
    """Return the VOI LUT, or the brightness of a color palette in its place.

    The first value mapped is signed if the values that come in can be (PS3.3 C.11.2.1.1).
    """
    if layout.photometric == "PALETTE COLOR":
        return _Table(_palette_brightness(dataset, layout), True)
    ends = (value * slope + intercept for value in layout.range)
    return _table(dataset, "VOILUTSequence", layout, not after_table and min(ends) < 0)


def _table(dataset: Dataset, keyword: str, layout: ImagePixelDescription, signed: bool) -> _Table:
    """Return the first table of a sequence that can be read."""
    try:
        items = list(dataset.get(keyword) or [])
    except Exception:  # noqa: BLE001  (pydicom raises nearly everything there is)
        return _Table(None, False)
    tables = (_look_up_table(item, "LUTDescriptor", "LUTData", layout, signed) for item in items)
    table = next((table for table in tables if table is not None), None)
    return _Table(table, table is not None or not items)


def _look_up_table(
    item: Dataset, descriptor: str, data: str, layout: ImagePixelDescription, signed: bool
) -> LookUpTable | None:
    """Read a table (PS3.3 C.11.1.1.1); None if there is none, or less of it than its descriptor says.

    Entries are unsigned, whatever VR they are written with, and so is their number.
    """
    try:
        said, stored = item[descriptor].value, item[data].value
        said = np.frombuffer(said, layout.word) if isinstance(said, bytes) else said
        entries, first, bits = (int(value) for value in said)
        words = stored if isinstance(stored, bytes) else _as_words(stored, layout)
    except Exception:  # noqa: BLE001  (pydicom raises nearly everything there is)
        return None
    entries = entries % (1 << 16) or 1 << 16
    # 8-bit entries may lie two to a word (PS3.3 C.11.2.1.1); half of deeper ones is what a cut has left
    packed = bits <= 8 and entries <= len(words) <= entries + 1
    kind = np.dtype(np.uint8 if packed else layout.word)
    if packed and layout.word == ">u2" and item[data].VR not in ("OB", "UN"):
        words = np.frombuffer(words, ">u2").astype("<u2").tobytes()  # the first lies in the lower half
    table = np.frombuffer(words, kind, count=len(words) // kind.itemsize)
    if table.size < entries:
        return None
    first = (first + (1 << 15)) % (1 << 16) - (1 << 15) if signed else first % (1 << 16)
    return LookUpTable(first, table[:entries].astype(np.uint16), bits)


def _as_words(values: Any, layout: ImagePixelDescription) -> bytes:
    """Return numbers as the 16-bit words that they were read from."""
    return (np.atleast_1d(values).astype(np.int64) & 0xFFFF).astype(layout.word).tobytes()


def _palette_brightness(dataset: Dataset, layout: ImagePixelDescription) -> LookUpTable:
    """Turn a color palette (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6) into one of brightness.

    Raises Rejected if a table is missing, too short, or segmented.
    """
    tables = []
    for color in ("Red", "Green", "Blue"):
        name = f"{color}PaletteColorLookupTable"
        table = _look_up_table(dataset, f"{name}Descriptor", f"{name}Data", layout, layout.signed)
        if table is None:
            raise Rejected(Status.UNSUPPORTED, Reason.PALETTE)
        tables.append(table)
    if len({len(table.table) for table in tables}) > 1:
        raise Rejected(Status.UNSUPPORTED, Reason.PALETTE)
    brightness = np.stack([table.table for table in tables], axis=-1) @ _BT601
    return LookUpTable(tables[0].first, brightness.astype(np.uint16), tables[0].bits)


class _Padding(NamedTuple):
    """Lowest and highest stored value of pixels that are none, and remarks on how they were read."""

    values: tuple[int, int] | None = None
    remarks: tuple[Reason, ...] = ()


def _padding(dataset: Dataset, layout: ImagePixelDescription) -> _Padding:
    """Return the values that are no image (PS3.3 C.7.5.1.1.2).

    Many are written with the VR of the other sign, or as the bits that are stored.
    """
    value, limit = numbers(dataset, "PixelPaddingValue"), numbers(dataset, "PixelPaddingRangeLimit")
    remarks = [*value.remarks, *limit.remarks]
    if value.first is None:
        return _Padding(None, tuple(remarks))
    said = [int(value.first), int(value.first if limit.first is None else limit.first)]
    meant = [_in_range(end, layout) for end in said]
    remarks += [Reason.PADDING_MEANT] * (meant != said)
    return _Padding((min(meant), max(meant)), tuple(remarks))


def _in_range(value: int, layout: ImagePixelDescription) -> int:
    """Return the stored value that has the same bits, if there is one in the pixels' range.

    Words of all ones lose those above the stored bits, as pixels do.
    """
    low, high = layout.range
    turns = (1 << 16, -(1 << 16), 1 << layout.bits_stored, -(1 << layout.bits_stored))
    meant = next((value + turn for turn in (0, *turns) if low <= value + turn <= high), value)
    return high if meant == 0xFFFF and not layout.signed else meant


def _is_not_for_display(dataset: Dataset) -> bool:
    """Return whether the Modality LUT of an angiography leads back to X-ray intensity (PS3.3 C.8.7.1.1.2)."""
    relationship = text(dataset, "PixelIntensityRelationship", "CS").upper()
    return sop_class(dataset).startswith(_ANGIOGRAPHY) and relationship in ("LOG", "DISP")


class _Dark(NamedTuple):
    """The stored value of no X-ray, and whether the sign that decides about it cannot be read."""

    value: float | None = None
    in_doubt: bool = False


def _dark(dataset: Dataset, layout: ImagePixelDescription) -> _Dark:
    """Return the stored value of no X-ray, for detector values that have not been prepared for viewing.

    That is a Pixel Intensity Relationship of LIN in a FOR PROCESSING object (PS3.3 C.8.11.3.1.2); by its
    sign (in the same place) values grow with the intensity, or fall from the highest that the bits can hold.
    """
    raw = sop_class(dataset) in _FOR_PROCESSING
    if not raw or text(dataset, "PixelIntensityRelationship", "CS").upper() != "LIN":
        return _Dark()
    sign = numbers(dataset, "PixelIntensityRelationshipSign")
    return _Dark(float(layout.range[1]) if sign.first == -1 else 0.0, sign.unreadable)
