"""What a manifest already holds: the files that need not be done again, and what was placed of them."""

import csv
import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from dicomsort.errors import DicomsortError, UsageError
from dicomsort.manifest.rows import Record
from dicomsort.outcome import HINTS, TROUBLE, FileStamp, Placement, Reason, Status
from dicomsort.system.escaping import escape

IsThere = Callable[[Record], bool]
"""Returns whether what a row says was placed is still in its place."""

_MEMBER = re.compile(r"![0-9]*/")

DAMAGE = (ValueError, KeyError, csv.Error)
"""What reading a file that is no manifest raises."""

_STATUSES = (*Status, *(Status.NOT_DICOM for _ in HINTS), Status.NOT_DICOM, Status.DECODE_ERROR)
"""What the lowest bits of a key say: statuses, and apart from them HINTS and archives that were read."""
_READ, _READ_PARTLY = len(_STATUSES) - 2, len(_STATUSES) - 1
"""Where those of archives stand that were read, or read as far as they are whole."""
_CODES = 32


_Version = tuple[str, str | int]
"""An archive by its escaped name, and its time or etag, which its members' rows have too."""


def _version(archive: str, stamp: FileStamp) -> _Version:
    return archive, stamp.etag or stamp.mtime_ns


class Members:
    """How the members of an archive ended before. undone: whether one of them is to be done again.

    hints: how many were found to be one of HINTS.
    """

    __slots__ = ("hints", "statuses", "undone")

    def __init__(self) -> None:
        self.statuses: Counter[Status] = Counter()
        self.hints: Counter[Reason] = Counter()
        self.undone = False


class History:
    """What a manifest already holds, in 24 bytes a file.

    Sorted arrays: of hashes of path, size and modification time (the lower 5 bits hold the status), and of
    hashes of the paths with the offset of their last line. earlier: what was held before this one was begun.
    """

    def __init__(
        self,
        path: str,
        keys: Iterable[int] = (),
        hashes: Iterable[int] = (),
        offsets: Iterable[int] = (),
        earlier: "History | None" = None,
        members: Mapping[_Version, Members] | None = None,
    ) -> None:
        self._path, self._earlier, self._members = path, earlier, members or {}
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

    def hint(self, path: str, stamp: FileStamp) -> Reason:
        """Return which of HINTS this file was found to be before; Reason.NONE if it was none."""
        code = self._code(path, stamp) or 0
        return HINTS[code - len(Status)] if len(Status) <= code < _READ else Reason.NONE

    def is_read_archive(self, path: str, stamp: FileStamp) -> bool:
        """Return whether this file was found to be an archive before, and looked into."""
        return self._code(path, stamp) in (_READ, _READ_PARTLY)

    def members(self, archive: str, stamp: FileStamp) -> Members:
        """Return how the members of an archive ended, as it is now, those of archives in it included."""
        version = _version(escape(archive), stamp)
        if version in self._members or self._earlier is None:
            return self._members.get(version) or Members()
        return self._earlier.members(archive, stamp)

    def _code(self, path: str, stamp: FileStamp) -> int | None:
        key = _key(path, stamp)
        at = int(np.searchsorted(self._keys, np.uint64(key)))
        if at < len(self._keys) and int(self._keys[at]) ^ key < _CODES:
            return int(self._keys[at]) & (_CODES - 1)
        return self._earlier._code(path, stamp) if self._earlier else None

    def placement(self, path: str) -> Placement | None:
        """Return what was placed of a file, changed or not, or None."""
        record = self.row(path)
        return record.placement if record and record.is_placed else None

    def row(self, path: str) -> Record | None:
        """Return the row of a file, changed or not, or None."""
        name = escape(path)
        at = int(np.searchsorted(self._hashes, hash(name)))
        while at < len(self._hashes) and self._hashes[at] == hash(name):
            record = self._record(int(self._offsets[at]))
            if record.key == name:
                return record
            at += 1
        return self._earlier.row(path) if self._earlier else None

    def _record(self, offset: int) -> Record:
        with open(self._path, "rb") as file:
            header = file.readline().decode("utf-8-sig")
            file.seek(offset)
            line = file.readline().decode("utf-8")
        names, values = csv.reader([header, line])
        return Record(zip(names, values, strict=True))


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
    members: dict[_Version, Members] = {}
    try:
        for counts, (offset, record) in zip(last_rows(path), _records_with_offsets(path), strict=True):
            if not counts:
                continue
            hashes.append(hash(record.key))
            offsets.append(offset)
            key, there = _key_of(record), is_there(record)
            if record.stands_for_itself and there:
                standing.append(hashes[-1])
            if "!" in record.key:
                _count_member(record, members, record["status"] in again or not there)
            if record.is_duplicate:
                originals.append(hash(record.duplicate_of))
                repeats.append(key)
            elif key and record["status"] not in again and there:
                keys.append(key)
    except DAMAGE as error:
        raise damaged(path) from error
    stands = np.isin(np.asarray(originals), np.asarray(standing))  # a repeat is done while the first stands
    keys.extend(array("Q", np.asarray(repeats)[stands].tolist()))
    return History(path, keys, hashes, offsets, earlier, members)


def _count_member(record: Record, members: dict[_Version, Members], undone: bool) -> None:
    """Count a row for every archive in which its file may lie, by its name and the archive's time."""
    stamp = record.stamp
    if stamp is None:
        return
    for mark in _MEMBER.finditer(record.key):
        counted = members.setdefault(_version(record.key[: mark.start()], stamp), Members())
        counted.statuses[record.status] += 1
        if record.hint:
            counted.hints[record.hint] += 1
        counted.undone |= undone


def damaged(path: str) -> UsageError:
    """Return the error that a manifest cannot be used."""
    return UsageError(f"'{escape(path)}' is damaged; restore it, or use another --out")


def records(path: str) -> Iterator[Record]:
    """Yield every line of a manifest.

    Raises UsageError at a line that is none.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            lines = csv.reader(file)
            names = next(lines, [])
            for values in lines:
                yield Record(zip(names, values, strict=True))
        except DAMAGE as error:
            raise damaged(path) from error


def cells(path: str, *names: str) -> Iterator[list[str]]:
    """Yield some columns of every line of a manifest, several times quicker than whole records.

    Raises UsageError at a line that is none, or if a column is not there.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            lines = csv.reader(file)
            found = next(lines, [])
            places = [found.index(name) for name in names]
            for values in lines:
                yield [values[place] for place in places]
        except (*DAMAGE, IndexError) as error:
            raise damaged(path) from error


def rows_with(path: str, column: str, wanted: Iterable[str]) -> int | None:
    """Count the files of a manifest whose last row has one of these values; None if it cannot be read."""
    these = set(wanted)
    try:
        found = zip(last_rows(path).tolist(), cells(path, column), strict=False)
        return sum(1 for counts, (cell,) in found if counts and cell in these)
    except (OSError, ValueError, DicomsortError, csv.Error):
        return None


def _records_with_offsets(path: str) -> Iterator[tuple[int, Record]]:
    with open(path, "rb") as file:
        names = next(csv.reader([file.readline().decode("utf-8-sig")]), [])
        offset = file.tell()
        for line in file:
            values = next(csv.reader([line.decode("utf-8")]), [])
            yield offset, Record(zip(names, values, strict=True))
            offset += len(line)


def last_rows(path: str) -> NDArray[np.bool_]:
    """Return for each row of a manifest whether it is the last of its file: bool, (rows,).

    Half a line at the end is no row.
    """
    with open(path, "rb") as file:
        next(file, b"")
        return last_of(line for line in file if line.endswith(b"\n"))


def last_of(lines: Iterable[bytes]) -> NDArray[np.bool_]:
    """Return for each line of a manifest, but for its first, whether it is the last of its file: (lines,)."""
    hashes = np.fromiter((hash(_first_cell(line)) for line in lines), np.int64)
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


def _key_of(record: Record) -> int:
    """Return 0 for a file that was never seen on the disk."""
    stamp = record.stamp
    if stamp is None:
        return 0
    code = len(Status) + HINTS.index(record.hint) if record.hint else _STATUSES.index(record.status)
    if record.is_read_archive:
        code = _READ if record.status is Status.NOT_DICOM else _READ_PARTLY
    return _key(record.path, stamp) | code


def _key(path: str, stamp: FileStamp) -> int:
    told = f"\n{stamp.etag}" if stamp.etag else f"{stamp.size}\n{stamp.mtime_ns}"
    text = f"{escape(path)}\n{told}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") & ~(_CODES - 1)
