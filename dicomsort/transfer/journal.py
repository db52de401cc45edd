"""sent.csv: what was sent from a folder to which PACS, so that nothing is sent twice."""

import csv
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from dicomsort.errors import TargetError, UsageError
from dicomsort.manifest.mending import cut_torn_line, mend_line_ends
from dicomsort.manifest.names import SENT
from dicomsort.outcome import FileStamp
from dicomsort.system import locks
from dicomsort.system.escaping import cell, escape, uncell

COLUMNS = ("file", "to", "outcome", "code", "sop_instance_uid", "size", "mtime_ns", "at")
STORED = "stored"
_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of a file. file: its name, below the folder or from the root. outcome: STORED, or why not.

    code: what the PACS has answered, in hex.
    """

    file: str
    outcome: str
    code: str
    uid: str
    stamp: FileStamp


class Journal:
    """The open journal of a folder, for one PACS. Used by one thread."""

    def __init__(self, file: TextIO | None, to: str, stored: set[int]) -> None:
        self._file, self._to, self._stored = file, to, stored
        self._synced = time.monotonic()

    def has(self, file: str, stamp: FileStamp) -> bool:
        """Return whether this PACS has the file already, as it is now."""
        return _key(escape(file), str(stamp.size), str(stamp.mtime_ns)) in self._stored

    def add(self, entry: Entry) -> None:
        """Write a row at once; a kill loses none, a power cut those of a second. Raises TargetError."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        stamp = (entry.stamp.size, entry.stamp.mtime_ns)
        told = (entry.outcome, entry.code, entry.uid, *stamp, now)
        assert self._file is not None  # noqa: S101  (a dry run has nothing to write)
        try:
            csv.writer(self._file, lineterminator="\n").writerow([cell(escape(entry.file)), self._to, *told])
            self._file.flush()
            if time.monotonic() - self._synced > _SECONDS:
                self.sync()
        except OSError as error:
            raise TargetError(f"{SENT} cannot be written: {error.strerror}") from error

    def sync(self) -> None:
        """See to it that all rows are on the disk. Raises OSError."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()


@contextmanager
def journal(folder: str, to: str, dry_run: bool = False) -> Iterator[Journal]:
    """Yield the journal of a folder that is locked meanwhile. Raises TargetError, UsageError.

    dry_run: nothing is locked or written.
    """
    path = os.path.join(folder, SENT)
    if dry_run:
        yield Journal(None, to, set(_stored(path, to)))
        return
    try:
        with locks.take(folder):
            stored = set(_stored(path, to))
            with open(path, "a", encoding="utf-8", newline="") as file:
                if not file.tell():
                    csv.writer(file, lineterminator="\n").writerow(COLUMNS)
                writing = Journal(file, to, stored)
                try:
                    yield writing
                finally:
                    writing.sync()
    except OSError as error:
        raise TargetError(f"'{escape(folder)}' cannot be written: {error.strerror}") from error


def _stored(path: str, to: str) -> Iterator[int]:
    """Yield 8 bytes of each row of what a PACS has. Raises UsageError if the journal is damaged."""
    try:
        mend_line_ends(path)
        cut_torn_line(path)
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                if tuple(row) != COLUMNS or None in row.values():
                    raise ValueError  # noqa: TRY301
                if row["to"] == to and row["outcome"] == STORED:
                    yield _key(uncell(row["file"]), row["size"], row["mtime_ns"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise UsageError(
            f"'{escape(path)}' is damaged: restore it, or remove it to send all again"
        ) from error


def _key(*cells: str) -> int:
    return hash(cells)
