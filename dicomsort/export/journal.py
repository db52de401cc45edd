"""annotations.csv: what was written into a folder of copies or reports, and how it is taken away again."""

import csv
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from dicomsort.errors import TargetError, UsageError
from dicomsort.export.kinds import ANNOTATIONS
from dicomsort.export.placing import digest
from dicomsort.export.written import Written
from dicomsort.inputs import sources
from dicomsort.manifest.mending import cut_torn_line, mend_line_ends
from dicomsort.outcome import FileStamp, Reason
from dicomsort.sorting.place import stamp_of
from dicomsort.sorting.plan import PlanResult
from dicomsort.system import durable, locks
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import cell, escape, uncell, unescape

COLUMNS = ("file", "kind", "source", "images", "corrected", "size", "mtime_ns", "sha256")
_SECONDS = 1.0

Step = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that was written. file: relative to the folder. source: of a copy; empty of a report."""

    file: str
    source: str
    stamp: FileStamp
    sha256: str
    cells: tuple[str, ...]


class Journal:
    """Rows on their way to the journal: first what was written is on the disk, then the row that says so.

    Rows are written in groups, at most a second after they came. known: files that have their row.
    """

    def __init__(self, folder: str) -> None:
        self._folder, self._path = folder, os.path.join(folder, ANNOTATIONS)
        self.known = {entry.file for entry in entries(folder)}
        self._waiting: list[Written] = []
        self._written = time.monotonic()

    def add(self, one: Written) -> None:
        """Take what was written, or was found to be there. Raises TargetError."""
        if one.is_new or one.file not in self.known:
            self.known.add(one.file)
            self._waiting.append(one)
        if time.monotonic() - self._written > _SECONDS:
            self.write()

    def write(self) -> None:
        """Write the rows that wait, after the disk holds what they tell of. Raises TargetError."""
        rows, self._waiting, self._written = self._waiting, [], time.monotonic()
        if not rows:
            return
        names = [os.path.join(self._folder, row.file) for row in rows]
        durable.sync(names, names, self._folder)
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerows([*([] if os.path.exists(self._path) else [COLUMNS]), *map(_cells, rows)])
        try:
            with open(self._path, "a", encoding="utf-8", newline="") as file:
                file.write(text.getvalue())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(self._folder, error) from error


def _cells(one: Written) -> tuple[str, ...]:
    source = one.sources[0] if one.kind == "instance" else ""
    flaws = "; ".join(f"{tag} {flaw}" for tag, flaw in one.flaws.items())
    numbers = (str(one.size), str(one.mtime_ns))
    return (one.file, one.kind, cell(escape(source)), str(len(one.sources)), flaws, *numbers, one.sha256)


@contextmanager
def journal(folder: str) -> Iterator[Journal]:
    """Yield the journal of a folder that is locked meanwhile; whatever ends the block, all rows are written.

    Raises TargetError if the folder cannot be written, UsageError if another run is busy there.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    with _locked(folder):
        writing = Journal(folder)
        try:
            yield writing
        finally:
            writing.write()


def _locked(folder: str) -> locks.Lock:
    try:
        return locks.take(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error


def entries(folder: str) -> list[Entry]:
    """Return what the journal tells; half a line that a power cut has left is cut off.

    Of a file that was written again, because somebody had removed it, the last line counts. Raises UsageError
    if it is damaged.
    """
    path = os.path.join(folder, ANNOTATIONS)
    try:
        mend_line_ends(path)
        cut_torn_line(path)
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            told = {row["file"]: _entry(row) for row in rows}
            return list(told.values())
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UsageError(f"'{escape(path)}' is damaged: restore it, or use another --out") from error


def _entry(row: dict[str, str]) -> Entry:
    if tuple(row) != COLUMNS or os.path.isabs(row["file"]) or os.pardir in row["file"].split("/"):
        raise ValueError
    stamp = FileStamp(int(row["size"]), int(row["mtime_ns"]))
    return Entry(row["file"], unescape(uncell(row["source"])), stamp, row["sha256"], tuple(row.values()))


def undo(folder: str, verify: bool = False, step: Step = lambda: None) -> PlanResult:
    """Remove what the journal says was written, if it still is that: by size and time.

    verify: by its bytes too. What has changed stays, as does a copy whose source is gone, and so do their
    rows. Nothing else is touched. Raises UsageError, TargetError.
    """
    with _locked(folder):
        done, stay = PlanResult(), []
        for entry in entries(folder):
            step()
            if (why := _removed(folder, entry, verify)) is not None:
                done.left[why.value] += 1
                stay.append(entry)
            else:
                done.done += 1
        _keep(folder, stay)
        if not stay:
            locks.remove(folder)
    return done


def _removed(folder: str, entry: Entry, verify: bool) -> Reason | None:
    """Remove a file; return why not. One that is gone already is no trouble."""
    target = os.path.join(folder, entry.file)
    try:
        if entry.source and not sources.exists(entry.source):
            return Reason.LAST_COPY
        if stamp_of(target) != entry.stamp or (verify and digest(target) != entry.sha256):
            return Reason.CHANGED_COPY
        os.unlink(target)
    except FileNotFoundError:
        pass
    except OSError:
        return Reason.CHANGED_COPY
    with suppress(OSError):
        os.rmdir(os.path.dirname(target))
    return None


def _keep(folder: str, stay: list[Entry]) -> None:
    """Write the journal again with the rows that stay; without any it goes."""
    path = os.path.join(folder, ANNOTATIONS)
    try:
        if not stay:
            os.unlink(path)
            return
        with replacing(path) as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *(entry.cells for entry in stay)])
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: str, error: OSError) -> TargetError:
    return TargetError(f"'{escape(folder)}' cannot be written: {error.strerror}")
