"""Coded anatomy: what labels mean in SNOMED CT, and which region holds which."""

import csv
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dicomsort.errors import UsageError
from dicomsort.system.escaping import escape
from dicomsort.system.snomed import is_concept
from dicomsort.system.telling import reason_of

_TABLE = Path(__file__).with_name("regions.csv")
_CODE = re.compile(r"[1-9][0-9]{5,17}")
_LONGEST = 64  # characters of a Code Meaning (LO, PS3.5 6.2)

WHOLE = "38266002"
"""The code of the entire body, which holds every other region."""

MADO = (
    *("63337009", WHOLE, "53120007", "61685007", "67734004", "774007"),
    *("113257007", "80891009", "76752008", "1141981001"),
)
"""Anatomical regions of a study manifest: value set im-anatomical-region of IHE RAD MADO, version 0.1.0."""


@dataclass(frozen=True, slots=True)
class Region:
    """A region of the body in SNOMED CT (PS3.16 CID 4031).

    code: SNOMED CT identifier. meaning: as the standard words it. parent: code of the region that holds it,
    empty at the top.
    """

    code: str
    meaning: str
    parent: str = ""

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.code) or (self.parent and not _CODE.fullmatch(self.parent)):
            raise ValueError("anatomy: a code must be a SNOMED CT identifier: 6 to 18 digits")
        if not self.meaning.isprintable() or not 0 < len(self.meaning) <= _LONGEST:
            raise ValueError(f"anatomy: a meaning must be a text of 1 to {_LONGEST} characters")


Coded = Mapping[str, Region]
"""The regions of a head's labels, as far as they are regions of the body."""

Anatomy = Mapping[str, Coded]
"""By head, or by the columns of its answers: what its labels mean. The one that decides there is ""."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the table. body_part: defined term of Body Part Examined. labels: usual names."""

    region: Region
    body_part: str
    paired: bool
    labels: tuple[str, ...]


@cache
def _lines() -> Mapping[str, _Line]:
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return {row["code"]: _line(row) for row in csv.DictReader(file)}


def _line(row: Mapping[str, str]) -> _Line:
    region = Region(row["code"], row["meaning"], row["parent"])
    return _Line(region, row["body_part"], bool(row["paired"]), tuple(filter(None, row["labels"].split("|"))))


@cache
def regions() -> Mapping[str, Region]:
    """Return the known regions by code."""
    return {code: line.region for code, line in _lines().items()}


@cache
def _by_label() -> Mapping[str, Region]:
    return {label: line.region for line in _lines().values() for label in line.labels}


@cache
def chain(code: str) -> tuple[str, ...]:
    """Return a region's code and those of all that hold it, the nearest first; nothing if it is unknown."""
    region = regions().get(code)
    return () if region is None else (code, *chain(region.parent))


def mado_of(region: Region) -> Region | None:
    """Return the anatomical region of a study manifest that holds a region: the nearest of MADO.

    A region of a bundle's own counts by its parent. None if that leads nowhere.
    """
    held = (region.code, *chain(region.parent))
    return next((regions()[code] for code in held if code in MADO), None)


def body_part_of(code: str) -> str:
    """Return the defined term of Body Part Examined for a region (PS3.16 Annex L); empty if there is none."""
    line = _lines().get(code)
    return line.body_part if line else ""


def is_paired(code: str) -> bool:
    """Return whether there is a left and a right one of a region, so that an image needs its laterality."""
    line = _lines().get(code)
    return line is not None and line.paired


def region_of(label: str) -> Region | None:
    """Return the region that a label means by its name, such as `chest`; None if it names none."""
    return _by_label().get(label)


def coded(labels: Iterable[str]) -> dict[str, Region]:
    """Return the regions that labels mean by their names."""
    named = ((label, region_of(label)) for label in labels)
    return {label: region for label, region in named if region is not None}


def looked_up(anatomy: Anatomy, head: str, label: str) -> Region | None:
    """Return what an answer of a head means; by the label's name where nothing is known of the head.

    label: of several, with `|` between them, the nearest region that holds them all, but for the entire body.
    """
    known = anatomy.get(head)
    one = region_of if known is None else known.get
    found = [one(part) for part in label.split("|") if part]
    return _common([region for region in found if region])


def _common(found: Sequence[Region]) -> Region | None:
    """Return the nearest region that holds all; None if that is the entire body, or there is none."""
    if len(set(found)) < 2:
        return found[0] if found else None
    first, *others = [(region.code, *chain(region.parent)) for region in found]
    shared = next((code for code in first if all(code in other for other in others)), WHOLE)
    own = {region.code: region for region in found}  # a bundle may have regions that are not in the table
    return None if shared == WHOLE else own.get(shared) or regions()[shared]


def agreed(anatomy: Anatomy, answers: Mapping[str, str]) -> Region | None:
    """Return the region that an image shows by all answers.

    answers: labels by head; "" is the one that decides. It is what the deciding label means, or a part of
    that which another head names; where the deciding label is no region, what the first other head names.
    """
    said = {head: looked_up(anatomy, head, label) for head, label in answers.items()}
    decided = said.pop("", None)
    for region in said.values():
        if region and (decided is None or (decided != region and decided.code in chain(region.parent))):
            return region
    return decided


_COLUMNS = ["label", "code", "meaning", "parent"]


def read_table(path: Path, labels: Mapping[str, Sequence[str]], before: Anatomy) -> dict[str, Coded]:
    """Read what labels mean from a CSV with the columns label,code,meaning,parent.

    labels: of each head. before: what they meant, which stays where the table has no line; an empty code
    takes it away. An empty meaning or parent is the usual one of a known code. Raises UsageError for anything
    else, a label that no head has, or a parent that is unknown.
    """
    known = {label for each in labels.values() for label in each}
    try:
        given = {label: _told(row, known) for label, row in _by_line(path).items()}
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"'{escape(str(path))}' cannot be used: {reason_of(error)}") from error
    return {head: _merged(each, before.get(head, {}), given) for head, each in labels.items()}


def _by_line(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval="")
        if list(reader.fieldnames or ())[: len(_COLUMNS)] != _COLUMNS:
            raise ValueError("it needs the columns label,code,meaning,parent")
        return {row["label"].strip(): row for row in reader}


def _told(row: Mapping[str, str], known: Container[str]) -> Region | None:
    if row["label"].strip() not in known:
        raise ValueError(f"the model has no label '{escape(row['label'].strip()[:64])}'")
    code, meaning, parent = (row[name].strip() for name in _COLUMNS[1:])
    if not code:
        return None
    if usual := regions().get(code):
        if meaning != usual.meaning and any(meaning == other.meaning for other in regions().values()):
            raise ValueError(f"{code} is '{usual.meaning}' and not '{meaning}'")
        meaning, parent = meaning or usual.meaning, parent or usual.parent
    region = Region(code, meaning, parent)
    if not is_concept(code):
        raise ValueError(f"the check digit of {code} is wrong: it is no SNOMED CT identifier")
    if parent and parent not in regions():
        raise ValueError(f"nothing is known of the parent {parent}")
    return region


def _merged(labels: Sequence[str], before: Coded, given: Mapping[str, Region | None]) -> Coded:
    found = {label: given.get(label, before.get(label)) for label in labels}
    return {label: region for label, region in found.items() if region is not None}


def as_json(anatomy: Anatomy) -> dict[str, Any]:
    """Return it as JSON values."""
    return {
        head: {label: asdict(region) for label, region in labels.items()} for head, labels in anatomy.items()
    }


def from_json(values: Any) -> dict[str, dict[str, Region]]:
    """Read what `as_json` has made. Raises ValueError, TypeError or AttributeError where it is none."""
    return {
        str(head): {str(label): Region(**told) for label, told in labels.items()}
        for head, labels in values.items()
    }
