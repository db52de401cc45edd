"""How the files of a manifest ended, counted while others write it, without a lock; read on as it grows."""

import csv
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from dicomsort.outcome import Status

_CODES = {status.value.encode(): code for code, status in enumerate(Status)}
_STATUSES = tuple(Status)
_MOST_EXACT = 50_000_000


class CountedRows:
    """The rows of a manifest as far as they have been read. Half a line at its end is no row yet.

    exact: whether a file that was done again counts once, which takes 9 bytes a row; else every row counts.
    time: when the last row was written, in seconds as by `time.time`; None if there is none.
    """

    def __init__(self, path: str, exact: bool = False) -> None:
        self._path, self.exact = path, exact
        self.time: float | None = None
        self._forget()

    def _forget(self) -> None:
        self._read, self._inode = 0, 0
        self.counts: Counter[Status] = Counter()
        self.hashes, self.codes = array("q"), bytearray()

    def look(self) -> None:
        """Read what is new; all of it again if the file is another one than before."""
        try:
            with open(self._path, "rb") as file:
                facts = os.fstat(file.fileno())
                if facts.st_ino != self._inode or facts.st_size < self._read:
                    self._forget()
                    self._inode = facts.st_ino
                if facts.st_size > self._read:
                    file.seek(self._read)
                    self._count(file)
                self.time = facts.st_mtime
        except FileNotFoundError:
            self._forget()
        except OSError:
            return  # just now: at the next look

    def _count(self, lines: Iterable[bytes]) -> None:
        codes, numbers = bytearray(), array("q")
        for text in lines:
            if not text.endswith(b"\n"):
                break
            self._read += len(text)
            path, _, rest = text.partition(b",")
            code = None if path.startswith(b'"') else _CODES.get(rest[: rest.find(b",")])
            if code is None:
                path, code = _slowly(text)
            if code is not None:
                codes.append(code)
                if self.exact:
                    numbers.append(hash(path))
        found = np.bincount(np.frombuffer(codes, np.uint8), minlength=len(_STATUSES))
        self.counts.update({status: int(n) for status, n in zip(_STATUSES, found, strict=True) if n})
        if self.exact:
            self.hashes += numbers
            self.codes += codes


def _slowly(text: bytes) -> tuple[bytes, int | None]:
    """Return path and status of a row whose path has commas or quotes; of the line of names no status."""
    cells = next(csv.reader([text.decode("utf-8", "surrogateescape")]), [])
    if len(cells) < 2:
        return b"", None
    return cells[0].encode("utf-8", "surrogateescape"), _CODES.get(cells[1].encode())


def count(path: str) -> Counter[Status]:
    """Count the files of a manifest by status."""
    rows = CountedRows(path, exact=True)
    rows.look()
    return together([rows])


def together(parts: Sequence[CountedRows]) -> Counter[Status]:
    """Count the files of several manifests by status; the last row of a file counts, where these are exact.

    Of more than fifty million rows each counts: what is written twice is little, and would take much memory.
    """
    if not all(part.exact for part in parts) or sum(len(part.hashes) for part in parts) > _MOST_EXACT:
        return sum((part.counts for part in parts), Counter())
    hashes = np.concatenate(
        [np.frombuffer(part.hashes, np.int64) for part in parts] or [np.zeros(0, np.int64)]
    )
    codes = np.frombuffer(b"".join(bytes(part.codes) for part in parts), np.uint8)
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    last = np.append(ordered[1:] != ordered[:-1], np.ones(min(len(hashes), 1), np.bool_))
    found = np.bincount(codes[order][last], minlength=len(_STATUSES))
    return Counter({status: int(n) for status, n in zip(_STATUSES, found, strict=True) if n})
