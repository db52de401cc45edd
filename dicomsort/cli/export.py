"""The command that makes a data set of an output, or of labelled data: export."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console, progress, tree
from dicomsort.cli import options as known
from dicomsort.cli.division import SplitColumn
from dicomsort.cli.options import Json, Patient, Quiet, Timeout, Workers, exit_codes
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
from dicomsort.manifest.names import output_of
from dicomsort.system.escaping import escape
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.starting import warm_up
from dicomsort.system.telling import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicomsort.export.datasets.dataset import Exported

_SHOWN = 10
_MOST_SIDE = 1 << 16
_TREE_SIZE, _SHARES = 512, "0.8/0.1/0.1"


class Form(StrEnum):
    """The forms that an export can have: those of a data set of an output, and a tree of labelled data."""

    PARQUET = Target.PARQUET.value
    IMAGEFOLDER = Target.IMAGEFOLDER.value
    WEBDATASET = Target.WEBDATASET.value
    CROISSANT = Target.CROISSANT.value
    PNG = "png"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(export)


def export(
    source: Annotated[
        str,
        typer.Argument(
            help="An output folder, or its manifest.csv. With --to png a CSV with a 'file' column, or a "
            "folder with one sub-folder per class.",
            metavar="OUT|DATA",
            show_default=False,
        ),
    ],
    to: Annotated[
        Form,
        typer.Option(
            help="Of an output: parquet, imagefolder, webdataset, or croissant, an imagefolder described. Of "
            "labelled data: png, a tree of parts and classes.",
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
        str | None,
        typer.Option(
            metavar="SHARES|FILE",
            help="Of train, validation and test, by patients; with --to png a CSV sha256,part.",
            show_default="0.8/0.1/0.1, or as train divides",
            rich_help_panel=DATA,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the split.", rich_help_panel=DATA)] = 0,
    image: Annotated[
        Picture,
        typer.Option(
            help="png8 as a person sees it, png16 with its gray values, or the DICOM file itself.",
            rich_help_panel=OUTPUT,
        ),
    ] = Picture.PNG8,
    target: known.Target = None,
    patient: Patient = None,
    split_column: SplitColumn = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=_MOST_SIDE,
            metavar="PIXELS",
            help="Of the longer side; 0 for all.",
            show_default=f"{SIZE}, with --to png {_TREE_SIZE}",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
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

    --to png makes one of labelled data: PART/CLASS/HASH.png and labels.csv, divided as they say or as train
    would. The same command again does only what is missing. Exit codes: 0 all done, 3 some files could not
    be read, 4 no image is chosen, 5 DATASET not writable or full.

    For example:
      dicomsort export sorted --to imagefolder --out dataset
      dicomsort export sorted --to parquet -o table --where 'confidence > 0.99'
      dicomsort export labels.csv --target group --to png --size 512 --out tree
    """
    with exit_codes("interrupted; the same command goes on where this one stopped"):
        if not folder:
            raise UsageError("--out is empty: name a folder")
        pool = pool_settings(workers, timeout)
        of_outputs = {"--labels": labels, "--where": where, "--status": status, "--key": key, "--uids": uids}
        of_data = {"--target": target, "--patient": patient, "--split-column": split_column}
        _refuse(to, of_outputs if to is Form.PNG else of_data)
        if to is Form.PNG:
            side = _TREE_SIZE if size is None else size
            asked = tree.TreeOptions(
                Path(folder), target, patient, split, split_column, seed, side, image, dry_run, pool
            )
            raise typer.Exit(tree.make(Path(source), asked, quiet, json))
        settings = DatasetSettings(
            Target(to.value), folder, _listed(labels), where, tuple(status or (Choosable.SORTED,)),
            shares_of(split or _SHARES), seed, key, uids, image, (SIZE if size is None else size) or None,
            shard_size << 20, dry_run, pool=pool,
        )  # fmt: skip
        warm_up()
        from dicomsort.export.datasets.dataset import export as make  # noqa: PLC0415

        with progress.counting("images", None, quiet or json) as count:
            done = make(output_of(source), settings, count, count.expect)
        if json:
            console.print_json({**done.as_dict(), "dry_run": dry_run, "out": console.plain(folder)})
        _tell(done, settings, quiet, json)
        raise typer.Exit(done.exit_code)


def _refuse(to: Form, others: "Mapping[str, object]") -> None:
    """Raise UsageError for an option that means nothing of what is exported."""
    for name, given in others.items():
        if given:
            raise UsageError(f"{name} is for {'outputs' if to is Form.PNG else '--to png'}; leave it out")


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
