"""What a person sees: progress, tables and lines, on stderr; results for machines go to stdout."""

import json
import math
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.status import Status as Spinner
from rich.table import Column, Table
from rich.text import Text

from dicomsort.errors import TargetError
from dicomsort.outcome import TROUBLE, Reason, Status
from dicomsort.system import streams
from dicomsort.system.reporting import Count

if TYPE_CHECKING:
    from dicomsort.data.dataset import Unread
    from dicomsort.sorting.merge import MergeResult
    from dicomsort.sorting.summary import Radiographs, SortSummary
    from dicomsort.training.cross_validation import Summary
    from dicomsort.training.trainer import Epoch

_MOST = 8
_PLACES = {
    "sorted": "sorted",
    "review": "review",
    "planned": "planned for its class",
    "planned_review": "planned for review",
}
"""The places of `summary.PLACES` in a person's words."""
_SHOWN = (
    "accuracy", "subset_accuracy", "precision_macro", "recall_macro", "f1_macro", "kappa", "auc_macro",
    "log_loss", "ece",
)  # fmt: skip


def console() -> Console:
    """Return a console on stderr that takes names as they are: no markup, no emoji, no colors by guess."""
    width = None if sys.stderr.isatty() else 120
    return Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True, width=width)


def plain(text: str) -> str:
    """Escape what could move a cursor or break a line: control, format and undecodable characters."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode()
        for char in text
    )


def files(count: int) -> str:
    """Return a number of files in words."""
    return "1 file" if count == 1 else f"{count} files"


def info(message: str) -> None:
    """Print one line to stderr."""
    print(f"dicomsort: {plain(message)}", file=sys.stderr, flush=True)  # noqa: T201


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object, and nothing else, to stdout. Raises TargetError if it cannot be written."""
    try:
        print(json.dumps(value), flush=True)  # noqa: T201
    except OSError as error:
        raise no_stdout(error) from error


def no_stdout(error: OSError) -> TargetError:
    """Say that standard output, a full disk or a closed pipe, takes nothing."""
    streams.give_up_stdout()
    return TargetError(f"standard output cannot be written: {error.strerror}")


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> None:
    """Print a table to stderr; `right` are the indices of the columns that hold numbers.

    Where the terminal is too narrow, the widest columns are, and their texts go on in the next line.
    """
    drawn = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0)
    for index, column in enumerate(columns):
        drawn.add_column(column, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(plain(cell)) for cell in row))
    console().print(drawn)


class _Loading:
    """The spinner of a command that is still loading, until there is something else to show."""

    def __init__(self) -> None:
        self._spinner: Spinner | None = None

    @contextmanager
    def __call__(self, quiet: bool) -> Iterator[None]:
        """Tell on a terminal that the command is loading, until the block or `done` ends that."""
        screen = console()
        if not quiet and screen.is_terminal:
            self._spinner = Spinner("loading", console=screen)
            self._spinner.start()
        try:
            yield
        finally:
            self.done()

    def done(self) -> None:
        """Take the spinner away, if there is one."""
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None


loading = _Loading()


class Counter:
    """Counts steps, of a known number or not: a bar on a terminal, else a line every now and then."""

    def __init__(self, progress: Progress | None, total: int | None, what: str) -> None:
        self._progress, self._total, self._what = progress, total, what
        self._task = progress.add_task(what, total=total) if progress else None
        self._done, self._said = 0, time.monotonic()

    def __call__(self, steps: int = 1) -> None:
        """Count steps."""
        self._done += steps
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, steps)
        elif time.monotonic() - self._said > 30:
            self._said = time.monotonic()
            total = "" if self._total is None else f" of {self._total}"
            info(f"{self._what}: {self._done}{total}")


@contextmanager
def counting(what: str, total: int | None, quiet: bool) -> Iterator[Counter]:
    """Show the counting of `total` steps (None: unknown) while the block runs."""
    loading.done()
    screen = console()
    if quiet or not screen.is_terminal:
        yield Counter(None, total, what)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen, transient=True) as progress:
        yield Counter(progress, total, what)


class _Sorting:
    """The progress of a sorting run: a live line on a terminal, else a plain line now and then."""

    def __init__(self, progress: Progress | None, quiet: bool) -> None:
        self._progress, self._quiet, self._warned = progress, quiet, False
        self._task = progress.add_task("sorting", total=None) if progress else None
        self._started = self._said = time.monotonic()

    def __call__(self, tally: "SortSummary") -> None:
        """Show the tally, not more often than a person can read."""
        now = time.monotonic()
        if tally.missing_bytes and not self._warned:
            self._warned = True
            info(
                f"warning: the copies will probably need {tally.missing_bytes / 1e9:.1f} GB more than is free"
            )
        if self._progress is not None and self._task is not None:
            if now - self._said > 0.1:
                self._said = now
                total = tally.total if tally.total is not None else None
                self._progress.update(
                    self._task, total=total, completed=tally.ended, description=self._line(tally, now)
                )
        elif not self._quiet and now - self._said > 10:
            self._said = now
            info(f"{tally.ended} of {tally.total or 'an unknown number of'} files, {self._line(tally, now)}")

    def _line(self, tally: "SortSummary", now: float) -> str:
        rate = (tally.ended - tally.already_done) / max(now - self._started, 1e-3)
        parts = [f"shards {tally.shards_done}/{tally.shards}"] if tally.shards else []
        parts += [f"{rate:.1f} files/s"]
        parts += [
            f"{status} {tally.statuses[status]}" for status in sorted(TROUBLE) if tally.statuses[status]
        ]
        parts += [f"{label} {count}" for label, count in sorted(tally.labels.items())]
        return ", ".join(parts)


@contextmanager
def sorting(quiet: bool) -> Iterator[_Sorting]:
    """Show a sorting run while the block runs."""
    loading.done()
    screen = console()
    if quiet or not screen.is_terminal:
        yield _Sorting(None, quiet)
        return
    columns = (
        BarColumn(20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
    )
    with Progress(*columns, console=screen, transient=True, expand=True) as progress:
        yield _Sorting(progress, quiet)


def taken_back(count: int) -> str:
    """Return what is said of earlier decisions that could not be carried out."""
    return f"decisions on {files(count)} could not be carried out: decide on them again"


def report_summary(tally: "SortSummary", out: str, shard: str | None = None) -> None:
    """Print what a run found and where it is. shard: which one this was, if it was one."""
    rows = [[status.value, str(count)] for status in Status if (count := tally.statuses[status])]
    rows.append(["found", str(tally.found)])
    table("files by status", ["status", "files"], rows, right=(1,))
    _radiographs(tally.radiographs)
    if tally.by_hand:
        info(f"{files(tally.by_hand)} had been moved by hand within the output: taken for decisions")
    for folder, count in tally.astray.items():
        one = "stays there, and its source was" if count == 1 else "stay there, and their sources were"
        info(f"{files(count)} had been moved to '{folder}', which is no class: {one} placed again")
    if tally.honored:
        info(f"honored what people had decided on {files(tally.honored)}")
    if tally.taken_back:
        info(taken_back(tally.taken_back))
    if tally.already_done:
        info(f"{tally.already_done} already done before")
    if shard is None:
        info(f"{tally.seconds:.1f} s; every file has its row in {out}/manifest.csv")
        _go_on(tally.statuses, out)
    else:
        info(f"{tally.seconds:.1f} s; shard {shard} is done; once all are: dicomsort merge {out}")


def _radiographs(found: "Radiographs") -> None:
    """Print a row for each label, and a column for each place where some are."""
    places = [place for place in _PLACES if any(counts[place] for counts in found.values())]
    rows = [
        [label, *(str(counts[place]) for place in places), str(counts.total())]
        for label, counts in sorted(found.items())
    ]
    if rows:
        columns = ["label", *(_PLACES[place] for place in places), "files"]
        table("radiographs in the output by label", columns, rows, right=range(1, len(columns)))


def _go_on(statuses: Mapping[Status, int], out: str) -> None:
    """Print with which commands a person goes on from an output."""
    folder = shlex.quote(out)
    if statuses[Status.PLANNED]:
        info(f"to go on: dicomsort report {folder}")
        info(f"and if that is right: dicomsort apply {folder}")
    elif statuses[Status.REVIEW]:
        info(f"to go on: dicomsort review {folder}")
    if not statuses[Status.PLANNED]:
        info(f"all at a glance: dicomsort report {folder}")


def report_spent(tally: "SortSummary") -> None:
    """Print where the time went."""
    spent = dict(tally.spent)
    waited, network = spent.pop("wait", 0.0), spent.pop("network", 0.0)
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in spent.items())
    info(
        f"processor seconds: {stages}; network {network:.1f} s in its lanes; "
        f"waited {waited:.1f} of {tally.seconds:.1f} s for files to be read"
    )


def report_done(done: str, left: Mapping[str, int], quiet: bool) -> None:
    """Report what a command has done, and what it has left."""
    if not quiet:
        info(done)
    for reason, count in left.items():
        info(f"{count} left: {reason}")


def report_merged(merged: "MergeResult", out: str, quiet: bool) -> None:
    """Report what a merged manifest holds, and which shards are still to be done."""
    if merged.missing:
        some = ", ".join(merged.missing[:_MOST]) + ", ..." * (len(merged.missing) > _MOST)
        info(f"{len(merged.missing)} shards are still to be done: --shard {some}; then merge again")
    if merged.taken_back:
        info(taken_back(merged.taken_back))
    if not quiet:
        rows = [[status, str(count)] for status, count in sorted(merged.statuses.items())]
        table("files by status", ["status", "files"], rows, right=(1,))
        _radiographs(merged.radiographs)
        info(f"{merged.shards} shards joined; {merged.rows} files have their row in {out}/manifest.csv")
        if not merged.missing:
            _go_on(merged.statuses, out)


_HINTS = {
    Reason.ARCHIVE: (
        "archive was not opened (7z, rar or iso; with --no-archives any): unpack it and run again",
        "archives were not opened (7z, rar or iso; with --no-archives any): unpack them and run again",
    ),
    Reason.NESTED: (
        "archive lies in one that lies in another, and was not opened: unpack the outer one and run again",
        "archives lie in one that lies in another, and were not opened: unpack the outer ones and run again",
    ),
    Reason.PICTURE: (
        "picture is not DICOM and was not read: --pictures, and another --out, sorts it too",
        "pictures are not DICOM and were not read: --pictures, and another --out, sorts them too",
    ),
    Reason.VIDEO: (
        "video was not read: save the frames that matter as pictures, and see --pictures",
        "videos were not read: save the frames that matter as pictures, and see --pictures",
    ),
    Reason.EMPTY_FOLDER: (
        "folder is empty: see whether something is still to come there, or is not mounted",
        "folders are empty: see whether something is still to come there, or is not mounted",
    ),
}
"""What is said of one, and of several."""


def report_hints(hints: Mapping[Reason, int]) -> None:
    """Report what may hold radiographs and was not read, and what to do about it."""
    for reason, (one, several) in _HINTS.items():
        if count := hints.get(reason, 0):
            info(f"{count} {one if count == 1 else several}")


def report_picture(target: str, remarks: Iterable[str], quiet: bool) -> None:
    """Report that a picture was written, and what was unusual about it."""
    if not quiet:
        info(f"wrote {target}" + "".join(f" ({remark})" for remark in remarks))


def _report_epoch(epoch: "Epoch", fold: str = "") -> None:
    """Report an epoch of a training."""
    info(
        f"{fold}epoch {epoch.number}: loss {epoch.loss:.4f}, validation macro F1 {epoch.f1_macro:.4f}, "
        f"macro recall {epoch.recall_macro:.4f}, {epoch.seconds:.0f} s"
    )


def _report_folds(summary: "Summary") -> None:
    """Report the figures of a cross-validation: of each fold, mean, spread, and of all answers."""
    for head, figures in summary.figures.items():
        shown = [name for name in _SHOWN if name in figures]
        rows = [
            [fold, *(_number(figures[name].values[at]) for name in shown)]
            for at, fold in enumerate(summary.folds)
        ]
        rows.append(["mean", *(_number(figures[name].mean) for name in shown)])
        rows.append(["deviation", *(_number(figures[name].deviation) for name in shown)])
        pooled = summary.pooled[head]["overall"]
        for which, name in (("all answers", "value"), ("95 % from", "low"), ("to", "high")):
            rows.append([which, *(_number(pooled[figure][name]) for figure in shown)])
        table(f"{head}: figures by fold", ["fold", *shown], rows, right=range(1, len(shown) + 1))


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def report_lines(lines: Iterable[str]) -> None:
    """Print what a person must know, even with --quiet."""
    for line in lines:
        info(line)


def report_failures(failures: "Sequence[Unread]") -> None:
    """Report the first files that could not be read."""
    shown = 10
    for sample, failure in failures[:shown]:
        info(f"not read: {sample.name}: {failure.status}: {failure.reason}")
    if len(failures) > shown:
        info(f"... and {len(failures) - shown} more that were not read")


class ConsoleReporter:
    """Reports the progress of a training on the console; a quiet one only what a person must see."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def info(self, line: str) -> None:
        """Print a line, unless quiet."""
        if not self._quiet:
            info(line)

    def warn(self, line: str) -> None:
        """Print a line."""
        info(line)

    def counting(self, what: str, total: int | None) -> AbstractContextManager[Count]:
        """Show the counting of `total` steps while the block runs."""
        return counting(what, total, self._quiet)

    def unread(self, found: "Sequence[Unread]") -> None:
        """Report the first files that could not be read."""
        report_failures(found)

    def epoch(self, epoch: "Epoch") -> None:
        """Report an epoch."""
        if not self._quiet:
            _report_epoch(epoch)

    def fold_epoch(self, fold: str, epoch: "Epoch") -> None:
        """Report an epoch of one fold."""
        if not self._quiet:
            _report_epoch(epoch, f"{fold}, ")

    def folds(self, summary: "Summary") -> None:
        """Report the figures of a cross-validation."""
        if not self._quiet:
            _report_folds(summary)
