"""What the card beside a model tells of it: its purpose, its figures and the licenses of its pictures."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dicomsort.model.bundle import Bundle

CARD = "README.md"

_MOST = 1 << 20
_BLOCK = re.compile(r"<!-- BEGIN figures -->\n(.*?)<!-- END figures -->", re.DOTALL)
_NUMBER = r"(\d\.\d+)(?: \((\d\.\d+) to (\d\.\d+)\))?"
_IN_TEXT = re.compile(rf"(?:^|, )([A-Za-z][A-Za-z0-9' ]*?(?: \([a-z ]+\))?) {_NUMBER}(?=[,.])")
_IN_CELL = re.compile(_NUMBER)
_SURE = re.compile(
    rf": ([\d,]+) of [\d,]+ images are not sent to review, a coverage of {_NUMBER}\. "
    rf"([\d,]+) of these are right, a precision of {_NUMBER}[.;]"
)
_LICENSES = re.compile(
    r"^Licences of the [\d,]+ images that it was trained on: (.*?)\.\n\n", re.DOTALL | re.M
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure with its 95 % interval; without one it is the same in all resamples."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        told = f"{self.value:.3f}"
        return told if self.low is None else f"{told} ({self.low:.3f} to {self.high:.3f})"

    def as_dict(self) -> dict[str, float | None]:
        """Return it for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Card:
    """A card that was read. Everything is empty for a model that has none.

    purpose: the first sentence. caution: what stands in bold type before the first
    heading. images, of: what the figures were measured on, and what was resampled for
    their intervals. figures: by name; none if the card was written of other weights, which `is_other` tells.
    coverage, precision: the share of images above the review threshold, and how many of those are right.
    licenses: of the pictures it was trained on, how many have which.
    """

    purpose: str = ""
    caution: str = ""
    images: int | None = None
    of: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    coverage: Figure | None = None
    precision: Figure | None = None
    licenses: Mapping[str, int] = field(default_factory=dict)
    is_other: bool = False


def read_card(folder: Path, bundle: Bundle) -> Card:
    """Read the card of a bundle; what it does not tell, or tells of other weights, stays empty."""
    text = _text(folder / CARD)
    purpose, caution, licenses = _purpose(text), _caution(text), _licenses(text)
    block = _BLOCK.search(text)
    told = _one_line(block[1]) if block else ""
    if block is None or f"`{bundle.tag}`" not in told:
        return Card(purpose, caution, licenses=licenses, is_other=block is not None)
    sure = _SURE.search(told)
    images = re.search(r"Measured on the ([\d,]+) images", told)
    resampled = re.search(r"resamples of the ([\d,]+ \w+)", told)
    return Card(
        purpose,
        caution,
        int(images[1].replace(",", "")) if images else None,
        resampled[1] if resampled else "",
        dict(_figures(block[1])),
        _figure(*sure.group(2, 3, 4)) if sure else None,
        _figure(*sure.group(6, 7, 8)) if sure else None,
        licenses,
    )


def _text(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        if path.is_file() and path.stat().st_size <= _MOST:
            return path.read_text(encoding="utf-8").replace("\r\n", "\n")
    return ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _purpose(text: str) -> str:
    """Return the first sentence below the title, without marks."""
    _, _, rest = text.partition("\n\n")
    first = _one_line(rest.split("\n\n")[0]) if text.startswith("# ") else ""
    return re.split(r"(?<=[.])\s", _plain(first), maxsplit=1)[0]


def _caution(text: str) -> str:
    """Return what is told in bold type before the first heading of a section."""
    beginning = _one_line(text.split("\n## ", maxsplit=1)[0])
    return ". ".join(_plain(bold).rstrip(".:") for bold in re.findall(r"\*\*(.+?)\*\*", beginning))


def _plain(text: str) -> str:
    return re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", text)


def _licenses(text: str) -> dict[str, int]:
    told = _LICENSES.search(text)
    if told is None:
        return {}
    parts = re.findall(r"(.+?): ([\d,]+)(?:; |$)", _one_line(told[1]).replace("**", ""))
    return {name: int(count.replace(",", "")) for name, count in parts}


def _figure(value: str, low: str | None, high: str | None) -> Figure:
    return Figure(float(value), float(low) if low else None, float(high) if high else None)


def _figures(block: str) -> Iterator[tuple[str, Figure]]:
    """Find the figures of all images: the row of means, the table of figures, the line of figures."""
    head: list[str] = []
    for line in block.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if cells[:1] == ["**macro**"]:
            yield from _means(head, cells)
        elif head == ["figure", "value"] and len(cells) == 2 and (found := _IN_CELL.match(cells[1])):
            yield cells[0], _figure(*found.groups())
        if not cells or (not head and cells):
            head = cells
    lines = (text for text in block.split("\n\n") if text.startswith(("Accuracy ", "Macro F1 ")))
    for name, *numbers in _IN_TEXT.findall(_one_line(next(lines, ""))):  # a second one tells of another head
        yield re.sub("^(Accuracy|Macro)", lambda first: first[0].lower(), name), _figure(*numbers)


def _means(head: list[str], cells: list[str]) -> Iterator[tuple[str, Figure]]:
    for name, cell in zip(head, cells, strict=False):
        if found := _IN_CELL.match(cell):
            yield f"macro {name}", _figure(*found.groups())
