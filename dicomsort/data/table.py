"""The CSV of a data set: which of its columns mean what, and what stands in its cells."""

import csv
import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from dicomsort.data import reviewed
from dicomsort.errors import UsageError
from dicomsort.model.heads import check_label
from dicomsort.model.studies import StudyRule

FILE, PATIENT, NONE = "file", "patient", "none"
EVIDENCE = ("age", "modality", "sop_class")
"""The columns of a CSV that say what a DICOM header would say as evidence."""

UNKNOWN = frozenset({"nan", "<na>", "nat"})
"""What pandas writes for a missing value turned into text, in lower case; read like an empty cell."""

_NOTHING = frozenset({"none", "null", "na", "n/a", "unknown"})
"""What may mean "unknown", or be a class: read as a class, with a remark where all others are numbers."""

_WHOLE = re.compile(r"(\d+)(?:\.0*)?")
_NUMBERED = r"(?:id|ids|identifier|uid|no|nr|num|number|key|code|hash|index|idx|name|mrn)"
_PERSON = r"(?:patient(?:s|en)?|subjects?|persons?|participants?|individuals?)"
_PERSONS = re.compile(
    rf"(?:anon\w*|pseudo\w*|deid\w*|hashed|unique|study|{_NUMBERED})?{_PERSON}{_NUMBERED}?"
    rf"|(?:pat|pt|subj){_NUMBERED}|pid|mrn|empi\w*"
)
_CASES = re.compile(rf"{_NUMBERED}?cases?{_NUMBERED}?")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a CSV that mean something. study: how files with the same value become one image.

    auxiliary: columns to learn from that are no targets. evidence: those of EVIDENCE that tell what a header
    would say. patient: what no split may divide; None for the
    column `patient` if there is one, `none` where every file stands alone on purpose.
    """

    targets: tuple[str, ...] = ()
    source: str | None = None
    part: str | None = None
    study: StudyRule | None = None
    metadata: tuple[str, ...] = ()
    auxiliary: tuple[str, ...] = ()
    patient: str | None = None
    evidence: tuple[str, ...] = ()

    @property
    def concat(self) -> str | None:
        """That of studies whose files become one image."""
        return None if self.study is None else self.study.column

    @property
    def view(self) -> str | None:
        """That which tells the views of a study."""
        return None if self.study is None else self.study.view_column

    @property
    def labels(self) -> tuple[str, ...]:
        """Those whose cells hold labels."""
        return (*self.targets, *self.auxiliary)

    @property
    def used(self) -> tuple[str, ...]:
        """All of them but that of patients."""
        named = (self.source, self.part, self.concat, self.view)
        return (*self.labels, *self.metadata, *self.evidence, *(name for name in named if name is not None))


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a CSV's columns, by column; empty where unknown. lines: where each row ends.

    patient: the column that tells patients apart, None if there is none. whole: the label columns that hold
    nothing but whole numbers. remarks: what was read otherwise than it is written, in lines.
    """

    lines: tuple[int, ...]
    cells: Mapping[str, Sequence[str]]
    patient: str | None
    whole: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()


@contextmanager
def opened(path: Path, what: str) -> Iterator[TextIO]:
    """Open a UTF-8 CSV file, in messages called `what`. Raises UsageError if it cannot be read as one."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except OSError as error:
        raise UsageError(f"{what} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{what} cannot be read: not a UTF-8 CSV file: {error}") from error


def check_width(row: Mapping[str, str | None], where: str) -> None:
    """Raise UsageError unless a row has as many cells as there are columns."""
    if None in row or None in row.values():
        raise UsageError(f"{where}: it has more or fewer cells than the first line has columns")


def read(path: Path, columns: Columns) -> Table:
    """Read the columns of a CSV that are used, each cell without spaces around it; labels in order.

    Raises UsageError with one line for what is no such CSV, two columns of one name, a column that is not
    there, one that looks like `patient` without being called so, and impossible labels.
    """
    with opened(path, f"'{path}'") as file:
        reader = csv.DictReader(file, strict=True)
        names = tuple(reader.fieldnames or ())
        return made(path, names, ((reader.line_num, row) for row in reader), columns)


def made(
    path: Path,
    names: Sequence[str],
    numbered: Iterable[tuple[int, Mapping[str, str | None]]],
    columns: Columns,
) -> Table:
    """Make a table of rows, as `read` does of a CSV. numbered: each row with its line, for messages."""
    patient = _check(path, names, columns)
    beside = _alike(names, columns) if patient == PATIENT and columns.patient is None else []
    wanted = dict.fromkeys(name for name in (FILE, *columns.used, patient, *beside) if name is not None)
    lines, rows = [], []
    for line, row in numbered:
        lines.append(line)
        rows.append(_row(row, wanted, f"'{path}' line {line}"))
    written = {name: [row[at] for row in rows] for at, name in enumerate(wanted)}
    return _understood(path, Table(tuple(lines), written, patient), columns, beside)


def _understood(path: Path, table: Table, columns: Columns, beside: Sequence[str]) -> Table:
    """Interpret the cells. beside: columns that look like patients, in addition to the one that is used."""
    cells, remarks = dict(table.cells), list(table.remarks)
    for name in (name for name in cells if name not in (FILE, *columns.labels)):
        cells[name] = [_known(cell.strip()) for cell in table.cells[name]]
        if name == table.patient or name in columns.used:
            remarks += _told_unknown(name, map(str.strip, table.cells[name]))
    for name in (name for name in (columns.concat, table.patient) if name is not None):
        cells[name] = [_number(cell) for cell in cells[name]]
    if table.patient is not None:
        _check_beside(path, cells[table.patient], {name: map(_number, cells[name]) for name in beside})
    labels, whole, told = _labels(path, table, columns)
    return Table(table.lines, cells | labels, table.patient, whole, (*remarks, *told))


def _labels(
    path: Path, table: Table, columns: Columns
) -> tuple[dict[str, list[str]], frozenset[str], list[str]]:
    """Return the cells of the label columns, which of these hold whole numbers, and remarks on them."""
    cells, remarks = {name: [tidy(cell) for cell in table.cells[name]] for name in columns.labels}, []
    for name, found in cells.items():
        words = (word.strip() for cell in table.cells[name] for word in cell.split("|"))
        remarks += [*_told_unknown(name, words), *_told_labels(name, found)]
    whole = frozenset(name for name, found in cells.items() if is_whole(found))
    cells |= {name: [as_whole(cell) for cell in cells[name]] for name in whole}
    for at, line in enumerate(table.lines):
        for found in cells.values():
            _check_labels(found[at], f"'{path}' line {line}")
    return cells, whole, remarks


def columns_of(path: Path) -> tuple[str, ...]:
    """Name the columns of a CSV, or of an output folder; nothing for classes, or what `read` will refuse."""
    if reviewed.is_output(path):
        return reviewed.TOLD
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return tuple(csv.DictReader(file).fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error):
        return ()


def evidence_in(path: Path, others: Iterable[str] = ()) -> tuple[str, ...]:
    """Name the columns of a CSV that tell evidence. others: columns that hold labels, which are none."""
    return tuple(name for name in EVIDENCE if name in columns_of(path) and name not in set(others))


def named(column: str, names: Sequence[str]) -> str | None:
    """Return the column of a name, or else the only one that looks the same, but for spaces around it."""
    if column in names:
        return column
    same = [name for name in names if _visible(name) == _visible(column)]
    return same[0] if len(same) == 1 else None


def tidy(cell: str) -> str:
    """Sort the labels of a cell, each once, without spaces around it and those that say nothing."""
    return "|".join(sorted({_known(label.strip()) for label in cell.split("|")} - {""}))


def is_whole(cells: Iterable[str]) -> bool:
    """Return whether cells hold whole numbers alone, such as 2 or 2.0, and at least one."""
    labels = {label for cell in cells for label in cell.split("|")} - {""}
    return bool(labels) and all(_WHOLE.fullmatch(label) for label in labels)


def as_whole(cell: str) -> str:
    """Write labels that are whole numbers without a point; pandas gives them one where some are missing."""
    return "|".join(sorted({_number(label) for label in cell.split("|")}))


def _number(text: str) -> str:
    return found[1] if (found := _WHOLE.fullmatch(text)) else text


def names_people(column: str) -> bool:
    """Return whether a column may hold names or numbers of people, which belong into no output."""
    plain = _plain(column)
    harmless = ("age", "sex", "position", "orientation", "size", "weight")
    person = ("patient" in plain and not plain.endswith(harmless)) or plain in ("name", "mrn", "birthdate")
    return person or _PERSONS.fullmatch(plain) is not None


def _plain(column: str) -> str:
    """Return a name's letters and digits in lower case: no spaces, marks, or what cannot be seen."""
    return "".join(char for char in unicodedata.normalize("NFKC", column).casefold() if char.isalnum())


def _alike(names: Sequence[str], columns: Columns) -> list[str]:
    """Name the columns that look like one of patients, and are asked for as nothing else."""
    others = (*columns.labels, columns.concat)
    found = [name for name in names if _PERSONS.fullmatch(_plain(name)) or _CASES.fullmatch(_plain(name))]
    return [name for name in dict.fromkeys(found) if name not in others]


def _check(path: Path, names: Sequence[str], columns: Columns) -> str | None:
    """Raise UsageError unless the columns can be used as asked; return that of patients, if there is one."""
    if len(names) == 1 and ";" in names[0]:
        raise UsageError(f"'{path}' is separated by ';': use commas")
    if FILE not in names:
        raise UsageError(f"'{path}' has no column '{FILE}'; its columns are: {_listed(names) or 'none'}")
    if not columns.targets:
        raise UsageError(f"say which column of '{path}' holds the labels: --target COLUMN ({_listed(names)})")
    for name in columns.used:
        if name not in names:
            raise UsageError(f"'{path}' has no column '{name}'; its columns are: {_listed(names)}")
    patient = _patient(path, names, columns)
    stripped = [name.strip() for name in names]
    for name in (FILE, *columns.used, *(name for name in (patient,) if name is not None)):
        if stripped.count(name.strip()) > 1:
            raise UsageError(f"'{path}' has two columns '{name.strip()}': rename one, or take it out")
    return patient


def _patient(path: Path, names: Sequence[str], columns: Columns) -> str | None:
    if columns.patient == NONE:
        return None
    if columns.patient is not None:
        if (patient := named(columns.patient, names)) is None:
            raise UsageError(f"'{path}' has no column '{columns.patient}'; its columns are: {_listed(names)}")
        return patient
    if PATIENT in names:
        return PATIENT
    if not (alike := _alike(names, columns)):
        return None
    are = "looks" if len(alike) == 1 else "look"
    raise UsageError(
        f"'{path}' has no column '{PATIENT}', but {_quoted(alike)} {are} like it: say "
        f"--patient {_argument(alike[0], names)}, or --patient {NONE} if every file stands alone"
    )


def _check_beside(path: Path, patients: Sequence[str], others: Mapping[str, Iterable[str]]) -> None:
    """Raise UsageError if a column that looks like patients has files of several of these as one's."""
    for name, cells in others.items():
        first: dict[str, str] = {}
        for patient, cell in zip(patients, cells, strict=True):
            if cell and first.setdefault(cell, patient) != patient:
                raise UsageError(
                    f"'{path}' has the columns '{PATIENT}' and '{name}', and files of one '{name}' have "
                    f"several '{PATIENT}': say --patient {PATIENT}, or --patient "
                    f"{_argument(name, [PATIENT, name])}"
                )


def _argument(column: str, names: Sequence[str]) -> str:
    """Return how a person types the name of a column."""
    return shlex.quote(_visible(column) if named(_visible(column), names) == column else column)


def _visible(name: str) -> str:
    return "".join(filter(str.isprintable, name)).strip()


def _listed(names: Sequence[str]) -> str:
    """List names; one with spaces around it in quotation marks, so that they can be seen."""
    return ", ".join(name if name == name.strip() else f"'{name}'" for name in names)


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)


def _row(row: Mapping[str, str | None], wanted: Iterable[str], where: str) -> list[str]:
    check_width(row, where)
    if not row[FILE]:
        raise UsageError(f"{where}: the column '{FILE}' is empty")
    return [row[name] or "" for name in wanted]


def _known(cell: str) -> str:
    return "" if cell.casefold() in UNKNOWN else cell


def _check_labels(cell: str, where: str) -> None:
    for label in filter(None, cell.split("|")):
        try:
            check_label(label)
        except ValueError as error:
            raise UsageError(f"{where}: {error}") from error


def _told_unknown(name: str, words: Iterable[str]) -> Iterator[str]:
    """Report how many cells of a column hold a word that counts as empty."""
    if found := [word for word in words if word and not _known(word)]:
        yield f"column '{name}' says '{found[0]}' {len(found)} times: read as an empty cell, nobody knows"


def _told_labels(name: str, cells: Sequence[str]) -> Iterator[str]:
    """Report labels that are read differently from how they are written, or perhaps meant."""
    labels = sorted({label for cell in cells for label in cell.split("|")} - {""})
    numbers = [label for label in labels if _WHOLE.fullmatch(label)]
    others = [label for label in labels if label not in numbers]
    if changed := [label for label in numbers if not others and as_whole(label) != label]:
        yield f"column '{name}' holds whole numbers: '{changed[0]}' is read as '{as_whole(changed[0])}'"
    if numbers and len(others) == 1 and others[0].casefold() in _NOTHING:
        yield (
            f"warning: column '{name}' holds numbers and '{others[0]}', which counts as a class; "
            "leave the cell empty where nobody knows"
        )
