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
    shape asks for every pixel. signed: whether the values are two's complement (Pixel Representation 1).
    """

    shape: tuple[int, int]
    enough: tuple[int, int]
    signed: bool = False


def _jpeg(frame: bytes) -> Pixels:
    return imagecodecs.jpeg_decode(_with_full_scan(frame))


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

CONVERTS_COLOUR = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
"""Syntaxes whose decoder turns YCbCr into RGB whatever Photometric Interpretation says."""


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
        if image.size != (columns, rows) or wanted.signed:
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
    if depth.signed:  # and moves signed values up by half their range
        pixels = (pixels.astype(np.int32) - (1 << depth.bits - 1)).astype(np.int16)
    return Decoded(pixels, step, (step - 1) / 2 / step)


class _Depth(NamedTuple):
    bits: int
    signed: bool


def _depth(frame: bytes) -> _Depth | None:
    """Return the bit depth of a code stream of one component (ITU-T T.800 A.5.1), else None."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
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
