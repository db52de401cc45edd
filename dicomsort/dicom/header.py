"""The header of one open DICOM file: is it DICOM, what does it say, and nothing that names a person."""

import math
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, BinaryIO, NamedTuple

import pydicom
from pydicom import config as pydicom_config
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from dicomsort.dicom.deflate import Inflated
from dicomsort.dicom.sop_classes import KNOWN_MODALITIES
from dicomsort.outcome import Header, Reason, Status

_TEXTS = {
    "sop_instance_uid": ("SOPInstanceUID", "UI"),
    "study_instance_uid": ("StudyInstanceUID", "UI"),
    "series_instance_uid": ("SeriesInstanceUID", "UI"),
    "modality": ("Modality", "CS"),
    "body_part_examined": ("BodyPartExamined", "CS"),
    "view_position": ("ViewPosition", "CS"),
    "photometric_interpretation": ("PhotometricInterpretation", "CS"),
}
_NEEDED = [
    *(keyword for keyword, _ in _TEXTS.values()),
    "SOPClassUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelAspectRatio",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape",
    "ExtendedOffsetTable",
    "PatientAge", "PatientBirthDate", "StudyDate", "AcquisitionDate", "ContentDate",
    "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    *(f"{color}PaletteColorLookupTable{part}"
      for color in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")),
]  # fmt: skip
_NEEDED_TAGS: list[Any] = [Tag(keyword) for keyword in _NEEDED]
_PATTERNS = {
    "UI": re.compile(r"(?=.{3,128}$)[0-9]+(\.[0-9]*)+"),
    "CS": re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 _-]{1,64}"),
}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?")
_BLANK = " \0\t\r\n\v\f"
PIXEL_TAGS = frozenset({0x7FE00010, 0x7FE00009, 0x7FE00008})
_MOST_READS, _MOST_BYTES = 400_000, 1 << 28
_LONG = 1 << 16
_LONGEST = {  # bytes; what may be longer than 64 KiB
    **{Tag(keyword): 1 << 26 for keyword in _NEEDED if keyword.endswith("Sequence")},
    **{Tag(keyword): 1 << 18 for keyword in _NEEDED if keyword.endswith("TableData")},
    Tag("ExtendedOffsetTable"): 1 << 26,
}
_NEEDED_SET = frozenset(Tag(keyword) for keyword in _NEEDED)
DEFLATED = frozenset({DeflatedExplicitVRLittleEndian, *("1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")})
UNDEFINED_LENGTH = 0xFFFFFFFF

# pydicom's warnings quote header values; nothing of a header may reach a log.
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
pydicom_config.logger.disabled = True


class Rejected(Exception):  # noqa: N818  (no error: the early end of one file's road)
    """Leaves the reading of one file with a status and a reason."""

    def __init__(self, status: Status, reason: Reason) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def looks_dicom(file: BinaryIO, size: int) -> bool:
    """Recognise DICOM by content: the prefix of PS3.10 7.1, or a data set without preamble and prefix.

    The latter starts with an element of group 2 or 8 that fits into the file. The file is left at its start.
    """
    start = file.read(132)
    file.seek(0)
    if start[128:] == b"DICM":
        return True
    return len(start) >= 8 and any(_starts_with_element(start, size, order) for order in ("little", "big"))


def _starts_with_element(start: bytes, size: int, order: Any) -> bool:
    group, element = (int.from_bytes(start[at : at + 2], order) for at in (0, 2))
    if group not in (2, 8) or element > 0x0100:
        return False
    explicit = re.fullmatch(rb"[A-Z]{2}", start[4:6]) is not None
    return explicit or int.from_bytes(start[4:8], order) <= min(size, 0x1000)


def read_header(file: BinaryIO, wanted: Sequence[Any] = _NEEDED_TAGS) -> tuple[Dataset, BinaryIO]:
    """Read the needed elements before Pixel Data.

    wanted: the tags, by default what reading an image needs. Returns the data set and the stream that it
    came from, left at the Pixel Data element or at whatever cannot be the header of an image; it is `file`
    itself unless the data set is deflated. Raises nearly anything on damaged data: see pydicom.
    """
    meta = read_meta(file)
    if meta is None:
        counted: Any = _ConfusionMetrics(file)
        return read_partial(counted, _HeaderEnd(wanted), force=True, specific_tags=[*wanted]), file
    syntax = meta.TransferSyntaxUID
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    stream: Any = Inflated(file) if syntax in DEFLATED else file
    counted = _ConfusionMetrics(stream)
    dataset = read_dataset(counted, implicit, little, stop_when=_HeaderEnd(wanted), specific_tags=[*wanted])
    dataset.file_meta = meta
    dataset.set_original_encoding(implicit, little, "iso8859")
    return dataset, stream


class _HeaderEnd:
    """Where pydicom stops: at pixel data, or where no header goes on.

    Group 0 has no place in a file (PS3.7 E.1); zeros look like it, and pydicom would follow them for hours.
    Nor would it mind a Window Center of a gigabyte.
    """

    def __init__(self, wanted: Sequence[Any]) -> None:
        self._wanted = _NEEDED_SET if wanted is _NEEDED_TAGS else frozenset(wanted)

    def __call__(self, tag: BaseTag, _vr: str | None, length: int) -> bool:
        too_long = tag in self._wanted and _LONGEST.get(tag, _LONG) < length < UNDEFINED_LENGTH
        return tag in PIXEL_TAGS or tag.group == 0 or too_long


class _ConfusionMetrics:
    """A stream of which only so much may be read: a header of millions of empty items has no end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._read, self.seek, self.tell = stream.read, stream.seek, stream.tell
        self._reads, self._bytes = 0, 0

    def read(self, size: int = -1) -> bytes:
        data = self._read(size)
        self._reads, self._bytes = self._reads + 1, self._bytes + len(data)
        if self._reads > _MOST_READS or self._bytes > _MOST_BYTES:
            raise ValueError("header without end")
        return data


def read_meta(file: BinaryIO) -> FileMetaDataset | None:
    """Return the file meta group (PS3.10 7.1), which is left behind it, or None at the file's start.

    None too if it does not name the transfer syntax: then pydicom has to guess from the data set.
    """
    start = file.read(132)
    file.seek(132 if start[128:] == b"DICM" else 0)
    if file.read(2) == b"\x02\x00":
        file.seek(-2, 1)
        meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
        if syntax := str(meta.get("TransferSyntaxUID", "")).strip(" \0"):
            meta.TransferSyntaxUID = UID(syntax)
            return FileMetaDataset(meta)
    file.seek(0)
    return None


def header_of(dataset: Dataset) -> Header:
    """Collect what the manifest tells of a header."""
    texts = {name: text(dataset, keyword, vr) for name, (keyword, vr) in _TEXTS.items()}
    texts["modality"] = texts["modality"] or term(dataset, "Modality", KNOWN_MODALITIES)
    syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", ""))
    return Header(
        **texts,
        transfer_syntax=syntax if _PATTERNS["UI"].fullmatch(syntax) else "",
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        frames=integer(dataset, "NumberOfFrames"),
    )


def sop_class(dataset: Dataset) -> str:
    """Return the SOP Class UID; where it is missing, the meta group's."""
    meta: Any = getattr(dataset, "file_meta", None) or Dataset()
    return text(dataset, "SOPClassUID", "UI") or text(meta, "MediaStorageSOPClassUID", "UI")


def is_standard(sop_class_uid: str) -> bool:
    """Return whether the standard defines a UID (PS3.6 Annex A)."""
    return UID(sop_class_uid).name != sop_class_uid


def is_cut(dataset: Dataset, stream: BinaryIO) -> bool:
    """Return whether a header ends in the middle of an element; pydicom itself takes what there is.

    stream: as `read_header` left it.
    """
    for tag in dataset.keys():  # noqa: SIM118  (items() would convert the values)
        element = dataset.get_item(tag)
        value = getattr(element, "value", None)
        length = getattr(element, "length", UNDEFINED_LENGTH)
        if isinstance(value, bytes) and length not in (UNDEFINED_LENGTH, len(value)):
            return True
    at = stream.tell()
    stream.seek(at - 1)
    return not stream.read(1)


def text(dataset: Dataset, keyword: str, vr: str) -> str:
    """Return the first value of a UI or CS element if it has that VR and only its characters, else nothing.

    Anything else could be a name that a broken file has moved here.
    """
    element = dataset.get_item(_tag(keyword))
    if element is None or element.VR not in (vr, None, "UN"):
        return ""
    return cleaned(first_value(element.value), vr)


def cleaned(text: str, vr: str) -> str:
    """Return a value that has only the characters of a UI or CS element, else nothing."""
    return text if _PATTERNS[vr].fullmatch(text) else ""


def first_value(value: Any) -> str:
    """Return the first of the values that stand in an element, without what pads it."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return text.split("\\")[0].strip(_BLANK)


def plain_text(dataset: Dataset, keyword: str) -> str:
    """Return the first value of an element as it stands in the file, for the eyes of `dicom` alone."""
    return first_value(getattr(dataset.get_item(_tag(keyword)), "value", None))


def term(dataset: Dataset, keyword: str, known: frozenset[str]) -> str:
    """Return the value of an element if it is one of the known terms, whatever its VR says, else nothing."""
    value = raw_text(dataset, keyword).strip(_BLANK).upper()
    return value if value in known else ""


def raw_text(dataset: Dataset, keyword: str) -> str:
    """Return the first value of an element as text, whatever its VR says. For comparison only: see `text`."""
    values = _values(dataset, keyword)
    return str(values[0]).strip(" \0") if values and values[0] is not None else ""


class Numbers(NamedTuple):
    """The values of a numeric element.

    values: None where one is empty or cannot be read. unreadable: whether one is there and cannot be read.
    comma: whether one has a decimal comma, which is read as meant (PS3.5 6.2 asks for a point).
    """

    values: tuple[float | None, ...] = ()
    unreadable: bool = False
    comma: bool = False

    @property
    def first(self) -> float | None:
        """The first value."""
        return self.values[0] if self.values else None

    @property
    def integer(self) -> int | None:
        """The first value, cut to an integer."""
        return None if self.first is None else int(self.first)

    @property
    def remarks(self) -> list[Reason]:
        """What a person should know of how they were read."""
        unreadable, comma = [Reason.NUMBER_UNREADABLE], [Reason.DECIMAL_COMMA]
        return unreadable * self.unreadable + comma * self.comma


def numbers(dataset: Dataset, keyword: str) -> Numbers:
    """Return the values of a numeric element; none if it is missing or empty."""
    values = [str(value).strip(_BLANK) for value in _values(dataset, keyword) if value is not None]
    points = [value.replace(",", ".") if _COMMA.fullmatch(value) else value for value in values]
    read = tuple(_finite(value) for value in points)
    unreadable = any(bool(text) and value is None for text, value in zip(points, read, strict=True))
    return Numbers(read, unreadable, points != values)


def _finite(text: str) -> float | None:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def _values(dataset: Dataset, keyword: str) -> list[Any]:
    """Return the values of an element; what pydicom cannot turn into values comes as text.

    Decimal and integer strings come as they stand in the file, for pydicom guesses at what is none.
    """
    try:
        item: Any = dataset.get_item(_tag(keyword))
        if item is None:
            return []
        stored = getattr(item, "value", None)
        if isinstance(stored, bytes) and _is_number_string(keyword, getattr(item, "VR", None)):
            return list(stored.decode("ascii", "replace").split("\\"))
        value = dataset.get(keyword)
    except Exception:  # noqa: BLE001  (pydicom raises nearly everything there is)
        return ["?"]
    if isinstance(value, str):
        return list(value.split("\\"))
    return list(value) if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]


@cache
def _tag(keyword: str) -> BaseTag:
    """Look a keyword up once, of the few that are asked for; pydicom takes longer than for a value."""
    return Tag(keyword)


def _is_number_string(keyword: str, vr: str | None) -> bool:
    strings = ("DS", "IS")
    return vr in strings or (vr in (None, "UN") and dictionary_VR(keyword) in strings)


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Return the first value of a numeric element cut to an integer; None if there is none to read."""
    return numbers(dataset, keyword).integer
