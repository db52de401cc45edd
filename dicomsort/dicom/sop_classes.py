"""Is this DICOM object a projection radiograph? By SOP class, and by modality where that says nothing."""

from dataclasses import dataclass

from dicomsort.outcome import Reason

READING = 4
"""Grows when files are read otherwise than before, so that no older picture is taken from a cache."""

_STORAGE = "1.2.840.10008.5.1.4.1.1."

XRAY_SOP_CLASSES = frozenset(
    _STORAGE + suffix
    for suffix in (
        "1",  # Computed Radiography
        "1.1",  # Digital X-Ray, for presentation
        "1.1.1",  # Digital X-Ray, for processing
        "1.3",  # Digital Intra-Oral X-Ray, for presentation
        "1.3.1",  # Digital Intra-Oral X-Ray, for processing
        "12.1",  # X-Ray Angiographic
        "12.1.1",  # Enhanced XA
        "12.2",  # X-Ray Radiofluoroscopic
        "12.2.1",  # Enhanced XRF
        "12.3",  # X-Ray Angiographic Bi-Plane (retired)
    )
)
SECONDARY_CAPTURE_SOP_CLASSES = frozenset(_STORAGE + suffix for suffix in ("7", "7.1", "7.2", "7.3", "7.4"))
XRAY_MODALITIES = frozenset({"CR", "DX", "RG", "RF", "XA", "PX", "IO"})
OTHER_MODALITIES = frozenset({"MG", "CT", "MR", "US", "NM", "PT", "OT", "SC", "XC", "ES", "SR", "DOC"})

_MEANT = {
    "CF": "RF",  # cinefluorography, digital fluoroscopy and videofluorography: retired, PS3.3 C.7.3.1.1.1
    "DF": "RF",
    "VF": "RF",
    "DS": "XA",  # digital subtraction angiography: retired
    "DR": "DX",  # never was a term, but stands in many files
}
KNOWN_MODALITIES = frozenset(XRAY_MODALITIES | OTHER_MODALITIES | set(_MEANT))
"""Terms that are believed whatever the VR of the element: none of them can be a name."""
_STANDARD_ROOT = "1.2.840.10008."

_REFUSED = {
    "1.2.840.10008.1.3.10": Reason.DICOMDIR,
    _STORAGE + "1.2": Reason.MAMMOGRAPHY,
    _STORAGE + "1.2.1": Reason.MAMMOGRAPHY,
    _STORAGE + "13.1.1": Reason.VOLUME,  # X-Ray 3D Angiographic
    _STORAGE + "13.1.2": Reason.VOLUME,  # X-Ray 3D Craniofacial
    _STORAGE + "13.1.3": Reason.TOMOSYNTHESIS,
    _STORAGE + "13.1.4": Reason.MAMMOGRAPHY,  # Breast Projection, for presentation
    _STORAGE + "13.1.5": Reason.MAMMOGRAPHY,  # Breast Projection, for processing
    "MG": Reason.MAMMOGRAPHY,
}
"""Why a SOP class, or a modality, is none; whatever is not here gets a general reason."""


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """What is read at all.

    max_pixels: samples per frame; a frame that claims more is not decoded. secondary_capture: whether a
    Secondary Capture, or an object without SOP class, of modality OT or none is taken for a radiograph.
    pictures: whether PNG, JPEG, WebP, TIFF and BMP files are taken for radiographs. pixel_digest: whether all
    of a radiograph's Pixel Data is read, to tell its digest.
    """

    max_pixels: int = 200_000_000
    secondary_capture: bool = False
    pictures: bool = False
    pixel_digest: bool = False


def exclusion_reason(sop_class: str, modality: str, secondary_capture: bool = False) -> Reason:
    """Return Reason.NONE for a projection radiograph, else why it is none (SOP classes: PS3.4 B.5).

    An X-ray SOP class decides alone, mammography excepted. Secondary Capture, a private SOP class, or none,
    is a radiograph if its modality is one of CR, DX, RG, RF, XA, PX and IO, in any case, or a retired or
    mistaken term for one; with modality OT or none only if `secondary_capture` asks for it.
    """
    modality = meant_modality(modality)
    if sop_class in XRAY_SOP_CLASSES:
        return Reason.MAMMOGRAPHY if modality == "MG" else Reason.NONE
    if not _leaves_it_to_the_modality(sop_class):
        return _REFUSED.get(sop_class, Reason.OTHER_SOP_CLASS)
    if modality in XRAY_MODALITIES:
        return Reason.NONE
    if modality not in ("", "OT"):
        return _REFUSED.get(modality, Reason.OTHER_MODALITY)
    return Reason.NONE if secondary_capture else _why_left_out(sop_class, modality)


def _why_left_out(sop_class: str, modality: str) -> Reason:
    if _is_private(sop_class):
        return Reason.PRIVATE
    return Reason.CAPTURE if sop_class or modality else Reason.NO_TYPE


def remarks_on(sop_class: str, modality: str) -> list[Reason]:
    """Return what a person should know of how a radiograph was told, where the standard alone did not."""
    if not _leaves_it_to_the_modality(sop_class):
        return []
    misspelled = modality != meant_modality(modality)
    return [Reason.BY_MODALITY] * _is_private(sop_class) + [Reason.MODALITY_MEANT] * misspelled


def _leaves_it_to_the_modality(sop_class: str) -> bool:
    return not sop_class or sop_class in SECONDARY_CAPTURE_SOP_CLASSES or _is_private(sop_class)


def _is_private(sop_class: str) -> bool:
    """Return whether a UID is none of the standard's (PS3.5 9)."""
    return bool(sop_class) and not sop_class.startswith(_STANDARD_ROOT)


def meant_modality(modality: str) -> str:
    """Return the term that a modality means: in capitals, and today's for a retired or mistaken one."""
    modality = modality.upper()
    return _MEANT.get(modality, modality)
