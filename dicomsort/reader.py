"""The one way a file becomes what the network sees; classify, train and eval all come through here."""

import os
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dicomsort import dicom, workers
from dicomsort.errors import DicomsortError, ExitCode
from dicomsort.outcome import Failure, Picture, Reason, Status
from dicomsort.preprocess import Preprocessing, fit
from dicomsort.radiograph import ReadSettings

READING = 2
"""Grows when files are read otherwise than before, so that no older picture is taken from a cache."""

PICTURE_FORMATS = ("PNG", "JPEG", "WEBP")

Item = TypeVar("Item")
Result = TypeVar("Result")

_CANVAS, _DEFAULTS = Preprocessing(), ReadSettings()
_LOST = {
    workers.Lost.CRASH: Failure(Status.CRASH, Reason.WORKER_DIED),
    workers.Lost.TIMEOUT: Failure(Status.TIMEOUT, Reason.TOO_SLOW),
}


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
    """Read a radiograph from a DICOM file as the grey picture that the network sees.

    Decodes only as many pixels as the picture needs, in this process: a damaged file may crash or hang a
    codec, from which the command line protects itself by worker processes.

    path: the file. preprocessing: the canvas, by default 224 pixels a side; None for the whole image with
    square pixels. settings: what is read at all.

    Returns a uint8 array of shape (size, size), or (rows, columns) without canvas; 0 is black, 255 white.
    Modality LUT or rescale, VOI LUT or window, and polarity are applied in the order of PS3.4 N.2; of several
    frames the middle one counts.

    Raises UnreadableError if the file is no DICOM file, no projection radiograph, or damaged; MemoryError.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's quote header values
        reading = read_dicom(os.fspath(path), preprocessing, settings)
    if isinstance(reading, Failure):
        raise UnreadableError(reading)
    return reading.image


def read_dicom(
    path: str,
    preprocessing: Preprocessing | None,
    settings: ReadSettings = _DEFAULTS,
    further: Sequence[Preprocessing] = (),
) -> Picture | Failure:
    """Read a DICOM file, once for all canvases; anything else is not_dicom. See `dicom.read`."""
    return dicom.read(path, preprocessing, settings, further)


def read_any(path: str, preprocessing: Preprocessing) -> Picture | Failure:
    """Read a DICOM file, or a PNG, JPEG or WebP picture that is already grey-scale as a person sees it."""
    reading = dicom.read(path, preprocessing)
    if isinstance(reading, Failure) and reading.status is Status.NOT_DICOM:
        return _read_picture(path, preprocessing)
    return reading


def read_all(
    read: Callable[[Item], Result | Failure],
    items: Iterable[Item],
    settings: workers.PoolSettings,
    stop: threading.Event | None = None,
) -> Generator[tuple[Item, Result | Failure], None, None]:
    """Read many files in worker processes, in the order of completion; a lost worker is a Failure too.

    read: picklable; what to do with an item. See `workers.run`.
    """
    for item, result in workers.run(read, items, settings, stop):
        yield item, _LOST[result] if isinstance(result, workers.Lost) else result


def _read_picture(path: str, preprocessing: Preprocessing) -> Picture | Failure:
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            deep = image.mode.startswith("I")
            grey = np.asarray(ImageOps.exif_transpose(image).convert("F" if deep else "L"), dtype=np.float32)
    except UnidentifiedImageError:
        return Failure(Status.NOT_DICOM, Reason.NO_DICOM)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Failure(Status.DECODE_ERROR, Reason.PICTURE_DAMAGED)
    return Picture(fit(grey / np.float32(257) if deep else grey, preprocessing))
