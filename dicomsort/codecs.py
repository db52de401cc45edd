"""Compressed frame to pixels. Transfer Syntax UIDs: PS3.5 Annex A and PS3.6 Table A-1."""

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
RLE = "1.2.840.10008.1.2.5"

NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED})
KEEPS_COLOUR_SPACE = NATIVE | {RLE, ENCAPSULATED_UNCOMPRESSED}
"""Syntaxes whose pixels come in the colour space that Photometric Interpretation names."""

Pixels = NDArray[Any]


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

SUPPORTED = NATIVE | frozenset(_DECODERS) | {RLE, ENCAPSULATED_UNCOMPRESSED}
"""Every Transfer Syntax UID that can be decoded."""


def decode(frame: bytes, transfer_syntax: str) -> Pixels:
    """Decode one compressed frame of a syntax other than RLE, at full size.

    Returns (rows, columns) or (rows, columns, samples), 8 or 16 bit; colour as RGB where the code stream
    itself says how it is coded (JPEG, JPEG 2000). Raises whatever the codec raises on damaged data.
    """
    return np.asarray(_DECODERS[transfer_syntax](frame))


def decode_rle(frame: bytes, rows: int, columns: int, samples: int, bits_allocated: int) -> Pixels:
    """Decode one RLE frame (PS3.5 Annex G) to (rows, columns) or (rows, columns, samples), native order."""
    itemsize = bits_allocated // 8
    planes = imagecodecs.dicomrle_decode(frame, f"<u{itemsize}")
    pixels = np.frombuffer(planes, f"<u{itemsize}", count=rows * columns * samples)
    if samples == 1:
        return pixels.reshape(rows, columns)
    return np.moveaxis(pixels.reshape(samples, rows, columns), 0, -1)
