"""What a PACS says of an instance before it is fetched; that alone may show that it is no radiograph."""

from collections.abc import Mapping

from dicomsort.dicom.header import cleaned
from dicomsort.dicom.sop_classes import exclusion_reason
from dicomsort.outcome import Failure, Header, Reason, Status

_BY_MODALITY = frozenset({Reason.CAPTURE, Reason.NO_TYPE, Reason.PRIVATE})


def exclusion(attributes: Mapping[str, str], secondary_capture: bool = False) -> Failure | None:
    """Return why an instance is no radiograph, as reading it would; None if it has to be read.

    attributes: first values by keyword (SOPClassUID, Modality and the UIDs), empty where nothing is said. An
    instance has to be read unless its SOP class is said, and its modality too where that decides. What only
    reading tells (body part, pixels, transfer syntax) is missing in the header.
    """
    sop_class = cleaned(attributes.get("SOPClassUID", ""), "UI")
    modality = cleaned(attributes.get("Modality", ""), "CS")
    reason = exclusion_reason(sop_class, modality, secondary_capture)
    if not reason or not sop_class or (not modality and reason in _BY_MODALITY):
        return None
    uids = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    instance, study, series = (cleaned(attributes.get(uid, ""), "UI") for uid in uids)
    return Failure(Status.NOT_XRAY, reason, Header(instance, study, series, modality))
