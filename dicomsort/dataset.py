"""Labelled images: which files, which labels, and who is on which side of the split."""

import csv
import hashlib
import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from dicomsort import reader
from dicomsort.bundle import read_split
from dicomsort.errors import UsageError
from dicomsort.labels import check_label
from dicomsort.outcome import Failure, Picture
from dicomsort.preprocess import Preprocessing
from dicomsort.workers import PoolSettings

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)

_FOLDS = (20, 13, 7, 5, 4, 3)
_SHUFFLES = 10
_SHARE = 0.15  # of test, and of validation


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled file, called `name` in its data set.

    group: what no split may divide (a patient). sha256: first 16 hex digits of the content's hash. source:
    where it comes from, such as a hospital; empty if that is not told.
    """

    path: Path
    name: str
    label: str
    group: str
    sha256: str
    source: str = ""


def load(data: Path, target: str | None, source: str | None = None) -> list[Sample]:
    """Read a data set: a CSV with a `file` column and labels in `target`, or a folder of class folders.

    Rows without a label are left out. A `patient` column groups files; without one each file stands alone.
    source: the CSV column that tells where a file comes from.
    Raises UsageError with one line that says what is wrong and where.
    """
    if data.is_dir():
        rows = list(_from_folder(data))
    elif data.is_file():
        rows = list(_from_csv(data, target, source))
    else:
        raise UsageError(f"no data at '{data}': give a CSV file, or a folder with one sub-folder per class")
    if not rows:
        raise UsageError(f"'{data}' holds no labelled file")
    return [
        Sample(row.path, row.name, row.label, row.group, content_hash(row.path), row.source) for row in rows
    ]


class _Row(NamedTuple):
    path: Path
    name: str
    label: str
    group: str
    source: str = ""


def _from_folder(data: Path) -> Iterator[_Row]:
    for folder in sorted(path for path in data.iterdir() if path.is_dir() and not path.name.startswith(".")):
        label = _checked(folder.name, f"folder '{folder}'")
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                name = path.relative_to(data).as_posix()
                yield _Row(path, name, label, name)


def _from_csv(data: Path, target: str | None, source: str | None) -> Iterator[_Row]:
    try:
        with data.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            column = _target_column(data, reader.fieldnames or [], target)
            if source is not None:
                _check_column(data, reader.fieldnames or [], source)
            for row in reader:
                if label := (row[column] or "").strip():
                    found = _csv_row(data, row, label, f"'{data}' line {reader.line_num}")
                    yield found._replace(source=row[source] or "") if source else found
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"'{data}' is not a UTF-8 CSV file: {error}") from error
    except OSError as error:
        raise UsageError(f"'{data}' cannot be read: {error.strerror}") from error


def _csv_row(data: Path, row: dict[str, str], label: str, where: str) -> _Row:
    name = row["file"] or ""
    path = data.parent / name
    if not name or not path.is_file():
        raise UsageError(f"{where}: there is no file '{name}' beside the CSV")
    if "|" in label:
        raise UsageError(
            f"{where}: '{label}' holds several labels; choose a --target with one label per file"
        )
    return _Row(path, name, _checked(label, where), row.get("patient") or name)


def _target_column(data: Path, columns: Sequence[str], target: str | None) -> str:
    if "file" not in columns:
        raise UsageError(f"'{data}' has no column 'file'; its columns are: {', '.join(columns) or 'none'}")
    if target is None:
        raise UsageError(
            f"say which column of '{data}' holds the labels: --target COLUMN ({', '.join(columns)})"
        )
    _check_column(data, columns, target)
    return target


def _check_column(data: Path, columns: Sequence[str], name: str) -> None:
    if name not in columns:
        raise UsageError(f"'{data}' has no column '{name}'; its columns are: {', '.join(columns)}")


def _checked(label: str, where: str) -> str:
    try:
        check_label(label)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
    return label


def content_hash(path: Path) -> str:
    """Return the first 16 hex digits of a file's sha256. Raises UsageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror}") from error


def classes(samples: Iterable[Sample]) -> tuple[str, ...]:
    """Return the labels that occur, sorted. Raises UsageError if there are fewer than two."""
    found = tuple(sorted({sample.label for sample in samples}))
    if len(found) < 2:
        raise UsageError(
            f"a classifier needs at least two classes; the data has {len(found)}: {', '.join(found)}"
        )
    return found


def make_split(samples: Sequence[Sample], seed: int = 0) -> dict[str, str]:
    """Split 0.7/0.15/0.15 into train, validation and test: content hash -> part.

    Stratified by label, and no group (patient) is on two sides (scikit-learn's StratifiedGroupKFold, 3 of
    20 folds each). Where a class is so rare that a part would miss it, other shuffles and then fewer
    folds are tried. Raises UsageError if none puts every class into every part.
    """
    labels, groups = [sample.label for sample in samples], _merged_groups(samples)
    counts = Counter(labels)
    for folds in (folds for folds in _FOLDS if folds <= min(max(counts.values()), len(set(groups)))):
        for shuffle in range(_SHUFFLES):
            split = _split_in_folds(samples, labels, groups, folds, seed + 1000 * shuffle)
            if len({(sample.label, split[sample.sha256]) for sample in samples}) == len(PARTS) * len(counts):
                return split
    rare = counts.most_common()[-1][0]
    raise UsageError(
        f"no split has class '{rare}' ({counts[rare]} files) in every part: label files of at least three "
        "patients of each class, or give a --split"
    )


def _split_in_folds(
    samples: Sequence[Sample], labels: list[str], groups: list[str], folds: int, seed: int
) -> dict[str, str]:
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    share = max(1, round(_SHARE * folds))
    split: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # a class with fewer files than folds: checked by the caller
        for number, (_, members) in enumerate(splitter.split(np.zeros(len(samples)), labels, groups)):
            part = TEST if number < share else VALIDATION if number < 2 * share else TRAIN
            split.update((samples[index].sha256, part) for index in members)
    return split


def _merged_groups(samples: Sequence[Sample]) -> list[str]:
    """Return each sample's group, where groups that share a file's content count as one."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for sample in samples:
        parent[root(f"content {sample.sha256}")] = root(f"group {sample.group}")
    return [root(f"group {sample.group}") for sample in samples]


def load_split(path: Path) -> dict[str, str]:
    """Read a split file (`sha256,part`). Raises UsageError if it is none."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return read_split(file)
    except OSError as error:
        raise UsageError(f"split '{path}' cannot be read: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        raise UsageError(f"split '{path}': {error}") from error


def in_part(samples: Iterable[Sample], split: dict[str, str], part: str) -> list[Sample]:
    """Select the samples of a part; `all` selects every one. Files that are in no split count as test."""
    if part == "all":
        return list(samples)
    return [sample for sample in samples if split.get(sample.sha256, TEST) == part]


def read_all(
    samples: Sequence[Sample], preprocessing: Preprocessing, pool: PoolSettings
) -> Generator[tuple[Sample, Picture | Failure], None, None]:
    """Read samples in worker processes, in the order of completion."""
    yield from reader.read_all(partial(_read_sample, preprocessing=preprocessing), samples, pool)


def _read_sample(sample: Sample, preprocessing: Preprocessing) -> Picture | Failure:
    return reader.read_any(str(sample.path), preprocessing)


def listed(samples: Iterable[Sample], split: dict[str, str], part: str) -> list[Sample]:
    """Select the samples that a split names as of a part."""
    return [sample for sample in samples if split.get(sample.sha256) == part]
