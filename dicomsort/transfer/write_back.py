"""What an output says of instances, put as labels into the Orthanc that holds them, and taken away again."""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, TextIO

from dicomsort.errors import ExitCode, TargetError, UsageError
from dicomsort.inputs.dicomweb import Address
from dicomsort.inputs.names import is_pacs
from dicomsort.manifest.mending import cut_torn_line, mend_line_ends
from dicomsort.manifest.names import WRITTEN_BACK
from dicomsort.manifest.reading import ManifestRow, read_manifest
from dicomsort.outcome import Status
from dicomsort.sorting import shards
from dicomsort.system import locks
from dicomsort.system.escaping import escape
from dicomsort.transfer.orthanc import PREFIX, Level, Orthanc, mark_of
from dicomsort.transfer.several import several

COLUMNS = ("uid", "level", "to", "marks", "at")
Step = Callable[[], None]


class NotMarked(StrEnum):
    """Why something was not labeled; a fixed set of texts."""

    NO_UID = "no SOP or Study Instance UID"
    NOT_THERE = "Orthanc does not have it"
    SEVERAL = "Orthanc has several of this UID"
    REFUSED = "Orthanc refuses the label"
    TAKEN = "its metadata is that of another program"


@dataclass(slots=True)
class WrittenBack:
    """How it went. done: instances or studies that were labeled now (or unlabeled). there: that had been."""

    done: int = 0
    there: int = 0
    left: Counter[NotMarked] = field(default_factory=Counter)

    @property
    def exit_code(self) -> ExitCode:
        """DONE, or SOME_FAILED if anything was left."""
        return ExitCode.SOME_FAILED if self.left else ExitCode.DONE

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        left = {why.value: count for why, count in self.left.items()}
        return {"labeled": self.done, "already_labeled": self.there, "left": left}


@dataclass(frozen=True, slots=True)
class WriteBackSettings:
    """folder: the output. connections: how many are labeled at a time."""

    folder: str
    level: Level = Level.INSTANCE
    connections: int = 4
    dry_run: bool = False


def root_of(folder: str) -> str:
    """Return where the Orthanc is from which an output was sorted. Raises UsageError if it was from none."""
    for row in read_manifest(folder):
        if is_pacs(row.path):
            return Address.parse(row.path).base.rpartition("/")[0]
    raise UsageError("nothing here was sorted from a PACS: name the Orthanc with --orthanc http://host:8042")


def write_back(orthanc: Orthanc, settings: WriteBackSettings, step: Step = lambda: None) -> WrittenBack:
    """Label what is sorted, not what waits in review; a label that has changed takes the place of the old.

    Whatever the output was sorted from, its instances are found by their UIDs. step: called once for each.
    Raises UsageError, TargetError, PeerLostError; the same call goes on.
    """
    done = WrittenBack()
    shards.check_merged(settings.folder)
    wanted = _wanted(read_manifest(settings.folder), settings.level, done)
    with _journal(settings, orthanc.name) as known:
        new = {uid: marks for uid, marks in wanted.items() if known.marks.get(uid) != marks}
        done.there = len(wanted) - len(new)
        _mark_all(orthanc, new, known, done, step)
    return done


def undo(orthanc: Orthanc, settings: WriteBackSettings, step: Step = lambda: None) -> WrittenBack:
    """Take away the labels that were put; those of others stay. Raises as `write_back`."""
    done = WrittenBack()
    with _journal(settings, orthanc.name) as known:
        ours = {uid: frozenset[str]() for uid, marks in known.marks.items() if marks}
        _mark_all(orthanc, ours, known, done, step)
    return done


Marks = frozenset[str]


class _Known:
    """The journal of what was put into one Orthanc. marks: by UID. file: None in a dry run."""

    def __init__(
        self, settings: WriteBackSettings, to: str, marks: dict[str, Marks], file: TextIO | None
    ) -> None:
        self.settings, self._to, self.marks, self._file = settings, to, marks, file

    def write(self, uid: str, marks: Marks) -> None:
        """Write a row at once."""
        if self._file is None:
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        row = [uid, self.settings.level.value, self._to, " ".join(sorted(marks)), now]
        csv.writer(self._file, lineterminator="\n").writerow(row)
        self._file.flush()


def _wanted(rows: Iterator[ManifestRow], level: Level, done: WrittenBack) -> dict[str, Marks]:
    """Return the labels of each instance or study."""
    found: dict[str, Marks] = {}
    for row in rows:
        if row.status is not Status.SORTED or not row.final_label:
            continue
        header = row.header
        uid = header.study_instance_uid if level is Level.STUDY else header.sop_instance_uid
        if not uid:
            done.left[NotMarked.NO_UID] += 1
            continue
        marks = frozenset(mark_of(label) for label in row.final_label.split("|"))
        found[uid] = found.get(uid, frozenset()) | marks
    return found


def _mark_all(
    orthanc: Orthanc, wanted: Mapping[str, Marks], known: _Known, done: WrittenBack, step: Step
) -> None:
    marking = partial(_marked, orthanc=orthanc, known=known)
    for (uid, marks), failure in several(marking, wanted.items(), known.settings.connections, orthanc.stop):
        step()
        if failure is None:
            done.done += 1
            known.write(uid, marks)
        else:
            done.left[failure] += 1


def _marked(wanted: tuple[str, Marks], orthanc: Orthanc, known: _Known) -> NotMarked | None:
    """Label an instance or a study; return why not."""
    (uid, marks), level = wanted, known.settings.level
    names = orthanc.find(level, uid)
    if not names and not marks:
        return None  # gone, and its labels with it
    if len(names) != 1:
        return NotMarked.SEVERAL if names else NotMarked.NOT_THERE
    there, ours = orthanc.marks(level, names[0]), known.marks.get(uid, frozenset())
    if not orthanc.has_labels and not all(mark.startswith(f"{PREFIX}-") for mark in there):
        return NotMarked.TAKEN
    if known.settings.dry_run:
        return None
    return None if orthanc.put(level, names[0], set(marks), set(there & ours)) == 200 else NotMarked.REFUSED


@contextmanager
def _journal(settings: WriteBackSettings, to: str) -> Iterator[_Known]:
    """Yield the journal of a folder that is locked meanwhile. Raises TargetError, UsageError."""
    path = os.path.join(settings.folder, WRITTEN_BACK)
    try:
        with locks.take(settings.folder):
            marks = _read(path, settings.level, to)
            if settings.dry_run:
                yield _Known(settings, to, marks, None)
                return
            with open(path, "a", encoding="utf-8", newline="") as file:
                if not file.tell():
                    csv.writer(file, lineterminator="\n").writerow(COLUMNS)
                try:
                    yield _Known(settings, to, marks, file)
                finally:
                    file.flush()
                    os.fsync(file.fileno())
    except OSError as error:
        raise TargetError(f"'{escape(settings.folder)}' cannot be written: {error.strerror}") from error


def _read(path: str, level: Level, to: str) -> dict[str, Marks]:
    try:
        mend_line_ends(path)
        cut_torn_line(path)
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if tuple(rows.fieldnames or COLUMNS) != COLUMNS:
                raise ValueError  # noqa: TRY301
            return {
                row["uid"]: frozenset(row["marks"].split())
                for row in rows
                if row["level"] == level and row["to"] == to
            }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, AttributeError, csv.Error) as error:
        raise UsageError(f"'{escape(path)}' is damaged: restore it, or remove it") from error
