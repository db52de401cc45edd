"""What is too much for memory: keys and lines in a temporary folder, divided into parts that do fit."""

import os
import shutil
from array import array
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from numpy.typing import NDArray

from dicomsort.errors import TargetError
from dicomsort.manifest.lines import hashes_of
from dicomsort.manifest.names import scratch_of
from dicomsort.system.escaping import escape

_IN_MEMORY = 64 << 20
"""So many bytes of keys or of lines are held; what is more goes to the disk."""

_PARTS = 128
_MOST_PARTS = 512
_LINES_A_PART = 20_000

Keys = NDArray[np.uint64]
"""Rows of whole numbers, the first of which is a hash: (rows, numbers)."""


@contextmanager
def scratch(folder: str) -> Iterator[str]:
    """Yield the name of a temporary folder for an output; what a killed program has left there goes.

    It is made by who first writes into it.
    """
    name = scratch_of(folder)
    shutil.rmtree(name, ignore_errors=True)
    try:
        yield name
    finally:
        shutil.rmtree(name, ignore_errors=True)
        with suppress(OSError):  # it holds other things, or was never made
            os.rmdir(os.path.dirname(name))


@contextmanager
def _on_disk(folder: str) -> Iterator[None]:
    """Raise TargetError where a temporary folder cannot be used."""
    try:
        yield
    except OSError as error:
        raise TargetError(f"the temporary folder '{escape(folder)}' fails: {error.strerror}") from error


class KeySpill:
    """Keys by their first number, a hash: equal ones are in one part, in the order in which they came.

    folder: for what memory does not hold, of this spill alone; None to hold all.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._held: list[Keys] = []
        self._bytes, self._is_spilt = 0, False

    def add(self, keys: Keys) -> None:
        """Take some more."""
        self._held.append(keys)
        self._bytes += keys.nbytes
        if self._folder is not None and self._bytes > _IN_MEMORY:
            with _on_disk(self._folder):
                self._spill(self._folder)

    def _spill(self, folder: str) -> None:
        os.makedirs(folder, exist_ok=True)
        self._is_spilt = True
        keys = np.concatenate(self._held)
        of = (keys[:, 0] % np.uint64(_PARTS)).astype(np.uint8)
        order = np.argsort(of, kind="stable")
        keys, edges = keys[order], np.searchsorted(of[order], np.arange(_PARTS + 1))
        for part in range(_PARTS):
            with open(self._name(folder, part), "ab") as file:
                file.write(keys[edges[part] : edges[part + 1]].tobytes())
        self._width = keys.shape[1]
        self._held, self._bytes = [], 0

    @staticmethod
    def _name(folder: str, part: int) -> str:
        return os.path.join(folder, f"keys-{part}")

    def parts(self) -> Iterator[Keys]:
        """Yield all of them, a part at a time, each of which is removed; once."""
        if not self._is_spilt or self._folder is None:
            if self._held:
                yield np.concatenate(self._held)
            return
        if self._held:
            with _on_disk(self._folder):
                self._spill(self._folder)
        for part in range(_PARTS):
            with _on_disk(self._folder):
                keys = self._taken(self._folder, part)
            yield keys

    def _taken(self, folder: str, part: int) -> Keys:
        name = self._name(folder, part)
        keys = np.fromfile(name, np.uint64).reshape(-1, self._width)
        os.unlink(name)
        return keys


class LineSpill:
    """Numbered lines in parts, each in the order in which they came.

    folder: of this spill alone. expected: about how many lines there will be, by which it is divided; or into
    how many parts. number: how many there are. largest: of the numbers that they have.
    """

    def __init__(self, folder: str, expected: int, parts: int = 0) -> None:
        self._folder = folder
        self.parts = parts or min(_MOST_PARTS, 1 + expected // _LINES_A_PART)
        self._held: dict[int, list[bytes]] = defaultdict(list)
        self._bytes, self._spilt = 0, set[int]()
        self.number = self.largest = 0

    def add(self, part: int, number: int, line: bytes) -> None:
        """Take a line into a part. line: with its end."""
        entry = b"%d %b" % (number, line)
        self._held[part].append(entry)
        self._bytes += len(entry)
        self.number, self.largest = self.number + 1, max(self.largest, number)
        if self._bytes > _IN_MEMORY:
            with _on_disk(self._folder):
                self._spill()

    def _spill(self) -> None:
        os.makedirs(self._folder, exist_ok=True)
        for part, entries in self._held.items():
            with open(self._name(part), "ab") as file:
                file.writelines(entries)
        self._spilt |= set(self._held)
        self._held.clear()
        self._bytes = 0

    def _name(self, part: int) -> str:
        return os.path.join(self._folder, f"lines-{part}")

    def part(self, part: int) -> Iterator[tuple[int, bytes]]:
        """Yield the lines of a part with their numbers."""
        if part in self._spilt:
            with open(self._name(part), "rb") as file:
                yield from map(_numbered, file)
        yield from map(_numbered, self._held.get(part, ()))

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield all lines, part by part."""
        for part in range(self.parts):
            yield from self.part(part)


def _numbered(entry: bytes) -> tuple[int, bytes]:
    number, _, line = entry.partition(b" ")
    return int(number), line


class Ordered:
    """Lines by number, which come in any order and are given back by number; of two with one the later.

    most: above all numbers. expected: see `LineSpill`.
    """

    def __init__(self, folder: str, expected: int, most: int) -> None:
        self._lines, self._most = LineSpill(folder, expected), most

    def __bool__(self) -> bool:
        return self._lines.number > 0

    def add(self, number: int, line: bytes) -> None:
        """Take a line."""
        self._lines.add(number * self._lines.parts // self._most, number, line)

    def in_parts(self) -> Iterator[list[tuple[int, bytes]]]:
        """Yield them by number, some thousands at a time."""
        for part in range(self._lines.parts):
            yield sorted(dict(self._lines.part(part)).items())

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield them by number."""
        for lines in self.in_parts():
            yield from lines


class HashSet:
    """Hashes of many texts, in 8 bytes each."""

    def __init__(self) -> None:
        self._new = array("Q")
        self._sorted = np.zeros(0, np.uint64)

    def __bool__(self) -> bool:
        return bool(len(self._sorted) or self._new)

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Take some more."""
        self._new.frombytes(hashes.tobytes())

    def hold(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return for each of some hashes whether it is in the set."""
        if self._new:
            self._sorted = np.unique(np.concatenate([self._sorted, np.asarray(self._new, np.uint64)]))
            self._new = array("Q")
        if not len(self._sorted):
            return np.zeros(len(hashes), np.bool_)
        at = np.searchsorted(self._sorted, hashes)
        return np.asarray(self._sorted[np.minimum(at, len(self._sorted) - 1)] == hashes, np.bool_)

    def add_text(self, text: str) -> None:
        """Take the hash of a text."""
        self.add(hashes_of([text.encode()]))

    def __contains__(self, text: str) -> bool:
        return bool(self.hold(hashes_of([text.encode()]))[0])


def repeated(spill: KeySpill, rows: int) -> NDArray[np.bool_]:
    """Return for each row whether another one has its hash, (rows,). spill: of (hash, row)."""
    found = np.zeros(rows, np.bool_)
    for keys in map(_runs, spill.parts()):
        found[keys[:, 1]] = True
    return found


def last(spill: KeySpill, rows: int) -> NDArray[np.bool_]:
    """Return for each row whether it is the last with its hashes, (rows,). spill: of (hash, hash, row)."""
    found = np.ones(rows, np.bool_)
    for keys in map(_runs, spill.parts()):
        ordered = keys[np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0]))]
        found[ordered[:-1, 2][(ordered[1:, :2] == ordered[:-1, :2]).all(axis=1)]] = False
    return found


def _runs(keys: Keys) -> Keys:
    """Return those whose first number another one has."""
    if not len(keys):  # all of a manifest may have one UID, and most parts none
        return keys
    order = np.argsort(keys[:, 0], kind="stable")
    ordered = keys[order, 0]
    begins = np.ones(len(keys) + 1, np.bool_)
    begins[1:-1] = ordered[1:] != ordered[:-1]
    return np.asarray(keys[order[~(begins[1:] & begins[:-1])]], np.uint64)
