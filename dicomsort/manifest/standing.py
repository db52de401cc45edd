"""A manifest as it stands: the rows that count, as cells, as often as one wants to read them."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import BinaryIO

from dicomsort.errors import UsageError
from dicomsort.manifest.columns import FIRST
from dicomsort.manifest.history import DAMAGE, damaged, last_of
from dicomsort.system.escaping import SEPARATORS, escape


class Standing:
    """A manifest that is open. names: of its columns.

    offset: where in the file the row begins that `rows` has yielded last.
    """

    def __init__(self, names: list[str], counts: list[bool], file: BinaryIO, start: int) -> None:
        self.names, self.offset = names, start
        self._counts, self._file, self._start = counts, file, start
        self._next = start

    def __len__(self) -> int:
        return sum(self._counts)

    def rows(self) -> Iterator[list[str]]:
        """Yield the cells of every row that counts, each time from the beginning. Raises one of DAMAGE."""
        self._file.seek(self._start)
        self._next = self._start
        for counts, cells in zip(self._counts, csv.reader(self._lines()), strict=True):
            if counts:
                yield self._checked(cells)

    def row_at(self, offset: int) -> list[str]:
        """Return the cells of the row that begins there; not while `rows` is being read."""
        self._file.seek(offset)
        return self._checked(next(csv.reader([self._file.readline().decode("utf-8", "replace")])))

    def _lines(self) -> Iterator[str]:
        for line in islice(self._file, len(self._counts)):
            self.offset, self._next = self._next, self._next + len(line)
            yield line.decode("utf-8", "replace")

    def _checked(self, cells: list[str]) -> list[str]:
        if len(cells) != len(self.names):
            raise ValueError
        return cells


@contextmanager
def standing(path: str) -> Iterator[Standing]:
    """Open a manifest.csv of any version; of a file that was done again only the last row counts.

    It may be written to meanwhile: what counts is what stood there in whole lines at the beginning. Raises
    UsageError if it cannot be read, or is none, here and while the block reads it.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            names = _names(path, file.readline())
            start = file.tell()
            yield Standing(names, last_of(_whole_lines(file, start, size)).tolist(), file, start)
    except OSError as error:
        raise UsageError(
            f"there is no manifest at '{escape(path)}': name the --out folder of a run"
        ) from error
    except DAMAGE as error:
        raise damaged(path) from error


def _names(path: str, line: bytes) -> list[str]:
    """Return the columns. Raises UsageError unless they are those of a manifest, of any version."""
    names = next(csv.reader([line.decode("utf-8-sig", "replace")]), [])
    for mark, called in SEPARATORS.items():
        if names and names[0].startswith(f"{FIRST}{mark}"):
            raise UsageError(
                f"'{escape(path)}' has {called} between its cells: save it with commas, as it was"
            )
    if names[:1] != [FIRST] or not {"status", "reason", "label", "destination"} <= set(names):
        raise UsageError(f"'{escape(path)}' is no manifest of dicomsort")
    return names


def _whole_lines(file: BinaryIO, at: int, size: int) -> Iterator[bytes]:
    """Yield the lines up to a size, but for one that is not whole."""
    for line in file:
        at += len(line)
        if at > size or not line.endswith(b"\n"):
            return
        yield line
