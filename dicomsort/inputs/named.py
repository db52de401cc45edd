"""Where files come from: folders to walk, or a list of paths; all of them, or one shard."""

import csv
import hashlib
import os
import re
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from typing import BinaryIO, Protocol

from dicomsort.errors import UsageError
from dicomsort.inputs import remotes, sources, walk
from dicomsort.inputs.archive_file import MemberDamagedError
from dicomsort.inputs.names import is_plain, is_remote
from dicomsort.inputs.remotes import Remotes
from dicomsort.outcome import Failure, Reason, SourceFile, Status
from dicomsort.system.escaping import SEPARATORS, escape, uncell, unescape

STDIN = "-"
_CHUNK = 1 << 20
_COLUMN, _OURS = "path", "dicomsort_version"
_MARK = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_KNOWN = {_COLUMN, _OURS, "file", "filename", "status", "reason", "label", "destination", "sha256"}


class Files(Protocol):
    """What a run is to sort."""

    @property
    def repeats(self) -> bool:
        """Whether `find` may be called again."""

    @property
    def remotes(self) -> Remotes:
        """The stores from which files have to be fetched."""

    @property
    def empty_folders(self) -> int:
        """How many folders without anything in them were met, once `find` has come to its end."""

    @property
    def number(self) -> int | None:
        """How many files there are, where that is known before all have been found."""

    def find(self) -> Iterator[SourceFile]:
        """Yield every file once."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `of` shards of an archive, counted from 1.

    A file's shard follows from its relative path alone, whatever else is there and on whatever machine.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `3/16`. Raises UsageError. See `sorting.array_shards` for `auto/16`."""
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(
                f"--shard '{text}' is no shard: give i/n, such as 3/16, with i from 1 to n, or auto/n"
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        """Return it as it is given: `3/16`."""
        return f"{self.number}/{self.of}"

    def holds(self, relpath: str) -> bool:
        """Return whether a file belongs to this shard."""
        return number_of(relpath, self.of) == self.number


def number_of(relpath: str, of: int) -> int:
    """Return which of so many shards holds a file, counted from 1."""
    digest = hashlib.blake2b(os.fsencode(relpath), digest_size=8).digest()
    return int.from_bytes(digest, "big") % of + 1


def shared_by(file: SourceFile) -> str:
    """Return by what a file of `Archive.stated` falls to a shard: its relative path, if it has one."""
    strays = file.failure is not None and file.failure.reason is Reason.NOT_UNDER
    return file.path if strays else file.relpath


@dataclass(frozen=True, slots=True)
class Archive:
    """What a command names: roots, perhaps a list of paths below them, perhaps one shard only.

    avoid: the output folder. listed: see `listed_paths`; None to walk the roots. remotes: the stores among
    the roots.
    """

    roots: Sequence[walk.Root]
    avoid: str
    follow_links: bool = False
    listed: str | None = None
    shard: Shard | None = None
    remotes: Remotes = field(default_factory=Remotes)
    _empty: list[int] = field(default_factory=lambda: [0], init=False, repr=False, compare=False)

    @property
    def _local(self) -> list[walk.Root]:
        return [root for root in self.roots if not is_remote(root.path)]

    @property
    def repeats(self) -> bool:
        """Whether it may be gone through again; a pipe may not, and a store is not listed twice."""
        return not self.remotes and (self.listed is None or os.path.isfile(self.listed))

    def find(self) -> Iterator[SourceFile]:
        """Yield every file once. Raises UsageError if the list cannot be read."""
        own, shard = self.stated(), self.shard
        if shard is not None:
            own = (file for file in own if shard.holds(shared_by(file)))
        return self.looked_up(own)

    def stated(self) -> Iterator[SourceFile]:
        """Yield the files of all shards; those that a list names as they stand there, and as often.

        Raises UsageError if the list cannot be read.
        """
        return self._walked() if self.listed is None else self._listed(self.listed)

    def looked_up(self, files: Iterator[SourceFile]) -> Iterator[SourceFile]:
        """Yield files of `stated`, each once, with what is known of them without reading."""
        return files if self.listed is None else self.remotes.stamped(self._once(files))

    @property
    def empty_folders(self) -> int:
        """How many folders without anything in them were met, once `find` has come to its end."""
        return self._empty[0]

    @property
    def number(self) -> int | None:
        """None: that is known only once all have been found."""
        return None

    def _walked(self) -> Iterator[SourceFile]:
        steps = count()
        here = walk.find(self._local, self.avoid, self.follow_links, partial(next, steps))
        yield from chain(here, self.remotes.find())
        self._empty[0] = next(steps)

    def _listed(self, source: str) -> Iterator[SourceFile]:
        for path in map(_absolute, listed_paths(source)):
            relpath = relative_to(self.roots, path)
            if relpath is None:
                stray = Failure(Status.IO_ERROR, Reason.NOT_UNDER)
                yield SourceFile(path, path.lstrip(os.sep), stray)
            else:
                yield SourceFile(path, relpath)

    def _once(self, files: Iterable[SourceFile]) -> Iterator[SourceFile]:
        """Look up what is listed; only 8 bytes of a path, and Python's own of a set, are kept of each."""
        forbidden, seen = os.path.realpath(self.avoid), set[int]()
        for file in files:
            key = hash(file.path)
            if key not in seen:
                seen.add(key)
                yield _found(file, forbidden)


def _found(file: SourceFile, forbidden: str) -> SourceFile:
    path = file.path
    if file.failure is not None or is_remote(path):
        return file
    if walk.lies_under(os.path.realpath(path), forbidden):
        return SourceFile(path, file.relpath, Failure(Status.IO_ERROR, Reason.IN_OUTPUT))
    if not is_plain(path) and not os.path.lexists(path):
        return _member(path, file.relpath)
    return walk.found(path, file.relpath, missing=Reason.NO_SUCH_FILE)


def _member(path: str, relpath: str) -> SourceFile:
    """Return a member of an archive that is asked for by its name."""
    try:
        return SourceFile(path, relpath, stamp=sources.stamp_of(path))
    except FileNotFoundError:
        return SourceFile(path, relpath, Failure(Status.IO_ERROR, Reason.NO_SUCH_FILE))
    except (OSError, MemberDamagedError):
        return SourceFile(path, relpath, Failure(Status.IO_ERROR, Reason.UNREADABLE))


def relative_to(roots: Sequence[walk.Root], path: str) -> str | None:
    """Return a file's path as the walk of the roots would yield it; None if it lies under no root."""
    for root in roots:
        if is_remote(root.path):
            if (below := remotes.relative_to(root, path)) is not None:
                return below
            continue
        if path == root.path or (path.startswith(f"{root.path}!") and not os.path.isdir(root.path)):
            return os.path.join(root.name, os.path.basename(root.path)) + path[len(root.path) :]
        if walk.lies_under(path, root.path):
            return os.path.join(root.name, os.path.relpath(path, root.path))
    return None


def check_list(source: str) -> None:
    """Raise UsageError if a list is not there, or its beginning is no list.

    Nothing is taken from a pipe: of standard input is looked at what has come, of a named pipe nothing.
    """
    if source == STDIN:
        peek = getattr(sys.stdin.buffer, "peek", lambda _: b"")
        head = b"" if sys.stdin.isatty() else peek(1)
        if b"\n" in head or b"\0" in head:
            _begun(iter([head]), source)
    elif os.path.isfile(source) or not os.path.exists(source) or os.path.isdir(source):
        with _opened(source) as stream:
            _begun(_blocks(stream), source)


def listed_paths(source: str) -> Iterator[str]:
    """Yield the paths of a list, as they stand there.

    source: a file, or `-` for standard input. One path a line, or separated by NUL, or a CSV whose first line
    names a column `path`; a manifest of this program is such a CSV, and its names are turned back. Raises
    UsageError if it cannot be read.
    """
    with _opened(source) as stream:
        begun = _begun(_blocks(stream), source)
        if begun.names:
            texts = _cells(_texts(begun.lines, "\n"), begun.names, source)
        elif begun.ended_by_nul:
            texts = _texts(begun.lines)
        else:
            texts = (text for line in _texts(begun.lines) if (text := line.removesuffix("\r")))
        for text in texts:
            if "\0" in text:
                raise UsageError(f"--from-list '{escape(source)}' is no list of paths: a line holds a NUL")
            yield text


@dataclass(frozen=True, slots=True)
class _Begun:
    """A list of which the beginning is known: its lines, and the names of its columns if it is a CSV."""

    lines: Iterator[bytes]
    names: tuple[str, ...] = ()
    ended_by_nul: bool = False


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    return iter(partial(stream.read, _CHUNK), b"")


def _begun(blocks: Iterator[bytes], source: str) -> _Begun:
    """Look at the beginning of a list. Raises UsageError if it is none."""
    head = next(blocks, b"")
    if head.startswith(_WIDE):
        raise UsageError(f"--from-list '{escape(source)}' is in UTF-16: save it in UTF-8")
    blocks = chain([head.removeprefix(_MARK)], blocks)
    if b"\0" in head:
        return _Begun(_split(blocks, b"\0", source), ended_by_nul=True)
    lines = _split(blocks, b"\n" if b"\n" in head else b"\r", source)
    first = next(lines, b"")
    names = tuple(_cells_of(first))
    if _COLUMN in names:
        return _Begun(lines, names)
    _check_is_no_table(first, names, source)
    return _Begun(chain([first], lines))


def _check_is_no_table(first: bytes, names: Sequence[str], source: str) -> None:
    """Raise UsageError if the first line of a list of paths is that of a table."""
    for mark, called in SEPARATORS.items():
        if _is_titled(_cells_of(first, mark)):
            raise UsageError(
                f"--from-list '{escape(source)}' has {called} between its cells: save it with commas"
            )
    if source.casefold().endswith(".csv") or _is_titled(names):
        raise UsageError(f"--from-list '{escape(source)}' has no column 'path' in its first line")


def _is_titled(names: Sequence[str]) -> bool:
    """Return whether these are names of columns, one of them known, rather than a path with commas in it."""
    return (
        len(names) > 1 and any(name.casefold() in _KNOWN for name in names) and os.sep not in "".join(names)
    )


def _absolute(path: str) -> str:
    if is_remote(path):
        return path
    try:
        return walk.absolute(path)
    except FileNotFoundError as error:
        raise UsageError(
            f"'{escape(path)}' is relative, and the current folder has been removed: change to another one"
        ) from error


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


def _named(cell: str) -> str:
    """Turn a path of a manifest, read as names are, into the name of the file."""
    return unescape(uncell(os.fsencode(cell).decode("utf-8")))


def _cells_of(line: bytes, separator: str = ",") -> list[str]:
    try:
        return next(csv.reader([line.decode().strip()], delimiter=separator), [])
    except (UnicodeDecodeError, csv.Error):
        return []


def _cells(lines: Iterator[str], names: Sequence[str], source: str) -> Iterator[str]:
    at, ours = names.index(_COLUMN), _OURS in names
    try:
        for cells in csv.reader(lines):
            if len(cells) > at and cells[at]:
                yield _named(cells[at]) if ours else cells[at]
    except csv.Error as error:
        raise UsageError(f"--from-list '{escape(source)}' is no CSV: {error}") from error
    except ValueError as error:
        raise UsageError(f"--from-list '{escape(source)}' holds a damaged name: restore it") from error
