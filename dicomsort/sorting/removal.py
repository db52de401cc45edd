"""The end of a run that moves: sources go whose checked copies stand, with rows that say so on the disk."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from dicomsort.errors import UsageError
from dicomsort.manifest import history
from dicomsort.manifest.history import rows_with
from dicomsort.manifest.names import MANIFEST
from dicomsort.manifest.records import Record
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import Action, Placement, Status
from dicomsort.sorting.copies import digest
from dicomsort.sorting.moving import Stays, has_names, why_it_stays
from dicomsort.sorting.place import is_untouched, stamp_of
from dicomsort.sorting.reviewing import in_groups
from dicomsort.system import durable

_THREADS = 4
_TOLD = ("path", "status", "action", "destination", "size", "mtime_ns", "etag", "sha256")
_MOVED = (Status.SORTED, Status.REVIEW, Status.EXCLUDED)
"""What is placed for good, and so may leave the source."""


@dataclass(slots=True)
class Removed:
    """Sources that are gone now, and their bytes; of a dry run those that would be. stayed: others, why."""

    files: int = 0
    size: int = 0
    stayed: Counter[Stays] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.files or self.stayed)

    def count(self, stays: Stays | None, size: int) -> None:
        """Count a source."""
        if stays is None:
            self.files, self.size = self.files + 1, self.size + size
        else:
            self.stayed[stays] += 1

    def add(self, other: "Removed") -> None:
        """Count what another one has counted, too."""
        self.files, self.size = self.files + other.files, self.size + other.size
        self.stayed += other.stayed

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        stayed = {stays.name.lower(): count for stays, count in sorted(self.stayed.items())}
        return {"sources_removed": self.files, "bytes_removed": self.size, "sources_left": stayed}


def note_copied(asked: Action, done: str, source: str, removed: Removed) -> None:
    """Count a file that was to be moved and has only been copied, because its source must stay."""
    if asked is Action.MOVE and done == Action.COPY:
        removed.count(_would_stay(source) or Stays.NOT_REMOVED, 0)


def check(action: Action, follow_links: bool) -> None:
    """Raise UsageError if files are to be moved that lie behind links."""
    if follow_links and action is Action.MOVE:
        raise UsageError(
            "--action move does not go with --follow-links, because what lies behind links is never removed: "
            "leave one of them out"
        )


def has_moved(action: Action, out: str) -> bool:
    """Return whether a run that moves has nothing left to do: an earlier one has moved what there was."""
    return action is Action.MOVE and bool(rows_with(os.path.join(out, MANIFEST), "action", (action,)))


def may_remove(met: Mapping[Status, int]) -> bool:
    """Return whether a source may be left to remove. met: files of a run by status, those done before too."""
    return any(met.get(status, 0) for status in (*_MOVED, Status.PLANNED))


IsNew = Callable[[Record], bool]
"""Returns whether a row is of this run, so that nothing but its source can be at that place."""


def end(
    manifest: Manifest, out: str, action: Action, dry_run: bool, is_new: IsNew = lambda _: False
) -> Removed:
    """Remove the sources if the run moves; tell what its plan would remove if it was a dry run."""
    if action is not Action.MOVE:
        return Removed()
    if dry_run:
        return planned(os.path.join(out, MANIFEST))
    return remove_sources(manifest, out, is_new)


def end_of_latest(manifest: Manifest, out: str) -> Removed:
    """Remove the sources if the latest run that is written down moves; see `end`."""
    facts = manifest.run_file.last_run
    moves = facts.get("action") == Action.MOVE
    return end(manifest, out, Action.MOVE, bool(facts.get("dry_run"))) if moves else Removed()


def remove_sources(manifest: Manifest, out: str, is_new: IsNew) -> Removed:
    """Remove the sources of all files that rows say were moved, as far as they still stand.

    Each of them must have the size, time and bytes that were placed, its copy those that were checked, and no
    third name. Rows of those that stay say from now on how they were really placed. Where another file has
    come to the place of a source that an earlier run has removed, the copy is all there is: its row stays.
    May be cut short at any moment: the next call goes on. Raises TargetError.
    """
    path = os.path.join(out, MANIFEST)
    durable.sync([path], [path], out)
    removed, stay = Removed(), dict[str, Action]()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="remove") as threads:
        for group in in_groups(_pending(path)):
            ended = threads.map(lambda record: _removed(record, out), group)
            for record, stays in zip(group, ended, strict=True):
                removed.count(stays, record.placement.stamp.size)
                if stays is not None and (really := _really(record, out, is_new)) is not None:
                    stay[record.key] = really
    if stay:
        _correct(manifest, stay)
    return removed


def _pending(path: str) -> Iterator[Record]:
    """Yield the rows of moved files whose source stands, or something at its place."""
    for cells in history.cells(path, *_TOLD):
        record = Record(zip(_TOLD, cells, strict=True))
        if record.action == Action.MOVE and record.status in _MOVED and os.path.lexists(record.path):
            yield record


def _removed(record: Record, out: str) -> Stays | None:
    """Remove one source; returns why it stays, or None once it is gone."""
    source, target = record.path, os.path.join(out, record.placement.destination)
    try:
        before = os.lstat(source)
        if (stays := _why_not(source, target, record.placement)) is not None:
            return stays
        if not _is_same(before, os.lstat(source)):
            return Stays.CHANGED
        os.unlink(source)
    except FileNotFoundError:
        return Stays.COPY_CHANGED if os.path.lexists(source) else None
    except OSError:
        return Stays.NOT_REMOVED
    return None


def _why_not(source: str, target: str, placement: Placement) -> Stays | None:
    """Return why a source must not be removed: its bytes are not surely those of its copy. Raises OSError."""
    if (stays := why_it_stays(source, target)) is not None:
        return stays
    if stamp_of(source) != placement.stamp:
        return Stays.CHANGED
    if not is_untouched(source, target, placement):
        return Stays.COPY_CHANGED
    if os.path.samefile(source, target):  # by a second name, or one file by two ways, as through a bind mount
        return None if has_names(source, target, 2) else Stays.COPY_CHANGED
    return None if digest(source) == placement.sha256 else Stays.CHANGED


def _is_same(before: os.stat_result, now: os.stat_result) -> bool:
    return os.path.samestat(before, now) and (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        now.st_size,
        now.st_mtime_ns,
        now.st_ctime_ns,
    )


def _really(record: Record, out: str, is_new: IsNew) -> Action | None:
    """Return how a file was placed whose source stays; None if it was moved, and another one is there now."""
    source, placement = record.path, record.placement
    target = os.path.join(out, placement.destination)
    try:
        if has_names(source, target):
            return Action.HARDLINK
        is_there = is_new(record) or _is_source(source, target, placement)
    except OSError:
        return None
    return Action.COPY if is_there else None


def _is_source(source: str, target: str, placement: Placement) -> bool:
    """Return whether a file that is not its copy, by whatever way, has what was placed. Raises OSError."""
    if os.path.islink(source) or os.path.realpath(source) == os.path.realpath(target):
        return False
    return stamp_of(source) == placement.stamp and digest(source) == placement.sha256


def _correct(manifest: Manifest, stay: dict[str, Action]) -> None:
    """Write how files were placed whose sources stay."""
    manifest.compact(
        lambda record: record.with_action(stay[record.key]) if record.key in stay else record,
    )


def planned(path: str) -> Removed:
    """Return what moving the files of a plan would remove. path: of the manifest."""
    removed = Removed()
    for cells in history.cells(path, *_TOLD):
        record = Record(zip(_TOLD, cells, strict=True))
        if record.is_planned:
            removed.count(_would_stay(record.path), record.placement.stamp.size)
    return removed


def _would_stay(source: str) -> Stays | None:
    try:
        return why_it_stays(source)
    except OSError:
        return Stays.NOT_REMOVED
