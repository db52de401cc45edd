"""Pictures of DICOM files for people: what the network sees as PNG files, thumbnails, the whole frame."""

import errno
import io
import os
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dicomsort.dicom import isolation, reader
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.imaging.canvas import Canvas, Fitted, Preprocessing
from dicomsort.outcome import Failure, FileStamp, Reason, Status
from dicomsort.system.atomic import write_new
from dicomsort.system.pool_settings import PoolSettings

_TARGET_DONE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES})
_MARKED = "Source mark"
_MARK = re.compile(rb"tEXt" + _MARKED.encode() + rb"\0([0-9a-f]{32})")
_NEAR_BEGINNING = 512


@dataclass(frozen=True, slots=True)
class PictureSettings:
    """How pictures are made. preprocessing: the canvas, None for every pixel of the frame."""

    preprocessing: Preprocessing | None
    read: ReadSettings = field(default_factory=ReadSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A DICOM file, and where its picture goes. mark: 32 hexadecimal digits to know it by, or none."""

    path: str
    target: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A picture that stands in its place, and what a person should know of how it was read."""

    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture as the bytes of a file, its pixels, and the stamp of the file that it was read from."""

    content: bytes
    height: int
    width: int
    stamp: FileStamp | None


def write_all(
    paths: Iterable[str], folder: str, settings: PictureSettings
) -> Generator[tuple[Wanted, Written | Failure], None, None]:
    """Write a PNG of each file into the folder, in worker processes; nothing there is ever replaced.

    Yields each file once, in the order of completion. The picture is 8-bit gray and has the file's name with
    .png behind it; a name that comes again gets a number.
    """
    return write_each(_named(paths, folder), settings)


def write_each(
    wanted: Iterable[Wanted], settings: PictureSettings
) -> Generator[tuple[Wanted, Written | Failure], None, None]:
    """Write a PNG of each file where it is wanted; see `write_all`."""
    write = partial(_write, preprocessing=settings.preprocessing, settings=settings.read)
    return isolation.read_all(write, wanted, settings.pool)


def _named(paths: Iterable[str], folder: str) -> Iterator[Wanted]:
    taken: set[str] = set()
    for path in paths:
        name = os.path.basename(path)
        names = chain([f"{name}.png"], (f"{name}.{number}.png" for number in count(2)))
        free = next(name for name in names if name.casefold() not in taken)
        taken.add(free.casefold())
        yield Wanted(path, os.path.join(folder, free))


def _write(wanted: Wanted, preprocessing: Preprocessing | None, settings: ReadSettings) -> Written | Failure:
    reading = reader.read_dicom(wanted.path, preprocessing, settings)
    if isinstance(reading, Failure):
        return reading
    encoded, marked = io.BytesIO(), PngInfo()
    if wanted.mark:
        marked.add_text(_MARKED, wanted.mark)
    Image.fromarray(reading.image).save(encoded, "PNG", pnginfo=marked)
    try:
        os.makedirs(os.path.dirname(wanted.target) or os.curdir, exist_ok=True)
        write_new(wanted.target, encoded.getbuffer())
    except FileExistsError:
        return Failure(Status.IO_ERROR, Reason.DESTINATION_TAKEN)
    except OSError as error:
        reason = Reason.TARGET_DONE if error.errno in _TARGET_DONE else Reason.NOT_PLACED
        return Failure(Status.IO_ERROR, reason)
    return Written(reading.remarks)


def mark_of(picture: str) -> str:
    """Return the mark of a picture; empty for one that has none. Raises OSError."""
    with open(picture, "rb") as file:
        found = _MARK.search(file.read(_NEAR_BEGINNING))
    return found[1].decode() if found else ""


def thumbnail(path: str, side: int, quality: int, settings: ReadSettings) -> bytes | Failure:
    """Return the radiograph in a file as a JPEG, 8-bit gray, whose longer side has `side` pixels.

    quality: of the JPEG, 1 to 95. Read in this process: see `isolation`.
    """
    black, white = Preprocessing(size=side, fill=0), Preprocessing(size=side, fill=255)
    reading = reader.read_dicom(path, black, settings, (white,))
    if isinstance(reading, Failure):
        return reading
    inside = reading.image == reading.further[0]  # all but what the canvases are filled with
    picture = reading.image[np.ix_(inside.any(axis=1), inside.any(axis=0))]
    return _encoded(picture, "JPEG", quality=quality)


def full_size(path: str, settings: ReadSettings) -> bytes | Failure:
    """Return all pixels of the radiograph in a file as a PNG, 8-bit gray, packed lightly to be quick."""
    reading = reader.read_dicom(path, None, settings)
    if isinstance(reading, Failure):
        return reading
    return _encoded(reading.image, "PNG", compress_level=1)


def png(path: str, fitted: Fitted, settings: ReadSettings) -> Encoded | Failure:
    """Return the radiograph in a file as a PNG, packed lightly to be quick. Read in this process."""
    reading = reader.read_dicom(path, fitted, settings)
    if isinstance(reading, Failure):
        return reading
    height, width = reading.image.shape
    return Encoded(_encoded(reading.image, "PNG", compress_level=1), height, width, reading.stamp)


def _encoded(image: Canvas, kind: str, **options: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, kind, **options)
    return encoded.getvalue()
