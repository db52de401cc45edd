"""The command that puts labels into an Orthanc: label."""

import os
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console, pacs
from dicomsort.cli.options import Json, Output, Quiet, exit_codes
from dicomsort.cli.shown import OUTPUT
from dicomsort.errors import ExitCode, UsageError
from dicomsort.inputs.names import is_pacs
from dicomsort.inputs.store import RemoteSettings

if TYPE_CHECKING:
    from dicomsort.transfer.write_back import WrittenBack


class What(StrEnum):
    """What is written back."""

    LABELS = "labels"


class Level(StrEnum):
    """What is labeled."""

    INSTANCE = "instance"
    STUDY = "study"


WriteBack = Annotated[
    What | None,
    typer.Option(
        help="Of a PACS that is an Orthanc: label what was sorted; see `dicomsort label`.",
        rich_help_panel=OUTPUT,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(label)


def label(
    out: Output,
    orthanc: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where the Orthanc is.",
            show_default="where the files came from",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    level: Annotated[
        Level, typer.Option(help="What is labeled: each instance, or each study.", rich_help_panel=OUTPUT)
    ] = (Level.INSTANCE),
    undo: Annotated[
        bool, typer.Option("--undo", help="Take the labels away again.", rich_help_panel=OUTPUT)
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", "-n", help="Say what would be done; change nothing.", rich_help_panel=OUTPUT
        ),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put the labels of what was sorted into an Orthanc, what waits in review excepted.

    An Orthanc before 1.12 has no labels and gets metadata of the number 7310. The same command again does
    only what is missing or has changed.
    Exit codes: 0 all done, 3 something could not be labeled, 5 the Orthanc does not answer.

    For example:
      dicomsort label sorted
      dicomsort label sorted --orthanc http://localhost:8042 --level study
    """
    with exit_codes("interrupted; the same command goes on where this one stopped"):
        done = run(out, orthanc, level, undo, dry_run, quiet or json)
        if json:
            console.print_json({**done.as_dict(), "dry_run": dry_run})
        tell(done, undo, dry_run, quiet or json)
        raise typer.Exit(done.exit_code)


def check(wanted: What | None, inputs: Sequence[str] | None, shard: str | None) -> None:
    """Raise UsageError if what a sorting will leave cannot be written back."""
    if wanted is not None and not any(map(is_pacs, inputs or ())):
        raise UsageError("--write-back goes with a PACS, such as dicomweb+http://host:8042/dicom-web")
    if wanted is not None and shard is not None:
        raise UsageError("--write-back does not go with --shard: `dicomsort label` goes after the merge")


def after(wanted: What | None, out: str, quiet: bool) -> ExitCode:
    """Write back what a sorting has left, if that was asked for; returns how it ended."""
    if wanted is None:
        return ExitCode.DONE
    done = run(out, None, Level.INSTANCE, undo=False, dry_run=False, quiet=quiet)
    tell(done, undo=False, dry_run=False, quiet=quiet)
    return done.exit_code


def run(out: str, orthanc: str | None, level: Level, undo: bool, dry_run: bool, quiet: bool) -> "WrittenBack":
    """Label, or take labels away. Raises UsageError, TargetError."""
    from dicomsort.cli import progress  # noqa: PLC0415
    from dicomsort.transfer import write_back as writing  # noqa: PLC0415
    from dicomsort.transfer.orthanc import Level as Marked  # noqa: PLC0415
    from dicomsort.transfer.orthanc import Orthanc  # noqa: PLC0415

    root = orthanc or writing.root_of(out)
    settings = writing.WriteBackSettings(os.path.abspath(out), Marked(level.value), dry_run=dry_run)
    server = Orthanc(root, RemoteSettings(authorization=pacs.authorization()))
    try:
        with progress.counting("labeling", None, quiet) as count:
            return (writing.undo if undo else writing.write_back)(server, settings, count)
    finally:
        server.close()


def tell(done: "WrittenBack", undo: bool, dry_run: bool, quiet: bool) -> None:
    """Say how it went."""
    line = f"{done.done} {'would be ' if dry_run else ''}{'unlabeled' if undo else 'labeled'}"
    line += f", {done.there} labeled before" * bool(done.there)
    console.report_done(line, {why.value: count for why, count in done.left.items()}, quiet)
