"""What persons decided in an output folder of `classify`: which images, whose they are, where they lie."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dicomsort.dicom import isolation, patient
from dicomsort.dicom.patient import Origin
from dicomsort.errors import ModelError, UsageError
from dicomsort.inputs import names, walk
from dicomsort.inputs.sources import stamp_of
from dicomsort.manifest import reading
from dicomsort.manifest.columns import FIRST
from dicomsort.manifest.names import MANIFEST, SHARDS, output_of
from dicomsort.manifest.reading import ManifestRow
from dicomsort.manifest.run_file import RunFile
from dicomsort.manifest.salt import salt_of
from dicomsort.model import bundle as bundles
from dicomsort.outcome import COPIES, Failure, Placement, Reason, Status
from dicomsort.sorting.place import is_untouched
from dicomsort.sorting.roots import known as known_roots
from dicomsort.system.escaping import escape
from dicomsort.system.pool_settings import PoolSettings

LABEL, SEEN = "label", "seen_in"
COLUMNS = ("file", LABEL, "patient", "source", "model_label", "model_confidence", SEEN)
"""What a table of decisions holds; `review --export` writes it."""

TOLD = (*COLUMNS, "study", "view")
"""The columns that an output folder has as a data set: Study Instance UID and View Position as well."""

GONE = Failure(Status.IO_ERROR, Reason.VANISHED)
CHANGED = Failure(Status.IO_ERROR, Reason.DECIDED_BEFORE)


@dataclass(frozen=True, slots=True)
class Image:
    """A file whose class a person decided. row: of the manifest.

    path: of the source or, where that is gone or lies in an archive or a store, of our copy. patient: a key,
    see `dicom.patient`. sha256: first 16 hex digits of the content's hash; empty if that was not asked for.
    source: the name of the folder that was sorted. seen_in: the part of the model's own split that holds this
    very image; empty without a hash.
    """

    row: ManifestRow
    path: str
    patient: str
    sha256: str = ""
    source: str = ""
    seen_in: str = ""

    def cells(self) -> dict[str, str]:
        """Return what is told of it, by the names of TOLD."""
        row = self.row
        confidence = "" if row.confidence is None else f"{row.confidence:.6f}"
        said = (row.label, confidence, self.seen_in, row.header.study_instance_uid, row.header.view_position)
        values = (self.path, row.reviewed_label, self.patient, self.source, *said)
        return dict(zip(TOLD, values, strict=True))


@dataclass(frozen=True, slots=True)
class Decided:
    """The images that persons decided on, and those of them that cannot be used, with why."""

    images: tuple[Image, ...]
    left: tuple[tuple[ManifestRow, Failure], ...]


def is_output(data: Path) -> bool:
    """Return whether data are an output folder of `classify`, or the manifest in one."""
    out = Path(output_of(str(data)))
    with suppress(OSError, UnicodeDecodeError, ValueError, csv.Error):
        if (out / SHARDS).is_dir():
            return True
        with (out / MANIFEST).open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [""])[0] == FIRST
    return False


def decided(data: Path, pool: PoolSettings, *, hashed: bool = False) -> Decided:
    """Return the images of an output folder whose class a person decided, in the order of its manifest.

    What is excluded or unsure is left out. hashed: whether contents are hashed, which reads all of them, and
    `seen_in` told. Patients' keys are made with the salt of the output, so those of two outputs tell nothing
    of each other.
    Raises UsageError if there is no manifest, or nobody has decided; TargetError if no salt can be written.
    """
    out = output_of(str(data))
    rows = [row for row in reading.read_manifest(out) if row.reviewed_label and row.status is Status.SORTED]
    if not rows:
        raise UsageError(
            f"nobody has decided on a class in '{escape(out)}': `dicomsort review {escape(out)}` it first"
        )
    files = {id(row): _picture_of(row, out) for row in rows}
    paths = [path for path in files.values() if path]
    origins = _origins(out, paths, pool, hashed=hashed)
    split, roots = _split(rows) if hashed else {}, known_roots(RunFile(out))
    images, left = [], []
    for row in rows:
        path = files[id(row)]
        origin = origins.get(path, GONE) if path else CHANGED
        if isinstance(origin, Failure):
            left.append((row, origin))
        else:
            seen = split.get(origin.sha256, "")
            images.append(Image(row, path, origin.patient, origin.sha256, _source(row.path, roots), seen))
    return Decided(tuple(images), tuple(left))


def rows_of(found: Decided) -> Iterator[Mapping[str, str]]:
    """Yield the cells of all images that were decided on, by TOLD; those that cannot be used as well."""
    yield from (image.cells() for image in found.images)
    yield from (Image(row, row.path, "").cells() for row, _ in found.left)


def _origins(
    out: str, paths: Sequence[str], pool: PoolSettings, *, hashed: bool
) -> dict[str, Origin | Failure]:
    """Read whose images these are, by path."""
    read = partial(_origin, salt=salt_of(out), hashed=hashed)
    return {path: origin or GONE for path, origin in isolation.read_all(read, paths, pool)}


def _origin(path: str, salt: bytes, *, hashed: bool) -> Origin | None:
    if hashed:
        return patient.origin_of(path, salt)
    key = patient.key_of(path, salt)
    return None if key is None else Origin(key, "")


def _picture_of(row: ManifestRow, out: str) -> str:
    """Return the path of the bytes that were decided on; empty if they have changed.

    That is the source, or else our copy, which is taken first where the source is no plain file.
    """
    copy = str(Path(out, row.destination).absolute())
    placed = Placement(row.destination, row.action, row.stamp) if row.stamp else None
    own = placed is not None and row.action in COPIES and is_untouched(row.path, copy, placed)
    if own and not names.is_plain(row.path):
        return copy
    try:
        now = stamp_of(row.path)
    except OSError:
        return copy
    if now == row.stamp:
        return row.path
    return copy if own else ""


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
            return escape(root.name or Path(root.path).name)
    return ""
