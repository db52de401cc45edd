"""How far a command is, on stderr: a live line on a terminal, else a plain line every now and then."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.status import Status as Spinner
from rich.table import Column

from dicomsort.cli import console
from dicomsort.outcome import TROUBLE

if TYPE_CHECKING:
    from dicomsort.sorting.summary import SortSummary


class _Loading:
    """The spinner of a command that is still loading, until there is something else to show."""

    def __init__(self) -> None:
        self._spinner: Spinner | None = None
        self._is_shown = False

    @contextmanager
    def __call__(self, quiet: bool) -> Iterator[None]:
        """Tell on a terminal that the command is loading, until the block or `done` ends that."""
        screen = console.console()
        self._is_shown = not quiet and screen.is_terminal
        self.doing("loading")
        try:
            yield
        finally:
            self.done()
            self._is_shown = False

    def doing(self, what: str) -> None:
        """Tell what goes on now, where a spinner is shown at all; begin again after `done`."""
        if self._spinner is not None:
            self._spinner.update(what)
        elif self._is_shown:
            self._spinner = Spinner(what, console=console.console())
            self._spinner.start()

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
            console.info(f"{self._what}: {self._done}{total}")


@contextmanager
def counting(what: str, total: int | None, quiet: bool) -> Iterator[Counter]:
    """Show the counting of `total` steps (None: unknown) while the block runs."""
    loading.done()
    screen = console.console()
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
            console.info(
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
            console.info(
                f"{tally.ended} of {tally.total or 'an unknown number of'} files, {self._line(tally, now)}"
            )

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
    screen = console.console()
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
