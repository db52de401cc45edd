"""Pictures and code streams that tests and benchmarks make with the encoders at hand."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels.encoders.base import RLELosslessEncoder

BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS, SV1 = (
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 55, 57, 70)
)
JPEG_LS, JPEG_LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
J2K, J2K_LOSSY, HTJ2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201"
JPEG_XL, JPEG_XL_LOSSY, RLE = "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.112", "1.2.840.10008.1.2.5"

JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
ADOBE_RGB, ADOBE_YCC = (b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes((transform,)) for transform in (0, 1))
Grid = NDArray[Any]


def scene(rows: int, columns: int, bits: int, samples: int = 1, noise: int = 16) -> Grid:
    """Smooth waves with a little noise, over nearly the whole range of the bits."""
    draw = np.random.default_rng(rows * columns + bits)
    waves = np.add.outer(np.sin(np.arange(rows) / 9), np.cos(np.arange(columns) / 7)) / 4.4 + 0.5
    planes = [np.roll(waves, 9 * sample, axis=1) * ((1 << bits) - 1) for sample in range(samples)]
    pixels = np.stack(planes, axis=-1) + draw.integers(
        0, max((1 << bits) // noise, 1), (rows, columns, samples)
    )
    pixels = pixels.clip(0, (1 << bits) - 1).astype(np.uint8 if bits <= 8 else np.uint16)
    return pixels[..., 0] if samples == 1 else pixels


WRITTEN: list[dict[str, Any]] = [
    {},
    {"optimize": True},
    {"progressive": True},
    {"restart_marker_rows": 1},
    {"restart_marker_rows": 3},
    {"restart_marker_rows": 100},
    {"restart_marker_blocks": 1},
    {"restart_marker_blocks": 5},
    {"progressive": True, "restart_marker_rows": 1},
]


def pillow(pixels: Grid, format_: str = "JPEG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format_, **options)
    return out.getvalue()


def jpeg_2000(pixels: Grid, **options: Any) -> bytes:
    return pillow(pixels, "JPEG2000", no_jp2=True, **options)


def rle(pixels: Grid) -> bytes:
    rows, columns, samples = (*pixels.shape, 1)[:3]
    bits = 8 * pixels.itemsize
    facts = {"rows": rows, "columns": columns, "samples_per_pixel": samples, "number_of_frames": 1}
    words = {
        "bits_allocated": bits,
        "bits_stored": bits,
        "pixel_representation": 0,
        "planar_configuration": 0,
    }
    meaning = {"photometric_interpretation": "RGB" if samples == 3 else "MONOCHROME2"}
    return RLELosslessEncoder.encode(pixels, encoding_plugin="pydicom", **facts, **words, **meaning)  # type: ignore[arg-type]
