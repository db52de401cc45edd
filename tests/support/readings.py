"""One file read at 64 pixels, and the encoders of every transfer syntax."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom.pixels.encoders.base import RLELosslessEncoder

from dicomsort.dicom import reader
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import Failure, ReadImage

CANVAS = Preprocessing(size=64)

DX = "1.2.840.10008.5.1.4.1.1.1.1"

Write = Callable[..., Path]


def read(path: Path) -> ReadImage | Failure:
    return reader.read_dicom(str(path), CANVAS)


def picture_of(path: Path) -> ReadImage:
    reading = read(path)
    assert isinstance(reading, ReadImage), reading
    return reading


def image_of(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return picture_of(path).image


SMOOTH = (np.add.outer(np.sin(np.arange(96) / 9), np.cos(np.arange(80) / 7)) * 900 + 2000).astype(np.uint16)

SMOOTH8 = (SMOOTH >> 4).astype(np.uint8)


def rle(pixels: Any) -> bytes:
    layout = {
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "samples_per_pixel": 1,
        "bits_allocated": 16,
    }
    words = {"bits_stored": 16, "pixel_representation": 0, "number_of_frames": 1}
    names = {"photometric_interpretation": "MONOCHROME2"}
    return RLELosslessEncoder.encode(pixels, encoding_plugin="pydicom", **layout, **words, **names)  # type: ignore[arg-type]


ENCODERS: dict[str, tuple[str, Callable[[Any], bytes | bytearray], bool, float]] = {
    # name: Transfer Syntax UID, encoder, 8 bit, gray levels of 255 that it may be off
    "rle": ("1.2.840.10008.1.2.5", rle, False, 0),
    "jpeg baseline": ("1.2.840.10008.1.2.4.50", lambda a: imagecodecs.jpeg8_encode(a, level=95), True, 2),
    "jpeg lossless SV1": (
        "1.2.840.10008.1.2.4.70",
        lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12),
        False,
        0,
    ),
    "jpeg lossless": (
        "1.2.840.10008.1.2.4.57",
        lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12),
        False,
        0,
    ),
    "jpeg-ls": ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode, False, 0),
    "jpeg-ls near": ("1.2.840.10008.1.2.4.81", lambda a: imagecodecs.jpegls_encode(a, level=2), False, 1),
    "jpeg 2000": (
        "1.2.840.10008.1.2.4.90",
        lambda a: imagecodecs.jpeg2k_encode(a, level=0, codecformat="j2k", reversible=True),
        False,
        0,
    ),
    "htj2k": ("1.2.840.10008.1.2.4.201", lambda a: imagecodecs.htj2k_encode(a), False, 0),
    "encapsulated uncompressed": ("1.2.840.10008.1.2.1.98", lambda a: a.tobytes(), False, 0),
}


def decoded_alike(path: Path, plain: Path, tolerance: float = 0.5) -> None:
    assert np.abs(image_of(path).astype(int) - image_of(plain)).mean() <= tolerance


def deflated(words: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(words) + deflater.flush()
