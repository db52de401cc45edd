"""The columns of a manifest: their names, their order, and what several texts in a cell are."""

from collections.abc import Iterable, Sequence
from dataclasses import fields

from dicomsort.model.anatomy import Region
from dicomsort.outcome import Header, Reviewed

REJECT, ROTATION, SCOPE, DIGEST = "reject_score", "rotation", "scope", "pixel_digest"
TOLD = (REJECT, ROTATION, SCOPE, DIGEST)
"""Columns that are there only where a run tells of them, in their order."""

FIRST = "path"

HEADER = tuple(field_.name for field_ in fields(Header))
_LEADING = (FIRST, "status", "reason", "label", "confidence")
EVIDENCE = ("pixel_label", "pixel_confidence", "evidence")
REGION = ("region_code", "region_meaning")
REVIEWED = ("reviewed_label", "reviewed_by", "reviewed_at")
_PLACES = ("action", "destination", "duplicate_of", *REVIEWED)
_TRAILING = ("model", "size", "mtime_ns", "etag", "sha256", "dicomsort_version")
BETWEEN = "; "


def columns(
    answers: Sequence[str],
    rejects: bool = False,
    rotates: bool = False,
    studies: bool = False,
    digests: bool = False,
) -> list[str]:
    """Return the manifest's columns, with those of the models' answers (`model_set.columns_of`) inside.

    rejects: whether there is a reject score. rotates: whether a model tells how pictures are turned. studies:
    whether whole studies are answered. digests: whether digests of the pixels are wanted.
    """
    told = [name for name, is_told in zip(TOLD, (rejects, rotates, studies, digests), strict=True) if is_told]
    return [*_LEADING, *told, *EVIDENCE, *REGION, *_PLACES, *HEADER, *answers, *_TRAILING]


def answers_of(names: Sequence[str]) -> list[str]:
    """Return the columns of the models' answers among all of a manifest's; the inverse of `columns`."""
    told = (name in names for name in TOLD)
    return list(names[len(columns((), *told)) - len(_TRAILING) : -len(_TRAILING)])


_NEW = {
    "age_group": "frames",
    **dict(zip(EVIDENCE, ("confidence", *EVIDENCE), strict=False)),
    **dict(zip(REGION, ("evidence", *REGION), strict=False)),
    **dict(zip(REVIEWED, ("duplicate_of", *REVIEWED), strict=False)),
    "etag": "mtime_ns",
}
"""Columns that manifests of earlier versions do not have, and behind which each of them stands."""


def renewed(names: Sequence[str]) -> list[str]:
    """Return the columns of a manifest with those that an earlier version did not write, in their places."""
    found = list(names)
    for new, before in _NEW.items():
        told = [name for name in TOLD if name in found]
        place = told[-1] if before == "confidence" and told else before
        if new not in found and place in found:
            found.insert(found.index(place) + 1, new)
    return found


def join_reasons(reasons: Iterable[str]) -> str:
    """Return several reasons as one cell, each of them once."""
    return BETWEEN.join(dict.fromkeys(str(reason) for reason in reasons if reason))


def split_reasons(text: str) -> tuple[str, ...]:
    """Return the reasons of a cell; the inverse of `join_reasons`."""
    return tuple(text.split(BETWEEN)) if text else ()


def region_cells(region: Region | None) -> dict[str, str]:
    """Return by column what the manifest tells of a region; empty if there is none."""
    return dict(zip(REGION, (region.code, region.meaning) if region else ("", ""), strict=True))


def reviewed_cells(reviewed: Reviewed | None) -> dict[str, str]:
    """Return by column what a person decided; empty where nobody has."""
    values = (reviewed.label, reviewed.by, reviewed.at) if reviewed else ("", "", "")
    return dict(zip(REVIEWED, values, strict=True))
