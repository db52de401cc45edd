"""What a manifest already holds: the files that need not be done again, and what was placed of them."""

import csv
import hashlib
import os
import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dicomsort.errors import DicomsortError, UsageError
from dicomsort.manifest.lines import Picked, Seed, blocks
from dicomsort.manifest.records import Record
from dicomsort.manifest.spill import KeySpill, last
from dicomsort.outcome import HINTS, TROUBLE, FileStamp, Placement, Reason, Status
from dicomsort.system.escaping import escape, uncell

IsThere = Callable[[Record], bool]
"""Returns whether what a row says was placed is still in its place."""

Look = Callable[[Record], object]
"""Is shown a row."""

_NEEDED = (
    *("path", "status", "reason", "label", "action", "destination", "duplicate_of"),
    *("reviewed_label", "reviewed_by", "reviewed_at", "size", "mtime_ns", "etag", "sha256"),
)
"""The columns that tell whether a file is done, where it is, and what it counts as."""

_MEMBER = re.compile(r"![0-9]*/")

DAMAGE = (ValueError, KeyError, csv.Error)
"""What reading a file that is no manifest raises."""

_STATUSES = (*Status, *(Status.NOT_DICOM for _ in HINTS), Status.NOT_DICOM, Status.DECODE_ERROR)
"""What the lowest bits of a key say: statuses, and apart from them HINTS and archives that were read."""
_READ, _READ_PARTLY = len(_STATUSES) - 2, len(_STATUSES) - 1
"""Where those of archives stand that were read, or read as far as they are whole."""
_CODES = 32
_SECOND = Seed()


_Version = tuple[str, str | int]
"""An archive by its escaped name, and its time or etag, which its members' rows have too."""


def _version(archive: str, stamp: FileStamp) -> _Version:
    return archive, stamp.etag or stamp.mtime_ns


class Known(NamedTuple):
    """How a file ended before. hint: which of HINTS it is. is_read_archive: whether it was looked into."""

    status: Status
    hint: Reason
    is_read_archive: bool


_KNOWN = tuple(
    Known(
        status,
        HINTS[code - len(Status)] if len(Status) <= code < _READ else Reason.NONE,
        code in (_READ, _READ_PARTLY),
    )
    for code, status in enumerate(_STATUSES)
)
"""By the lowest bits of a key."""


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
        self._keys = array("Q", np.sort(np.fromiter(keys, np.uint64)).tobytes())
        unordered = np.fromiter(hashes, np.int64)
        order = np.argsort(unordered, kind="stable")
        self._hashes = unordered[order]
        self._offsets = np.fromiter(offsets, np.int64)[order]

    def __len__(self) -> int:
        return len(self._keys) + (len(self._earlier) if self._earlier else 0)

    def __bool__(self) -> bool:
        return len(self._hashes) > 0 or bool(self._earlier)

    def known(self, path: str, stamp: FileStamp) -> Known | None:
        """Return how this file ended before, or None if it has not been done or has changed since."""
        return self._known(_key(escape(path), stamp))

    def status(self, path: str, stamp: FileStamp) -> Status | None:
        """Return the status of a file that was done before, and has not changed since."""
        known = self.known(path, stamp)
        return None if known is None else known.status

    def members(self, archive: str, stamp: FileStamp) -> Members:
        """Return how the members of an archive ended, as it is now, those of archives in it included."""
        version = _version(escape(archive), stamp)
        if version in self._members or self._earlier is None:
            return self._members.get(version) or Members()
        return self._earlier.members(archive, stamp)

    def _known(self, key: int) -> Known | None:
        at = bisect_left(self._keys, key)
        if at < len(self._keys) and self._keys[at] ^ key < _CODES:
            return _KNOWN[self._keys[at] & (_CODES - 1)]
        return self._earlier._known(key) if self._earlier else None

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
    look: Look = lambda _: None,
    is_compact: bool = False,
) -> History:
    """Collect what need not be done again: all rows but `planned`, what to retry, and what is not there.

    path: of a manifest. A duplicate is done as long as the file that it repeats stands. look: called with the
    last row of each file, of which only some columns are read (_NEEDED). is_compact: whether each file is
    known to have one row. Raises UsageError if there is anything but rows.
    """
    again = {Status.PLANNED.value, *(status.value for status in TROUBLE if retry_failed)}
    keys, hashes, offsets = array("Q"), array("q"), array("q")
    standing, originals, repeats = array("q"), array("q"), array("Q")
    members: dict[_Version, Members] = {}
    try:
        for offset, record in _last_records(path, is_compact):
            look(record)
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


def _last_records(path: str, is_compact: bool) -> Iterator[tuple[int, Record]]:
    """Yield the last row of each file, as far as it is needed, and where its line begins."""
    if is_compact:
        return _records_with_offsets(path)
    found = zip(last_rows(path).tolist(), _records_with_offsets(path), strict=True)
    return (each for counts, each in found if counts)


def _records_with_offsets(path: str) -> Iterator[tuple[int, Record]]:
    with open(path, "rb") as file:
        names = next(csv.reader([file.readline().decode("utf-8-sig")]), [])
        needed, lines = Picked(names, _NEEDED), _Lines(file)
        for values in csv.reader(lines):
            yield lines.start, needed.of(values)


class _Lines:
    """The lines of an open file as text. start: where the latest of them begins."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._end = file, file.tell()
        self.start = self._end

    def __iter__(self) -> Iterator[str]:
        """Yield each line."""
        for line in self._file:
            self.start, self._end = self._end, self._end + len(line)
            yield line.decode("utf-8")


def last_rows(path: str, scratch: str | None = None) -> NDArray[np.bool_]:
    """Return for each row of a manifest whether it is the last of its file: bool, (rows,).

    Half a line at the end is no row. scratch: a folder for what memory does not hold; None to hold all, in
    24 bytes a row. Two paths are one if 128 bits of their hashes are. Raises one of DAMAGE at a line that is
    no row.
    """
    found, rows = KeySpill(scratch and os.path.join(scratch, "paths")), 0
    for block in blocks(path):
        block.check()
        paths, numbers = block.paths(), np.arange(rows, rows + len(block), dtype=np.uint64)
        found.add(np.column_stack([paths.hashes(), paths.hashes(_SECOND), numbers]))
        rows += len(block)
    return last(found, rows)


def count_rows(path: str) -> int:
    """Count the rows of a manifest. Raises UsageError if a line is none."""
    rows = 0
    try:
        for block in blocks(path):
            block.check()
            rows += len(block)
    except DAMAGE as error:
        raise damaged(path) from error
    return rows


def last_of(lines: Iterable[bytes]) -> NDArray[np.bool_]:
    """Return for each line of a manifest, but for its first, whether it is the last of its file: (lines,)."""
    hashes = np.fromiter((hash(_first_cell(line)) for line in lines), np.int64)
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    found = np.zeros(len(hashes), np.bool_)
    found[order] = np.append(ordered[1:] != ordered[:-1], np.ones(min(len(hashes), 1), np.bool_))
    return found


def _first_cell(line: bytes) -> bytes:
    """Return the path of a row, as it stands there."""
    if not line.startswith(b'"'):
        return line.split(b",", 1)[0]
    return next(csv.reader([line.decode("utf-8", "surrogateescape")]))[0].encode("utf-8", "surrogateescape")


def _key_of(record: Record) -> int:
    """Return 0 for a file that was never seen on the disk."""
    size, time = record["size"], record["mtime_ns"]
    if not time:
        return 0
    is_plain = size.isdecimal() and time.isdecimal() and not record.get("etag")
    told = f"{size}\n{time}" if is_plain else _told_of(record._stamp())
    return _hash(uncell(record.key), told) | _code_of(record["status"], record["reason"])


@lru_cache(maxsize=1024)
def _code_of(status: str, reason: str) -> int:
    """Return the lowest bits of the key of a row with this status and reason."""
    record = Record(status=status, reason=reason)
    if record.is_read_archive:
        return _READ if record.status is Status.NOT_DICOM else _READ_PARTLY
    return len(Status) + HINTS.index(record.hint) if record.hint else _STATUSES.index(record.status)


def _key(name: str, stamp: FileStamp) -> int:
    """Return a hash of an escaped path and what its file was, but for its lowest bits."""
    return _hash(name, _told_of(stamp))


def _told_of(stamp: FileStamp) -> str:
    return f"\n{stamp.etag}" if stamp.etag else f"{stamp.size}\n{stamp.mtime_ns}"


def _hash(name: str, told: str) -> int:
    text = f"{name}\n{told}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") & ~(_CODES - 1)
