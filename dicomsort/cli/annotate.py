"""The command that writes what is known of an output back into DICOM: annotate."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from dicomsort.cli import console
from dicomsort.cli.options import Json, Output, Quiet, Timeout, Workers, exit_codes
from dicomsort.cli.shown import DECISION, OUTPUT
from dicomsort.errors import UsageError
from dicomsort.export.kinds import ANNOTATIONS, Flaw, Kind
from dicomsort.manifest.names import manifest_in

if TYPE_CHECKING:
    from dicomsort.export.annotate import Annotated as Done


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(annotate)


def annotate(
    out: Output,
    kind: Annotated[
        Kind,
        typer.Option(
            "--as",
            help="instances: a corrected copy of each file that needs one; sr: a report of each study.",
            rich_help_panel=OUTPUT,
        ),
    ],
    folder: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="For what is written; nothing there is replaced.",
            rich_help_panel=OUTPUT,
        ),
    ],
    min_confidence: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="From which on a model is believed; a person always is.",
            rich_help_panel=DECISION,
        ),
    ] = 0.98,
    flaw: Annotated[
        list[Flaw] | None,
        typer.Option(
            help="Of --as instances: correct only such tags; may be repeated.",
            show_default="all three",
            rich_help_panel=DECISION,
        ),
    ] = None,
    terms: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="More words for body parts: CSV term,code; see `dicomsort audit`.",
            rich_help_panel=DECISION,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", "-n", help="Say what would be written; write nothing.", rich_help_panel=OUTPUT
        ),
    ] = False,
    workers: Workers = None,
    timeout: Timeout = 60.0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write body part and view, where they are sure, into DICOM: new instances or structured reports.

    The sources are only read. The same command again does only what is missing; `dicomsort undo FOLDER`
    takes all of it away. Exit codes: 0 all done, 3 something could not be written, 5 FOLDER not writable or
    full.

    For example:
      dicomsort annotate sorted --as instances --out corrected --dry-run
      dicomsort annotate sorted --as sr --out reports
    """
    from dicomsort.cli import progress  # noqa: PLC0415
    from dicomsort.system.pool_settings import pool_settings  # noqa: PLC0415
    from dicomsort.system.starting import warm_up  # noqa: PLC0415

    with exit_codes("interrupted; the same command goes on where this one stopped"):
        warm_up()
        from dicomsort.export.annotate import AnnotateSettings  # noqa: PLC0415
        from dicomsort.export.annotate import annotate as write  # noqa: PLC0415

        if not folder:
            raise UsageError("--out is empty: name a folder")
        wanted = tuple(flaw) if flaw else tuple(Flaw)
        settings = AnnotateSettings(
            kind, os.path.abspath(folder), min_confidence, wanted, dry_run,
            pool_settings(workers, timeout), terms,
        )  # fmt: skip
        what = "studies" if kind is Kind.SR else "files"
        with progress.counting(what, None, quiet or json) as count:
            done = write(out, settings, count)
        if json:
            console.print_json({**done.as_dict(), "dry_run": dry_run, "out": console.plain(folder)})
        _tell(done, kind, dry_run, quiet or json)
        raise typer.Exit(done.exit_code)


def _tell(done: "Done", kind: Kind, dry_run: bool, quiet: bool) -> None:
    would = "would be " if dry_run else ""
    if kind is Kind.SR:
        reports = _count(done.written, "report", "reports")
        line = f"{reports} on {_count(done.images, 'image', 'images')} {would}written"
    else:
        line = f"{_count(done.written, 'corrected copy', 'corrected copies')} {would}written"
    line += f", {done.there} already there" * bool(done.there)
    line += f"; {console.files(done.right)} with nothing to correct" * bool(done.right)
    line += f"; {done.unsure} more of which nothing is sure, or that wait in review" * bool(done.unsure)
    rows = [[tag, str(flaw), str(count)] for (tag, flaw), count in sorted(done.corrected.items())]
    if rows and not quiet:
        console.table("what is corrected", ["tag", "was", "files"], rows, right=(2,))
    console.report_done(line, {why.value: count for why, count in done.left.items()}, quiet)


def _count(number: int, one: str, several: str) -> str:
    return f"1 {one}" if number == 1 else f"{number} {several}"


def is_annotated(folder: str) -> bool:
    """Return whether a folder holds what this command has written, and is no output of classify."""
    return os.path.isfile(os.path.join(folder, ANNOTATIONS)) and not os.path.exists(manifest_in(folder))


def undo(folder: str, verify: bool, quiet: bool) -> NoReturn:
    """Take away what this command has written, and end."""
    from dicomsort.cli import progress  # noqa: PLC0415
    from dicomsort.export import journal  # noqa: PLC0415

    with progress.counting("removing", None, quiet) as count:
        done = journal.undo(folder, verify, count)
    console.report_done(f"{done.done} removed", done.left, quiet)
    raise typer.Exit(done.exit_code)
