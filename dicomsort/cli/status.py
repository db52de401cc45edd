"""`dicomsort status`: how far an output is, told from outside while nodes work on it."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicomsort.cli import console, metrics
from dicomsort.cli.command import Command
from dicomsort.cli.options import Json, Output, exit_codes
from dicomsort.cli.shown import MESSAGES
from dicomsort.cli.watch import with_seconds
from dicomsort.errors import ExitCode
from dicomsort.system.telling import counted

if TYPE_CHECKING:
    from dicomsort.sorting.parts_seen import Part
    from dicomsort.sorting.progress_of import Looks, Progress

EVERY = 5.0
_FLAG = "--watch"
_MOST = 20
_ERRORS = 5
_WIDEST = 24


class StatusCommand(Command):
    """A command whose --watch needs no value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give --watch its seconds if what follows is no number."""
        return super().parse_args(ctx, with_seconds(args, EVERY))


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(cls=StatusCommand)(status)


def status(
    out: Output,
    watch: Annotated[
        float | None,
        typer.Option(
            _FLAG,
            metavar="[SECONDS]",
            min=0.5,
            max=86400,
            help=f"Look again every {EVERY:g} seconds, or as many as are given, until all is done.",
            rich_help_panel=MESSAGES,
        ),
    ] = None,
    metrics_file: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="FILE",
            help="Write figures for Prometheus there, at each look.",
            rich_help_panel=MESSAGES,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Tell how far an output is, and what to do next; also while runs, shards, nodes and merges work on it.

    It takes no lock and writes nothing into the output. Exit codes: 0 told, 2 there is no output.

    For example:
      dicomsort status sorted
      dicomsort status sorted --watch 10
      dicomsort status sorted --json
    """
    with exit_codes():
        from dicomsort.sorting.progress_of import Looks  # noqa: PLC0415

        metrics.check(metrics_file, out=out)
        looks = Looks(out)
        if watch is None:
            _tell(_looked(looks, metrics_file), json)
            raise typer.Exit(ExitCode.DONE)
        try:
            _watch(looks, watch, metrics_file, json)
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.DONE) from None


def _looked(looks: "Looks", file: str | None) -> "Progress":
    """Look, and write the figures into the file, if there is to be one."""
    told = looks.look()
    if file is not None:
        from dicomsort.sorting import metrics as figures  # noqa: PLC0415

        figures.write(file, figures.of_progress(told))
    return told


def _tell(told: "Progress", json: bool) -> None:
    if json:
        console.print_json({**told.as_dict(), "out": console.plain(told.out)})
    else:
        console.lines(lines(told))


def _watch(looks: "Looks", every: float, file: str | None, json: bool) -> None:
    """Tell again and again until all is done: on a terminal in the same place, else by a line each time."""
    screen = console.console(results=True)
    found = _found(looks, every, file)
    if json:
        for told in found:
            _tell(told, json)
    elif screen.is_terminal:
        from dicomsort.cli import bars  # noqa: PLC0415

        with bars.redrawn(screen) as draw:
            for told in found:
                draw(lines(told, most=max(3, screen.height - len(lines(told, most=0)) - 1)))
    else:
        for told in found:
            console.lines([headline(told)])


def _found(looks: "Looks", every: float, file: str | None) -> "Iterator[Progress]":
    """Look again and again, at most a fifth of the time, until all is done; also before a run begins."""
    from dicomsort.sorting.progress_of import NoOutputError  # noqa: PLC0415

    told: Progress | None = None
    is_waiting = False
    while told is None or told.state != "done":
        began = time.monotonic()
        try:
            told = _looked(looks, file)
            yield told
        except NoOutputError as error:
            if not is_waiting:
                console.info(f"{error}; waiting for it")
            is_waiting = True
        if told is None or told.state != "done":
            time.sleep(max(every, 4 * (time.monotonic() - began)))


def headline(told: "Progress") -> str:
    """Return the most telling in one line."""
    of = "" if told.total is None or told.total == told.files else f" of {told.total}"
    files = counted(told.files, "file") if not of else f"{told.files}{of} files"
    parts = [f"{told.doing or told.state}: {files}"]
    parts += [f"{told.parts_done} of {told.parts_known} shards"] if told.parts_known else []
    parts += [f"{told.rate:.1f} files/s"] if told.rate else []
    left = told.seconds_left
    parts += [f"{clock(left)} left"] if left is not None else []
    parts += [f"{told.troubles} in trouble"] if told.troubles else []
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Return a time in hours, minutes and seconds."""
    whole = math.ceil(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def lines(told: "Progress", most: int = _MOST) -> list[str]:
    """Return all that a person is told, a line each. most: rows of the table of shards."""
    who = told.worker
    by = f" on {who.host}" + (f", job {who.job}" if who.job else "") if who else ""
    head = headline(told).removeprefix("sorting: ")
    found = [f"{told.state}{by}: {head}" if told.doing else head]
    statuses = [[status.value, str(count)] for status, count in told.statuses.items() if count]
    found += ["", *_table(["status", "files"], sorted(statuses), right=(1,))] if statuses else []
    if told.parts:
        found += ["", *_table(_COLUMNS, [_row(part) for part in told.parts[:most]], right=(4, 5))]
        if len(told.parts) > most:
            found.append(f"... and {len(told.parts) - most} more that are not done")
    failed = [part for part in told.parts if part.error]
    found += [f"{part.shard or part.name}: {part.error}" for part in failed[:_ERRORS]]
    return [*found, *(["", "next:", *(f"  {line}" for line in told.next)] if told.next else [])]


_COLUMNS = ("shard", "state", "host", "job", "rows", "last row")


def _row(part: "Part") -> list[str]:
    age = "" if part.age is None else f"{clock(part.age)} ago"
    return [part.shard or part.name, part.state, part.host, part.job, str(part.rows), age]


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Return a table without lines; texts that are too long for a column are cut."""
    cut = [[console.clipped(cell, _WIDEST) for cell in row] for row in (names, *rows)]
    shown = [at for at in range(len(names)) if any(row[at] for row in cut[1:])]
    widths = {at: max(console.cells(row[at]) for row in cut) for at in shown}
    return ["  ".join(_padded(row[at], widths[at], at in right) for at in shown).rstrip() for row in cut]


def _padded(text: str, width: int, right: bool) -> str:
    room = " " * (width - console.cells(text))
    return room + text if right else text + room
