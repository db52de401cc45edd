"""The command that makes a data set of an output: export."""

from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console, progress
from dicomsort.cli.options import Json, Output, Quiet, Timeout, Workers, exit_codes
from dicomsort.cli.shown import DATA, DECISION, OUTPUT
from dicomsort.errors import UsageError
from dicomsort.export.datasets.settings import (
    PARTS,
    SHARD_MB,
    SIZE,
    Choosable,
    DatasetSettings,
    Picture,
    Target,
    shares_of,
)
from dicomsort.system.escaping import escape
from dicomsort.system.telling import counted
from dicomsort.system.worker_pool import pool_settings, warm_up

if TYPE_CHECKING:
    from dicomsort.export.datasets.dataset import Exported

_SHOWN = 10
_MOST_SIDE = 1 << 16


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(export)


def export(
    out: Output,
    to: Annotated[
        Target,
        typer.Option(
            help="parquet, imagefolder, webdataset, or croissant: an imagefolder described.",
            rich_help_panel=OUTPUT,
        ),
    ],
    folder: Annotated[
        str,
        typer.Option(
            "--out", "-o", metavar="DATASET", help="A new folder for the data set.", rich_help_panel=OUTPUT
        ),
    ],
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL,...",
            help="Only these; may be repeated.",
            show_default="all",
            rich_help_panel=DECISION,
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER", help="Such as 'view = frontal and confidence > 0.99'.", rich_help_panel=DECISION
        ),
    ] = None,
    status: Annotated[
        list[Choosable] | None,
        typer.Option(
            help="How files must have ended; may be repeated.",
            show_default="sorted",
            rich_help_panel=DECISION,
            metavar="STATUS",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            metavar="SHARES", help="Of train, validation and test; by patients.", rich_help_panel=DATA
        ),
    ] = "0.8/0.1/0.1",
    seed: Annotated[int, typer.Option(min=0, help="Of the split.", rich_help_panel=DATA)] = 0,
    image: Annotated[
        Picture,
        typer.Option(
            help="png8 as a person sees it, png16 with its gray values, or the DICOM file itself.",
            rich_help_panel=OUTPUT,
        ),
    ] = Picture.PNG8,
    size: Annotated[
        int,
        typer.Option(
            min=0,
            max=_MOST_SIDE,
            metavar="PIXELS",
            help="Of the longer side; 0 for all.",
            rich_help_panel=OUTPUT,
        ),
    ] = SIZE,
    shard_size: Annotated[
        int, typer.Option(min=1, metavar="MB", help="From which on a shard is full.", rich_help_panel=OUTPUT)
    ] = SHARD_MB,
    uids: Annotated[
        bool,
        typer.Option("--uids", help="Put UIDs into the table; they may identify.", rich_help_panel=OUTPUT),
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="With the salt of the keys, made if it is not there.",
            show_default="the output's own",
            rich_help_panel=DATA,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", "-n", help="Count by part and label; write nothing.", rich_help_panel=OUTPUT
        ),
    ] = False,
    workers: Workers = None,
    timeout: Timeout = 60.0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a data set of an output: pictures, labels and one table, patients never in two parts.

    The same command again does only what is missing. Exit codes: 0 all done, 3 some files could not be read,
    4 no image is chosen, 5 DATASET not writable or full.

    For example:
      dicomsort export sorted --to imagefolder --out dataset
      dicomsort export sorted --to parquet -o table --where 'confidence > 0.99'
    """
    with exit_codes("interrupted; the same command goes on where this one stopped"):
        if not folder:
            raise UsageError("--out is empty: name a folder")
        settings = DatasetSettings(
            to, folder, _listed(labels), where, tuple(status or (Choosable.SORTED,)),
            shares_of(split), seed, key, uids, image, size or None, shard_size << 20, dry_run,
            pool=pool_settings(workers, timeout),
        )  # fmt: skip
        warm_up()
        from dicomsort.export.datasets.dataset import export as make  # noqa: PLC0415

        with progress.counting("images", None, quiet or json) as count:
            done = make(out, settings, count, count.expect)
        if json:
            console.print_json({**done.as_dict(), "dry_run": dry_run, "out": console.plain(folder)})
        _tell(done, settings, quiet, json)
        raise typer.Exit(done.exit_code)


def _listed(labels: list[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label.strip() for text in labels or () for label in text.split(",")))


def _tell(done: "Exported", settings: DatasetSettings, quiet: bool, json: bool) -> None:
    if not (quiet or json):
        labels = sorted({label for _, label in done.counts})
        rows = [[label, *(str(done.counts[part, label]) for part in PARTS)] for label in labels]
        console.table("data set", ["label", *PARTS], rows, right=(1, 2, 3))
        would = "would be " if settings.dry_run else ""
        line = f"{counted(done.written, 'image')} {would}written, {done.there} already there; "
        line += counted(done.patients, "patient")
        line += f"; {done.repeated} left out that repeat another image" * bool(done.repeated)
        console.info(line)
        for part, share in zip(PARTS, settings.shares, strict=True):
            if share and not any(of == part for of, _ in done.counts):
                console.info(f"no patient is in {part}: patients are drawn by lot; another --seed draws anew")
        if settings.picture is Picture.DICOM and not settings.dry_run:
            console.info("DICOM files hold names, ids and dates of patients: this data set is not anonymous")
    for path, reason in done.left[:_SHOWN]:
        console.info(f"left out: {escape(path)}: {reason}")
    if len(done.left) > _SHOWN:
        console.info(f"and {len(done.left) - _SHOWN} more files that were left out")
    if not (quiet or json or settings.dry_run):
        console.info(f"to go on, in Python: {_reading(settings)}")


def _reading(settings: DatasetSettings) -> str:
    """Return what reads the data set: one expression in Python."""
    folder = escape(settings.folder)
    match settings.target:
        case Target.WEBDATASET:
            return f'webdataset.WebDataset("{folder}/train-000000.tar")'
        case Target.CROISSANT:
            return f'mlcroissant.Dataset(jsonld="{folder}/croissant.json")'
        case Target.PARQUET:
            return f'datasets.load_dataset("parquet", data_dir="{folder}/data")'
    if settings.picture is Picture.DICOM:
        return f'pandas.read_csv("{folder}/samples.csv")'
    return f'datasets.load_dataset("imagefolder", data_dir="{folder}")'
