"""The end of a run: of an image that came twice only the first by path stays in the class folders."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from dicomsort.manifest.history import Record, path_of, placement_of
from dicomsort.manifest.table import Manifest, joined, status_when_placed
from dicomsort.outcome import Action, Reason, Status
from dicomsort.sorting import duplicates
from dicomsort.sorting.place import PlacementSettings, is_untouched, place, remove, stands
from dicomsort.system import durable
from dicomsort.system.worker_pool import PoolSettings

Moved = Callable[[Status, Status], None]
"""Told when a file's status changes from one to another."""


@dataclass(frozen=True, slots=True)
class SettleSettings:
    """How a run ends. dry_run: plans are judged as if they were placed."""

    out: str
    dry_run: bool
    placing: PlacementSettings
    pool: PoolSettings


def settle(manifest: Manifest, settings: SettleSettings, moved: Moved) -> None:
    """Judge the files whose SOP Instance UID repeats, and take back the copies of duplicates.

    First the manifest says what is a duplicate, then its copy goes, then its place is forgotten and, where
    it stood in the way of the first one, given to that: whenever this is cut short, the next run finishes it.
    """
    assert manifest.run_file is not None  # noqa: S101  (entered)
    if manifest.run_file.settled:
        return
    verdicts = duplicates.judge(partial(_judgeable, manifest, settings.dry_run), _is_late, settings.pool)
    if verdicts.first or verdicts.namesakes or any(_is_duplicate(record) for record in manifest.records()):
        manifest.compact(partial(_judged, verdicts=verdicts, out=settings.out, moved=moved))
        standing = _standing_firsts(manifest, settings.out)
        firsts = frozenset(verdicts.first.values())
        manifest.compact(partial(_taken_back, out=settings.out, firsts=firsts | standing))
        free = firsts - _held(manifest, firsts)
        manifest.compact(partial(_placed_late, firsts=free, settings=settings, moved=moved))
    manifest.run_file.settled = True


def _judgeable(manifest: Manifest, dry_run: bool) -> Iterator[Record]:
    """Yield the rows of images that are placed, would be, or wanted the place of another."""
    statuses = {Status.SORTED, Status.REVIEW, Status.DUPLICATE, *([Status.PLANNED] if dry_run else [])}
    return (record for record in manifest.records() if record["status"] in statuses or _is_late(record))


def _is_late(record: Record) -> bool:
    taken = Reason.DESTINATION_TAKEN.value in record["reason"]
    return taken and record["status"] == Status.IO_ERROR and not record["action"]


def _is_duplicate(record: Record) -> bool:
    return record["status"] == Status.DUPLICATE


def _judged(record: Record, verdicts: duplicates.Verdicts, out: str, moved: Moved) -> Record:
    """Say of a row what the comparison of images has found; its copy stays for now."""
    path, status = record["path"], Status(record["status"])
    if path in verdicts.first:
        if not _may_go(record, out):
            return record
        moved(status, Status.DUPLICATE)
        found = {"reason": joined([Reason.SAME_IMAGE]), "duplicate_of": verdicts.first[path]}
        return {**record, "status": Status.DUPLICATE.value, **found}
    if status is Status.DUPLICATE and not {path, record["duplicate_of"]} & verdicts.unread:
        moved(status, Status.PLANNED)
        reason = joined([Reason.ORIGINAL_GONE])
        return {**record, "status": Status.PLANNED.value, "reason": reason, "duplicate_of": ""}
    if path in verdicts.namesakes and Reason.SAME_UID.value not in record["reason"]:
        reasons = [text for text in (record["reason"], Reason.SAME_UID.value) if text]
        return {**record, "reason": "; ".join(reasons)}
    return record


def _may_go(record: Record, out: str) -> bool:
    """Tell whether there is no copy of this file, or one that nobody has changed."""
    if not record["destination"] or not record["action"]:
        return True
    placement = placement_of(record)
    target = os.path.join(out, placement.destination)
    return not os.path.lexists(target) or is_untouched(path_of(record), target, placement)


def _standing_firsts(manifest: Manifest, out: str) -> frozenset[str]:
    """Return the paths of files that others repeat and that stand in the output, or are planned."""
    wanted = {record["duplicate_of"] for record in manifest.records() if _is_duplicate(record)}
    found = (record for record in manifest.records() if record["path"] in wanted)
    return frozenset(record["path"] for record in found if _stands(record, out))


def _stands(record: Record, out: str) -> bool:
    if not record["action"]:
        return record["status"] == Status.PLANNED
    placement = placement_of(record)
    return stands(os.path.join(out, placement.destination), placement)


def _held(manifest: Manifest, paths: frozenset[str]) -> frozenset[str]:
    """Return those of the paths whose destination another file still has."""
    wanted = {record["destination"]: record["path"] for record in manifest.records()
              if record["path"] in paths and _is_late(record)}  # fmt: skip
    placed = (record["destination"] for record in manifest.records() if record["action"])
    return frozenset(wanted[destination] for destination in placed if destination in wanted)


def _taken_back(record: Record, out: str, firsts: frozenset[str]) -> Record:
    """Remove the copy of a duplicate, and forget its place once it is gone.

    firsts: files that were compared just now, or whose copy stands; of any other original this may be the
    last copy.
    """
    if not _is_duplicate(record) or not record["destination"] or record["duplicate_of"] not in firsts:
        return record
    if record["action"]:
        placement = placement_of(record)
        target = os.path.join(out, placement.destination)
        with suppress(OSError):
            remove(path_of(record), target, placement)
        if os.path.lexists(target):
            return record
    return {**record, "action": "", "destination": ""}


def _placed_late(record: Record, firsts: frozenset[str], settings: SettleSettings, moved: Moved) -> Record:
    """Place the first of several files of one image, if another of them had its place before."""
    if record["path"] not in firsts or not _is_late(record):
        return record
    reasons = [text for text in record["reason"].split("; ") if text != Reason.DESTINATION_TAKEN.value]
    status = status_when_placed(reasons)
    action, sha256 = "", ""
    if settings.dry_run:
        status = Status.PLANNED
    else:
        planned = placement_of(record)
        target = os.path.join(settings.out, planned.destination)
        placed = place(path_of(record), target, settings.placing, planned.stamp)
        if placed.action is None:
            return record
        durable.sync([] if placed.action is Action.SYMLINK else [target], [target], settings.out)
        action, sha256 = placed.action.value, placed.sha256
    moved(Status.IO_ERROR, status)
    found = {"status": status.value, "reason": "; ".join(reasons), "action": action, "sha256": sha256}
    return {**record, **found}
