"""How old was the patient: Patient's Age in any form, else the dates; only a band of ages leaves this room.

A header that is not sure of it tells no age: an unknown age costs nothing, a wrong one misleads.
"""

import re
from collections.abc import Sequence
from datetime import date

CHILD, TEENAGER, ADULT = "child", "teenager", "adult"

_TEENS, _ADULTS = 13, 18  # the first year of each, in years
_OLDEST = 130.0
_TOLERANCE = 2.0  # years by which the stated age and the dates may differ

_UNITS = {
    "y": 1.0, "yr": 1.0, "yrs": 1.0, "year": 1.0, "years": 1.0, "yo": 1.0,
    "m": 1 / 12, "mo": 1 / 12, "mos": 1 / 12, "mth": 1 / 12, "mths": 1 / 12, "mon": 1 / 12, "month": 1 / 12,
    "months": 1 / 12, "w": 7 / 365.25, "wk": 7 / 365.25, "wks": 7 / 365.25, "week": 7 / 365.25,
    "weeks": 7 / 365.25, "d": 1 / 365.25, "day": 1 / 365.25, "days": 1 / 365.25,
}  # fmt: skip
_NUMBER = r"([0-9]{1,6}(?:[.,][0-9]{1,6})?)"
_PART = re.compile(rf"{_NUMBER}\s*([a-z]+)\.?[\s,]*")
_BARE = re.compile(_NUMBER)
_OLD = re.compile(r"\s*\bold$")
_DATE = re.compile(r"([0-9]{4})([-./]?)([0-9]{2})\2([0-9]{2})")

_DUMMIES = frozenset(
    date(*one) for one in (
        (1, 1, 1), (1111, 11, 11), (1601, 1, 1), (1800, 1, 1), (1899, 12, 30), (1900, 1, 1), (1901, 1, 1),
        (1970, 1, 1), (2000, 1, 1), (2001, 1, 1), (9999, 12, 31),
    )
)  # fmt: skip
"""Dates that programs write where they know or tell none: zeros of calendars, and what anonymizers put."""


def band_of(years: float | None) -> str:
    """Return the band of an age in years: child (under 13), teenager (under 18), adult, or nothing."""
    if years is None:
        return ""
    return CHILD if years < _TEENS else TEENAGER if years < _ADULTS else ADULT


def age_of(stated: str, birth: str, taken: Sequence[str]) -> float | None:
    """Return the age in years at the study; None where the header does not tell it, or contradicts itself.

    stated: Patient's Age (0010,1010). birth: Patient's Birth Date (0010,0030). taken: dates of the study, of
    which the first that can be read counts. An age of zero is what many programs write for none: it is
    believed only if the other way to tell the age says the same.
    """
    told, reckoned = years_of(stated), _reckoned(birth, taken)
    if told is None or reckoned is None:
        return (told or reckoned) or None
    if band_of(told) != band_of(reckoned) and abs(told - reckoned) > _TOLERANCE:
        return None
    return told


def years_of(text: str, bare_from: float = 2.0) -> float | None:
    """Read an age in years: AS (PS3.5 6.2: `011M`, `054Y`), `6 years`, `47 y`, `5Y6M`, or a bare number.

    A bare number means years, as in most public data; below `bare_from` it tells nothing, for 0 and 1 are
    what programs write for an unknown age. None for what is no age, or beyond 130 years.
    """
    text = _OLD.sub("", text.strip(" \0\t").lower().replace("-", " ").replace("y.o.", "yo"))
    if bare := _BARE.fullmatch(text):
        years = _float(bare[1])
        return years if bare_from <= years <= _OLDEST else None
    parts, end = [], 0
    while part := _PART.match(text, end):
        parts.append((_float(part[1]), _UNITS.get(part[2])))
        end = part.end()
    return _sum(parts) if parts and end == len(text) else None


def _sum(parts: Sequence[tuple[float, float | None]]) -> float | None:
    """Add up numbers with their units, which must become smaller: 5Y6M, and not 6M5Y."""
    units = [unit for _, unit in parts if unit is not None]
    if len(units) < len(parts) or units != sorted(set(units), reverse=True):
        return None
    years = sum(number * unit for (number, _), unit in zip(parts, units, strict=True))
    return years if years <= _OLDEST else None


def _float(text: str) -> float:
    return float(text.replace(",", "."))


def _reckoned(birth: str, taken: Sequence[str]) -> float | None:
    """Return the years from the birth to the study, whole ones but in the first year; None if unknown."""
    born = date_of(birth)
    study = next((known for known in map(date_of, taken) if known is not None), None)
    if born is None or study is None or study < born:
        return None
    years = study.year - born.year - ((study.month, study.day) < (born.month, born.day))
    return None if years > _OLDEST else years or (study - born).days / 366


def date_of(text: str) -> date | None:
    """Read a date: DA (PS3.5 6.2, also its older form with points) or with `-` or `/`; None for dummies."""
    found = _DATE.fullmatch(text.strip(" \0\t"))
    if not found:
        return None
    try:
        day = date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        return None
    return None if day in _DUMMIES else day
