"""Copies of DICOM files with a few elements changed; every other byte of the data set stays as it is.

The data set is never read whole: its top level is walked up to Pixel Data, the changed elements are encoded
as the file is, and all between and behind them is copied from the file. A deflated data set is inflated and
deflated again on the way.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta, timezone
from typing import Any, BinaryIO

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import data_element_generator
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomsort import __version__
from dicomsort.dicom.copying import Hashing, Writable, copy_to, deflated
from dicomsort.dicom.deflate import Inflated
from dicomsort.dicom.elements import SOFTWARE, Note, Tags, Value, equipment, new_element
from dicomsort.dicom.header import DEFLATED, PIXEL_TAGS, plain_text, read_meta, sop_class, text
from dicomsort.inputs.sources import local
from dicomsort.outcome import FileStamp
from dicomsort.system.atomic import publish, temporary_for

IMPLEMENTATION = "2.25.209174437842271354389270935180716241853"
"""Implementation Class UID of the files that are written here (PS3.7 D.3.3.2)."""

_LONG = 1 << 20  # bytes; what is longer is no element that is read or changed here
_BLANK = " \0"
_CODE_STRING = re.compile(r"[A-Z0-9 _]{0,16}")
_MAC_PARAMETERS, _SIGNATURES = 0x4FFE0001, 0xFFFAFFFA
_LENGTH_TO_END = 0x00080001


@dataclass(frozen=True, slots=True)
class _Span:
    """Where in the data set an element of the top level lies: from its tag to behind its value."""

    tag: int
    start: int
    end: int


class DamagedError(ValueError):
    """A header cannot be read, or not be written again; it never quotes what stands there."""


class ChangedError(DamagedError):
    """A file has changed while it was copied."""


@contextmanager
def telling_damage() -> Iterator[None]:
    """Raise DamagedError for whatever pydicom raises in the block, which is nearly everything there is.

    OSError and MemoryError stay what they are.
    """
    try:
        yield
    except (OSError, MemoryError, DamagedError):
        raise
    except Exception as error:
        raise DamagedError("the header is damaged") from error


class Original:
    """An open DICOM file, its top level walked up to Pixel Data. Raises DamagedError, now or later.

    stamp: of the source, which may be a member of an archive or an object, and the file its temporary copy.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.stamp = self._as_opened = _stamp(file)
        self._file = file
        self._meta = read_meta(file)
        self._start = file.tell()
        self._syntax = UID(self._meta.TransferSyntaxUID) if self._meta is not None else _guessed(file)
        self._implicit = self._syntax == ImplicitVRLittleEndian
        self._little = self._syntax != ExplicitVRBigEndian
        self._spans: list[_Span] = []
        self._dataset = Dataset()
        self._rest = 0
        self._walk()

    def _walk(self) -> None:
        self._check_syntax()
        stream = self._stream()
        self._rest = stream.tell()
        short = {}
        for element in data_element_generator(
            stream, self._implicit, self._little, stop_when=_ends, defer_size=_LONG
        ):
            start, self._rest = self._rest, stream.tell()
            self._spans.append(_Span(int(element.tag), start, self._rest))
            if not (isinstance(element, RawDataElement) and element.value is None and element.length):
                short[element.tag] = element
        self._dataset = Dataset(short)
        if self._meta is not None:
            self._dataset.file_meta = self._meta

    def _check_syntax(self) -> None:
        """Raise DamagedError if the elements have VRs, or none, against what the transfer syntax says.

        Some programs read such a file all the same; a copy of it would hold elements of both kinds.
        """
        first = self._stream().read(6)
        if len(first) == 6 and _names_vr(first) == self._implicit:
            raise DamagedError("not in the transfer syntax that it names")

    def _stream(self) -> BinaryIO:
        """Return the data set from its first byte on, inflated if it is deflated."""
        self._file.seek(self._start)
        inflated: Any = Inflated(self._file) if self._syntax in DEFLATED else self._file
        return inflated  # type: ignore[no-any-return]

    @property
    def is_signed(self) -> bool:
        """Whether it holds digital signatures (PS3.3 C.12.1.1.3), which a changed copy would break."""
        return any(span.tag == _MAC_PARAMETERS for span in self._spans)

    @telling_damage()
    def uid(self, keyword: str) -> str:
        """Return a UID if it is made of digits and dots, else nothing."""
        return text(self._dataset, keyword, "UI")

    @property
    @telling_damage()
    def tags(self) -> Tags:
        """What it says of anatomy and view."""
        return Tags(
            sop_class=sop_class(self._dataset),
            body_part=plain_text(self._dataset, "BodyPartExamined"),
            region_codes=self._codes("AnatomicRegionSequence"),
            view_position=plain_text(self._dataset, "ViewPosition"),
            view_codes=self._codes("ViewCodeSequence"),
            laterality=plain_text(self._dataset, "Laterality") if "Laterality" in self._dataset else None,
            image_laterality=plain_text(self._dataset, "ImageLaterality"),
            positioner="PositionerType" in self._dataset,
        )

    def _codes(self, keyword: str) -> tuple[tuple[str, str], ...]:
        return tuple(
            (plain_text(item, "CodingSchemeDesignator"), plain_text(item, "CodeValue"))
            for item in self._items(keyword)
        )

    def _items(self, keyword: str) -> list[Dataset]:
        return list(self._dataset.get(keyword) or ())

    @telling_damage()
    def write(self, target: str, uids: Mapping[str, str], changes: Mapping[str, Value], note: Note) -> str:
        """Write a copy with other elements, whole or not at all; it tells what it was and who changed it.

        uids: SOPInstanceUID, and further ones that are new. changes: by keyword. What they replace is kept
        in the Original Attributes Sequence (PS3.3 C.12.1.1.9), the program stands in the Contributing
        Equipment Sequence (C.12.1.1.5), and the Source Image Sequence (C.12.4) names the original. Returns
        the SHA-256 of the file in hex. Raises FileExistsError, or any other OSError, and DamagedError if
        an element that is to be changed is too long, or the original has changed meanwhile.
        """
        elements: dict[int, DataElement | None] = {int(Tag(keyword)): None for keyword in changes}
        elements |= self._new_elements({**changes, **uids}, note)
        if any(span.tag in elements and BaseTag(span.tag) not in self._dataset for span in self._spans):
            raise DamagedError("an element is too long to be changed")
        temporary = temporary_for(target)
        try:
            with open(temporary, "wb") as file:
                hashing = Hashing(file)
                self._write(hashing, elements, uids["SOPInstanceUID"])
            self._check_unchanged()
            publish(temporary, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        return hashing.sha256

    def _check_unchanged(self) -> None:
        if _stamp(self._file) != self._as_opened:
            raise ChangedError("the file has changed while it was read")

    def _new_elements(self, changes: Mapping[str, Value], note: Note) -> dict[int, DataElement]:
        here = note.at.astimezone(_zone(plain_text(self._dataset, "TimezoneOffsetFromUTC")))
        created = {"InstanceCreationDate": f"{here:%Y%m%d}", "InstanceCreationTime": f"{here:%H%M%S}"}
        changes = {**created, **changes}
        made = [new_element(key, value) for key, value in changes.items() if value is not None]
        if UID(self.uid("SOPInstanceUID")).is_valid:
            made.append(self._appended("SourceImageSequence", self._source()))
        made.append(self._appended("ContributingEquipmentSequence", equipment(note)))
        made.append(self._appended("OriginalAttributesSequence", self._originals(changes, note)))
        return {int(element.tag): element for element in made}

    def _appended(self, keyword: str, item: Dataset) -> DataElement:
        return DataElement(Tag(keyword), "SQ", Sequence([*self._items(keyword), item]))

    def _source(self) -> Dataset:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class(self._dataset)
        item.ReferencedSOPInstanceUID = self.uid("SOPInstanceUID")
        item.SpatialLocationsPreserved = "YES"
        return item

    def _originals(self, changes: Mapping[str, Value], note: Note) -> Dataset:
        """Return an item of the Original Attributes Sequence: all that is replaced, as it was."""
        item, before = Dataset(), Dataset()
        nonconforming = []
        for tag in sorted(Tag(keyword) for keyword in changes):
            if tag not in self._dataset:
                continue
            odd = self._nonconforming(tag)
            if odd is None:
                before[tag] = self._dataset[tag]
            else:
                nonconforming.append(odd)
        item.SourceOfPreviousValues = ""
        item.AttributeModificationDateTime = note.utc
        item.ModifyingSystem = f"{SOFTWARE} {__version__}"
        item.ReasonForTheAttributeModification = "CORRECT"
        item.ModifiedAttributesSequence = Sequence([before])
        if nonconforming:
            item.NonconformingModifiedAttributesSequence = Sequence(nonconforming)
        return item

    def _nonconforming(self, tag: BaseTag) -> Dataset | None:
        """Return the item for a code string that is none by its characters or length; None of anything else.

        PS3.3 C.12.1.1.9: such a value is kept as bytes.
        """
        raw = self._dataset.get_item(tag)
        value = getattr(raw, "value", None)
        if dictionary_VR(tag) != "CS" or not isinstance(value, bytes):
            return None
        if _CODE_STRING.fullmatch(value.decode("latin-1").strip(_BLANK)):
            return None
        item = Dataset()
        item.SelectorAttribute = tag
        item.SelectorValueNumber = 0
        item.NonconformingDataElementValue = value
        return item

    def _write(self, out: Writable, elements: Mapping[int, DataElement | None], uid: str) -> None:
        """Write the file. elements: by tag, in the place of those that are there; None where one is to go."""
        out.write(self._new_meta(uid))
        with deflated(out, self._syntax) as body:
            stream = self._stream()
            left = dict(sorted(elements.items()))
            groups = {tag >> 16 for tag in left}
            for span in self._spans:
                for tag in [tag for tag in left if tag <= span.tag]:
                    body.write(self._encoded(left.pop(tag)))
                if span.tag not in elements and not _is_length(span.tag, groups):
                    copy_to(stream, span.start, span.end, body)
            for element in left.values():
                body.write(self._encoded(element))
            copy_to(stream, self._rest, None, body)

    def _encoded(self, element: DataElement | None) -> bytes:
        if element is None:
            return b""
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = self._implicit, self._little
        write_data_element(buffer, element, self._encoding)
        return buffer.getvalue()

    @property
    def _encoding(self) -> str:
        """How new texts are written: in the first of the file's character sets, ASCII if it names none."""
        first, *_ = convert_encodings(self._dataset.get("SpecificCharacterSet"))
        return "ascii" if first == default_encoding else first

    def _new_meta(self, uid: str) -> bytes:
        """Return preamble, prefix and file meta group (PS3.10 7.1)."""
        meta = FileMetaDataset()
        for element in self._meta or ():
            meta[element.tag] = element
        meta.FileMetaInformationVersion = b"\0\1"
        meta.MediaStorageSOPClassUID = UID(sop_class(self._dataset))
        meta.MediaStorageSOPInstanceUID = UID(uid)
        meta.TransferSyntaxUID = self._syntax
        meta.ImplementationClassUID = UID(IMPLEMENTATION)
        meta.ImplementationVersionName = f"{SOFTWARE} {__version__}"[:16]
        buffer = DicomBytesIO()
        write_file_meta_info(buffer, meta)
        return b"\0" * 128 + b"DICM" + buffer.getvalue()


@contextmanager
def opened(path: str) -> Iterator[Original]:
    """Yield the file, walked up to Pixel Data. Raises OSError, DamagedError.

    path: the name of any source, see `inputs.names`.
    """
    with local(path) as here, open(here.file, "rb") as file:
        with telling_damage():
            original = Original(file)
        if here.stamp is not None:
            original.stamp = here.stamp
        yield original


def sop_instance_uid_in(path: str) -> str:
    """Return the Media Storage SOP Instance UID of a file; nothing if it cannot be read."""
    try:
        with open(path, "rb") as file:
            meta = read_meta(file)
        return "" if meta is None else text(meta, "MediaStorageSOPInstanceUID", "UI")
    except Exception:  # noqa: BLE001  (pydicom raises nearly everything there is)
        return ""


def _stamp(file: BinaryIO) -> FileStamp:
    facts = os.fstat(file.fileno())
    return FileStamp(facts.st_size, facts.st_mtime_ns)


def _zone(offset: str) -> timezone | None:
    """Return the time zone of a header's dates and times (PS3.3 C.12.1.1.8); None for the local one."""
    if not re.fullmatch(r"[+-][01][0-9][0-5][0-9]", offset):
        return None
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    return timezone(timedelta(minutes=-minutes if offset.startswith("-") else minutes))


def _ends(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag in PIXEL_TAGS or tag.group == 0 or tag == _SIGNATURES


def _guessed(file: BinaryIO) -> UID:
    """Return the transfer syntax of a data set without file meta group, by its first element."""
    start = file.read(6)
    file.seek(-len(start), os.SEEK_CUR)
    if not _names_vr(start):
        return ImplicitVRLittleEndian
    return ExplicitVRBigEndian if start[0] == 0 else ExplicitVRLittleEndian


def _names_vr(element: bytes) -> bool:
    return re.fullmatch(rb"[A-Z]{2}", element[4:6]) is not None


def _is_length(tag: int, groups: set[int]) -> bool:
    """Return whether an element only says how long a changed group is, or all of it; both are retired."""
    return (tag & 0xFFFF == 0 and tag >> 16 in groups) or tag == _LENGTH_TO_END
