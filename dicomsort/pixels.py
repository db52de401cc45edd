"""The Pixel Data of one open file: where a frame lies, and the values stored in it."""

import hashlib
import io
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.tag import Tag

from dicomsort import codecs
from dicomsort.codecs import Decoded
from dicomsort.header import UNDEFINED_LENGTH, Stop, integer, read_header
from dicomsort.outcome import Header, Reason, Status

MAX_PIXELS = 200_000_000
"""Images that claim more samples per frame are refused before anything is decoded."""

_PIXEL_DATA = (0x7FE0, 0x0010)
_ITEM, _SEQUENCE_DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_LONG_VRS = frozenset({b"OB", b"OW", b"OD", b"OF", b"OL", b"OV", b"UN", b"SQ", b"UC", b"UR", b"UT"})


class Layout:
    """How the pixels lie in a frame (PS3.3 C.7.6.3.1)."""

    def __init__(self, dataset: Dataset, header: Header) -> None:
        self.rows, self.columns = header.rows or 0, header.columns or 0
        self.frames = max(header.frames or 1, 1)
        self.frame = self.frames // 2
        self.samples = integer(dataset, "SamplesPerPixel") or 1
        self.bits_allocated = integer(dataset, "BitsAllocated") or 0
        self.bits_stored = integer(dataset, "BitsStored") or self.bits_allocated
        high_bit = integer(dataset, "HighBit")
        self.high_bit = self.bits_stored - 1 if high_bit is None else high_bit
        self.signed = integer(dataset, "PixelRepresentation") == 1
        self.planar = integer(dataset, "PlanarConfiguration") == 1
        self.photometric = header.photometric_interpretation.upper()
        self.syntax = header.transfer_syntax or _guessed_syntax(dataset)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one uncompressed frame."""
        return self.rows * self.columns * self.samples * (self.bits_allocated // 8)

    @property
    def dtype(self) -> str:
        """NumPy type of a stored word, with the byte order of the transfer syntax."""
        return f"{self.word[0]}u{self.bits_allocated // 8}"

    @property
    def word(self) -> str:
        """NumPy type of a 16-bit word of the file, such as a look-up table's entry."""
        return ">u2" if self.syntax == codecs.EXPLICIT_BIG else "<u2"

    def check(self) -> None:
        """Raise Stop for what can never be decoded, or should not be tried."""
        if self.rows <= 0 or self.columns <= 0:
            raise Stop(Status.DECODE_ERROR, Reason.HEADER_DAMAGED)
        if self.rows * self.columns * self.samples > MAX_PIXELS:
            raise Stop(Status.UNSUPPORTED, Reason.TOO_LARGE)
        if self.syntax not in codecs.SUPPORTED:
            raise Stop(Status.UNSUPPORTED, Reason.TRANSFER_SYNTAX)
        sane = self.bits_allocated in (8, 16) and 1 <= self.bits_stored <= self.bits_allocated
        if not sane or self.samples not in (1, 3) or self.high_bit >= self.bits_allocated:
            raise Stop(Status.UNSUPPORTED, Reason.PIXEL_FORMAT)

    def stored_values(self, source: "PixelSource", enough: tuple[int, int]) -> Decoded:
        """Return the middle frame, one grey value a pixel, of at least `enough` (rows, columns)."""
        if source.is_native != (self.syntax in codecs.NATIVE):
            raise Stop(Status.DECODE_ERROR, Reason.PIXELS_DAMAGED)
        if source.is_native:
            decoded = Decoded(self._native(source, self.frame))
        else:
            decoded = self._compressed(source, self.frame, enough)
        pixels, step = decoded.pixels, decoded.step
        if pixels.shape[:2] != (-(-self.rows // step), -(-self.columns // step)):
            raise Stop(Status.DECODE_ERROR, Reason.PIXELS_DAMAGED)
        grey = self._luminance(pixels) if pixels.ndim == 3 else self._signed(pixels)  # noqa: PLR2004
        return replace(decoded, pixels=grey)

    def _native(self, source: "PixelSource", index: int) -> NDArray[Any]:
        data = source.native_frame(index, self.frame_bytes)
        if self.bits_allocated == 8 and source.swaps_bytes and len(data) % 2 == 0:  # noqa: PLR2004
            data = np.frombuffer(data, np.uint16).byteswap().tobytes()
        pixels = np.frombuffer(data, self.dtype)
        return self._in_word(self._shaped(pixels))

    def _compressed(self, source: "PixelSource", index: int, enough: tuple[int, int]) -> Decoded:
        frame = source.encapsulated_frame(index, self.frames)
        if self.syntax == codecs.RLE:
            pixels = codecs.decode_rle(frame, self.rows, self.columns, self.samples, self.bits_allocated)
            return Decoded(self._in_word(pixels))
        if self.syntax == codecs.ENCAPSULATED_UNCOMPRESSED:
            return Decoded(self._in_word(self._shaped(np.frombuffer(frame[: self.frame_bytes], self.dtype))))
        return codecs.decode(frame, self.syntax, (self.rows, self.columns), enough)

    def _shaped(self, pixels: NDArray[Any]) -> NDArray[Any]:
        if self.samples == 1:
            return pixels.reshape(self.rows, self.columns)
        if self.planar:
            return np.moveaxis(pixels.reshape(self.samples, self.rows, self.columns), 0, -1)
        return pixels.reshape(self.rows, self.columns, self.samples)

    def _in_word(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Take BitsStored bits up to HighBit out of each word; what lies beside them may be overlays."""
        if self.bits_stored == self.bits_allocated:
            return pixels
        shift = max(self.high_bit + 1 - self.bits_stored, 0)
        mask = (1 << self.bits_stored) - 1
        native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        shifted = np.right_shift(native, shift) if shift else native
        return np.asarray(np.bitwise_and(shifted, native.dtype.type(mask)))

    def _signed(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Extend the sign of two's complement values that came as bare bits (PixelRepresentation 1)."""
        if not self.signed or pixels.dtype.kind != "u":
            return pixels
        span = 1 << self.bits_stored
        values = pixels.astype(np.int32)
        return np.where(values >= span >> 1, values - span, values)

    def _luminance(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return the brightness of colour pixels: Y as it is stored, or ITU-R BT.601 weights of RGB."""
        if self.syntax in codecs.KEEPS_COLOUR_SPACE and self.photometric.startswith("YBR"):
            return pixels[..., 0]
        return np.asarray(pixels[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))


def _guessed_syntax(dataset: Dataset) -> str:
    """Name the native syntax that pydicom found for a file without Transfer Syntax UID."""
    implicit, little = dataset.original_encoding
    if not little:
        return codecs.EXPLICIT_BIG
    return codecs.IMPLICIT_LITTLE if implicit else codecs.EXPLICIT_LITTLE


class PixelSource:
    """The Pixel Data element of an open file, of which only one frame is read."""

    def __init__(self, file: BinaryIO, dataset: Dataset, path: str) -> None:
        self._file, self._dataset, self._path = file, dataset, path
        self._start, self._length = 0, 0
        self._swapped = False

    def open(self) -> None:
        """Find the value's place and length. Raises Stop if there is no integer Pixel Data."""
        if getattr(self._dataset.file_meta, "TransferSyntaxUID", "") == codecs.DEFLATED:
            self._inflate()
            return
        implicit, little = self._dataset.original_encoding
        order: Any = "little" if little else "big"
        head = self._file.read(8)
        if not head:
            raise Stop(Status.NO_PIXELS, Reason.NO_PIXEL_DATA)
        if len(head) < 8:  # noqa: PLR2004
            raise Stop(Status.DECODE_ERROR, Reason.PIXELS_MISSING)
        tag = int.from_bytes(head[:2], order), int.from_bytes(head[2:4], order)
        if tag != _PIXEL_DATA:
            raise Stop(Status.UNSUPPORTED, Reason.PIXEL_FORMAT)
        if implicit:
            self._length = int.from_bytes(head[4:], order)
        elif head[4:6] in _LONG_VRS:
            self._length = int.from_bytes(self._file.read(4), order)
        else:
            self._length = int.from_bytes(head[6:], order)
        self._start = self._file.tell()
        self._swapped = not little and head[4:6] == b"OW"

    def _inflate(self) -> None:
        whole = pydicom.dcmread(self._path, specific_tags=[Tag("PixelData")])
        if "PixelData" not in whole:
            raise Stop(Status.NO_PIXELS, Reason.NO_PIXEL_DATA)
        value = whole.PixelData
        self._file, self._start, self._length = io.BytesIO(value), 0, len(value)

    @property
    def is_native(self) -> bool:
        """Whether the value has a defined length, that is, is not encapsulated (PS3.5 A.4)."""
        return self._length != UNDEFINED_LENGTH

    def native_frame(self, index: int, frame_bytes: int) -> bytes:
        """Read one uncompressed frame. Raises Stop if the value or the file ends before it does."""
        if frame_bytes * (index + 1) > self._length:
            raise Stop(Status.DECODE_ERROR, Reason.PIXELS_MISSING)
        self._file.seek(self._start + index * frame_bytes)
        data = self._file.read(frame_bytes)
        if len(data) < frame_bytes:
            raise Stop(Status.DECODE_ERROR, Reason.PIXELS_MISSING)
        return data

    @property
    def swaps_bytes(self) -> bool:
        """Whether bytes lie in big-endian words, so that two 8-bit pixels change places (PS3.5 8.1.1)."""
        return self._swapped

    def encapsulated_frame(self, index: int, frames: int) -> bytes:
        """Read one compressed frame, by the offset tables if there are any, else by counting fragments."""
        offsets = None
        self._refuse_cut_fragments()
        table, lengths = (self._dataset.get(f"ExtendedOffsetTable{suffix}") for suffix in ("", "Lengths"))
        if table and lengths:
            offsets = (table, lengths)
        return get_frame(self._file, index, number_of_frames=frames, extended_offsets=offsets)

    def _refuse_cut_fragments(self) -> None:
        """Raise Stop if a fragment is longer than what is left of the file; codecs would fill in grey.

        A missing sequence delimiter at the end is forgiven.
        """
        size = self._file.seek(0, io.SEEK_END)
        at = self._file.seek(self._start)
        while len(item := self._file.read(8)) == 8 and item[:4] == _ITEM:  # noqa: PLR2004
            at += 8 + int.from_bytes(item[4:], "little")
            if at > size:
                raise Stop(Status.DECODE_ERROR, Reason.PIXELS_MISSING)
            self._file.seek(at)
        self._file.seek(self._start)

    def digest(self) -> str:
        """Return the hash (hex) of the Pixel Data value, every frame of it. Raises Stop if it is cut off."""
        hasher = hashlib.blake2b(digest_size=16)
        self._file.seek(self._start)
        if self.is_native:
            self._hash(hasher, self._length)
        else:
            while (item := self._file.read(8)) not in (_SEQUENCE_DELIMITER, b""):
                if len(item) < 8 or item[:4] != _ITEM:  # noqa: PLR2004
                    raise Stop(Status.DECODE_ERROR, Reason.PIXELS_MISSING)
                hasher.update(item)
                self._hash(hasher, int.from_bytes(item[4:], "little"))
        return hasher.hexdigest()

    def _hash(self, hasher: "hashlib.blake2b", length: int) -> None:
        while length > 0:
            chunk = self._file.read(min(length, 1 << 20))
            if not chunk:
                raise Stop(Status.DECODE_ERROR, Reason.PIXELS_MISSING)
            hasher.update(chunk)
            length -= len(chunk)


def pixel_digest(path: str) -> str:
    """Return a text that is equal for two files only if Transfer Syntax UID and Pixel Data value are.

    Empty if the file cannot be read to the end of its Pixel Data.
    """
    try:
        with open(path, "rb") as file:
            dataset = read_header(file)
            source = PixelSource(file, dataset, path)
            source.open()
            return f"{getattr(dataset.file_meta, 'TransferSyntaxUID', '')} {source.digest()}"
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  (pydicom raises nearly everything there is)
        return ""
