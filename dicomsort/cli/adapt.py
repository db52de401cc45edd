"""`train --adapt`: a model that is there already, adapted to one place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dicomsort.cli import reporter
from dicomsort.cli.completion import models
from dicomsort.cli.shown import START

Adapt = Annotated[
    str | None,
    typer.Option(
        help="Do not train: move this model's last layer a little, by some 200 judged images.",
        show_default="train",
        rich_help_panel=START,
        metavar="MODEL",
        autocompletion=models,
    ),
]

INTERRUPTED = "interrupted; nothing was written: give the same command again"


def adapt_model(
    model: str,
    data: Path,
    out: Path,
    cache: Path,
    *,
    targets: tuple[str, ...],
    patient: str | None,
    corrections: Path | None,
    workers: int | None,
    seed: int,
    device: str,
    quiet: bool,
    json: bool,
    given: Mapping[str, Any],
) -> tuple[dict[str, Any], int]:
    """Adapt a model; return what became of it, and how many files could not be read.

    given: the options of a training, none of which may have been given.
    """
    from dicomsort.model import bundle as bundles  # noqa: PLC0415
    from dicomsort.model.engines.devices import choose_device  # noqa: PLC0415
    from dicomsort.training import run_folder  # noqa: PLC0415
    from dicomsort.training.adapt import Adaptation, check_alone  # noqa: PLC0415

    check_alone(given)
    bundle = bundles.load(bundles.locate(model))
    job = Adaptation(
        bundle, data, out, cache, targets, patient, corrections, workers, seed,
        choose_device(device), reporter.ConsoleReporter(quiet, tables=not json),
    )  # fmt: skip
    with run_folder.alone(out):
        return job.run()
