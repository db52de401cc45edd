"""How a run is in figures, as a file for Prometheus: for the textfile collector of its node_exporter."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from dicomsort import __version__
from dicomsort.errors import TargetError
from dicomsort.outcome import Status
from dicomsort.sorting.progress_of import Progress
from dicomsort.sorting.summary import SortSummary
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import escape

EVERY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What is told of an output. statuses: of files that have their row; total: files there are, if known.

    seconds: since the run began; spent: processor seconds by stage. shards, shards_done: of a divided output.
    started, updated: as by `time.time`. exit_code: None while the run goes on, or if that is not known.
    """

    out: str
    statuses: Mapping[Status, int] = field(default_factory=dict)
    total: int | None = None
    rate: float | None = None
    seconds: float | None = None
    spent: Mapping[str, float] = field(default_factory=dict)
    shards: int | None = None
    shards_done: int | None = None
    is_running: bool = True
    started: float | None = None
    updated: float = 0.0
    exit_code: int | None = None


class _Collector:
    """Gives figures to prometheus_client."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield each metric that has a value."""
        told, output = self._figures, escape(self._figures.out)
        files = CounterMetricFamily(
            "dicomsort_files", "Files that have their row in the manifest.", labels=["output", "status"]
        )
        for status in Status:
            files.add_metric([output, status.value], told.statuses.get(status, 0))
        yield files
        if told.spent:
            spent = CounterMetricFamily(
                "dicomsort_stage_seconds", "Processor seconds of each stage.", labels=["output", "stage"]
            )
            for stage, seconds in told.spent.items():
                spent.add_metric([output, stage], seconds)
            yield spent
        version = GaugeMetricFamily(
            "dicomsort_build_info", "The version of dicomsort.", labels=["output", "version"]
        )
        version.add_metric([output, __version__], 1)
        yield version
        for name, (value, meaning) in _gauges(told).items():
            if value is not None:
                gauge = GaugeMetricFamily(name, meaning, labels=["output"])
                gauge.add_metric([output], value)
                yield gauge


def _gauges(told: Figures) -> dict[str, tuple[float | None, str]]:
    return {
        "dicomsort_files_found": (told.total, "Files that are to have a row, once all are counted."),
        "dicomsort_files_per_second": (told.rate, "Files a second since those at work began."),
        "dicomsort_run_seconds": (told.seconds, "Seconds since the run began."),
        "dicomsort_shards": (told.shards, "Shards of the output that are known."),
        "dicomsort_shards_done": (told.shards_done, "Shards of the output that are done."),
        "dicomsort_running": (float(told.is_running), "1 while somebody is at work, else 0."),
        "dicomsort_start_time_seconds": (told.started, "When the run began, Unix time."),
        "dicomsort_last_update_timestamp_seconds": (told.updated, "When this was written, Unix time."),
        "dicomsort_exit_code": (told.exit_code, "How the run ended; missing while it goes on."),
    }


def text_of(figures: Figures) -> bytes:
    """Return figures in the text format of Prometheus, version 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(figures))
    return bytes(generate_latest(registry))


def write(path: str, figures: Figures) -> None:
    """Replace a file of figures, whole. Raises TargetError."""
    try:
        with replacing(path, "wb", shared=True) as file:
            file.write(text_of(figures))
    except OSError as error:
        raise TargetError(f"--metrics '{escape(path)}' cannot be written: {error.strerror}") from error


def of_progress(told: Progress) -> Figures:
    """Return what can be seen of an output from outside."""
    return Figures(
        told.out, told.statuses, told.total, told.rate, None, {}, told.parts_known, told.parts_done,
        told.state == "running", told.worker.since if told.worker else None, time.time(),
    )  # fmt: skip


class MetricsFile:
    """A file of the figures of a run of this process, which is replaced every ten seconds, and at its end.

    Also while no file gets its row, so that an old file means that the run is gone. A disk that takes
    nothing ends no run: the file grows old.
    """

    def __init__(self, path: str, out: str, every: float = EVERY_SECONDS) -> None:
        self._path, self._out, self._every = path, os.path.abspath(out), every
        self._started, self._clock = time.time(), time.monotonic()
        self._before: Counter[Status] = Counter()
        self._tally: SortSummary | None = None
        self._passes = 0
        self._shards: tuple[int | None, int | None] = (None, None)
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._work, name="metrics", daemon=True)

    def begin(self) -> None:
        """Write it for the first time. Raises TargetError if that cannot be."""
        write(self._path, self._figures(None))
        self._thread.start()

    def __call__(self, tally: SortSummary) -> None:
        """Tell by this tally from now on."""
        self._tally = tally
        if tally.shards:  # a driver knows of none before all files are found
            self._shards = (tally.shards, tally.shards_done)

    def end_pass(self, tally: SortSummary) -> None:
        """Keep what a pass of a run that watches an inbox has counted; the next one counts anew."""
        with self._lock:
            self._before += tally.statuses
            self._passes, self._tally = self._passes + 1, None

    def end(self, exit_code: int) -> None:
        """Write it for the last time."""
        self._stop.set()
        self._thread.join()
        self._write(exit_code)

    def _work(self) -> None:
        while not self._stop.wait(self._every):
            self._write(None)

    def _write(self, exit_code: int | None) -> None:
        with suppress(TargetError, RuntimeError):  # a tally that grew just now: at the next time
            write(self._path, self._figures(exit_code))

    def _figures(self, exit_code: int | None) -> Figures:
        with self._lock:
            tally, before = self._tally or SortSummary(), Counter(self._before)
        seconds = time.monotonic() - self._clock
        is_first = not self._passes
        rate = max(0, tally.ended - tally.already_done) / max(seconds, 1.0)
        return Figures(
            self._out,
            before + Counter(dict(tally.statuses)),
            total=tally.total if is_first else None,
            rate=rate if is_first else None,
            seconds=seconds,
            spent=dict(tally.spent),
            shards=self._shards[0],
            shards_done=self._shards[1],
            is_running=exit_code is None,
            started=self._started,
            updated=time.time(),
            exit_code=exit_code,
        )


@contextmanager
def writing(path: str, out: str, code_of: Callable[[BaseException | None], int]) -> Iterator[MetricsFile]:
    """Keep a file of figures while the block runs; yields it, to be told the tally. Raises TargetError.

    code_of: which exit code an end means, None for one without an exception.
    """
    file = MetricsFile(path, out)
    file.begin()
    try:
        yield file
    except BaseException as error:
        file.end(code_of(error))
        raise
    file.end(code_of(None))
