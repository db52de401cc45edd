"""What a folder holds to be sent: sorted files of an output, or what `annotate` has written."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from dicomsort.errors import UsageError
from dicomsort.export.journal import entries
from dicomsort.export.kinds import ANNOTATIONS
from dicomsort.inputs.names import is_plain
from dicomsort.manifest.names import MANIFEST
from dicomsort.manifest.reading import ManifestRow, read_manifest
from dicomsort.outcome import FileStamp, Status
from dicomsort.sorting import shards
from dicomsort.sorting.place import copy_or_source, stamp_of
from dicomsort.system.escaping import escape
from dicomsort.transfer.answers import Left


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may be sent. name: as the journal calls it. path: where it is. stamp: as it is now."""

    name: str
    path: str
    stamp: FileStamp


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which files of an output are sent. labels: of these classes; empty for all. statuses: such rows."""

    labels: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = (Status.SORTED,)


def candidates(folder: str, chosen: Chosen, left: Counter[str]) -> Iterator[Candidate]:
    """Return the files of a folder that may be sent; counts what cannot be, by reason.

    Raises UsageError if the folder holds neither an output nor what `annotate` has written.
    """
    if os.path.exists(os.path.join(folder, MANIFEST)):
        shards.check_merged(folder)
        return _sorted(folder, chosen, left)
    if os.path.exists(os.path.join(folder, ANNOTATIONS)):
        if chosen != Chosen():
            raise UsageError("--label and --status go with an output of classify; this is one of annotate")
        return _annotated(folder, left)
    raise UsageError(f"'{escape(folder)}' is no output of classify or annotate")


def _sorted(folder: str, chosen: Chosen, left: Counter[str]) -> Iterator[Candidate]:
    seen = set[int]()
    for row in read_manifest(folder):
        if row.status not in chosen.statuses or (chosen.labels and row.final_label not in chosen.labels):
            continue
        key = hash(row.header.sop_instance_uid)
        if row.header.sop_instance_uid and key in seen:
            left[Left.SAME_UID] += 1
            continue
        seen.add(key)
        found = _file_of(row, folder)
        if isinstance(found, Left):
            left[found] += 1
        else:
            yield found


def _file_of(row: ManifestRow, folder: str) -> Candidate | Left:
    path = copy_or_source(row.path, row.destination, row.action, folder)
    if path == row.path and not is_plain(path):
        return Left.NOT_HERE
    stamp = _stamp(path)
    if stamp is None:
        return Left.NOT_HERE
    if path == row.path and row.stamp is not None and stamp != row.stamp:
        return Left.CHANGED
    return Candidate(path if path == row.path else row.destination, path, stamp)


def _annotated(folder: str, left: Counter[str]) -> Iterator[Candidate]:
    for entry in entries(folder):
        path = os.path.join(folder, entry.file)
        stamp = _stamp(path)
        if stamp is None:
            left[Left.NOT_HERE] += 1
        elif stamp != entry.stamp:
            left[Left.CHANGED] += 1
        else:
            yield Candidate(entry.file, path, stamp)


def _stamp(path: str) -> FileStamp | None:
    try:
        return stamp_of(path)
    except OSError:
        return None
