"""decisions.csv: what persons decided, one line each; it outlives the manifest, which follows from it."""

import csv
import hashlib
import io
import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from dicomsort.errors import TargetError, UsageError
from dicomsort.manifest.mending import check_separator, cut_torn_line, mend_line_ends
from dicomsort.manifest.names import DECISIONS
from dicomsort.manifest.records import Record
from dicomsort.model.heads import check_label
from dicomsort.outcome import EXCLUDED, UNSURE, FileStamp, Reviewed
from dicomsort.system.escaping import cell, escape, uncell
from dicomsort.system.people import is_name

COLUMNS = ["path", "size", "mtime_ns", "label", "reviewed_label", "reviewed_by", "reviewed_at"]
_TIME = re.compile(r",[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
"""With what a whole line ends, also where an editor has left out the line end."""

_TIME_CHARS = 21


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided of the file of a row; None where that is taken back."""

    record: Record
    reviewed: Reviewed | None

    def cells(self) -> list[str]:
        """Return the line of decisions.csv. label: what the model had said."""
        told = self.reviewed or Reviewed("", "", now())
        row, reviewed = self.record, [told.label, told.by, told.at]
        return [row["path"], row["size"], row["mtime_ns"], row["label"], *map(cell, reviewed)]


@dataclass(frozen=True, slots=True)
class _Held:
    """The last decision on a file, of this size and time; None where it was taken back."""

    stamp: FileStamp
    reviewed: Reviewed | None


class Decisions:
    """What decisions.csv of an output folder says: by path, the last line of a file counts.

    A decision is about a file of one size and time; one that has changed since is another file.
    """

    def __init__(self, folder: str) -> None:
        """Read it, if there is one. Raises UsageError if it is damaged."""
        self.path = os.path.join(folder, DECISIONS)
        self._held: dict[str, _Held] = {}
        for row in _rows(self.path):
            self._take(row)

    def __bool__(self) -> bool:
        return bool(self._held)

    def __len__(self) -> int:
        """Return of how many files anything is decided."""
        return sum(held.reviewed is not None for held in self._held.values())

    def _take(self, row: dict[str, str]) -> None:
        label = uncell(row["reviewed_label"])
        reviewed = Reviewed(label, uncell(row["reviewed_by"]), row["reviewed_at"]) if label else None
        self._held[row["path"]] = _Held(FileStamp(int(row["size"]), int(row["mtime_ns"])), reviewed)

    def of(self, path: str, stamp: FileStamp | None) -> Reviewed | None:
        """Return what was decided of a file as it is now."""
        held = self._held.get(cell(escape(path)))
        return held.reviewed if held and held.stamp == stamp else None

    def was_of_another(self, path: str, stamp: FileStamp | None) -> bool:
        """Return whether there is a decision on this file, but on other content."""
        held = self._held.get(cell(escape(path)))
        return held is not None and held.reviewed is not None and held.stamp != stamp

    def knows(self, record: Record) -> bool:
        """Return whether anything was ever decided of a row's file, taken back or not."""
        held = self._held.get(record.key)
        return held is not None and held.stamp == record.stamp

    def differs(self, record: Record) -> bool:
        """Return whether a row does not say yet what was decided of its file, or still says it."""
        held = self._held.get(record.key)
        return held is not None and held.stamp == record.stamp and held.reviewed != record.reviewed

    @property
    def labels(self) -> set[str]:
        """All that has been decided."""
        return {held.reviewed.label for held in self._held.values() if held.reviewed}

    @property
    def size(self) -> int:
        """Bytes of the file; 0 if there is none."""
        try:
            return os.path.getsize(self.path)
        except OSError:
            return 0

    @property
    def digest(self) -> str:
        """SHA-256 of the file, in hex; empty if there is none."""
        try:
            with open(self.path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""

    @contextmanager
    def appending(self) -> Iterator["Appending"]:
        """Yield what writes further decisions. Raises TargetError; the output must be this run's alone."""
        try:
            mend_line_ends(self.path)
            _end_last_line(self.path)
            cut_torn_line(self.path)
            file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise _unwritable(self.path, error) from error
        with file:
            yield Appending(self, file)


class Appending:
    """Writes decisions. What was written survives the end of the program, what was synced a power cut."""

    def __init__(self, decisions: Decisions, file: BinaryIO) -> None:
        self._decisions, self._file = decisions, file
        self._lock = threading.Lock()

    def write(self, given: Iterable[Decision]) -> None:
        """Hand decisions to the system, all or none; from any thread. Raises TargetError."""
        with self._lock:
            self._write(given)

    def take_back(self, given: Iterable[Decision]) -> None:
        """Put what a row says in the place of decisions, unless a person has decided anew meanwhile."""
        with self._lock:
            stand = [
                one for one in given if self._decisions.of(one.record.path, one.record.stamp) == one.reviewed
            ]
            self._write([Decision(one.record, one.record.reviewed) for one in stand])

    def _write(self, given: Iterable[Decision]) -> None:
        rows = [decision.cells() for decision in given]
        if rows:
            try:
                self._append(rows)
            except OSError as error:
                raise _unwritable(self._decisions.path, error) from error
            for row in rows:
                self._decisions._take(dict(zip(COLUMNS, row, strict=True)))

    def _append(self, rows: Iterable[Iterable[str]]) -> None:
        """Append lines; where the disk is full, nothing of them stays to be written later."""
        start, text = self._file.seek(0, os.SEEK_END), io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*([] if start else [COLUMNS]), *rows])
        left = text.getvalue().encode()
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), start)
            raise

    def sync(self) -> None:
        """Wait until the disk holds what was written. Raises TargetError."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self._decisions.path, error) from error


def now() -> str:
    """Return the time in UTC, to the second, as the manifest writes it (ISO 8601)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _unwritable(path: str, error: OSError) -> TargetError:
    return TargetError(f"'{escape(path)}' cannot be written: {error.strerror}")


def _rows(path: str) -> Iterator[dict[str, str]]:
    """Yield every whole line. Raises UsageError."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(filter(_is_whole, file), strict=True)
            check_separator(path, reader.fieldnames or ())
            for row in reader:
                _check(reader.fieldnames, row)
                _check_label(path, uncell(row["reviewed_label"]))
                yield row
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UsageError(
            f"'{escape(path)}' is damaged (a spreadsheet may have rounded its numbers): restore it, or move "
            "it away"
        ) from error


def _is_whole(line: str) -> bool:
    return line.endswith(("\n", "\r")) or _TIME.fullmatch(line[-_TIME_CHARS:]) is not None


def _check(names: object, row: dict[str, str]) -> None:
    """Raise ValueError for what is no line of ours."""
    if names != COLUMNS or None in row.values() or len(row) != len(COLUMNS):
        raise ValueError
    int(row["size"]), int(row["mtime_ns"])
    if not is_name(row["reviewed_by"]) or not is_name(row["reviewed_at"]):
        raise ValueError


def _check_label(path: str, label: str) -> None:
    """Raise UsageError for a label, written in by hand, that would lead out of the output folder."""
    try:
        for part in label.split("|") if label not in ("", EXCLUDED, UNSURE) else ():
            check_label(part)
    except ValueError as error:
        raise UsageError(f"'{escape(path)}' must be put right: {error}") from error


def _end_last_line(path: str) -> None:
    """Give a whole last line its line end, which an editor has left out."""
    if not os.path.exists(path):
        return
    with open(path, "r+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TIME_CHARS))
        if _TIME.fullmatch(file.read().decode("utf-8", "replace")):
            file.write(b"\n")
