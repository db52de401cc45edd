"""The one way a file becomes what the network sees; classify, train and eval all come through here."""

import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dicomsort import dicom, workers
from dicomsort.outcome import Failure, Picture, Reason, Status
from dicomsort.preprocess import Preprocessing, fit

PICTURE_FORMATS = ("PNG", "JPEG", "WEBP")

Item = TypeVar("Item")

_LOST = {
    workers.Lost.CRASH: Failure(Status.CRASH, Reason.WORKER_DIED),
    workers.Lost.TIMEOUT: Failure(Status.TIMEOUT, Reason.TOO_SLOW),
}


def read_dicom(path: str, preprocessing: Preprocessing) -> Picture | Failure:
    """Read a DICOM file; anything else is not_dicom. See `dicom.read`."""
    return dicom.read(path, preprocessing)


def read_any(path: str, preprocessing: Preprocessing) -> Picture | Failure:
    """Read a DICOM file, or a PNG, JPEG or WebP picture that is already grey-scale as a person sees it."""
    reading = dicom.read(path, preprocessing)
    if isinstance(reading, Failure) and reading.status is Status.NOT_DICOM:
        return _read_picture(path, preprocessing)
    return reading


def read_all(
    read: Callable[[Item], Picture | Failure],
    items: Iterable[Item],
    settings: workers.PoolSettings,
    stop: threading.Event | None = None,
) -> Generator[tuple[Item, Picture | Failure], None, None]:
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
