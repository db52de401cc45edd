"""Corrected copies: one file in, and if its tags are to be corrected, a new instance out."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dicomsort.audit.terms import Terms
from dicomsort.dicom import rewrite
from dicomsort.dicom.elements import Note, Value
from dicomsort.dicom.rewrite import Original
from dicomsort.export.answers import Answer
from dicomsort.export.corrections import Corrections, corrections
from dicomsort.export.kinds import Flaw
from dicomsort.export.placing import foreseen, found, guarded, put
from dicomsort.export.uids import uid_of
from dicomsort.export.written import Left, Nothing, Outcome, Written
from dicomsort.outcome import FileStamp

KIND = "instance"
_LONGEST = 1024  # characters of an ST (PS3.5 6.2)
_OF_SERIES = ("BodyPartExamined", "ViewPosition", "Laterality")


@dataclass(frozen=True, slots=True)
class Image:
    """A file, and what is sure of it.

    path: where it is read. source: what the manifest calls it. stamp: as it was when it was sorted; None if
    only its copy is left. uid, study: its SOP and Study
    Instance UID, by the manifest.
    """

    path: str
    source: str
    stamp: FileStamp | None
    uid: str
    study: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Correcting:
    """How copies are made. folder: of the copies. at: when, with a time zone. wanted: flaws to correct."""

    folder: str
    terms: Terms
    at: datetime
    wanted: tuple[Flaw, ...] = tuple(Flaw)
    dry_run: bool = False


def correct(image: Image, how: Correcting) -> Outcome:
    """Write the corrected copy of a file, if there is anything to correct in it; every failure is a value."""
    return guarded(lambda: _corrected(image, how))


def _corrected(image: Image, how: Correcting) -> Outcome:
    with rewrite.opened(image.path) as original:
        if image.stamp is not None and not image.stamp.is_of(original.stamp):
            return Left.CHANGED
        flawed = corrections(image.answer, original.tags, how.terms, how.wanted)
        if not flawed:
            return Nothing()
        if original.is_signed:
            return Left.SIGNED
        study, uids = original.uid("StudyInstanceUID"), _new_uids(original, flawed.changes)
        if not study or not uids:
            return Left.NO_UIDS
        uid = uids["SOPInstanceUID"]
        planned = Written(os.path.join(study, f"{uid}.dcm"), (image.source,), KIND, flawed.flaws)
        if how.dry_run:
            return foreseen(planned, how.folder)
        note = Note(how.at, _described(flawed, image.answer))
        return found(planned, how.folder, uid) or put(
            planned, how.folder, lambda target: original.write(target, uids, flawed.changes, note)
        )


def _new_uids(original: Original, changes: Mapping[str, Value]) -> dict[str, str]:
    """Return the copy's UIDs; none if the original has no valid ones.

    The copy goes to a series of its own: Body Part Examined belongs to the series, of which archives keep
    what the first instance says.
    """
    instance, series = original.uid("SOPInstanceUID"), original.uid("SeriesInstanceUID")
    if not instance or not series:
        return {}
    told = [f"{keyword}={value}" for keyword, value in sorted(changes.items())]
    of_series = [text for text in told if text.startswith(_OF_SERIES)]
    return {
        "SOPInstanceUID": uid_of(KIND, instance, *told),
        "SeriesInstanceUID": uid_of("series", series, *of_series),
    }


def _described(flawed: Corrections, answer: Answer) -> str:
    """Say in ASCII what was corrected, and who says so."""
    what = ", ".join(f"{tag} ({flaw})" for tag, flaw in flawed.flaws.items())
    said = f"corrected {what}; decided by {answer.decided_by}; pixel data unchanged"
    return said.encode("ascii", "replace").decode()[:_LONGEST]
