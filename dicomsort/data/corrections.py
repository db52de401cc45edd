"""Labels that were found wrong, kept beside the data instead of in them, each with its reason."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from dicomsort.data import dataset, reviewed
from dicomsort.data.dataset import Columns, Data, Sample, content_hash
from dicomsort.data.reviewed import Decided, Image
from dicomsort.data.table import as_whole, check_width, opened, tidy
from dicomsort.errors import UsageError
from dicomsort.system.pool_settings import PoolSettings

COLUMNS = ["sha256", "column", "was", "becomes", "reason"]
EVERY = "*"
"""In the place of a hash: every image whose column says that and that has no correction of its own."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What a column says of an image, and what it should say; empty where that is unknown.

    sha256: first 16 hex digits of the content's hash, or EVERY. was, becomes: a cell, several labels with
    `|` between.
    """

    sha256: str
    column: str
    was: str
    becomes: str
    reason: str

    def cells(self) -> tuple[str, ...]:
        """Return the line of a file of corrections, by COLUMNS."""
        return self.sha256, self.column, self.was, self.becomes, self.reason


def load(
    data: Path,
    columns: Columns,
    path: Path | None,
    hash_of: Callable[[Path], str] = content_hash,
    pool: PoolSettings | None = None,
) -> tuple[Data, int]:
    """Read a data set as `dataset.load` does, its labels put right by a file; also count these labels.

    path: of a file of corrections, or of an output folder whose decisions on these very images, by content,
    are corrections of the first target. A correction may give a label where there is none. Raises UsageError
    as `read`, `reviewed.decided` and `corrected` do.
    """
    if path is None:
        return dataset.load(data, columns, hash_of, pool=pool), 0
    if dataset.is_class_folder(data):
        raise UsageError("--corrections are of the columns of a CSV, not of a folder of classes")
    decided = (
        reviewed.decided(path, pool or PoolSettings(), hashed=True) if reviewed.is_output(path) else None
    )
    given = read(path) if decided is None else ()
    columns = dataset.meant(data, columns)
    found = dataset.load(data, columns, hash_of, unlabeled=True, pool=pool)
    if decided is not None:
        said = {sample.sha256: sample.label for sample in found.samples}
        given = of_decisions(decided.images, columns.targets[0], said)
    corrections = [_as_read(one) if one.column in found.whole else one for one in given]
    samples, count = corrected(found.samples, columns.targets, corrections, columns.auxiliary)
    if not samples:
        raise UsageError(f"'{data}' holds no labelled file")
    if columns.part and (odd := next((one.name for one in samples if not one.part), "")):
        raise UsageError(f"corrections: '{odd}' has a label now, but no part in column '{columns.part}'")
    unread = tuple((sample, failure) for sample, failure in found.unread if any(sample.targets))
    return replace(found, samples=tuple(samples), unread=unread), count


def _decided(path: Path, pool: PoolSettings | None) -> Decided | None:
    return reviewed.decided(path, pool or PoolSettings(), hashed=True) if reviewed.is_output(path) else None


def of_decisions(images: Iterable[Image], column: str, said: Mapping[str, str]) -> tuple[Correction, ...]:
    """Return what persons' decisions put right. said: what the column says of images, by content's hash."""
    found: dict[str, Correction] = {}
    for image in images:
        was, becomes = said.get(image.sha256), tidy(image.row.reviewed_label)
        if was is not None and was != becomes:
            reason = f"decided by {image.row.reviewed_by} on {image.row.reviewed_at}"
            found[image.sha256] = Correction(image.sha256, column, was, becomes, reason)
    return tuple(found.values())


def read(path: Path) -> tuple[Correction, ...]:
    """Read a file of corrections. Raises UsageError with one line that says what is wrong and where."""
    what = f"corrections '{path}'"
    with opened(path, what) as file:
        reader = csv.DictReader(file, strict=True)
        if reader.fieldnames != COLUMNS:
            raise UsageError(f"{what} must have the columns {','.join(COLUMNS)}")
        return tuple(_correction(row, f"{what} line {reader.line_num}") for row in reader)


def _correction(row: dict[str, str], where: str) -> Correction:
    check_width(row, where)
    if not row["reason"].strip():
        raise UsageError(f"{where}: it gives no reason")
    cells = {name: tidy(row[name]) for name in ("was", "becomes")}
    if cells["was"] == cells["becomes"]:
        raise UsageError(f"{where}: it changes nothing")
    if row["sha256"] == EVERY and not cells["was"]:
        raise UsageError(f"{where}: it gives a label to every image without one")
    return Correction(row["sha256"], row["column"], reason=row["reason"], **cells)


def _as_read(one: Correction) -> Correction:
    """Write a correction of a column of whole numbers as its cells are read: 1.0 is 1."""
    return replace(one, was=as_whole(one.was), becomes=as_whole(one.becomes))


def corrected(
    samples: Sequence[Sample],
    targets: Sequence[str],
    corrections: Sequence[Correction],
    auxiliary: Sequence[str] = (),
) -> tuple[list[Sample], int]:
    """Return the samples with their labels put right, and how many cells that were.

    targets, auxiliary: the columns of these fields of the samples.

    Corrections of other images or columns do not count. A sample without any label left is left out. Raises
    UsageError if the data do not say what a correction is of: they have changed since. Of an image that comes
    with several labels each can be corrected, be the right one, or missing.
    """
    wanted = _by_cell(corrections)
    columns = (*targets, *auxiliary)
    said: dict[tuple[str, str], set[str]] = {}
    for sample in samples:
        for column, cell in zip(columns, (*sample.targets, *sample.auxiliary), strict=True):
            said.setdefault((sample.sha256, column), set()).add(cell)
    kept, count = [], 0
    for sample in samples:
        before, after = (*sample.targets, *sample.auxiliary), []
        for column, cell in zip(columns, before, strict=True):
            key, fact = (sample.sha256, column), f"'{sample.name}' has '{cell}' in column '{column}'"
            general = wanted.get((EVERY, column), {})
            after.append(
                _right(fact, cell, wanted[key], said[key]) if key in wanted else general.get(cell, cell)
            )
        count += sum(old != new for old, new in zip(before, after, strict=True))
        if any(after[: len(targets)]):
            put_right = (tuple(after[: len(targets)]), tuple(after[len(targets) :]))
            kept.append(replace(sample, targets=put_right[0], auxiliary=put_right[1]))
    return kept, count


def _by_cell(corrections: Sequence[Correction]) -> dict[tuple[str, str], dict[str, str]]:
    """Return by image and column what each cell becomes. Raises UsageError where two differ."""
    wanted: dict[tuple[str, str], dict[str, str]] = {}
    for one in corrections:
        cells = wanted.setdefault((one.sha256, one.column), {})
        if one.was in cells:
            raise UsageError("corrections: an image's column is corrected twice")
        cells[one.was] = one.becomes
    return wanted


def _right(fact: str, cell: str, becomes: Mapping[str, str], said: Set[str]) -> str:
    """Return what a cell should say. said: what this column says of the image, wherever that comes."""
    if not becomes or cell in becomes:
        return becomes.get(cell, cell)
    if cell in ("", *becomes.values()) and said & becomes.keys():
        return cell
    raise UsageError(f"corrections: {fact}, not '{min(becomes)}'")
