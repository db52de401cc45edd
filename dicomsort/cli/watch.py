"""An inbox that is watched: what a person or a program is told of each pass, and `health` for a monitor."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicomsort.cli import console, endings, moving
from dicomsort.cli.command import Command
from dicomsort.cli.options import Json, Output, Quiet, exit_codes
from dicomsort.cli.shown import INBOX
from dicomsort.errors import DicomsortError, ExitCode, UsageError

if TYPE_CHECKING:
    from dicomsort.cli.classify import How
    from dicomsort.sorting.pipeline import SortSettings
    from dicomsort.sorting.summary import SortSummary
    from dicomsort.sorting.watching import WatchSettings

EVERY = 30.0
_FLAG = "--watch"

Watch = Annotated[
    float | None,
    typer.Option(
        _FLAG,
        metavar="[SECONDS]",
        min=0.1,
        max=86400,
        help=f"Go on: look for new files every {EVERY:g} seconds, or as many as are given.",
        rich_help_panel=INBOX,
    ),
]
QuietFor = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=86400,
        help="Of --watch: seconds for which a file must not have changed.",
        show_default="as --watch",
        rich_help_panel=INBOX,
        metavar="SECONDS",
    ),
]


class WatchCommand(Command):
    """A command whose --watch needs no value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give --watch its seconds if what follows is no number."""
        return super().parse_args(ctx, with_seconds(args, EVERY))


def with_seconds(args: list[str], every: float) -> list[str]:
    """Return the words of a command line with seconds behind a --watch that has none."""
    at = args.index(_FLAG) + 1 if _FLAG in args else 0
    return [*args[:at], str(every), *args[at:]] if at and not _is_number(args[at : at + 1]) else args


def _is_number(words: Sequence[str]) -> bool:
    return bool(words) and words[0].replace(".", "", 1).isdigit()


def timing_of(watch: float | None, quiet_for: float | None, **others: Any) -> "WatchSettings | None":
    """Return how often to look; None to sort once. Raises UsageError for what does not go together.

    others: by name, what does not go with watching, if it was given.
    """
    if watch is None:
        if quiet_for is not None:
            raise UsageError("--quiet-for goes with --watch")
        return None
    if given := [f"--{name.replace('_', '-')}" for name, value in others.items() if value]:
        raise UsageError(f"{given[0]} does not go with --watch, which goes on until it is stopped")
    from dicomsort.sorting.watching import WatchSettings  # noqa: PLC0415

    return WatchSettings(watch, watch if quiet_for is None else quiet_for)


def watch(
    settings: "SortSettings", how: "How", timing: "WatchSettings", json: bool, verbose: bool
) -> ExitCode:
    """Watch until a signal; a SIGTERM is how a service is stopped, and no trouble."""
    import signal  # noqa: PLC0415

    from dicomsort.cli import progress  # noqa: PLC0415
    from dicomsort.cli.classify import ready  # noqa: PLC0415
    from dicomsort.cli.metrics import both  # noqa: PLC0415
    from dicomsort.sorting import pipeline, watching  # noqa: PLC0415
    from dicomsort.system.stopping import noting_signals  # noqa: PLC0415

    pipeline.check(settings)
    with noting_signals() as stop, ready(settings, how) as (tag, (predictor, *further)):
        progress.loading.done()

        def sort(settings: "SortSettings", files: Any, watch: Any) -> "SortSummary":
            summary = pipeline.sort(settings, predictor, both(watch, how.take), further, files)
            how.take.end_pass(summary)
            return summary

        told = _Told(settings.out, tag, json, how.quiet, verbose)
        told.line(
            f"watching every {timing.every:g} s, for files that have not changed for {timing.quiet_for:g} s"
        )
        ended = watching.watch(settings, timing, sort, stop, told)
    passes = "1 pass" if ended.passes == 1 else f"{ended.passes} passes"
    told.line(f"stopped after {console.files(ended.files)} in {passes}")
    return ExitCode.INTERRUPTED if stop.number == signal.SIGINT else ExitCode.DONE


class _Told:
    """Tells each pass: a line for a person, or one JSON object for a program."""

    def __init__(self, out: str, tag: str, json: bool, quiet: bool, verbose: bool) -> None:
        self._out, self._tag, self._json = out, tag, json
        self._quiet, self._verbose = quiet or json, verbose

    def line(self, text: str) -> None:
        """Print a line, unless quiet."""
        if not self._quiet:
            console.info(text)

    def sorted(self, summary: "SortSummary") -> None:
        """Print what a pass found."""
        if self._json:
            console.print_json({**summary.as_dict(), "model": self._tag, "out": console.plain(self._out)})
        new = summary.ended - summary.already_done
        by_status = ", ".join(f"{count} {status}" for status, count in sorted((+summary.statuses).items()))
        self.line(f"{console.files(new)} in {summary.seconds:.1f} s, of all met: {by_status}")
        if not self._quiet:
            moving.tell(summary.removed)
        if self._verbose:
            endings.report_spent(summary)

    def failed(self, error: DicomsortError) -> None:
        """Print why a pass came to nothing."""
        console.info(f"{error}; trying again at the next look")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(health)


def health(
    out: Output,
    older_than: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds after which what is written there is too old.",
            show_default="300, or ten looks",
            rich_help_panel=INBOX,
            metavar="SECONDS",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell whether a run with --watch is well, by OUT/health.json: for a monitor.

    Exit codes: 0 it is, 2 nothing is written there, 3 it was stopped, has not been heard of for a while, or
    its last pass came to nothing.

    For example:
      dicomsort health sorted
      dicomsort health sorted --older-than 600 --quiet
    """
    with exit_codes():
        from dicomsort.sorting import health as healths  # noqa: PLC0415

        found = healths.read(out)
        limit = max(300.0, 10 * found.every) if older_than is None else older_than
        trouble = _trouble(found, limit)
        if json:
            console.print_json({**found.as_dict(), "well": not trouble, "age": round(found.age, 1)})
        if trouble or not quiet:
            console.info(
                trouble
                or f"{found.state}; {console.files(found.files)} since {found.started}, "
                f"{found.failures} in trouble, {found.waiting} waiting"
            )
        raise typer.Exit(ExitCode.SOME_FAILED if trouble else ExitCode.DONE)


def _trouble(found: Any, limit: float) -> str:
    """Return what is wrong, in one line; empty if nothing is."""
    if found.state == "stopped":
        return f"stopped at {found.time}" + (f": {found.error}" if found.error else "")
    if found.age > limit:
        return f"not heard of since {found.time}, which is {found.age:.0f} s ago"
    return f"{found.error} (since {found.error_time})" if found.error else ""
