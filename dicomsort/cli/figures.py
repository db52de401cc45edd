"""Options of `eval` for its figures, and how these are shown."""

import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsort.cli import console
from dicomsort.cli.shown import DATA, FIGURES
from dicomsort.errors import ExitCode

if TYPE_CHECKING:
    from dicomsort.evaluation.report import Results
    from dicomsort.evaluation.tables import Table

_WIDE = 110
"""Columns from which on models stand side by side; on fewer each has a block of its own."""

By = Annotated[
    list[str] | None,
    typer.Option(
        help="A column, or header field, whose values have figures of their own.",
        rich_help_panel=FIGURES,
        metavar="COLUMN",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        help="Column of what is resampled as one; none: single images.",
        show_default="patient, where there is such a column",
        rich_help_panel=FIGURES,
        metavar="COLUMN",
    ),
]
Bootstrap = Annotated[
    int,
    typer.Option(min=0, max=1_000_000, help="Resamples for the 95 % intervals.", rich_help_panel=FIGURES),
]
Baseline = Annotated[
    bool | None,
    typer.Option(
        "--baseline/--no-baseline",
        help="Compare with the most common class and a regression.",
        show_default="with several models",
        rich_help_panel=FIGURES,
    ),
]
At = Annotated[
    list[str] | None,
    typer.Option(
        "--at",
        help="Figures at a threshold for sensitivity=0.95, specificity=0.9 or youden; of classes, each.",
        rich_help_panel=FIGURES,
        metavar="GOAL",
    ),
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        help="What a label of the data, or of another model, is called here.",
        rich_help_panel=DATA,
        metavar="OLD=NEW",
    ),
]
CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Folder of pictures read once, such as a training's; what is missing is read and kept there.",
        rich_help_panel=DATA,
        metavar="FOLDER",
    ),
]


def tell(results: "Results", out: Path | None) -> None:
    """Print what the figures must not be taken for, then the tables, then where all of it is."""
    from dicomsort.evaluation import report, tables  # noqa: PLC0415

    console.report_lines(report.lines_of(results))
    several, intervals = len(results.evaluations) > 1, "with" if results.settings.bootstrap else "without"
    for name, one in zip(report.names_of(results.evaluations), results.evaluations, strict=True):
        console.info(f"{name} on {results.part}, {intervals} 95 % bootstrap intervals")
        for measured in one.measured:
            for table in (*tables.tables_of(measured), *tables.point_tables(measured)):
                _show(replace(table, title=f"{name}: {table.title}") if several else table)
    for target, comparisons in results.comparisons.items():
        wide = console.width() >= _WIDE
        for table in (
            (tables.comparison_table(target, comparisons),)
            if wide
            else tables.comparison_blocks(target, comparisons)
        ):
            _show(table)
    if out is not None:
        console.info(
            f"wrote {out / 'report.html'}, with metrics.json, predictions.csv and the plots beside it"
        )


def tell_warnings(results: "Results") -> None:
    """Print what a person must know even with --quiet."""
    from dicomsort.evaluation import report  # noqa: PLC0415

    console.report_lines(line for line in report.lines_of(results) if line.startswith("warning"))


def tell_unread(results: "Results") -> None:
    """Print the files that could not be read, which end the command with code 3."""
    failures = {sample.name: (sample, failure) for one in results.evaluations
                for sample, failure in one.predicted.failures}  # fmt: skip
    console.report_failures(list(failures.values()))
    if failures:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _show(table: "Table") -> None:
    for block in table.fitted(console.width(), console.cells):
        title = textwrap.fill(block.title, console.width(), break_long_words=False, break_on_hyphens=False)
        console.table(title, block.columns, block.rows, right=range(1, len(block.columns)))
