"""Images that have their row and their place, and whose study is answered again because it has grown."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from dicomsort.inputs import walk
from dicomsort.inputs.named import relative_to
from dicomsort.manifest.history import History, cells
from dicomsort.manifest.records import Record, status_when_placed
from dicomsort.manifest.rows import Row
from dicomsort.outcome import COPIES, Action, FileStamp, Placement, Reason, SourceFile, Status
from dicomsort.sorting.layout import Destinations
from dicomsort.sorting.place import is_untouched
from dicomsort.sorting.rearranging import also_at, give_up
from dicomsort.sorting.spool import Move, Place, Role, Spool
from dicomsort.system.escaping import uncell, unescape

_ANSWERED = (
    Status.SORTED, Status.REVIEW, Status.EXCLUDED, Status.PLANNED, Status.DUPLICATE, Status.IO_ERROR,
)  # fmt: skip

Note = Callable[[Move], None]
NotePlace = Callable[[Place], None]


def nobody(move: Move) -> None:
    """Stand for who is told where nothing can move. Raises AssertionError."""
    raise AssertionError(move.path)


@dataclass(frozen=True, slots=True)
class Standing(SourceFile):
    """A file that has not changed, but will get another row. row: the one that it has."""

    row: Record = field(default_factory=Record)


@dataclass(frozen=True, slots=True)
class Earlier:
    """An image that has its row, and whose pixels are wanted once more.

    copy: what was placed of it, if that has its bytes. role: AGAIN or SHOWN.
    """

    found: SourceFile
    stamp: FileStamp
    copy: str
    role: Role


def earlier_images(
    manifests: Iterable[str], history: History, spool: Spool, out: str, roots: Sequence[walk.Root]
) -> Iterator[Earlier]:
    """Yield the images of studies with a new one that have their row. Raises UsageError for damage."""
    for manifest in filter(os.path.exists, manifests):
        for key, uid in cells(manifest, "path", "study_instance_uid"):
            path = unescape(uncell(key))
            told = spool.told(path)
            study = told[0] if told else uncell(uid)
            if study and spool.has_new(study) and spool.role_of(path) in (None, Role.LEFT):
                record = history.row(path)
                if record is not None and (image := _image(record, path, out, roots)) is not None:
                    yield image


def _image(record: Record, path: str, out: str, roots: Sequence[walk.Root]) -> Earlier | None:
    stamp = record.stamp
    if stamp is None or not record.label or record.status not in _ANSWERED:
        return None
    has_copy = record.is_placed and record.action in (*COPIES, Action.HARDLINK)
    copy = os.path.join(out, record.placement.destination) if has_copy else ""
    stays = record.reviewed is not None or (record.is_duplicate and record.is_placed)
    role = Role.SHOWN if stays else Role.AGAIN
    return Earlier(SourceFile(path, relative_to(roots, path) or path.lstrip(os.sep)), stamp, copy, role)


def stand_by(record: Record, row: Row, out: str, destinations: Destinations, note: Note) -> Row:
    """Return the new row of a file that stands in the output, and give it the place that the row says.

    The old place goes at the end of the run, see `end_moves`: until the row is on the disk, the file has
    both. Where it stays in its class it stays where it is, also where somebody has put it.
    """
    if record.is_duplicate:
        return _repeating(record, row)
    status = status_when_placed(row.reasons, row.reviewed)
    if record.is_planned or not record.is_placed:
        return _without_place(record, row, status)
    before = record.placement
    row = replace(row, status=status, action=before.action, sha256=before.sha256, stamp=before.stamp)
    folder = row.reviewed.folder if row.reviewed else _folder(row)
    if folder == record.folder or row.destination == before.destination:
        return replace(row, destination=before.destination)
    reason = _moved(record.path, before, row.destination, out, destinations, note)
    if reason is Reason.NONE:
        return row
    stays = replace(row, status=Status.IO_ERROR, reasons=(reason, *row.reasons))
    return replace(stays, destination=before.destination)


def _repeating(record: Record, row: Row) -> Row:
    original = unescape(uncell(record.duplicate_of))
    return replace(row, status=record.status, reasons=record.reasons, duplicate_of=original, destination="")


def _folder(row: Row) -> str:
    is_sure = status_when_placed(row.reasons) is Status.SORTED
    return row.label.replace("|", "+") if is_sure else Status.REVIEW.value


def _without_place(record: Record, row: Row, status: Status) -> Row:
    """Return the row of what is only planned, or told, or could not be placed."""
    if record.is_planned:
        return row
    if record.is_told_only:
        return replace(row, status=status, destination="")
    reasons = (*record.reasons[:1], *row.reasons)
    return replace(row, status=record.status, reasons=reasons, destination=record.destination)


def _moved(
    source: str, before: Placement, destination: str, out: str, destinations: Destinations, note: Note
) -> Reason:
    """Give a placed file a second place; says why it cannot have it."""
    old, new = os.path.join(out, before.destination), os.path.join(out, destination)
    if not is_untouched(source, old, before):
        return Reason.CHANGED_COPY
    if not destinations.reserve(destination):
        return Reason.DESTINATION_TAKEN
    note(Move(source, before.destination, destination))
    try:
        also_at(source, old, new, before)
    except FileExistsError:
        return Reason.DESTINATION_TAKEN
    except OSError:
        return Reason.NOT_PLACED
    return Reason.NONE


def end_moves(spool: Spool, out: str, row_of: Callable[[str], Record | None]) -> None:
    """Leave each file that has two places the one that its row says. row_of: gives the row of a path."""
    moved = False
    for path, *both in spool.moves():
        record, places = row_of(path), [os.path.join(out, place) for place in both]
        moved = True
        if record is not None and record.destination in both:
            stays = both.index(record.destination)
            give_up(places[1 - stays], places[stays])
    if moved:
        spool.forget_moves()


def end_places(
    spool: Spool, out: str, manifests: Iterable[str], row_of: Callable[[str], Record | None]
) -> None:
    """Take away what a killed run has placed where the answer of a later one does not want it.

    A study may have another answer when it has more images. Only a file that no row tells of goes, and only
    if its bytes stand where the row of its source says. row_of: gives the row of a path.
    """
    for manifest in filter(os.path.exists, manifests):
        for action, destination in cells(manifest, "action", "destination"):
            if action:
                spool.forget_place(unescape(uncell(destination)))
    for path, place in spool.places():
        record = row_of(path)
        if record is not None and record.is_placed:
            give_up(os.path.join(out, place), os.path.join(out, record.placement.destination))
