"""Labelled images: which files, and what is known of each."""

import csv
import errno
import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dicomsort import reader
from dicomsort.bundle import read_split
from dicomsort.errors import UsageError
from dicomsort.labels import check_label
from dicomsort.names import escape
from dicomsort.outcome import Failure, Picture, Reason, Status
from dicomsort.preprocess import Preprocessing, beside
from dicomsort.workers import PoolSettings

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)

_PART_NAMES = {**{part: part for part in PARTS}, "val": VALIDATION, "valid": VALIDATION}
_ABSENT = Failure(Status.IO_ERROR, Reason.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled image, called `name` in its data set.

    cells: what the target columns say of it, empty where nobody knows; several labels have `|` between them.
    group: what no split may divide (a patient). sha256: first 16 hex digits of the content's hash. source:
    where it comes from, such as a hospital; empty if that is not told. part: of a split that the data bring
    with them, or empty. facts: other columns that were asked for. more: further files of the same study,
    which are shown beside the first. contents: the hashes of all its files. hints: what the auxiliary columns
    say, as cells do; empty where the files of a study differ.
    """

    path: Path
    name: str
    cells: tuple[str, ...]
    group: str
    sha256: str
    source: str = ""
    part: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    more: tuple[Path, ...] = ()
    contents: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What the first target column says."""
        return self.cells[0]


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a CSV that mean something. concat: files with the same value become one image.

    auxiliary: columns to learn from that are no targets.
    """

    targets: tuple[str, ...] = ()
    source: str | None = None
    part: str | None = None
    concat: str | None = None
    facts: tuple[str, ...] = ()
    auxiliary: tuple[str, ...] = ()

    @property
    def used(self) -> tuple[str, ...]:
        """All of them."""
        named = (self.source, self.part, self.concat)
        return (*self.targets, *self.auxiliary, *self.facts, *(name for name in named if name is not None))


Unread = tuple[Sample, Failure]


@dataclass(frozen=True, slots=True)
class Data:
    """A data set: its samples, those whose file cannot be read, and whether it tells patients apart."""

    samples: tuple[Sample, ...]
    unread: tuple[Unread, ...]
    has_patients: bool


def content_hash(path: Path) -> str:
    """Return the first 16 hex digits of a file's sha256. Raises OSError if it cannot be read."""
    if not path.is_file():  # a pipe would never end
        raise OSError(errno.EINVAL, "not a regular file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def load(
    data: Path,
    columns: Columns,
    hash_of: Callable[[Path], str] = content_hash,
    *,
    unlabelled: bool = False,
) -> Data:
    """Read a data set: a CSV with a `file` column, or a folder of class folders, for each part or for all.

    A row without any label is left out, unless `unlabelled` ones are wanted and it is of no labelled study. A
    `patient` column groups files; without one each file stands alone.
    Raises UsageError with one line that says what is wrong and where.
    """
    try:
        rows, has_patients = _rows_of(data, columns)
    except OSError as error:
        raise UsageError(
            f"'{escape(str(error.filename or data))}' cannot be read: {error.strerror}"
        ) from error
    except ValueError as error:
        raise UsageError(f"no data at '{escape(str(data))}': no file has such a name") from error
    labelled = {row.study or row.name for row in rows if any(row.cells)}
    rows = [row for row in rows if any(row.cells) or (unlabelled and (row.study or row.name) not in labelled)]
    if not rows:
        raise UsageError(f"'{data}' holds no labelled file")
    studies = _studies(rows) if columns.concat else [[row] for row in rows]
    found = [_sample(study, hash_of) for study in studies]
    samples = tuple(sample for sample in found if sample.sha256)
    if not samples:
        raise UsageError(f"none of the {len(rows)} files of '{data}' can be read, such as '{rows[0].path}'")
    unread = tuple((sample, _ABSENT) for sample in found if not sample.sha256)
    return Data(samples, unread, has_patients)


def _rows_of(data: Path, columns: Columns) -> tuple[list["_Row"], bool]:
    if data.is_dir():
        if columns.used:
            raise UsageError(f"'{data}' is a folder of classes; '{columns.used[0]}' names a column of a CSV")
        return list(_from_folder(data)), False
    if data.is_file():
        return _from_csv(data, columns)
    raise UsageError(f"no data at '{data}': give a CSV file, or a folder with one sub-folder per class")


class _Row(NamedTuple):
    path: Path
    name: str
    cells: tuple[str, ...]
    group: str
    source: str = ""
    part: str = ""
    study: str = ""
    facts: Mapping[str, str] = {}
    hints: tuple[str, ...] = ()


def _sample(study: Sequence[_Row], hash_of: Callable[[Path], str]) -> Sample:
    """Make one sample of the files of a study; the hash of several is that of their hashes."""
    first, hashes = study[0], []
    for row in study:
        try:
            hashes.append(hash_of(row.path))
        except (OSError, ValueError):  # ValueError: a name that no file system takes
            first, hashes = row, [""]
            break
    told = zip(*(row.hints for row in study), strict=True)
    hints = tuple(cells[0] if len(set(cells)) == 1 else "" for cells in told)
    several = hashlib.sha256(",".join(hashes).encode()).hexdigest()[:16]
    return Sample(
        first.path, first.name, first.cells, first.group, hashes[0] if len(hashes) == 1 else several,
        first.source, first.part, first.facts, tuple(row.path for row in study[1:]), tuple(hashes),
        hints,
    )  # fmt: skip


def _studies(rows: Iterable[_Row]) -> list[list[_Row]]:
    studies: dict[str, list[_Row]] = {}
    for row in rows:
        study = studies.setdefault(row.study or row.name, [])
        if study and _apart(study[0]) != _apart(row):
            raise UsageError(
                f"'{study[0].name}' and '{row.name}' are of one study but differ in labels, patient or part"
            )
        study.append(row)
    return list(studies.values())


def _apart(row: _Row) -> tuple[object, ...]:
    """Return what the files of one study must have in common; a file without patient stands for its study."""
    return row.cells, row.group if row.group != row.name else "", row.part


def _from_folder(data: Path) -> Iterator[_Row]:
    folders = _folders_in(data)
    parts = {folder: _PART_NAMES.get(folder.name.casefold(), "") for folder in folders}
    if not any(parts.values()):
        yield from _class_folders(data, data)
        return
    if not all(parts.values()):
        odd = next(folder.name for folder in folders if not parts[folder])
        raise UsageError(f"'{data}' holds folders of parts, such as train, but '{odd}' is none")
    for folder, part in parts.items():
        for row in _class_folders(folder, data):
            yield row._replace(part=part)


def _folders_in(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in found if not folder.resolve().is_relative_to(path.resolve()))


def _files_in(folder: Path) -> list[Path]:
    """List the files below a folder, without hidden ones. Raises OSError if a folder cannot be listed."""

    def fail(error: OSError) -> None:
        raise error

    walked = os.walk(folder, onerror=fail)
    return sorted(Path(place) / name for place, _, names in walked for name in names if name[0] != ".")


def _class_folders(parent: Path, data: Path) -> Iterator[_Row]:
    for folder in _folders_in(parent):
        label = _checked(folder.name, f"folder '{folder}'")
        for path in _files_in(folder):
            name = path.relative_to(data).as_posix()
            yield _Row(path, name, (label,), name)


def _from_csv(data: Path, columns: Columns) -> tuple[list[_Row], bool]:
    try:
        with data.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames or []
            _check_columns(data, names, columns)
            rows = (_csv_row(data, row, columns, reader.line_num) for row in reader)
            return list(rows), "patient" in names
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"'{data}' is not a UTF-8 CSV file: {error}") from error


def _check_columns(data: Path, names: Sequence[str], columns: Columns) -> None:
    if twice := [name for name in names if names.count(name) > 1 and name in ("file", *columns.used)]:
        raise UsageError(f"'{data}' has two columns '{twice[0]}'")
    if len(names) == 1 and ";" in names[0]:
        raise UsageError(f"'{data}' is separated by ';': use commas")
    if "file" not in names:
        raise UsageError(f"'{data}' has no column 'file'; its columns are: {', '.join(names) or 'none'}")
    if not columns.targets:
        raise UsageError(
            f"say which column of '{data}' holds the labels: --target COLUMN ({', '.join(names)})"
        )
    for name in columns.used:
        if name not in names:
            raise UsageError(f"'{data}' has no column '{name}'; its columns are: {', '.join(names)}")


def _csv_row(data: Path, row: Mapping[str, str | None], columns: Columns, line: int) -> _Row:
    def cell(name: str | None) -> str:
        return (row.get(name) or "").strip() if name else ""

    where, name = f"'{data}' line {line}", row["file"] or ""
    if None in row or None in row.values():
        raise UsageError(f"{where}: it has more or fewer cells than the first line has columns")
    if not name:
        raise UsageError(f"{where}: the column 'file' is empty")
    cells = tuple(_tidy(cell(target), where) for target in columns.targets)
    hints = tuple(_tidy(cell(column), where) for column in columns.auxiliary)
    part = cell(columns.part)
    if columns.part and any(cells) and part.casefold() not in _PART_NAMES:
        raise UsageError(f"{where}: '{part}' in column '{columns.part}' is not train, validation or test")
    facts = {fact: cell(fact) for fact in columns.facts}
    return _Row(
        data.parent / name, name, cells, cell("patient") or name, cell(columns.source),
        _PART_NAMES.get(part.casefold(), ""), cell(columns.concat), facts, hints,
    )  # fmt: skip


def _tidy(cell: str, where: str) -> str:
    """Sort the labels of a cell and check each."""
    labels = sorted({label.strip() for label in cell.split("|") if label.strip()})
    return "|".join(_checked(label, where) for label in labels)


def _checked(label: str, where: str) -> str:
    try:
        check_label(label)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
    return label


def names_people(column: str) -> bool:
    """Tell whether a column may hold names or numbers of people, which belong into no output."""
    plain = column.casefold().replace("_", "").replace(" ", "")
    harmless = ("age", "sex", "position", "orientation", "size", "weight")
    return ("patient" in plain and not plain.endswith(harmless)) or plain in ("name", "mrn", "birthdate")


def load_split(path: Path) -> dict[str, str]:
    """Read a split file (`sha256,part`). Raises UsageError if it is none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return read_split(file)
    except OSError as error:
        raise UsageError(f"split '{path}' cannot be read: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        raise UsageError(f"split '{path}': {error}") from error


def in_part(samples: Iterable[Sample], split: Mapping[str, str], part: str) -> list[Sample]:
    """Select the samples of a part; `all` selects every one. Files that are in no split count as test."""
    if part == "all":
        return list(samples)
    return [sample for sample in samples if split.get(sample.sha256, TEST) == part]


def listed(samples: Iterable[Sample], split: Mapping[str, str], part: str) -> list[Sample]:
    """Select the samples that a split names as of a part."""
    return [sample for sample in samples if split.get(sample.sha256) == part]


def read_all(
    samples: Iterable[Sample], preprocessing: Preprocessing, pool: PoolSettings
) -> Generator[tuple[Sample, Picture | Failure], None, None]:
    """Read samples in worker processes, in the order of completion."""
    yield from reader.read_all(partial(_read_sample, preprocessing=preprocessing), samples, pool)


def _read_sample(sample: Sample, preprocessing: Preprocessing) -> Picture | Failure:
    first = reader.read_any(str(sample.path), preprocessing)
    if isinstance(first, Failure) or not sample.more:
        return first
    pictures = [first.image]
    for path in sample.more:
        reading = reader.read_any(str(path), preprocessing)
        if isinstance(reading, Failure):
            return reading
        pictures.append(reading.image)
    return Picture(beside(pictures, preprocessing))
