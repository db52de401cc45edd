"""Shards to one manifest: every file once, and of an image that came twice only the first stays."""

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from dicomsort.errors import ExitCode, InternalError, UsageError
from dicomsort.manifest import parquet
from dicomsort.manifest.decisions import Decisions
from dicomsort.manifest.history import cells, last_rows
from dicomsort.manifest.names import MANIFEST, RUN, incoming_of, spool_of
from dicomsort.manifest.rows import Record
from dicomsort.manifest.run_file import RunFile
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import TROUBLE, Action, Reason, Status
from dicomsort.sorting import part_log, removal, roots, shards
from dicomsort.sorting.deduplicate import Moved, SettleSettings, is_away, settle
from dicomsort.sorting.layout import DEFAULT, Layout
from dicomsort.sorting.place import PlacementSettings, is_untouched
from dicomsort.sorting.removal import Removed
from dicomsort.sorting.reviewing import finish
from dicomsort.sorting.summary import (
    Radiographs,
    Trouble,
    count_radiograph,
    hints_as_dict,
    labels_of,
    note_trouble,
    radiographs_as_dict,
)
from dicomsort.system.escaping import escape
from dicomsort.system.worker_pool import PoolSettings

Step = Callable[[], None]
_PATIENCE = 30.0


@dataclass(slots=True)
class MergeResult:
    """What a merged manifest holds. shards: how many were joined now. missing: those still to be done.

    new_troubles: files in trouble in the shards that were joined now. troubles: the first of these. strict:
    whether trouble that was there before counts for the exit code. labels, radiographs: those that are in the
    output, or would be. taken_back: decisions of persons that could not be carried out. removed: sources that
    are gone now.
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

    @property
    def older_troubles(self) -> int:
        """Files in trouble that were in the manifest before."""
        return sum(self.statuses[status] for status in TROUBLE) - self.new_troubles

    @property
    def archives(self) -> int:
        """Files that hold others, and were not opened."""
        return self.hints[Reason.ARCHIVE]

    def count(self, record: Record, joined: frozenset[int]) -> None:
        """Count a row. joined: hashes of the paths that were in trouble in the shards that are joined now."""
        self.rows += 1
        if record.status in TROUBLE and hash(record.key) in joined:
            self.new_troubles += 1
            note_trouble(self.troubles, record.path, record.status, record.reasons)
        self.statuses[record.status] += 1
        if record.hint:
            self.hints[record.hint] += 1
        count_radiograph(record, self.radiographs)

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
        """DONE, or SOME_FAILED if a shard is missing, a decision taken back, or a file newly in trouble.

        With `strict`, any file in trouble counts.
        """
        failed = self.missing or self.taken_back or self.new_troubles or (self.strict and self.older_troubles)
        return ExitCode.SOME_FAILED if failed else ExitCode.DONE


def merge(
    out: str,
    pool: PoolSettings,
    step: Step = lambda: None,
    moved: Moved = lambda _before, _after: None,
    with_parquet: bool | None = None,
) -> MergeResult:
    """Join the shards of an output folder into its manifest.csv, and judge duplicates over all rows.

    May be run again, also after it was cut short, and while shards are missing: what is done later is joined
    later. with_parquet: whether manifest.parquet is kept too from now on, None for as it was, or as a shard
    was told. Raises UsageError if there is nothing to merge or a shard is being written, TargetError, or
    InternalError if a file does not stand once in the end.
    """
    out = os.path.abspath(out)
    names = shards.waiting(out)
    troubled: set[int] = set()
    with _opened(out, names) as manifest:
        shards_want = any(RunFile(shards.folder_of(out, name)).parquet is not None for name in names)
        wanted = shards_want or None if with_parquet is None else with_parquet
        parquet.begin(out, manifest.run_file, wanted)
        for name in names:
            troubled |= _join(manifest, out, name)
            step()
        manifest.compact()
        merged = MergeResult(shards=len(names), missing=_missing(manifest, out, names))
        for name in names:
            part = RunFile(shards.folder_of(out, name))
            manifest.run_file.add_time(part.took)
            manifest.run_file.join_hosts(part)
            part_log.keep(out, name)
            shards.drop(out, name)
        if names:
            manifest.run_file.end(part_log.host(), 0, 0.0)
        merged.taken_back = len(finish(manifest, out, Decisions(out)).refused)
        _conclude(manifest, out, pool, moved)
        merged.removed = removal.end_of_latest(manifest, out)
        for left in (incoming_of(out), os.path.dirname(spool_of(out))):  # what killed nodes have left
            shutil.rmtree(left, ignore_errors=True)
        joined = frozenset(troubled)
        for record in manifest.records():
            merged.count(record, joined)
        merged.labels = labels_of(merged.radiographs)
        manifest.run_file.told = merged.rows
        _check(out)
    return merged


def _opened(out: str, names: Iterable[str]) -> AbstractContextManager[Manifest]:
    """Open the manifest of all: the one that is there, or a new one with the columns of the shards.

    One without a run is of a program that ended before it had begun.
    """
    path = os.path.join(out, MANIFEST)
    begun = (os.path.join(shards.folder_of(out, name), MANIFEST) for name in names)
    first = next(filter(os.path.exists, begun), None)
    if os.path.exists(path) and (first is None or RunFile(out).runs):
        return Manifest.open_existing(path)
    if first is None:
        raise UsageError(f"'{escape(out)}' holds no {MANIFEST} and no shards of one: name an --out folder")
    return Manifest.open_like(first, out, shards.agreed_on(out))


def _join(manifest: Manifest, out: str, name: str) -> set[int]:
    """Append the rows of a shard; those that stand there already count once in the end.

    Returns the hashes of the paths that are in trouble there.
    """
    folder = shards.folder_of(out, name)
    with shards.take(out, name, _PATIENCE):
        if os.path.exists(os.path.join(folder, MANIFEST)):
            manifest.append_manifest(os.path.join(folder, MANIFEST))
            manifest.run_file.join(RunFile(folder))
            rows = cells(os.path.join(folder, MANIFEST), "path", "status")
            return {hash(path) for path, status in rows if status in TROUBLE}
    return set()


def _missing(manifest: Manifest, out: str, names: Iterable[str]) -> list[str]:
    """Name the shards that are still to be done: not begun, or cut short."""
    numbered = {name: shard for name in names if (shard := shards.shard_of(name))}
    for shard in numbered.values():
        manifest.run_file.shards.setdefault(str(shard.of), [])
    whole = [shard for name, shard in numbered.items() if RunFile(shards.folder_of(out, name)).settled]
    return manifest.run_file.merged((shard.number, shard.of) for shard in whole)


def _conclude(manifest: Manifest, out: str, pool: PoolSettings, moved: Moved) -> None:
    """Judge over all rows what a single run judges at its end."""
    fixed, facts = manifest.run_file.fixed, manifest.run_file.last_run
    may_meet = roots.may_meet(roots.known(manifest.run_file))
    if may_meet or not Layout(fixed.get("layout", DEFAULT)).follows_sources:
        _give_to_one(manifest, out)
    if fixed.get("keep_duplicates"):
        return
    try:
        placing = PlacementSettings(Action(facts["action"]), facts["verify"], facts["relative"])
        ending = SettleSettings(out, facts["dry_run"], placing, pool)
    except (KeyError, ValueError) as error:
        raise UsageError(f"'{escape(out)}/{RUN}' is missing or damaged: restore it") from error
    settle(manifest, ending, moved)


def _give_to_one(manifest: Manifest, out: str) -> None:
    """Leave each destination to one row: two nodes may have placed the same bytes under one name.

    It stays with one that was moved, for there is no other place where its bytes are, else with the first by
    path of those whose copy it still is; others have found it taken.
    """
    counts = Counter(hash(record.destination) for record in manifest.records() if record.action)
    twice = {destination for destination, count in counts.items() if count > 1}
    if not twice:
        return
    rivals: dict[str, list[Record]] = defaultdict(list)
    for record in manifest.records():
        if record.action and hash(record.destination) in twice:
            rivals[record.destination].append(record)
    losers = {record.key for group in rivals.values() for record in _losers(group, out)}
    manifest.compact(lambda record: record.refused() if record.key in losers else record)


def _losers(group: list[Record], out: str) -> list[Record]:
    _, *others = sorted(
        group, key=lambda record: (not is_away(record), not _is_its_own(record, out), record.key)
    )
    return others


def _is_its_own(record: Record, out: str) -> bool:
    placement = record.placement
    return is_untouched(record.path, os.path.join(out, placement.destination), placement)


def _check(out: str) -> None:
    """Raise InternalError unless every file stands once."""
    if not last_rows(os.path.join(out, MANIFEST)).all():
        raise InternalError(f"a file stands twice in '{escape(out)}/{MANIFEST}'; please report this")
