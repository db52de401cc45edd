"""Compressed frame to pixels, at full or reduced size. Transfer Syntax UIDs: PS3.5 A, PS3.6 Table A-1."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicomsort.preprocess import Box

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
RLE = "1.2.840.10008.1.2.5"

NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED})
RAW_FRAMES = frozenset({ENCAPSULATED_UNCOMPRESSED, DEFLATED_FRAMES})
"""Encapsulated syntaxes whose frames hold the words of a native one, plain or deflated."""

Pixels = NDArray[Any]

_MOST_HALVINGS = 5
_SIZ = b"\xff\x4f\xff\x51"
_FRAME_HEADERS = frozenset({0xF7, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels (rows, columns) or (rows, columns, samples), and how they lie over the full image.

    step: full pixels a side that one of these stands for. shift: how far the picture lies to the right and
    down, in these pixels; the low-pass image of a wavelet is sampled at the corner of its pixels, not in
    their middle.
    """

    pixels: Pixels
    step: int = 1
    shift: float = 0.0

    def box(self, rows: int, columns: int) -> Box | None:
        """Return where the full image of (rows, columns) lies, in these pixels; a sliver may lie outside.

        None if these are all pixels.
        """
        if self.step == 1:
            return None
        return self.shift, self.shift, columns / self.step + self.shift, rows / self.step + self.shift


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a decoder.

    shape: (rows, columns) of the frame. enough: (rows, columns) that the result must at least have; the full
    shape asks for every pixel. bits: Bits Stored. signed: whether the values are two's complement (Pixel
    Representation 1). rgb: whether colours are stored as RGB.
    """

    shape: tuple[int, int]
    enough: tuple[int, int]
    bits: int = 16
    signed: bool = False
    rgb: bool = False


def _jpeg(frame: bytes) -> Pixels:
    return imagecodecs.jpeg_decode(_with_full_scan(frame))


def _is_unmarked_rgb(frame: bytes, wanted: Wanted) -> bool:
    """Tell a JPEG whose header says RGB while no marker in it does; decoders would take it for YCbCr."""
    return wanted.rgb and b"Adobe" not in frame[:4096]


def _with_full_scan(frame: bytes) -> bytes:
    """Correct a sequential scan header whose last coefficient Se is 0 instead of 63.

    The NEMA WG04 12-bit files are written so; ITU-T T.81 B.2.3 asks for Ss = 0 and Se = 63 in a sequential
    scan, and strict decoders refuse anything else.
    """
    sequential = b"\xff\xc0" in frame[:4096] or b"\xff\xc1" in frame[:4096]
    start = frame.find(b"\xff\xda", 0, 65536)
    if not sequential or start < 0 or start + 10 > len(frame):
        return frame
    end = start + 2 + int.from_bytes(frame[start + 2 : start + 4], "big")
    if frame[end - 3 : end] != b"\x00\x00\x00":
        return frame
    return frame[: end - 2] + b"\x3f" + frame[end - 1 :]


_DECODERS: dict[str, Callable[[bytes], Pixels]] = {
    "1.2.840.10008.1.2.4.50": _jpeg,
    "1.2.840.10008.1.2.4.51": _jpeg,
    "1.2.840.10008.1.2.4.57": imagecodecs.ljpeg_decode,
    "1.2.840.10008.1.2.4.70": imagecodecs.ljpeg_decode,
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_decode,
    "1.2.840.10008.1.2.4.81": imagecodecs.jpegls_decode,
    "1.2.840.10008.1.2.4.90": imagecodecs.jpeg2k_decode,
    "1.2.840.10008.1.2.4.91": imagecodecs.jpeg2k_decode,
    "1.2.840.10008.1.2.4.110": imagecodecs.jpegxl_decode,
    "1.2.840.10008.1.2.4.111": imagecodecs.jpegxl_decode,
    "1.2.840.10008.1.2.4.112": imagecodecs.jpegxl_decode,
    "1.2.840.10008.1.2.4.201": imagecodecs.htj2k_decode,
    "1.2.840.10008.1.2.4.202": imagecodecs.htj2k_decode,
    "1.2.840.10008.1.2.4.203": imagecodecs.htj2k_decode,
}

SUPPORTED = NATIVE | RAW_FRAMES | frozenset(_DECODERS) | {RLE}
"""Every Transfer Syntax UID that can be decoded."""

_JPEG_DCT = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
_JPEG_XL = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112))
CONVERTS_COLOUR = _JPEG_DCT | _JPEG_XL
"""Syntaxes whose decoder turns YCbCr into RGB whatever Photometric Interpretation says."""
LOSSY = _JPEG_DCT | frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (81, 91, 203, 111, 112))
"""Syntaxes whose values may be a little off, so that a bit above the others is no overlay."""


def decode(frame: bytes, transfer_syntax: str, wanted: Wanted) -> Decoded:
    """Decode one compressed frame of a syntax other than RLE, at the smallest size that is enough.

    Returns 8 or 16 bit values. Raises whatever the codec raises on damaged data; a reduced decode that fails
    gives way to a full one.
    """
    halvings = _halvings(wanted.shape, wanted.enough)
    reduce = _REDUCERS.get(transfer_syntax)
    while reduce is not None and halvings > 0:
        try:
            reduced = reduce(frame, halvings, wanted)
        except Exception:  # noqa: BLE001  (whatever it is, the full decode decides)
            reduced = None
        if reduced is not None:
            return reduced
        halvings -= 1
    if transfer_syntax in _JPEG_DCT and _is_unmarked_rgb(frame, wanted):
        return Decoded(np.asarray(imagecodecs.jpeg8_decode(frame, colorspace="RGB", outcolorspace="RGB")))
    return Decoded(np.asarray(_DECODERS[transfer_syntax](frame)))


def _halvings(shape: tuple[int, int], enough: tuple[int, int]) -> int:
    """Return how often both sides can be halved (rounding up) and still be enough, at most five times."""
    possible = (n for n in range(_MOST_HALVINGS, 0, -1) if _covers(_part(shape, 1 << n), enough))
    return next(possible, 0)


def _covers(shape: tuple[int, int], enough: tuple[int, int]) -> bool:
    return shape[0] >= enough[0] and shape[1] >= enough[1]


def _reduced_jpeg(frame: bytes, halvings: int, wanted: Wanted) -> Decoded | None:
    """Scale in the DCT (Pillow's draft mode); unsigned 8 bit only."""
    rows, columns = wanted.shape
    with Image.open(io.BytesIO(frame), formats=["JPEG"]) as image:
        if image.size != (columns, rows) or wanted.signed or _is_unmarked_rgb(frame, wanted):
            return None
        step = 1 << min(halvings, 3)
        image.draft("L", (-(-columns // step), -(-rows // step)))
        pixels = np.asarray(image)
    fits = pixels.ndim == 2 and pixels.shape == _part(wanted.shape, step)
    return Decoded(pixels, step) if fits else None


def _reduced_jpeg2000(frame: bytes, halvings: int, wanted: Wanted) -> Decoded | None:
    """Leave out resolution levels (Pillow with OpenJPEG, HTJ2K too); images of one component only.

    Values whose sign is not what the header says are bit patterns, and those have no average: see
    `Layout._as_said`.
    """
    end = frame.rfind(b"\xff\xd9")
    depth = _depth(frame)
    if depth is None or depth.signed != wanted.signed or end < 0:
        return None
    with Image.open(io.BytesIO(frame[: end + 2]), formats=["JPEG2000"]) as image:
        image.reduce = halvings  # type: ignore[method-assign, assignment]
        pixels = np.asarray(image)
    step = 1 << halvings
    if pixels.ndim != 2 or pixels.shape != _part(wanted.shape, step):
        return None
    pixels = pixels >> (8 * pixels.itemsize - depth.bits)  # Pillow aligns values to the left of 8 or 16 bits
    if depth.bits > wanted.bits:
        if pixels.max() >> wanted.bits > 1:
            return None  # bits of an overlay: only the full decode can take them away
        pixels = pixels.clip(max=(1 << wanted.bits) - 1)
    if depth.signed:  # and moves signed values up by half their range
        pixels = (pixels.astype(np.int32) - (1 << depth.bits - 1)).astype(np.int16)
    return Decoded(pixels, step, (step - 1) / 2 / step)


def keeps_to(frame: bytes, transfer_syntax: str, shape: tuple[int, int]) -> bool:
    """Tell whether a code stream is whole and claims the (rows, columns) of the DICOM header.

    A decoder believes the stream and not the header, so its claim has to be looked at before it is given the
    memory; and many decoders fill in grey for what is cut off.
    """
    family = _FAMILIES.get(transfer_syntax)
    if family is None:
        return True
    return family.size(frame) == shape and family.is_whole(frame)


def _size_of_jpeg(frame: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG or JPEG-LS stream (ITU-T T.81 B.2.2, T.87 C.2.2)."""
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 9 <= len(frame):
        if frame[at] != 0xFF or frame[at + 1] in (0x00, 0xFF):
            at += 1
        elif frame[at + 1] in _FRAME_HEADERS:
            return struct.unpack_from(">HH", frame, at + 5)
        else:
            at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _size_of_jpeg_2000(frame: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG 2000 stream, bare or in a JP2 file (ITU-T T.800 A.5.1, I.5.4)."""
    start = 0 if frame.startswith(_SIZ) else frame.find(b"jp2c" + _SIZ) + 4
    if not frame.startswith(_SIZ, start) or len(frame) < start + 24:
        return None
    right, down, left, up = struct.unpack_from(">4I", frame, start + 8)
    return down - up, right - left


def _size_of_jpeg_xl(frame: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG XL stream, bare or in boxes (ISO/IEC 18181-1 D.2, 18181-2 9)."""
    start = 0 if frame.startswith(b"\xff\x0a") else frame.find(b"\xff\x0a", 0, 4096)
    if start < 0:
        return None
    bits = int.from_bytes(frame[start + 2 : start + 12], "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    def side(small: bool) -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = bool(take(1))
    rows, ratio = side(small), take(3)
    over, under = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    return rows, rows * over // under if ratio else side(small)


def _ends_as_jpeg(frame: bytes) -> bool:
    """Look for the end marker behind the scan's head."""
    return frame.rfind(b"\xff\xd9") > frame.find(b"\xff\xda")


def _ends_anyhow(_: bytes) -> bool:
    """Leave it to the decoder, which refuses what is cut off, or makes a whole picture of less detail."""
    return True


class _Family(NamedTuple):
    """How to look into code streams of one kind."""

    size: Callable[[bytes], tuple[int, int] | None]
    is_whole: Callable[[bytes], bool]


_FAMILIES = {
    f"1.2.840.10008.1.2.4.{number}": family
    for family, numbers in (
        (_Family(_size_of_jpeg, _ends_as_jpeg), (50, 51, 57, 70, 80, 81)),
        (_Family(_size_of_jpeg_2000, _ends_anyhow), (90, 91, 201, 202, 203)),
        (_Family(_size_of_jpeg_xl, _ends_anyhow), (110, 111, 112)),
    )
    for number in numbers
}


class _Depth(NamedTuple):
    bits: int
    signed: bool


def _depth(frame: bytes) -> _Depth | None:
    """Return the bit depth of a code stream of one component (ITU-T T.800 A.5.1), else None."""
    start = frame.find(_SIZ, 0, 4096)
    if start < 0 or len(frame) < start + 43:
        return None
    components, depth = struct.unpack_from(">HB", frame, start + 40)
    bits = (depth & 0x7F) + 1
    return _Depth(bits, depth > 0x7F) if components == 1 and bits <= 16 else None


def _part(shape: tuple[int, int], step: int) -> tuple[int, int]:
    return -(-shape[0] // step), -(-shape[1] // step)


_REDUCERS: dict[str, Callable[[bytes, int, Wanted], Decoded | None]] = {
    "1.2.840.10008.1.2.4.50": _reduced_jpeg,
    "1.2.840.10008.1.2.4.51": _reduced_jpeg,
    "1.2.840.10008.1.2.4.90": _reduced_jpeg2000,
    "1.2.840.10008.1.2.4.91": _reduced_jpeg2000,
    "1.2.840.10008.1.2.4.201": _reduced_jpeg2000,
    "1.2.840.10008.1.2.4.202": _reduced_jpeg2000,
    "1.2.840.10008.1.2.4.203": _reduced_jpeg2000,
}


def decode_rle(frame: bytes, rows: int, columns: int, samples: int, bits_allocated: int) -> Pixels:
    """Decode one RLE frame (PS3.5 Annex G) to (rows, columns) or (rows, columns, samples), native order."""
    itemsize = bits_allocated // 8
    planes = imagecodecs.dicomrle_decode(frame, f"<u{itemsize}")
    pixels = np.frombuffer(planes, f"<u{itemsize}", count=rows * columns * samples)
    if samples == 1:
        return pixels.reshape(rows, columns)
    return np.moveaxis(pixels.reshape(samples, rows, columns), 0, -1)


def inflate_frame(frame: bytes, frame_bytes: int) -> bytes:
    """Inflate one deflated frame (PS3.5 A.4.13, RFC 1951) of `frame_bytes` bytes; never more than these."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, frame_bytes)
