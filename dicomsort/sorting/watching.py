"""An inbox that fills: look, sort what is new and quiet, and look again, until somebody asks for an end."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from typing import Any, Protocol

from dicomsort.errors import DicomsortError, NothingFoundError, TargetError, UsageError
from dicomsort.inputs.named import Files
from dicomsort.inputs.names import is_remote
from dicomsort.inputs.once import Once
from dicomsort.inputs.quiet import QuietFiles
from dicomsort.manifest.names import RUN
from dicomsort.outcome import TROUBLE, SourceFile
from dicomsort.sorting import health, pipeline
from dicomsort.sorting.health import Health
from dicomsort.sorting.pipeline import SortSettings
from dicomsort.sorting.summary import SortSummary, Watch
from dicomsort.system.escaping import escape
from dicomsort.system.stopping import Stop

_BEAT_SECONDS = 5.0
_REST_OF_LOOK, _REST_OF_PASS = (
    9,
    1,
)  # times as long as it took, at least: looks that find nothing cost a tenth


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """every: seconds between two looks. quiet_for: seconds for which a file must not have changed.

    clock: what tells the time in seconds, from any beginning.
    """

    every: float = 30.0
    quiet_for: float = 30.0
    clock: Callable[[], float] = time.monotonic


class Sort(Protocol):
    """What sorts files into the output; `pipeline.sort` with its models."""

    def __call__(self, settings: SortSettings, files: Files, watch: Watch) -> SortSummary:
        """Sort them; watch: called after every file. Raises as `pipeline.sort` does."""


class Told(Protocol):
    """Who is told how it goes."""

    def sorted(self, summary: SortSummary) -> None:
        """Take the summary of a pass."""

    def failed(self, error: DicomsortError) -> None:
        """Take why a look came to nothing, once until another reason comes; the next one tries again."""


def watch(settings: SortSettings, timing: WatchSettings, sort: Sort, stop: Stop, told: Told) -> Health:
    """Sort what comes into the inbox, pass by pass, until `stop`; returns how it was in the end.

    What cannot be right (another model, other settings) ends it at the start, as it ends `pipeline.sort`. A
    pass that fails later on, because the disk is full, or another command has the output for a while, is told
    and tried again.
    """
    watching = _Watching(settings, timing, sort, stop, told)
    watching.begin()
    try:
        while not stop():
            began = time.monotonic()
            factor = _REST_OF_PASS if watching.look() else _REST_OF_LOOK
            stop.wait(max(timing.every, factor * (time.monotonic() - began)))
    finally:
        watching.note(state=health.STOPPED)
    return watching.health


class _Watching:
    """The inbox, what is known of it, and how it goes."""

    def __init__(
        self, settings: SortSettings, timing: WatchSettings, sort: Sort, stop: Stop, told: Told
    ) -> None:
        self._inbox = pipeline.archive_of(settings)
        self._settings, self._out = settings, os.path.abspath(settings.out)
        self._sort, self._stop, self._told = sort, stop, told
        self._quiet = QuietFiles(timing.quiet_for, timing.clock)
        self._written = 0.0
        self.health = Health(started=health.now(), pid=os.getpid(), every=timing.every)

    def begin(self) -> None:
        """Sort nothing, once: that ends what an earlier run has left, and finds what contradicts."""
        with suppress(NothingFoundError):
            self._sort(self._settings, Once(iter(()), self._inbox), lambda _: None)
        self._settings = replace(self._settings, restart=False)
        self.note()

    def look(self) -> bool:
        """Look once, and sort what is new and quiet; returns whether there was any. Trouble is noted."""
        first: SourceFile | None = None
        try:
            self._check()
            new = self._quiet.look(takewhile(lambda _: not self._stop(), self._inbox.find()))
            first = next(new, None)
            if first is not None:
                self._pass(chain([first], new))
            self.note(error="", error_time="")
        except DicomsortError as error:
            if str(error) != self.health.error:
                self._told.failed(error)
            self.note(error=str(error), error_time=self.health.error_time or health.now())
        return first is not None

    def _check(self) -> None:
        """Raise UsageError or TargetError if inbox or output are not there just now, as while unmounted."""
        for root in self._settings.roots:
            if not is_remote(root) and not os.path.lexists(root):
                raise UsageError(f"there is no '{escape(root)}' just now")
        if not os.path.exists(os.path.join(self._out, RUN)):
            raise TargetError(f"there is no '{escape(self._out)}' with its {RUN} just now")

    def _pass(self, files: Iterator[SourceFile]) -> None:
        before = self.health
        self.note(state=health.SORTING)

        def beat(tally: SortSummary) -> None:
            if time.monotonic() - self._written > _BEAT_SECONDS:
                self.note(state=health.SORTING, **_counted(before, tally))

        summary = self._sort(self._settings, Once(files, self._inbox), beat)
        self._quiet.confirm()
        self.note(passes=before.passes + 1, **_counted(before, summary))
        self._told.sorted(summary)

    def note(self, **changes: Any) -> None:
        """Write down how it goes; it is watching, unless something else is said."""
        self._written = time.monotonic()
        plain = {"state": health.WATCHING, "time": health.now(), "waiting": self._quiet.waiting}
        self.health = replace(self.health, **{**plain, **changes})
        health.write(self._out, self.health)


def _counted(before: Health, tally: SortSummary) -> dict[str, int]:
    """Return how many files have been sorted since the start, and how many of all met are in trouble."""
    failures = sum(tally.statuses[status] for status in TROUBLE)
    return {
        "files": before.files + tally.ended - tally.already_done,
        "failures": before.failures + failures,
    }
