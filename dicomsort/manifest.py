"""The CSV: one line, one file; append, resume, compact."""

import csv
import errno
import fcntl
import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from dicomsort import __version__
from dicomsort.errors import TargetError, UsageError
from dicomsort.labels import Decision
from dicomsort.names import cell, escape, uncell, unescape
from dicomsort.outcome import FOR_REVIEW, TROUBLE, Header, Placement, Reason, Stamp, Status
from dicomsort.runfile import RunFacts, RunFile

MANIFEST, LOCK = "manifest.csv", ".dicomsort.lock"

_HEADER_COLUMNS = tuple(field_.name for field_ in fields(Header))
_LEADING = ("path", "status", "reason", "label", "confidence")
_REJECT = "reject_score"
_PLACES = ("action", "destination", "duplicate_of")
_TRAILING = ("model", "size", "mtime_ns", "sha256", "dicomsort_version")
_STATUSES = tuple(Status)
_DAMAGE = (ValueError, KeyError, csv.Error)  # what a file that is no manifest raises


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the manifest.

    destination: relative to the output folder. scores: one per label. further: what the model's other heads
    say, and other models. sha256: of the bytes that were placed and read again, in hex.
    """

    path: str
    status: Status
    reasons: tuple[Reason, ...] = ()
    label: str = ""
    confidence: float | None = None
    action: str = ""
    destination: str = ""
    duplicate_of: str = ""
    header: Header = field(default_factory=Header)
    scores: tuple[float, ...] = ()
    further: tuple[Decision, ...] = ()
    reject_score: float | None = None
    stamp: Stamp | None = None
    sha256: str = ""


Record = dict[str, str]
"""A line of the manifest by column, names still escaped."""


def columns(answers: Sequence[str], rejects: bool = False) -> list[str]:
    """Return the manifest's columns, with those of the models' answers (`panel.columns_of`) inside.

    rejects: whether there is a reject score.
    """
    return [*_LEADING, *([_REJECT] * rejects), *_PLACES, *_HEADER_COLUMNS, *answers, *_TRAILING]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _answer_cells(row: Row) -> list[str]:
    cells = [_number(score) for score in row.scores]
    for decision in row.further:
        cells += [decision.label, _number(decision.confidence), *map(_number, decision.scores)]
    return cells


def joined(reasons: Iterable[Reason]) -> str:
    """Write several reasons in one cell."""
    return "; ".join(dict.fromkeys(reason.value for reason in reasons if reason))


def status_when_placed(reasons: Iterable[str]) -> Status:
    """Tell from the reasons of a row whether its file goes to a person or to its class."""
    return Status.SORTED if FOR_REVIEW.isdisjoint(reasons) else Status.REVIEW


class History:
    """What a manifest already holds, in 24 bytes a file.

    Sorted arrays: of hashes of path, size and modification time (the lower 4 bits hold the status), and of
    hashes of the paths with the offset of their last line.
    """

    def __init__(
        self, path: str, keys: Iterable[int] = (), hashes: Iterable[int] = (), offsets: Iterable[int] = ()
    ) -> None:
        self._path = path
        self._keys = np.sort(np.fromiter(keys, np.uint64))
        unordered = np.fromiter(hashes, np.int64)
        order = np.argsort(unordered, kind="stable")
        self._hashes = unordered[order]
        self._offsets = np.fromiter(offsets, np.int64)[order]

    def __len__(self) -> int:
        return len(self._keys)

    def status(self, path: str, stamp: Stamp) -> Status | None:
        """Return how this file ended before, or None if it has not been done or has changed since."""
        key = _key(path, stamp)
        at = int(np.searchsorted(self._keys, np.uint64(key)))
        if at < len(self._keys) and int(self._keys[at]) ^ key < 16:
            return _STATUSES[int(self._keys[at]) & 15]
        return None

    def placement(self, path: str) -> Placement | None:
        """Return what was placed of a file, changed or not, or None."""
        name = escape(path)
        at = int(np.searchsorted(self._hashes, hash(name)))
        while at < len(self._hashes) and self._hashes[at] == hash(name):
            record = self._record(int(self._offsets[at]))
            if record["path"] == name and record["action"] and record["destination"]:
                return placement_of(record)
            at += 1
        return None

    def _record(self, offset: int) -> Record:
        with open(self._path, "rb") as file:
            header = file.readline().decode("utf-8")
            file.seek(offset)
            return next(csv.DictReader([header, file.readline().decode("utf-8")]))


def _key_of(record: Record) -> int:
    if not record["mtime_ns"]:  # never seen on the disk
        return 0
    stamp = Stamp(int(record["size"]), int(record["mtime_ns"]))
    return _key(path_of(record), stamp) | _STATUSES.index(Status(record["status"]))


def path_of(record: Record) -> str:
    """Return the source of a row, as the system knows it."""
    return unescape(uncell(record["path"]))


def placement_of(record: Record) -> Placement:
    """Return what a row says was placed. Raises UsageError if that lies outside the output folder."""
    stamp = Stamp(int(record["size"]), int(record["mtime_ns"]))
    destination = unescape(uncell(record["destination"]))
    if os.path.isabs(destination) or os.pardir in destination.split(os.sep):
        raise UsageError(f"the manifest has been changed: '{record['destination']}' lies outside the output")
    return Placement(destination, record["action"], stamp, record["sha256"])


def _key(path: str, stamp: Stamp) -> int:
    text = f"{escape(path)}\n{stamp.size}\n{stamp.mtime_ns}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") & ~15


class Manifest:
    """The journal of an output folder. A file done again appends a row; the last row of a file counts.

    answers, rejects: see `columns`.
    """

    def __init__(
        self, folder: str, answers: Sequence[str], model: str, run: RunFacts | None, rejects: bool = False
    ) -> None:
        self._folder, self._model, self._run = folder, model, run
        self._answers, self._rejects = tuple(answers), rejects
        self._columns = columns(answers, rejects)
        self._path = os.path.join(folder, MANIFEST)
        self._file: TextIO | None = None
        self._lock: TextIO | None = None
        self.run_file: RunFile | None = None

    @classmethod
    def existing(cls, path: str) -> "Manifest":
        """Return the manifest at `path`, to work on its rows without a new run.

        Raises UsageError if there is none, or it is no manifest.
        """
        try:
            with open(path, encoding="utf-8", newline="") as file:
                names = next(csv.reader(file), [])
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UsageError(f"there is no manifest at '{escape(path)}'") from error
        rejects = _REJECT in names
        answers = names[len(columns((), rejects)) - len(_TRAILING) : -len(_TRAILING)]
        if names != columns(answers, rejects) or os.path.basename(path) != MANIFEST:
            raise UsageError(f"'{escape(path)}' is no {MANIFEST} of this version")
        return cls(os.path.dirname(os.path.realpath(path)), answers, "", None, rejects)

    def __enter__(self) -> "Manifest":
        """Lock the output folder, check run.json, cut a torn last line, compact, and open for appending.

        Raises TargetError if the folder cannot be written, UsageError if another run is busy there or the
        folder was filled with another model or other settings that change results.
        """
        try:
            os.makedirs(self._folder, exist_ok=True)
            self._lock = open(os.path.join(self._folder, LOCK), "w", encoding="utf-8")
            _lock(self._lock, self._folder)
            self.run_file = RunFile(self._folder)
            if self._run is not None:
                self.run_file.add(self._run)
            self._open()
            self.compact()
        except OSError as error:
            self._close()
            raise TargetError(f"'{escape(self._folder)}' cannot be written: {error.strerror}") from error
        except (UsageError, TargetError):
            self._close()
            raise
        return self

    def _open(self) -> None:
        _cut_torn_line(self._path)
        self._file = open(self._path, "a", encoding="utf-8", newline="")  # noqa: SIM115
        if self._file.tell() == 0:
            csv.writer(self._file, lineterminator="\n").writerow(self._columns)
            self._file.flush()
        else:
            self._check_columns()

    def _check_columns(self) -> None:
        with open(self._path, "rb") as file:
            header = file.readline()
        if header.decode("utf-8", "replace").rstrip("\n").split(",") != self._columns:
            raise UsageError(f"'{escape(self._path)}' has other columns than this run; use another --out")

    def __exit__(self, *_: object) -> None:
        """Close and unlock."""
        self._close()

    def _close(self) -> None:
        for file in (self._file, self._lock):
            if file is not None:
                with suppress(OSError):
                    file.close()

    def append(self, rows: Iterable[Row]) -> None:
        """Append rows and wait until the disk holds them. Raises TargetError if they cannot be written."""
        self._append(self._cells(row) for row in rows)

    def append_records(self, records: Iterable[Record]) -> None:
        """Append rows that have been read from here and changed. Raises as `append` does."""
        self._append(record.values() for record in records)

    def _append(self, lines: Iterable[Iterable[str]]) -> None:
        assert self._file is not None  # noqa: S101  (entered)
        assert self.run_file is not None  # noqa: S101
        self.run_file.settled = False
        try:
            csv.writer(self._file, lineterminator="\n").writerows(lines)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise TargetError(f"'{escape(self._path)}' cannot be written: {error.strerror}") from error

    def _cells(self, row: Row) -> list[str]:
        answers = _answer_cells(row) if row.scores else [""] * len(self._answers)
        values = (getattr(row.header, name) for name in _HEADER_COLUMNS)
        header = ["" if value is None else str(value) for value in values]
        stamp = [str(row.stamp.size), str(row.stamp.mtime_ns)] if row.stamp else ["", ""]
        leading = [
            escape(row.path),
            row.status.value,
            joined(row.reasons),
            row.label,
            _number(row.confidence),
        ]
        reject = [_number(row.reject_score)] if self._rejects else []
        places = [row.action, escape(row.destination), escape(row.duplicate_of)]
        texts = [cell(text) for text in [*places, *header, *answers, self._model]]
        return [*map(cell, leading), *reject, *texts, *stamp, row.sha256, __version__]

    def records(self) -> Iterator[Record]:
        """Yield every line as text by column, names still escaped."""
        with open(self._path, encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            names = next(lines)
            for values in lines:
                yield dict(zip(names, values, strict=True))

    def history(
        self, retry_failed: bool = False, is_there: Callable[[Record], bool] = lambda _: True
    ) -> History:
        """Collect what need not be done again: all rows but `planned`, what to retry, and what is not there.

        is_there: whether what a row says was placed still stands in its place; a duplicate is done as long as
        the file that it repeats does. Raises UsageError if the
        manifest holds anything but rows.
        """
        self.compact()
        again = {Status.PLANNED.value, *(status.value for status in TROUBLE if retry_failed)}
        keys, hashes, offsets = array("Q"), array("q"), array("q")
        standing, originals, repeats = array("q"), array("q"), array("Q")
        try:
            for offset, record in self._records_with_offsets():
                hashes.append(hash(record["path"]))
                offsets.append(offset)
                key, there = _key_of(record), is_there(record)
                if record["action"] and there:
                    standing.append(hashes[-1])
                if record["status"] == Status.DUPLICATE:
                    originals.append(hash(record["duplicate_of"]))
                    repeats.append(key)
                elif record["mtime_ns"] and record["status"] not in again and there:
                    keys.append(key)
        except _DAMAGE as error:
            raise self._damaged() from error
        held = np.isin(np.asarray(originals), np.asarray(standing))  # a repeat is done while the first stands
        keys.extend(array("Q", np.asarray(repeats)[held].tolist()))
        return History(self._path, keys, hashes, offsets)

    def _damaged(self) -> UsageError:
        return UsageError(f"'{escape(self._path)}' is damaged; restore it, or use another --out")

    def _records_with_offsets(self) -> Iterator[tuple[int, Record]]:
        with open(self._path, "rb") as file:
            names = next(csv.reader([file.readline().decode("utf-8")]))
            offset = file.tell()
            for line in file:
                values = next(csv.reader([line.decode("utf-8")]), [])
                yield offset, dict(zip(names, values, strict=True))
                offset += len(line)

    def compact(
        self,
        replace_row: Callable[[Record], Record] | None = None,
        before_rename: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep the last row of each file by atomic rename, if there is anything to drop or to change.

        `replace_row` may change a record on the way. Raises TargetError if there is no space for the copy.
        """
        last = self._last_rows()
        if replace_row is None and last.all():
            return
        temporary = f"{self._path}.part"
        try:
            with open(temporary, "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(self._columns)
                for counts, record in zip(last, self.records(), strict=True):
                    if counts:
                        writer.writerow((replace_row(record) if replace_row else record).values())
                file.flush()
                os.fsync(file.fileno())
            before_rename()
            os.replace(temporary, self._path)
            self._reopen()
        except _DAMAGE as error:
            raise self._damaged() from error
        except OSError as error:
            raise TargetError(f"'{escape(self._path)}' cannot be rewritten: {error.strerror}") from error
        finally:
            with suppress(OSError):
                os.unlink(temporary)

    def _last_rows(self) -> NDArray[np.bool_]:
        """Tell of each row whether it is the last of its file: bool, (rows,)."""
        with open(self._path, "rb") as file:
            next(file)
            hashes = np.fromiter((hash(_first_cell(line)) for line in file), np.int64)
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        last = np.zeros(len(hashes), np.bool_)
        last[order] = np.append(ordered[1:] != ordered[:-1], np.ones(min(len(hashes), 1), np.bool_))
        return last

    def _reopen(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = open(self._path, "a", encoding="utf-8", newline="")  # noqa: SIM115


def _first_cell(line: bytes) -> bytes:
    """Return the path of a row, as it stands there."""
    if not line.startswith(b'"'):
        return line.split(b",", 1)[0]
    return next(csv.reader([line.decode("utf-8", "surrogateescape")]))[0].encode("utf-8", "surrogateescape")


def _lock(file: TextIO, folder: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"another dicomsort is writing into '{escape(folder)}'; wait for it, or use another --out"
        ) from error
    except OSError as error:  # a file system without locks: go on without
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def _cut_torn_line(path: str) -> None:
    """Cut what stands after the last line end: a power cut may leave half a line."""
    if not os.path.exists(path):
        return
    with open(path, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                file.truncate(start + at + 1)
                return
            end = start
        file.truncate(0)
