"""What an output holds, for a person to look at: the report, and pictures."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicomsort.cli import console
from dicomsort.cli.options import (
    READ,
    Json,
    MaxPixels,
    Model,
    Output,
    Pictures,
    Quiet,
    SecondaryCapture,
    Timeout,
    Workers,
    exit_codes,
    make_folder,
)
from dicomsort.cli.shown import INPUT, OUTPUT
from dicomsort.dicom.sop_classes import ReadSettings
from dicomsort.errors import ExitCode, TargetError, UsageError
from dicomsort.inputs.names import without_secrets
from dicomsort.manifest.names import output_of
from dicomsort.system.telling import counted

if TYPE_CHECKING:
    from dicomsort.dicom.render import PictureSettings, Wanted, Written
    from dicomsort.outcome import Failure
    from dicomsort.report.folders import Source
    from dicomsort.report.gallery import Chosen
    from dicomsort.system.pool_settings import PoolSettings

    Results = Iterable[tuple[Wanted, Written | Failure]]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(report)
    app.command()(render)


def report(
    out: Output,
    file: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The HTML file to write.",
            show_default="OUT/report.html",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    no_thumbnails: Annotated[
        bool, typer.Option("--no-thumbnails", help="Show no pictures.", rich_help_panel=OUTPUT)
    ] = False,
    pictures: Annotated[
        int,
        typer.Option(
            min=1,
            max=50,
            help="Pictures at each end of a class: the surest, the least sure.",
            rich_help_panel=OUTPUT,
        ),
    ] = 8,
    workers: Workers = None,
    timeout: Timeout = 60.0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one HTML file that tells what an output holds: figures, pictures, troubles, settings.

    It needs no network and no script, and may be made while a run is going on. Exit codes: 0 written, 5 not
    writable.

    For example:
      dicomsort report sorted
      dicomsort report sorted --out page.html --no-thumbnails
    """
    from dicomsort.cli import progress  # noqa: PLC0415
    from dicomsort.system.pool_settings import pool_settings  # noqa: PLC0415

    with exit_codes(), progress.loading(quiet or json):
        from dicomsort.report import write as writing  # noqa: PLC0415

        each = 0 if no_thumbnails else pictures
        settings = writing.ReportSettings(file, each, pool_settings(workers, timeout))
        progress.loading.doing("reading the manifest and drawing pictures")
        made = writing.write(out, settings)
        if json:
            told = {"report": console.plain(made.target), "size": made.size, "pictures": made.pictures}
            console.print_json({**made.figures.as_dict(), **told})
        elif not quiet:
            holds = f"{console.files(made.figures.files)}, {_pictures(made.pictures)}"
            console.info(f"wrote {made.target}: {holds}; open it in a browser")


def check(wanted: bool, shard: str | None) -> None:
    """Raise UsageError if a run that is to end with a report has none to make."""
    if wanted and shard is not None:
        raise UsageError("--report does not go with --shard: merge the shards, then `dicomsort report`")


def write(out: str, pool: "PoolSettings", quiet: bool) -> None:
    """Write the report of a run that has just ended."""
    from dicomsort.report import write as writing  # noqa: PLC0415

    made = writing.write(out, writing.ReportSettings(pool=pool))
    if not quiet:
        console.info(f"wrote {made.target}")


def render(
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the PNG files; nothing there is replaced.",
            rich_help_panel=OUTPUT,
            metavar="FOLDER",
        ),
    ],
    files: Annotated[
        list[str] | None, typer.Argument(help="DICOM files, folders of them, or archives.", metavar="FILE...")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="OUT",
            parser=output_of,
            rich_help_panel=INPUT,
            help="Render files of this output folder instead.",
        ),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            help="Of --from: files of this status; may be repeated.",
            show_default="review",
            rich_help_panel=INPUT,
            metavar="STATUS",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Of --from: files of this label only.", rich_help_panel=INPUT, metavar="LABEL"),
    ] = None,
    model: Model = "router5",
    size: Annotated[
        int | None,
        typer.Option(
            min=32,
            max=1024,
            help="Side of the canvas in pixels.",
            show_default="the model's",
            rich_help_panel=OUTPUT,
            metavar="PIXELS",
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="All pixels of the frame instead of the network's canvas.", rich_help_panel=OUTPUT
        ),
    ] = False,
    include_secondary_capture: SecondaryCapture = False,
    pictures: Pictures = False,
    max_pixels: MaxPixels = READ.max_pixels,
    workers: Workers = None,
    timeout: Timeout = 60.0,
    quiet: Quiet = False,
) -> None:
    """Write what the network sees of each file as PNG: of files and folders, or of those in an output.

    Pictures are named after their sources; of folders and archives, index.csv and index.html list them in
    order. With --from they are named after label, confidence and source. The same command again writes what
    is missing. Exit codes: 0 all written, 3 some files could not be read or written, 4 no such file, 5 output
    not writable or full.

    For example:
      dicomsort render a.dcm b.dcm --out pictures
      dicomsort render /archive/2019 --out pictures
      dicomsort render --from sorted --status review --out pictures
    """
    from dicomsort.system.pool_settings import pool_settings  # noqa: PLC0415

    with exit_codes():
        from dicomsort.dicom.render import PictureSettings, write_all, write_each  # noqa: PLC0415
        from dicomsort.report import folders, gallery  # noqa: PLC0415

        _check_words(files, source, status, label)
        _check_files(files or [], out)
        read = ReadSettings(max_pixels, include_secondary_capture, pictures)
        chosen, read = _choose(source, status, label, read) if source is not None else ([], read)
        canvas, pool = None if full else _canvas(model, size), pool_settings(workers, timeout)
        make_folder(Path(out))
        if source is not None:
            gallery.check_index(out)
        settings = PictureSettings(canvas, read, pool)
        if any(map(folders.is_many, files or [])):
            raise typer.Exit(_folders(files or [], out, settings, quiet))
        results = write_all(files, out, settings) if files else write_each(_wanted(chosen, out), settings)
        there = [one.picture for one in chosen if os.path.lexists(os.path.join(out, one.picture))]
        failed = _take(results, len(files or chosen), out, quiet, briefly=source is not None)
        if source is not None:
            _index(chosen, out, len(there), quiet)
        if failed:
            raise typer.Exit(ExitCode.SOME_FAILED)


def _check_words(
    files: list[str] | None, source: str | None, status: list[str] | None, label: str | None
) -> None:
    if (source is None) == (not files):
        raise UsageError("name the DICOM files to render, or an output folder by --from, and not both")
    if source is None and (status or label is not None):
        raise UsageError("--status and --label go with --from")


def _choose(
    source: str, status: list[str] | None, label: str | None, read: ReadSettings
) -> "tuple[list[Chosen], ReadSettings]":
    """Choose rows of an output, and read them as its run has, unless the options say otherwise."""
    from dicomsort.report import gallery, write  # noqa: PLC0415

    folder = write.folder_of(source)
    run = write.run_of(folder)
    theirs = write.read_settings_of(run)
    most = theirs.max_pixels if read.max_pixels == READ.max_pixels else read.max_pixels
    chosen = gallery.choose(folder, run.roots, status or ["review"], label)
    captures, pictures = read.secondary_capture or theirs.secondary_capture, read.pictures or theirs.pictures
    return chosen, ReadSettings(most, captures, pictures)


def _wanted(chosen: "list[Chosen]", out: str) -> "Iterator[Wanted]":
    from dicomsort.dicom.render import Wanted  # noqa: PLC0415

    return (Wanted(one.file, os.path.join(out, one.picture)) for one in chosen)


def _take(results: "Results", total: int, out: str, quiet: bool, briefly: bool) -> int:
    """Report what is written; returns how many pictures are not. briefly: but for those that are there."""
    from dicomsort.cli import progress  # noqa: PLC0415
    from dicomsort.dicom.render import Written  # noqa: PLC0415
    from dicomsort.outcome import Reason  # noqa: PLC0415

    failed = 0
    with progress.counting("rendering", total, quiet) as count:
        for wanted, result in results:
            count()
            if isinstance(result, Written):
                console.report_picture(wanted.target, result.remarks, quiet)
                continue
            if result.reason is Reason.TARGET_DONE:
                raise TargetError(f"'{out}' is full or cannot be written: free some space, or use another")
            failed += 1
            if briefly and result.reason is Reason.DESTINATION_TAKEN:
                continue
            console.info(f"not written: {wanted.path}: {result.status}: {result.reason}")
    return failed


def _folders(files: list[str], out: str, settings: "PictureSettings", quiet: bool) -> ExitCode:
    """Render what lies in folders and archives, and tell."""
    from dicomsort.cli import progress  # noqa: PLC0415
    from dicomsort.dicom.render import Written  # noqa: PLC0415
    from dicomsort.outcome import TROUBLE  # noqa: PLC0415
    from dicomsort.report import folders  # noqa: PLC0415

    folders.check_index(out)
    with progress.counting("rendering", None, quiet) as count:

        def tell(source: "Source", result: "Written | Failure") -> None:
            count()
            if not isinstance(result, Written) and result.status in TROUBLE:
                console.info(f"not written: {source.path}: {result.status}: {result.reason}")

        counts = folders.write(folders.find(files, out), out, settings, tell)
    if not quiet:
        there = f" ({_pictures(counts.there)} there already)" if counts.there else ""
        console.info(f"wrote {_pictures(counts.written)}{there}: {os.path.join(out, folders.SHEET)}")
        if counts.others:
            console.info(
                f"{console.files(counts.others)} left out that are no radiographs: see {folders.INDEX}"
            )
    if counts.failed:
        return ExitCode.SOME_FAILED
    return ExitCode.DONE if counts.pictures else ExitCode.NOTHING_FOUND


def _index(chosen: "list[Chosen]", out: str, there: int, quiet: bool) -> None:
    """Write the index of all that is there now, and tell. there: how many pictures were there before."""
    from dicomsort.report import gallery  # noqa: PLC0415

    listed = gallery.write_index(chosen, out)
    if there:
        were = "1 was" if there == 1 else f"{there} were"
        console.info(f"{_pictures(listed - there)} written; {were} there already: choose a new --out")
    if not quiet:
        console.info(f"wrote {os.path.join(out, gallery.SHEET)} and {gallery.INDEX} of {_pictures(listed)}")


def _pictures(count: int) -> str:
    return counted(count, "picture")


def _check_files(files: list[str], out: str) -> None:
    from dicomsort.inputs import sources  # noqa: PLC0415

    if not out or not all(files):
        raise UsageError("an empty name was given")
    for file in files:
        if not sources.exists(file):
            raise UsageError(f"there is no '{without_secrets(file)}'")


def _canvas(model: str, size: int | None) -> Any:
    from dataclasses import replace  # noqa: PLC0415

    from dicomsort.model import bundle as bundles  # noqa: PLC0415

    preprocessing = bundles.load(bundles.locate(model)).preprocessing
    return preprocessing if size is None else replace(preprocessing, size=size)
