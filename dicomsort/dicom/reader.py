"""The one way a file becomes what the network sees; classify, train and eval all come through here."""

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dicomsort.dicom import dicom_file
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import DicomsortError, ExitCode
from dicomsort.imaging.canvas import Preprocessing, fit
from dicomsort.outcome import Failure, Part, ReadImage, Reason, Status

PICTURE_FORMATS = ("PNG", "JPEG", "WEBP")

_OTHER_PICTURE = re.compile(
    rb"II[*+]\0|MM\0[*+]|GIF8[79]a|BM.{4}\0{4}|\0\0\0\x0cjP  \r\n|\xffO\xffQ|\xff\n|\0\0\0\x0cJXL "
    rb"|.{4}ftyp(?:avi|hei|hev|mif|msf)|P[1-7]\s|8BPS|\0\0\x01\0|\n[\x00-\x05]\x01[\x01\x02\x04\x08]|v/1\x01|qoif",
    re.DOTALL,
)
"""How TIFF, GIF, BMP, JPEG 2000, JPEG XL, AVIF, HEIC, PNM, PSD, ICO, PCX, OpenEXR and QOI begin."""
_TARGA = b"TRUEVISION-XFILE.\0"
_SHALLOW = 1 << 14  # a quarter of what 16 bits hold

_CANVAS, _DEFAULTS = Preprocessing(), ReadSettings()


class UnreadableError(DicomsortError):
    """A file that is no radiograph, or cannot be read.

    status, reason: as in the manifest; the message is both, and never holds a value of the header.
    """

    exit_code = ExitCode.SOME_FAILED

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.status}: {failure.reason}")
        self.status, self.reason = failure.status, failure.reason


def read_image(
    path: str | os.PathLike[str],
    preprocessing: Preprocessing | None = _CANVAS,
    settings: ReadSettings = _DEFAULTS,
) -> NDArray[np.uint8]:
    """Read a radiograph from a DICOM file as the gray picture that the network sees.

    Decodes only as many pixels as the picture needs, in this process: a damaged file may crash or hang a
    codec, from which the command line protects itself by worker processes.

    path: the file. preprocessing: the canvas, by default 224 pixels a side; None for the whole image with
    square pixels. settings: what is read at all.

    Returns a uint8 array of shape (size, size), or (rows, columns) without canvas; 0 is black, 255 white.
    Modality LUT or rescale, VOI LUT or window, and polarity are applied in the order of PS3.4 N.2; of several
    frames the middle one counts.

    Raises UnreadableError if the file is no DICOM file, no projection radiograph, or damaged; MemoryError.
    """
    return read_file(path, preprocessing, settings).image


def read_file(
    path: str | os.PathLike[str], preprocessing: Preprocessing | None, settings: ReadSettings
) -> ReadImage:
    """Read a radiograph with what its header says; see `read_image`, which raises the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's quote header values
        reading = read_dicom(os.fspath(path), preprocessing, settings)
    if isinstance(reading, Failure):
        raise UnreadableError(reading)
    return reading


def read_dicom(
    path: str,
    preprocessing: Preprocessing | None,
    settings: ReadSettings = _DEFAULTS,
    further: Sequence[Preprocessing] = (),
    held: Part | BinaryIO | None = None,
) -> ReadImage | Failure:
    """Read a DICOM file, once for all canvases; anything else is not_dicom. See `dicom_file.read`."""
    return dicom_file.read(path, preprocessing, settings, further, held)


def read_any(path: str, preprocessing: Preprocessing) -> ReadImage | Failure:
    """Read a DICOM file, or a PNG, JPEG or WebP picture that is already gray-scale as a person sees it."""
    reading = dicom_file.read(path, preprocessing)
    if isinstance(reading, Failure) and reading.status is Status.NOT_DICOM:
        return _read_picture(path, preprocessing)
    return reading


def _read_picture(path: str, preprocessing: Preprocessing) -> ReadImage | Failure:
    """Read a picture; 16 bits as they are, of which 65535 is white, whatever it holds."""
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            shallow = _is_deep(image) and _stored_range(image)[1] < _SHALLOW
            gray = _gray(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        return _no_picture(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Failure(Status.DECODE_ERROR, Reason.PICTURE_DAMAGED)
    return ReadImage(fit(gray, preprocessing), remarks=(Reason.SHALLOW,) if shallow else ())


def _gray(image: Image.Image) -> NDArray[np.float32]:
    """Return gray values 0..255: float32 (rows, columns); black where the alpha channel hides them."""
    if image.mode.startswith("I"):
        return np.asarray(image.convert("F"), np.float32) / np.float32(257)
    gray = np.asarray(image.convert("L"), np.float32)
    if image.mode in ("LA", "RGBA"):
        gray = gray * (np.asarray(image.getchannel("A"), np.float32) / np.float32(255))
    return gray


def _is_deep(image: Image.Image) -> bool:
    """Return whether a picture that was just opened has 16 bits a sample; of colors Pillow gives 8."""
    return image.mode.startswith("I") or any(str(tile[3]).endswith(";16B") for tile in _tiles(image))


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
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _no_picture(path: str) -> Failure:
    """Say what a file is that is neither DICOM nor a picture that is read."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(32)
            file.seek(max(0, os.fstat(file.fileno()).st_size - len(_TARGA)))
            end = file.read(len(_TARGA))
    except OSError:
        return Failure(Status.IO_ERROR, Reason.UNREADABLE)
    if _OTHER_PICTURE.match(start) or end == _TARGA:
        return Failure(Status.UNSUPPORTED, Reason.PICTURE_FORMAT)
    return Failure(Status.NOT_DICOM, Reason.NO_DICOM)
