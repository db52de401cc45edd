"""What the tags of an image say, each turned into what it means."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from dicomsort.audit.terms import Terms, regions_of_code, settled, view_of, view_of_code
from dicomsort.dicom.stated import Stated
from dicomsort.outcome import Facts

UNSHOWN = "(not shown)"
"""Stands for a value that cannot be shown, for it may be anything, or for several."""

DESCRIBED = "(description)"
"""Stands for free text, which never leaves the worker that looks for terms in it."""


@dataclass(frozen=True, slots=True)
class RegionTag:
    """A tag that names a part of the body. codes: SNOMED CT; none if it names no place, None if unknown."""

    text: str
    codes: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class ViewTag:
    """A tag that names a view. view: frontal, lateral, oblique or other; None if it is unknown."""

    text: str
    view: str | None


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of an image.

    laterality, sop_class: None if the header was not read. age: child, teenager, adult; `?` if it cannot be
    read, `minor` for a child or a teenager. stated: whether the header was read again.
    """

    regions: tuple[RegionTag, ...] = ()
    views: tuple[ViewTag, ...] = ()
    laterality: str | None = None
    age: str = ""
    photometric: str = ""
    modality: str = ""
    sop_class: str | None = None
    described: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cells:
    """What the manifest holds of the header."""

    body_part: str = ""
    view_position: str = ""
    photometric: str = ""
    modality: str = ""
    age_group: str = ""
    evidence: Facts = field(default=())


def told_by_manifest(cells: Cells, terms: Terms) -> Tags:
    """Return the tags as far as the manifest holds them."""
    regions = [RegionTag(cells.body_part, terms.regions_of(cells.body_part))] if cells.body_part else []
    views = [ViewTag(cells.view_position, view_of(cells.view_position))] if cells.view_position else []
    age = next((fact.removeprefix("age=") for fact in cells.evidence if fact.startswith("age=")), "")
    return Tags(
        tuple(regions),
        tuple(views),
        age=age or {"child": "minor"}.get(cells.age_group, cells.age_group),
        photometric=cells.photometric,
        modality=cells.modality,
    )


def told_by_header(stated: Stated, terms: Terms) -> Tags:
    """Return the tags of a header that was read."""
    return Tags(
        tuple(_regions(stated, terms)),
        tuple(_views(stated)),
        stated.laterality,
        stated.age,
        stated.photometric,
        stated.modality,
        stated.sop_class,
        terms.described(stated.described),
    )


def _regions(stated: Stated, terms: Terms) -> Iterable[RegionTag]:
    """Yield Body Part Examined and Anatomic Region Sequence; free text where both name no place."""
    named = False
    for tag in (*_body_part(stated, terms), *_anatomic_regions(stated)):
        named = named or bool(tag.codes)
        yield tag
    if (described := terms.described(stated.described)) and not named:
        yield RegionTag(DESCRIBED, described)


def _body_part(stated: Stated, terms: Terms) -> Iterable[RegionTag]:
    if stated.body_part:
        yield RegionTag(stated.body_part, terms.regions_of(stated.body_part))
    elif stated.body_part_filled:
        yield RegionTag(UNSHOWN, settled(stated.body_part_codes))


def _anatomic_regions(stated: Stated) -> Iterable[RegionTag]:
    if not stated.region_codes:
        return
    known = [codes for code in stated.region_codes if (codes := regions_of_code(*code)) is not None]
    codes = tuple(code for some in known for code in some)
    yield RegionTag(_coded(stated.region_codes), codes if known else None)


def _views(stated: Stated) -> Iterable[ViewTag]:
    """Yield View Position and View Code Sequence; a modifier can make a view oblique."""
    if stated.view_position:
        yield ViewTag(stated.view_position, view_of(stated.view_position))
    elif stated.view_filled:
        yield ViewTag(UNSHOWN, None)
    if stated.view_codes:
        found = [view_of_code(*code) for code in (*stated.view_codes, *stated.view_modifiers)]
        told = [view for view in ("oblique", "frontal", "lateral", "other") if view in found]
        yield ViewTag(_coded(stated.view_codes), told[0] if told else None)


def _coded(codes: Iterable[tuple[str, str]]) -> str:
    return " ".join(f"{scheme}:{value}" if value else UNSHOWN for scheme, value in codes)
