"""What a person sees: messages on stderr; tables, and results for machines, on stdout."""

import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from dicomsort.errors import TargetError
from dicomsort.system import streams

if TYPE_CHECKING:
    from rich.console import Console

    from dicomsort.data.dataset import Unread


LOG = logging.getLogger("dicomsort.console")
LOG.propagate = False


def close_log() -> None:
    """Write no more into the log file, if there is one."""
    for handler in LOG.handlers[:]:
        LOG.removeHandler(handler)
        handler.close()


def console(results: bool = False) -> "Console":
    """Return a console that takes names as they are: no markup, no emoji, no colors by guess.

    results: on stdout, where tables go; else on stderr, where progress and messages go.
    """
    from rich.console import Console  # noqa: PLC0415  (nor does --help need it)

    width = None if (sys.stdout if results else sys.stderr).isatty() else 120
    return Console(
        stderr=not results, markup=False, emoji=False, highlight=False, soft_wrap=True, width=width
    )


def width() -> int:
    """Return how many characters a line of a table has."""
    return console(results=True).width


def cells(text: str) -> int:
    """Return how many of them a text takes, where it is printed."""
    from rich.cells import cell_len  # noqa: PLC0415

    return cell_len(plain(text))


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
    """Print one line to stderr, and write it into the log file, if there is one."""
    streams.end_announcement()
    print(f"dicomsort: {plain(message)}", file=sys.stderr, flush=True)  # noqa: T201
    log(message)


def log(message: str) -> None:
    """Write one line into the log file, if there is one; see `log_file`."""
    if LOG.handlers:
        LOG.info("%s", plain(message))


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
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[int] = (),
    fixed: Sequence[int] = (),
    head: bool = True,
) -> None:
    """Print a table to stdout; `right` are the indices of the columns that hold numbers.

    Where the terminal is too narrow, the widest columns are, and their texts go on in the next line; those
    that are `fixed` keep their lines. head: whether the columns' names are shown.
    """
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0, show_header=head
    )
    for index, column in enumerate(columns):
        justify: Literal["left", "right"] = "right" if index in right else "left"
        drawn.add_column(column, justify=justify, overflow="fold", no_wrap=index in fixed)
    for row in rows:
        drawn.add_row(*(Text("\n".join(map(plain, cell.split("\n")))) for cell in row))
    screen = console(results=True)
    with screen.capture() as text:  # for rich would end the program where a pipe is closed
        screen.print(drawn)
    streams.end_announcement()
    try:
        print(text.get(), end="", flush=True)  # noqa: T201
    except OSError as error:
        raise no_stdout(error) from error


def lines(texts: Iterable[str]) -> None:
    """Print lines to stdout. Raises TargetError if they cannot be written."""
    streams.end_announcement()
    try:
        print("\n".join(map(plain, texts)), flush=True)  # noqa: T201
    except OSError as error:
        raise no_stdout(error) from error


def clipped(text: str, width: int) -> str:
    """Return as much of a text as fits into so many columns."""
    shown = plain(text)
    while cells(shown) > width:
        shown = shown[:-2] + "…"
    return shown


def report_done(done: str, left: Mapping[str, int], quiet: bool) -> None:
    """Report what a command has done, and what it has left."""
    if not quiet:
        info(done)
    for reason, count in left.items():
        info(f"{count} left: {reason}")


def report_picture(target: str, remarks: Iterable[str], quiet: bool) -> None:
    """Report that a picture was written, and what was unusual about it."""
    if not quiet:
        info(f"wrote {target}" + "".join(f" ({remark})" for remark in remarks))


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
