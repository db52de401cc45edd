"""An output in, corrected copies or reports of its files out; the sources are only read."""

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dicomsort.audit.terms import Terms
from dicomsort.dicom import isolation
from dicomsort.errors import ExitCode, TargetError, UsageError, check_installed
from dicomsort.export.answers import answer_of
from dicomsort.export.instances import Correcting, Image, correct
from dicomsort.export.journal import Journal, journal
from dicomsort.export.kinds import Flaw, Kind
from dicomsort.export.written import Left, Nothing, Outcome, Written
from dicomsort.manifest.names import MANIFEST, manifest_in
from dicomsort.manifest.reading import ManifestRow, read_manifest
from dicomsort.manifest.run_file import RunFile
from dicomsort.model.anatomy import Anatomy
from dicomsort.outcome import Failure, Reason, Status
from dicomsort.sorting import shards
from dicomsort.sorting.place import copy_or_source
from dicomsort.sorting.roots import known as known_roots
from dicomsort.system.escaping import escape
from dicomsort.system.pool_settings import PoolSettings

Item = TypeVar("Item")
_Reading = Generator[tuple[Item, Outcome | Failure], None, None]
Step = Callable[[], None]


@dataclass(frozen=True, slots=True)
class AnnotateSettings:
    """What is written, and where. folder: of what is written. min_confidence: from which a model is believed.

    wanted: only tags with one of these flaws are corrected. terms: a CSV of more terms, see `audit.terms`.
    """

    kind: Kind
    folder: str
    min_confidence: float = 0.98
    wanted: tuple[Flaw, ...] = tuple(Flaw)
    dry_run: bool = False
    pool: PoolSettings = field(default_factory=PoolSettings)
    terms: Path | None = None


@dataclass(slots=True)
class Annotated:
    """How it went. there: files that an earlier run has written. right: images with nothing to correct.

    unsure: radiographs of which nothing is sure, or that wait in review. corrected: how many copies, by
    (anatomy or view, flaw). left: files or studies of which nothing could be written, by reason.
    """

    written: int = 0
    there: int = 0
    right: int = 0
    unsure: int = 0
    images: int = 0
    corrected: Counter[tuple[str, Flaw]] = field(default_factory=Counter)
    left: Counter[Left] = field(default_factory=Counter)

    @property
    def exit_code(self) -> ExitCode:
        """DONE, or SOME_FAILED if anything was left."""
        return ExitCode.SOME_FAILED if self.left else ExitCode.DONE

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        corrected = [
            {"tag": tag, "flaw": flaw, "files": count} for (tag, flaw), count in self.corrected.items()
        ]
        return {
            "written": self.written,
            "already_there": self.there,
            "nothing_to_correct": self.right,
            "not_sure": self.unsure,
            "images": self.images,
            "corrected": corrected,
            "left": {why.value: count for why, count in self.left.items()},
        }

    def take(self, outcome: Outcome) -> None:
        """Count what became of a file or a study."""
        if isinstance(outcome, Left):
            self.left[outcome] += 1
        elif isinstance(outcome, Nothing):
            self.right += 1
        elif not outcome.is_new:
            self.there += 1
        else:
            self.written += 1
            self.images += len(outcome.sources)
            self.corrected.update(outcome.flaws.items())


def annotate(out: str, settings: AnnotateSettings, step: Step = lambda: None) -> Annotated:
    """Write corrected copies, or reports, of what an output folder's manifest tells; again without doubling.

    out: an output folder, or its manifest.csv. step: called once for each file, or study. Raises UsageError
    if there is no manifest or the folder is none to write into, TargetError if it is full.
    """
    path = manifest_in(out)
    manifest = read_manifest(path)
    home = os.path.dirname(os.path.abspath(path))
    shards.check_merged(home)
    run = RunFile(home)
    check_folder(settings.folder, home, run)
    if settings.kind is Kind.SR:
        check_installed("--as sr", "highdicom")
    done = Annotated()
    rows = _with_own_uid(manifest, done)
    images = _once(_images(rows, home, run.anatomy, settings.min_confidence, done), done)
    writing = nullcontext() if settings.dry_run else journal(settings.folder)
    with writing as entries:
        for outcome in _outcomes(images, settings):
            step()
            done.take(outcome)
            _note(outcome, entries, settings.folder)
    return done


def _note(outcome: Outcome, entries: Journal | None, folder: str) -> None:
    """Put what was written into the journal. Raises TargetError if nothing more can be."""
    if outcome is Left.FULL:
        raise TargetError(f"no space left in '{escape(folder)}': free some and run the same command again")
    if entries is not None and isinstance(outcome, Written):
        entries.add(outcome)


def check_folder(folder: str, home: str, run: RunFile) -> None:
    """Raise UsageError for a folder whose files the next sorting would take for sources, or for an output."""
    real = os.path.realpath(folder)
    if os.path.exists(os.path.join(real, MANIFEST)):
        raise UsageError(f"--out '{escape(folder)}' is an output of classify: choose another folder")
    for root in (home, *(root.path for root in known_roots(run))):
        if os.path.isdir(root) and os.path.commonpath([real, os.path.realpath(root)]) == os.path.realpath(
            root
        ):
            raise UsageError(
                f"--out '{escape(folder)}' lies in '{escape(str(root))}': choose a folder outside"
            )


def _with_own_uid(rows: Iterable[ManifestRow], done: Annotated) -> Iterator[ManifestRow]:
    """Yield rows but for those of which another image has the SOP Instance UID: nothing can refer to them."""
    for row in rows:
        if Reason.SAME_UID in row.reasons:
            done.left[Left.SAME_UID] += 1
        else:
            yield row


def _images(
    rows: Iterable[ManifestRow], home: str, known: Anatomy, least: float, done: Annotated
) -> Iterator[Image]:
    """Yield the images of which something is sure, each with the file to read."""
    for row in rows:
        answer = answer_of(row, known, least)
        if answer is None:
            done.unsure += bool(row.label)
        else:
            path = copy_or_source(row.path, row.destination, row.action, home)
            stamp = row.stamp if path == row.path else None
            uids = row.header.sop_instance_uid, row.header.study_instance_uid
            yield Image(path, row.path, stamp, *uids, answer)


def _once(images: Iterable[Image], done: Annotated) -> Iterator[Image]:
    """Yield the first image of each SOP Instance UID, for an output may keep duplicates without a word."""
    seen = set[int]()
    for image in images:
        known = hash(image.uid)
        if image.uid and known in seen:
            done.left[Left.SAME_UID] += 1
        else:
            seen.add(known)
            yield image


def _outcomes(images: Iterator[Image], settings: AnnotateSettings) -> Iterator[Outcome]:
    if settings.kind is Kind.SR:
        yield from _reports(images, settings)
        return
    terms, now = Terms.load(settings.terms), datetime.now(UTC)
    how = Correcting(settings.folder, terms, now, settings.wanted, settings.dry_run)
    yield from _all(partial(correct, how=how), images, settings)


def _reports(images: Iterator[Image], settings: AnnotateSettings) -> Iterator[Outcome]:
    from dicomsort.export.reports import Reporting, Study, describe  # noqa: PLC0415  (loads highdicom)

    studies: dict[str, list[Image]] = {}
    for image in images:
        studies.setdefault(image.study, []).append(image)
    for _ in studies.pop("", ()):
        yield Left.NO_UIDS
    found = (Study(uid, tuple(sorted(group, key=_uid))) for uid, group in studies.items())
    how = Reporting(settings.folder, settings.dry_run)
    yield from _all(partial(describe, how=how), found, settings)


def _uid(image: Image) -> str:
    return image.uid


def _all(
    work: Callable[[Item], Outcome | Failure], items: Iterable[Item], settings: AnnotateSettings
) -> Iterator[Outcome]:
    """Yield what becomes of every item in worker processes, also of one whose worker is lost."""
    reading: _Reading[Item] = isolation.read_all(work, items, settings.pool)
    with closing(reading) as outcomes:
        for _, outcome in outcomes:
            if isinstance(outcome, Failure):
                yield Left.TOO_SLOW if outcome.status is Status.TIMEOUT else Left.WORKER_DIED
            else:
                yield outcome
