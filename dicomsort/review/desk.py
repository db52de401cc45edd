"""An output folder on which a person decides: what there is, what is decided, and what follows from that."""

import csv
import io
import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import DicomsortError, InternalError, UsageError, internal
from dicomsort.manifest.decisions import Appending, Decision, Decisions, now
from dicomsort.manifest.names import MANIFEST
from dicomsort.manifest.records import Record
from dicomsort.manifest.run_file import RunFile
from dicomsort.manifest.table import Manifest
from dicomsort.outcome import EXCLUDED, UNSURE, Reviewed
from dicomsort.review import spot_check
from dicomsort.review.index import Filter, Index
from dicomsort.review.items import Item, Refusal, item_of
from dicomsort.review.spot_check import SpotCheck
from dicomsort.sorting.reviewing import Carrier, Places, Refused, refusal
from dicomsort.system.escaping import escape

_SECONDS = 1.0
_MOST_UNDONE = 1000


@dataclass(frozen=True, slots=True)
class Writing:
    """What a desk that may write has open. refused: earlier decisions that could not be carried out."""

    manifest: Manifest
    decisions: Decisions
    journal: Appending
    carrier: Carrier
    refused: tuple[tuple[Decision, Refused], ...]


class Desk:
    """What a person sees of an output folder, and decides; `opening.opened` makes one. For any thread.

    A decision is in decisions.csv when `decide` returns. Within a second it is on the disk, the file has
    moved and its row says so; what could not be carried out is taken back, and `notices` tells.

    out: the folder. by: who decides. read_only: why nothing can be decided; empty if it can. labels: the
    classes. model: the column of that name. further: answers of further models that occur, by their names.
    reading: how files were read.
    """

    def __init__(
        self, out: str, by: str, writing: Writing | None, read_only: str, labels: tuple[str, ...]
    ) -> None:
        self.out, self.by, self.read_only, self.labels = out, by, read_only, labels
        self._writing = writing
        self._index = Index(os.path.join(out, MANIFEST))
        self._file = os.open(os.path.join(out, MANIFEST), os.O_RDONLY | os.O_CLOEXEC)
        run_file = RunFile(out)
        self._places = Places.of(out, run_file)
        self.reading = _reading(run_file)
        self.further = {name: tuple(column.counts()) for name, column in self._index.further.items()}
        first = self._index.record(0, self._file) if len(self._index) else None
        self.model = first["model"] if first else ""
        self.multilabel = any("|" in text for text in self._index.label.names.texts)
        self._sample: SpotCheck | None = None
        self._lock = threading.RLock()
        self._wake, self._pause = threading.Event(), threading.Event()
        self._carried: dict[int, str] = {}
        self._wanted: dict[int, Reviewed | None] = {}
        self._moving: dict[int, Reviewed | None] = {}
        self._undo: deque[list[tuple[int, Reviewed | None]]] = deque(maxlen=_MOST_UNDONE)
        self._notices = [_notice(one.record, why) for one, why in (writing.refused if writing else ())]
        self._trouble: DicomsortError | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="decisions", daemon=True)

    # --- what there is

    def find(self, wanted: Filter) -> list[int]:
        """Return the ids that a filter shows, in its order. Raises UsageError for an unknown order."""
        with self._lock:
            return self._index.find(wanted)

    def has_studies(self, ids: Sequence[int]) -> bool:
        """Return whether any of these files is in a study with others, listed or not."""
        with self._lock:
            return self._index.has_studies(ids)

    def items(self, ids: Sequence[int]) -> list[Item]:
        """Return files as they are, decisions included that are being carried out. Raises KeyError."""
        with self._lock:
            return [self._item(self._checked(number)) for number in ids]

    def counts(self) -> dict[str, Any]:
        """Count the files by status, label, reason and decision, and what is and is not decided."""
        with self._lock:
            index = self._index
            reviewed = index.reviewed.counts()
            return {
                "status": index.status.counts(),
                "label": index.label.counts(),
                "reason": index.reasons(),
                "rows": len(index),
                "undecided": int(index.undecided.sum()) if len(index) else 0,
                "decided": sum(reviewed.values()),
                "reviewed": reviewed,
            }

    def picture_of(self, number: int) -> str:
        """Return the path of what can be looked at: our copy or link, else the source. Raises KeyError."""
        with self._lock:
            record = self._record(self._checked(number))
        placed = self._places.target(record.destination) if record.is_placed else ""
        return placed if placed and os.path.exists(placed) else record.path

    def notices(self) -> list[str]:
        """Return what could not be carried out since this was last asked, a line each."""
        with self._lock:
            told, self._notices = self._notices, []
            return told

    def spot_check(self) -> dict[str, Any] | None:
        """Return the figures of the spot check so far; None if there is none."""
        with self._lock:
            return None if self._sample is None else self._sample.figures(self._index)

    def draw(self, count: int, seed: int = 0) -> None:
        """Begin a spot check, or go on with the one of the same size and seed. Raises UsageError."""
        with self._lock:
            self._sample = spot_check.begin(self._index, self.out, count, seed)
            self._index.sampled[list(self._sample.files)] = True

    def _checked(self, number: int) -> int:
        if not 0 <= number < len(self._index):
            raise KeyError(number)
        return number

    def _record(self, number: int) -> Record:
        """Return a row as the manifest has it."""
        if number in self._carried:
            return self._from_line(self._carried[number])
        return self._index.record(number, self._file)

    def _from_line(self, line: str) -> Record:
        names = self._writing.manifest.columns if self._writing else self._index.names
        return Record(zip(names, next(csv.reader([line])), strict=True))

    def _item(self, number: int) -> Item:
        record = self._record(number)
        for pending in (self._moving, self._wanted):
            if number in pending:
                reviewed = pending[number]
                record = record.decided(reviewed, self._places.destination(record, reviewed))
        return item_of(number, record, bool(self._index.sampled[number]))

    # --- what is decided

    def decide(self, ids: Sequence[int], label: str) -> tuple[Refusal, ...]:
        """Decide on files: a class (several of a multilabel model with `|` between), excluded or unsure.

        Returns those that could not be decided on, and why. Raises UsageError for a label that there is not,
        or where this desk is read-only; KeyError for an id that there is not; TargetError if nothing can be
        written any more.
        """
        self._check_label(label)
        with self._lock:
            writing = self._may_write()
            reviewed = Reviewed(label, self.by, now())
            refused, taken = [], []
            for number in dict.fromkeys(map(self._checked, ids)):
                decision = Decision(self._record(number), reviewed)
                why = refusal(decision, self._places)
                if why is not None and number not in self._moving:  # there it is judged when it has arrived
                    refused.append(Refusal(number, why.value))
                else:
                    taken.append((number, decision))
            writing.journal.write([decision for _, decision in taken])
            self._undo_later(
                [(number, self._reviewed(number, decision.record)) for number, decision in taken]
            )
            self._take(taken)
            return tuple(refused)

    def undo(self) -> tuple[int, ...]:
        """Take the last batch back; returns its ids, none if there is no more. Raises as `decide` does."""
        with self._lock:
            writing = self._may_write()
            if not self._undo:
                return ()
            batch = self._undo.pop()
            given = [(number, Decision(self._record(number), before)) for number, before in batch]
            writing.journal.write([decision for _, decision in given])
            self._take(given)
            return tuple(number for number, _ in batch)

    def _may_write(self) -> Writing:
        if self._trouble is not None:
            raise self._trouble
        if self._writing is None:
            raise UsageError(self.read_only)
        return self._writing

    def _check_label(self, label: str) -> None:
        known = {*self.labels, EXCLUDED, UNSURE}
        parts = label.split("|") if self.multilabel else [label]
        if not known.issuperset(parts) or (len(parts) > 1 and {EXCLUDED, UNSURE} & set(parts)):
            raise UsageError(
                f"there is no class '{escape(label)}': use {', '.join(self.labels)}, {EXCLUDED} or {UNSURE}"
            )

    def _undo_later(self, batch: list[tuple[int, Reviewed | None]]) -> None:
        if batch:
            self._undo.append(batch)

    def _reviewed(self, number: int, record: Record) -> Reviewed | None:
        """Return what is decided of a file now, carried out or not."""
        for pending in (self._wanted, self._moving):
            if number in pending:
                return pending[number]
        return record.reviewed

    def _take(self, given: Sequence[tuple[int, Decision]]) -> None:
        for number, decision in given:
            self._wanted[number] = decision.reviewed
            self._show(number, decision.record, decision.reviewed)
        self._wake.set()

    def _show(self, number: int, record: Record, reviewed: Reviewed | None) -> None:
        self._index.decide(number, record.decided(reviewed, record.destination).status, reviewed)

    # --- what follows

    def _work(self) -> None:
        closing = False
        while not closing and self._trouble is None:
            self._wake.wait()
            self._wake.clear()
            if not self._closing:
                self._pause.wait(_SECONDS)
            closing = self._closing
            self._commit()

    def _commit(self) -> None:
        """Carry out what is wanted. Whatever hinders that, nothing more is taken; the next start goes on."""
        try:
            self._carry_out()
        except Exception as error:  # noqa: BLE001  (raised again where something is decided, and at the end)
            with self._lock:
                self._trouble = error if isinstance(error, DicomsortError) else InternalError(internal(error))
                self._notices.append(str(self._trouble))

    def _carry_out(self) -> None:
        with self._lock:
            self._moving, self._wanted = self._wanted, {}
            numbers = {}
            decisions = []
            for number, reviewed in self._moving.items():
                record = self._record(number)
                numbers[record.key] = number
                decisions.append(Decision(record, reviewed))
        if not decisions or self._writing is None:
            return
        done = self._writing.carrier.carry_out(decisions)
        with self._lock:
            self._moving = {}
            for row in done.rows:
                self._carried[numbers[row.key]] = _line_of(row)
            for decision, why in done.refused:
                self._refuse(numbers[decision.record.key], decision.record, why)

    def _refuse(self, number: int, record: Record, why: Refused) -> None:
        self._notices.append(_notice(record, why))
        if number not in self._wanted:
            self._show(number, record, record.reviewed)

    def start(self) -> None:
        """Begin to carry decisions out."""
        if self._writing is not None:
            self._thread.start()

    def close(self) -> None:
        """Carry out what is left, and write the spot check down. Raises TargetError."""
        try:
            if self._writing is not None:
                self._closing = True
                self._pause.set()
                self._wake.set()
                self._thread.join()
                self._conclude(self._writing)
        finally:
            os.close(self._file)

    def _conclude(self, writing: Writing) -> None:
        if self._trouble is not None:
            raise self._trouble
        writing.manifest.compact()
        decisions = writing.decisions
        writing.manifest.run_file.note_decisions(decisions.size, decisions.digest)
        if self._sample is not None:
            self._sample.save(self._index, self.out)


def _notice(record: Record, why: Refused) -> str:
    return f"{escape(record.path)}: {why}"


def _reading(run_file: RunFile) -> ReadSettings:
    plain, fixed = ReadSettings(), run_file.fixed
    return ReadSettings(
        int(fixed.get("max_pixels", plain.max_pixels)),
        bool(fixed.get("include_secondary_capture", plain.secondary_capture)),
        bool(fixed.get("pictures", plain.pictures)),
    )


def _line_of(record: Record) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(record.values())
    return line.getvalue()
