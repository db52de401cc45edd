"""What a PACS is asked for, as it was typed: attributes of the dictionary, with values that they may have."""

import re
from collections.abc import Iterable
from datetime import datetime
from difflib import get_close_matches

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_dict, keyword_for_tag, tag_for_keyword

from dicomsort.errors import UsageError
from dicomsort.system.escaping import escape

_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_CANNOT = frozenset({"SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN"})
_PATTERNS = {
    "DA": (re.compile(r"([0-9]{8})?-?([0-9]{8})?"), "dates are written 20260131, ranges 20260101-20260131"),
    "TM": (re.compile(r"[0-9.]{2,13}|[0-9.]{2,13}-|-?[0-9.]{2,13}|[0-9.]{2,13}-[0-9.]{2,13}"),
           "times are written 1430, ranges 1200-1430"),
    "UI": (re.compile(r"[0-9.]{1,64}"), "a UID has digits and dots only"),
    "CS": (re.compile(r"[A-Z0-9 _*?]{1,16}"), "a code has letters, digits, spaces and _ only"),
}  # fmt: skip


def parse_query(words: Iterable[str]) -> dict[str, str]:
    r"""Read words such as `Modality=DX` or `0020,000D=1.2`; returns the values by keyword.

    Several values of one attribute, of several words or with commas in one word of a code or a UID, stand
    with `\` between them, and any of them is meant. Raises UsageError, which quotes no value, lest it be a
    person's.
    """
    found: dict[str, list[str]] = {}
    for word in words:
        name, is_there, value = word.partition("=")
        if not is_there:
            raise UsageError("--query takes an attribute and a value, such as --query Modality=DX")
        keyword = _keyword(name.strip())
        found.setdefault(keyword, []).extend(_values(keyword, value))
    return {keyword: "\\".join(dict.fromkeys(values)) for keyword, values in found.items()}


def _keyword(name: str) -> str:
    """Return the keyword of an attribute, given by keyword in any case, or by tag. Raises UsageError."""
    if tag := _TAG.fullmatch(name):
        number = int(tag[1] + tag[2], 16)
        if dictionary_has_tag(number) and keyword_for_tag(number):
            return keyword_for_tag(number)
    elif name and tag_for_keyword(name) is not None:
        return name
    known = {keyword.lower(): keyword for keyword in keyword_dict if keyword}
    if name.lower() in known:
        return known[name.lower()]
    near = get_close_matches(name.lower(), known, n=1)
    meant = f": is {known[near[0]]} meant?" if near else ": name one of the standard's, such as Modality"
    raise UsageError(f"--query '{escape(name)}' is no attribute of DICOM{meant}")


def _values(keyword: str, value: str) -> list[str]:
    vr = dictionary_VR(keyword)
    if not _CANNOT.isdisjoint(vr.split()):
        raise UsageError(f"--query {keyword}: a PACS cannot be asked for this attribute")
    parts = re.split(r"[\\,]" if vr in ("CS", "UI") else r"\\", value)
    values = [part.strip().upper() if vr == "CS" else part.strip() for part in parts]
    if not all(values):
        raise UsageError(f"--query {keyword} has no value: write it as Modality=DX")
    for each in values:
        _check(keyword, vr, each)
    return values


def _check(keyword: str, vr: str, value: str) -> None:
    pattern, advice = _PATTERNS.get(vr, (None, ""))
    if pattern is not None and not (pattern.fullmatch(value) and (vr != "DA" or _are_dates(value))):
        raise UsageError(f"--query {keyword}: this is no value of it; {advice}")


def _are_dates(value: str) -> bool:
    days = [day for day in value.split("-") if day]
    try:
        begun = [datetime.strptime(day, "%Y%m%d") for day in days]
    except ValueError:
        return False
    return bool(begun) and begun == sorted(begun)
