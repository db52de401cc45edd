"""The pictures on a report: small JPEGs, made by worker processes, and never too many."""

import base64
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from PIL import Image

from dicomsort.dicom import isolation
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.outcome import Failure
from dicomsort.report.counts import Shown
from dicomsort.sorting.place import copy_or_source
from dicomsort.system.escaping import uncell, unescape
from dicomsort.system.pool_settings import PoolSettings

SIDE = 144
"""Pixels a side."""

_QUALITY = 78
_MOST = 300
_MOST_BYTES = 6 << 20


@dataclass(frozen=True, slots=True)
class PictureSettings:
    """How pictures are made. each: how many at each end of a class. read: as the run has read the files."""

    each: int = 8
    read: ReadSettings = field(default_factory=ReadSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)


def fair_share(strips: int, each: int) -> int:
    """Return how many pictures a strip may have, so that a page of many strips stays small."""
    return max(1, min(each, _MOST // max(strips, 1)))


def read_pictures(wanted: Iterable[Shown], out: str, settings: PictureSettings) -> dict[int, str]:
    """Read files: a data URI each by `Shown.at`, without those that cannot be read (any more).

    Once all take 6 MB the rest is left out.
    """
    files = {one.at: _file_of(one, out) for one in wanted}
    read = partial(_jpeg, settings=settings.read)
    found, size = {}, 0
    with closing(isolation.read_all(read, _few(files), settings.pool)) as pictures:
        for (at, _), picture in pictures:
            if isinstance(picture, Failure):
                continue
            uri = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
            size += len(uri)
            if size > _MOST_BYTES:
                break
            found[at] = uri
    return found


def _few(files: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    for number, file in enumerate(files.items()):
        if number == _MOST:
            return
        yield file


def _file_of(one: Shown, out: str) -> str:
    path, destination = (unescape(uncell(text)) for text in (one.path, one.destination))
    return copy_or_source(path, destination, one.action, out)


def _jpeg(wanted: tuple[int, str], settings: ReadSettings) -> bytes | Failure:
    from dicomsort.dicom import reader  # noqa: PLC0415  (in a worker, which has it loaded)

    reading = reader.read_dicom(wanted[1], Preprocessing(size=SIDE), settings)
    if isinstance(reading, Failure):
        return reading
    encoded = io.BytesIO()
    Image.fromarray(reading.image).save(encoded, "JPEG", quality=_QUALITY, optimize=True)
    return encoded.getvalue()
