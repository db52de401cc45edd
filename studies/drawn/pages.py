"""What a computer or a recorder prints: reports, forms, curves, screens.

Each maker draws one picture from a generator of random numbers: the same seed gives the same picture.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from drawn.basics import GREATEST, Dice, Gray, noise, shape_of, to_bytes

Pen = ImageDraw.ImageDraw

_FONTS = ("", "DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "DejaVuSerif-Italic")
_LARGE = 2.5  # pages are drawn larger, and shrunk as by an archive's viewer
_TEXT = (
    "the patient was seen in our clinic for follow up of known disease no evidence of acute change compared "
    "with previous examination findings are stable recommend clinical correlation technique contrast series "
    "impression indication history left right upper lower mild moderate severe normal within limits "
    "Befund Beurteilung ohne Nachweis einer laudo exame sem alterações paciente dose mGy cm kV mAs total "
    "12.03.2014 4.5 10:42 128 0.7 II III IV ID 00471-2 Dr. Ward 3B signed electronically"
)
_WORDS = tuple(_TEXT.split())
_BEAT = (
    (0.2, 0.025, 0.12), (0.27, 0.01, -0.15), (0.3, 0.012, 1.0), (0.33, 0.01, -0.3), (0.55, 0.05, 0.3),
)  # fmt: skip
"""Waves P, Q, R, S and T: place, width and height, of one beat."""


@lru_cache(maxsize=256)
def font(name: str, size: int) -> Any:
    """Return Pillow's own font, or one of those that come with matplotlib."""
    if not name:
        return ImageFont.load_default(size)
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)


def words(dice: Dice, most: int) -> str:
    """Make up a line."""
    return " ".join(dice.choice(_WORDS, int(dice.integers(1, most + 1))))


class Page:
    """A sheet to draw on, `_LARGE` times as large as it will be; ink and ground are grays 0..255."""

    def __init__(self, dice: Dice, shape: tuple[int, int], dark: float = 0.3) -> None:
        self.dice = dice
        self.height, self.width = (round(side * _LARGE) for side in shape)
        pale = int(dice.integers(215, 256)), int(dice.integers(0, 60))
        self.ground, self.ink = pale[::-1] if dice.random() < dark else pale
        self.picture = Image.new("L", (self.width, self.height), self.ground)
        self.pen: Pen = ImageDraw.Draw(self.picture)
        self.face = str(dice.choice(_FONTS))
        self.shape = shape

    def mixed(self, share: float) -> int:
        """Return a gray between ground (0) and ink (1)."""
        return round(self.ground + share * (self.ink - self.ground))

    def write(self, at: tuple[float, float], text: str, size: int, gray: int | None = None) -> None:
        """Write a line, cut at the right edge by the sheet."""
        self.pen.text(at, text, self.ink if gray is None else gray, font(self.face, size))

    def paragraph(self, box: tuple[float, float, float, float], size: int) -> None:
        """Fill a box (left, top, right, bottom) with lines of words."""
        left, top, right, bottom = box
        letters = max(4, int((right - left) / (0.55 * size)))
        while top + size < bottom:
            self.write((left, top), " ".join(self.dice.choice(_WORDS, letters // 5 + 1))[:letters], size)
            top += 1.35 * size

    def box(self, corners: Sequence[float], fill: int | None = None, line: int | None = None) -> None:
        """Draw a rectangle: left, top, right, bottom."""
        left, top, right, bottom = corners
        if right > left and bottom > top:
            self.pen.rectangle((left, top, right, bottom), fill, line)

    def done(self) -> Gray:
        """Return the sheet at its size."""
        small = self.picture.resize(self.shape[::-1], Image.Resampling.LANCZOS)
        return np.asarray(small, np.uint8)


def text_page(dice: Dice) -> Gray:
    """Draw a page of a report: letterhead, lines of a table of facts, paragraphs, a signature."""
    page = Page(
        dice, shape_of(dice, (1.1, 1.45)) if dice.random() < 0.75 else shape_of(dice, (0.6, 1.0)), 0.35
    )
    size = int(dice.integers(14, 44))
    edge, width, height = dice.uniform(0.03, 0.12) * page.width, page.width, page.height
    top = edge
    if dice.random() < 0.7:
        page.write((edge if dice.random() < 0.5 else width / 3, top), words(dice, 4).title(), int(size * 1.8))
        top += 3 * size
    if dice.random() < 0.3:
        page.pen.ellipse((width - 5 * size, edge, width - 2 * size, edge + 3 * size), page.mixed(0.6))
    for _ in range(int(dice.integers(0, 6))):
        page.write((edge, top), f"{words(dice, 2)}:", size)
        page.write((edge + 11 * size, top), words(dice, 3), size)
        top += 1.4 * size
    end = height * dice.uniform(0.35, 1.0)
    while top + 3 * size < end:
        until = min(end, top + size * dice.uniform(2, 14))
        if dice.random() < 0.4:
            page.write((edge, top), words(dice, 2).upper(), size)
            top += 1.5 * size
        page.paragraph((edge, top, width - edge, until), size)
        top = until + size
    if dice.random() < 0.5:
        _scribble(page, (edge, min(top, height - 4 * size)), size)
    return page.done()


def _scribble(page: Page, at: tuple[float, float], size: int) -> None:
    steps = at + np.cumsum(page.dice.normal((size / 4, 0), size / 3, (30, 2)), axis=0)
    page.pen.line([(float(x), float(y)) for x, y in steps], page.ink, 3, "curve")


def form(dice: Dice) -> Gray:
    """Draw a form or a table of results: a grid, some cells filled, ticks, perhaps a bar code."""
    page = Page(dice, shape_of(dice, (0.65, 1.5)), 0.3)
    edge = dice.uniform(0.02, 0.08) * page.width
    rows, columns = int(dice.integers(6, 28)), int(dice.integers(2, 8))
    top = edge + dice.uniform(0.04, 0.16) * page.height
    page.write((edge, edge), words(dice, 4).upper(), int((top - edge) * 0.5) + 6)
    across = np.sort(dice.uniform(edge, page.width - edge, columns - 1))
    lines = [edge, *(float(each) for each in across), page.width - edge]
    down = (page.height * dice.uniform(0.75, 1.0) - edge - top) / rows
    striped, ruled, header = dice.random() < 0.4, dice.random() < 0.8, dice.random() < 0.6
    for row in range(rows):
        y = top + row * down
        shade = page.mixed(0.75) if header and row == 0 else page.mixed(0.12) if striped and row % 2 else None
        page.box((lines[0], y, lines[-1], y + down), shade, page.mixed(0.8) if ruled else None)
        for left, right in pairwise(lines):
            _cell(page, (left, y, right, y + down), page.ground if header and row == 0 else page.ink)
    for x in lines if ruled else ():
        page.pen.line((x, top, x, top + rows * down), page.mixed(0.8), 2)
    if dice.random() < 0.5:
        _bar_code(page, (page.width * 0.6, edge, page.width - edge, top - 4))
    return page.done()


def _cell(page: Page, box: tuple[float, float, float, float], ink: int) -> None:
    left, top, right, bottom = box
    size, lot = max(8, int((bottom - top) * 0.55)), page.dice.random()
    if lot < 0.65:
        letters = max(0, int((right - left - size) / (0.6 * size)))
        page.write((left + size / 3, top + size / 4), words(page.dice, 4)[:letters], size, ink)
    elif lot < 0.8 and right - left > size:
        page.box((left + 4, top + 4, left + 4 + size, top + 4 + size), None, ink)
        if page.dice.random() < 0.5:
            page.pen.line((left + 4, top + 4, left + 4 + size, top + 4 + size), ink, 3)


def _bar_code(page: Page, box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = box
    while left < right and bottom > top:
        bar, gap = (float(page.dice.integers(2, 9)) for _ in range(2))
        page.box((left, top, left + bar, bottom), page.ink)
        left += bar + gap


def ecg(dice: Dice) -> Gray:
    """Draw curves of a monitor or a recorder: leads of an electrocardiogram, or other waves, over a grid."""
    page = Page(dice, shape_of(dice, (0.45, 1.1)), 0.45)
    if dice.random() < 0.75:
        for step, share in ((12 * _LARGE / 5, 0.12), (12 * _LARGE, 0.3)):
            for at in np.arange(0, max(page.width, page.height), step):
                page.pen.line((at, 0, at, page.height), page.mixed(share))
                page.pen.line((0, at, page.width, at), page.mixed(share))
    leads, strips = int(dice.integers(2, 13)), int(dice.integers(1, 4))
    head = page.height * dice.uniform(0.02, 0.2)
    page.paragraph((10, 8, page.width * 0.7, head), int(dice.integers(16, 30)))
    wave = _beat if dice.random() < 0.7 else _wave
    high = (page.height - head) / leads
    for lead in range(leads):
        for strip in range(strips):
            x = np.linspace(strip, strip + 1, 500) * page.width / strips
            y = head + (lead + 0.6) * high - wave(dice, len(x)) * high * dice.uniform(0.3, 0.6)
            page.pen.line([(float(a), float(b)) for a, b in zip(x, y, strict=True)], page.ink, 3)
            page.write((x[0] + 6, head + lead * high), f"V{lead + 1}", 20)
    return page.done()


def _beat(dice: Dice, samples: int) -> Any:
    """Return an electrocardiogram of about -1 to 1: waves P, Q, R, S and T as bells."""
    beats, shift = dice.uniform(2, 7), dice.uniform(0, 1)
    phase = (np.linspace(0, beats, samples) + shift) % 1
    curve = np.zeros(samples)
    for place, width, height in _BEAT:
        curve += height * dice.uniform(0.5, 1.3) * np.exp(-(((phase - place) / width) ** 2))
    return curve * dice.choice([1, -1], p=[0.8, 0.2]) + dice.normal(0, 0.02, samples)


def _wave(dice: Dice, samples: int) -> Any:
    """Return a wave without a beat, as of an electroencephalogram or of breathing."""
    time = np.linspace(0, 1, samples)
    curve = np.zeros(samples)
    for _ in range(5):
        curve += dice.uniform(0, 0.5) * np.sin(2 * math.pi * (dice.uniform(1, 40) * time + dice.random()))
    return curve


def screenshot(dice: Dice) -> Gray:
    """Draw a computer's screen: windows with bars, menus, lists, plots, and panes that show something."""
    page = Page(dice, shape_of(dice, (0.5, 0.8)), 0.5)
    page.box((0, 0, page.width, page.height), page.mixed(dice.uniform(0, 0.7)))
    bar = page.height * dice.uniform(0.03, 0.07)
    for _ in range(int(dice.integers(1, 4))):
        left, top = dice.uniform(0, 0.35) * page.width, dice.uniform(0, 0.35) * page.height
        right, bottom = left + dice.uniform(0.5, 1) * page.width, top + dice.uniform(0.5, 1) * page.height
        page.box((left, top, right, bottom), page.ground, page.mixed(0.8))
        page.box((left, top, right, top + bar), page.mixed(dice.uniform(0.3, 0.9)))
        page.write((left + 8, top + 4), words(dice, 4), int(bar * 0.6), page.ground)
        page.write((left + 8, top + bar + 4), "File  Edit  View  Image  Tools  Help", int(bar * 0.6))
        _panes(page, (left, top + 2 * bar, min(right, page.width), min(bottom, page.height)))
    page.box((0, page.height - bar, page.width, page.height), page.mixed(0.6))
    for at in range(int(dice.integers(3, 12))):
        left = 10 + at * 1.6 * bar
        page.box((left, page.height - 0.9 * bar, left + bar, page.height - 4), int(dice.integers(0, 256)))
    return page.done()


def _panes(page: Page, box: tuple[float, float, float, float]) -> None:
    """Divide a window into panes, each with something in it."""
    left, top, right, bottom = box
    across, down = int(page.dice.integers(1, 4)), int(page.dice.integers(1, 3))
    fillers: tuple[Callable[..., None], ...] = (_list, _plot, _histogram, _icons, _thumbnail)
    for column in range(across):
        for row in range(down):
            x, y = left + (right - left) * column / across, top + (bottom - top) * row / down
            inner = (x + 6, y + 6, x + (right - left) / across - 6, y + (bottom - top) / down - 6)
            if inner[2] - inner[0] > 30 and inner[3] - inner[1] > 30:
                page.box(inner, None, page.mixed(0.4))
                fillers[int(page.dice.integers(len(fillers)))](page, inner)


def _list(page: Page, box: tuple[float, float, float, float]) -> None:
    page.paragraph((box[0] + 6, box[1] + 4, box[2], box[3]), int(page.dice.integers(14, 26)))


def _plot(page: Page, box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = box
    for _ in range(int(page.dice.integers(1, 4))):
        curve = np.cumsum(page.dice.normal(0, 1, 60))
        curve = (curve - curve.min()) / max(float(np.ptp(curve)), 1e-6)
        x, y = np.linspace(left + 10, right - 5, 60), bottom - 10 - curve * (bottom - top - 20)
        points = [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
        page.pen.line(points, page.mixed(page.dice.uniform(0.5, 1)), 3)
    page.pen.line((left + 10, top + 5, left + 10, bottom - 10, right, bottom - 10), page.ink, 2)


def _histogram(page: Page, box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = box
    bars = int(page.dice.integers(5, 40))
    step = (right - left) / bars
    for at, high in enumerate(page.dice.beta(2, 3, bars)):
        x = left + at * step
        page.box((x, bottom - high * (bottom - top), x + 0.8 * step, bottom), page.mixed(0.7))


def _icons(page: Page, box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = box
    step = page.dice.uniform(28, 60)
    for x in np.arange(left + 4, right - step, step):
        for y in np.arange(top + 4, bottom - step, step):
            inner = (x, y, x + 0.7 * step, y + 0.7 * step)
            (page.pen.ellipse if page.dice.random() < 0.4 else page.box)(inner, int(page.dice.integers(256)))


def _thumbnail(page: Page, box: tuple[float, float, float, float]) -> None:
    """Paste a soft cloud, as a viewer's pane would show some picture."""
    size = max(8, int(box[2] - box[0])), max(8, int(box[3] - box[1]))
    cloud = to_bytes(255 * noise(page.dice, (64, 64), page.dice.uniform(1, 3)))
    page.picture.paste(Image.fromarray(cloud).resize(size), (int(box[0]), int(box[1])))


def overlaid(gray: Gray, dice: Dice) -> Gray:
    """Show a picture as a viewer does, on black with facts in the corners, and give the screen back."""
    side = int(max(gray.shape) * dice.uniform(1.0, 1.25))
    across = int(side * dice.uniform(1.0, 1.35))
    screen = Image.new("L", (across, side), 0)
    screen.paste(Image.fromarray(gray), ((across - gray.shape[1]) // 2, (side - gray.shape[0]) // 2))
    scale = 2 * GREATEST / max(screen.size)
    screen = screen.resize((round(across * scale), round(side * scale)), Image.Resampling.BICUBIC)
    pen, size = ImageDraw.Draw(screen), int(dice.integers(16, 26))
    for x, y, anchor in ((6, 6, "la"), (screen.width - 6, 6, "ra"), (6, screen.height - 6, "ld"),
                         (screen.width - 6, screen.height - 6, "rd")):  # fmt: skip
        text = "\n".join(words(dice, 3) for _ in range(int(dice.integers(1, 6))))
        pen.text((x, y), text, 255, font("", size), anchor)
    half = screen.width // 2, screen.height // 2
    return np.asarray(screen.resize(half, Image.Resampling.LANCZOS), np.uint8)
