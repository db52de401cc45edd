"""The formats of a manifest, as an option."""

from typing import Annotated

import typer

ManifestFormat = Annotated[
    str | None,
    typer.Option(
        metavar="csv,parquet",
        help="csv,parquet keeps manifest.parquet too, also for later commands; csv ends that.",
        show_default="as the output has it",
    ),
]
