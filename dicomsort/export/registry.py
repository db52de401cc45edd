"""A registry of patients: what was taken of each, and what models say of implants and fractures."""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from dicomsort.dicom import isolation, patient
from dicomsort.errors import TargetError, UsageError
from dicomsort.manifest.names import OWN, REGISTRY, manifest_in
from dicomsort.manifest.reading import ManifestRow, answers_in, read_manifest
from dicomsort.manifest.records import status_when_placed
from dicomsort.manifest.salt import salt_of
from dicomsort.model.anatomy import chain
from dicomsort.outcome import Failure, Reviewed, Status
from dicomsort.sorting.place import copy_or_source
from dicomsort.system.atomic import replacing
from dicomsort.system.escaping import cell, escape
from dicomsort.system.keys import salt_in
from dicomsort.system.own_files import check_replaceable
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.system.reporting import Count

FINDINGS = {"implant": "hardware", "fracture": "fracture"}
"""What a registry tells of a patient, and the label of a yes-or-no head that tells it."""

_KNOWN = {"fracture": frozenset({"53120007", "61685007", "816092008"})}  # limbs and pelvis: see its card
"""The regions in which a label means anything; without a line all of them."""

_FINDING = ("", "_confidence", "_regions", "_images")
COLUMNS = (
    *("patient", "images", "in_review", "studies", "age_groups", "regions", "region_codes", "views"),
    *(f"{finding}{part}" for finding in FINDINGS for part in _FINDING),
)
_BETWEEN = "; "
_SCORE = "score_"
_VIEW = "lateral"  # a label by which a head of views is known


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """How a registry is made.

    target: the CSV to write, None for registry.csv in the output. key: the file that holds the salt of the
    patients' keys, which is made if it is not there; None for the output's own. pool: what reads the headers.
    """

    target: str | None = None
    key: str | None = None
    pool: PoolSettings = field(default_factory=PoolSettings)


@dataclass(frozen=True, slots=True)
class Registry:
    """What was written. unread: files whose patient cannot be read (any more), which are left out.

    missing: findings that no model was asked about. in_review: images that wait for a person and say nothing.
    """

    target: str
    patients: int
    images: int
    unread: tuple[str, ...]
    missing: tuple[str, ...]
    in_review: int


@dataclass(frozen=True, slots=True)
class _Image:
    """A radiograph. findings: the score of a yes, 0..1, and whether that counts as one, by `FINDINGS`."""

    path: str
    study: str
    in_review: bool
    age_group: str
    region: tuple[str, str]
    view: str
    findings: tuple[tuple[float, bool] | None, ...]


@dataclass(slots=True)
class _Finding:
    """What the images of a patient say of a finding. sure: the greatest score of a yes."""

    sure: float = 0.0
    asked: int = 0
    found: int = 0
    regions: Counter[str] = field(default_factory=Counter)

    def add(self, score: float, is_so: bool, region: str) -> None:
        self.asked += 1
        self.sure = max(self.sure, score)
        self.found += is_so
        if is_so and region:
            self.regions[region] += 1

    def cells(self) -> list[str]:
        if not self.asked:
            return [""] * len(_FINDING)
        sure = self.sure if self.found else 1 - self.sure
        said = "yes" if self.found else "no"
        return [said, f"{sure:.6f}", _listed(self.regions), str(self.found)]


@dataclass(slots=True)
class _Patient:
    """What is known of a patient."""

    images: int = 0
    in_review: int = 0
    studies: set[int] = field(default_factory=set)
    age_groups: Counter[str] = field(default_factory=Counter)
    regions: Counter[tuple[str, str]] = field(default_factory=Counter)
    views: Counter[str] = field(default_factory=Counter)
    findings: list[_Finding] = field(default_factory=lambda: [_Finding() for _ in FINDINGS])

    def add(self, image: _Image) -> None:
        self.in_review += image.in_review
        if image.in_review:
            return
        self.images += 1
        if image.study:
            self.studies.add(hash(image.study))
        for counted, value in ((self.age_groups, image.age_group), (self.views, image.view)):
            if value:
                counted[value] += 1
        if image.region[0]:
            self.regions[image.region] += 1
        for finding, answer in zip(self.findings, image.findings, strict=True):
            if answer is not None:
                finding.add(*answer, image.region[1])

    def cells(self, key: str) -> list[str]:
        """Return the row of the registry."""
        counts = [self.images, self.in_review, len(self.studies)]
        listed = [_listed(self.age_groups), *self._regions(), _listed(self.views)]
        findings = [text for finding in self.findings for text in finding.cells()]
        return [key, *map(str, counts), *map(cell, listed), *map(cell, findings)]

    def _regions(self) -> list[str]:
        """Return meanings and codes in the same order, the most frequent first."""
        ranked = sorted(self.regions, key=lambda region: (-self.regions[region], region[1], region[0]))
        return [_BETWEEN.join(region[at] for region in ranked) for at in (1, 0)]


def _listed(counts: Counter[str]) -> str:
    """Return values in one cell, the most frequent first."""
    return _BETWEEN.join(sorted(counts, key=lambda value: (-counts[value], value)))


def write(out: str, settings: RegistrySettings, count: Count) -> Registry:
    """Write a registry of an output: one row for each patient, in the order of their keys.

    Sorted radiographs count, by what persons decided where somebody has; what is in review is counted alone,
    what is excluded, a duplicate or no radiograph is left out. The patients' keys are those of
    `dicom.patient`; age, name, id and dates stay in the worker. count: told of each file that was read.

    Raises UsageError if there is no manifest, nothing in it, or the target is another file; TargetError.
    """
    folder = out if os.path.isdir(out) else os.path.dirname(out)
    target = settings.target or os.path.join(folder, REGISTRY)
    check_replaceable(target, ",".join(COLUMNS))
    salt = salt_of(folder) if settings.key is None else _salt_in(settings.key)
    heads = _heads(answers_in(manifest_in(out)))
    patients, unread, images = dict[str, _Patient](), list[str](), 0
    read = partial(_key_of, salt=salt)
    with closing(isolation.read_all(read, _images(out, folder, heads), settings.pool)) as keys:
        for image, key in keys:
            images += 1
            count(1)
            if key is None or isinstance(key, Failure):
                unread.append(image.path)
            else:
                patients.setdefault(key, _Patient()).add(image)
    _write(target, patients)
    missing = tuple(finding for finding, label in FINDINGS.items() if label not in heads)
    waiting = sum(one.in_review for one in patients.values())
    return Registry(target, len(patients), images, tuple(unread), missing, waiting)


def _salt_in(key: str) -> bytes:
    """Return the salt in a file of the user's; a manifest or another table would be one that many know."""
    if os.path.basename(key) in OWN:
        raise UsageError(f"--key '{escape(key)}' is a file of an output: name one that only you can read")
    return salt_in(key)


def _heads(answers: Sequence[str]) -> dict[str, str]:
    """Return the columns of the heads that tell findings and views, by a label of theirs."""
    found = {}
    for label in (*FINDINGS.values(), _VIEW):
        names = [name for name in answers if name.rpartition(".")[2] == f"{_SCORE}{label}"]
        if names:
            found[label] = names[0].rpartition(".")[0]
    return found


def _images(out: str, folder: str, heads: Mapping[str, str]) -> Iterator[_Image]:
    for row in read_manifest(out):
        planned = row.status is Status.PLANNED
        status = status_when_placed(row.reasons, _reviewed(row)) if planned else row.status
        if status in (Status.SORTED, Status.REVIEW) and row.label:
            yield _image(row, folder, heads, status is Status.REVIEW)


def _reviewed(row: ManifestRow) -> Reviewed | None:
    return Reviewed(row.reviewed_label, row.reviewed_by, row.reviewed_at) if row.reviewed_label else None


def _image(row: ManifestRow, folder: str, heads: Mapping[str, str], in_review: bool) -> _Image:
    return _Image(
        path=copy_or_source(row.path, row.destination, row.action, folder),
        study=row.header.study_instance_uid,
        in_review=in_review,
        age_group=row.header.age_group,
        region=(row.region_code, row.region_meaning),
        view=_said(row, heads.get(_VIEW))[0],
        findings=tuple(_finding(row, label, heads.get(label)) for label in FINDINGS.values()),
    )


def _said(row: ManifestRow, head: str | None) -> tuple[str, Mapping[str, float]]:
    """Return the label and scores of a head; nothing if it was not asked."""
    if head == "":
        return row.final_label, row.scores
    answer = row.further.get(head or "")
    return (answer.label, answer.scores) if answer else ("", {})


def _finding(row: ManifestRow, label: str, head: str | None) -> tuple[float, bool] | None:
    said, scores = _said(row, head)
    if label not in scores or not _is_known(label, row.region_code):
        return None
    return scores[label], said == label


def _is_known(label: str, region: str) -> bool:
    """Return whether a label means anything in a region of the body."""
    regions = _KNOWN.get(label)
    return regions is None or not regions.isdisjoint(chain(region))


def _key_of(image: _Image, salt: bytes) -> str | None:
    return patient.key_of(image.path, salt)


def _write(target: str, patients: Mapping[str, _Patient]) -> None:
    try:
        with replacing(target) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(patients[key].cells(key) for key in sorted(patients))
    except OSError as error:
        raise TargetError(f"'{escape(target)}' cannot be written: {error.strerror}") from error
