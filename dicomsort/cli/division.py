"""Options of `train`: which images learn, and which check."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dicomsort.cli.shown import DATA, SPLIT

if TYPE_CHECKING:
    from dicomsort.training.dividing import SplitOptions

Split = Annotated[
    Path | None,
    typer.Option(
        help="A split to use instead of a new one: CSV sha256,part.",
        rich_help_panel=SPLIT,
        metavar="FILE",
    ),
]
SplitColumn = Annotated[
    str | None,
    typer.Option(
        help="The CSV column that says train, validation or test.",
        rich_help_panel=SPLIT,
        metavar="COLUMN",
    ),
]
HoldOut = Annotated[
    list[str] | None,
    typer.Option(
        help="These files are the test part; may be given again.",
        metavar="COLUMN=VALUE",
        rich_help_panel=SPLIT,
    ),
]
Folds = Annotated[
    str | None,
    typer.Option(
        help="Cross-validate: a number of folds, a CSV column, or a file VALUE,fold of one.",
        rich_help_panel=SPLIT,
        metavar="HOW",
    ),
]
Audit = Annotated[
    Path | None,
    typer.Option(
        help="With --folds: list doubtful labels here (CSV, and a PNG beside it).",
        rich_help_panel=SPLIT,
        metavar="FILE",
    ),
]
ConcatBy = Annotated[
    str | None,
    typer.Option(
        help="The CSV column of studies whose images go together on one canvas.",
        rich_help_panel=DATA,
        metavar="COLUMN",
    ),
]
Rare = Annotated[
    Literal["refuse", "leave-out", "merge"] | None,
    typer.Option(
        help="What becomes of classes too rare to be in every part.",
        show_default="refuse, or merge with --merge-rare",
        rich_help_panel=SPLIT,
    ),
]
MergeRare = Annotated[
    str | None,
    typer.Option(
        help="Merge classes too rare for the split into this one.", rich_help_panel=SPLIT, metavar="NAME"
    ),
]


def checked_division(
    split: Path | None,
    column: str | None,
    hold_out: Sequence[str] | None,
    folds: str | None,
    rare: str | None,
    merge_rare: str | None,
) -> "SplitOptions":
    """Return how the data are to be split. Raises UsageError where options exclude each other."""
    from dicomsort.data.rare import RareRule  # noqa: PLC0415
    from dicomsort.training.dividing import SplitOptions  # noqa: PLC0415

    division = SplitOptions(split, column, tuple(hold_out or ()), folds, RareRule.of(rare, merge_rare))
    division.check()
    return division
