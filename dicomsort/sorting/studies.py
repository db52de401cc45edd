"""Whole studies: their images are collected, laid out as in training, and answered once.

Only when the last file has been read is it known which images a study has. Until then they wait in a `Spool`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from dicomsort import __version__
from dicomsort.dicom import isolation
from dicomsort.dicom.sop_classes import READING, ReadSettings
from dicomsort.errors import UsageError
from dicomsort.imaging import montage
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.imaging.montage import MOST_VIEWS
from dicomsort.inputs import names, walk
from dicomsort.inputs.named import Shard
from dicomsort.inputs.supply import Reading, Supply
from dicomsort.manifest.history import History
from dicomsort.manifest.names import MANIFEST, shard_folder, spool_of
from dicomsort.manifest.records import Record
from dicomsort.manifest.rows import Row
from dicomsort.manifest.run_file import RunFile
from dicomsort.manifest.table import Manifest
from dicomsort.model.batching import Predicted, ask_all
from dicomsort.model.bundle import Bundle
from dicomsort.model.heads import Decision
from dicomsort.model.studies import StudyRule
from dicomsort.outcome import Failure, Header, Part, ReadImage, Reason, SourceFile, Status
from dicomsort.sorting import accounts, roots
from dicomsort.sorting.admission import Admission
from dicomsort.sorting.anew import Earlier, Standing, earlier_images, end_moves, end_places
from dicomsort.sorting.filing import Decided, stamp_now
from dicomsort.sorting.reading import share_key
from dicomsort.sorting.shards import name_of
from dicomsort.sorting.spool import Image, Role, Spool
from dicomsort.sorting.study_table import StudyTable, check, told_by
from dicomsort.sorting.summary import SortSummary, Watch
from dicomsort.system.escaping import escape

if TYPE_CHECKING:
    from dicomsort.sorting.pipeline import SortSettings

STUDY = "study"
"""What the column `scope` says of an image that was answered as part of its study."""

_LOST = (Status.CRASH, Status.TIMEOUT)

Decide = Callable[[Sequence[ReadImage]], Sequence[Decision]]


def rule_of(bundles: Sequence[Bundle], table: StudyTable | None) -> StudyRule | None:
    """Return how models see studies; None where they look at single images.

    Raises UsageError where they do not all do the same, or where a table of studies is not needed, or none.
    """
    rules = [bundle.study for bundle in bundles]
    if len({rule is None for rule in rules}) > 1:
        raise UsageError(
            "some of the models answer whole studies, others single images: run them apart, each with an "
            "--out of its own"
        )
    if len({(rule.views, rule.layout) for rule in rules if rule is not None}) > 1:
        raise UsageError(
            "these models show the images of a study in different ways: run them apart, each with an --out "
            "of its own"
        )
    if rules[0] is None and table is not None:
        raise UsageError("--studies goes with a model that was trained on whole studies: leave it out")
    if rules[0] is not None and table is not None:
        check(table, rules[0])
    return rules[0]


def spool_path(out: str, shard: Shard | None) -> str:
    """Return the spool of a run into an output."""
    return spool_of(out, name_of(shard) if shard else "")


class _Study(NamedTuple):
    """A study by its key. is_cut: whether it has more images than were looked at."""

    key: str
    is_cut: bool


@dataclass(slots=True)
class _Others:
    """Counts files of other shares, in one thread. inside: how many of them are members of archives."""

    files: int = 0
    inside: int = 0

    def note(self, found: SourceFile) -> None:
        self.files += 1
        self.inside += found.stamp is not None and any(names.splits(found.path))


@dataclass(frozen=True, slots=True)
class RunState:
    """What a run has when it begins to read. history: what was held before."""

    manifest: Manifest
    history: History
    admit: Admission
    tally: SortSummary
    watch: Watch | None


class Studies:
    """The studies of one run.

    roots: of all runs that have filled the output.
    """

    def __init__(
        self,
        settings: "SortSettings",
        spool: Spool,
        canvases: Sequence[Preprocessing],
        rule: StudyRule,
        run: RunState,
        roots: Sequence[walk.Root],
    ) -> None:
        self.spool = spool
        self._settings, self._canvases, self._rule = settings, canvases, rule
        self._run, self._roots = run, roots
        self._out, self._tally = os.path.abspath(settings.out), run.tally
        self._told_of_others, self._of_others = _Others(), _Others()

    def _share_holds(self, key: str) -> bool:
        return self._settings.shard is None or self._settings.shard.holds(key)

    def __call__(self, found: Iterable[SourceFile], inside: bool = False) -> Iterator[SourceFile]:
        """Yield those of some files that are still to be read. inside: whether archives gave them."""
        return self.still_to_read(self._run.admit(found, inside))

    def still_to_read(self, files: Iterable[SourceFile]) -> Iterator[SourceFile]:
        """Pass over what was read before a kill, and what a table gives to another share."""
        for file in files:
            told = self.spool.told(file.path)
            named = file if told is None else replace(file, study=told[0])
            if told and not self._share_holds(named.study):
                self._told_of_others.note(file)
            elif named.failure is not None or not self._take(named, Role.NEW):
                yield named

    def _take(self, found: SourceFile, role: Role) -> bool:
        if not self.spool.has_left:
            return False
        taken = self.spool.take(found, found.stamp or stamp_now(found.path), role)
        self._tally.collected += taken
        return taken

    def decided(
        self,
        readings: Generator[Reading, None, None],
        decide: Decide,
        concurrency: int,
        batch_size: int,
        supply: Supply,
        all_read: Callable[[], None],
    ) -> Generator[Decided, None, None]:
        """Yield failures as they come; then each image with what is decided of its study; then archives.

        all_read: called when no more is to be read.
        """
        with closing(readings):
            for found, reading in supply.rows.in_order(readings, lambda each: each[0].path):
                yield from self._collected(found, reading, supply)
        all_read()
        self._collect_earlier()
        with closing(ask_all(self._pictures(), decide, concurrency, batch_size)) as answers:
            for study, _, decision in answers:
                assert decision is not None  # noqa: S101
                yield from self._answered(study, decision)
        for archive, failure in self.spool.archives():
            yield Predicted(archive, failure, None)

    def _collected(
        self, found: SourceFile, reading: ReadImage | Failure, supply: Supply
    ) -> Iterator[Decided]:
        if not self._is_ours(found, reading):
            self._of_others.note(found)
            supply.ended(found.path)
        elif isinstance(reading, Failure) and supply.rows.is_open(found.path):
            supply.ended(found.path)
            self.spool.hold(found, reading)
        elif isinstance(reading, Failure):
            yield Predicted(found, reading, None)
        else:
            self._put(replace(found, part=_lasting(found.part, supply)), reading, Role.NEW)
            self._tally.collected += 1
            if self._run.watch is not None:
                self._run.watch(self._tally)

    def _is_ours(self, found: SourceFile, reading: ReadImage | Failure) -> bool:
        """Return whether a file is of this share, by the study that its header names, or by its path.

        Where its header is not known because a worker was lost, it is read once more, without the pixels.
        """
        if self._settings.shard is None:
            return True
        header = reading.header
        if isinstance(reading, Failure) and reading.status in _LOST:
            header = self._header_of(found)
        return self._share_holds(share_key(found, header))

    def _header_of(self, found: SourceFile) -> Header:
        read = partial(_read_header, canvases=self._canvases, read=self._settings.read)
        return next(reading.header for _, reading in isolation.read_all(read, [found], self._settings.pool))

    def _put(self, found: SourceFile, reading: ReadImage, role: Role) -> None:
        told = self.spool.told(found.path)
        study, view = told or (reading.header.study_instance_uid, "")
        rank, name = self._rule.order(view or reading.header.view_position, found.relpath)
        place = f"{rank:02}{escape(name)}"
        self.spool.put(found, reading, study or f"/{escape(found.path)}", place, role)

    def _collect_earlier(self) -> None:
        """Read again what has its row, and is of a study with a new image."""
        self.spool.keep()
        found = earlier_images(self._manifests(), self._run.history, self.spool, self._out, self._roots)
        to_read = (one for one in found if not self.spool.take(one.found, one.stamp, one.role))
        read = partial(_read_again, canvases=self._canvases, read=self._settings.read)
        for one, reading in isolation.read_all(read, to_read, self._settings.pool):
            if isinstance(reading, ReadImage):
                self._put(one.found, replace(reading, stamp=one.stamp), one.role)
        self.spool.keep()

    def _manifests(self) -> list[str]:
        shard, folders = self._settings.shard, [self._out]
        folders += [shard_folder(self._out, name_of(shard))] if shard else []
        return [os.path.join(folder, MANIFEST) for folder in folders]

    def _pictures(self) -> Generator[tuple[_Study, ReadImage | Failure], None, None]:
        for key in self.spool.studies():
            images, number = self.spool.shown(key, MOST_VIEWS)
            yield _Study(key, number > MOST_VIEWS), shown_together(images, self._canvases, self._rule)

    def _answered(self, study: _Study, decision: Decision) -> Iterator[Decided]:
        if study.is_cut:
            decision = replace(decision, why=(*decision.why, Reason.MANY_IMAGES))
        for image in self.spool.images(study.key):
            if image.role is Role.NEW:
                yield Predicted(image.found, image.reading, decision)
            elif (standing := self._standing(image)) is not None:
                yield Predicted(standing, image.reading, decision)

    def _standing(self, image: Image) -> Standing | None:
        row = self._run.history.row(image.found.path)
        return None if row is None else Standing(image.found.path, image.found.relpath, row=row)

    def count(self, row: Row) -> bool:
        """Count a row; returns whether its file is one of this run, and not one that is answered anew."""
        if row.status is Status.DUPLICATE:  # as before: only after the run it is known whether it still is
            return False
        known = self._run.history.status(row.path, row.stamp) if row.label and row.stamp else None
        if known is None:
            self._tally.count(row)
            self._tally.collected -= bool(row.label)
        elif accounts.is_met(row.path, self._settings.roots):
            self._tally.move(known, row.status, is_old=True)
        return known is None

    def end(self) -> None:
        """Take away what is no longer needed once all rows are on the disk."""
        for others in (self._of_others, self._told_of_others):
            self._tally.found -= others.files
            self._tally.inside -= others.inside
        self._tally.collected = 0
        if self.spool.has_places or next(self.spool.moves(), None) is not None:
            self._end_seconds()

    def _end_seconds(self) -> None:
        now, before = self._run.manifest.history(), self._run.history

        def row_of(path: str) -> Record | None:
            return now.row(path) or before.row(path)

        end_moves(self.spool, self._out, row_of)
        if self.spool.has_places:
            end_places(self.spool, self._out, self._manifests(), row_of)


def shown_together(
    images: Sequence[ReadImage], canvases: Sequence[Preprocessing], rule: StudyRule
) -> ReadImage:
    """Return what the models see of a study, its images in order, and the facts that all of them agree on."""
    first, *others = images
    if not others:
        return first
    seen = zip(*((image.image, *image.further) for image in images), strict=True)
    image, *further = (
        montage.laid_out(each, canvas, rule.layout) for each, canvas in zip(seen, canvases, strict=True)
    )
    facts = tuple(fact for fact in first.facts if all(fact in other.facts for other in others))
    return ReadImage(image, further=tuple(further), facts=facts)


def _lasting(part: Part | None, supply: Supply) -> Part | None:
    """Return where the bytes of a file are if they stay there; what was unpacked for it is got anew."""
    return None if part is None or os.path.dirname(part.file) == supply.incoming else part


def _read_header(
    found: SourceFile, canvases: Sequence[Preprocessing], read: ReadSettings
) -> ReadImage | Failure:
    from dicomsort.dicom import reader  # noqa: PLC0415  (in a worker, which has it loaded)

    return reader.read_dicom(found.path, canvases[0], read, canvases[1:], wanted=_nothing)


def _nothing(_: Header) -> bool:
    return False


def _read_again(one: Earlier, canvases: Sequence[Preprocessing], read: ReadSettings) -> ReadImage | Failure:
    """Read an image where it came from or, if it is not there as it was, what was placed of it."""
    from dicomsort.dicom import reader  # noqa: PLC0415

    reading = reader.read_dicom(one.found.path, canvases[0], read, canvases[1:])
    if isinstance(reading, ReadImage) and reading.stamp is not None and reading.stamp.is_of(one.stamp):
        return reading
    if not one.copy:
        return Failure(Status.IO_ERROR, Reason.CHANGED)
    return reader.read_dicom(one.copy, canvases[0], read, canvases[1:])


@contextmanager
def collecting(
    settings: "SortSettings", rule: StudyRule | None, canvases: Sequence[Preprocessing], run: RunState
) -> Iterator[Studies | None]:
    """Yield the studies of a run, None for models that look at single images.

    Once the block ends well, what it needed of the disk is free again. Raises UsageError or TargetError.
    """
    if rule is None:
        yield None
        return
    out, shard = os.path.abspath(settings.out), settings.shard
    spool = Spool(spool_path(out, shard), canvases, _made_for(settings, rule))
    try:
        end_moves(spool, out, run.history.row)
        _tell_all(spool, settings.studies, rule)
        studies = Studies(settings, spool, canvases, rule, run, roots.grown(RunFile(out), settings.roots))
        yield studies
        studies.end()
    except BaseException:
        spool.close()
        raise
    spool.end()


def _made_for(settings: "SortSettings", rule: StudyRule) -> str:
    """Return what the pixels in a spool, and their studies, depend on besides the canvases."""
    table, told = settings.studies, ""
    if table is not None:
        with suppress(OSError), open(table.file, "rb") as file:
            told = hashlib.file_digest(file, "sha256").hexdigest() + table.column
    return json.dumps([READING, __version__, asdict(settings.read), asdict(rule), told])


def _tell_all(spool: Spool, table: StudyTable | None, rule: StudyRule) -> None:
    try:
        _tell(spool, table, rule)
    except UsageError:
        if not (spool.has_left or spool.has_places):
            spool.end()
        raise


def _tell(spool: Spool, table: StudyTable | None, rule: StudyRule) -> None:
    for told in told_by(table, rule) if table else ():
        if not spool.tell(*told):
            raise UsageError(
                f"--studies '{escape(table.file if table else '')}' gives '{escape(told.path)}' two studies: "
                "leave one of them out"
            )
