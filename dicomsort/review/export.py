"""What persons decided, as a table to train on, and as corrections of a table that was trained on."""

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dicomsort.data import corrections, dataset, reviewed
from dicomsort.data.dataset import Columns
from dicomsort.data.reviewed import COLUMNS, Decided, Image
from dicomsort.errors import TargetError, UsageError
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import escape
from dicomsort.system.pool_settings import PoolSettings


@dataclass(frozen=True, slots=True)
class Trained:
    """The table that a model was trained on, and the column of its labels."""

    data: Path
    target: str


@dataclass(slots=True)
class Exported:
    """What was written. seen: images that the model was trained, validated or tested on.

    corrected, known: of the table that was trained on: images whose label changes, and that are in it at all.
    left: files that are in no table, and why.
    """

    images: int = 0
    seen: int = 0
    corrected: int = 0
    known: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)


def export(out: str, target: str, pool: PoolSettings, trained: Trained | None = None) -> Exported:
    """Write a table of the files whose class a person decided: a data set for `train`, see COLUMNS.

    file: the source or, where that is gone, our copy. patient: see `dicom.patient`; its salt stays in the
    output, so keys of two outputs tell nothing of each other. source: the folder that was sorted. seen_in:
    the part of the model's own split that holds this very image. What is excluded or unsure is left out.

    trained: a table that the model was trained on. Its images come as corrections instead, for `train
    --corrections`, in a file beside, where the label differs. Raises UsageError if a file exists or there is
    nothing to write, TargetError.
    """
    beside = f"{os.path.splitext(target)[0]}-corrections.csv"
    for path in (target, *([beside] if trained else [])):
        if os.path.lexists(path):
            raise UsageError(f"'{escape(path)}' exists: choose a new file")
    done = Exported()
    images = _images(reviewed.decided(Path(out), pool, hashed=True), done)
    known = _known(trained)
    with_corrections = [image for image in images if image.sha256 in known]
    new = [image for image in images if image.sha256 not in known]
    done.images, done.known = len(new), len(with_corrections)
    done.seen = sum(bool(image.seen_in) for image in images)
    cells = (image.cells() for image in new)
    _write(target, COLUMNS, ([each[name] for name in COLUMNS] for each in cells))
    if trained is not None:
        right = corrections.of_decisions(with_corrections, trained.target, known)
        done.corrected = len(right)
        _write(beside, corrections.COLUMNS, (one.cells() for one in right))
    return done


def _images(found: Decided, done: Exported) -> list[Image]:
    """Return the images that a table can hold; note the others as left out."""
    for row, failure in found.left:
        changed = failure == reviewed.CHANGED
        why = "it has changed since it was sorted" if changed else "it cannot be read any more"
        done.left.append((row.path, why))
    images = []
    for image in found.images:
        try:
            image.path.encode()
            images.append(image)
        except UnicodeEncodeError:
            done.left.append((image.row.path, "its name is not UTF-8, and a table cannot hold it"))
    return images


def _known(trained: Trained | None) -> dict[str, str]:
    """Return by content hash what a table that was trained on says."""
    if trained is None:
        return {}
    found = dataset.load(trained.data, Columns(targets=(trained.target,)), unlabeled=True)
    return {sample.sha256: sample.label for sample in found.samples}


def _write(path: str, names: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    try:
        with replacing(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(lines)
    except OSError as error:
        raise TargetError(f"'{escape(path)}' cannot be written: {error.strerror}") from error
