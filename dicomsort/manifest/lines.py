"""A manifest as blocks of lines, whose cells are found and hashed without a Python object for each row."""

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from dicomsort.manifest.records import Record

_BLOCK = 1 << 20
_COMMA, _END, _QUOTE = ord(","), ord("\n"), ord('"')
_WORD = 8
_MASKS = np.array([(1 << 8 * length) - 1 for length in range(_WORD + 1)], np.uint64)

Hashes = NDArray[np.uint64]


class Seed:
    """What makes the hashes of one program: nobody can know names that get the same one.

    drawn: 24 bytes, for hashes that are the same ones in other programs.
    """

    def __init__(self, drawn: bytes = b"") -> None:
        self.start, first, second = np.frombuffer(drawn or os.urandom(3 * _WORD), "<u8")
        self.factors = first | np.uint64(1), second | np.uint64(1)


_SEED = Seed()
STABLE = Seed(hashlib.blake2b(b"dicomsort", digest_size=3 * _WORD).digest())
"""For what must be the same in all programs, such as a share of UIDs."""


@dataclass(frozen=True, slots=True)
class Cells:
    """One column of a block, unquoted: of each row where its text begins in `data`, and its length in bytes.

    data: with a word of anything behind the last text.
    """

    data: bytes
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def hashes(self, seed: Seed = _SEED) -> Hashes:
        """Return 64 bits for each text, (rows,); the same ones for the same text and seed."""
        words = np.ndarray((len(self.data) - _WORD + 1,), "<u8", self.data, strides=(1,))
        found = self.lengths.astype(np.uint64) ^ seed.start
        longest = int(self.lengths.max(initial=0))
        for at in range(0, longest, _WORD):
            live = np.flatnonzero(self.lengths > at)
            mask = _MASKS[np.minimum(self.lengths[live] - at, _WORD)]
            found[live] = _mixed(found[live] ^ (words[self.starts[live] + at] & mask), seed)
        return _mixed(found, seed)

    def text(self, row: int) -> bytes:
        """Return the text of one row."""
        start = int(self.starts[row])
        return self.data[start : start + int(self.lengths[row])]


def _mixed(values: Hashes, seed: Seed) -> Hashes:
    """Return values with all their bits in all others (two rounds of multiply and fold)."""
    for factor in seed.factors:
        values = values * factor
        values ^= values >> np.uint64(32)
    return values


def hash_of(text: bytes, seed: Seed = _SEED) -> np.uint64:
    """Return the hash of one text, as `Cells.hashes` gives it."""
    return np.uint64(hashes_of([text], seed)[0])


def hashes_of(texts: Iterable[bytes], seed: Seed = _SEED) -> Hashes:
    """Return the hashes of some texts, as `Cells.hashes` gives them."""
    return _joined(list(texts)).hashes(seed)


def _joined(texts: list[bytes]) -> Cells:
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    return Cells(b"".join([*texts, bytes(_WORD)]), np.cumsum(lengths) - lengths, lengths)


class Block:
    """Some whole lines of a manifest. first: the number of its first row. at: where in the file it begins."""

    def __init__(self, data: bytes, names: list[str], first: int, at: int) -> None:
        self.data, self.first, self.at, self._names = data, first, at, names
        self._bytes = np.frombuffer(data, np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def moved(self, by: int) -> "Block":
        """Return the same lines as if they began so many bytes later."""
        return Block(self.data, self._names, self.first, self.at + by)

    @cached_property
    def _marks(self) -> NDArray[np.int64]:
        return np.flatnonzero((self._bytes == _COMMA) | (self._bytes == _END))

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        marks = self._marks
        return np.asarray(marks[self._bytes[marks] == _END], np.int64)

    @cached_property
    def _quotes(self) -> NDArray[np.int64]:
        found = b'"' in self.data
        return np.flatnonzero(self._bytes == _QUOTE) if found else np.zeros(0, np.int64)

    @cached_property
    def _table(self) -> NDArray[np.int64] | None:
        """Where each cell of each line ends: (lines, columns); None if that is not so plain."""
        marks, shape = self._marks, (len(self), len(self._names))
        if len(self._quotes):
            marks = marks[~self._in_quotes()]
        if len(marks) != shape[0] * shape[1]:
            return None
        table = marks.reshape(shape)
        return table if shape[1] and np.array_equal(table[:, -1], self._ends) else None

    def _in_quotes(self) -> NDArray[np.bool_]:
        """Return for each mark whether it stands between a quote and the next one."""
        if len(self._quotes) % 2:
            return np.ones(len(self._marks), np.bool_)
        steps = np.zeros(len(self._marks) + 1, np.int64)
        np.add.at(steps, np.searchsorted(self._marks, self._quotes[0::2]), 1)
        np.add.at(steps, np.searchsorted(self._marks, self._quotes[1::2]), -1)
        return np.cumsum(steps[:-1]) > 0

    @cached_property
    def _begins(self) -> NDArray[np.int64]:
        return np.concatenate([np.zeros(min(len(self._ends), 1), np.int64), self._ends[:-1] + 1])

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where in the file each line begins, (rows,)."""
        return self._begins + self.at

    def line(self, row: int) -> bytes:
        """Return one line with its end."""
        return self.data[int(self._begins[row]) : int(self._ends[row]) + 1]

    def some(self, which: NDArray[np.bool_]) -> bytes:
        """Return some of the lines, (rows,)."""
        if which.all():
            return self.data
        return b"".join(self.line(row) for row in np.flatnonzero(which).tolist())

    def check(self) -> None:
        """Raise ValueError unless every line is a row, as text."""
        if self._table is not None:
            self.data.decode()
            return
        for row in range(len(self)):
            self.record(row)

    def record(self, row: int) -> Record:
        """Return one row. Raises ValueError if it is none."""
        return read(self.line(row), self._names)

    def cells(self, column: str) -> Cells:
        """Return one column that is not the first. Raises ValueError at a line that is no row."""
        return self._cells(self._names.index(column))

    def paths(self) -> Cells:
        """Return the first column; nothing else of a line has to be right."""
        return self._cells(0)

    @cached_property
    def _padded(self) -> bytes:
        return self.data + bytes(_WORD)

    def _cells(self, place: int) -> Cells:
        if self._table is None:
            width = len(self._names) if place else 0
            return _joined([_cell(self.line(row), place, width) for row in range(len(self))])
        starts = self._table[:, place - 1] + 1 if place else self._begins
        cells = Cells(self._padded, starts, self._table[:, place] - starts)
        return self._unquoted(cells) if len(self._quotes) else cells

    def _unquoted(self, cells: Cells) -> Cells:
        """Return cells without the quotes around them, and those in them once."""
        rows = np.flatnonzero(self._bytes[cells.starts] == _QUOTE)
        if not len(rows):
            return cells
        starts, lengths = cells.starts.copy(), cells.lengths.copy()
        ends = starts[rows] + lengths[rows]
        inner = np.searchsorted(self._quotes, ends) - np.searchsorted(self._quotes, starts[rows])
        plain = (inner == 2) & (self._bytes[ends - 1] == _QUOTE)
        odd = rows[~plain]
        more = _joined([_cell(cells.text(row), 0) for row in odd])
        starts[rows] += 1
        lengths[rows] -= 2
        starts[odd], lengths[odd] = more.starts + len(self.data), more.lengths
        return Cells(self.data + more.data, starts, lengths)


def _cell(line: bytes, place: int, width: int = 0) -> bytes:
    """Return a cell of a line. width: how many it must have, 0 for any number. Raises ValueError."""
    cells = next(csv.reader([line.decode("utf-8", "surrogateescape")]), [])
    if width and len(cells) != width:
        raise ValueError("a row has another number of cells")
    return cells[place].encode("utf-8", "surrogateescape") if cells else b""


def read(line: bytes, names: list[str]) -> Record:
    """Return the row that a line holds. Raises ValueError if it is none."""
    return Record(zip(names, next(csv.reader([line.decode()]), []), strict=True))


class Picked:
    """Reads some columns of rows, several times quicker than all of them.

    names: of all columns. wanted: two or more; those that are not there are left out.
    """

    def __init__(self, names: list[str], wanted: Iterable[str]) -> None:
        self._wanted, self._width = [name for name in wanted if name in names], len(names)
        self._pick = itemgetter(*map(names.index, self._wanted))

    def of(self, cells: list[str]) -> Record:
        """Return these columns of a row. Raises ValueError if it is none."""
        if len(cells) != self._width:
            raise ValueError("a row has another number of cells")
        return Record(zip(self._wanted, self._pick(cells), strict=True))

    def read(self, line: bytes) -> Record:
        """Return these columns of the row that a line holds. Raises ValueError if it is none."""
        return self.of(next(csv.reader([line.decode()]), []))


def names_of(path: str) -> list[str]:
    """Return the names of the columns."""
    with open(path, "rb") as file:
        return _names(file.readline())


def _names(line: bytes) -> list[str]:
    return next(csv.reader([line.decode("utf-8-sig")]), [])


def blocks(path: str, end: int | None = None) -> Iterator[Block]:
    """Yield the lines of a manifest, but for the first; half a line at the end is left out.

    end: where in the file to stop, None for at its end. Raises ValueError if the first line is no text.
    """
    with open(path, "rb") as file:
        names = _names(file.readline())
        at, first, left = file.tell(), 0, b""
        while data := file.read(_BLOCK if end is None else max(0, min(_BLOCK, end - file.tell()))):
            data = left + data
            whole = data.rfind(b"\n") + 1
            left = data[whole:]
            if whole:
                block = Block(data[:whole], names, first, at)
                yield block
                first, at = first + len(block), at + whole
