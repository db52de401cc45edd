"""Which images of an output get into a data set, in one pass over its manifest."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dicomsort.errors import UsageError
from dicomsort.export.datasets.settings import PARTS, DatasetSettings
from dicomsort.export.datasets.where import Cells, compiled, final_label, hint
from dicomsort.manifest.columns import answers_of, renewed, split_reasons
from dicomsort.manifest.history import DAMAGE
from dicomsort.manifest.reading import labels_by_head
from dicomsort.manifest.standing import Standing, standing
from dicomsort.model.heads import check_label
from dicomsort.outcome import FileStamp, Reason
from dicomsort.sorting.place import copy_or_source
from dicomsort.system.escaping import escape, uncell, unescape
from dicomsort.system.keys import hashed

_UIDS = ("sop_instance_uid", "study_instance_uid", "series_instance_uid")
_TOLD = ("confidence", "region_code", "region_meaning", "modality", "body_part_examined", "view_position",
         "age_group", "photometric_interpretation")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chosen:
    """An image that gets into a data set.

    sample: its key, which holds no dot and names nobody. path: of the file to read. stamp: that it must have;
    None if it is not the source. facts: what the table tells of it, by column.
    """

    sample: str
    path: str
    label: str
    stamp: FileStamp | None
    facts: Mapping[str, str]


@dataclass(slots=True)
class Choice:
    """How choosing went. repeated: images left out because one with their SOP Instance UID came before."""

    chosen: int = 0
    repeated: int = 0


def part_of(patient: str, shares: tuple[float, float, float], seed: int) -> str:
    """Return the part that a patient is in; the same in every data set of this seed and these shares.

    Drawn by a hash of the key, so a patient stays in its part when others come or go.
    """
    digest = hashlib.blake2b(f"{seed}\n{patient}".encode(), digest_size=8).digest()
    drawn = int.from_bytes(digest, "big") / 2**64
    for part, share in zip(PARTS[:-1], shares, strict=False):
        if drawn < share:
            return part
        drawn -= share
    return PARTS[-1] if shares[-1] else max(zip(shares, PARTS, strict=True))[1]


def columns_of(manifest: str, uids: bool) -> list[str]:
    """Return the columns of facts that a data set of this manifest tells."""
    with standing(manifest) as rows:
        names = renewed(rows.names)
    heads = [head for head in labels_by_head(answers_of(names)) if head]
    answers = [f"{head}{part}" for head in heads for part in (".label", ".confidence")]
    wanted = [*_TOLD, *answers, *(_UIDS if uids else ())]
    return ["decided_by_person", *(name for name in wanted if name in names)]


def choose(
    manifest: str, home: str, settings: DatasetSettings, salt: bytes, choice: Choice
) -> Iterator[Chosen]:
    """Yield the images of an output that a data set is to have, in the order of the manifest.

    Of images with one SOP Instance UID the first counts, unless the manifest says that they differ. Raises
    UsageError for a filter that is none, and at the end for a label that no image has.
    """
    facts = columns_of(manifest, settings.uids)
    with standing(manifest) as rows:
        choosing = _Choosing(renewed(rows.names), manifest, home, settings, facts, salt)
        try:
            for cells in _renewed_rows(rows):
                if (row := choosing.take(cells, choice)) is not None:
                    choice.chosen += 1
                    yield row
        except DAMAGE as error:
            raise UsageError(f"'{escape(manifest)}' is damaged: a number is none; restore it") from error
        choosing.check_labels()


def _renewed_rows(rows: Standing) -> Iterator[Cells]:
    """Yield rows with the columns that an earlier version did not write, empty."""
    names = renewed(rows.names)
    if names == rows.names:
        yield from rows.rows()
        return
    places = [rows.names.index(name) if name in rows.names else -1 for name in names]
    for cells in rows.rows():
        with_none = [*cells, ""]
        yield [with_none[at] for at in places]


class _Choosing:
    """Decides row by row."""

    def __init__(
        self,
        names: list[str],
        manifest: str,
        home: str,
        settings: DatasetSettings,
        facts: list[str],
        salt: bytes,
    ) -> None:
        self._at = {name: at for at, name in enumerate(names)}
        self._manifest, self._home, self._salt, self._facts = manifest, home, salt, facts
        self._fulfills: Callable[[Cells], bool] = (
            compiled(settings.where, names) if settings.where is not None else lambda _: True
        )
        self._final = final_label(names)
        self._statuses = {status.value for status in settings.statuses}
        self._labels = frozenset(settings.labels)
        self._known = set(labels_by_head(answers_of(names))[""])
        self._seen, self._folders = set[int](), set[str]()

    def take(self, cells: Cells, choice: Choice) -> Chosen | None:
        if cells[self._at["status"]] not in self._statuses:
            return None
        label = self._final(cells)
        together = label.split("|")
        self._known.update(together)
        if not label or (self._labels and self._labels.isdisjoint(together)) or not self._fulfills(cells):
            return None
        self._check_folder(label)
        is_other = Reason.SAME_UID in split_reasons(cells[self._at["reason"]])
        uid = "" if is_other else cells[self._at["sop_instance_uid"]]
        if uid and hash(uid) in self._seen:
            choice.repeated += 1
            return None
        self._seen.add(hash(uid))
        return self._chosen(cells, label, uid)

    def _chosen(self, cells: Cells, label: str, uid: str) -> Chosen:
        path, destination = (unescape(uncell(cells[self._at[name]])) for name in ("path", "destination"))
        file = copy_or_source(path, destination, cells[self._at["action"]], self._home)
        sample = hashed(f"image\n{uid or cells[self._at['path']]}".encode(), self._salt, "i")
        return Chosen(sample, file, label, self._stamp(cells) if file == path else None, self._told(cells))

    def _stamp(self, cells: Cells) -> FileStamp:
        etag = unescape(uncell(cells[self._at["etag"]])) if "etag" in self._at else ""
        return FileStamp(int(cells[self._at["size"]]), int(cells[self._at["mtime_ns"]]), etag)

    def _told(self, cells: Cells) -> dict[str, str]:
        decided = "true" if cells[self._at["reviewed_label"]] else "false"
        told = {name: uncell(cells[self._at[name]]) for name in self._facts if name in self._at}
        return {"decided_by_person": decided, **told}

    def _check_folder(self, label: str) -> None:
        """Raise UsageError for a label, written in by hand, that would lead out of the data set."""
        if label in self._folders:
            return
        try:
            for part in label.split("|"):
                check_label(part)
        except ValueError as error:
            raise UsageError(f"'{escape(self._manifest)}' must be put right: {escape(str(error))}") from error
        self._folders.add(label)

    def check_labels(self) -> None:
        """Raise UsageError for a label that no image has, and no model knows."""
        for label in sorted(self._labels - self._known):
            raise UsageError(f"--labels: no label '{escape(label)}' here{hint(label, sorted(self._known))}")
