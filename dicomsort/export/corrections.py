"""Which tags of a file are put right, and to what: from what is sure of the image and what its header says.

Anatomy stands in two places, Body Part Examined and Anatomic Region Sequence, and so does the view. Where
either says the right thing and neither a wrong one, nothing is to be corrected.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from dicomsort.audit.compatible import is_compatible
from dicomsort.audit.compatible import named as regions_with
from dicomsort.audit.terms import FRONTAL, LATERAL, OBLIQUE, Terms, regions_of_code, view_of, view_of_code
from dicomsort.dicom.elements import Code, Tags, Value
from dicomsort.export.answers import Answer
from dicomsort.export.kinds import Flaw
from dicomsort.model import anatomy
from dicomsort.model.anatomy import Region

VIEW_CODES = {
    FRONTAL: Code("399033003", "frontal"),
    LATERAL: Code("399067008", "lateral"),
    OBLIQUE: Code("399182000", "oblique"),
}
"""CID 4010 DX View (PS3.16)."""

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_DX = frozenset(_STORAGE + suffix for suffix in ("1.1", "1.1.1"))
"""SOP classes that must have an Image Laterality, `U` for an unpaired part (PS3.3 C.8.11.2)."""

_INTRA_ORAL = frozenset(_STORAGE + suffix for suffix in ("1.3", "1.3.1"))
_ALWAYS_SIDED = _INTRA_ORAL | {_STORAGE + suffix for suffix in ("1.2", "1.2.1")}
"""SOP classes whose images have a side whatever they show: of the jaw, or the breast."""

_POSITIONED = _DX | _INTRA_ORAL
"""SOP classes with a DX Positioning Module (PS3.3 C.8.11.5)."""

_WITH_VIEW = _POSITIONED | {_STORAGE + "1"}
"""SOP classes with a View Position: these, and Computed Radiography (CR Series Module, C.8.1.1)."""

_OPPOSED = {FRONTAL, LATERAL}
_SIDES = ("L", "R")


@dataclass(frozen=True, slots=True)
class Corrections:
    """What is to be changed. changes: new values by keyword. flaws: what was wrong, of anatomy and view."""

    changes: Mapping[str, Value] = field(default_factory=dict)
    flaws: Mapping[str, Flaw] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.flaws)


def corrections(
    answer: Answer, tags: Tags, terms: Terms, wanted: Collection[Flaw] = tuple(Flaw)
) -> Corrections:
    """Return what is to be corrected in a file. wanted: only tags with one of these flaws."""
    changes: dict[str, Value] = {}
    flaws: dict[str, Flaw] = {}
    if answer.region is not None:
        part, code = _anatomy_tells(answer.region, tags, terms)
        flaw = _worst((part, code))
        if flaw is not None and flaw in wanted:
            flaws["anatomy"] = flaw
            changes |= _anatomy(answer.region, tags, part, code)
    if answer.view and tags.sop_class in _WITH_VIEW:
        position, code = _view_tells(answer.view, tags)
        flaw = _worst((position, code))
        if flaw is not None and flaw in wanted:
            flaws["view"] = flaw
            changes |= _view(answer.view, tags, position, code)
    return Corrections(changes, flaws)


def _worst(tells: tuple[Flaw | None, Flaw | None]) -> Flaw | None:
    """Return the flaw of what two places tell; None, none, if one is right and the other not wrong."""
    if Flaw.WRONG in tells:
        return Flaw.WRONG
    if None in tells:
        return None
    return Flaw.UNKNOWN if Flaw.UNKNOWN in tells else Flaw.MISSING


def _anatomy_tells(region: Region, tags: Tags, terms: Terms) -> tuple[Flaw | None, Flaw | None]:
    """Return what is wrong with Body Part Examined, and with Anatomic Region Sequence."""
    named = terms.regions_of(tags.body_part) if tags.body_part else ()
    codes = [regions_of_code(*code) for code in tags.region_codes if any(code)]
    known = [code for found in codes if found is not None for code in found]
    unknown = bool(codes) and all(found is None for found in codes)
    return _region_flaw(region, named), _region_flaw(region, None if unknown else known)


def _region_flaw(region: Region, named: Sequence[str] | None) -> Flaw | None:
    """Return what is wrong with regions that a place names; the entire body is no wrong word for a part."""
    if named is None:
        return Flaw.UNKNOWN
    if not named:
        return Flaw.MISSING
    is_right = anatomy.WHOLE in named or any(is_compatible(one, region) for one in regions_with(named))
    return None if is_right else Flaw.WRONG


def _anatomy(region: Region, tags: Tags, part: Flaw | None, code: Flaw | None) -> dict[str, Value]:
    changes: dict[str, Value] = {}
    if part is not None:
        changes["BodyPartExamined"] = _body_part(region)
    if code is not None:
        changes["AnatomicRegionSequence"] = Code(region.code, region.meaning)
    return {**changes, **_sides(region, tags)}


def _body_part(region: Region) -> str:
    """Return the defined term of the region, or of the nearest that holds it and has one (PS3.16 Annex L)."""
    held = [code for code in (region.code, *anatomy.chain(region.parent)) if code != anatomy.WHOLE]
    return next(filter(None, map(anatomy.body_part_of, held)), "")


def _sides(region: Region, tags: Tags) -> dict[str, Value]:
    """Take a side away from what has none, and leave room for one where it must be (C.7.3.1, C.8.11.7)."""
    if anatomy.is_paired(region.code):
        told = tags.laterality is not None or tags.image_laterality
        return {} if told else {"Laterality": ""}
    changes: dict[str, Value] = {} if tags.laterality is None else {"Laterality": None}
    if tags.image_laterality in _SIDES and tags.sop_class not in _ALWAYS_SIDED:
        changes["ImageLaterality"] = "U" if tags.sop_class in _DX else None
    return changes


def _view_tells(view: str, tags: Tags) -> tuple[Flaw | None, Flaw | None]:
    """Return what is wrong with View Position, and with View Code Sequence."""
    codes = [view_of_code(*code) for code in tags.view_codes if any(code)]
    known = [code for code in codes if code]
    position = view_of(tags.view_position) if tags.view_position else ""
    return _view_flaw(view, position), _view_flaw(view, None if codes and not known else "".join(known[:1]))


def _view_flaw(view: str, told: str | None) -> Flaw | None:
    """Return what is wrong with a view; an oblique one is not told from another by a header's word alone."""
    if told is None:
        return Flaw.UNKNOWN
    if not told:
        return Flaw.MISSING
    return Flaw.WRONG if {view, told} == _OPPOSED else None


def _view(view: str, tags: Tags, position: Flaw | None, code: Flaw | None) -> dict[str, Value]:
    """Write the view as a code; View Position asks for a direction (AP, LL), which no model here tells.

    With a View Code Sequence the DX Positioning Module is there, and that asks for a Positioner Type.
    """
    changes: dict[str, Value] = {}
    if position in (Flaw.WRONG, Flaw.UNKNOWN):
        changes["ViewPosition"] = ""
    if code is not None:
        changes["ViewCodeSequence"] = VIEW_CODES[view]
        if tags.sop_class in _POSITIONED and not tags.positioner:
            changes["PositionerType"] = ""
    return changes
