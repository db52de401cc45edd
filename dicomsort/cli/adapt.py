"""`train --adapt`: a model that is there already, adapted to one place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dicomsort.cli import reporter
from dicomsort.cli.completion import models
from dicomsort.cli.shown import START
from dicomsort.errors import UsageError

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

_TAKEN = frozenset({"seed"})


def check_alone(given: Mapping[str, Any]) -> None:
    """Raise UsageError where options of a training are given, which adapting has no use for."""
    odd = [
        name
        for name, value in given.items()
        if not (value is None or value is False or value == ()) and name not in _TAKEN
    ]
    if odd:
        option = {"balance": "balance-power", "balance_by": "balance"}.get(odd[0], odd[0].replace("_", "-"))
        raise UsageError(f"--adapt keeps the network as it is: leave --{option} away")


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
) -> tuple[dict[str, Any], int]:
    """Adapt a model; return what became of it, and how many files could not be read."""
    from dicomsort.model import bundle as bundles  # noqa: PLC0415
    from dicomsort.model.engines.devices import choose_device  # noqa: PLC0415
    from dicomsort.training import run_folder  # noqa: PLC0415
    from dicomsort.training.adapt import Adaptation  # noqa: PLC0415

    bundle = bundles.load(bundles.locate(model))
    job = Adaptation(
        bundle, data, out, cache, targets, patient, corrections, workers, seed,
        choose_device(device), reporter.ConsoleReporter(quiet, tables=not json),
    )  # fmt: skip
    with run_folder.alone(out):
        return job.run()
