"""Do what a manifest plans, or undo what it says was done."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any

from dicomsort.errors import ExitCode, TargetError, UsageError
from dicomsort.inputs import sources
from dicomsort.manifest.decisions import Decisions
from dicomsort.manifest.records import Record
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import COPIES, Action, Reason, Status
from dicomsort.sorting import moving_back, removal, shards
from dicomsort.sorting.moving import needs_space
from dicomsort.sorting.place import PlacementSettings, place, remove
from dicomsort.sorting.removal import Removed
from dicomsort.sorting.reviewing import finish
from dicomsort.system import durable
from dicomsort.system.escaping import escape
from dicomsort.system.telling import size_told

_SECONDS = 1.0
_PLACED = (Status.SORTED, Status.REVIEW, Status.EXCLUDED)

Step = Callable[[], None]


@dataclass(slots=True)
class PlanResult:
    """How it went. left: sources whose row could not be done or undone, with the reason.

    removed: sources that are gone, of files that were moved. back: those of `done` that were moved back.
    """

    done: int = 0
    left: Counter[str] = field(default_factory=Counter)
    removed: Removed = field(default_factory=Removed)
    back: int = 0

    @property
    def exit_code(self) -> ExitCode:
        """DONE, or SOME_FAILED if anything was left."""
        return ExitCode.SOME_FAILED if self.left else ExitCode.DONE


def apply(
    path: str, action: Action | None = None, verify: bool = False, step: Step = lambda: None
) -> PlanResult:
    """Place the files that the manifest at `path` plans, and no others; rows say what became of them.

    action: how; None for what the dry run was told. Raises UsageError if there is no plan, and TargetError
    before anything is done if copies would not fit.
    """
    if action is Action.NONE:
        raise UsageError("--action none places nothing: choose another for apply")
    shards.check_merged(os.path.dirname(path))
    with Manifest.open_existing(path) as manifest:
        facts, out = manifest.run_file.last_run, os.path.dirname(os.path.realpath(path))
        placing = PlacementSettings(action or _action_of(facts), verify, facts.get("relative") is True)
        taken_back = _taken_back(manifest, out)
        if placing.action is Action.MOVE and not any(map(_is_planned, manifest.records())):
            return _finished(manifest, out)
        _check_space(manifest, out, placing.action)
        manifest.run_file.begin({**facts, "dry_run": False, "action": placing.action.value, "applied": True})
        applying = _Applying(manifest, out, placing)
        applying.done.left += taken_back
        try:
            for record in manifest.records():
                if record.is_planned:
                    applying.place(record)
                    step()
        finally:
            applying.write()
        manifest.compact()
        applying.done.removed.add(removal.end_of_latest(manifest, out))
    return applying.done


def _finished(manifest: Manifest, out: str) -> PlanResult:
    """Remove the sources that a killed program has left. Raises UsageError if there are none either."""
    removed = removal.end_of_latest(manifest, out)
    if not removed:
        raise _no_plan(out)
    return PlanResult(removed=removed)


def _no_plan(out: str) -> UsageError:
    return UsageError(
        f"'{escape(out)}' holds no plan, or only what is placed already: classify --dry-run makes one"
    )


_is_planned = attrgetter("is_planned")


def _taken_back(manifest: Manifest, out: str) -> Counter[str]:
    """Carry out what persons decided and a killed program has not; count by reason what cannot be."""
    return Counter(why.value for _, why in finish(manifest, out, Decisions(out)).refused)


def _action_of(facts: dict[str, Any]) -> Action:
    try:
        action = Action(facts.get("action", Action.COPY))
    except ValueError as error:
        raise UsageError("run.json does not tell how to place files; use --action") from error
    if action is Action.NONE:
        raise UsageError("the plan was made with --action none: say how to place files with --action")
    return action


def _check_space(manifest: Manifest, out: str, action: Action) -> None:
    files, size = 0, 0
    for record in manifest.records():
        if record.is_planned:
            planned = record.placement
            there = os.path.lexists(os.path.join(out, planned.destination)) or (
                action is Action.MOVE and not needs_space(record.path, out)
            )
            files, size = files + 1, size + (0 if there else planned.stamp.size)
    if not files:
        raise _no_plan(out)
    free = shutil.disk_usage(out).free
    if action in COPIES and size > free:
        raise TargetError(
            f"the plan needs {size_told(size)}, and '{escape(out)}' has {size_told(free)} free, "
            f"{size_told(size - free)} too few: free some, or link with --action"
        )


class _Applying:
    """Places planned files; every second rows are written, after the disk holds what they tell of."""

    def __init__(self, manifest: Manifest, out: str, placing: PlacementSettings) -> None:
        self._manifest, self._out, self._placing = manifest, out, placing
        self._waiting: list[Record] = []
        self._written = time.monotonic()
        self.done = PlanResult()

    def place(self, record: Record) -> None:
        planned = record.placement
        target = os.path.join(self._out, planned.destination)
        placed = place(record.path, target, self._placing, planned.stamp)
        if placed.action is None:
            self.done.left[placed.reason.value] += 1
            self._waiting.append(record.failed(placed.reason))
        else:
            self.done.done += 1
            removal.note_copied(self._placing.action, placed.action, record.path, self.done.removed)
            self._waiting.append(record.placed(placed.action, placed.sha256))
        if time.monotonic() - self._written > _SECONDS:
            self.write()

    def write(self) -> None:
        rows, self._waiting, self._written = self._waiting, [], time.monotonic()
        placed = [os.path.join(self._out, row.placement.destination) for row in rows if row.action]
        durable.sync(placed if self._placing.action in COPIES else (), placed, self._out)
        self._manifest.append_records(rows)


def undo(path: str, verify: bool = False, step: Step = lambda: None) -> PlanResult:
    """Remove what the rows of the manifest at `path` say was placed, if it still is what was placed.

    By size and time, link target or inode; with `verify` the bytes of copies too. Their rows become a plan
    again. What has changed stays, as does a copy whose source is gone, and so do their rows. What was moved
    goes back to where it came from, unless something else is there. Nothing else is touched.
    """
    shards.check_merged(os.path.dirname(path))
    with Manifest.open_existing(path) as manifest:
        out = os.path.dirname(os.path.realpath(path))
        done = PlanResult(left=_taken_back(manifest, out))
        back = moving_back.bring_all(manifest.records(), out, verify, step)
        manifest.compact(partial(_undone, out=out, verify=verify, done=done, step=step, back=back))
        manifest.run_file.settled = False
    return done


def _undone(
    record: Record, out: str, verify: bool, done: PlanResult, step: Step, back: Mapping[str, Reason]
) -> Record:
    if not record.is_placed:
        return record
    placement = record.placement
    source, target = record.path, os.path.join(out, placement.destination)
    if placement.action != Action.MOVE:
        step()
    if why := back.get(record.key, Reason.NONE):
        done.left[why.value] += 1
        return record
    try:
        if os.path.lexists(target):
            if placement.action in COPIES and not sources.exists(source):
                done.left[Reason.LAST_COPY.value] += 1
                return record
            if not remove(source, target, placement, verify):
                done.left[Reason.CHANGED_COPY.value] += 1
                return record
            done.done += 1
            done.back += placement.action == Action.MOVE
    except OSError:
        done.left[Reason.CHANGED_COPY.value] += 1
        return record
    return record.planned() if record.status in _PLACED else record.withdrawn().without_checksum()
