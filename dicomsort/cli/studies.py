"""The options of `classify` for models that were trained on whole studies."""

from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli.shown import DECISION
from dicomsort.errors import UsageError

if TYPE_CHECKING:
    from dicomsort.sorting.study_table import StudyTable

Studies = Annotated[
    str | None,
    typer.Option(
        "--studies",
        metavar="FILE",
        help="For a model of whole studies: a CSV of files and their studies.",
        show_default="by Study Instance UID",
        rich_help_panel=DECISION,
    ),
]
StudyColumn = Annotated[
    str | None,
    typer.Option(
        "--study-column",
        metavar="COLUMN",
        help="The column of studies in that CSV.",
        show_default="the one that the model was trained with",
        rich_help_panel=DECISION,
    ),
]


def table_of(file: str | None, column: str | None) -> "StudyTable | None":
    """Return the table that is meant. Raises UsageError for a column of none."""
    from dicomsort.sorting.study_table import StudyTable  # noqa: PLC0415

    if file is None and column is not None:
        raise UsageError("--study-column names a column of --studies FILE: give that too")
    return None if file is None else StudyTable(file, column or "")
