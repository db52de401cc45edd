"""PNG, JPEG, WebP, TIFF and BMP: pictures that are gray-scale already as a person sees them."""

import errno
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dicomsort.dicom.other_files import READ_PICTURE
from dicomsort.imaging.canvas import Canvas, Fitted, Preprocessing, fit, fit_alone, to_bytes
from dicomsort.outcome import Failure, ReadImage, Reason, Status

PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")

_SHALLOW = 1 << 14  # a quarter of what 16 bits hold
_NO_RANGE = ("I", "F")  # modes of 32 bits, which do not tell what is white
_PHOTOMETRIC, _BITS = 262, 258  # TIFF 6.0, section 8
_WHITE_IS_ZERO = 0


class _TooLargeError(Exception):
    """More samples than are read."""


class _NoRangeError(Exception):
    """Numbers that do not tell which of them is white."""


def read_picture(
    file: str | BinaryIO, canvases: Sequence[Preprocessing | Fitted | None], max_pixels: int
) -> ReadImage | Failure:
    """Read a picture on every canvas, None for all its pixels; the first frame, if there are several.

    Colors become gray (ITU-R 601), what an alpha channel hides is black, and the EXIF orientation counts. 16
    bits are read as they are, of which 65535 is white, whatever the picture holds. max_pixels: samples beyond
    which it is not decoded. Never raises but for lack of memory.
    """
    try:
        with Image.open(file, formats=PICTURE_FORMATS) as image:
            _check(image, max_pixels)
            shallow = _is_deep(image) and _stored_range(image)[1] < _SHALLOW
            gray = _gray(image)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  (the decoders raise nearly everything there is)
        return _failure(error, file)
    first, *further = (_on(gray, canvas) for canvas in canvases)
    return ReadImage(first, remarks=(Reason.SHALLOW,) if shallow else (), further=tuple(further))


def _check(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height * len(image.getbands()) > max_pixels:
        raise _TooLargeError
    if image.mode in _NO_RANGE:
        raise _NoRangeError


def _failure(error: Exception, file: str | BinaryIO) -> Failure:
    if isinstance(error, _TooLargeError | Image.DecompressionBombError):
        return Failure(Status.UNSUPPORTED, Reason.TOO_LARGE)
    if isinstance(error, FileNotFoundError):
        return Failure(Status.IO_ERROR, Reason.VANISHED)
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return Failure(Status.IO_ERROR, Reason.UNREADABLE)
    if isinstance(error, _NoRangeError) or not READ_PICTURE.match(_start(file)):
        return Failure(Status.UNSUPPORTED, Reason.PICTURE_FORMAT)
    return Failure(Status.DECODE_ERROR, Reason.PICTURE_DAMAGED)


def _start(file: str | BinaryIO) -> bytes:
    if isinstance(file, str):
        with open(file, "rb") as opened:
            return opened.read(32)
    file.seek(0)
    return file.read(32)


def _on(gray: NDArray[np.float32], canvas: Preprocessing | Fitted | None) -> Canvas:
    if isinstance(canvas, Fitted):
        return fit_alone(gray, canvas)
    return to_bytes(gray) if canvas is None else fit(gray, canvas)


def _gray(image: Image.Image) -> NDArray[np.float32]:
    """Return gray values 0..255: float32 (rows, columns); black where the alpha channel hides them."""
    upright = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        gray = np.asarray(upright.convert("F"), np.float32)
        return (_greatest(image) - gray if _is_negative(image) else gray) / np.float32(257)
    gray = np.asarray(upright.convert("L"), np.float32)
    if upright.mode in ("LA", "RGBA"):
        gray = gray * (np.asarray(upright.getchannel("A"), np.float32) / np.float32(255))
    return gray


def _is_negative(image: Image.Image) -> bool:
    """Return whether zero is white in a 16-bit TIFF, which Pillow leaves as it is; fewer bits it inverts."""
    return _tag(image, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO


def _greatest(image: Image.Image) -> np.float32:
    return np.float32((1 << min(16, _tag(image, _BITS, 16))) - 1)


def _tag(image: Image.Image, number: int, default: int) -> int:
    """Return a number of a TIFF's first directory; the default if it is not there, or this is no TIFF."""
    value = getattr(image, "tag_v2", {}).get(number, default)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else default


def _is_deep(image: Image.Image) -> bool:
    """Return whether a picture that was just opened has 16 bits a sample; of colors Pillow gives 8."""
    return image.mode.startswith("I") or any(";16" in str(tile[3]) for tile in _tiles(image))


def _tiles(image: Image.Image) -> list[tuple[Any, ...]]:
    return getattr(image, "tile", [])


def _stored_range(image: Image.Image) -> tuple[int, int]:
    """Return the least and greatest sample of a 16-bit picture, but for its alpha; of colors roughly."""
    if image.mode.startswith("I"):
        least, most = np.asarray(image).min(), np.asarray(image).max()
        return int(least), int(most)
    colors = np.asarray(image)[..., : 1 if len(image.getbands()) < 3 else 3]
    return int(colors.min()) << 8, int(colors.max()) << 8 | 255


def picture_range(path: str) -> tuple[int, int] | None:
    """Return the least and greatest sample of a 16-bit picture; None of anything else, or if it is gone."""
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            return _stored_range(image) if _is_deep(image) else None
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  (as in `read_picture`)
        return None
