"""The values stored in a frame, as Image Pixel Description tells them (PS3.3 C.7.6.3.1)."""

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from dicomsort.dicom import codecs
from dicomsort.dicom.codecs import DamagedError, DecodedFrame
from dicomsort.dicom.header import Rejected, numbers, raw_text
from dicomsort.dicom.pixel_source import PixelSource
from dicomsort.imaging.canvas import lower_bits
from dicomsort.outcome import Header, Reason, Status

_PHOTOMETRIC = {
    re.sub("[^A-Z0-9]", "", known): known
    for known in (
        *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422"),
        *("YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_RCT", "YBR_ICT", "XYB"),
    )
}
_NUMBERS = (
    *("NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PlanarConfiguration"),
)
_OTHER_PLUGINS = ("pylibjpeg", "pyjpegls", "gdcm")
_MAKES_UP = {("pylibjpeg", syntax) for syntax in codecs.JPEG_LS}
"""libjpeg gives a picture without an error for JPEG-LS streams that are cut off or overwritten."""
_NEAR, _SPREAD = 16, 32


@dataclass(frozen=True, slots=True)
class StoredValues:
    """A frame's gray values, signed or not as the header says. by_another: imagecodecs had refused them."""

    decoded: DecodedFrame
    by_another: bool = False

    @property
    def remarks(self) -> list[Reason]:
        """What a person should know of how they were decoded."""
        other, colors = [Reason.OTHER_DECODER], [Reason.STREAM_DECIDES]
        return other * self.by_another + colors * self.decoded.contradicts


class ImagePixelDescription:
    """How the pixels lie in a frame (PS3.3 C.7.6.3.1). remarks: on what was read as meant, or not at all."""

    def __init__(self, dataset: Dataset, header: Header) -> None:
        self.rows, self.columns = header.rows or 0, header.columns or 0
        self.frames = max(header.frames or 1, 1)
        found = {keyword: numbers(dataset, keyword) for keyword in _NUMBERS}
        self.remarks = [remark for each in found.values() for remark in each.remarks]
        self.samples = found["SamplesPerPixel"].integer or 1
        self.bits_allocated = found["BitsAllocated"].integer or 0
        self.bits_stored = found["BitsStored"].integer or self.bits_allocated
        high_bit = found["HighBit"].integer
        self.high_bit = self.bits_stored - 1 if high_bit is None else high_bit
        self.signed = found["PixelRepresentation"].integer == 1
        self.planar = found["PlanarConfiguration"].integer == 1
        self.photometric, odd = _photometric(dataset, self.samples)
        self.remarks += odd
        self.syntax = header.transfer_syntax or _guessed_syntax(dataset)
        if self.syntax in codecs.RETIRED:
            self.remarks.append(Reason.RETIRED_SYNTAX)

    @property
    def frame(self) -> int:
        """The frame that stands for all, counted from 0: the middle one."""
        return self.frames // 2

    @property
    def frames_to_try(self) -> list[int]:
        """The middle frame, then those that may take its place: the nearest first, later a few of all."""
        near = range(max(0, self.frame - _NEAR), min(self.frames, self.frame + _NEAR + 1))
        spread = (self.frames * number // _SPREAD for number in range(_SPREAD))
        return list(dict.fromkeys([*sorted(near, key=lambda frame: abs(frame - self.frame)), *spread]))

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

    @property
    def range(self) -> tuple[int, int]:
        """Lowest and highest value that the stored bits can hold."""
        span = 1 << self.bits_stored
        return (-span // 2, span // 2 - 1) if self.signed else (0, span - 1)

    def check(self, max_pixels: int) -> None:
        """Raise Stop for what cannot be decoded, or should not be tried: more than `max_pixels` samples."""
        if self.rows <= 0 or self.columns <= 0:
            raise Rejected(Status.DECODE_ERROR, Reason.HEADER_DAMAGED)
        if self.rows * self.columns * self.samples > max_pixels:
            raise Rejected(Status.UNSUPPORTED, Reason.TOO_LARGE)
        sane = self.bits_allocated in (8, 16) and 1 <= self.bits_stored <= self.bits_allocated
        if not sane or self.samples not in (1, 3) or self.high_bit >= self.bits_allocated:
            raise Rejected(Status.UNSUPPORTED, Reason.PIXEL_FORMAT)

    def stored_values(self, source: PixelSource, frame: int, enough: tuple[int, int]) -> StoredValues:
        """Return a frame, counted from 0: one gray value a pixel, of at least `enough` (rows, columns)."""
        if source.is_native != (self.syntax in codecs.NATIVE):
            raise Rejected(Status.DECODE_ERROR, Reason.PIXELS_DAMAGED)
        native = source.is_native
        stored = self._native(source, frame) if native else self._compressed(source, frame, enough)
        step = stored.decoded.step
        shape = -(-self.rows // step), -(-self.columns // step)
        if stored.decoded.words.shape not in (shape, (*shape, 3)):
            raise Rejected(Status.DECODE_ERROR, Reason.PIXELS_DAMAGED)
        return replace(stored, decoded=self._gray(stored.decoded))

    def _gray(self, decoded: DecodedFrame) -> DecodedFrame:
        """Return the gray values of what was decoded, signed or not as Pixel Representation says."""
        words = self._lowered(decoded.words, decoded.precision)
        if words.ndim == 3:
            luma = self._has_luma if decoded.luma is None else decoded.luma
            return replace(decoded, words=_brightness(words, luma))
        if self.signed:
            return replace(decoded, words=self._with_sign(words))
        if words.dtype.kind == "i":
            return replace(decoded, words=words.view(f"u{words.itemsize}"), bits=self.bits_stored)
        exact = words.dtype.kind == "u" and self.syntax not in codecs.LOSSY
        return replace(decoded, words=words, bits=self.bits_stored if exact else None)

    def _native(self, source: PixelSource, frame: int) -> StoredValues:
        halved = self._halved_color(source.length // self.frames)
        words = source.native_frame(frame, self.frame_bytes * 2 // 3 if halved else self.frame_bytes)
        if self.bits_allocated == 8 and source.swaps_bytes and words.size % 2 == 0:
            words = words.view(np.uint16).byteswap().view(np.uint8)
        return StoredValues(
            DecodedFrame(self._luma(words) if halved else self._in_word(words.view(self.dtype)))
        )

    def _compressed(self, source: PixelSource, number: int, enough: tuple[int, int]) -> StoredValues:
        frame = source.encapsulated_frame(number, self.frames, self.syntax)
        if self.syntax == codecs.RLE:
            pixels = codecs.decode_rle(frame, self.rows, self.columns, self.samples, self.bits_allocated)
            return StoredValues(DecodedFrame(self._in_order(pixels)))
        if self.syntax in codecs.RAW_FRAMES:
            return StoredValues(DecodedFrame(self._raw_frame(frame)))
        if not codecs.keeps_to(frame, self.syntax, (self.rows, self.columns)):
            raise Rejected(Status.DECODE_ERROR, Reason.PIXELS_DAMAGED)
        shape, bits = (self.rows, self.columns), self.bits_stored
        wanted = codecs.DecodeRequest(shape, enough, bits, self.signed, self._says_rgb, self._spare)
        try:
            return StoredValues(codecs.decode(frame, self.syntax, wanted))
        except DamagedError as error:
            raise Rejected(Status.DECODE_ERROR, Reason.PIXELS_DAMAGED) from error
        except Exception:
            other = self._by_another_plugin(frame)
            if other is None:
                raise
            return StoredValues(DecodedFrame(other), by_another=True)

    def _raw_frame(self, frame: bytes) -> NDArray[Any]:
        if self.syntax == codecs.DEFLATED_FRAMES:
            frame = codecs.inflate_frame(frame, self.frame_bytes)
        halved = self._halved_color(len(frame))
        words = np.frombuffer(
            frame, np.uint8, count=self.frame_bytes * 2 // 3 if halved else self.frame_bytes
        )
        return self._luma(words) if halved else self._in_word(words.view(self.dtype))

    def _by_another_plugin(self, frame: bytes) -> NDArray[Any] | None:
        """Try what else is installed for pydicom; GDCM comes last, for it has crashed on damaged data."""
        decoder, data = get_decoder(UID(self.syntax)), encapsulate([frame])
        options: dict[str, Any] = {
            "rows": self.rows,
            "columns": self.columns,
            "number_of_frames": 1,
            "samples_per_pixel": self.samples,
            "planar_configuration": int(self.planar),
            "photometric_interpretation": self.photometric,
            "bits_allocated": self.bits_allocated,
            "bits_stored": self.bits_stored,
            "pixel_representation": int(self.signed),
        }
        known = [name for name in _OTHER_PLUGINS if name in decoder.available_plugins]
        for plugin in (name for name in known if (name, self.syntax) not in _MAKES_UP):
            with suppress(Exception):  # the first decoder's complaint stands
                pixels, facts = decoder.as_array(data, decoding_plugin=plugin, **options)
                return _brightness(pixels, str(facts["photometric_interpretation"]).startswith("YBR"))
        return None

    def _halved_color(self, frame_bytes: int) -> bool:
        """Return whether this is native YBR_FULL_422 of two bytes a pixel (PS3.3 C.7.6.3.1.2).

        Some files only say so and have three.
        """
        says = self.photometric == "YBR_FULL_422" and self.samples == 3 and self.bits_allocated == 8
        return says and self.columns % 2 == 0 and frame_bytes < self.frame_bytes

    def _luma(self, words: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return Y of the order Y Y Cb Cr."""
        return words.reshape(self.rows, self.columns // 2, 4)[..., :2].reshape(self.rows, self.columns)

    def _in_word(self, words: NDArray[Any]) -> NDArray[Any]:
        """Return the values as (rows, columns) or (rows, columns, samples)."""
        if self.samples == 1:
            return self._in_order(words.reshape(self.rows, self.columns))
        if self.planar:
            return self._in_order(np.moveaxis(words.reshape(self.samples, self.rows, self.columns), 0, -1))
        return self._in_order(words.reshape(self.rows, self.columns, self.samples))

    @property
    def _spare(self) -> int:
        """How many bits lie below the stored ones; they are no part of a value, and may be overlays."""
        return max(self.high_bit + 1 - self.bits_stored, 0)

    def _lowered(self, pixels: NDArray[Any], precision: int | None) -> NDArray[Any]:
        """Drop the bits below the stored ones of a code stream that holds whole words.

        One whose samples have only the stored bits was made without them, whatever High Bit says.
        """
        if not self._spare or precision is None or precision <= self.bits_stored:
            return pixels
        return np.asarray(np.right_shift(pixels.view(f"u{pixels.itemsize}"), self._spare))

    def _in_order(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return words in the machine's byte order, without what lies below the stored bits.

        What lies above them, which may be overlays, is taken from colors only; see `DecodedFrame`.
        """
        native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        native = np.right_shift(native, self._spare) if self._spare else native
        return lower_bits(native, self.bits_stored) if native.ndim == 3 else native

    def _with_sign(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return signed values, whatever the decoder took them for."""
        if pixels.dtype.kind == "i":
            return pixels
        spare = 8 * pixels.itemsize - self.bits_stored
        if spare < 0:  # a stream of fewer bits does not reach the sign
            return pixels.astype(np.int16)
        if not spare:
            return pixels.view(f"i{pixels.itemsize}")
        shifted = np.left_shift(pixels, spare).view(f"i{pixels.itemsize}")
        return np.asarray(np.right_shift(shifted, spare, out=shifted))

    @property
    def _has_luma(self) -> bool:
        """Whether the header says that the first of three samples is Y, which needs no colors to be known.

        YBR_RCT and YBR_ICT are undone by the decoder.
        """
        return self.photometric.startswith("YBR_") and self.photometric not in ("YBR_RCT", "YBR_ICT")

    @property
    def _says_rgb(self) -> bool | None:
        """Whether the header says RGB, or YBR of any kind; None for anything else."""
        if self.photometric == "RGB":
            return True
        return False if self.photometric.startswith("YBR_") else None


def _brightness(pixels: NDArray[Any], has_luma: bool) -> NDArray[Any]:
    """Return the brightness of (rows, columns) or (rows, columns, samples): Y, or BT.601 weights of RGB."""
    if pixels.ndim == 2:
        return pixels
    if has_luma:
        return np.ascontiguousarray(pixels[..., 0])
    return np.asarray(pixels[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))


def _photometric(dataset: Dataset, samples: int) -> tuple[str, list[Reason]]:
    """Return Photometric Interpretation (PS3.3 C.7.6.3.1.2), and remarks if it is not written as it should.

    Blanks, hyphens and lower case are forgiven. An unknown term leaves open which end is white.
    """
    said = raw_text(dataset, "PhotometricInterpretation")
    known = _PHOTOMETRIC.get(re.sub("[^A-Z0-9]", "", said.upper()), "")
    if said and not known:
        return "", [Reason.PHOTOMETRIC_UNKNOWN, *([Reason.POLARITY] * (samples == 1))]
    return known, [Reason.PHOTOMETRIC_MEANT] * (said != known)


def _guessed_syntax(dataset: Dataset) -> str:
    """Name the native syntax that pydicom found for a file without Transfer Syntax UID."""
    implicit, little = dataset.original_encoding
    if not little:
        return codecs.EXPLICIT_BIG
    return codecs.IMPLICIT_LITTLE if implicit else codecs.EXPLICIT_LITTLE
