"""The way of a file, from path to row."""

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dicomsort import __version__, reader, walk
from dicomsort.ahead import read_ahead
from dicomsort.bundle import Bundle
from dicomsort.claims import Claims, folds_case
from dicomsort.errors import ExitCode, InternalError, NothingFoundError, TargetError, UsageError
from dicomsort.forecast import Forecast
from dicomsort.journal import Journal
from dicomsort.labels import REVIEW, Decision, decide
from dicomsort.layout import DEFAULT as DEFAULT_LAYOUT
from dicomsort.layout import Layout
from dicomsort.manifest import LOCK, History, Manifest, Record, Row, placement_of
from dicomsort.names import escape
from dicomsort.outcome import TROUBLE, Failure, Found, Picture, Reason, Stamp, Status
from dicomsort.place import Action, Placing, place, remove, stamp_of, stands
from dicomsort.preprocess import Preprocessing
from dicomsort.radiograph import ReadSettings
from dicomsort.runfile import RunFacts
from dicomsort.settle import SettleSettings, settle
from dicomsort.workers import PoolSettings

_PACKAGES = (
    *("imagecodecs", "numpy", "pillow", "pydicom", "torch"),
    *("pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-libjpeg", "pyjpegls", "python-gdcm"),
)
_PLACING_THREADS = 4
_READ_AHEAD_BATCHES = 4

Reading = tuple[Found, Picture | Failure]


class Predictor(Protocol):
    """What turns images into logits; `classifier.Classifier` does."""

    bundle: Bundle

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 logits (n, labels) for uint8 images (n, size, size)."""


@dataclass(frozen=True, slots=True)
class SortSettings:
    """One run of `dicomsort classify`.

    layout: see `layout.Layout`. review_below: 0..1, None for the model's own threshold. restart: the output
    must be new or empty. keep_duplicates: place an image each time it comes.
    """

    roots: tuple[str, ...]
    out: str
    placing: Placing = field(default_factory=Placing)
    layout: str = DEFAULT_LAYOUT
    dry_run: bool = False
    restart: bool = False
    keep_duplicates: bool = False
    batch_size: int = 32
    review_below: float | None = None
    follow_links: bool = False
    retry_failed: bool = False
    read: ReadSettings = field(default_factory=ReadSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)


@dataclass(slots=True)
class Tally:
    """What was found and how it ended. The statuses of files done before are counted in `statuses` too.

    total: files, once all are counted. missing_bytes: how much more space the copies will probably need than
    there is.
    """

    found: int = 0
    already_done: int = 0
    statuses: Counter[Status] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    total: int | None = None
    missing_bytes: int = 0
    seconds: float = 0.0

    @property
    def ended(self) -> int:
        """Files that have a row."""
        return self.statuses.total()

    @property
    def exit_code(self) -> ExitCode:
        """DONE, or SOME_FAILED if any file found ended in trouble, now or before."""
        return ExitCode.SOME_FAILED if any(self.statuses[status] for status in TROUBLE) else ExitCode.DONE

    def as_dict(self) -> dict[str, Any]:
        """Return the tally as JSON values."""
        return {
            "found": self.found,
            "already_done": self.already_done,
            "statuses": {status.value: self.statuses[status] for status in Status},
            "labels": dict(sorted(self.labels.items())),
            "seconds": round(self.seconds, 3),
            "exit_code": int(self.exit_code),
        }


Watch = Callable[[Tally], None]


@dataclass(frozen=True, slots=True)
class _Verdict:
    """A file that was read, and what the model says of it; or a failure, without a decision."""

    found: Found
    reading: Picture | Failure
    decision: Decision | None = None


def sort(settings: SortSettings, predictor: Predictor, watch: Watch | None = None) -> Tally:
    """Sort the files under the roots into the output folder; the manifest tells of every one.

    Raises NothingFoundError, TargetError, UsageError or InternalError; whatever ends it, every row that was
    written stands, and the same call goes on from there.
    """
    started = time.monotonic()
    tally = Tally()
    out = os.path.abspath(settings.out)
    roots = check(settings)
    bundle = predictor.bundle
    with Manifest(out, bundle.head.labels, bundle.tag, _run_facts(settings, predictor)) as manifest:
        history = manifest.history(settings.retry_failed, partial(_is_there, out=out))
        found = walk.find(roots, avoid=out, follow_links=settings.follow_links)
        todo = _not_done(_counted(found, tally), history, tally)
        readings = _read(todo, settings, bundle)
        verdicts = _decided(readings, predictor, settings)
        rows = _placed(verdicts, _Placer(settings, out, _claims(manifest, out, settings)))
        ahead = walk.find(roots, avoid=out, follow_links=settings.follow_links)
        copies = settings.placing.action is Action.COPY and not settings.dry_run
        with Journal(manifest, out) as journal, closing(rows), Forecast(ahead, out, copies) as forecast:
            for row in rows:
                journal.write(row)
                forecast.look_at(row)
                tally.total, tally.missing_bytes = forecast.files, forecast.missing_bytes
                _count(row, tally, watch)
        manifest.compact()
        if not settings.keep_duplicates:
            ending = SettleSettings(out, settings.dry_run, settings.placing, settings.pool)
            settle(manifest, ending, partial(_move, tally))
        tally.labels = _census(manifest)
    tally.seconds = time.monotonic() - started
    _check(tally)
    return tally


def check(settings: SortSettings) -> list[walk.Root]:
    """Return the roots. Raises UsageError or TargetError, before anything is done, for impossible folders."""
    if not all(settings.roots) or not settings.out:
        raise UsageError("an empty name was given for a folder")
    roots, out = walk.roots_of(settings.roots), os.path.realpath(settings.out)
    for root in roots:
        real = os.path.realpath(root.path)
        if not os.path.lexists(root.path):
            raise UsageError(f"there is no '{escape(root.path)}'")
        if real == out or walk.lies_under(real, out):
            raise UsageError(
                f"'{escape(root.path)}' is, or lies in, --out '{escape(settings.out)}'; choose another"
            )
    Layout(settings.layout)
    if settings.restart and os.path.isdir(out) and os.listdir(out):
        raise UsageError(f"--restart: '{escape(settings.out)}' is not empty; choose another, or empty it")
    if os.path.exists(out) and not os.path.isdir(out):
        raise TargetError(f"--out '{escape(settings.out)}' is a file; choose a folder")
    return roots


def _run_facts(settings: SortSettings, predictor: Predictor) -> RunFacts:
    head, model = predictor.bundle.head, predictor.bundle
    threshold = head.review_below if settings.review_below is None else settings.review_below
    return RunFacts(
        fixed={
            "model": model.tag,
            "model_sha256": model.digest,
            "review_below": threshold,
            "layout": settings.layout,
            "keep_duplicates": settings.keep_duplicates,
            "max_pixels": settings.read.max_pixels,
            "include_secondary_capture": settings.read.secondary_capture,
            "roots": [escape(os.path.abspath(root)) for root in settings.roots],
        },
        facts={
            "action": settings.placing.action.value,
            "relative": settings.placing.relative,
            "verify": settings.placing.verify,
            "dry_run": settings.dry_run,
            "follow_links": settings.follow_links,
            "batch_size": settings.batch_size,
            "workers": settings.pool.workers,
            "timeout": settings.pool.timeout,
            "versions": _versions(),
        },
    )


def _versions() -> dict[str, str]:
    """Name the versions of what can change a result, as far as it is installed."""
    versions = {"dicomsort": __version__}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def _counted(found: Iterable[Found], tally: Tally) -> Iterator[Found]:
    for file in found:
        tally.found += 1
        yield file


def _not_done(found: Iterable[Found], history: History, tally: Tally) -> Iterator[Found]:
    """Pass on what the manifest does not hold yet, or holds in another size or with another time."""
    for file in found:
        stamp = _stamp(file.path) if history else None
        status = history.status(file.path, stamp) if stamp else None
        if status is None:
            yield replace(file, previous=history.placement(file.path))
        else:
            tally.already_done += 1
            tally.statuses[status] += 1


def _read(todo: Iterable[Found], settings: SortSettings, bundle: Bundle) -> Generator[Reading, None, None]:
    """Read in worker processes, ahead of the network by a few batches and no more."""
    stop = threading.Event()
    read = partial(_read_found, preprocessing=bundle.preprocessing, settings=settings.read)
    readings = reader.read_all(read, todo, settings.pool, stop)
    return read_ahead(readings, settings.batch_size * _READ_AHEAD_BATCHES, stop)


def _read_found(found: Found, preprocessing: Preprocessing, settings: ReadSettings) -> Picture | Failure:
    return found.failure or reader.read_dicom(found.path, preprocessing, settings)


def _decided(
    readings: Generator[Reading, None, None], predictor: Predictor, settings: SortSettings
) -> Generator[_Verdict, None, None]:
    """Predict in batches; failures pass at once."""
    batch: list[tuple[Found, Picture]] = []
    with closing(readings):
        for found, reading in readings:
            if isinstance(reading, Failure):
                yield _Verdict(found, reading)
            else:
                batch.append((found, reading))
            if len(batch) == settings.batch_size:
                yield from _predict(batch, predictor, settings)
                batch = []
        if batch:
            yield from _predict(batch, predictor, settings)


def _predict(
    batch: list[tuple[Found, Picture]], predictor: Predictor, settings: SortSettings
) -> Iterator[_Verdict]:
    head = predictor.bundle.head
    logits = predictor.logits(np.stack([picture.image for _, picture in batch]))
    for (found, picture), scores in zip(batch, head.scores(logits), strict=True):
        yield _Verdict(found, picture, decide(scores, head, settings.review_below))


def _placed(verdicts: Generator[_Verdict, None, None], placer: "_Placer") -> Generator[Row, None, None]:
    """Place in threads beside the rest; rows come in the order of the verdicts."""
    waiting: deque[Future[Row]] = deque()
    window = 2 * placer.settings.batch_size + _PLACING_THREADS
    executor = ThreadPoolExecutor(_PLACING_THREADS, thread_name_prefix="place")
    try:
        with closing(verdicts):
            for verdict in verdicts:
                waiting.append(executor.submit(placer.row, verdict))
                while waiting and (waiting[0].done() or len(waiting) > window):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


class _Placer:
    """Places files and writes down what happened to each."""

    def __init__(self, settings: SortSettings, out: str, claims: Claims) -> None:
        self.settings, self._out, self._claims = settings, out, claims
        self._layout = Layout(settings.layout)

    def row(self, verdict: _Verdict) -> Row:
        """Do with one file what the verdict says."""
        found, reading, decision = verdict.found, verdict.reading, verdict.decision
        stamp = reading.stamp or _stamp(found.path)
        if isinstance(reading, Failure):
            return self._failed(found, reading, stamp)
        assert decision is not None  # noqa: S101
        folder = REVIEW if decision.review else decision.label
        reasons = (Reason.BELOW_THRESHOLD if decision.review else Reason.NONE, *reading.remarks)
        row = Row(
            path=found.path,
            status=Status.PLANNED,
            reasons=reasons,
            label=decision.label,
            confidence=decision.confidence,
            destination=self._layout.destination(folder, found.relpath, reading.header),
            header=reading.header,
            scores=decision.scores,
            stamp=stamp,
        )
        return self._in_place(row, found, decision.review)

    def _in_place(self, row: Row, found: Found, review: bool) -> Row:
        """Place the file of a planned row, unless this is a dry run."""
        before = found.previous.destination if found.previous else None
        if row.destination != before and not self._claims.grant(row.destination):
            if before is not None and not self.settings.dry_run:
                _withdraw(found, self._out)
                self._claims.free(before)
            return replace(row, status=Status.IO_ERROR, reasons=(Reason.DESTINATION_TAKEN, *row.reasons))
        if self.settings.dry_run:
            return row
        _withdraw(found, self._out)
        placed = place(found.path, os.path.join(self._out, row.destination), self.settings.placing, row.stamp)
        if placed.action is None:
            taken = placed.reason is Reason.DESTINATION_TAKEN
            destination = row.destination if taken else ""
            reasons = (placed.reason, *row.reasons)
            return replace(row, status=Status.IO_ERROR, reasons=reasons, destination=destination)
        status = Status.REVIEW if review else Status.SORTED
        return replace(row, status=status, action=placed.action.value, sha256=placed.sha256)

    def _failed(self, found: Found, failure: Failure, stamp: Stamp | None) -> Row:
        """Write down a failure. What was placed before goes, unless the file just cannot be read now."""
        row = Row(found.path, failure.status, (failure.reason,), header=failure.header, stamp=stamp)
        if found.previous is None:
            return row
        if failure.status in (Status.IO_ERROR, Status.CRASH, Status.TIMEOUT):
            before = found.previous
            return replace(row, action=before.action, destination=before.destination, stamp=before.stamp)
        _withdraw(found, self._out)
        return row


def _claims(manifest: Manifest, out: str, settings: SortSettings) -> Claims:
    needed, folds = not Layout(settings.layout).follows_sources, folds_case(out, LOCK)
    records = manifest.records() if needed or folds else iter(())
    return Claims(needed, folds, (placement_of(record).destination for record in records if record["action"]))


def _is_there(record: Record, out: str) -> bool:
    """Tell whether what a row says was placed still stands there; true if nothing was placed."""
    if not record["action"] or not record["destination"]:
        return True
    placement = placement_of(record)
    return stands(os.path.join(out, placement.destination), placement)


def _withdraw(found: Found, out: str) -> None:
    """Remove what was placed of a file before it changed, if nobody else has changed that."""
    if found.previous is not None:
        with suppress(OSError):
            remove(found.path, os.path.join(out, found.previous.destination), found.previous)


def _stamp(path: str) -> Stamp | None:
    try:
        return stamp_of(path)
    except OSError:
        return None


def _count(row: Row, tally: Tally, watch: Watch | None) -> None:
    tally.statuses[row.status] += 1
    if row.label:
        tally.labels[row.label] += 1
    if watch is not None:
        watch(tally)


def _move(tally: Tally, before: Status, after: Status) -> None:
    if before is not after and tally.statuses[before]:
        tally.statuses[before] -= 1
        tally.statuses[after] += 1


def _census(manifest: Manifest) -> Counter[str]:
    """Count the radiographs of the output by label."""
    shown = {Status.SORTED, Status.REVIEW, Status.PLANNED}
    return Counter(
        record["label"] for record in manifest.records() if record["label"] and record["status"] in shown
    )


def _check(tally: Tally) -> None:
    """Raise InternalError unless every file found ended exactly once."""
    if tally.ended != tally.found:
        raise InternalError(f"{tally.found} files found but {tally.ended} rows written; please report this")
    if tally.found == 0:
        raise NothingFoundError("no file found under the given folders")
