"""What the words and codes of headers mean: parts of the body in SNOMED CT, and kinds of view."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dicomsort.dicom.wording import Codes, Wording, words_of
from dicomsort.errors import UsageError
from dicomsort.model import anatomy
from dicomsort.system.escaping import escape
from dicomsort.system.telling import reason_of

FRONTAL, LATERAL, OBLIQUE, OTHER = VIEWS = ("frontal", "lateral", "oblique", "other")
"""Kinds of view. Decubitus is frontal, with a horizontal beam; other is axial and whatever else."""

_NOWHERE, _SIDE = "*", "side"
_WEAK = ("FACE",)
"""In French the frontal view."""

_SHORT = frozenset(
    {*("HIP", "LEG", "TOE", "RIB", "ABD", "HWS", "BWS", "LWS", "ISG", "OSG", "CXR", "KUB", "OPG", "TMJ")}
)
"""Terms of three letters that mean nothing else in a description."""

_OTHERWISE = frozenset(
    {
        *_WEAK,
        *("ATLAS", "AXIS", "BACK", "BODY", "COLUMN", "DENS", "INDEX", "MERCHANT", "NEURO", "NOTCH", "PALM"),
        *("ANCA", "BOXER", "CAPO", "CARA", "CHET", "COSTA", "COTE", "DENT", "INGLE", "MAIN", "PANORAMA"),
        *("PETTO", "REIN", "RENE", "SEIN", "STAMM", "TALON", "TESTA", "VAULT", "VEIN", "WADE"),
    }
)
"""Words that mean something else in a description more often than not, in other languages or as names."""

_WRITTEN = frozenset({"", "std", "en", "de", "fr", "es", "pt", "it"})
"""Languages of which any term of four letters is looked for in descriptions; of others of six, for names."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The table of terms, and what is looked up in it. wording: to be handed to workers.

    Codes are of regions that `model.anatomy` knows: what lies inside one, such as an artery, counts as it,
    and what consists of several as these.
    """

    wording: Wording

    @classmethod
    def load(cls, extra: Path | None = None) -> "Terms":
        """Read the table that is shipped, and lines of `extra`, a CSV with term and code, which come first.

        code: SNOMED CT or a term of the shipped table, several with | between them; `*` for what rightly
        names no place, `side` for a side; a line without one says nothing. Raises UsageError if `extra`
        cannot be used.
        """
        rows = _read(Path(__file__).with_name("terms.csv"))
        shipped = _wording(rows)
        return cls(_wording([*rows, *_theirs(extra, shipped)]) if extra else shipped)

    def regions_of(self, text: str) -> Codes | None:
        """Return the regions that Body Part Examined names; () if it rightly names none, None if unknown."""
        return settled(self.wording.codes_of(text))

    def described(self, codes: Codes) -> Codes:
        """Return the regions of what workers found in descriptions."""
        return settled(codes) or ()


def settled(codes: Codes | None) -> Codes | None:
    """Return regions of `model.anatomy` for any codes of the table.

    Of a region and one that lies in it only the latter stays: KOLUMNA LWS is the lumbar spine.
    """
    if codes is None:
        return None
    known = tuple(dict.fromkeys(region for code in codes for region in regions_for(code)))
    holding = {outer for code in known for outer in anatomy.chain(code)[1:]}
    return tuple(code for code in known if code not in holding)


def regions_for(code: str) -> Codes:
    """Return the regions that a current SNOMED CT code of the table means; none if it means no place."""
    return _regions().get(code) or ((code,) if anatomy.chain(code) else ())


def code_of_sequence(scheme: str, value: str) -> str | None:
    """Return today's SNOMED CT code for an item of a code sequence; None if the table does not know it.

    scheme: Coding Scheme Designator, of SCT, SRT, SNM3 and 99SDM, which are told apart by the value: not a
    few files have them wrong. Codes are mapped here and not by pydicom, for which T-D3000, T-D4000 and
    T-D6000 (chest, abdomen, pelvis) are not what its own dictionary calls these today.
    """
    if scheme not in ("SCT", "SRT", "SNM3", "99SDM"):
        return None
    code = _current().get(value, value)
    return code if code in _regions() or anatomy.chain(code) else None


def regions_of_code(scheme: str, value: str) -> Codes | None:
    """Return the regions that an item of Anatomic Region Sequence names; see `Terms.regions_of`."""
    code = code_of_sequence(scheme, value)
    return None if code is None else settled((code,))


def view_of(text: str) -> str | None:
    """Return the kind of view that a View Position names, one of VIEWS; None if it names none.

    OTHER too if it names several, such as AP/LAT.
    """
    return _one(_views().codes_of(text))


def view_of_code(scheme: str, value: str) -> str | None:
    """Return the kind of view that an item of View Code Sequence names; None if it is not known."""
    if scheme not in ("SCT", "SRT", "SNM3", "99SDM"):
        return None
    return _one(_views().phrases.get(_current().get(value, value)))


def _one(views: Codes | None) -> str | None:
    if not views:
        return None
    return views[0] if len(views) == 1 else OTHER


def _read(path: Path, *columns: str) -> list[dict[str, str]]:
    """Read a table that has at least these columns, with commas, semicolons or tabs between its cells.

    Raises OSError, ValueError.
    """
    text = path.read_bytes().decode("utf-8-sig")
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="", delimiter=separator)
    reader.fieldnames = [name.strip().casefold() for name in reader.fieldnames or ()]
    if not set(columns) <= set(reader.fieldnames):
        raise ValueError(f"it needs the columns {' and '.join(columns)}")
    return list(reader)


def _wording(rows: Iterable[Mapping[str, str]]) -> Wording:
    terms = {" ".join(words_of(row["term"])): row for row in rows}
    sides = [term for term, row in terms.items() if row["code"] == _SIDE]
    named = [(term, _codes(row["code"])) for term, row in terms.items() if row["code"] != _SIDE]
    telling = [term for term, row in terms.items() if _is_telling(term, row.get("language", ""))]
    return Wording.of(named, sides, telling, _WEAK)


def _is_telling(term: str, language: str) -> bool:
    """Return whether a term is looked for in descriptions, where words and names of any language stand."""
    letters = len(term.replace(" ", "")) if term.isascii() else 3 * len(term.replace(" ", ""))
    long = letters >= (4 if language in _WRITTEN else 6)
    return term in _SHORT or (long and term not in _OTHERWISE)


def _codes(cell: str) -> Codes:
    return () if cell == _NOWHERE else tuple(cell.split("|"))


@cache
def _regions() -> Mapping[str, Codes]:
    """Return by code which regions stand for it, where that is not the code itself."""
    rows = _read(Path(__file__).with_name("terms_regions.csv"))
    return {row["code"]: tuple(filter(None, row["regions"].split("|"))) for row in rows}


@cache
def _current() -> Mapping[str, str]:
    """Return SNOMED CT codes for SNOMED RT ones, and for those that are retired."""
    return {row["value"]: row["code"] for row in _read(Path(__file__).with_name("terms_codes.csv"))}


@cache
def _views() -> Wording:
    rows = _read(Path(__file__).with_name("terms_views.csv"))
    return Wording.of((row["term"], _codes(row["view"])) for row in rows)


def _theirs(path: Path, shipped: Wording) -> list[dict[str, str]]:
    """Read a table of the user's. Raises UsageError where it is none."""
    try:
        rows = enumerate(_read(path, "term", "code"), 2)
        filled = [(number, row) for number, row in rows if row["term"].strip() and row["code"].strip()]
        return [{"term": row["term"], "code": _meant(row["code"], shipped, number)} for number, row in filled]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"'{escape(str(path))}' cannot be used: {reason_of(error)}") from error


def _meant(cell: str, shipped: Wording, number: int) -> str:
    """Return the codes of a cell, in which terms of the shipped table may stand. Raises ValueError."""
    parts = [part.strip() for part in cell.split("|")]
    if parts in ([_NOWHERE], [_SIDE]):
        return parts[0]
    codes = [part if _is_code(part) else "|".join(shipped.codes_of(part) or ()) for part in parts]
    if "" in codes:
        shown = escape(parts[codes.index("")][:64])
        raise ValueError(
            f"line {number}: '{shown}' is no code of a known part of the body, no known term, nor * nor side"
        )
    return "|".join(codes)


def _is_code(text: str) -> bool:
    return text in _regions() or bool(anatomy.chain(text))
