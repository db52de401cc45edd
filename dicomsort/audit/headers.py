"""The headers of an output's radiographs, read again in workers, and kept in a few bytes each."""

from array import array
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

from dicomsort.dicom import isolation
from dicomsort.dicom.stated import Asked, Stated
from dicomsort.outcome import Failure, Reason, Status
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.reporting import Count

_NOT_READ, _LEFT = -1, -2
_OWN = ("sop_instance_uid", "accession")
_SHARED = attrgetter(*(name for name in Stated.__dataclass_fields__ if name not in _OWN))
_RECYCLE_AFTER = 200_000  # headers are quick, and no codec reads them


@dataclass(frozen=True, slots=True)
class Wanted:
    """A header to read. at: the place of the image. uid: its SOP Instance UID by the manifest."""

    at: int
    path: str
    uid: str

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Travel between processes by the fields alone."""
        return Wanted, (self.at, self.path, self.uid)


class Headers:
    """What headers state, by the place of the image; what many have in common is kept once.

    read: how many were looked for. failed: how many of them could not be read; a picture has none.
    """

    def __init__(self, images: int) -> None:
        self._which = array("i", [_LEFT]) * images
        self._accession = array("i", [0]) * images
        self._stated: list[Stated] = []
        self._known: dict[object, int] = {}
        self._accessions: dict[str, int] = {"": 0}
        self.read = self.failed = 0

    def put(self, at: int, found: Stated | Failure) -> None:
        """Keep what was read."""
        self.read += 1
        if isinstance(found, Failure):
            self._which[at] = _NOT_READ
            self.failed += found.reason not in (Reason.CHANGED, Reason.PICTURE)
            return
        shared = _SHARED(found)
        number = self._known.setdefault(shared, len(self._stated))
        if number == len(self._stated):
            self._stated.append(replace(found, sop_instance_uid="", accession=""))
        self._which[at] = number
        self._accession[at] = self._accessions.setdefault(found.accession, len(self._accessions))

    def number(self, at: int) -> int:
        """Return which of the different headers an image has; negative if none was read."""
        return self._which[at]

    def stated(self, number: int) -> Stated | None:
        """Return one of the different headers, without what is an image's own; None if there is none."""
        return self._stated[number] if number >= 0 else None

    def accession(self, at: int) -> int:
        """Return the number of an image's accession; 0 for none."""
        return self._accession[at]

    def accession_names(self) -> list[str]:
        """Return the hashes of the accession numbers by their numbers."""
        return list(self._accessions)


def read(headers: Headers, wanted: Iterable[Wanted], asked: Asked, pool: PoolSettings, count: Count) -> None:
    """Read headers in worker processes. count: told of each."""
    settings = replace(pool, recycle_after=_RECYCLE_AFTER)
    with closing(isolation.read_all(partial(_stated, asked=asked), wanted, settings)) as found:
        for one, stated in found:
            headers.put(one.at, stated)
            count(1)


def _stated(wanted: Wanted, asked: Asked) -> Stated | Failure:
    from dicomsort.dicom import stated  # noqa: PLC0415  (in a worker)

    found = stated.read_stated(wanted.path, asked)
    if isinstance(found, Stated) and wanted.uid not in ("", found.sop_instance_uid):
        return Failure(Status.IO_ERROR, Reason.CHANGED)
    return found
