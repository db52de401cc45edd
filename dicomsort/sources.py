"""Where files come from: folders to walk, or a list of paths; all of them, or one share."""

import csv
import hashlib
import os
import re
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, Protocol

from dicomsort import walk
from dicomsort.errors import UsageError
from dicomsort.names import escape, uncell, unescape
from dicomsort.outcome import Failure, Found, Reason, Status

STDIN = "-"
_CHUNK = 1 << 20
_COLUMN, _OURS = "path", "dicomsort_version"


class Files(Protocol):
    """What a run is to sort."""

    @property
    def repeats(self) -> bool:
        """Whether `find` may be called again."""

    def find(self) -> Iterator[Found]:
        """Yield every file once."""


@dataclass(frozen=True, slots=True)
class Share:
    """One of `of` shares of an archive, counted from 1.

    A file's share follows from its relative path alone, whatever else is there and on whatever machine.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Share":
        """Read `3/16`. Raises UsageError."""
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--shard '{text}' is no share: give i/n, such as 3/16, with i from 1 to n")
        return cls(int(found[1]), int(found[2]))

    def holds(self, relpath: str) -> bool:
        """Tell whether a file belongs to this share."""
        digest = hashlib.blake2b(os.fsencode(relpath), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.of == self.number - 1


@dataclass(frozen=True, slots=True)
class Archive:
    """What a command names: roots, perhaps a list of paths below them, perhaps one share only.

    avoid: the output folder. listed: see `listed_paths`; None to walk the roots.
    """

    roots: Sequence[walk.Root]
    avoid: str
    follow_links: bool = False
    listed: str | None = None
    share: Share | None = None

    @property
    def repeats(self) -> bool:
        """Whether it may be gone through again; a pipe may not."""
        return self.listed is None or os.path.isfile(self.listed)

    def find(self) -> Iterator[Found]:
        """Yield every file once. Raises UsageError if the list cannot be read."""
        if self.listed is None:
            found = walk.find(self.roots, self.avoid, self.follow_links)
            return (file for file in found if self._holds(file.relpath))
        return self._listed(self.listed)

    def _holds(self, relpath: str) -> bool:
        return self.share is None or self.share.holds(relpath)

    def _listed(self, source: str) -> Iterator[Found]:
        """Yield what is listed; only 8 bytes of a path, and Python's own of a set, are kept of each."""
        forbidden, seen = os.path.realpath(self.avoid), set[int]()
        for path in map(os.path.abspath, listed_paths(source)):
            relpath = self._relative(path)
            if not self._holds(relpath or path):
                continue
            key = hash(path)
            if key not in seen:
                seen.add(key)
                yield self._found(path, relpath, forbidden)

    def _found(self, path: str, relpath: str | None, forbidden: str) -> Found:
        if relpath is None:
            return Found(path, path.lstrip(os.sep), Failure(Status.IO_ERROR, Reason.NOT_UNDER))
        if walk.lies_under(os.path.realpath(path), forbidden):
            return Found(path, relpath, Failure(Status.IO_ERROR, Reason.IN_OUTPUT))
        return walk.found(path, relpath)

    def _relative(self, path: str) -> str | None:
        """Return a listed file's path as the walk would tell it; None if it lies under no root."""
        for root in self.roots:
            if path == root.path:
                return os.path.join(root.name, os.path.basename(path))
            if walk.lies_under(path, root.path):
                return os.path.join(root.name, os.path.relpath(path, root.path))
        return None


def check_list(source: str) -> None:
    """Raise UsageError if a list is not there or cannot be opened."""
    if source != STDIN:
        with _opened(source):
            pass


def listed_paths(source: str) -> Iterator[str]:
    """Yield the paths of a list, as they stand there.

    source: a file, or `-` for standard input. One path a line, or separated by NUL, or a CSV whose first line
    names a column `path`; a manifest of this program is such a CSV, and its names are turned back. Raises
    UsageError if it cannot be read.
    """
    with _opened(source) as stream:
        head = stream.read(_CHUNK)
        blocks = chain([head], iter(lambda: stream.read(_CHUNK), b""))
        if b"\0" in head:
            yield from _texts(_split(blocks, b"\0", source))
            return
        lines = _split(blocks, b"\n", source)
        first = next(lines, b"")
        names = _cells_of(first.removeprefix(b"\xef\xbb\xbf"))
        if _COLUMN in names:
            yield from _cells(_texts(lines, "\n"), names, source)
        elif source.casefold().endswith(".csv"):
            raise UsageError(f"--from-list '{escape(source)}' has no column 'path' in its first line")
        else:
            yield from (text for line in _texts(chain([first], lines)) if (text := line.removesuffix("\r")))


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    if source == STDIN:
        yield sys.stdin.buffer
        return
    try:
        with open(source, "rb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"--from-list '{escape(source)}' cannot be read: {error.strerror}") from error


def _split(blocks: Iterable[bytes], separator: bytes, source: str) -> Generator[bytes, None, None]:
    """Cut blocks of bytes at a separator."""
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(separator)
        yield from whole
        if len(rest) > _CHUNK:
            raise UsageError(f"--from-list '{escape(source)}' is no list of paths: a line has no end")
    if rest:
        yield rest


def _texts(lines: Iterable[bytes], end: str = "") -> Iterator[str]:
    return (os.fsdecode(line) + end for line in lines if line)


def _cells_of(line: bytes) -> list[str]:
    try:
        return next(csv.reader([line.decode().strip()]), [])
    except (UnicodeDecodeError, csv.Error):
        return []


def _cells(lines: Iterator[str], names: list[str], source: str) -> Iterator[str]:
    at, ours = names.index(_COLUMN), _OURS in names
    try:
        for cells in csv.reader(lines):
            if len(cells) > at and cells[at]:
                yield unescape(uncell(cells[at])) if ours else cells[at]
    except csv.Error as error:
        raise UsageError(f"--from-list '{escape(source)}' is no CSV: {error}") from error
