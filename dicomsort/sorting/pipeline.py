"""The way of a file, from path to row."""

import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any

from dicomsort.dicom import isolation
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.inputs.again import Again
from dicomsort.inputs.fetching import Fetching
from dicomsort.inputs.incoming import Incoming
from dicomsort.inputs.named import Files, Shard
from dicomsort.inputs.store import RemoteSettings
from dicomsort.inputs.supply import Reading, Supply, SupplySettings
from dicomsort.manifest import parquet
from dicomsort.manifest.decisions import Decisions
from dicomsort.manifest.history import History
from dicomsort.manifest.journal import Journal
from dicomsort.manifest.names import RUN, incoming_of, shard_folder
from dicomsort.manifest.rows import Row
from dicomsort.manifest.run_file import RunFile
from dicomsort.manifest.table import Manifest, Opening, Told
from dicomsort.model.batching import Predictor, ask_all
from dicomsort.model.evidence import HEADER
from dicomsort.model.model_set import Models, ModelSet, columns_of
from dicomsort.outcome import Action, SourceFile
from dicomsort.sorting import (
    accounts,
    already_done,
    noting,
    one_walk,
    part_log,
    removal,
    roots,
    shards,
    studies,
)
from dicomsort.sorting.admission import Admission
from dicomsort.sorting.already_done import Held, Rows
from dicomsort.sorting.deduplicate import settle
from dicomsort.sorting.disk_space import Forecast
from dicomsort.sorting.facts import facts_of
from dicomsort.sorting.filing import FilingSettings, file_all
from dicomsort.sorting.intake import archive_of, check, unshared
from dicomsort.sorting.layout import DEFAULT as DEFAULT_LAYOUT
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.reading import HowToRead, do
from dicomsort.sorting.repeats import SettleSettings
from dicomsort.sorting.reviewing import finish
from dicomsort.sorting.studies import Studies
from dicomsort.sorting.study_table import StudyTable
from dicomsort.sorting.summary import SortSummary, Watch, labels_of
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.threads import prefetch
from dicomsort.system.timing import StageTimer

__all__ = ["archive_of", "check"]  # part of what a run is asked for, wherever they live

_READ_AHEAD = 128


@dataclass(frozen=True, slots=True)
class SortSettings:
    """One run of `dicomsort classify`.

    layout: see `layout.Layout`. review_below: 0..1, None for the model's own threshold. restart: the output
    must be new or empty. keep_duplicates: place an image each time it comes. batch_size: None for what suits
    the device. from_list: sort only what is listed there, see `inputs.listed_paths`. shard: sort one shard
    only, and write its manifest. task: write the manifest of this task of a cluster. evidence: what labels
    rest on, `header` (with the pixels) or `pixels` alone. archives: whether to look into ZIP, tar and packed
    files. remote: how stores and a PACS are asked. parquet: whether manifest.parquet is kept too from now on,
    None for as it was. studies: a table of them, for models that were trained on whole studies; without one,
    and for files that it does not name, their Study Instance UID counts. lock_wait: how many seconds to wait
    for another run in the way. any_versions: whether a shard may be made with other versions than the others.
    """

    roots: tuple[str, ...]
    out: str
    placing: PlacementSettings = field(default_factory=PlacementSettings)
    layout: str = DEFAULT_LAYOUT
    dry_run: bool = False
    restart: bool = False
    keep_duplicates: bool = False
    batch_size: int | None = None
    review_below: float | None = None
    follow_links: bool = False
    retry_failed: bool = False
    read: ReadSettings = field(default_factory=ReadSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)
    from_list: str | None = None
    shard: Shard | None = None
    task: str = ""
    evidence: str = HEADER
    archives: bool = True
    remote: RemoteSettings = field(default_factory=RemoteSettings)
    parquet: bool | None = None
    lock_wait: float = 0.0
    any_versions: bool = False
    studies: StudyTable | None = None

    @property
    def copies(self) -> bool:
        """Whether files that are none of this disk will get a place here."""
        return not self.dry_run and self.placing.action is not Action.NONE


def sort(
    settings: SortSettings,
    predictor: Predictor,
    watch: Watch | None = None,
    further: Sequence[Predictor] = (),
    files: Files | None = None,
) -> SortSummary:
    """Sort the files under the roots into the output folder; the manifest has a row for every one.

    watch: called with the summary so far, after every file. further: models that are asked about every
    radiograph too, and answer in columns of their own. files: what to sort; None for what the settings name.
    Raises NothingFoundError, TargetError, UsageError or InternalError; whatever ends it, every row that was
    written stands, and the same call goes on from there.
    """
    return sort_by(settings, Models.loaded((predictor, *further), settings.evidence), watch, files)


def sort_by(
    settings: SortSettings, models: Models, watch: Watch | None = None, files: Files | None = None
) -> SortSummary:
    """Sort as `sort` does, by models that are loaded once a file needs them: not where all is done already.

    Raises ModelError too.
    """
    started = time.monotonic()
    tally, spent = SortSummary(), StageTimer()
    out = os.path.abspath(settings.out)
    rule = studies.rule_of(models.bundles, settings.studies)
    files = unshared(settings, files or archive_of(settings), whole=rule is not None)
    with (
        closing(files.remotes),
        _output(settings, out, models, tally) as (manifest, held, decisions),
        noting.noting(settings, manifest.run_file, held.rows.number, tally) as noted,
        one_walk.of_shard(settings, files, tally, watch) as files,
    ):
        if not settings.retry_failed:
            tally.note_untold(held.rows.untold, held.rows.troubles)
        admit = _admission(settings, manifest, held.history, tally, whole=rule is not None)
        todo = _after_done(admit, spent.making("walk", files.find()), files, tally, watch)
        left = rule is not None and os.path.exists(studies.spool_path(out, settings.shard))
        if models.are_loaded or todo is not None or left or not manifest.run_file.runs:
            asked = _begin(settings, out, manifest, models, noted)
            state = studies.RunState(manifest, held.history, admit, tally, watch)
            with (
                studies.collecting(settings, rule, asked.canvases, state) as collected,
                _supplied(settings, out, files, todo or iter(()), admit, collected) as supply,
            ):
                _Run(
                    settings, files, manifest, held.history, decisions, tally, spent, watch, noted, collected
                ).sort(asked, supply)
        _end(manifest, settings, tally, held)
        tally.note_folders(files.empty_folders)
        tally.seconds, tally.spent = time.monotonic() - started, spent.as_dict()
        manifest.run_file.add_time(tally.took)
    return tally


def _after_done(
    admit: Admission, found: Iterator[SourceFile], files: Files, tally: SortSummary, watch: Watch | None
) -> Iterator[SourceFile] | None:
    """Go on to the first file that is still to be done; return it with what follows, or None."""
    todo = admit(found)
    admit.on_done = partial(watch, tally) if watch is not None else None
    try:
        first = next(todo, None)
    except BaseException:
        files.remotes.stop()
        raise
    finally:
        admit.on_done = None
    return None if first is None else chain([first], todo)


def _begin(
    settings: SortSettings, out: str, manifest: Manifest, models: Models, noted: noting.Noted
) -> ModelSet:
    """Load the models, and write down that a run begins. Raises UsageError where it may not, ModelError."""
    asked = models.ready()
    run = facts_of(settings, models, asked)
    if settings.shard is not None or settings.task:
        shards.agree(out, run, settings.shard, settings.any_versions)
    manifest.run_file.add(run)
    noted.begin(run)
    return asked


@dataclass(frozen=True, slots=True)
class _Run:
    """One run, while it goes on."""

    settings: SortSettings
    files: Files
    manifest: Manifest
    history: History
    decisions: Decisions
    tally: SortSummary
    spent: StageTimer
    watch: Watch | None
    noted: noting.Noted
    studies: Studies | None = None

    def sort(self, panel: ModelSet, supply: Supply) -> None:
        """Read, ask, place and record: a row for every file of a supply."""
        settings, out, spent = self.settings, os.path.abspath(self.settings.out), self.spent
        batch_size = settings.batch_size or panel.batch_size
        how = HowToRead(
            panel.canvases, settings.read, supply.incoming, supply.copies, settings.archives,
            settings.shard if self.studies else None,
        )  # fmt: skip
        readings = _read(supply, settings, how, batch_size, spent, self.files.remotes.stop)
        decide = partial(panel.decisions, review_below=settings.review_below, spent=spent)
        if self.studies is None:
            decided = ask_all(readings, decide, panel.concurrency, batch_size)
        else:
            decided = self.studies.decided(
                readings, decide, panel.concurrency, batch_size, supply, self.files.remotes.close
            )
        filing = FilingSettings(
            out, settings.layout, settings.placing, settings.dry_run, panel.anatomy,
            roots.may_meet(roots.known(self.manifest.run_file)),
        )  # fmt: skip
        if self.studies is not None:
            fetch = Again(self.files.remotes.store_for, Incoming(supply.incoming))
            spool = self.studies.spool
            filing = replace(
                filing, scope=studies.STUDY, note=spool.note_move, note_place=spool.note_place, fetch=fetch
            )
        before = already_done.Before(self.history, out, settings.task)
        rows = file_all(decided, filing, self.manifest, self.decisions, spent, before)
        copies = settings.placing.action in (Action.COPY, Action.MOVE) and not settings.dry_run
        is_share = self.studies is not None and settings.shard is not None  # which of them is not known yet
        ahead = self.files.find() if self.files.repeats and not is_share else None
        number = None if is_share else self.files.number
        forecast = Forecast(ahead, out, copies, number)
        with Journal(self.manifest, out) as journal, closing(rows), forecast:
            for row in supply.rows.in_order(rows, attrgetter("path")):
                journal.write(row)
                supply.ended(row.path)
                forecast.look_at(row)
                self._count(row, forecast)

    def _count(self, row: Row, forecast: Forecast) -> None:
        tally = self.tally
        if self.studies is None:
            tally.count(row)
        if self.studies is None or self.studies.count(row):
            removal.note_copied(self.settings.placing.action, row.action, row.path, tally.removed)
        tally.total, tally.missing_bytes = tally.of_all(forecast.files), forecast.missing_bytes
        self.noted.total(tally.total)
        if self.watch is not None:
            self.watch(tally)


def to_do(settings: SortSettings, files: Files, tally: SortSummary, history: History) -> Iterator[SourceFile]:
    """Yield what the merged manifest, `earlier_of`, does not hold yet; count everything."""
    return Admission(history, tally, listed=settings.from_list is not None)(files.find())


def earlier_of(settings: SortSettings) -> History:
    """Return what the merged manifest holds already."""
    return _earlier(settings, os.path.abspath(settings.out)) or History("")


@contextmanager
def _supplied(
    settings: SortSettings,
    out: str,
    files: Files,
    todo: Iterator[SourceFile],
    admit: Admission,
    collected: Studies | None,
) -> Iterator[Supply]:
    """Supply what is to be done; what had to be unpacked or fetched for it is gone in the end."""
    folder = incoming_of(out)
    if not (settings.shard or settings.task):  # nobody else is at work here
        shutil.rmtree(folder, ignore_errors=True)
    incoming, remotes = Incoming(os.path.join(folder, uuid.uuid4().hex)), files.remotes
    fetching = Fetching(remotes.store_for, incoming, remotes.connections) if remotes else None
    supplying = SupplySettings(settings.archives, settings.copies and collected is None)
    if collected is not None:
        todo = collected.still_to_read(todo)
    supply = Supply(todo, partial(collected or admit, inside=True), supplying, incoming, fetching)
    try:
        yield supply
    finally:
        supply.close()


@contextmanager
def _output(
    settings: SortSettings, out: str, models: Models, tally: SortSummary
) -> Iterator[tuple[Manifest, Held, Decisions]]:
    """Lock the output and open its manifest for a run.

    Yields it, what need not be done again, and what persons decided.
    """
    if not os.path.exists(os.path.join(out, RUN)):  # what is wrong with them ends it before there is one
        models.ready()
    run, answers = facts_of(settings, models), columns_of(models.bundles)
    is_whole, digests = models.bundles[0].study is not None, settings.read.pixel_digest
    told = Told(models.rejects, models.compass is not None, is_whole, digests)
    with (
        _journal_folder(settings, out) as folder,
        Manifest.open(folder, answers, models.tag, run, told, Opening(False, settings.lock_wait)) as manifest,
    ):
        parquet.begin(folder, manifest.run_file, settings.parquet)
        decisions = Decisions(out)
        if settings.shard or settings.task:
            before = _earlier(settings, out) if settings.shard else None
            seen = already_done.Seen(out, settings.copies)
            held = already_done.held_by_shard(manifest, seen, settings.retry_failed, before)
        else:
            tally.taken_back = len(finish(manifest, out, decisions).refused)
            held = already_done.held(manifest, out, decisions, settings.retry_failed, settings.copies)
            tally.by_hand, tally.astray = len(held.by_hand.moved), dict(held.by_hand.astray)
        yield manifest, held, decisions


def _earlier(settings: SortSettings, out: str) -> History | None:
    every = roots.grown(RunFile(out), settings.roots)
    return already_done.earlier(out, settings.layout, every, settings.retry_failed, settings.copies)


@contextmanager
def _journal_folder(settings: SortSettings, out: str) -> Iterator[str]:
    """Yield the folder of the manifest that this run writes: the output's, or that of its shard."""
    if settings.shard is not None:
        with shards.sharing(out, settings.shard, settings.lock_wait) as folder:
            yield folder
    elif settings.task:
        yield shard_folder(out, settings.task)
    else:
        shards.check_merged(out)
        shards.forget_empty(out, settings.lock_wait, part_log.keep)
        yield out


def _end(manifest: Manifest, settings: SortSettings, tally: SortSummary, held: Held) -> None:
    """Make the manifest whole: every file once, duplicates judged, unless that is for all shards together."""
    manifest.compact()
    out, placing, history = os.path.abspath(settings.out), settings.placing, held.history
    if settings.shard or settings.task:
        accounts.check_ended(tally)
        manifest.run_file.settled = True
    elif not settings.keep_duplicates:
        note = partial(accounts.note_moved, tally=tally, history=history, given=settings.roots)
        settle(manifest, SettleSettings(out, settings.dry_run, placing, settings.pool), note)
    if removal.may_remove(tally.statuses) and not (settings.shard or settings.task):
        is_new = partial(accounts.is_new, history=history)
        tally.removed.add(removal.end(manifest, out, placing.action, settings.dry_run, is_new))
    rows = held.rows if held.is_all_of(manifest) else Rows.of(manifest.records())
    manifest.run_file.told, tally.radiographs = rows.number, rows.radiographs
    tally.labels = labels_of(tally.radiographs)
    accounts.check_ended(tally)
    if settings.shard is None:
        accounts.check_found(tally, settings)


def _admission(
    settings: SortSettings, manifest: Manifest, history: History, tally: SortSummary, *, whole: bool
) -> Admission:
    """Return what lets through the files that are still to be done. whole: whether studies are answered."""
    opens = settings.archives and "archives" not in manifest.run_file.fixed  # earlier versions opened none
    reopens = whole and settings.shard is not None  # in an archive may be studies of several shares
    return Admission(history, tally, opens, settings.from_list is not None, reopens)


def _read(
    supply: Supply,
    settings: SortSettings,
    how: HowToRead,
    batch_size: int,
    spent: StageTimer,
    let_go: Callable[[], None],
) -> Generator[Reading, None, None]:
    """Read in worker processes, ahead of the network by a few batches and no more."""
    stop = threading.Event()
    read: Any = partial(do, how=how)  # of an archive it returns a generator of answers
    readings = supply.readings(isolation.read_all(read, supply, settings.pool, stop))
    with closing(prefetch(readings, max(_READ_AHEAD, 2 * batch_size), stop, let_go)) as ahead:
        for found, reading in spent.making("wait", ahead, time.monotonic):
            spent.add("header", reading.cost.header)
            spent.add("pixels", reading.cost.pixels)
            yield found, reading
