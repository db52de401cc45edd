"""Contact sheets: many small pictures on one, each with a caption."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicomsort.errors import TargetError

Gray = NDArray[np.uint8]
Color = tuple[int, int, int]

PALE: Color = (225, 225, 225)

_GROUND: Color = (40, 44, 52)
_GAP, _LINE, _FONT = 6, 16, 12  # pixels
_LONGEST = 300  # characters of a caption


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture, uint8 (rows, columns), and the lines below it, the first of them in a color."""

    image: Gray
    caption: tuple[str, ...] = ()
    color: Color = PALE


def sheet_of(tiles: Sequence[Tile], columns: int, side: int = 160) -> Image.Image:
    """Put tiles side by side, each fitted into a square of `side` pixels, as many a row as there are columns.

    A caption that is wider than its tile is shortened, but for the name of a file at its end. Returns an RGB
    picture, columns x (side + 6) + 6 pixels wide.
    """
    lines = max((len(tile.caption) for tile in tiles), default=0)
    across, down = side + _GAP, side + lines * _LINE + _GAP
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * across + _GAP, rows * down + _GAP), _GROUND)
    for at, tile in enumerate(tiles):
        left, top = _GAP + at % columns * across, _GAP + at // columns * down
        _paste(sheet, tile.image, (left, top), side)
        for number, line in enumerate(tile.caption):
            color = tile.color if number == 0 else PALE
            _write(sheet, line, (left, top + side + number * _LINE), (side, color))
    return sheet


def contact_sheet(rows: Sequence[tuple[str, Sequence[Gray]]], side: int) -> Image.Image:
    """Put each row's caption and below it its pictures side by side, fitted into squares of `side` pixels.

    Returns an RGB picture as wide as the longest row.
    """
    across, down = side + _GAP, _LINE + side + _GAP
    width = max((len(images) for _, images in rows), default=0) * across + _GAP
    sheet = Image.new("RGB", (width, len(rows) * down + _GAP), _GROUND)
    for number, (caption, images) in enumerate(rows):
        top = _GAP + number * down
        _write(sheet, caption, (_GAP, top), (width - 2 * _GAP, PALE))
        for at, image in enumerate(images):
            _paste(sheet, image, (_GAP + at * across, top + _LINE), side)
    return sheet


def save(sheet: Image.Image, path: Path) -> None:
    """Write a sheet as PNG; what was there is replaced. Raises TargetError if that fails."""
    encoded = io.BytesIO()
    sheet.save(encoded, "PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.getbuffer())
    except OSError as error:
        raise TargetError(f"'{path}' cannot be written: {error.strerror}") from error


def _paste(sheet: Image.Image, image: Gray, corner: tuple[int, int], side: int) -> None:
    """Center a picture in a square; one that already has its size stays as it is, pixel by pixel."""
    scale = side / max(image.shape)
    width, height = (max(1, round(length * scale)) for length in reversed(image.shape))
    picture = Image.fromarray(image)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    sheet.paste(picture, (corner[0] + (side - width) // 2, corner[1] + (side - height) // 2))


def _write(sheet: Image.Image, text: str, corner: tuple[int, int], style: tuple[int, Color]) -> None:
    width, color = style
    ImageDraw.Draw(sheet).text(corner, _clipped(_plain(text), width), fill=color, font=_font())


def _plain(text: str) -> str:
    """Escape what is no printable character: it could break a line or turn the direction of writing."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 3]}...{text[-_LONGEST * 2 // 3 :]}"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _clipped(text: str, width: int) -> str:
    """Shorten a text to `width` pixels: in front of its last word, or of the name at the end of a path."""
    if _font().getlength(text) <= width:
        return text
    at = text.rfind("/" if "/" in text else " ") + 1
    head, tail = text[:at], text[at:]
    while tail and _font().getlength(f"...{tail}") > width:
        head, tail = "", tail[1:]
    while head and _font().getlength(f"{head}...{tail}") > width:
        head = head[:-1]
    return f"{head}...{tail}"


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_FONT)
