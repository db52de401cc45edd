"""Decisions to rows: each file goes where the model says, in threads of their own."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace

from dicomsort.inputs.sources import Fetch
from dicomsort.manifest.decisions import Decisions
from dicomsort.manifest.records import Record, counts_as, status_when_placed
from dicomsort.manifest.rows import Row
from dicomsort.manifest.table import Manifest
from dicomsort.model.anatomy import Anatomy, Region, agreed
from dicomsort.model.batching import Predicted
from dicomsort.model.heads import Decision
from dicomsort.outcome import (
    FOR_REVIEW,
    Action,
    Failure,
    FileStamp,
    Placement,
    ReadImage,
    Reason,
    Reviewed,
    SourceFile,
    Status,
)
from dicomsort.sorting import anew
from dicomsort.sorting.layout import Destinations, Layout, folds_case
from dicomsort.sorting.place import PlacementSettings, place, remove, stamp_of
from dicomsort.sorting.spool import Place
from dicomsort.system.locks import LOCK
from dicomsort.system.timing import StageTimer

_THREADS = 4
_WINDOW = 128

Earlier = Callable[[str, Placement], Record | None]

Decided = Predicted[SourceFile, Decision]
"""A file, how it was read, and what the model decides; None for a failure."""


@dataclass(frozen=True, slots=True)
class FilingSettings:
    """Where files go, and how.

    out: the absolute path of the output. layout: see `layout.Layout`. anatomy: what the models' labels mean.
    may_meet: whether files of two roots could have one relative path, see `roots.may_meet`. scope: of what
    was answered, for its column. note: is told before a placed file gets a second place, see `anew`.
    note_place: is told before a file gets its place. fetch: what brings files of other machines to be placed.
    """

    out: str
    layout: str
    placing: PlacementSettings
    dry_run: bool
    anatomy: Anatomy = field(default_factory=dict)
    may_meet: bool = False
    scope: str = ""
    note: anew.Note = anew.nobody
    note_place: anew.NotePlace | None = None
    fetch: Fetch | None = None


def file_all(
    decided: Generator[Decided, None, None],
    settings: FilingSettings,
    manifest: Manifest,
    decisions: Decisions,
    spent: StageTimer,
    earlier: Earlier = lambda _path, _placed: None,
) -> Generator[Row, None, None]:
    """Place each file in a thread; rows come in the order of the decisions, at most 128 behind.

    decisions: what persons decided before, which counts more than what the model says now. earlier: gives the
    row that tells of what was placed of a file before.
    """
    placer = _Placer(settings, _destinations(manifest, settings), decisions, spent, earlier)
    waiting: deque[Future[Row]] = deque()
    with _threads() as threads, closing(decided):
        for one in decided:
            idle = placer.has_nothing_to_do(one)
            waiting.append(_done(placer.row(one)) if idle else threads.submit(placer.row, one))
            while waiting and (waiting[0].done() or len(waiting) > _WINDOW):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Yield the threads that place; when the block ends, what has not been begun is forgotten."""
    executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="place")
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _done(row: Row) -> Future[Row]:
    future: Future[Row] = Future()
    future.set_result(row)
    return future


class _Placer:
    """Places files and writes down what happened to each."""

    def __init__(
        self,
        settings: FilingSettings,
        destinations: Destinations,
        decisions: Decisions,
        spent: StageTimer,
        earlier: Earlier,
    ) -> None:
        self._settings, self._out, self._earlier = settings, settings.out, earlier
        self._destinations, self._decisions, self._spent = destinations, decisions, spent
        self._layout = Layout(settings.layout)

    def has_nothing_to_do(self, decided: Decided) -> bool:
        """Return whether this is a failure that leaves nothing to place or to remove: not worth a thread."""
        found, reading, _ = decided
        known = reading.stamp or found.stamp
        return isinstance(reading, Failure) and known is not None and found.previous is None

    def row(self, decided: Decided) -> Row:
        """Do with one file what was decided."""
        found, reading, decision = decided
        with self._spent.busy("place"):
            if isinstance(found, anew.Standing):
                return self._anew(found, reading, decision)
            kept = self._kept(found)
            if kept is None:
                return self._row(found, reading, decision)
            return replace(self._row(replace(found, previous=None), reading, decision), kept=kept)

    def _kept(self, found: SourceFile) -> Record | None:
        """Return the row to keep of what was moved from here before, if its bytes are nowhere else by now."""
        before = found.previous
        if before is None or before.action != Action.MOVE:
            return None
        _withdraw(found, self._out)
        if not os.path.lexists(os.path.join(self._out, before.destination)):
            return None
        record = self._earlier(found.path, before)
        return record and record.renamed()

    def _row(self, found: SourceFile, reading: ReadImage | Failure, decision: Decision | None) -> Row:
        stamp = found.stamp or reading.stamp or stamp_now(found.path)
        if isinstance(reading, Failure):
            return self._failed(found, reading, stamp)
        assert decision is not None  # noqa: S101
        return self._in_place(self._planned(found, reading, decision, stamp), found)

    def _anew(self, found: anew.Standing, reading: ReadImage | Failure, decision: Decision | None) -> Row:
        """Return the row of a file that has one, and is answered anew with its study."""
        assert isinstance(reading, ReadImage)  # noqa: S101
        assert decision is not None  # noqa: S101
        row = self._planned(found, reading, decision, found.row.stamp)
        return anew.stand_by(found.row, row, self._out, self._destinations, self._settings.note)

    def _planned(
        self, found: SourceFile, reading: ReadImage, decision: Decision, stamp: FileStamp | None
    ) -> Row:
        """Return the row of a radiograph before it has its place."""
        doubts = tuple(Reason(remark) for remark in reading.remarks if remark in FOR_REVIEW)
        again = (Reason.DECIDED_BEFORE,) * self._decisions.was_of_another(found.path, stamp)
        decision = replace(decision, why=(*again, *decision.why, *doubts))
        reviewed = self._decisions.of(found.path, stamp)
        folder = reviewed.folder if reviewed else decision.folder
        return Row(
            path=found.path,
            status=Status.PLANNED,
            reasons=(*decision.why, *reading.remarks),
            label=decision.label,
            confidence=decision.confidence,
            reject_score=decision.reject_score,
            rotation=decision.rotation,
            pixel_label=decision.pixel_label,
            pixel_confidence=decision.pixel_confidence,
            evidence=decision.evidence,
            region=self._region(decision, reviewed),
            destination=self._layout.destination(folder, found.relpath, reading.header),
            header=reading.header,
            scores=decision.scores,
            further=decision.further,
            stamp=stamp,
            reviewed=reviewed,
            scope=self._settings.scope,
            pixel_digest=reading.pixel_digest,
        )

    def _region(self, decision: Decision, reviewed: Reviewed | None) -> Region | None:
        """Return the region of the body that an image shows, by what a person decided or the models say."""
        labels = [counts_as(decision.label, reviewed), *(each.label for each in decision.further)]
        return agreed(self._settings.anatomy, dict(zip(self._settings.anatomy, labels, strict=False)))

    def _in_place(self, row: Row, found: SourceFile) -> Row:
        """Place the file of a planned row, unless this is a dry run, or files stay where they are."""
        if self._settings.placing.action is Action.NONE and not self._settings.dry_run:
            return replace(row, status=status_when_placed(row.reasons, row.reviewed), destination="")
        before = found.previous.destination if found.previous else None
        if row.destination != before and not self._destinations.reserve(row.destination):
            if before is not None and not self._settings.dry_run:
                _withdraw(found, self._out)
                self._destinations.release(before)
            return replace(row, status=Status.IO_ERROR, reasons=(Reason.DESTINATION_TAKEN, *row.reasons))
        if self._settings.dry_run:
            return row
        _withdraw(found, self._out)
        target = os.path.join(self._out, row.destination)
        if self._settings.note_place is not None and not os.path.lexists(target):
            self._settings.note_place(Place(found.path, row.destination))
        placed = place(
            found.path, target, self._settings.placing, row.stamp, found.part, self._settings.fetch
        )
        if placed.action is None:
            taken = placed.reason is Reason.DESTINATION_TAKEN
            destination = row.destination if taken else ""
            reasons = (placed.reason, *row.reasons)
            return replace(row, status=Status.IO_ERROR, reasons=reasons, destination=destination)
        status = status_when_placed(row.reasons, row.reviewed)
        return replace(row, status=status, action=placed.action.value, sha256=placed.sha256)

    def _failed(self, found: SourceFile, failure: Failure, stamp: FileStamp | None) -> Row:
        """Write down a failure. What was placed before goes, unless the file just cannot be read now."""
        row = Row(found.path, failure.status, (failure.reason,), header=failure.header, stamp=stamp)
        if found.previous is None:
            return row
        if failure.status in (Status.IO_ERROR, Status.CRASH, Status.TIMEOUT):
            before = found.previous
            return replace(row, action=before.action, destination=before.destination, stamp=before.stamp)
        _withdraw(found, self._out)
        return row


def _destinations(manifest: Manifest, settings: FilingSettings) -> Destinations:
    apart = Layout(settings.layout).follows_sources and not settings.may_meet
    needed, folds = not apart, folds_case(settings.out, LOCK)
    records = manifest.records() if needed or folds else iter(())
    return Destinations(needed, folds, (record.placement.destination for record in records if record.action))


def _withdraw(found: SourceFile, out: str) -> None:
    """Remove what was placed of a file before it changed, unless that has been changed since."""
    if found.previous is not None:
        with suppress(OSError):
            remove(found.path, os.path.join(out, found.previous.destination), found.previous)


def stamp_now(path: str) -> FileStamp | None:
    """Return size and modification time of a file; None if that fails."""
    try:
        return stamp_of(path)
    except OSError:
        return None
