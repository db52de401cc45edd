"""Shards to one manifest: every file once, and of an image that came twice only the first stays."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from dicomsort.errors import ExitCode, InternalError, MissingError, NothingFoundError, UsageError
from dicomsort.manifest import parquet
from dicomsort.manifest.census import census, first_with
from dicomsort.manifest.decisions import Decisions
from dicomsort.manifest.history import last_rows
from dicomsort.manifest.names import MANIFEST, RUN, incoming_of, shard_folder, spool_of
from dicomsort.manifest.records import Record
from dicomsort.manifest.run_file import RunFile
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import TROUBLE, Action, Reason, Status
from dicomsort.sorting import part_log, removal, roots, shards
from dicomsort.sorting.deduplicate import Moved, settle
from dicomsort.sorting.layout import DEFAULT, Layout
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.removal import Removed
from dicomsort.sorting.repeats import SettleSettings
from dicomsort.sorting.reviewing import finish
from dicomsort.sorting.rivals import give_to_one
from dicomsort.sorting.summary import (
    MOST_NAMED,
    Radiographs,
    Trouble,
    count_radiograph,
    hints_as_dict,
    labels_of,
    note_trouble,
    radiographs_as_dict,
)
from dicomsort.system import durable
from dicomsort.system.escaping import escape
from dicomsort.system.pool_settings import PoolSettings

Step = Callable[[], None]

_AT_ONCE = 64
"""Shards that are joined between two times that run.json is written."""


@dataclass(slots=True)
class MergeResult:
    """What a merged manifest holds. shards: how many were joined now. missing: those still to be done.

    new_troubles: files in trouble of which no run and no merge has told yet. troubles: the first of these.
    strict: whether trouble that was there before counts for the exit code; lenient: whether none does.
    labels, radiographs: those that are in the output, or would be. taken_back: decisions of persons that
    could not be carried out. removed: sources that are gone now.
    """

    rows: int = 0
    shards: int = 0
    missing: list[str] = field(default_factory=list)
    statuses: Counter[Status] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    radiographs: Radiographs = field(default_factory=dict)
    hints: Counter[Reason] = field(default_factory=Counter)
    taken_back: int = 0
    removed: Removed = field(default_factory=Removed)
    new_troubles: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    strict: bool = False
    lenient: bool = False

    @property
    def older_troubles(self) -> int:
        """Files in trouble that were in the manifest before."""
        return sum(self.statuses[status] for status in TROUBLE) - self.new_troubles

    @property
    def archives(self) -> int:
        """Files that hold others, and were not opened."""
        return self.hints[Reason.ARCHIVE]

    def count(self, record: Record, is_new: bool, number: int) -> None:
        """Count rows that are like this one. is_new: whether nobody was told of them."""
        self.rows += number
        if record.status in TROUBLE and is_new:
            self.new_troubles += number
        self.statuses[record.status] += number
        if record.hint:
            self.hints[record.hint] += number
        count_radiograph(record, self.radiographs, number)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "rows": self.rows,
            "parts": self.shards,
            "missing": self.missing,
            "statuses": {status.value: self.statuses[status] for status in Status},
            "older_troubles": self.older_troubles,
            "troubles": [trouble.as_dict() for trouble in self.troubles],
            "labels": dict(sorted(self.labels.items())),
            "radiographs": radiographs_as_dict(self.radiographs),
            **hints_as_dict(self.hints),
            "decisions_taken_back": self.taken_back,
            **self.removed.as_dict(),
            "exit_code": int(self.exit_code),
        }

    @property
    def exit_code(self) -> ExitCode:
        """MISSING if a shard is; else SOME_FAILED if a decision was taken back or a file is newly in trouble.

        With `strict`, any file in trouble counts; with `lenient`, none, nor a decision.
        """
        if self.missing:
            return ExitCode.MISSING
        failed = self.taken_back or self.new_troubles or (self.strict and self.older_troubles)
        return ExitCode.SOME_FAILED if failed and not self.lenient else ExitCode.DONE


def merge(
    out: str,
    pool: PoolSettings,
    step: Step = lambda: None,
    moved: Moved = lambda _before, _after: None,
    with_parquet: bool | None = None,
    wait: float = 0.0,
) -> MergeResult:
    """Join the shards of an output folder into its manifest.csv, and judge duplicates over all rows.

    May be run again, also after it was cut short, and while shards are missing: what is done later is joined
    later. with_parquet: whether manifest.parquet is kept too from now on, None for as it was, or as a shard
    was told. wait: how many seconds to wait for another run or a shard that is being written. Raises
    UsageError if there is nothing to merge or a shard still is being written then, MissingError if no shard
    has a row, NothingFoundError if all are done and had no file, TargetError, or InternalError if a file does
    not stand once in the end.
    """
    out = os.path.abspath(out)
    names = shards.waiting(out)
    with _opened(out, names, wait) as manifest:
        merged = MergeResult(shards=len(names))
        told = manifest.run_file.told  # what stands behind is of a run or a merge that was killed
        manifest.fresh = manifest.rows if told is None else min(told, manifest.rows)
        _join_shards(manifest, out, names, wait, step, with_parquet)
        merged.missing = manifest.run_file.merged(())
        manifest.compact()
        merged.taken_back = len(finish(manifest, out, Decisions(out)).refused)
        _conclude(manifest, out, pool, moved)
        merged.removed = removal.end_of_latest(manifest, out)
        for left in (incoming_of(out), os.path.dirname(spool_of(out))):  # what killed nodes have left
            shutil.rmtree(left, ignore_errors=True)
        _count(manifest, merged)
        _check(manifest, out)
    if not merged.rows and not merged.missing:
        raise NothingFoundError(f"no shard of '{escape(out)}' has found a file under the given folders")
    return merged


def join(out: str, wait: float = 0.0) -> None:
    """Join the shards of an output as `merge` does first, and leave all else to the next merge."""
    out = os.path.abspath(out)
    names = shards.waiting(out)
    with _opened(out, names, wait) as manifest:
        _join_shards(manifest, out, names, wait)


def _join_shards(
    manifest: Manifest,
    out: str,
    names: list[str],
    wait: float,
    step: Step = lambda: None,
    with_parquet: bool | None = None,
) -> None:
    """Append the rows of all shards, and remove these."""
    shards_want = any(RunFile(shard_folder(out, name)).parquet is not None for name in names)
    parquet.begin(out, manifest.run_file, shards_want or None if with_parquet is None else with_parquet)
    _expect(manifest, shards.begun(out))
    for at in range(0, len(names), _AT_ONCE):
        _join_all(manifest, out, names[at : at + _AT_ONCE], wait, step)
    shards.drop_empty(out, wait, part_log.keep)
    if names:
        manifest.run_file.end(part_log.host(), 0, 0.0)


def _count(manifest: Manifest, merged: MergeResult) -> None:
    """Count all rows, and name the first new ones in trouble."""
    fresh = manifest.fresh or 0
    for record, is_new, number in census(manifest.blocks(), fresh):
        merged.count(record, is_new, number)
    if merged.new_troubles:
        for record in first_with(manifest.blocks(), TROUBLE, fresh, MOST_NAMED):
            note_trouble(merged.troubles, record.path, record.status, record.reasons)
    merged.labels = labels_of(merged.radiographs)
    manifest.run_file.told = merged.rows


def _opened(out: str, names: Iterable[str], wait: float) -> AbstractContextManager[Manifest]:
    """Open the manifest of all: the one that is there, or a new one with the columns of the shards.

    One without a run, or without a row where shards have some, is of a program that was cut short as it
    began.
    """
    path = os.path.join(out, MANIFEST)
    begun = (os.path.join(shard_folder(out, name), MANIFEST) for name in names)
    first = next(filter(os.path.exists, begun), None)
    if os.path.exists(path) and (first is None or (RunFile(out).runs and shards.has_rows(path))):
        return Manifest.open_existing(path, wait)
    if first is None and os.path.isdir(shard_folder(out)):
        raise MissingError(f"no shard of '{escape(out)}' has a row yet: give its command again, then merge")
    if first is None:
        raise UsageError(f"'{escape(out)}' holds no {MANIFEST} and no shards of one: name an --out folder")
    return Manifest.open_like(first, out, shards.agreed_on(out), wait)


def _expect(manifest: Manifest, names: Iterable[str]) -> None:
    """Note into how many shards the output is divided, so that all that are still to be done are known."""
    for shard in filter(None, map(shards.shard_of, names)):
        manifest.run_file.shards.setdefault(str(shard.of), [])


def _join_all(manifest: Manifest, out: str, names: Iterable[str], wait: float, step: Step) -> None:
    """Join some shards, write down once that they are, and only then remove them."""
    with manifest.run_file.at_once():
        for name in names:
            _join(manifest, out, name, wait)
            step()
    durable.sync((), [os.path.join(out, MANIFEST)], out)
    for name in names:
        part_log.keep(out, name)
        shards.drop(out, name)


def _join(manifest: Manifest, out: str, name: str, wait: float) -> None:
    """Append the rows of a shard, and note that it is merged if it is whole and has lost none of them.

    Rows that stand there already count once in the end: the shard of a merge that was killed is joined again.
    """
    folder = shard_folder(out, name)
    with shards.take(out, name, wait):
        run_file, shard = RunFile(folder), shards.shard_of(name)
        rows = 0
        if os.path.exists(os.path.join(folder, MANIFEST)):
            rows = manifest.append_manifest(os.path.join(folder, MANIFEST))
            manifest.run_file.join(run_file)
        manifest.run_file.add_time(run_file.took)
        manifest.run_file.join_hosts(run_file)
        if shard is not None and run_file.settled and rows >= (run_file.told or 0):
            manifest.run_file.merged([(shard.number, shard.of)], forget=False)


def _conclude(manifest: Manifest, out: str, pool: PoolSettings, moved: Moved) -> None:
    """Judge over all rows what a single run judges at its end."""
    fixed, facts = manifest.run_file.fixed, manifest.run_file.last_run
    may_meet = roots.may_meet(roots.known(manifest.run_file))
    if may_meet or not Layout(fixed.get("layout", DEFAULT)).follows_sources:
        give_to_one(manifest, out, moved)
    if fixed.get("keep_duplicates"):
        return
    try:
        placing = PlacementSettings(Action(facts["action"]), facts["verify"], facts["relative"])
        ending = SettleSettings(out, facts["dry_run"], placing, pool)
    except (KeyError, ValueError) as error:
        raise UsageError(f"'{escape(out)}/{RUN}' is missing or damaged: restore it") from error
    settle(manifest, ending, moved)


def _check(manifest: Manifest, out: str) -> None:
    """Raise InternalError unless every file stands once."""
    with manifest.scratch() as scratch:
        stands = last_rows(os.path.join(out, MANIFEST), scratch)
    if not stands.all():
        raise InternalError(f"a file stands twice in '{escape(out)}/{MANIFEST}'; please report this")
