"""What of an archive an output holds already, also where somebody has moved it within the output."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dicomsort.inputs import walk
from dicomsort.manifest import reading
from dicomsort.manifest.decisions import Decisions
from dicomsort.manifest.history import History
from dicomsort.manifest.names import MANIFEST
from dicomsort.manifest.records import Record
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import TROUBLE, Placement, Status
from dicomsort.sorting import by_hand, shards
from dicomsort.sorting.by_hand import Recognized
from dicomsort.sorting.layout import Layout
from dicomsort.sorting.place import stands
from dicomsort.sorting.reviewing import Places, choices
from dicomsort.sorting.summary import Radiographs, Trouble, count_radiograph, note_trouble


class Seen:
    """Tells whether what a row says was placed is there, and counts what is not.

    placing: whether what an earlier run with `--action none` has left where it was is to be placed now.
    elsewhere: the `key` of rows whose file is in another place of the output.
    """

    def __init__(self, out: str, placing: bool) -> None:
        self._out, self._placing, self.missing = out, placing, 0
        self.elsewhere: frozenset[str] = frozenset()

    def __call__(self, record: Record) -> bool:
        """Return whether it is there; True if nothing was placed, and nothing is to be."""
        if not record["action"]:
            return not (self._placing and record.is_told_only)
        if not record.is_placed or record.key in self.elsewhere:
            return True
        placement = record.placement
        there = stands(os.path.join(self._out, placement.destination), placement)
        self.missing += not there
        return there


class Before:
    """Gives the rows of files placed before; a task of a cluster has to look into the merged manifest too."""

    def __init__(self, history: History, out: str, task: str) -> None:
        self._out, self._histories, self._complete = out, [history], not task

    def __call__(self, path: str, placed: Placement) -> Record | None:
        """Return the row that tells of what was placed of a file, or None."""
        if not self._complete:
            merged = shards.earlier(self._out, retry_failed=False, is_there=lambda _: True)
            self._histories, self._complete = [*self._histories[:1], *([merged] if merged else [])], True
        rows = (history.row(path) for history in self._histories)
        return next((row for row in rows if row and row.destination == placed.destination), None)


@dataclass(frozen=True, slots=True)
class Held:
    """What a manifest holds when a run begins. rows: what is counted of them.

    by_hand: what somebody had moved within the output. changes: of the manifest then.
    """

    history: History
    rows: "Rows"
    by_hand: Recognized
    changes: int

    def is_all_of(self, manifest: Manifest) -> bool:
        """Return whether no row has been added or changed since."""
        return manifest.changes == self.changes


def held(manifest: Manifest, out: str, decisions: Decisions, retry_failed: bool, placing: bool) -> Held:
    """Return what need not be done again, and what somebody had moved by hand.

    These moves are in the manifest and in decisions.csv then. placing: see `Seen`. Raises TargetError.
    """
    seen = Seen(out, placing)
    found = held_by_shard(manifest, seen, retry_failed)
    if not seen.missing:
        return found
    by_hand_ = by_hand.recognize(manifest, out, decisions)
    again = held_by_shard(manifest, seen, retry_failed) if by_hand_.moved else found
    return replace(again, by_hand=by_hand_)


def held_by_shard(manifest: Manifest, seen: Seen, retry_failed: bool, earlier: History | None = None) -> Held:
    """Return what need not be done again; earlier: by a merged manifest, see `earlier`."""
    rows = Rows(manifest.run_file.told)
    history = manifest.history(retry_failed, seen, earlier, rows.count)
    return Held(history, rows, Recognized(), manifest.changes)


class Rows:
    """Counts the rows of a manifest, one of each file. told: see `RunFile.told`.

    radiographs: see `summary.Radiographs`. untold: statuses of those in trouble that no run has told of, for
    it was killed; troubles: the first of these.
    """

    def __init__(self, told: int | None = None) -> None:
        self._told, self.number = told, 0
        self.radiographs: Radiographs = {}
        self.untold: Counter[Status] = Counter()
        self.troubles: list[Trouble] = []

    def count(self, record: Record) -> None:
        """Count a row; they come in their order."""
        count_radiograph(record, self.radiographs)
        if self._told is not None and self.number >= self._told and record["status"] in TROUBLE:
            self.untold[record.status] += 1
            note_trouble(self.troubles, record.path, record.status, record.reasons)
        self.number += 1

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Rows":
        """Count all of them."""
        rows = cls()
        for record in records:
            rows.count(record)
        return rows


def earlier(
    out: str, layout: str, roots: Sequence[walk.Root], retry_failed: bool, placing: bool
) -> History | None:
    """Return what the merged manifest holds, for one of those who share it and leave it as it is.

    What somebody has moved by hand need not be done again; the next run that has the manifest for itself
    writes it down. placing: see `Seen`.
    """
    seen = Seen(out, placing)
    history = shards.earlier(out, retry_failed, seen)
    if not seen.missing:
        return history
    path, places = os.path.join(out, MANIFEST), Places(out, Layout(layout), roots)
    labels = choices(reading.answers_in(path), Decisions(out))
    moved = by_hand.find(places, labels).moved
    seen.elsewhere = frozenset(one.record.key for one in moved)
    return shards.earlier(out, retry_failed, seen)
