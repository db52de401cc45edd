"""Which archives are being read, and the order of their rows: an archive's own comes behind its members'."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from dicomsort.inputs import names
from dicomsort.outcome import SourceFile

Row = TypeVar("Row")


@dataclass(slots=True)
class _Open:
    """An archive that is being read.

    beside: whether there is a folder that has the name which the archive has in front of its members. left:
    members that have no row yet, by the hash of their path. seen: the same of all.
    """

    inner: bool
    beside: bool = False
    left: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    repeated: Counter[str] = field(default_factory=Counter)


class ArchiveRows:
    """Knows how many rows of an archive's members are still to come. Thread-safe.

    So a manifest that has the row of an archive has those of all its members too, wherever a run is killed.
    """

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._lock = threading.Lock()

    def open(self, path: str, inner: bool) -> None:
        """Begin with an archive. inner: whether it is a member of another one."""
        with self._lock:
            self._open[path] = _Open(inner, os.path.isdir(f"{path}!"))

    def is_open(self, path: str) -> bool:
        """Return whether a file is an archive that is being read."""
        return path in self._open

    def is_member(self, path: str) -> bool:
        """Return whether a file lies in an archive that is being read."""
        return self._archive_of(path) is not None

    def is_inner(self, path: str) -> bool:
        """Return whether the archive in which a file lies is itself a member of another one."""
        archive = self._archive_of(path)
        return archive is not None and self._open[archive].inner

    def _archive_of(self, path: str) -> str | None:
        if not self._open or names.is_plain(path):
            return None
        with self._lock:
            archives = [archive for archive, _, _ in names.splits(path) if archive in self._open]
            is_file = any(self._open[archive].beside for archive in archives) and os.path.lexists(path)
        return archives[-1] if archives and not is_file else None

    def named(self, archive: str, member: SourceFile) -> SourceFile:
        """Return a member with the number of its name in front of it, if that name came before.

        It also counts if a file on this disk has that name, in a folder `x.zip!` beside `x.zip`.
        """
        opened, key = self._open[archive], hash(member.path)
        if key not in opened.seen:
            opened.seen.add(key)
            if not (opened.beside and os.path.lexists(member.path)):
                return member
        opened.repeated[member.path] += 1
        number = 1 + opened.repeated[member.path]
        plain, numbered = names.member(archive, ""), names.member(archive, "", number)
        cut = len(member.path) - len(plain)
        name, above = member.path[len(plain) :], member.relpath[: len(member.relpath) - cut - len("!/")]
        return replace(member, path=numbered + name, relpath=names.member(above, name, number))

    def expect(self, archive: str, member: str) -> None:
        """Note that a row of a member is to come, by its name."""
        with self._lock:
            self._open[archive].left.add(hash(member))

    def in_order(self, rows: Iterable[Row], path_of: Callable[[Row], str]) -> Iterator[Row]:
        """Yield rows as they come, but those of archives behind those of their members."""
        held: dict[str, Row] = {}
        for row in rows:
            path = path_of(row)
            if path in self._open and self._open[path].left:
                held[path] = row
                continue
            yield row
            yield from self._let_go(path, held)
        yield from held.values()  # none, unless rows were lost

    def _let_go(self, path: str, held: dict[str, Row]) -> Iterator[Row]:
        """Note that a row was written; yield those of the archives that have waited for it."""
        if self._open.pop(path, None) is None and names.is_plain(path):
            return
        archive = self._archive_of(path)
        if archive is None:
            return
        with self._lock:
            left = self._open[archive].left
            left.discard(hash(path))
            ended = archive in held and not left
        if ended:
            yield held.pop(archive)
            yield from self._let_go(archive, held)
