"""A processing module of mercure: what its environment says, and how it ends."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console
from dicomsort.cli.options import Device, Timeout, Workers, exit_codes
from dicomsort.cli.shown import INPUT, OUTPUT
from dicomsort.errors import UsageError
from dicomsort.outcome import Action
from dicomsort.sorting.place import PlacementSettings
from dicomsort.system.pool_settings import pool_settings
from dicomsort.system.starting import warm_up

if TYPE_CHECKING:
    from dicomsort.export.mercure import ModuleSettings
    from dicomsort.manifest.reading import ManifestRow
    from dicomsort.sorting.pipeline import SortSettings


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(mercure)


def mercure(
    in_dir: Annotated[
        Path,
        typer.Option(
            "--in",
            envvar="MERCURE_IN_DIR",
            help="Folder of the images and task.json.",
            rich_help_panel=INPUT,
            metavar="FOLDER",
        ),
    ],
    out_dir: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            envvar="MERCURE_OUT_DIR",
            help="Folder for images and result.json.",
            rich_help_panel=OUTPUT,
            metavar="FOLDER",
        ),
    ],
    workers: Workers = None,
    device: Device = "auto",
    timeout: Timeout = 60.0,
) -> None:
    """Be a processing module of mercure: say in result.json what the images show and where they go.

    Exit codes: 0 result.json is written, also if some images could not be read, 2 wrong settings, 4 no image,
    5 output not writable, 6 model unusable.

    For example:
      dicomsort mercure --in /tmp/data --out /tmp/output
    """
    with exit_codes():
        warm_up()
        from dicomsort.export import mercure as module  # noqa: PLC0415
        from dicomsort.sorting.pipeline import SortSettings  # noqa: PLC0415

        for folder in (in_dir, out_dir):
            if not folder.is_dir():
                raise UsageError(f"there is no folder '{folder}'")
        told = module.ModuleSettings.read(os.fspath(in_dir))
        with tempfile.TemporaryDirectory() as temporary:
            settings = SortSettings(
                roots=(os.fspath(in_dir),), out=f"{temporary}/sorted",
                placing=PlacementSettings(Action.NONE), review_below=told.review_below,
                pool=pool_settings(workers, timeout), evidence=told.evidence, archives=False,
                keep_duplicates=True,
            )  # fmt: skip
            result = module.result_of(_sorted(settings, told, device), told)
        if told.pass_on:
            module.pass_on(os.fspath(in_dir), os.fspath(out_dir))
        module.write_result(os.fspath(out_dir), result)
        console.info(module.told_of(result))


def _sorted(settings: "SortSettings", told: "ModuleSettings", device: str) -> "list[ManifestRow]":
    """Sort the images of a task; its other files are left alone."""
    from dicomsort.cli import classify  # noqa: PLC0415
    from dicomsort.export.mercure import is_image  # noqa: PLC0415
    from dicomsort.inputs.once import Once  # noqa: PLC0415
    from dicomsort.manifest.reading import read_manifest  # noqa: PLC0415
    from dicomsort.sorting import pipeline  # noqa: PLC0415

    how = classify.How(told.models, device, "auto", "auto", None, quiet=True, verbose=False)
    found = pipeline.archive_of(settings)
    images = Once((file for file in found.find() if is_image(file.path)), found)
    with classify.ready(settings, how) as (_, (predictor, *further)):
        told.check(predictor.bundle.head.labels)
        pipeline.sort(settings, predictor, None, further, images)
    return list(read_manifest(settings.out))
