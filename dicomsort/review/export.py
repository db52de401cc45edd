"""What persons decided, as a table to train on, and as corrections of a table that was trained on."""

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dicomsort.data import corrections, dataset
from dicomsort.data.dataset import Columns
from dicomsort.dicom import isolation, patient
from dicomsort.errors import ModelError, TargetError, UsageError
from dicomsort.inputs import walk
from dicomsort.manifest import reading
from dicomsort.manifest.reading import ManifestRow
from dicomsort.manifest.run_file import RunFile
from dicomsort.manifest.salt import salt_of
from dicomsort.model import bundle as bundles
from dicomsort.outcome import COPIES, Failure, Placement, Status
from dicomsort.sorting.filing import stamp_now
from dicomsort.sorting.place import is_untouched
from dicomsort.sorting.roots import known as known_roots
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import escape
from dicomsort.system.worker_pool import PoolSettings

COLUMNS = ["file", "label", "patient", "source", "model_label", "model_confidence", "seen_in"]


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


@dataclass(frozen=True, slots=True)
class _Image:
    """A file whose class a person decided. row: of the manifest."""

    row: ManifestRow
    path: str
    patient: str
    sha256: str


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
    decided = [
        row for row in reading.read_manifest(out) if row.reviewed_label and row.status is Status.SORTED
    ]
    if not decided:
        raise UsageError(f"nobody has decided on a class in '{escape(out)}': `dicomsort review` it first")
    done = Exported()
    images = _images(out, decided, pool, done)
    known = _known(trained)
    split, roots = _split(decided), known_roots(RunFile(out))
    with_corrections = [image for image in images if image.sha256 in known]
    new = [image for image in images if image.sha256 not in known]
    done.images, done.known = len(new), len(with_corrections)
    done.seen = sum(image.sha256 in split for image in images)
    _write(target, COLUMNS, (_cells(image, split, _source(image.row.path, roots)) for image in new))
    if trained is not None:
        lines = [line for image in with_corrections for line in _corrections(image, trained, known)]
        done.corrected = len(lines)
        _write(beside, corrections.COLUMNS, lines)
    return done


def _images(out: str, rows: Sequence[ManifestRow], pool: PoolSettings, done: Exported) -> list[_Image]:
    """Read whose images these are, in the order of the rows."""
    paths = {}
    for row in rows:
        path = _picture_of(row, out)
        if not path:
            done.left.append((row.path, "it has changed since it was sorted"))
            continue
        try:
            path.encode()
            paths[path] = row
        except UnicodeEncodeError:
            done.left.append((row.path, "its name is not UTF-8, and a table cannot hold it"))
    read = partial(patient.origin_of, salt=salt_of(out))
    found = {}
    for path, origin in isolation.read_all(read, paths, pool):
        if origin is None or isinstance(origin, Failure):
            done.left.append((path, "it cannot be read any more"))
        else:
            found[path] = _Image(paths[path], path, origin.patient, origin.sha256)
    return [found[path] for path in paths if path in found]


def _picture_of(row: ManifestRow, out: str) -> str:
    """Return the path of the bytes that were decided on, the source or else our copy; empty if gone."""
    if (now := stamp_now(row.path)) == row.stamp:
        return row.path
    copy = os.path.abspath(os.path.join(out, row.destination))
    if now is None:
        return copy
    placed = Placement(row.destination, row.action, row.stamp) if row.stamp else None
    own = placed is not None and row.action in COPIES and is_untouched(row.path, copy, placed)
    return copy if own else ""


def _known(trained: Trained | None) -> dict[str, str]:
    """Return by content hash what a table that was trained on says."""
    if trained is None:
        return {}
    found = dataset.load(trained.data, Columns(targets=(trained.target,)), unlabeled=True)
    return {sample.sha256: sample.label for sample in found.samples}


def _split(rows: Sequence[ManifestRow]) -> Mapping[str, str]:
    """Return the split of the model that decided, if it is a shipped one or lies where its name says."""
    tag = rows[0].model.partition("+")[0]
    with suppress(ModelError):
        bundle = bundles.load(bundles.locate(tag.partition("@")[0]))
        if bundle.tag == tag:
            return bundle.split
    return {}


def _source(path: str, roots: Sequence[walk.Root]) -> str:
    """Return the name of the folder that was sorted and holds a file."""
    for root in roots:
        if path == root.path or walk.lies_under(path, root.path):
            return escape(root.name or os.path.basename(root.path))
    return ""


def _cells(image: _Image, split: Mapping[str, str], source: str) -> list[str]:
    row = image.row
    confidence = "" if row.confidence is None else f"{row.confidence:.6f}"
    said = [row.label, confidence, split.get(image.sha256, "")]
    return [image.path, row.reviewed_label, image.patient, source, *said]


def _corrections(image: _Image, trained: Trained, known: Mapping[str, str]) -> list[list[str]]:
    row, was = image.row, known[image.sha256]
    if was == row.reviewed_label:
        return []
    reason = f"decided by {row.reviewed_by} on {row.reviewed_at}"
    return [[image.sha256, trained.target, was, row.reviewed_label, reason]]


def _write(path: str, names: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    try:
        with replacing(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(lines)
    except OSError as error:
        raise TargetError(f"'{escape(path)}' cannot be written: {error.strerror}") from error
