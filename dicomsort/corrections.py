"""Labels that were found wrong, kept beside the data instead of in them, each with its reason."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dicomsort import dataset
from dicomsort.dataset import Columns, Data, Sample, content_hash
from dicomsort.errors import UsageError

COLUMNS = ["sha256", "column", "was", "becomes", "reason"]


@dataclass(frozen=True, slots=True)
class Correction:
    """What a column says of an image, and what it should say; nothing, where nobody can tell.

    sha256: first 16 hex digits of the content's hash. was, becomes: a cell, several labels with `|` between.
    """

    sha256: str
    column: str
    was: str
    becomes: str
    reason: str


def load(
    data: Path, columns: Columns, path: Path | None, hash_of: Callable[[Path], str] = content_hash
) -> tuple[Data, int]:
    """Read a data set as `dataset.load` does, its labels put right by a file; also count these labels.

    A correction may give a label where there is none. Raises UsageError as `read` and `corrected` do.
    """
    if path is None:
        return dataset.load(data, columns, hash_of), 0
    if not columns.targets:
        raise UsageError("--corrections are of the columns of a CSV, not of a folder of classes")
    corrections = read(path)
    found = dataset.load(data, columns, hash_of, unlabelled=True)
    samples, count = corrected(found.samples, columns.targets, corrections, columns.auxiliary)
    if not samples:
        raise UsageError(f"'{data}' holds no labelled file")
    unread = tuple((sample, failure) for sample, failure in found.unread if any(sample.cells))
    return replace(found, samples=tuple(samples), unread=unread), count


def read(path: Path) -> tuple[Correction, ...]:
    """Read a file of corrections. Raises UsageError with one line that says what is wrong and where."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if reader.fieldnames != COLUMNS:
                raise UsageError(f"corrections '{path}' must have the columns {','.join(COLUMNS)}")
            return tuple(_correction(row, f"corrections '{path}' line {reader.line_num}") for row in reader)
    except OSError as error:
        raise UsageError(f"corrections '{path}' cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"corrections '{path}' are not a UTF-8 CSV file: {error}") from error


def _correction(row: dict[str, str], where: str) -> Correction:
    if None in row or None in row.values():
        raise UsageError(f"{where}: it has more or fewer cells than the first line has columns")
    if not row["reason"].strip():
        raise UsageError(f"{where}: it gives no reason")
    cells = {name: _sorted(row[name]) for name in ("was", "becomes")}
    if cells["was"] == cells["becomes"]:
        raise UsageError(f"{where}: it changes nothing")
    return Correction(row["sha256"], row["column"], reason=row["reason"], **cells)


def _sorted(cell: str) -> str:
    return "|".join(sorted({label.strip() for label in cell.split("|") if label.strip()}))


def corrected(
    samples: Sequence[Sample],
    targets: Sequence[str],
    corrections: Sequence[Correction],
    auxiliary: Sequence[str] = (),
) -> tuple[list[Sample], int]:
    """Return the samples with their labels put right, and how many cells that were.

    targets, auxiliary: the columns of the samples' cells and hints.

    Corrections of other images or columns do not count. A sample without any label left is left out. Raises
    UsageError if the data do not say what a correction is of: they have changed since.
    """
    wanted = {(one.sha256, one.column): one for one in corrections}
    if len(wanted) < len(corrections):
        raise UsageError("corrections: an image's column is corrected twice")
    kept, count = [], 0
    for sample in samples:
        cells, hints = (
            [_right(sample, column, cell, wanted.get((sample.sha256, column))) for column, cell in pairs]
            for pairs in (
                zip(targets, sample.cells, strict=False),
                zip(auxiliary, sample.hints, strict=True),
            )
        )
        changed = replace(sample, cells=tuple(cells), hints=tuple(hints))
        before, after = (*sample.cells, *sample.hints), (*changed.cells, *changed.hints)
        count += sum(old != new for old, new in zip(before, after, strict=True))
        if any(cells):
            kept.append(changed)
    return kept, count


def _right(sample: Sample, column: str, cell: str, correction: Correction | None) -> str:
    if correction is None:
        return cell
    if correction.was != cell:
        raise UsageError(
            f"corrections: '{sample.name}' has '{cell}' in column '{column}', not '{correction.was}'"
        )
    return correction.becomes
