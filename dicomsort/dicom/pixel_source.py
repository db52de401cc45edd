"""The Pixel Data element of one open file: where its frames lie, and their bytes."""

import hashlib
import io
import mmap
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicomsort.dicom import codecs
from dicomsort.dicom.encapsulated import Fragment, Frames, group
from dicomsort.dicom.header import UNDEFINED_LENGTH, Rejected, read_header
from dicomsort.inputs.opened import on_disk
from dicomsort.inputs.sources import local
from dicomsort.outcome import Reason, Status

_PIXEL_DATA = (0x7FE0, 0x0010)
_FLOAT_PIXEL_DATA = ((0x7FE0, 0x0008), (0x7FE0, 0x0009))
_ITEM, _SEQUENCE_DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_VRS = frozenset({b"OB", b"OW", b"UN"})
_MOST_FRAGMENTS = 1 << 20
_DIGITS = 32


class PixelSource:
    """The Pixel Data element of an open file, of which only one frame is read.

    stream: left before that element by `read_header`.
    """

    def __init__(self, stream: BinaryIO, dataset: Dataset) -> None:
        self._stream, self._dataset = stream, dataset
        self._start, self.length = 0, 0
        self._swapped = False
        self._frames: Frames | None = None

    def open(self) -> None:
        """Find the value's place and length. Raises Rejected if there is no integer Pixel Data."""
        _, little = self._dataset.original_encoding
        order: Any = "little" if little else "big"
        head = self._stream.read(8)
        if not head:
            raise Rejected(Status.NO_PIXELS, Reason.NO_PIXEL_DATA)
        if len(head) < 8:
            raise Rejected(Status.DECODE_ERROR, Reason.PIXELS_MISSING)
        tag = int.from_bytes(head[:2], order), int.from_bytes(head[2:4], order)
        if tag in _FLOAT_PIXEL_DATA:
            raise Rejected(Status.UNSUPPORTED, Reason.PIXEL_FORMAT)
        if tag != _PIXEL_DATA:
            raise Rejected(Status.DECODE_ERROR, Reason.HEADER_DAMAGED)
        if head[4:6] in _VRS:  # no even length looks like these, so implicit files are told for sure
            self.length = int.from_bytes(self._stream.read(4), order)
        else:
            self.length = int.from_bytes(head[4:], order)
        self._start = self._stream.tell()
        self._swapped = not little and head[4:6] == b"OW"

    @property
    def is_native(self) -> bool:
        """Whether the value has a defined length, that is, is not encapsulated (PS3.5 A.4)."""
        return self.length != UNDEFINED_LENGTH

    def native_frame(self, index: int, frame_bytes: int) -> NDArray[np.uint8]:
        """Map one uncompressed frame into memory. Raises Rejected if the value or the file ends before."""
        start = self._start + index * frame_bytes
        if frame_bytes * (index + 1) > self.length:
            raise Rejected(Status.DECODE_ERROR, Reason.PIXELS_MISSING)
        if place := on_disk(self._stream, start, start + frame_bytes):
            data = _mapped(*place, frame_bytes)
        else:
            self._stream.seek(start)
            data = np.frombuffer(self._stream.read(frame_bytes), np.uint8)
        if data.size < frame_bytes:
            raise Rejected(Status.DECODE_ERROR, Reason.PIXELS_MISSING)
        return data

    @property
    def swaps_bytes(self) -> bool:
        """Whether bytes lie in big-endian words, so that two 8-bit pixels change places (PS3.5 8.1.1)."""
        return self._swapped

    def encapsulated_frame(self, index: int, frames: int, transfer_syntax: str) -> bytes:
        """Read one compressed frame. Raises Rejected if it is not there, or frames cannot be told apart."""
        if self._frames is None:
            self._frames = self._grouped(frames, transfer_syntax)
        if index >= len(self._frames.frames):
            raise Rejected(Status.DECODE_ERROR, Reason.PIXELS_MISSING)
        return b"".join(map(self._bytes_of, self._frames.frames[index]))

    @property
    def remarks(self) -> list[Reason]:
        """What a person should know of how the frame was found."""
        return [Reason.OFFSET_TABLE] * (self._frames is not None and self._frames.table_is_wrong)

    def _grouped(self, frames: int, transfer_syntax: str) -> Frames:
        fragments, cut = self._fragments()
        if cut and frames == 1:
            raise Rejected(Status.DECODE_ERROR, Reason.PIXELS_MISSING)

        def begins(fragment: Fragment) -> bool:
            return codecs.begins(self._head_of(fragment), transfer_syntax)

        tables = [self._extended_table()]
        if not begins(fragments[0]):  # some write no item for the Basic Offset Table
            tables.append(_words(self._bytes_of(fragments.pop(0)), 4))
        return group(fragments, [table for table in tables if table], frames, begins, cut)

    def _extended_table(self) -> list[int]:
        table = self._dataset.get("ExtendedOffsetTable")
        if isinstance(table, bytes):
            return _words(table, 8)
        return [int(entry) for entry in table] if isinstance(table, Sequence) else []

    def _bytes_of(self, fragment: Fragment) -> bytes:
        self._stream.seek(fragment.start)
        return self._stream.read(fragment.length)

    def _head_of(self, fragment: Fragment) -> bytes:
        return self._bytes_of(fragment._replace(length=min(fragment.length, 8)))

    def _fragments(self) -> tuple[list[Fragment], bool]:
        """Return the items of the value, the Basic Offset Table first, and whether the file ends in one.

        That one is left out: codecs would fill in gray. A missing sequence delimiter at the end is forgiven.
        Raises Rejected if there is no item at all.
        """
        found: list[Fragment] = []
        size = self._stream.seek(0, io.SEEK_END)
        at = self._stream.seek(self._start)
        while len(item := self._stream.read(8)) == 8 and item[:4] == _ITEM:
            fragment = Fragment(at, at + 8, int.from_bytes(item[4:], "little"))
            at = fragment.start + fragment.length
            if at > size or len(found) > _MOST_FRAGMENTS:
                break
            found.append(fragment)
            self._stream.seek(at)
        if not found:
            raise Rejected(Status.DECODE_ERROR, Reason.PIXELS_MISSING)
        return found, at > size

    def require(self) -> None:
        """Raise `inputs.opened.MissingBytes` if not all of the value has been fetched, as far as is known."""
        if not isinstance(self._stream, io.BufferedReader):  # what was unpacked is there
            return
        size = self._stream.seek(0, io.SEEK_END)
        stop = min(size, self._start + self.length) if self.is_native else size
        on_disk(self._stream, self._start, stop)

    def told(self) -> str:
        """Return what `pixel_digest` does."""
        try:
            return f"{getattr(self._dataset.file_meta, 'TransferSyntaxUID', '')} {self.digest()}"
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  (whatever unpacking raises)
            return ""

    def digest(self) -> str:
        """Return the hash (hex) of the Pixel Data value, all of it. Raises Rejected if it is cut off.

        Half a SHA-256, for which processors have instructions: twice as quick as others there.
        """
        hasher = hashlib.sha256(usedforsecurity=False)
        self._stream.seek(self._start)
        if self.is_native:
            self._hash(hasher.update, self.length)
        else:
            while (item := self._stream.read(8)) not in (_SEQUENCE_DELIMITER, b""):
                if len(item) < 8 or item[:4] != _ITEM:
                    raise Rejected(Status.DECODE_ERROR, Reason.PIXELS_MISSING)
                hasher.update(item)
                self._hash(hasher.update, int.from_bytes(item[4:], "little"))
        return hasher.hexdigest()[:_DIGITS]

    def _hash(self, update: Callable[[bytes], None], length: int) -> None:
        while length > 0:
            chunk = self._stream.read(min(length, 1 << 20))
            if not chunk:
                raise Rejected(Status.DECODE_ERROR, Reason.PIXELS_MISSING)
            update(chunk)
            length -= len(chunk)


def _mapped(descriptor: int, start: int, length: int) -> NDArray[np.uint8]:
    """Map a part of a file into memory; NumPy's own `memmap` takes longer than the pages do."""
    page = start - start % mmap.ALLOCATIONGRANULARITY
    mapped = mmap.mmap(descriptor, start + length - page, access=mmap.ACCESS_READ, offset=page)
    return np.ndarray(length, np.uint8, mapped, start - page)


def _words(table: bytes, size: int) -> list[int]:
    """Read little-endian entries of an offset table; what is left over at its end does not count."""
    return [int(entry) for entry in np.frombuffer(table, f"<u{size}", count=len(table) // size)]


def pixel_digest(path: str) -> str:
    """Return a text that is equal for two files only if Transfer Syntax UID and Pixel Data value are.

    Empty if the file cannot be read to the end of its Pixel Data.
    """
    try:
        with local(path) as here, open(here.file, "rb") as file:
            dataset, stream = read_header(file)
            source = PixelSource(stream, dataset)
            source.open()
            return source.told()
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  (pydicom raises nearly everything there is)
        return ""
