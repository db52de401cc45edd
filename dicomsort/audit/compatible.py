"""Which regions of the body one film may rightly show, and how far apart two others are."""

import csv
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path

from dicomsort.audit.verdicts import Severity
from dicomsort.model.anatomy import WHOLE, Region, chain, mado_of, regions

_TABLE = Path(__file__).with_name("compatible.csv")


@cache
def overlaps() -> frozenset[tuple[str, str]]:
    """Return the pairs of codes that a film of one may be called by the other, both ways round."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        pairs = [(row["one"], row["other"]) for row in csv.DictReader(file)]
    return frozenset([*pairs, *((other, one) for one, other in pairs)])


def holders(region: Region) -> tuple[str, ...]:
    """Return a region's code and those of what holds it, but for the entire body, the nearest first."""
    return tuple(code for code in (region.code, *chain(region.parent)) if code != WHOLE)


def is_compatible(tag: Region, shown: Region) -> bool:
    """Return whether a film of a region may rightly be called by another.

    It may if one is the other, or holds it, or a pair of what holds them is among `overlaps`.
    """
    first, second = holders(tag), holders(shown)
    if tag.code in second or shown.code in first:
        return True
    return not overlaps().isdisjoint(product(first, second))


def named(codes: Sequence[str]) -> tuple[Region, ...]:
    """Return the regions with these codes, as far as they are known."""
    known = regions()
    return tuple(known[code] for code in codes if code in known)


def severity_of(tags: Sequence[Region], shown: Sequence[Region]) -> Severity:
    """Return how bad it is that a film of one is called by the other.

    MEDIUM between neighbors, which have an anatomical region of IHE MADO in common; else HIGH.
    """
    theirs = {mado_of(region) for region in shown} - {None}
    return Severity.MEDIUM if any(mado_of(region) in theirs for region in tags) else Severity.HIGH
