"""The one way a file becomes what the network sees; classify, train and eval all come through here."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dicomsort.dicom import dicom_file
from dicomsort.dicom.in_memory import Bytes, drawn, is_in_memory, stream_of
from dicomsort.dicom.plain_pictures import read_picture
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import DicomsortError, ExitCode, UsageError
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.imaging.grayscale import ConstantImageError
from dicomsort.inputs.sources import bytes_of
from dicomsort.outcome import Failure, Part, ReadImage, Reason, Status

_CANVAS, _DEFAULTS, _WITH_PICTURES = Preprocessing(), ReadSettings(), ReadSettings(pictures=True)


Source = str | os.PathLike[str] | Bytes | BinaryIO
"""A file by its name, its content, or the open file itself."""


class UnreadableError(DicomsortError):
    """A file that is no radiograph, or cannot be read.

    status, reason: as in the manifest; the message is both, and never holds a value of the header.
    """

    exit_code = ExitCode.SOME_FAILED

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.status}: {failure.reason}")
        self.status, self.reason = failure.status, failure.reason


def read_image(
    path: Source | NDArray[np.generic],
    preprocessing: Preprocessing | None = _CANVAS,
    settings: ReadSettings = _DEFAULTS,
) -> NDArray[np.uint8]:
    """Read a radiograph from a DICOM file as the gray picture that the network sees.

    Decodes only as many pixels as the picture needs, in this process: a damaged file may crash or hang a
    codec, from which the command line protects itself by worker processes.

    path: the file; or its content as bytes; or a file that is open in binary mode, which is read from its
    start; or an array (rows, columns) of numbers, low is black, see `in_memory.drawn`: uint8 is gray already,
    other numbers get a window by percentiles. preprocessing: the canvas, by default 224 pixels a side; None
    for the whole image with square pixels. settings: what is read at all.

    Returns a uint8 array of shape (size, size), or (rows, columns) without canvas; 0 is black, 255 white.
    Modality LUT or rescale, VOI LUT or window, and polarity are applied in the order of PS3.4 N.2; of several
    frames the middle one counts.

    Raises UnreadableError if the file is no DICOM file, no projection radiograph, or damaged, or an array has
    one value only; UsageError for anything else that is no picture; MemoryError.
    """
    if isinstance(path, np.ndarray):
        return _drawn(path, preprocessing)
    return read_file(path, preprocessing, settings).image


def _drawn(values: NDArray[np.generic], preprocessing: Preprocessing | None) -> NDArray[np.uint8]:
    try:
        return drawn(values, preprocessing)
    except ConstantImageError:
        raise UnreadableError(Failure(Status.DECODE_ERROR, Reason.CONSTANT_IMAGE)) from None


def read_file(source: Source, preprocessing: Preprocessing | None, settings: ReadSettings) -> ReadImage:
    """Read a radiograph with what its header says; see `read_image`, which raises the same."""
    held = stream_of(source) if is_in_memory(source) else None
    path = "" if is_in_memory(source) else _named(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's quote header values
        reading = read_dicom(path, preprocessing, settings, held=held)
    if isinstance(reading, Failure):
        raise UnreadableError(reading)
    return reading


def _named(source: object) -> str:
    if not isinstance(source, str | os.PathLike):
        raise UsageError(
            "a radiograph is read from a path, bytes, a file that is open in binary mode or an array, "
            f"not from {type(source).__name__}"
        )
    return os.fspath(source)


def read_dicom(
    path: str,
    preprocessing: dicom_file.On,
    settings: ReadSettings = _DEFAULTS,
    further: Sequence[Preprocessing] = (),
    held: Part | BinaryIO | None = None,
    wanted: dicom_file.Wanted | None = None,
) -> ReadImage | Failure:
    """Read a DICOM file, once for all canvases, and a picture if the settings say so; see `dicom_file.read`.

    Anything else is not_dicom.
    """
    reading = dicom_file.read(path, preprocessing, settings, further, held, wanted)
    if not settings.pictures or not isinstance(reading, Failure) or reading.reason is not Reason.PICTURE:
        return reading
    with bytes_of(path, held) as file:
        picture = read_picture(file, (preprocessing, *further), settings.max_pixels)
    return replace(picture, stamp=reading.stamp)


def read_any(path: str, preprocessing: Preprocessing) -> ReadImage | Failure:
    """Read a DICOM file, or a picture that is already gray-scale as a person sees it."""
    return read_dicom(path, preprocessing, _WITH_PICTURES)
