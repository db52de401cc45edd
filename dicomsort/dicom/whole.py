"""Whether a file is whole, from its first element to its last, so that it may be given to another program.

Programs that keep what they are sent are not as careful as this reader: Orthanc 1.10.1 dies of sequences that
are nested 1,000 deep, and it and others keep files that end in the middle.
"""

import os
from dataclasses import dataclass
from struct import Struct
from typing import Any, BinaryIO

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from dicomsort.dicom import dicom_file
from dicomsort.dicom.deflate import Inflated
from dicomsort.dicom.header import DEFLATED, UNDEFINED_LENGTH, cleaned, first_value, read_meta, text
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import Failure, FileStamp, Reason, Status, _Lean

DEEPEST = 16
"""Sequences that may lie in one another."""

_MOST_ELEMENTS = 1_000_000
_CHUNK = 1 << 20
_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_DATA, _FLOAT_PIXELS = 0x7FE00010, (0x7FE00008, 0x7FE00009)
_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_UIDS = frozenset({_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES})
_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _BITS = (
    *(0x00280002, 0x00280004, 0x00280008),
    *(0x00280010, 0x00280011, 0x00280100),
)
_KEPT = _UIDS | {_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _BITS}
_EVERYTHING = ReadSettings(secondary_capture=True)
_SMALL = Preprocessing(64)
_LONGEST_UID = 64
_DAMAGED = Failure(Status.DECODE_ERROR, Reason.HEADER_DAMAGED)


@dataclass(frozen=True, slots=True)
class Whole(_Lean):
    """A file that is whole. syntax: its transfer syntax; all four are UIDs."""

    sop_class: str
    sop_instance: str
    study: str
    syntax: str
    stamp: FileStamp


class _BrokenError(Exception):
    """What stands there is no data set of PS3.5 7."""


def whole(path: str) -> Whole | Failure:
    """Return what a file is if it can be given away, else why not; never raises but for lack of memory.

    It needs a file meta group (PS3.10 7.1) that agrees with the data set, UIDs, elements in their order that
    end with the file, sequences at most DEEPEST deep; and pixels, if it has any, that this program can read.
    """
    try:
        with open(path, "rb") as file:
            facts = os.fstat(file.fileno())
            found, has_pixels = _walked(file, FileStamp(facts.st_size, facts.st_mtime_ns))
    except FileNotFoundError:
        return Failure(Status.IO_ERROR, Reason.VANISHED)
    except MemoryError:
        raise
    except OSError as error:
        return Failure(Status.IO_ERROR, Reason.UNREADABLE) if error.errno else _DAMAGED
    except Exception:  # noqa: BLE001  (pydicom raises nearly everything there is)
        return _DAMAGED
    read = dicom_file.read(path, _SMALL, _EVERYTHING)
    if isinstance(read, Failure) and (has_pixels or read.status is not Status.NOT_XRAY):
        return read
    return found


def _walked(file: BinaryIO, stamp: FileStamp) -> tuple[Whole, bool]:
    """Go through a file; returns what it is, and whether it has pixels."""
    meta = read_meta(file)
    if meta is None:
        raise _BrokenError
    syntax = str(meta.TransferSyntaxUID)
    stream: Any = Inflated(file) if syntax in DEFLATED else file
    walk = _Walk(stream, syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
    walk.top(None if syntax in DEFLATED else stamp.size)
    uids = {tag: cleaned(first_value(walk.values.get(tag)), "UI") for tag in _UIDS}
    if any(not 0 < len(uid) <= _LONGEST_UID for uid in uids.values()):
        raise _BrokenError
    if text(meta, "MediaStorageSOPInstanceUID", "UI") != uids[_SOP_INSTANCE]:
        raise _BrokenError
    if text(meta, "MediaStorageSOPClassUID", "UI") != uids[_SOP_CLASS]:
        raise _BrokenError
    if walk.has_pixels and not walk.has_all_frames():
        raise _BrokenError
    return Whole(uids[_SOP_CLASS], uids[_SOP_INSTANCE], uids[_STUDY], syntax, stamp), walk.has_pixels


class _Walk:
    """The way through a data set; raises _BrokenError where it does not go on."""

    def __init__(self, stream: BinaryIO, implicit: bool, little: bool) -> None:
        self._stream, self._implicit = stream, implicit
        order = "<" if little else ">"
        self._tag, self._short, self._long = Struct(f"{order}HH"), Struct(f"{order}H"), Struct(f"{order}L")
        self._at = stream.tell()
        self._left = _MOST_ELEMENTS
        self._pixel_bytes: int | None = None
        self._pixel_fragments = 0
        self.values: dict[int, bytes] = {}
        self.has_pixels = False

    def top(self, end: int | None) -> None:
        """Go through the top level, in the order of its tags (PS3.5 7.1), to the end of the file."""
        before = 0
        while not self._is_over(end):
            tag = self._head()
            if tag <= before:
                raise _BrokenError
            before = tag
            if tag in _KEPT:
                self.values[tag] = self._bytes(self._length(tag)[1])
            else:
                self.has_pixels |= tag == _PIXEL_DATA or tag in _FLOAT_PIXELS
                self._value(tag, end, 0)

    def has_all_frames(self) -> bool:
        """Return whether Pixel Data is as long as the header says, or has a fragment a frame (PS3.5 A.4)."""
        frames = int(first_value(self.values.get(_FRAMES)) or 1)
        if self._pixel_bytes is None:
            return 0 < frames < self._pixel_fragments  # the first one is the offset table
        bits = frames * self._number(_BITS)
        for tag in (_ROWS, _COLUMNS, _SAMPLES):
            bits *= self._number(tag)
        if b"_422" in self.values.get(_PHOTOMETRIC, b""):
            bits = bits * 2 // 3
        least = (bits + 7) // 8
        return 0 < least <= self._pixel_bytes <= least + 1

    def _number(self, tag: int) -> int:
        return int(self._short.unpack(self.values[tag][:2])[0])

    def _is_over(self, end: int | None) -> bool:
        if end is not None:
            return self._at >= end
        more = self._stream.read(1)
        self._stream.seek(self._at)
        return not more

    def _head(self) -> int:
        self._left -= 1
        if not self._left:
            raise _BrokenError
        group, element = self._tag.unpack(self._bytes(4))
        return int(group << 16 | element)

    def _bytes(self, count: int) -> bytes:
        if count > _CHUNK:
            raise _BrokenError
        data = self._stream.read(count)
        if len(data) < count:
            raise _BrokenError
        self._at += count
        return data

    def _skip(self, count: int, end: int | None) -> None:
        if end is not None:
            if self._at + count > end:
                raise _BrokenError
            self._at += count
            self._stream.seek(self._at)
            return
        while count:
            piece = min(count, _CHUNK)
            self._bytes(piece)
            count -= piece

    def _length(self, tag: int) -> tuple[bytes, int]:
        """Return the VR and the length behind a tag (PS3.5 7.1.2, 7.1.3)."""
        if self._implicit or tag in (_ITEM, _ITEM_END, _SEQUENCE_END):
            return _known(tag), int(self._long.unpack(self._bytes(4))[0])
        vr = self._bytes(2)
        if vr in _LONG_VRS:
            self._bytes(2)
            return vr, int(self._long.unpack(self._bytes(4))[0])
        if vr not in _SHORT_VRS:
            raise _BrokenError
        return vr, int(self._short.unpack(self._bytes(2))[0])

    def _value(self, tag: int, end: int | None, depth: int) -> None:
        vr, length = self._length(tag)
        if length != UNDEFINED_LENGTH:
            stop = self._at + length
            if end is not None and stop > end:
                raise _BrokenError
            if tag == _PIXEL_DATA and not depth:
                self._pixel_bytes = length
            if vr == b"SQ" and length:
                self._items(stop, depth + 1)
            else:
                self._skip(length, end)
        elif tag == _PIXEL_DATA:
            self._fragments(end)
        elif vr == b"SQ" or self._implicit:
            self._items(None, depth + 1, end)
        elif vr == b"UN":  # its items have no VRs (PS3.5 6.2.2)
            explicit, self._implicit = self._implicit, True
            self._items(None, depth + 1, end)
            self._implicit = explicit
        else:
            raise _BrokenError

    def _fragments(self, end: int | None) -> None:
        """Go through encapsulated Pixel Data (PS3.5 A.4)."""
        while (tag := self._head()) != _SEQUENCE_END:
            length = self._length(tag)[1]
            if tag != _ITEM or length == UNDEFINED_LENGTH:
                raise _BrokenError
            self._pixel_fragments += 1
            self._skip(length, end)
        if self._length(_SEQUENCE_END)[1]:
            raise _BrokenError

    def _items(self, stop: int | None, depth: int, end: int | None = None) -> None:
        """Go through a sequence that ends at `stop`, or with its delimiter (PS3.5 7.5)."""
        if depth > DEEPEST:
            raise _BrokenError
        limit = end if stop is None else stop
        while stop is None or self._at < stop:
            tag = self._head()
            length = self._length(tag)[1]
            if tag == _SEQUENCE_END and stop is None:
                return
            if tag != _ITEM:
                raise _BrokenError
            self._item(None if length == UNDEFINED_LENGTH else self._at + length, limit, depth)

    def _item(self, stop: int | None, limit: int | None, depth: int) -> None:
        if stop is not None and limit is not None and stop > limit:
            raise _BrokenError
        end = limit if stop is None else stop
        while stop is None or self._at < stop:
            tag = self._head()
            if tag == _ITEM_END and stop is None:
                self._length(tag)
                return
            self._value(tag, end, depth)
        if self._at != stop:
            raise _BrokenError


def _known(tag: int) -> bytes:
    """Return SQ for what the dictionary says is a sequence; of no other VR is anything to be known."""
    is_sequence = dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"
    return b"SQ" if is_sequence else b""
