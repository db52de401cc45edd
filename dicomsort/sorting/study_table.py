"""A table that says which files are of one study, for archives whose headers do not."""

import csv
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

from dicomsort.errors import UsageError
from dicomsort.inputs import walk
from dicomsort.inputs.names import is_remote
from dicomsort.model.studies import StudyRule
from dicomsort.system.escaping import escape

_FILES = ("file", "path")
_VIEW = "view"


@dataclass(frozen=True, slots=True)
class StudyTable:
    """A CSV with a column `file` (or `path`), names relative to its folder, and one of studies.

    column: that of studies; empty for the one by which the model was trained. A column of views (that of
    training, or `view`) counts more than View Position of the header, where it says anything.
    """

    file: str
    column: str = ""


class Told(NamedTuple):
    """What a table says of a file. path: whole. view: empty where it is not told."""

    path: str
    study: str
    view: str


def check(table: StudyTable, rule: StudyRule) -> None:
    """Raise UsageError for a table that is not there, or has not the columns that are needed."""
    with closing(told_by(table, rule)) as told:
        next(told, None)


def told_by(table: StudyTable, rule: StudyRule) -> Generator[Told, None, None]:
    """Yield what a table says, of the files that it gives a study. Raises UsageError if it cannot be used."""
    try:
        with open(table.file, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield from _told(csv.reader(file), table, rule)
    except OSError as error:
        raise UsageError(f"--studies '{escape(table.file)}' cannot be read: {error.strerror}") from error
    except csv.Error as error:
        raise UsageError(f"--studies '{escape(table.file)}' is no CSV: {error}") from error


def _told(lines: Iterator[list[str]], table: StudyTable, rule: StudyRule) -> Iterator[Told]:
    column, folder = table.column or rule.column, os.path.dirname(os.path.abspath(table.file))
    named, study, view = _places(next(lines, []), table, column, rule.view_column)
    for cells in lines:
        if len(cells) > max(named, study) and cells[named] and cells[study].strip():
            told = cells[view].strip() if view is not None and len(cells) > view else ""
            yield Told(_whole(folder, cells[named]), escape(cells[study].strip()), told)


def _places(
    names: list[str], table: StudyTable, column: str, view: str | None
) -> tuple[int, int, int | None]:
    """Return where the columns of files, studies and views stand. Raises UsageError."""
    where = f"--studies '{escape(table.file)}'"
    files = next((name for name in _FILES if name in names), None)
    if files is None:
        raise UsageError(f"{where} has no column 'file': name columns in its first line, with commas between")
    if column not in names:
        raise UsageError(f"{where} has no column '{column}': name that of the studies (--study-column)")
    views = next((name for name in (view, _VIEW) if name in names), None)
    return names.index(files), names.index(column), None if views is None else names.index(views)


def _whole(folder: str, name: str) -> str:
    return name if is_remote(name) else walk.absolute(os.path.join(folder, name))
