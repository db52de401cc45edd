"""One image, in a worker: whose it is, in which part that puts it, and the bytes of its file."""

import errno
import os
from dataclasses import dataclass
from typing import Any

from dicomsort.dicom import patient
from dicomsort.export.datasets.choosing import Chosen, part_of
from dicomsort.export.datasets.settings import DatasetSettings, Picture
from dicomsort.imaging.canvas import Fitted
from dicomsort.inputs.sources import local, stamp_of
from dicomsort.outcome import Failure, FileStamp, Reason, Status
from dicomsort.system.atomic import write_new

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES})


@dataclass(frozen=True, slots=True)
class Drawn:
    """An image of a data set. patient: the key. file: relative to the data set, or to its shard.

    content: of the file; nothing if it has been written already, or in a dry run. rows, columns: of the
    picture; 0 if it was not decoded.
    """

    part: str
    patient: str
    file: str
    content: bytes | None = None
    rows: int = 0
    columns: int = 0

    def facts(self, chosen: Chosen) -> dict[str, Any]:
        """Return the row of the table."""
        pixels = {"rows": self.rows, "columns": self.columns} if self.rows else {}
        told = {"label": chosen.label, "part": self.part, "sample": chosen.sample, "patient": self.patient}
        return {"file_name": self.file, **told, **pixels, **chosen.facts}


def folder_of(label: str) -> str:
    """Return the folder for a label; of several `a+b`."""
    return label.replace("|", "+")


def draw(chosen: Chosen, settings: DatasetSettings, salt: bytes) -> Drawn | Failure:
    """Read an image; where a data set has a file for each, write that, which replaces nothing."""
    key = patient.key_of(chosen.path, salt)
    if key is None:
        return Failure(Status.IO_ERROR, Reason.VANISHED)
    part, name = part_of(key, settings.shares, settings.seed), f"{chosen.sample}.{settings.picture.extension}"
    file = name if settings.target.has_shards else f"{part}/{folder_of(chosen.label)}/{name}"
    if settings.dry_run:
        return Drawn(part, key, file)
    drawn = _content(chosen, settings)
    if isinstance(drawn, Failure):
        return drawn
    content, rows, columns = drawn
    if settings.target.has_shards:
        return Drawn(part, key, file, content, rows, columns)
    failure = _put(os.path.join(settings.folder, file), content)
    return failure or Drawn(part, key, file, None, rows, columns)


def _content(chosen: Chosen, settings: DatasetSettings) -> tuple[bytes, int, int] | Failure:
    """Return the bytes of the file, and the rows and columns of the picture. No error leaves it."""
    if settings.picture is Picture.DICOM:
        return _whole(chosen)
    from dicomsort.dicom import render  # noqa: PLC0415  (in a worker, which has it loaded)

    fitted = Fitted(settings.size, 16 if settings.picture is Picture.PNG16 else 8)
    drawn = render.png(chosen.path, fitted, settings.read)
    if isinstance(drawn, Failure):
        return drawn
    if _has_changed(chosen, drawn.stamp):
        return Failure(Status.IO_ERROR, Reason.CHANGED)
    return drawn.content, drawn.height, drawn.width


def _whole(chosen: Chosen) -> tuple[bytes, int, int] | Failure:
    try:
        with local(chosen.path) as here:
            if _has_changed(chosen, here.stamp or stamp_of(chosen.path)):
                return Failure(Status.IO_ERROR, Reason.CHANGED)
            with open(here.file, "rb") as file:
                return file.read(), 0, 0
    except FileNotFoundError:
        return Failure(Status.IO_ERROR, Reason.VANISHED)
    except OSError:
        return Failure(Status.IO_ERROR, Reason.UNREADABLE)


def _has_changed(chosen: Chosen, stamp: FileStamp | None) -> bool:
    return chosen.stamp is not None and stamp is not None and not chosen.stamp.is_of(stamp)


def _put(target: str, content: bytes) -> Failure | None:
    """Write a file, or find that a run that was killed has written it."""
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        write_new(target, content)
    except FileExistsError:
        if _holds(target, content):
            return None
        return Failure(Status.IO_ERROR, Reason.DESTINATION_TAKEN)
    except OSError as error:
        reason = Reason.TARGET_DONE if error.errno in _FULL else Reason.NOT_PLACED
        return Failure(Status.IO_ERROR, reason)
    return None


def _holds(path: str, content: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return os.fstat(file.fileno()).st_size == len(content) and file.read() == content
    except OSError:
        return False
