"""`--metrics`: figures of a run for Prometheus, in a file."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from dicomsort.cli import log_file
from dicomsort.cli.shown import MESSAGES
from dicomsort.errors import DicomsortError, ExitCode, check_installed

if TYPE_CHECKING:
    from dicomsort.sorting.summary import SortSummary

Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="FILE",
        rich_help_panel=MESSAGES,
        help="Write figures for Prometheus there, every ten seconds and at the end.",
    ),
]
Watch = Callable[["SortSummary"], None]


class Take(Protocol):
    """Who is given the tally of a run, to write figures of it."""

    def __call__(self, tally: "SortSummary") -> None:
        """Take how far it is."""

    def end_pass(self, tally: "SortSummary") -> None:
        """Take how a pass ended, of a run that watches an inbox."""


class Nobody:
    """Takes nothing, where no figures are wanted."""

    def __call__(self, tally: "SortSummary") -> None:
        """Take nothing."""

    def end_pass(self, tally: "SortSummary") -> None:
        """Take nothing."""


def check(file: str | None, inputs: Iterable[str] | None = None, out: str = "") -> None:
    """Raise MissingLibraryError, or UsageError if the file would be sorted, or is one of the output's own."""
    if file is not None:
        check_installed("--metrics", "prometheus_client")
        log_file.check_place("--metrics", file, inputs or (), out)


@contextmanager
def writing(file: str | None, inputs: Iterable[str] | None, out: str) -> Iterator[Take]:
    """Keep the file while the block runs, if there is to be one; yields what takes the tally of the run."""
    if file is None:
        yield Nobody()
        return
    check(file, inputs, out)
    from dicomsort.sorting import metrics  # noqa: PLC0415

    with metrics.writing(str(Path(file).absolute()), out, _code_of) as take:
        yield take


def _code_of(error: BaseException | None) -> int:
    if error is None:
        return int(ExitCode.DONE)
    if isinstance(error, typer.Exit):
        return int(error.exit_code)
    if isinstance(error, DicomsortError):
        return int(error.exit_code)
    return int(ExitCode.INTERRUPTED if isinstance(error, KeyboardInterrupt) else ExitCode.INTERNAL)


def both(watch: Watch, take: Take) -> Watch:
    """Return what shows a tally, and gives it to the file of figures."""
    if isinstance(take, Nobody):
        return watch

    def told(tally: "SortSummary") -> None:
        take(tally)
        watch(tally)

    return told
