"""Copies and links that somebody has moved by hand, from one class folder to another: a decision, too."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from dicomsort.manifest import history
from dicomsort.manifest.decisions import Decision, Decisions, now
from dicomsort.manifest.names import MANIFEST, OWN
from dicomsort.manifest.records import Record
from dicomsort.manifest.table import Manifest
from dicomsort.model.anatomy import Anatomy
from dicomsort.outcome import EXCLUDED, REVIEW, UNSURE, Action, Reviewed
from dicomsort.sorting.place import is_it
from dicomsort.sorting.rearranging import is_same_link, make_link
from dicomsort.sorting.reviewing import Places, choices, in_groups
from dicomsort.system.atomic import TEMPORARY
from dicomsort.system.escaping import uncell, unescape

BY_HAND = "moved by hand"
"""Who decided, where nobody said so."""

_PLACED = ("action", "destination")
_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Moved:
    """A placed file that now lies elsewhere. folder: the class folder it lies in, by its name."""

    record: Record
    destination: str
    folder: str

    @property
    def decision(self) -> Decision | None:
        """What that says of the file; None if it is in the folder where it was, under another name."""
        if self.folder == self.record.folder:
            return None
        label = {REVIEW: UNSURE}.get(self.folder, self.folder.replace("+", "|"))
        return Decision(self.record, Reviewed(label, BY_HAND, now()))

    def row(self, anatomy: Anatomy) -> Record:
        """Return the row as it should be. anatomy: what the labels mean."""
        decision = self.decision
        return (
            self.record.moved(self.destination)
            if decision is None
            else self.record.decided(decision.reviewed, self.destination, anatomy)
        )


@dataclass(frozen=True, slots=True)
class Recognized:
    """What was found. astray: files in folders that are no classes, by folder; they are nobody's."""

    moved: tuple[Moved, ...] = ()
    astray: Mapping[str, int] = field(default_factory=dict)


def find(places: Places, labels: Iterable[str]) -> Recognized:
    """Find the files that are not in their place, and are in another folder of the output instead.

    labels: the classes; several of a multilabel model may come together. A copy is known by its size and
    time and by its bytes, if the source can still be read; a link by what it leads to. What could be one of
    several files is nobody's.
    """
    manifest = places.target(MANIFEST)
    strays = _Strays(places, _unaccounted(places, history.cells(manifest, *_PLACED)))
    if not strays:
        return Recognized()
    claims: dict[str, list[Record]] = defaultdict(list)
    for record in _lost(history.records(manifest), places):
        for stray in strays.like(record):
            if _is_it(record, stray, places):
                claims[stray].append(record)
    found, classes = list(_only(claims, places)), _folders(labels)
    moved = tuple(one for one in found if _is_class(one.folder, classes))
    return Recognized(moved, Counter(one.folder for one in found if not _is_class(one.folder, classes)))


class _Strays:
    """Files that no row speaks of, by what a file that was moved and perhaps renamed keeps."""

    def __init__(self, places: Places, names: Iterable[str]) -> None:
        self._copies: dict[tuple[str, int], list[str]] = defaultdict(list)
        self._sizes: dict[int, list[str]] = defaultdict(list)
        self._links: dict[str, list[str]] = defaultdict(list)
        for name in names:
            target = places.target(name)
            with suppress(OSError):
                if os.path.islink(target):
                    self._links[os.path.basename(os.readlink(target))].append(name)
                    continue
                size = os.lstat(target).st_size
                self._sizes[size].append(name)
                self._copies[os.path.basename(name), size].append(name)

    def __bool__(self) -> bool:
        return bool(self._links or self._sizes)

    def like(self, record: Record) -> list[str]:
        """Return those that may be what was placed of a row's file: of its name, else of its size."""
        if record.action == Action.SYMLINK:
            return self._links.get(os.path.basename(record.path), [])
        size = record.placement.stamp.size
        named = self._copies.get((os.path.basename(record.destination), size), [])
        return named or self._sizes.get(size, [])


def recognize(manifest: Manifest, out: str, decisions: Decisions) -> Recognized:
    """Write down what was moved by hand: what that decides, and where the files are now.

    Raises TargetError.
    """
    places = Places.of(out, manifest.run_file)
    found = find(places, choices(manifest.answers, decisions))
    if found.moved:
        _write(manifest, places, decisions, found.moved)
    return found


def _write(manifest: Manifest, places: Places, decisions: Decisions, moved: Sequence[Moved]) -> None:
    with decisions.appending() as journal:
        journal.write([one.decision for one in moved if one.decision is not None])
        journal.sync()
    for one in moved:
        if one.record.action == Action.SYMLINK:
            make_link(one.record.path, places.target(one.record.destination), places.target(one.destination))
    manifest.append_records([one.row(places.anatomy) for one in moved])
    manifest.compact()
    manifest.run_file.note_decisions(decisions.size, decisions.digest)


def _folders(labels: Iterable[str]) -> frozenset[str]:
    return frozenset([*labels, REVIEW, EXCLUDED])


def _unaccounted(places: Places, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the files that no row speaks of and that lie where classes do, relative to the output."""
    named = (unescape(uncell(destination)) for action, destination in rows if action)
    placed = np.unique(np.fromiter(map(hash, named), np.int64))
    for batch in in_groups(_files(places.out, places.layout.label_depth), _AT_ONCE):
        hashes = np.fromiter(map(hash, batch), np.int64, len(batch))
        yield from (name for name, known in zip(batch, np.isin(hashes, placed), strict=True) if not known)


def _files(out: str, depth: int | None) -> Iterator[str]:
    """Yield the files below folders at a depth, relative to the output.

    Class folders, and those above them, may be links to other places; links below are files.
    """
    if depth is None:
        return
    for folder, below, names in os.walk(out, followlinks=True):
        parts = [] if folder == out else os.path.relpath(folder, out).split(os.sep)
        if not parts:
            below[:] = [name for name in below if name not in OWN]
        below.sort()
        if len(parts) > depth:
            links = [name for name in below if os.path.islink(os.path.join(folder, name))]
            below[:] = [name for name in below if name not in set(links)]
            for name in sorted([*names, *links]):
                if not name.startswith(TEMPORARY):
                    yield os.path.join(*parts, name)


def _is_class(name: str, folders: frozenset[str]) -> bool:
    together = name.split("+")
    alone = bool({REVIEW, EXCLUDED} & set(together)) or len(set(together)) < len(together)
    return name in folders or (len(together) > 1 and not alone and folders.issuperset(together))


def _lost(records: Iterable[Record], places: Places) -> Iterator[Record]:
    placed = (record for record in records if record.is_placed)
    return (record for record in placed if not os.path.lexists(places.target(record.placement.destination)))


def _is_it(record: Record, stray: str, places: Places) -> bool:
    """Return whether a stray file is what was placed of a row's file."""
    placement, target = record.placement, places.target(stray)
    if placement.action == Action.SYMLINK:
        return is_same_link(record.path, places.target(record.destination), target)
    return is_it(record.path, target, placement)


def _only(claims: dict[str, list[Record]], places: Places) -> Iterator[Moved]:
    """Yield each pair of a lost file and a stray one that has no rival."""
    counts: dict[str, int] = defaultdict(int)
    for records in claims.values():
        for record in records:
            counts[record.key] += 1
    for stray, records in claims.items():
        if len(records) == 1 and counts[records[0].key] == 1:
            folder = stray.split(os.sep)[places.layout.label_depth or 0]
            yield Moved(records[0], stray, folder)
