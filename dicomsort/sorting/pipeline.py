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
from operator import attrgetter
from typing import Any

from dicomsort.dicom import isolation
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import InternalError, NothingFoundError, TargetError, UsageError
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.inputs import names, walk
from dicomsort.inputs.fetching import Fetching
from dicomsort.inputs.incoming import Incoming
from dicomsort.inputs.named import Archive, Files, Shard, check_list
from dicomsort.inputs.remotes import Remotes
from dicomsort.inputs.store import RemoteSettings
from dicomsort.inputs.supply import Reading, Supply, SupplySettings
from dicomsort.manifest.decisions import Decisions
from dicomsort.manifest.history import History
from dicomsort.manifest.journal import Journal
from dicomsort.manifest.names import DECISIONS, OWN, RUN, SHARDS, incoming_of
from dicomsort.manifest.rows import Row
from dicomsort.manifest.run_file import RunFacts
from dicomsort.manifest.table import Manifest, Told
from dicomsort.model.anatomy import as_json
from dicomsort.model.batching import Predictor, ask_all
from dicomsort.model.evidence import HEADER, check_source
from dicomsort.model.model_set import ModelSet, columns_of
from dicomsort.outcome import Action, SourceFile
from dicomsort.sorting import already_done, removal, shards
from dicomsort.sorting.admission import Admission
from dicomsort.sorting.deduplicate import SettleSettings, settle
from dicomsort.sorting.disk_space import Forecast
from dicomsort.sorting.filing import FilingSettings, file_all
from dicomsort.sorting.layout import DEFAULT as DEFAULT_LAYOUT
from dicomsort.sorting.layout import Layout
from dicomsort.sorting.place import PlacementSettings
from dicomsort.sorting.reading import HowToRead, do
from dicomsort.sorting.reviewing import finish
from dicomsort.sorting.summary import SortSummary, Watch, census, labels_of
from dicomsort.sorting.versions import installed
from dicomsort.system.escaping import escape
from dicomsort.system.threads import prefetch
from dicomsort.system.timing import StageTimer
from dicomsort.system.worker_pool import PoolSettings

_READ_AHEAD = 128


@dataclass(frozen=True, slots=True)
class SortSettings:
    """One run of `dicomsort classify`.

    layout: see `layout.Layout`. review_below: 0..1, None for the model's own threshold. restart: the output
    must be new or empty. keep_duplicates: place an image each time it comes. batch_size: None for what suits
    the device. from_list: sort only what is listed there, see `inputs.listed_paths`. shard: sort one shard
    only, and write its manifest. task: write the manifest of this task of a cluster. evidence: what labels
    rest on, `header` (with the pixels) or `pixels` alone. archives: whether to look into ZIP, tar and packed
    files. remote: how stores and a PACS are asked.
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
    started = time.monotonic()
    tally, spent = SortSummary(), StageTimer()
    out = os.path.abspath(settings.out)
    files = files or archive_of(settings)
    panel = ModelSet((predictor, *further), settings.evidence)
    batch_size = settings.batch_size or panel.batch_size
    with (
        _output(settings, out, panel, tally) as (manifest, history, decisions),
        _supplied(settings, out, files, _admission(settings, manifest, history, tally), spent) as supply,
    ):
        readings = _read(supply, settings, panel.canvases, batch_size, spent, files.remotes.stop)
        decide = partial(panel.decisions, review_below=settings.review_below, spent=spent)
        decided = ask_all(readings, decide, panel.concurrency, batch_size)
        filing = FilingSettings(out, settings.layout, settings.placing, settings.dry_run, panel.anatomy)
        before = already_done.Before(history, out, settings.task)
        rows = file_all(decided, filing, manifest, decisions, spent, before)
        copies = settings.placing.action in (Action.COPY, Action.MOVE) and not settings.dry_run
        ahead = files.find() if files.repeats else None
        with Journal(manifest, out) as journal, closing(rows), Forecast(ahead, out, copies) as forecast:
            for row in supply.rows.in_order(rows, attrgetter("path")):
                journal.write(row)
                supply.ended(row.path)
                forecast.look_at(row)
                tally.total, tally.missing_bytes = tally.of_all(forecast.files), forecast.missing_bytes
                _count(row, tally, watch)
                removal.note_copied(settings.placing.action, row.action, row.path, tally.removed)
        _end(manifest, settings, tally)
        tally.note_folders(files.empty_folders)
        tally.seconds, tally.spent = time.monotonic() - started, spent.as_dict()
        manifest.run_file.add_time(tally.took)
    return tally


def archive_of(settings: SortSettings) -> Archive:
    """Return the files that a run is to sort. Raises as `check` does."""
    roots, out = check(settings), os.path.abspath(settings.out)
    remotes = Remotes(roots, _remote(settings, roots))
    remotes.open()
    if settings.from_list is None:
        remotes.begin()
    return Archive(roots, out, settings.follow_links, settings.from_list, settings.shard, remotes)


def _remote(settings: SortSettings, roots: Sequence[walk.Root]) -> RemoteSettings:
    """Return how stores are asked; what a PACS says of an instance may save fetching it."""
    if not any(names.is_pacs(root.path) for root in roots):
        return settings.remote
    from dicomsort.dicom.queried import exclusion  # noqa: PLC0415  (loads pydicom)

    excludes = partial(exclusion, secondary_capture=settings.read.secondary_capture)
    return replace(settings.remote, excludes=excludes)


def to_do(settings: SortSettings, files: Files, tally: SortSummary) -> Iterator[SourceFile]:
    """Yield what the merged manifest does not hold yet; count everything."""
    before = _earlier(settings, os.path.abspath(settings.out)) or History("")
    return Admission(before, tally, listed=settings.from_list is not None)(files.find())


@contextmanager
def _supplied(
    settings: SortSettings,
    out: str,
    files: Files,
    admit: Admission,
    spent: StageTimer,
) -> Iterator[Supply]:
    """Supply what is to be done; what had to be unpacked or fetched for it is gone in the end."""
    folder = incoming_of(out)
    if not (settings.shard or settings.task):  # nobody else is at work here
        shutil.rmtree(folder, ignore_errors=True)
    incoming, remotes = Incoming(os.path.join(folder, uuid.uuid4().hex)), files.remotes
    fetching = Fetching(remotes.store_for, incoming, remotes.connections) if remotes else None
    supplying = SupplySettings(settings.archives, settings.copies)
    todo = admit(spent.making("walk", files.find()))
    supply = Supply(todo, partial(admit, inside=True), supplying, incoming, fetching)
    try:
        yield supply
    finally:
        supply.close()
        remotes.close()


@contextmanager
def _output(
    settings: SortSettings, out: str, panel: ModelSet, tally: SortSummary
) -> Iterator[tuple[Manifest, History, Decisions]]:
    """Lock the output and open its manifest for a run.

    Yields it, what need not be done again, and what persons decided.
    """
    run, answers = _run_facts(settings, panel), columns_of(panel.bundles)
    told = Told(panel.rejects, panel.compass is not None)
    with (
        _journal_folder(settings, out, run) as folder,
        Manifest.open(folder, answers, panel.tag, run, told) as manifest,
    ):
        decisions = Decisions(out)
        if settings.shard or settings.task:
            before = _earlier(settings, out) if settings.shard else None
            history = manifest.history(settings.retry_failed, already_done.Seen(out, settings.copies), before)
        else:
            tally.taken_back = len(finish(manifest, out, decisions).refused)
            history, found = already_done.held(
                manifest, out, decisions, settings.retry_failed, settings.copies
            )
            tally.by_hand, tally.astray = len(found.moved), dict(found.astray)
        yield manifest, history, decisions


def _earlier(settings: SortSettings, out: str) -> History | None:
    return already_done.earlier(out, settings.layout, settings.roots, settings.retry_failed, settings.copies)


@contextmanager
def _journal_folder(settings: SortSettings, out: str, run: RunFacts) -> Iterator[str]:
    """Yield the folder of the manifest that this run writes: the output's, or that of its shard."""
    if settings.shard is not None:
        with shards.sharing(out, settings.shard) as folder:
            shards.agree(out, run)
            yield folder
    elif settings.task:
        shards.agree(out, run)
        yield shards.folder_of(out, settings.task)
    else:
        shards.check_merged(out)
        yield out


def _end(manifest: Manifest, settings: SortSettings, tally: SortSummary) -> None:
    """Make the manifest whole: every file once, duplicates judged, unless that is for all shards together."""
    manifest.compact()
    if settings.shard or settings.task:
        check_ended(tally)
        manifest.run_file.settled = True
    elif not settings.keep_duplicates:
        ending = SettleSettings(
            os.path.abspath(settings.out), settings.dry_run, settings.placing, settings.pool
        )
        settle(manifest, ending, tally.move)
    if removal.may_remove(tally.statuses) and not (settings.shard or settings.task):
        tally.removed.add(removal.end(manifest, os.path.abspath(settings.out)))
    tally.radiographs = census(manifest.records())
    tally.labels = labels_of(tally.radiographs)
    check_ended(tally)
    if settings.shard is None:
        check_found(tally, settings)


def check(settings: SortSettings) -> list[walk.Root]:
    """Return the roots. Raises UsageError or TargetError, before anything is done, for impossible folders."""
    if not all(settings.roots) or not settings.out:
        raise UsageError("an empty name was given for a folder")
    roots, out = walk.roots_of(settings.roots), os.path.realpath(settings.out)
    for root in (root for root in roots if not names.is_remote(root.path)):
        real = os.path.realpath(root.path)
        if not os.path.lexists(root.path):
            raise UsageError(f"there is no '{escape(root.path)}'")
        if real == out or walk.lies_under(real, out):
            raise UsageError(
                f"'{escape(root.path)}' is, or lies in, --out '{escape(settings.out)}'; choose another"
            )
    if settings.from_list is not None:
        check_list(settings.from_list)
    removal.check(settings.placing.action, settings.follow_links)
    Layout(settings.layout)
    check_source(settings.evidence)
    _check_output(settings, roots, out)
    return roots


def _check_output(settings: SortSettings, roots: Sequence[walk.Root], out: str) -> None:
    if os.path.exists(out) and not os.path.isdir(out):
        raise TargetError(f"--out '{escape(settings.out)}' is a file; choose a folder")
    held = set(os.listdir(out)) if os.path.isdir(out) else set()
    if settings.restart and held:
        _refuse_to_restart(settings.out)
    inside = any(walk.lies_under(out, os.path.realpath(root.path)) for root in roots)
    if inside and settings.from_list is None and {RUN, SHARDS}.isdisjoint(held) and not held <= set(OWN):
        raise UsageError(  # they would be passed over
            f"--out '{escape(settings.out)}' lies in what is sorted and holds other files: "
            "choose a new or empty folder"
        )


def _refuse_to_restart(out: str) -> None:
    if decided := len(Decisions(os.path.realpath(out))):
        raise UsageError(
            f"--restart: '{escape(out)}' holds {decided} decisions of persons; choose another --out, and "
            f"copy {DECISIONS} into it to keep them"
        )
    raise UsageError(f"--restart: '{escape(out)}' is not empty; choose another, or empty it")


def _run_facts(settings: SortSettings, panel: ModelSet) -> RunFacts:
    predictor, head = panel.first, panel.first.bundle.head
    threshold = head.review_below if settings.review_below is None else settings.review_below
    return RunFacts(
        fixed={
            "model": panel.tag,
            "model_sha256": panel.digest,
            "review_below": threshold,
            "layout": settings.layout,
            "keep_duplicates": settings.keep_duplicates,
            "engine": predictor.engine,
            "precision": predictor.precision,
            "evidence": panel.rests_on,
            "max_pixels": settings.read.max_pixels,
            "include_secondary_capture": settings.read.secondary_capture,
            "pictures": settings.read.pictures,
            "archives": settings.archives,
            "roots": [escape(walk.whole(root)) for root in settings.roots],
        },
        facts={
            "action": settings.placing.action.value,
            "relative": settings.placing.relative,
            "verify": settings.placing.verify,
            "dry_run": settings.dry_run,
            "follow_links": settings.follow_links,
            "from_list": settings.from_list and escape(settings.from_list),
            "anatomy": as_json(panel.anatomy),
            "device": predictor.name,
            "batch_size": settings.batch_size or panel.batch_size,
            "workers": settings.pool.workers,
            "timeout": settings.pool.timeout,
            "versions": installed(),
        },
    )


def _admission(settings: SortSettings, manifest: Manifest, history: History, tally: SortSummary) -> Admission:
    """Return what lets through the files that are still to be done."""
    opens = settings.archives and "archives" not in manifest.run_file.fixed  # earlier versions opened none
    return Admission(history, tally, opens, settings.from_list is not None)


def _read(
    supply: Supply,
    settings: SortSettings,
    canvases: Sequence[Preprocessing],
    batch_size: int,
    spent: StageTimer,
    let_go: Callable[[], None],
) -> Generator[Reading, None, None]:
    """Read in worker processes, ahead of the network by a few batches and no more."""
    stop = threading.Event()
    how = HowToRead(canvases, settings.read, supply.incoming, settings.copies, settings.archives)
    read: Any = partial(do, how=how)  # of an archive it returns a generator of answers
    readings = supply.readings(isolation.read_all(read, supply, settings.pool, stop))
    with closing(prefetch(readings, max(_READ_AHEAD, 2 * batch_size), stop, let_go)) as ahead:
        for found, reading in spent.making("wait", ahead, time.monotonic):
            spent.add("header", reading.cost.header)
            spent.add("pixels", reading.cost.pixels)
            yield found, reading


def _count(row: Row, tally: SortSummary, watch: Watch | None) -> None:
    tally.statuses[row.status] += 1
    tally.note(*row.reasons)
    tally.honored += row.reviewed is not None
    if row.label:
        tally.labels[row.label] += 1
    if watch is not None:
        watch(tally)


def check_ended(tally: SortSummary) -> None:
    """Raise InternalError unless every file found ended exactly once."""
    if tally.ended != tally.found:
        raise InternalError(f"{tally.found} files found but {tally.ended} rows written; please report this")


def check_found(tally: SortSummary, settings: SortSettings) -> None:
    """Raise NothingFoundError if there is no file at all, unless because all have been moved."""
    if tally.found or removal.has_moved(settings.placing.action, settings.out):
        return
    if any(map(names.is_remote, settings.roots)):
        raise NothingFoundError("no file found there: look at the address, and at --query if there is one")
    raise NothingFoundError("no file found under the given folders")
