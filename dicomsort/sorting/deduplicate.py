"""The end of a run: of an image that came twice only the first by path stays in the class folders.

Two files are one image if they have the same SOP Instance UID and the same Pixel Data.
"""

import os
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from dicomsort.manifest.lines import read
from dicomsort.manifest.records import Record
from dicomsort.manifest.spill import HashSet, Ordered
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import Action, Reason, Status
from dicomsort.sorting import pixel_shares
from dicomsort.sorting.place import is_still_there, is_untouched, place, remove, stands
from dicomsort.sorting.repeats import Compared, Member, Repeats, SettleSettings, find_repeats
from dicomsort.system import durable

Moved = Callable[[Record, Status], None]
"""Called with a row whose status changes, as it was, and the status that it has then."""


def settle(manifest: Manifest, settings: SettleSettings, moved: Moved) -> None:
    """Judge the files whose SOP Instance UID repeats, and take back the copies of duplicates.

    First the manifest says what is a duplicate, then its copy goes, then its place is forgotten and, where
    it stood in the way of the first one, given to that: whenever this is cut short, the next run finishes it.
    Digests that nodes have left for it go then, unless shards are missing.
    """
    if not manifest.run_file.settled:
        _settle(manifest, settings, moved)
    if not manifest.run_file.shards:
        pixel_shares.drop(settings.out)


def _settle(manifest: Manifest, settings: SettleSettings, moved: Moved) -> None:
    manifest.compact()
    with manifest.scratch() as folder:
        compared = find_repeats(manifest, folder, settings, pixel_shares.known(settings.out))
        if compared.number:
            ending = _Ending(manifest, settings, moved, folder, compared.number)
            ending.judge(compared)
            ending.take_back()
            ending.place_late()
            ending.write()
    manifest.run_file.settled = True


class _Ending:
    """Rows that change, by where they begin in the manifest, which is rewritten once in the end.

    Before anything that cannot be done again is done to a file, what the manifest has to say of it is
    appended. back: rows of duplicates that have a place. late: rows of firsts that have none.
    """

    def __init__(
        self, manifest: Manifest, settings: SettleSettings, moved: Moved, folder: str, expected: int
    ) -> None:
        self._manifest, self._settings, self._moved = manifest, settings, moved
        self._end, self._names = manifest.size, list(manifest.columns)
        self._changes, self._back, self._late = (
            Ordered(os.path.join(folder, name), expected, self._end) for name in ("changes", "back", "late")
        )
        self._firsts, self._copies = HashSet(), False

    def judge(self, compared: Compared) -> None:
        """Find out what each row is to say, and say it before a copy goes."""
        for members, repeats in compared.parts():
            firsts = set(repeats.first.values())
            for member in members:
                if not _may_change(member, repeats, firsts):
                    continue
                record = read(member.line, self._names)
                row = _judged(record, repeats, self._settings.out, self._moved)
                if row != record:
                    self._change(member.at, row)
                if row.is_duplicate and row.destination:
                    self._note_back(member.at, row, firsts)
                elif row.is_refused and row.key in firsts:
                    self._late.add(member.at, self._manifest.line(row))
        if self._copies:
            self._manifest.append_lines(line for _, line in self._changes)

    def _note_back(self, at: int, row: Record, firsts: set[str]) -> None:
        self._back.add(at, self._manifest.line(row))
        self._copies |= bool(row.action)
        if row.duplicate_of in firsts:
            self._firsts.add_text(row.duplicate_of)

    def _change(self, at: int, row: Record) -> None:
        self._changes.add(at, self._manifest.line(row))

    def take_back(self) -> None:
        """Remove the copies of duplicates, and forget the places of those that are gone."""
        standing = self._standing()
        for at, line in self._back:
            record = read(line, self._names)
            may_go = record.duplicate_of in self._firsts or record.duplicate_of in standing
            row = _taken_back(record, self._settings.out) if may_go else record
            if row != record:
                self._change(at, row)
        if self._late and self._copies:
            self._manifest.append_lines(line for _, line in self._changes)

    def _standing(self) -> HashSet:
        """Return the paths of files that others repeat, were not compared now, and stand in the output."""
        wanted, found = HashSet(), HashSet()
        for _, line in self._back:
            record = read(line, self._names)
            if record.duplicate_of not in self._firsts:
                wanted.add_text(record.duplicate_of)
        for block in self._manifest.blocks(self._end) if wanted else ():
            for row in np.flatnonzero(wanted.hold(block.paths().hashes())).tolist():
                if _stands(record := block.record(row), self._settings.out):
                    found.add_text(record.key)
        return found

    def place_late(self) -> None:
        """Place the first of several files of one image, if another of them had its place before."""
        held = self._held() if self._late else HashSet()
        for at, line in self._late:
            record = read(line, self._names)
            if record["destination"] not in held:
                row = _placed_late(record, self._settings, self._moved)
                if row != record:
                    self._change(at, row)

    def _held(self) -> HashSet:
        """Return the destinations of late ones that other files still have."""
        wanted, held, gone = HashSet(), HashSet(), HashSet()
        for _, line in self._late:
            wanted.add_text(read(line, self._names)["destination"])
        for at, line in self._changes:
            if not read(line, self._names).action:
                gone.add(np.array([at], np.uint64))
        for block in self._manifest.blocks(self._end):
            places = block.cells("destination").hashes()
            placed = (block.cells("action").lengths > 0) & ~gone.hold(block.offsets.astype(np.uint64))
            held.add(places[placed & wanted.hold(places)])
        return held

    def write(self) -> None:
        """Put all rows that have changed in the places of what they were."""
        if self._changes:
            self._manifest.change(self._changes, self._end)


def _may_change(member: Member, repeats: Repeats, firsts: set[str]) -> bool:
    """Return whether there may be anything new to say of a row; most firsts stay as they are."""
    path = member.path
    found = path in repeats.first or path in repeats.namesakes
    return found or member.is_duplicate or (member.refused and path in firsts)


def _judged(record: Record, repeats: Repeats, out: str, moved: Moved) -> Record:
    """Return a row with what the comparison of images has found; its copy stays for now."""
    key, status = record.key, record.status
    if key in repeats.first:
        if not _may_go(record, out):
            return record
        moved(record, Status.DUPLICATE)
        return record.repeating(repeats.first[key])
    if status is Status.DUPLICATE and key not in repeats.unread and record.duplicate_of not in repeats.unread:
        moved(record, Status.PLANNED)
        return record.repeating_nothing()
    return record.with_reason(Reason.SAME_UID) if key in repeats.namesakes else record


def _may_go(record: Record, out: str) -> bool:
    """Return whether there is no copy of this file, or one that has not been changed since and is not all."""
    if not record.is_placed:
        return True
    placement = record.placement
    target = os.path.join(out, placement.destination)
    if not os.path.lexists(target):
        return True
    stays = record.action == Action.MOVE and not is_still_there(record.path, target)
    return not stays and is_untouched(record.path, target, placement)


def _stands(record: Record, out: str) -> bool:
    if not record.action:
        return record.status is Status.PLANNED
    placement = record.placement
    return stands(os.path.join(out, placement.destination), placement)


def _taken_back(record: Record, out: str) -> Record:
    """Remove the copy of a duplicate, and forget its place once it is gone.

    Of a file that was neither compared just now nor stands elsewhere this may be the last copy.
    """
    if record.action:
        placement = record.placement
        target = os.path.join(out, placement.destination)
        with suppress(OSError):
            remove(record.path, target, placement)
        if os.path.lexists(target):
            return record
    return record.withdrawn()


def _placed_late(record: Record, settings: SettleSettings, moved: Moved) -> Record:
    """Place the first of several files of one image, if another of them had its place before."""
    late = record.without_reason(Reason.DESTINATION_TAKEN)
    row = late.planned() if settings.dry_run else _placed_now(late, settings)
    if row is None:
        return record
    moved(record, row.status)
    return row


def _placed_now(record: Record, settings: SettleSettings) -> Record | None:
    """Place a file and wait until the disk holds it; returns its row, or None if that fails."""
    planned = record.placement
    target = os.path.join(settings.out, planned.destination)
    placed = place(record.path, target, settings.placing, planned.stamp)
    if placed.action is None:
        return None
    durable.sync([] if placed.action is Action.SYMLINK else [target], [target], settings.out)
    return record.placed(placed.action, placed.sha256)
