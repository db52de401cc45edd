"""The formats of a manifest, as an option."""

from typing import Annotated

import typer

from dicomsort.cli.shown import OUTPUT

ManifestFormat = Annotated[
    str | None,
    typer.Option(
        metavar="csv,parquet",
        rich_help_panel=OUTPUT,
        help="csv,parquet keeps manifest.parquet too, also for later commands; csv ends that.",
        show_default="as the output has it",
    ),
]
