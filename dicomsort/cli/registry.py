"""The command that makes a registry of patients from an output."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console, progress
from dicomsort.cli.options import Json, Output, Quiet, Timeout, Workers, exit_codes
from dicomsort.cli.shown import OUTPUT
from dicomsort.errors import ExitCode
from dicomsort.manifest.names import manifest_in
from dicomsort.outcome import Status
from dicomsort.system.escaping import escape
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.telling import counted

if TYPE_CHECKING:
    from dicomsort.export.registry import Registry

_SHOWN = 10
_STATUSES = (Status.SORTED, Status.REVIEW, Status.PLANNED)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(registry)


def registry(
    out: Output,
    file: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The CSV to write.",
            show_default="OUT/registry.csv",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="File with the salt of the patients' keys, made if it is not there: the same keys in "
            "every registry made with it.",
            show_default="the output's own",
            rich_help_panel=OUTPUT,
            metavar="FILE",
        ),
    ] = None,
    workers: Workers = None,
    timeout: Timeout = 60.0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a registry of patients: one row each, with studies, regions and views, and no name.

    Implants and fractures are told too, if models were asked that tell them (--model hardware, --model
    fracture; the latter is a research preview). Exit codes: 0 written, 3 some files could not be read, 5 not
    writable.

    For example:
      dicomsort registry sorted
      dicomsort registry sorted --out patients.csv --key salt
    """
    with exit_codes(), progress.loading(quiet or json):
        from dicomsort.export import registry as registries  # noqa: PLC0415
        from dicomsort.manifest.history import rows_with  # noqa: PLC0415
        from dicomsort.sorting.shards import check_merged  # noqa: PLC0415

        check_merged(out)
        settings = registries.RegistrySettings(file, key, pool_settings(workers, timeout))
        total = rows_with(manifest_in(out), "status", _STATUSES)
        with progress.counting("reading", total, quiet or json) as count:
            made = registries.write(out, settings, count)
        _tell(made, out, json, quiet)
        if made.unread:
            raise typer.Exit(ExitCode.SOME_FAILED)


def _tell(made: "Registry", out: str, json: bool, quiet: bool) -> None:
    from dicomsort.export import registry as registries  # noqa: PLC0415

    if json:
        told = {"registry": console.plain(made.target), "patients": made.patients, "images": made.images}
        told |= {"in_review": made.in_review}
        told |= {"not_read": len(made.unread), "not_asked": list(made.missing)}
        console.print_json(told)
        return
    if not quiet:
        console.info(
            f"wrote {made.target}: {counted(made.patients, 'patient')}, {counted(made.images, 'radiograph')}"
        )
        if made.in_review:
            console.info(
                f"{made.in_review} of them in review, of which nothing else is told: "
                f"dicomsort review {shlex.quote(out)}"
            )
        for finding in made.missing:
            model = registries.FINDINGS[finding]
            console.info(f"no model was asked about {finding}s: classify with --model {model} as well")
    for path in made.unread[:_SHOWN]:
        console.info(f"not read: {escape(path)}")
    if len(made.unread) > _SHOWN:
        console.info(f"and {len(made.unread) - _SHOWN} more files that cannot be read any more")
