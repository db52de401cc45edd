"""The changes that an augmentation is made of; all randomness comes from torch's global generator."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from dicomsort.imaging.canvas import Span, fitted_shape, picture_on

_TEXTS = ("L", "R", "L", "R", "AP", "PA", "LAT", "ERECT", "SUPINE", "PORTABLE")
_MAX_DEPTH, _MAX_TILT = 0.16, 0.12  # of a collimation border: share of the side, and radians
_NOISE = (0.01, 0.04)  # deviation as a share of the range of grays
_COARSE = (1.5, 3.5)  # how many times fewer pixels a side
_LEAST_CROP, _MOST_STRETCH, _LEAST_MARGIN = 0.6, 0.5, 0.65  # share of a side, octaves, share of a side
_SMALLEST = 16  # pixels a side of what can be cropped
_COARSE_WAVES = 0.05  # share of a side's waves
_LEAST_GRAYS = 0.3  # how far grays go towards another image's
_SLIM, _MOST_GAP = (0.4, 0.7), 4  # width by height of half a plate, and pixels between two halves


def side_by_side(left: Tensor, right: Tensor) -> Tensor:
    """Put the pictures of two canvases on one, as two views on one plate: uint8 (1, size, size), as they are.

    Both get the same height; wide ones are often cut to half a plate, and there may be a line between them.
    """
    size = left.shape[-1]
    halves = [_half(image, size) for image in (left, right)]
    if gap := _one_of(_MOST_GAP):
        halves.insert(1, torch.full((1, size, gap), 0 if _chance(0.5) else 255, dtype=left.dtype))
    return _on_canvas(torch.cat(halves, dim=2), size)


def with_grays_of(image: Tensor, other: Tensor) -> Tensor:
    """Match a picture's histogram to that of another, partly, by chance: uint8 (1, size, size), as they are.

    What is beside the pictures on their canvases does not count, and stays.
    """
    own, wanted = (_span(canvas[0]) for canvas in (image, other))
    if min(own[2] - own[0], own[3] - own[1], wanted[2] - wanted[0], wanted[3] - wanted[1]) < _SMALLEST:
        return image
    changed = image.clone()
    picture = changed[0, own[0] : own[2], own[1] : own[3]]
    levels = torch.searchsorted(
        _shares(other[0, wanted[0] : wanted[2], wanted[1] : wanted[3]]), _shares(picture)
    )
    weight = _uniform(_LEAST_GRAYS, 1)
    table = (weight * levels.clamp(max=255) + (1 - weight) * torch.arange(256)).round().to(torch.uint8)
    picture.copy_(table[picture.int()])
    return changed


def with_spectrum_of(image: Tensor, other: Tensor) -> Tensor:
    """Give a picture the coarse amplitudes of another one's spectrum, partly: uint8 (1, size, size).

    Phases, which hold the shapes, stay (Yang and Soatto 2020, FDA: Fourier Domain Adaptation).
    """
    own, wanted = (torch.fft.rfft2(canvas[0].float()) for canvas in (image, other))
    weight = torch.zeros(own.shape)
    depth = max(1, round(_COARSE_WAVES * _uniform(0.2, 1) * image.shape[-1]))
    share = _uniform(0, 1)
    weight[:depth, :depth] = weight[-depth:, :depth] = share
    amplitude = (1 - weight) * own.abs() + weight * wanted.abs()
    mixed: Tensor = torch.fft.irfft2(torch.polar(amplitude, own.angle()), s=image.shape[-2:])
    return mixed.round_().clamp_(0, 255).to(torch.uint8).unsqueeze(0)


def _shares(picture: Tensor) -> Tensor:
    """Return the share of pixels that are no brighter than each gray: float32 (256,)."""
    counts = torch.bincount(picture.flatten().int(), minlength=256).cumsum(0)
    return counts / counts[-1]


def _half(image: Tensor, size: int) -> Tensor:
    """Cut a picture out of its canvas, at times in width, and make it `size` pixels high."""
    top, left, bottom, right = _span(image[0])
    if min(bottom - top, right - left) < _SMALLEST:
        top, left, bottom, right = 0, 0, size, size
    width, slim = right - left, round((bottom - top) * _uniform(*_SLIM))
    if slim < width and _chance(0.7):
        left += int((width - slim) * _uniform(0.25, 0.75))
        width = slim
    half: Tensor = functional.resize(
        image[:, top:bottom, left : left + width],
        [size, max(1, round(width * size / (bottom - top)))],
        antialias=True,
    )
    return half


def _uniform(low: float, high: float) -> float:
    return float(torch.empty(1).uniform_(low, high).item())


def _chance(probability: float) -> bool:
    return bool(torch.rand(1).item() < probability)


def _one_of(count: int) -> int:
    return int(torch.randint(count, (1,)).item())


def _span(image: Tensor) -> Span:
    """Find the picture on its canvas: (size, size) without the edges that are all as the corner is."""
    return picture_on(image.numpy(), int(image[0, 0]))


def _on_canvas(picture: Tensor, size: int) -> Tensor:
    """Scale a picture (1, rows, columns) so that it fills a black canvas (1, size, size), and center it."""
    rows, columns = picture.shape[1:]
    height, width = fitted_shape(rows, columns, size)
    canvas = torch.zeros((1, size, size), dtype=picture.dtype)
    top, left = (size - height) // 2, (size - width) // 2
    canvas[:, top : top + height, left : left + width] = functional.resize(
        picture, [height, width], antialias=True
    )
    return canvas


class _Step(v2.Transform):  # type: ignore[misc]
    """A change of one image, uint8 (1, size, size)."""

    def transform(self, inpt: Tensor, params: Mapping[str, Any]) -> Tensor:  # noqa: ARG002
        """Return the changed image."""
        return self._changed(inpt)

    def _changed(self, image: Tensor) -> Tensor:
        raise NotImplementedError


class Crop(_Step):
    """A part of the picture, as a narrower collimator shows it; its sides are 0.6 to 1 of those before."""

    def _changed(self, image: Tensor) -> Tensor:
        top, left, bottom, right = _span(image[0])
        if min(bottom - top, right - left) < _SMALLEST:
            return image
        rows, above = _piece(bottom - top)
        columns, before = _piece(right - left)
        picture = image[:, top + above : top + above + rows, left + before : left + before + columns]
        return _on_canvas(picture, image.shape[-1])


def _piece(side: int) -> tuple[int, int]:
    """Choose a part of a side: its length, and what lies before it."""
    length = round(side * _uniform(_LEAST_CROP, 1))
    return length, int(_uniform(0, 1) * (side - length))


class Stretch(_Step):
    """Height against width changes by up to half an octave, as where pixels are not square."""

    def _changed(self, image: Tensor) -> Tensor:
        octaves, size = _uniform(-_MOST_STRETCH, _MOST_STRETCH), image.shape[-1]
        height, width = round(size * 2 ** min(octaves, 0)), round(size * 2 ** min(-octaves, 0))
        return _on_canvas(functional.resize(image, [height, width], antialias=True), size)


class Affine(v2.RandomAffine):  # type: ignore[misc]
    """A rotation, shift and zoom to the nearest pixel, black where nothing was.

    torchvision's own, but without the mask of what is black, which costs time: outside all is 0 anyway.
    """

    def transform(self, inpt: Tensor, params: Mapping[str, Any]) -> Tensor:
        """Return the changed image."""
        moved: Tensor = functional.affine(inpt, **params, interpolation=self.interpolation)
        return moved


class Quarter(_Step):
    """Turned by one, two or three quarters."""

    def _changed(self, image: Tensor) -> Tensor:
        return torch.rot90(image, 1 + _one_of(3), (1, 2))


class Equalize(_Step):
    """Grays evenly used, or spread from black to white, as some makers' processing does."""

    def _changed(self, image: Tensor) -> Tensor:
        changed: Tensor = functional.equalize(image) if _chance(0.5) else functional.autocontrast(image)
        return changed


class Margins(_Step):
    """The canvas lies smaller on a ground of one gray, as in a screenshot or on a film that was scanned."""

    def _changed(self, image: Tensor) -> Tensor:
        size = image.shape[-1]
        side = round(size * min(_uniform(_LEAST_MARGIN, 1), _uniform(_LEAST_MARGIN, 1)))
        gray = 0 if _chance(0.6) else 255 if _chance(0.6) else _one_of(256)
        ground = torch.full_like(image, gray)
        top, left = int(_uniform(0, 1) * (size - side)), int(_uniform(0, 1) * (size - side))
        ground[:, top : top + side, left : left + side] = functional.resize(
            image, [side, side], antialias=True
        )
        return ground


class Gamma(_Step):
    """Another gamma curve: dark or bright parts are spread at the cost of the others."""

    def __init__(self, octaves: float) -> None:
        super().__init__()
        self._octaves = octaves
        self._grays = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 256)

    def _changed(self, image: Tensor) -> Tensor:
        exponent = 2 ** _uniform(-self._octaves, self._octaves)
        table: Tensor = functional.adjust_gamma(self._grays, exponent).flatten()
        return table[image.int()]


class Borders(_Step):
    """One to four edges of the picture black or white, all tilted alike, as a turned collimator does."""

    def _changed(self, image: Tensor) -> Tensor:
        image = image.clone()
        top, left, bottom, right = _span(image[0])
        tilt = math.tan(_uniform(-_MAX_TILT, _MAX_TILT)) if _chance(0.5) else 0.0
        gray, first = 0 if _chance(0.75) else 255, _one_of(4)
        picture = image[0, top:bottom, left:right]
        for turns in range(4):
            if turns == first or _chance(0.5):
                rows, columns = picture.shape if turns % 2 == 0 else picture.shape[::-1]
                picture.masked_fill_(torch.rot90(_shutter(rows, columns, tilt), turns), gray)
        return image


def _shutter(rows: int, columns: int, tilt: float) -> Tensor:
    """Return what covers the upper edge of a picture: bool (rows, columns)."""
    depth = _uniform(0.02, _MAX_DEPTH) * rows
    across = (torch.arange(columns) - columns / 2) * tilt
    return torch.arange(rows).unsqueeze(1) < depth + across


class Marker(_Step):
    """Letters, or a bar, near an edge of the picture: black on bright ground and white on dark."""

    def _changed(self, image: Tensor) -> Tensor:
        image = image.clone()
        top, left, bottom, right = _span(image[0])
        ink = self._ink(max(6, round(_uniform(0.04, 0.08) * image.shape[-1])))
        place = image[0, top:bottom, left:right]
        if ink.shape[0] >= place.shape[0] or ink.shape[1] >= place.shape[1]:
            return image
        top, left = _near_an_edge(place.shape[0] - ink.shape[0], place.shape[1] - ink.shape[1])
        ground = place[top : top + ink.shape[0], left : left + ink.shape[1]]
        gray = 0.0 if float(ground.float().mean()) > 140 else 255.0
        if _chance(0.25):
            ground.fill_(round(255 - gray))
        ground.copy_((ground + (gray - ground) * ink).round())
        return image

    def _ink(self, height: int) -> Tensor:
        if _chance(0.25):
            return torch.ones(max(2, height // 3), round(height * _uniform(1, 4)))
        return _letters(_TEXTS[_one_of(len(_TEXTS))], height)


def _near_an_edge(rows: int, columns: int) -> tuple[int, int]:
    """Choose a place in the outer tenth of a height or width, but not at the very edge."""
    outer, along = _uniform(0.02, 0.1), _uniform(0.02, 0.98)
    outer = 1 - outer if _chance(0.5) else outer
    down, across = (outer, along) if _chance(0.6) else (along, outer)
    return int(rows * down), int(columns * across)


@lru_cache(maxsize=512)
def _letters(text: str, height: int) -> Tensor:
    """Draw a word: float32 (about height, width), 1 where there is ink."""
    font = ImageFont.load_default(height)
    left, top, right, bottom = font.getbbox(text)
    drawn = Image.new("L", (math.ceil(right - left) + 2, math.ceil(bottom - top) + 2))
    ImageDraw.Draw(drawn).text((1 - left, 1 - top), text, fill=255, font=font)
    grays = torch.frombuffer(bytearray(drawn.tobytes()), dtype=torch.uint8)
    return grays.reshape(drawn.height, drawn.width) / 255


class Coarse(_Step):
    """A picture that once had fewer pixels."""

    def _changed(self, image: Tensor) -> Tensor:
        size = list(image.shape[-2:])
        fewer = _uniform(*_COARSE)
        small = functional.resize(image, [max(1, round(side / fewer)) for side in size], antialias=True)
        large: Tensor = functional.resize(small, size, antialias=True)
        return large


class Noise(_Step):
    """Gaussian noise, partly the same everywhere and partly more where it is bright, as few photons make."""

    def _changed(self, image: Tensor) -> Tensor:
        deviation, photons = 255 * _uniform(*_NOISE), _uniform(0, 1)
        image = image.float()
        spread = (image * (2 * photons / 255)).add_(1 - photons).sqrt_().mul_(deviation)
        return image.addcmul_(spread, torch.randn(image.shape)).round_().clamp_(0, 255).to(torch.uint8)
