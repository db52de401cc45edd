"""A person's decision is carried out: our copy or link moves, and the row says so."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import TypeVar

from dicomsort.errors import UsageError
from dicomsort.inputs import walk
from dicomsort.inputs.named import relative_to
from dicomsort.manifest.decisions import Appending, Decision, Decisions
from dicomsort.manifest.reading import labels_in
from dicomsort.manifest.records import Record
from dicomsort.manifest.run_file import RunFile
from dicomsort.manifest.table import Manifest
from dicomsort.model.anatomy import Anatomy
from dicomsort.model.heads import check_label
from dicomsort.outcome import EXCLUDED, UNSURE, Placement, Reviewed, Status
from dicomsort.sorting import roots
from dicomsort.sorting.filing import stamp_now
from dicomsort.sorting.layout import DEFAULT, Layout
from dicomsort.sorting.place import is_it, is_untouched
from dicomsort.sorting.rearranging import end_move, move
from dicomsort.system import durable

_DECIDABLE = (Status.SORTED, Status.REVIEW, Status.EXCLUDED, Status.PLANNED)
GROUP = 1000
"""How many decisions are carried out together."""

Item = TypeVar("Item")


class Refused(StrEnum):
    """Why a decision is not carried out; a fixed set of texts."""

    NO_PLACE = (
        "it has no place in the output: only sorted, planned and excluded files and review are decided on"
    )
    DUPLICATE = "it repeats another file: decide on that one"
    CHANGED = "the file has changed since it was sorted: run classify again"
    GONE = "its copy is not in the output any more: run classify again"
    CHANGED_COPY = "its copy or link has been changed since it was placed"
    TAKEN = "another file has that name there"
    NOT_MOVED = "it cannot be moved (see the output folder's permissions and name limits)"


_DONE_AGAIN = (Refused.CHANGED, Refused.GONE)
"""What `classify` does anew."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of an output belong, and what its labels mean.

    roots: of the runs that filled it, see `roots.known`. anatomy: see `model.anatomy`.
    """

    out: str
    layout: Layout
    roots: Sequence[walk.Root]
    anatomy: Anatomy = field(default_factory=dict)

    @classmethod
    def of(cls, out: str, run_file: RunFile) -> "Places":
        """Return the places of an output folder, by its run.json."""
        layout = Layout(run_file.fixed.get("layout", DEFAULT))
        return cls(out, layout, roots.known(run_file), run_file.anatomy)

    def destination(self, record: Record, reviewed: Reviewed | None) -> str:
        """Return where a file belongs by a person's decision or, without one, by the model's.

        Empty for one that was not to be placed.
        """
        folder = record.decided(reviewed, "").folder
        if record.is_told_only or folder == record.folder:
            return record.destination  # also where somebody has put it
        relpath = relative_to(self.roots, record.path) or record.path.lstrip(os.sep)
        return self.layout.destination(folder, relpath, record.header)

    def target(self, destination: str) -> str:
        """Return the whole path of a destination."""
        return os.path.join(self.out, destination)


def refusal(decision: Decision, places: Places) -> Refused | None:
    """Return why a decision cannot be carried out; None if it can, as far as can be seen beforehand."""
    record = decision.record
    if record.is_duplicate:
        return Refused.DUPLICATE
    if record.status not in _DECIDABLE or not _has_a_place(record):
        return Refused.NO_PLACE
    if stamp_now(record.path) not in (None, record.stamp):
        return Refused.CHANGED
    try:
        return _refused_move(decision, places) if record.is_placed else None
    except OSError:
        return Refused.NOT_MOVED


def _has_a_place(record: Record) -> bool:
    return record.is_placed or record.is_planned or record.is_told_only


def _refused_move(decision: Decision, places: Places) -> Refused | None:
    record, placement = decision.record, decision.record.placement
    destination = places.destination(record, decision.reviewed)
    old, new = places.target(placement.destination), places.target(destination)
    if not os.path.lexists(old):
        begun = destination != placement.destination and is_it(record.path, new, placement)
        return None if begun else Refused.GONE  # a killed run has moved it, and not said so
    if not is_untouched(record.path, old, placement):
        return Refused.CHANGED_COPY
    if destination == placement.destination or not os.path.lexists(new):
        return None
    begun = _is_one(record.path, placement, old, new)
    return None if begun else Refused.TAKEN


def _is_one(source: str, placement: Placement, old: str, new: str) -> bool:
    """Return whether a killed run has begun this move: both names are one file, or one is reserved."""
    if not is_untouched(source, new, placement):
        return not os.path.islink(new) and os.path.getsize(new) == 0 < placement.stamp.size
    return os.path.islink(old) or os.path.samefile(old, new)


def _carried_out(decision: Decision, places: Places) -> Record | Refused:
    """Move the file of a decision, and return its new row."""
    if (refused := refusal(decision, places)) is not None:
        return refused
    record = decision.record
    destination = places.destination(record, decision.reviewed)
    old, new = places.target(record.destination), places.target(destination)
    if record.is_placed and old != new and os.path.lexists(old):
        try:
            move(record.path, old, new, record.placement)
        except FileExistsError:
            return Refused.TAKEN
        except OSError:
            return Refused.NOT_MOVED
    return record.decided(decision.reviewed, destination, places.anatomy)


@dataclass(frozen=True, slots=True)
class CarriedOut:
    """What became of some decisions: the new rows, and those that were refused and why."""

    rows: tuple[Record, ...] = ()
    refused: tuple[tuple[Decision, Refused], ...] = ()


class Carrier:
    """Carries decisions out in groups: first they are on the disk, then files move, then their rows say so.

    Whatever ends the program between these steps, the next run finishes it: see `finish`.
    """

    def __init__(self, manifest: Manifest, places: Places, journal: Appending) -> None:
        self._manifest, self._places, self._journal = manifest, places, journal

    def decide(self, decisions: Sequence[Decision]) -> CarriedOut:
        """Write down what was decided, and carry it out. Raises TargetError."""
        self._journal.write(decisions)
        return self.carry_out(decisions)

    def carry_out(self, decisions: Sequence[Decision]) -> CarriedOut:
        """Carry out what is written down already; what is refused is taken back there. Raises TargetError."""
        self._journal.sync()
        ended = [(decision, _carried_out(decision, self._places)) for decision in decisions]
        rows = tuple(row for _, row in ended if isinstance(row, Record))
        refused = tuple((decision, why) for decision, why in ended if isinstance(why, Refused))
        if refused:
            self._journal.take_back([decision for decision, _ in refused])
        self._sync(decisions, rows)
        self._manifest.append_records(rows)
        return CarriedOut(rows, refused)

    def _sync(self, decisions: Sequence[Decision], rows: Sequence[Record]) -> None:
        places = {decision.record.destination for decision in decisions} | {row.destination for row in rows}
        durable.sync((), [self._places.target(place) for place in places if place], self._places.out)


def finish(manifest: Manifest, out: str, decisions: Decisions) -> CarriedOut:
    """Carry out what is decided and not in the manifest yet, of a program that was killed.

    Where a source has changed or a copy is not there any more, the decision stands: `classify` does the file
    again, and by it. Nothing is looked through if decisions.csv is as it was when all was done. Raises
    TargetError.
    """
    if manifest.run_file.has_noted(decisions.size, decisions.digest):
        manifest.run_file.note_decisions(decisions.size, decisions.digest)
        return CarriedOut()
    places = Places.of(out, manifest.run_file)
    manifest.compact()
    _end_moves(manifest, places, decisions)
    rows, refused = list[Record](), list[tuple[Decision, Refused]]()
    with decisions.appending() as journal:
        carrier = Carrier(manifest, places, journal)
        for group in in_groups(_pending(manifest, places, decisions)):
            done = carrier.carry_out(group)
            rows += done.rows
            refused += done.refused
    manifest.compact()
    manifest.run_file.note_decisions(decisions.size, decisions.digest)
    return CarriedOut(tuple(rows), tuple(refused))


def _end_moves(manifest: Manifest, places: Places, decisions: Decisions) -> None:
    """Leave one name to each file that a killed program was moving by a decision before the last.

    Both names of a move are there for a moment, and by the last decision it may be neither. A name that
    stands in another row stays.
    """
    labels, left = _labels(manifest, decisions), dict[str, str]()
    for record in manifest.records():
        if record.is_placed and decisions.knows(record):
            first, *others = [*_names(record, places, labels), ""]
            left |= dict.fromkeys(filter(None, others), first)
    for record in manifest.records() if left else ():
        left.pop(record.destination, None)
    for name, first in left.items():
        end_move(places.target(name), places.target(first))


def _names(record: Record, places: Places, labels: Iterable[str]) -> list[str]:
    """Return where a placed file lies: where its row says, and where a decision would have put it."""
    found = [record.destination] * os.path.lexists(places.target(record.destination))
    for label in labels:
        name = places.destination(record, Reviewed(label, "", ""))
        if name not in found and is_untouched(record.path, places.target(name), record.placement):
            found.append(name)
    return found


def _labels(manifest: Manifest, decisions: Decisions) -> list[str]:
    """Return all that can have been decided."""
    return [*choices(manifest.answers, decisions), *sorted(decisions.labels), EXCLUDED, UNSURE]


def _pending(manifest: Manifest, places: Places, decisions: Decisions) -> list[Decision]:
    """Return what rows do not say yet, and what has been moved and not said, or moved and taken back.

    Files without a place are done later, by the journal.
    """
    labels = _labels(manifest, decisions)
    open_rows = (row for row in manifest.records() if _is_open(row, places, decisions))
    given = (
        Decision(_where_it_is(row, places, labels), decisions.of(row.path, row.stamp)) for row in open_rows
    )
    return [decision for decision in given if refusal(decision, places) not in _DONE_AGAIN]


def _is_open(record: Record, places: Places, decisions: Decisions) -> bool:
    if record.status not in _DECIDABLE or not decisions.knows(record):
        return False
    gone = record.is_placed and not os.path.lexists(places.target(record.destination))
    return gone or decisions.differs(record)


def _where_it_is(record: Record, places: Places, labels: Iterable[str]) -> Record:
    """Return the row of a file that a killed program had moved by a decision before the last, as it lies."""
    if not record.is_placed or os.path.lexists(places.target(record.destination)):
        return record
    for label in dict.fromkeys([*labels, record.label]):
        as_decided = Reviewed(label, "", "")
        destination = places.destination(record, as_decided)
        if is_untouched(record.path, places.target(destination), record.placement):
            return record.decided(as_decided, destination)
    return record


def in_groups(items: Iterable[Item], size: int = GROUP) -> Iterator[list[Item]]:
    """Yield items in lists of a size, the last one shorter."""
    left = iter(items)
    while group := list(islice(left, size)):
        yield group


def choices(answers: Sequence[str], decisions: Decisions, further: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the classes that a person may choose: the model's, those chosen before, and further ones.

    answers: columns of the manifest, see `columns`. Raises UsageError if a further class is impossible.
    """
    for label in further:
        try:
            check_label(label)
        except ValueError as error:
            raise UsageError(str(error)) from error
    single = {label for label in decisions.labels if "|" not in label} - {EXCLUDED, UNSURE}
    return tuple(dict.fromkeys([*labels_in(answers), *sorted(single), *further]))
