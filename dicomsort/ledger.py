"""Do what a manifest plans, or undo what it says was done."""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from dicomsort import durable
from dicomsort.errors import ExitCode, TargetError, UsageError
from dicomsort.manifest import Manifest, Record, path_of, placement_of
from dicomsort.names import escape
from dicomsort.outcome import Reason, Status
from dicomsort.place import Action, Placing, place, remove

_COPIES = (Action.COPY, Action.REFLINK)
_GROUP = 1000
_PLACED = (Status.SORTED, Status.REVIEW)

Step = Callable[[], None]


@dataclass(slots=True)
class Done:
    """How it went. left: sources whose row could not be done or undone, with the reason."""

    done: int = 0
    left: Counter[str] = field(default_factory=Counter)

    @property
    def exit_code(self) -> ExitCode:
        """DONE, or SOME_FAILED if anything was left."""
        return ExitCode.SOME_FAILED if self.left else ExitCode.DONE


def apply(path: str, action: Action | None = None, verify: bool = False, step: Step = lambda: None) -> Done:
    """Place the files that the manifest at `path` plans, and no others; rows say what became of them.

    action: how; None for what the dry run was told. Raises UsageError if there is no plan, and TargetError
    before anything is done if copies would not fit.
    """
    with Manifest.existing(path) as manifest:
        assert manifest.run_file is not None  # noqa: S101  (entered)
        facts = manifest.run_file.last_run
        relative = facts.get("relative") is True
        placing = Placing(action or Action(facts.get("action", Action.COPY)), verify, relative)
        out = os.path.dirname(os.path.abspath(path))
        _check_space(manifest, out, placing.action)
        manifest.run_file.begin({**facts, "dry_run": False, "action": placing.action.value, "applied": True})
        applying = _Applying(out, placing, step)
        manifest.compact(applying.row, applying.sync)
    return applying.done


def _check_space(manifest: Manifest, out: str, action: Action) -> None:
    files, size = 0, 0
    for record in manifest.records():
        if _is_planned(record):
            files, size = files + 1, size + int(record["size"])
    if not files:
        raise UsageError(f"'{escape(out)}' holds no plan: make one with classify --dry-run")
    free = shutil.disk_usage(out).free
    if action in _COPIES and size > free:
        raise TargetError(
            f"the plan needs {size / 1e9:.3f} GB, and '{escape(out)}' has {free / 1e9:.3f} GB free: "
            "free some, or link with --action"
        )


def _is_planned(record: Record) -> bool:
    return record["status"] == Status.PLANNED and bool(record["destination"])


class _Applying:
    """Places planned files; the disk holds them before the manifest is replaced by one that says so."""

    def __init__(self, out: str, placing: Placing, step: Step) -> None:
        self._out, self._placing, self._step = out, placing, step
        self._unsynced: list[str] = []
        self.done = Done()

    def row(self, record: Record) -> Record:
        if not _is_planned(record):
            return record
        planned = placement_of(record)
        target = os.path.join(self._out, planned.destination)
        placed = place(path_of(record), target, self._placing, planned.stamp)
        self._step()
        if placed.action is None:
            self.done.left[placed.reason.value] += 1
            reason = "; ".join(text for text in (placed.reason.value, record["reason"]) if text)
            return {**record, "status": Status.IO_ERROR.value, "reason": reason, "destination": ""}
        self.done.done += 1
        self._unsynced.append(target)
        if len(self._unsynced) >= _GROUP:
            self.sync()
        review = Reason.BELOW_THRESHOLD.value in record["reason"]
        status = Status.REVIEW if review else Status.SORTED
        return {**record, "status": status.value, "action": placed.action.value, "sha256": placed.sha256}

    def sync(self) -> None:
        copies = self._unsynced if self._placing.action in _COPIES else ()
        durable.sync(copies, self._unsynced, self._out)
        self._unsynced.clear()


def undo(path: str, verify: bool = False, step: Step = lambda: None) -> Done:
    """Remove what the rows of the manifest at `path` say was placed, if it still is what was placed.

    By size and time, link target or inode; with `verify` the bytes of copies too. Their rows become a plan
    again. What has changed stays, and so does its row. Nothing else is touched.
    """
    with Manifest.existing(path) as manifest:
        out = os.path.dirname(os.path.abspath(path))
        done = Done()
        manifest.compact(partial(_undone, out=out, verify=verify, done=done, step=step))
    return done


def _undone(record: Record, out: str, verify: bool, done: Done, step: Step) -> Record:
    if record["status"] not in _PLACED or not record["action"] or not record["destination"]:
        return record
    placement = placement_of(record)
    target = os.path.join(out, placement.destination)
    step()
    try:
        gone = not os.path.lexists(target) or remove(path_of(record), target, placement, verify)
    except OSError:
        gone = False
    if not gone:
        done.left[Reason.CHANGED_COPY.value] += 1
        return record
    done.done += 1
    return {**record, "status": Status.PLANNED.value, "action": "", "sha256": ""}
