"""What is sure of an image: the region and the view that a person, or a confident model, has named."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dicomsort.manifest.reading import ManifestRow
from dicomsort.model import anatomy
from dicomsort.model.anatomy import Anatomy, Region
from dicomsort.outcome import EXCLUDED, FOR_REVIEW, UNSURE, Reason, Status

VIEWS = ("frontal", "lateral", "oblique")
"""Labels that name a view; a head with others names none."""

_TOLD = (Status.SORTED, Status.REVIEW, Status.PLANNED)
_PERSON = "a person"
_CERTAIN = 1.0
_DOUBTS = FOR_REVIEW - {Reason.CONTRADICTION}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sure of an image.

    region, view: None and empty where nothing is. region_confidence, view_confidence: 0..1.
    region_by_person, view_by_person: whether a person decided it, and not a model. models:
    name@sha256[:12] of each, with `+` between them.
    """

    region: Region | None = None
    region_confidence: float = 0.0
    view: str = ""
    view_confidence: float = 0.0
    region_by_person: bool = False
    view_by_person: bool = False
    models: str = ""

    @property
    def decided_by(self) -> str:
        """Who says so, in words."""
        region, view = (
            _PERSON if one else self.models for one in (self.region_by_person, self.view_by_person)
        )
        if self.region is None or not self.view or region == view:
            return region if self.region is not None else view
        return f"{region}, the view by {view}"


def answer_of(row: ManifestRow, known: Anatomy, least: float) -> Answer | None:
    """Return what is sure of a row's image; None if nothing is.

    known: what the labels of each head mean. least: the confidence, 0..1, from which on a model is believed.
    A person is always believed, whatever models say, and what waits for one is not, but for a header that
    contradicts the picture: of models counts what they see on the pixels alone. Where sure heads name regions
    of which none holds the other, none is believed.
    """
    if not _counts(row):
        return None
    sure = {head: (label, trust) for head, label, trust in _said(row) if trust >= least}
    person = row.reviewed_label
    decided = anatomy.looked_up(known, "", person) if person else None
    region, trust = _region(sure, known, decided)
    view, seen = (person, _CERTAIN) if person in VIEWS else _view(sure)
    if region is None and not view:
        return None
    return Answer(
        region, trust, view, seen, region is not None and region == decided, person in VIEWS, row.model
    )


def _counts(row: ManifestRow) -> bool:
    if row.status not in _TOLD or row.reviewed_label in (EXCLUDED, UNSURE):
        return False
    return bool(row.reviewed_label) or _DOUBTS.isdisjoint(row.reasons)


def _said(row: ManifestRow) -> Iterator[tuple[str, str, float]]:
    """Yield (head, label, confidence); the head that decides is ""."""
    if row.reviewed_label:
        yield "", row.reviewed_label, _CERTAIN
    elif row.pixel_label and row.pixel_confidence is not None:
        yield "", row.pixel_label, row.pixel_confidence
    elif row.label and row.confidence is not None:
        yield "", row.label, row.confidence
    for head, answer in row.further.items():
        yield head, answer.label, answer.confidence


def _region(
    sure: Mapping[str, tuple[str, float]], known: Anatomy, decided: Region | None
) -> tuple[Region | None, float]:
    """Return the region that all sure answers agree on, the finest of them, and how sure it is.

    decided: by a person; what contradicts that does not count.
    """
    named = {
        head: (region, trust)
        for head, (label, trust) in sure.items()
        if (region := anatomy.looked_up(known, head, label)) is not None
        and (decided is None or related(region.code, decided.code))
    }
    found = anatomy.agreed(known, {head: sure[head][0] for head in named})
    if found is None or not all(related(region.code, found.code) for region, _ in named.values()):
        return decided, _CERTAIN * (decided is not None)
    return found, max(trust for region, trust in named.values() if region.code == found.code)


def related(one: str, other: str) -> bool:
    """Return whether one of two regions is the other, or holds it."""
    return one in anatomy.chain(other) or other in anatomy.chain(one)


def _view(sure: Mapping[str, tuple[str, float]]) -> tuple[str, float]:
    """Return the view that a sure head names; nothing if two name different ones."""
    views = {label: trust for label, trust in sure.values() if label in VIEWS}
    return next(iter(views.items())) if len(views) == 1 else ("", 0.0)
