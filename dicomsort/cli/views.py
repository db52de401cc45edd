"""The option that says in which order the views of a study stand."""

from typing import Annotated

import typer

from dicomsort.cli.shown import DATA

ViewColumn = Annotated[
    str | None,
    typer.Option(
        help="The CSV column of views (AP, lateral), by which the images of a study are put in order; none "
        "for their headers and names alone.",
        show_default="view, if there is one",
        rich_help_panel=DATA,
        metavar="COLUMN",
    ),
]
