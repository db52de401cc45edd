"""What a manifest already holds: the files that need not be done again, and what was placed of them."""

import csv
import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from dicomsort.errors import UsageError
from dicomsort.outcome import TROUBLE, FileStamp, Placement, Reason, Status
from dicomsort.system.escaping import escape, uncell, unescape

Record = dict[str, str]
"""A line of a manifest by column, names still escaped."""

IsThere = Callable[[Record], bool]
"""Tells whether what a row says was placed still stands in its place."""

DAMAGE = (ValueError, KeyError, csv.Error)
"""What reading a file that is no manifest raises."""

_STATUSES = (*Status, Status.NOT_DICOM)
_ARCHIVE = len(Status)
"""Where in _STATUSES that of archives stands, which are counted apart."""


class History:
    """What a manifest already holds, in 24 bytes a file.

    Sorted arrays: of hashes of path, size and modification time (the lower 4 bits hold the status), and of
    hashes of the paths with the offset of their last line. earlier: what was held before this one was begun.
    """

    def __init__(
        self,
        path: str,
        keys: Iterable[int] = (),
        hashes: Iterable[int] = (),
        offsets: Iterable[int] = (),
        earlier: "History | None" = None,
    ) -> None:
        self._path, self._earlier = path, earlier
        self._keys = np.sort(np.fromiter(keys, np.uint64))
        unordered = np.fromiter(hashes, np.int64)
        order = np.argsort(unordered, kind="stable")
        self._hashes = unordered[order]
        self._offsets = np.fromiter(offsets, np.int64)[order]

    def __len__(self) -> int:
        return len(self._keys) + (len(self._earlier) if self._earlier else 0)

    def __bool__(self) -> bool:
        return len(self._hashes) > 0 or bool(self._earlier)

    def status(self, path: str, stamp: FileStamp) -> Status | None:
        """Return how this file ended before, or None if it has not been done or has changed since."""
        code = self._code(path, stamp)
        return None if code is None else _STATUSES[code]

    def is_archive(self, path: str, stamp: FileStamp) -> bool:
        """Return whether this file was found to be an archive before."""
        return self._code(path, stamp) == _ARCHIVE

    def _code(self, path: str, stamp: FileStamp) -> int | None:
        key = _key(path, stamp)
        at = int(np.searchsorted(self._keys, np.uint64(key)))
        if at < len(self._keys) and int(self._keys[at]) ^ key < 16:
            return int(self._keys[at]) & 15
        return self._earlier._code(path, stamp) if self._earlier else None

    def placement(self, path: str) -> Placement | None:
        """Return what was placed of a file, changed or not, or None."""
        name = escape(path)
        at = int(np.searchsorted(self._hashes, hash(name)))
        while at < len(self._hashes) and self._hashes[at] == hash(name):
            record = self._record(int(self._offsets[at]))
            if record["path"] == name:
                placed = record["action"] and record["destination"]
                return placement_of(record) if placed else None
            at += 1
        return self._earlier.placement(path) if self._earlier else None

    def _record(self, offset: int) -> Record:
        with open(self._path, "rb") as file:
            header = file.readline().decode("utf-8-sig")
            file.seek(offset)
            return next(csv.DictReader([header, file.readline().decode("utf-8")]))


def held(
    path: str,
    retry_failed: bool = False,
    is_there: IsThere = lambda _: True,
    earlier: History | None = None,
) -> History:
    """Collect what need not be done again: all rows but `planned`, what to retry, and what is not there.

    path: of a manifest. A duplicate is done as long as the file that it repeats stands. Raises UsageError if
    there is anything but rows.
    """
    again = {Status.PLANNED.value, *(status.value for status in TROUBLE if retry_failed)}
    keys, hashes, offsets = array("Q"), array("q"), array("q")
    standing, originals, repeats = array("q"), array("q"), array("Q")
    try:
        for counts, (offset, record) in zip(last_rows(path), _records_with_offsets(path), strict=True):
            if not counts:
                continue
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
    except DAMAGE as error:
        raise damaged(path) from error
    stands = np.isin(np.asarray(originals), np.asarray(standing))  # a repeat is done while the first stands
    keys.extend(array("Q", np.asarray(repeats)[stands].tolist()))
    return History(path, keys, hashes, offsets, earlier)


def damaged(path: str) -> UsageError:
    """Say that a manifest cannot be used."""
    return UsageError(f"'{escape(path)}' is damaged; restore it, or use another --out")


def records(path: str) -> Iterator[Record]:
    """Yield every line of a manifest as text by column, names still escaped.

    Raises UsageError at a line that is none.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            lines = csv.reader(file)
            names = next(lines, [])
            for values in lines:
                yield dict(zip(names, values, strict=True))
        except DAMAGE as error:
            raise damaged(path) from error


def _records_with_offsets(path: str) -> Iterator[tuple[int, Record]]:
    with open(path, "rb") as file:
        names = next(csv.reader([file.readline().decode("utf-8-sig")]), [])
        offset = file.tell()
        for line in file:
            values = next(csv.reader([line.decode("utf-8")]), [])
            yield offset, dict(zip(names, values, strict=True))
            offset += len(line)


def last_rows(path: str) -> NDArray[np.bool_]:
    """Tell of each row of a manifest whether it is the last of its file: bool, (rows,)."""
    with open(path, "rb") as file:
        next(file, b"")
        hashes = np.fromiter((hash(_first_cell(line)) for line in file), np.int64)
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    last = np.zeros(len(hashes), np.bool_)
    last[order] = np.append(ordered[1:] != ordered[:-1], np.ones(min(len(hashes), 1), np.bool_))
    return last


def _first_cell(line: bytes) -> bytes:
    """Return the path of a row, as it stands there."""
    if not line.startswith(b'"'):
        return line.split(b",", 1)[0]
    return next(csv.reader([line.decode("utf-8", "surrogateescape")]))[0].encode("utf-8", "surrogateescape")


def path_of(record: Record) -> str:
    """Return the source of a row, as the system knows it."""
    return unescape(uncell(record["path"]))


def placement_of(record: Record) -> Placement:
    """Return what a row says was placed. Raises UsageError if that lies outside the output folder."""
    stamp = _stamp_of(record)
    destination = unescape(uncell(record["destination"]))
    if os.path.isabs(destination) or os.pardir in destination.split(os.sep):
        raise UsageError(f"the manifest has been changed: '{record['destination']}' lies outside the output")
    return Placement(destination, record["action"], stamp, record["sha256"])


def _stamp_of(record: Record) -> FileStamp:
    try:
        return FileStamp(int(record["size"]), int(record["mtime_ns"]))
    except ValueError as error:
        raise UsageError(
            "the manifest has been changed: a size or time is no whole number any more; restore it "
            "(a spreadsheet may have rounded it)"
        ) from error


def _key_of(record: Record) -> int:
    if not record["mtime_ns"]:  # never seen on the disk
        return 0
    archive = record["reason"] == Reason.ARCHIVE
    code = _ARCHIVE if archive else _STATUSES.index(Status(record["status"]))
    return _key(path_of(record), _stamp_of(record)) | code


def _key(path: str, stamp: FileStamp) -> int:
    text = f"{escape(path)}\n{stamp.size}\n{stamp.mtime_ns}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") & ~15
