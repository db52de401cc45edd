"""The end of a run: of an image that came twice only the first by path stays in the class folders.

Two files are one image if they have the same SOP Instance UID and the same Pixel Data.
"""

import os
import threading
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import attrgetter

from dicomsort.inputs.names import is_plain
from dicomsort.manifest.rows import Record
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import Action, Reason, Status
from dicomsort.sorting.filing import stamp_now
from dicomsort.sorting.place import PlacementSettings, is_still_there, is_untouched, place, remove, stands
from dicomsort.system import durable, worker_pool
from dicomsort.system.escaping import unescape
from dicomsort.system.worker_pool import PoolSettings

Moved = Callable[[Record, Status], None]
"""Called with a row whose status changes, as it was, and the status that it has then."""


@dataclass(frozen=True, slots=True)
class SettleSettings:
    """How a run ends. dry_run: plans are judged as if they were placed."""

    out: str
    dry_run: bool
    placing: PlacementSettings
    pool: PoolSettings


@dataclass(frozen=True, slots=True)
class Repeats:
    """What was found, by the manifest's (escaped) paths.

    first: for each duplicate, the file that it repeats; that is the one with the smallest path, of those on
    which a person decided if there are any. namesakes: files that share their SOP Instance UID with another
    image.
    """

    first: dict[str, str]
    namesakes: frozenset[str]
    unread: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of a group: where it is, or would be if nothing else were there.

    number: of its row. away: whether it was moved, so that its copy is all there is of it.
    """

    path: str
    destination: str
    placed: bool
    refused: bool
    decided: bool = False
    number: int = 0
    away: bool = False

    @property
    def turn(self) -> tuple[str, int]:
        """When it is to be read: archive by archive, in the order of rows, which is that of what is in it."""
        return self.path.partition("!")[0] if "!" in self.path else "", self.number


def settle(manifest: Manifest, settings: SettleSettings, moved: Moved) -> None:
    """Judge the files whose SOP Instance UID repeats, and take back the copies of duplicates.

    First the manifest says what is a duplicate, then its copy goes, then its place is forgotten and, where
    it stood in the way of the first one, given to that: whenever this is cut short, the next run finishes it.
    """
    if manifest.run_file.settled:
        return
    repeats = find_repeats(partial(_judgeable, manifest, settings.dry_run), settings.pool, settings.out)
    if repeats.first or repeats.namesakes or any(record.is_duplicate for record in manifest.records()):
        manifest.compact(partial(_judged, repeats=repeats, out=settings.out, moved=moved))
        standing = _standing_firsts(manifest, settings.out)
        firsts = frozenset(repeats.first.values())
        manifest.compact(partial(_taken_back, out=settings.out, firsts=firsts | standing))
        free = firsts - _held(manifest, firsts)
        manifest.compact(partial(_placed_late, firsts=free, settings=settings, moved=moved))
    manifest.run_file.settled = True


def _judgeable(manifest: Manifest, dry_run: bool) -> Iterator[Record]:
    """Yield the rows of images that are placed, would be, or wanted the place of another."""
    placed = (Status.SORTED, Status.REVIEW, Status.EXCLUDED, Status.DUPLICATE)
    statuses = {*placed, *([Status.PLANNED] if dry_run else [])}
    return (record for record in manifest.records() if record.status in statuses or record.is_refused)


def _judged(record: Record, repeats: Repeats, out: str, moved: Moved) -> Record:
    """Return a row with what the comparison of images has found; its copy stays for now."""
    key, status = record.key, record.status
    if key in repeats.first:
        if not _may_go(record, out):
            return record
        moved(record, Status.DUPLICATE)
        return record.repeating(repeats.first[key])
    if status is Status.DUPLICATE and not {key, record.duplicate_of} & repeats.unread:
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


def _standing_firsts(manifest: Manifest, out: str) -> frozenset[str]:
    """Return the paths of files that others repeat and that stand in the output, or are planned."""
    wanted = {record.duplicate_of for record in manifest.records() if record.is_duplicate}
    found = (record for record in manifest.records() if record.key in wanted)
    return frozenset(record.key for record in found if _stands(record, out))


def _stands(record: Record, out: str) -> bool:
    if not record.action:
        return record.status is Status.PLANNED
    placement = record.placement
    return stands(os.path.join(out, placement.destination), placement)


def _held(manifest: Manifest, paths: frozenset[str]) -> frozenset[str]:
    """Return those of the paths whose destination another file still has."""
    wanted = {record.destination: record.key for record in manifest.records()
              if record.key in paths and record.is_refused}  # fmt: skip
    placed = (record.destination for record in manifest.records() if record.action)
    return frozenset(wanted[destination] for destination in placed if destination in wanted)


def _taken_back(record: Record, out: str, firsts: frozenset[str]) -> Record:
    """Remove the copy of a duplicate, and forget its place once it is gone.

    firsts: files that were compared just now, or whose copy stands; of any other original this may be the
    last copy.
    """
    if not record.is_duplicate or not record.destination or record.duplicate_of not in firsts:
        return record
    if record.action:
        placement = record.placement
        target = os.path.join(out, placement.destination)
        with suppress(OSError):
            remove(record.path, target, placement)
        if os.path.lexists(target):
            return record
    return record.withdrawn()


def _placed_late(record: Record, firsts: frozenset[str], settings: SettleSettings, moved: Moved) -> Record:
    """Place the first of several files of one image, if another of them had its place before."""
    if record.key not in firsts or not record.is_refused:
        return record
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


def find_repeats(
    records: Callable[[], Iterable[Record]],
    settings: PoolSettings,
    out: str = "",
) -> Repeats:
    """Compare the files whose SOP Instance UID repeats. records: gives the rows that may be images.

    out: the output; of what lies in an archive or on another machine the copy in it is read, where there is
    one.

    A file that found its destination taken can be the first of an image only if another file of that image
    holds the place and will make way. Only 8 bytes a row are kept in memory, and only
    files with a repeated UID are read, in workers. The answer does not depend on the order of the rows. A
    file that cannot be read any more is no duplicate.
    """
    repeated = _repeated(hash(record.sop_instance_uid) for record in _with_uid(records()))
    if not repeated:
        return Repeats({}, frozenset())
    groups: dict[str, dict[str, _Member]] = defaultdict(dict)
    for number, record in enumerate(_with_uid(records())):
        if hash(record.sop_instance_uid) in repeated:
            member = _Member(
                record.key,
                record.destination,
                bool(record.action),
                record.is_refused,
                bool(record.reviewed),
                number,
                is_away(record),
            )
            groups[record.sop_instance_uid][member.path] = member
    return _compare([list(group.values()) for group in groups.values() if len(group) > 1], settings, out)


def is_away(record: Record) -> bool:
    """Return whether a file was moved, so that its copy is all there is of it."""
    return record.action == Action.MOVE and stamp_now(record.path) != record.stamp


def _with_uid(records: Iterable[Record]) -> Iterator[Record]:
    return (record for record in records if record.sop_instance_uid)


def _repeated(hashes: Iterable[int]) -> set[int]:
    ordered = sorted(array("q", hashes))
    return {one for one, other in pairwise(ordered) if one == other}


def _compare(groups: list[list[_Member]], settings: PoolSettings, out: str) -> Repeats:
    digests = _digests((member for group in groups for member in group), settings, out)
    first: dict[str, str] = {}
    namesakes: set[str] = set()
    for group in groups:
        images: dict[str, list[_Member]] = defaultdict(list)
        for member in group:
            if digests[member.path]:
                images[digests[member.path]].append(member)
        for members in images.values():
            original = _first_of(members)
            if original is not None:
                first.update({one.path: original for one in members if one.path != original})
        if len(images) > 1:
            namesakes.update(one.path for members in images.values() for one in members)
            namesakes -= first.keys()
    return Repeats(first, frozenset(namesakes), frozenset(path for path in digests if not digests[path]))


def _first_of(members: list[_Member]) -> str | None:
    """Return the smallest path of those that are placed or can be; None if another file has their place.

    What a person decided stays: such a file comes before the others, and before all comes one that was moved,
    because there is no other place where its bytes are.
    """
    held = {member.destination for member in members if member.placed}
    able = [member for member in members if not member.refused or member.destination in held]
    first = min(able, key=lambda member: (not member.away, not member.decided, member.path), default=None)
    return None if first is None else first.path


def _digests(members: Iterable[_Member], settings: PoolSettings, out: str) -> dict[str, str]:
    wanted = ((member.path, _where(member, out)) for member in sorted(members, key=attrgetter("turn")))
    results = worker_pool.run(_digest, wanted, settings, threading.Event())
    return {path: "" if isinstance(result, worker_pool.Lost) else result for (path, _), result in results}


def _where(member: _Member, out: str) -> str:
    """Return what to read of a file: itself, or its copy if it was moved or can only be had by a detour."""
    path = unescape(member.path)
    if (is_plain(path) and not member.away) or not member.placed:
        return path
    copy = os.path.join(out, member.destination)
    return copy if os.path.exists(copy) else path


def _digest(wanted: tuple[str, str]) -> str:
    from dicomsort.dicom import pixel_source  # noqa: PLC0415  (in a worker, which has it loaded)

    return pixel_source.pixel_digest(wanted[1])
