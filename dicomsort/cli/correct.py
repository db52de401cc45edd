"""The command `correct`: decisions from a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console, endings, progress
from dicomsort.cli.options import By, FurtherLabels, Json, Output, Quiet, exit_codes
from dicomsort.cli.shown import OUTPUT
from dicomsort.errors import UsageError

if TYPE_CHECKING:
    from dicomsort.review.from_table import Corrected

_MOST = 20
_WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(correct)


def correct(
    out: Output,
    table: Annotated[
        str,
        typer.Argument(
            help="CSV with path (or sop_instance_uid) and label; , ; or tabs.", metavar="FILE.csv"
        ),
    ],
    by: By = None,
    label: FurtherLabels = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            "-n",
            help="Only tell what would be done, and what would be refused.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decide on files of an output as a table says: they move to their class, and later runs honor it.

    A label is a class of the model, `excluded` (no radiograph, or not to be used) or `unsure` (stays in
    review). Each line is done whole or refused with its reason. Exit codes: 0 all done, 3 some lines were
    refused, 5 output not writable.

    For example:
      dicomsort correct sorted decisions.csv --dry-run
      dicomsort correct sorted decisions.csv --by anna
    """
    with exit_codes("interrupted; the same command goes on where this one stopped"):
        from dicomsort.review import from_table  # noqa: PLC0415
        from dicomsort.system.people import user_name  # noqa: PLC0415

        _check_kind(table)
        with progress.counting("deciding", _lines_in(table), quiet or json) as count:
            done = from_table.correct(out, table, by or user_name(), dry_run, tuple(label or ()), count)
        if json:
            refused = [{"where": where, "reason": why} for where, why in done.refused]
            figures = {"decided": done.decided, "unchanged": done.unchanged, "empty": done.empty}
            figures["decisions_taken_back"] = done.taken_back
            console.print_json({**figures, "dry_run": dry_run, "refused": refused})
        _tell(done, dry_run, quiet or json)
        raise typer.Exit(done.exit_code)


def _lines_in(table: str) -> int | None:
    """Count the lines of a table but for the first; None if it cannot be read."""
    try:
        with Path(table).open("rb") as file:
            return max(0, sum(1 for _ in file) - 1)
    except OSError:
        return None


def _check_kind(table: str) -> None:
    """Raise UsageError for a workbook, which is the usual thing to have instead of a CSV."""
    if table.lower().endswith(_WORKBOOKS):
        raise UsageError(f"'{table}' is not a CSV: save it as CSV UTF-8")


def _tell(done: "Corrected", dry_run: bool, quiet: bool) -> None:
    if not quiet:
        would = "would be " if dry_run else ""
        console.info(
            f"{console.files(done.decided)} {would}decided on; {done.unchanged} already as the table says"
        )
        if done.empty:
            lines = "1 line" if done.empty == 1 else f"{done.empty} lines"
            console.info(f"{lines} without a label, left out")
    if done.taken_back:
        console.info(endings.taken_back(done.taken_back))
    for where, why in done.refused[:_MOST]:
        console.info(f"refused: {where}: {why}")
    if len(done.refused) > _MOST:
        console.info(f"refused: {len(done.refused) - _MOST} more lines (--json names all)")
