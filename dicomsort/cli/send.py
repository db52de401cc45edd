"""The command that gives files to a PACS: send."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console, pacs, progress
from dicomsort.cli.options import Json, Quiet, Timeout, Workers, exit_codes
from dicomsort.cli.shown import INPUT, OUTPUT
from dicomsort.errors import UsageError
from dicomsort.inputs.store import RemoteSettings
from dicomsort.manifest.names import output_of
from dicomsort.outcome import Status
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.starting import warm_up

if TYPE_CHECKING:
    from dicomsort.transfer.sending import Sent


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(send)


def send(
    folder: Annotated[
        str,
        typer.Argument(
            help="An output folder of classify, or its manifest.csv; or one of annotate.",
            metavar="OUT",
            parser=output_of,
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            metavar="PACS",
            help="dicomweb+http://host:8042/dicom-web, or an AE title as ORTHANC@host:4242.",
            rich_help_panel=OUTPUT,
        ),
    ],
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="Only files of this class; may be repeated.",
            show_default="all classes",
            rich_help_panel=INPUT,
            metavar="LABEL",
        ),
    ] = None,
    status: Annotated[
        list[Status] | None,
        typer.Option(
            help="Only files of this status; may be repeated.",
            show_default="sorted",
            rich_help_panel=INPUT,
            metavar="STATUS",
        ),
    ] = None,
    aet: Annotated[
        str, typer.Option(help="Our own AE title.", rich_help_panel=OUTPUT, metavar="TITLE")
    ] = "DICOMSORT",
    connections: Annotated[
        int, typer.Option(min=1, max=64, help="Files at a time.", rich_help_panel=OUTPUT)
    ] = 4,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", "-n", help="Say what would be sent; send nothing.", rich_help_panel=OUTPUT),
    ] = False,
    workers: Workers = None,
    timeout: Timeout = 60.0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Send what was sorted, or what annotate has written, to a PACS: by STOW-RS or C-STORE.

    Only files that are whole are sent, as they are. The same command again sends only what is missing.
    Exit codes: 0 all sent, 3 something was refused or damaged, 5 the PACS does not answer.

    For example:
      dicomsort send sorted --to dicomweb+http://localhost:8042/dicom-web
      dicomsort send corrected --to ORTHANC@localhost:4242 --dry-run
    """
    with exit_codes("interrupted; the same command goes on where this one stopped"):
        warm_up()
        from dicomsort.transfer.candidates import Chosen  # noqa: PLC0415
        from dicomsort.transfer.peer import peer_of  # noqa: PLC0415
        from dicomsort.transfer.sending import SendSettings  # noqa: PLC0415
        from dicomsort.transfer.sending import send as send_all  # noqa: PLC0415

        _check_title(aet)
        asked = RemoteSettings(connections, timeout, authorization=pacs.authorization())
        chosen = Chosen(tuple(label or ()), tuple(status or (Status.SORTED,)))
        settings = SendSettings(
            os.path.abspath(folder), chosen, connections, dry_run, pool_settings(workers, timeout)
        )
        peer = peer_of(to, asked, aet)
        try:
            with progress.counting("sending", None, quiet or json) as count:
                done = send_all(peer, settings, count)
        finally:
            peer.close()
        if json:
            console.print_json({**done.as_dict(), "dry_run": dry_run, "to": console.plain(peer.name)})
        _tell(done, dry_run, quiet or json)
        raise typer.Exit(done.exit_code)


def _check_title(title: str) -> None:
    if not (0 < len(title.strip()) <= 16 and title.isascii() and title.isprintable() and "\\" not in title):
        raise UsageError("--aet is no AE title: it has 1 to 16 ASCII characters (PS3.5 6.2)")


def _tell(done: "Sent", dry_run: bool, quiet: bool) -> None:
    line = f"{console.files(done.sent)} {'would be ' if dry_run else ''}sent"
    line += f", {done.there} sent before" * bool(done.there)
    if not (done.sent or done.there or done.left):
        line += ": none has that class and status (see --label and --status)"
    console.report_done(line, dict(done.left), quiet)
