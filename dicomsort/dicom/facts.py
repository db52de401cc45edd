"""What of a header is evidence of what a picture can show: the age in bands, and the kind of apparatus.

Body Part Examined and View Position are not: they are what the pixels are there to check. Nor are CR, DX and
RG, with which every part of the body is taken.
"""

from pydicom.dataset import Dataset

from dicomsort.dicom.age import age_of, band_of, years_of
from dicomsort.dicom.header import plain_text, sop_class
from dicomsort.dicom.sop_classes import meant_modality
from dicomsort.outcome import Facts

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_APPARATUS = {  # PS3.4 B.5
    _STORAGE + "1.3": "intra-oral",
    _STORAGE + "1.3.1": "intra-oral",
    _STORAGE + "12.1": "angiography",
    _STORAGE + "12.1.1": "angiography",
    _STORAGE + "12.2": "radiofluoroscopy",
    _STORAGE + "12.2.1": "radiofluoroscopy",
    _STORAGE + "12.3": "angiography",
}
_MODALITIES = frozenset({"IO", "PX", "XA", "RF"})  # PS3.3 C.7.3.1.1.1
_DATES = ("StudyDate", "AcquisitionDate", "ContentDate")


def facts_of(dataset: Dataset, modality: str) -> Facts:
    """Return the facts of a header. modality: as `header_of` has read it."""
    stated, birth = plain_text(dataset, "PatientAge"), plain_text(dataset, "PatientBirthDate")
    dates = [plain_text(dataset, keyword) for keyword in _DATES] if birth else []
    return _facts(band_of(age_of(stated, birth, dates)), sop_class(dataset), modality)


def facts_told(age: str = "", modality: str = "", sop_class_uid: str = "") -> Facts:
    """Return the facts that a table tells. age: years, or any form that a header may have.

    sop_class_uid: the UID, or one of the words intra-oral, angiography and radiofluoroscopy.
    """
    return _facts(band_of(years_of(age, bare_from=0)), sop_class_uid.strip(), modality.strip())


def _facts(band: str, sop_class_uid: str, modality: str) -> Facts:
    """Put facts together; an X-ray SOP class says what the modality would say again."""
    kind = _APPARATUS.get(sop_class_uid, sop_class_uid)
    known = meant_modality(modality)
    facts = [f"age={band}"] if band else []
    if kind in _APPARATUS.values():
        facts.append(f"sop_class={kind}")
    elif known in _MODALITIES:
        facts.append(f"modality={known}")
    return tuple(facts)
