"""Structured reports of what models and persons say of the images of a study (PS3.16 TID 1500)."""

import io
import logging
import re
import warnings
from collections.abc import Iterator, MutableSequence, Sequence
from dataclasses import dataclass

from highdicom import SpecificCharacterSetValues, sr
from highdicom.sr import CodedConcept
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread

from dicomsort import __version__
from dicomsort.dicom.elements import SOFTWARE, Code
from dicomsort.dicom.rewrite import telling_damage

_HEADER_TAGS = (
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "ReferringPhysicianName"),
)
_REQUIRED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime"),
)
"""Elements of type 2 that a report repeats: empty where an image lacks them."""
_PERCENT = CodedConcept("%", "UCUM", "Percent")
_REGION = CodedConcept("123014", "DCM", "Target Region")
_VIEW = CodedConcept("111031", "DCM", "Image View")
_CERTAINTY = CodedConcept("111012", "DCM", "Certainty of Finding")
_OBSERVER = CodedConcept("121005", "DCM", "Observer Type")
_PATTERNS = {
    "PatientSex": re.compile(r"[MFO]"),
    "PatientBirthDate": re.compile(r"[0-9]{8}"),
    "StudyDate": re.compile(r"[0-9]{8}"),
    "StudyTime": re.compile(r"[0-9]{2}([0-9]{2}([0-9]{2}(\.[0-9]{1,6})?)?)?"),
}
"""What highdicom takes of these; anything else is left empty."""
_PERSON = CodedConcept("121006", "DCM", "Person")
_DEVICE = CodedConcept("121007", "DCM", "Device")
_RADIOGRAPHY = CodedConcept("168537006", "SCT", "Plain radiography")
logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)  # its warnings quote the patient's name

_UTF8 = str(SpecificCharacterSetValues.UNICODE_IN_UTF8.value)
_SERIES_NUMBER = 9100
"""Far from those of modalities."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is said of an image: its region or its view. probability: 0..1, None if a person decided.

    uid: by which this one is known (Tracking Unique Identifier).
    """

    code: Code
    is_region: bool
    probability: float | None
    uid: str


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An image of the study, and what is said of it."""

    image: Dataset
    evaluations: tuple[Evaluation, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """UIDs of a report, of its series, and of the device that observed. device: `model@sha256`."""

    instance: str
    series: str
    observer: str
    device: str


def read_for_report(path: str) -> Dataset:
    """Read what a report repeats of an image. Raises OSError, DamagedError."""
    with telling_damage(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's quote header values
        image = dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(_HEADER_TAGS))
        for keyword in _REQUIRED:
            value = str(image.get(keyword) or "")
            pattern = _PATTERNS.get(keyword)
            if not value or (pattern and not pattern.fullmatch(value)):
                image.add_new(keyword, dictionary_VR(keyword), "")
        return image


def report(images: Sequence[Evaluated], identity: Identity) -> bytes:
    """Return an Enhanced SR (PS3.3 A.35.2) on images of one study, as a file: Explicit VR Little Endian.

    Raises nearly anything if highdicom does not take what the headers hold.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=_observer(identity)),
            procedure_reported=_RADIOGRAPHY,
            imaging_measurements=list(_groups(images, identity)),
        )
        document = sr.EnhancedSR(
            evidence=[one.image for one in images],
            content=content,
            series_instance_uid=identity.series,
            series_number=_SERIES_NUMBER,
            sop_instance_uid=identity.instance,
            instance_number=1,
            manufacturer=SOFTWARE,
            manufacturer_model_name=SOFTWARE,
            software_versions=__version__,
            series_description="Anatomy and view",
            specific_character_set=_character_set(images),
            is_complete=True,
        )
        buffer = io.BytesIO()
        document.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _character_set(images: Sequence[Evaluated]) -> str | list[str] | None:
    r"""Return the Specific Character Set of the report: that of the images, as far as highdicom takes it.

    PS3.3 C.12.1.1.2: an empty first value of several means ISO 2022 IR 6, as in `\\ISO 2022 IR 87`. None for
    the default repertoire, UTF-8 (ISO_IR 192) for what highdicom does not know, or a region whose meaning is
    not in ASCII.
    """
    if not all(said.code.meaning.isascii() for one in images for said in one.evaluations):
        return _UTF8
    stated: str | MutableSequence[str] = images[0].image.get("SpecificCharacterSet") or ""
    if isinstance(stated, str):
        return _known([stated])[0] if stated not in ("", "ISO_IR 6") else None
    return _known([value or "ISO 2022 IR 6" for value in stated])


def _known(sets: list[str]) -> list[str]:
    known = {one.value for one in SpecificCharacterSetValues}
    return sets if known.issuperset(sets) else [_UTF8]


def _observer(identity: Identity) -> sr.ObserverContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        identity.observer, name=identity.device, manufacturer_name=SOFTWARE, model_name=SOFTWARE
    )
    return sr.ObserverContext(_DEVICE, device)


def _groups(
    images: Sequence[Evaluated], identity: Identity
) -> Iterator[sr.MeasurementsAndQualitativeEvaluations]:
    for number, one in enumerate(images, 1):
        for evaluation in one.evaluations:
            what = "region" if evaluation.is_region else "view"
            tracking = sr.TrackingIdentifier(evaluation.uid, f"image {number}, {what}")
            yield _group(one.image, evaluation, tracking, identity)


def _group(
    image: Dataset, evaluation: Evaluation, tracking: sr.TrackingIdentifier, identity: Identity
) -> sr.MeasurementsAndQualitativeEvaluations:
    """Return what is said of an image as a Measurement and Qualitative Evaluation Group (TID 1501)."""
    code = CodedConcept(evaluation.code.value, evaluation.code.scheme, evaluation.code.meaning)
    trust, by_person = evaluation.probability, evaluation.probability is None
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        algorithm_id=None if by_person else sr.AlgorithmIdentification(SOFTWARE, identity.device),
        finding_sites=[sr.FindingSite(code)] if evaluation.is_region else None,
        measurements=None if trust is None else [sr.Measurement(_CERTAINTY, round(100 * trust, 2), _PERCENT)],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(_REGION if evaluation.is_region else _VIEW, code),
            sr.QualitativeEvaluation(_OBSERVER, _PERSON if by_person else _DEVICE),
        ],
        source_images=[sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)],
    )
