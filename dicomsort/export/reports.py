"""Structured reports: all images of a study in, one Enhanced SR out."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from dicomsort.dicom.elements import Code
from dicomsort.dicom.structured_report import (
    Evaluated,
    Evaluation,
    Identity,
    read_for_report,
    report,
)
from dicomsort.export.corrections import VIEW_CODES
from dicomsort.export.instances import Image
from dicomsort.export.placing import foreseen, found, guarded, put, write_whole
from dicomsort.export.uids import uid_of
from dicomsort.export.written import Left, Outcome, Written
from dicomsort.inputs.sources import local
from dicomsort.sorting.place import stamp_of

KIND = "report"


@dataclass(frozen=True, slots=True)
class Study:
    """The images of a study of which something is sure, in the order of their UIDs."""

    uid: str
    images: tuple[Image, ...]


@dataclass(frozen=True, slots=True)
class Reporting:
    """How reports are made. folder: of the reports."""

    folder: str
    dry_run: bool = False


def describe(study: Study, how: Reporting) -> Outcome:
    """Write the report of a study; every failure is a value.

    Its UIDs stand for the study, its images and what is said of them, so the same report is written once.
    """
    identity = _identity(study)
    file = os.path.join(study.uid, f"{identity.instance}.dcm")
    planned = Written(file, tuple(image.source for image in study.images), KIND)
    if how.dry_run:
        return foreseen(planned, how.folder)
    return guarded(
        lambda: (
            found(planned, how.folder, identity.instance) or _described(study, identity, planned, how.folder)
        )
    )


def _identity(study: Study) -> Identity:
    said = [f"{image.uid}={image.answer}" for image in study.images]
    device = study.images[0].answer.models
    return Identity(
        uid_of(KIND, study.uid, *said), uid_of("reports", study.uid), uid_of("device", device), device
    )


def _described(study: Study, identity: Identity, planned: Written, folder: str) -> Outcome:
    images = []
    for image in study.images:
        with local(image.path) as here:
            now = here.stamp or stamp_of(here.file)
            if image.stamp is not None and not image.stamp.is_of(now):
                return Left.CHANGED
            header = read_for_report(here.file)
        images.append(Evaluated(header, tuple(_evaluations(image))))
    if any(str(one.image.get("StudyInstanceUID")) != study.uid for one in images):
        return Left.NO_UIDS
    try:
        content = report(images, identity)
    except Exception:  # noqa: BLE001  (highdicom raises nearly everything there is, and quotes the header)
        return Left.NO_REPORT
    return put(planned, folder, lambda target: write_whole(target, content))


def _evaluations(image: Image) -> Iterator[Evaluation]:
    answer = image.answer
    if answer.region is not None:
        trust = None if answer.region_by_person else answer.region_confidence
        yield Evaluation(
            Code(answer.region.code, answer.region.meaning), True, trust, uid_of("region", image.uid)
        )
    if answer.view:
        trust = None if answer.view_by_person else answer.view_confidence
        yield Evaluation(VIEW_CODES[answer.view], False, trust, uid_of("view", image.uid))
