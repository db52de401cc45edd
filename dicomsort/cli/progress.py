"""How far a command is, on stderr: a live line on a terminal, else a plain line every now and then."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dicomsort.cli import console
from dicomsort.outcome import TROUBLE
from dicomsort.system import streams
from dicomsort.system.telling import size_told

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.status import Status as Spinner

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
            from dicomsort.cli import bars  # noqa: PLC0415

            streams.end_announcement()
            self._spinner = bars.spinner(what, console.console())
            self._spinner.start()

    def done(self) -> None:
        """Take the spinner away, if there is one."""
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None


loading = _Loading()


class Counter:
    """Counts steps, of a known number or not: a bar on a terminal, else a line now and then, or nothing."""

    def __init__(
        self, progress: "Progress | None", total: int | None, what: str, quiet: bool = False
    ) -> None:
        self._progress, self._total, self._what, self._quiet = progress, total, what, quiet
        self._task = progress.add_task(what, total=total) if progress else None
        self._done, self._said = 0, time.monotonic()

    def expect(self, total: int) -> None:
        """Tell how many steps there will be, once that is known."""
        self._total = total
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, total=total)

    def __call__(self, steps: int = 1) -> None:
        """Count steps."""
        self._done += steps
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, steps)
        elif not self._quiet and time.monotonic() - self._said > 30:
            self._said = time.monotonic()
            total = "" if self._total is None else f" of {self._total}"
            console.info(f"{self._what}: {self._done}{total}")


@contextmanager
def counting(what: str, total: int | None, quiet: bool) -> Iterator[Counter]:
    """Show the counting of `total` steps (None: unknown) while the block runs."""
    loading.done()
    screen = console.console()
    if quiet or not screen.is_terminal:
        yield Counter(None, total, what, quiet)
        return
    from dicomsort.cli import bars  # noqa: PLC0415

    streams.end_announcement()
    with bars.counting(screen) as progress:
        yield Counter(progress, total, what)


class _Sorting:
    """The progress of a sorting run: a live line on a terminal, else a plain line now and then."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._warned = quiet, False
        self._progress: Progress | None = None
        self._started = self._said = time.monotonic()
        self._waited = 0.0
        self._facts: Sequence[str] = ("looking for what is new",)

    def shown_by(self, progress: "Progress") -> None:
        """Show it by a bar from now on."""
        self._progress = progress
        self._task = progress.add_task("sorting", total=None)

    def doing(self, what: str) -> None:
        """Tell what goes on before the first file has its row."""
        self._facts = (what,)

    def facts(self) -> Sequence[str]:
        """Return what is told beside the bar, what matters most first."""
        return self._facts

    def __call__(self, tally: "SortSummary") -> None:
        """Show the tally, not more often than a person can read."""
        now = time.monotonic()
        if tally.missing_bytes and not self._warned:
            self._warned = True
            console.info(
                f"warning: the copies will probably need {size_told(tally.missing_bytes)} more than is free"
            )
        self._waits(tally.waiting, now)
        if self._progress is not None:
            if now - self._said > 0.1:
                self._said = now
                self._facts = self._told(tally, now)
                self._progress.update(self._task, total=tally.total, completed=tally.ended + tally.collected)
        elif not self._quiet and now - self._said > 10:
            self._said = now
            line = ", ".join(self._told(tally, now))
            console.info(f"{tally.ended} of {tally.total or 'an unknown number of'} files, {line}")

    def _waits(self, what: str, now: float) -> None:
        """Tell what is waited for: where there is no bar in one line, and every minute again."""
        is_new = bool(what) and not self._waited
        if self._progress is None and not self._quiet and what and (is_new or now - self._waited > 60):
            console.info(what)
            self._waited = now
        if self._waited and not what:
            self._waited, self._started = 0.0, now

    def _told(self, tally: "SortSummary", now: float) -> list[str]:
        if tally.waiting:
            return [tally.waiting]
        if tally.total and tally.ended >= tally.total:
            return ["finishing: duplicates and the manifest"]
        if tally.collected:
            return [f"{tally.collected} images read, whose studies wait for their answer"]
        if tally.ended == tally.already_done and not tally.shards:
            return [f"{'done before, ' * bool(tally.already_done)}looking for what is new"]
        rate = (tally.ended - tally.already_done) / max(now - self._started, 1e-3)
        parts = [f"shards {tally.shards_done}/{tally.shards}"] if tally.shards else []
        parts += [f"{rate:.1f} files/s"]
        parts += [
            f"{status} {tally.statuses[status]}" for status in sorted(TROUBLE) if tally.statuses[status]
        ]
        labels = ", ".join(f"{label} {count}" for label, count in sorted(tally.labels.items()))
        return [*parts, labels] if labels else parts


@contextmanager
def sorting(quiet: bool) -> Iterator[_Sorting]:
    """Show a sorting run while the block runs."""
    loading.done()
    screen, shown = console.console(), _Sorting(quiet)
    if quiet or not screen.is_terminal:
        yield shown
        return
    from dicomsort.cli import bars  # noqa: PLC0415

    streams.end_announcement()
    with bars.sorting(screen, shown.facts) as progress:
        shown.shown_by(progress)
        yield shown
