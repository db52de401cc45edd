"""Compressed frame to pixels, at full or reduced size. Transfer Syntax UIDs: PS3.5 A, PS3.6 Table A-1."""

import io
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicomsort.dicom.blank import has_blank_part
from dicomsort.dicom.jpeg import LOSSLESS, JpegStream, read_stream
from dicomsort.dicom.jpeg_2000 import SIZ, has_all_tiles, jpeg_2000_size
from dicomsort.dicom.jpeg_xl import jpeg_xl_size
from dicomsort.imaging.canvas import Box, lower_bits

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
_SYCC = re.compile(rb"colr\x01..\0\0\0\x12", re.DOTALL)  # T.800 I.5.3.3, Table I.10
_COD = b"\xff\x52"
_STARTS = (b"\xff\xd8\xff", SIZ, b"\0\0\0\x0cjP  ", b"\xff\x0a", b"\0\0\0\x0cJXL ")


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """Pixels (rows, columns) or (rows, columns, samples), and how they lie over the full image.

    words: the pixels; unsigned gray ones perhaps with more above the lower `bits`, which are those that
    count. step: full pixels a side that one of these stands for. shift: how far the picture lies to the right
    and down, in these pixels; the low-pass image of a wavelet is sampled at the corner of its pixels, not in
    their middle. luma: whether the first of three samples is Y, or they are RGB; None if only the header can
    tell. contradicts: whether the stream says RGB or YCbCr, and the header the other. precision: bits of a
    sample by the stream's own word; None if it says nothing.
    """

    words: Pixels
    step: int = 1
    shift: float = 0.0
    luma: bool | None = None
    contradicts: bool = False
    precision: int | None = None
    bits: int | None = None

    @property
    def pixels(self) -> Pixels:
        """The pixels without the bits that do not count, for which all have to be looked at."""
        return lower_bits(self.words, self.bits)

    def box(self, rows: int, columns: int) -> Box | None:
        """Return where the full image of (rows, columns) lies, in these pixels; a sliver may lie outside.

        None if these are all pixels.
        """
        if self.step == 1:
            return None
        return self.shift, self.shift, columns / self.step + self.shift, rows / self.step + self.shift


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """What is asked of a decoder.

    shape: (rows, columns) of the frame. enough: (rows, columns) that the result must at least have; the full
    shape asks for every pixel. bits: Bits Stored. signed: whether the values are two's complement (Pixel
    Representation 1). rgb: whether the header says RGB, or YBR of any kind; None for anything else. spare:
    how many bits lie below the stored ones by High Bit.
    """

    shape: tuple[int, int]
    enough: tuple[int, int]
    bits: int = 16
    signed: bool = False
    rgb: bool | None = None
    spare: int = 0


class DamagedError(ValueError):
    """A decoder has filled in what it did not find in the stream; no other one will do better."""


def _jpeg(frame: bytes, wanted: DecodeRequest) -> DecodedFrame:
    """Decode any JPEG: sequential, progressive or lossless, of 2 to 16 bits (ITU-T T.81).

    libjpeg-turbo reads restart intervals, several scans and the point transform, and is the fastest besides;
    `ljpeg_decode` (2026.3.6) returns garbage for these without an error, so it is only asked about streams
    that have none of them.
    """
    stream = _stream(frame)
    space = "RGB" if _keeps_colors(stream, wanted) else None
    try:
        pixels = imagecodecs.jpeg8_decode(_with_full_scan(frame), colorspace=space, outcolorspace=space)
    except imagecodecs.Jpeg8Error:
        if stream.process != LOSSLESS or not stream.is_plain:
            raise
        pixels = imagecodecs.ljpeg_decode(frame)
    if has_blank_part(stream, frame, pixels):
        raise DamagedError
    contradicts = _contradicts(stream, wanted)
    return DecodedFrame(pixels, luma=_has_luma(stream), contradicts=contradicts, precision=stream.precision)


def _jpeg_ls(frame: bytes, _: DecodeRequest) -> DecodedFrame:
    return DecodedFrame(imagecodecs.jpegls_decode(frame), precision=_stream(frame).precision)


def _stream(frame: bytes) -> JpegStream:
    stream = read_stream(frame)
    if stream is None:
        raise DamagedError
    return stream


def _keeps_colors(stream: JpegStream, wanted: DecodeRequest) -> bool:
    """Return whether three components are to be given out as they are coded: if lossless, or RGB.

    What they are the stream's own markers decide (PS3.5 8.2.1), the header only where they say nothing.
    """
    rgb = wanted.rgb if stream.is_rgb is None else stream.is_rgb
    return len(stream.components) == 3 and (stream.process == LOSSLESS or rgb is True)


def _has_luma(stream: JpegStream) -> bool | None:
    """Return what three decoded samples are: libjpeg turns YCbCr into RGB, but for lossless streams."""
    if stream.process != LOSSLESS:
        return False
    return None if stream.is_rgb is None else not stream.is_rgb


def _contradicts(stream: JpegStream, wanted: DecodeRequest) -> bool:
    known = len(stream.components) == 3 and None not in (stream.is_rgb, wanted.rgb)
    return known and stream.is_rgb is not wanted.rgb


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


def _jpeg_xl(frame: bytes, _: DecodeRequest) -> DecodedFrame:
    return DecodedFrame(imagecodecs.jpegxl_decode(frame), luma=False)


def _jpeg_2000(frame: bytes, _: DecodeRequest) -> DecodedFrame:
    """Decode JPEG 2000; colors that are sub-sampled, or called sYCC by a JP2 file, come out as RGB."""
    siz, cod = frame.find(SIZ), frame.find(_COD)
    is_sycc = _SYCC.search(frame, 0, siz) is not None or frame[siz + 46 : siz + 47] not in (b"\1", b"")
    components = int.from_bytes(frame[siz + 40 : siz + 42], "big")
    luma = False if components == 3 and (is_sycc or _is_transformed(frame, cod)) else None
    return DecodedFrame(imagecodecs.jpeg2k_decode(frame), luma=luma, precision=(frame[siz + 42] & 0x7F) + 1)


def _htj2k(frame: bytes, _: DecodeRequest) -> DecodedFrame:
    siz, cod = frame.find(SIZ), frame.find(_COD)
    luma = False if _is_transformed(frame, cod) else None
    return DecodedFrame(imagecodecs.htj2k_decode(frame), luma=luma, precision=(frame[siz + 42] & 0x7F) + 1)


def _is_transformed(frame: bytes, cod: int) -> bool:
    """Return whether a multiple component transform is undone by decoding, which gives RGB (T.800 A.6.1)."""
    return cod >= 0 and frame[cod + 8 : cod + 9] == b"\1"


_JPEG = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55, 57, 70))
JPEG_LS = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (80, 81))
_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91))
_JPEG_XL = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112))
_HTJ2K = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203))
_DECODERS: dict[str, Callable[[bytes, DecodeRequest], DecodedFrame]] = {
    **dict.fromkeys(_JPEG, _jpeg),
    **dict.fromkeys(JPEG_LS, _jpeg_ls),
    **dict.fromkeys(_JPEG_2000, _jpeg_2000),
    **dict.fromkeys(_JPEG_XL, _jpeg_xl),
    **dict.fromkeys(_HTJ2K, _htj2k),
}

SUPPORTED = NATIVE | RAW_FRAMES | frozenset(_DECODERS) | {RLE}
"""Every Transfer Syntax UID that can be decoded."""

RETIRED = frozenset({"1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"})
"""Progressive JPEG (spectral selection, full progression), which PS3.5 has retired."""
_JPEG_DCT = RETIRED | {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}
LOSSY = _JPEG_DCT | frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (81, 91, 203, 111, 112))
"""Syntaxes whose values may be a little off, so that a bit above the others is no overlay."""


def decode(frame: bytes, transfer_syntax: str, wanted: DecodeRequest) -> DecodedFrame:
    """Decode one compressed frame of a syntax other than RLE, at the smallest size that is enough.

    Returns 8 or 16 bit values. Raises whatever the codec raises on damaged data; a reduced decode that fails
    gives way to a full one.
    """
    halvings = _halvings(wanted.shape, wanted.enough)
    reduce = _REDUCERS.get(transfer_syntax)
    while reduce is not None and halvings > 0:
        try:
            reduced = reduce(frame, halvings, wanted)
        except DamagedError:
            raise
        except Exception:  # noqa: BLE001  (whatever it is, the full decode decides)
            reduced = None
        if reduced is not None:
            return reduced
        halvings -= 1
    return _DECODERS[transfer_syntax](frame, wanted)


def _halvings(shape: tuple[int, int], enough: tuple[int, int]) -> int:
    """Return how often both sides can be halved (rounding up) and still be enough, at most five times."""
    possible = (n for n in range(_MOST_HALVINGS, 0, -1) if _covers(_part(shape, 1 << n), enough))
    return next(possible, 0)


def _covers(shape: tuple[int, int], enough: tuple[int, int]) -> bool:
    return shape[0] >= enough[0] and shape[1] >= enough[1]


def _reduced_jpeg(frame: bytes, halvings: int, wanted: DecodeRequest) -> DecodedFrame | None:
    """Scale in the DCT (Pillow's draft mode); unsigned 8 bit only."""
    stream, (rows, columns) = _stream(frame), wanted.shape
    if _keeps_colors(stream, wanted):
        return None
    with Image.open(io.BytesIO(frame), formats=["JPEG"]) as image:
        if image.size != (columns, rows) or wanted.signed:
            return None
        step = 1 << min(halvings, 3)
        image.draft("L", (-(-columns // step), -(-rows // step)))
        pixels = np.asarray(image)
    if has_blank_part(stream, frame, pixels):
        return None  # a block may have gray for its mean and yet be more: the full decode decides
    fits = pixels.ndim == 2 and pixels.shape == _part(wanted.shape, step)
    return DecodedFrame(pixels, step, contradicts=_contradicts(stream, wanted)) if fits else None


def _reduced_jpeg2000(frame: bytes, halvings: int, wanted: DecodeRequest) -> DecodedFrame | None:
    """Leave out resolution levels (Pillow with OpenJPEG, HTJ2K too); images of one component only.

    Values whose sign is not what the header says are bit patterns, and those have no average: see
    `ImagePixelDescription._gray`.
    """
    end = frame.rfind(b"\xff\xd9")
    depth = _depth(frame)
    if depth is None or depth.signed != wanted.signed or end < 0:
        return None
    if wanted.spare and depth.bits > wanted.bits:
        return None  # bits to be dropped have no average
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
    return DecodedFrame(pixels, step, (step - 1) / 2 / step)


def keeps_to(frame: bytes, transfer_syntax: str, shape: tuple[int, int]) -> bool:
    """Return whether a code stream is whole and claims the (rows, columns) of the DICOM header.

    A decoder believes the stream and not the header, so its claim has to be looked at before it is given the
    memory; and many decoders fill in gray for what is cut off.
    """
    keeps_to_ = _KEEPS_TO.get(transfer_syntax)
    return keeps_to_ is None or keeps_to_(frame, shape)


def begins(head: bytes, transfer_syntax: str) -> bool:
    """Return whether the first 8 bytes of a fragment are those of a code stream, or of an RLE frame.

    T.81 B.2.1, T.87 C.1, T.800 A.4.1 and I.5.1, ISO/IEC 18181-2 9.1, PS3.5 G.5.
    """
    if transfer_syntax == RLE:
        return head[1:8] == b"\0\0\0\x40\0\0\0" and 1 <= head[0] <= 15
    return head.startswith(_STARTS)


def _keeps_to_jpeg(frame: bytes, shape: tuple[int, int]) -> bool:
    """Look at a JPEG or JPEG-LS stream: its frame header, its scans and restart markers, its end."""
    stream = read_stream(frame)
    return stream is not None and (stream.rows, stream.columns) == shape and stream.is_whole


def _keeps_to_jpeg_2000(frame: bytes, shape: tuple[int, int]) -> bool:
    """Look at the size of a JPEG 2000 stream, and whether all of its tiles are there."""
    return jpeg_2000_size(frame) == shape and has_all_tiles(frame)


_KEEPS_TO: dict[str, Callable[[bytes, tuple[int, int]], bool]] = {
    **dict.fromkeys(_JPEG | JPEG_LS, _keeps_to_jpeg),
    **dict.fromkeys(_JPEG_2000 | _HTJ2K, _keeps_to_jpeg_2000),
    **dict.fromkeys(_JPEG_XL, lambda frame, shape: jpeg_xl_size(frame) == shape),
}
"""What is cut off within a tile-part or a JPEG XL stream is left to the decoders."""


class _Depth(NamedTuple):
    bits: int
    signed: bool


def _depth(frame: bytes) -> _Depth | None:
    """Return the bit depth of a code stream of one component (ITU-T T.800 A.5.1), else None."""
    start = frame.find(SIZ, 0, 4096)
    if start < 0 or len(frame) < start + 43:
        return None
    components, depth = struct.unpack_from(">HB", frame, start + 40)
    bits = (depth & 0x7F) + 1
    return _Depth(bits, depth > 0x7F) if components == 1 and bits <= 16 else None


def _part(shape: tuple[int, int], step: int) -> tuple[int, int]:
    return -(-shape[0] // step), -(-shape[1] // step)


_REDUCERS: dict[str, Callable[[bytes, int, DecodeRequest], DecodedFrame | None]] = {
    **dict.fromkeys(_JPEG_DCT, _reduced_jpeg),
    **dict.fromkeys(_JPEG_2000 | _HTJ2K, _reduced_jpeg2000),
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
