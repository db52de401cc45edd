"""Change training images a little every time they are seen, but not beyond what radiographs look like."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from dicomsort.errors import UsageError
from dicomsort.imaging.canvas import Canvas
from dicomsort.training.random_transforms import (
    Affine,
    Borders,
    Coarse,
    Crop,
    Equalize,
    Gamma,
    Margins,
    Marker,
    Noise,
    Quarter,
    Stretch,
)

Change = Callable[[Tensor], Tensor]
"""Takes and returns uint8 (1, size, size)."""

_HIGHEST = {"rotation": 180.0, "shift": 0.5, "zoom": 0.9, "brightness": 1.0, "contrast": 1.0, "gamma": 3.0}
"""The highest value of each strength; everything else is a probability, up to 1."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How much training images are changed, differently each time they are seen.

    rotation: degrees, evenly within +-. shift: share of the side, within +- for each direction. zoom: size
    within 1 +- zoom. brightness, contrast: factors within 1 +- the value. gamma: exponents 2 ** -gamma to
    2 ** gamma. All others are probabilities:

    flip, upside_down: left for right, and top for bottom; flip must be 0 where the side matters. crop: a part
    of the picture fills the canvas. stretch: the aspect ratio changes. quarter: turned by 90, 180 or 270
    degrees. pair: another image of the same labels is put next to it, like two views on one plate. greys: its
    histogram is matched to that of another image, so that its processing does not give away its source.
    spectrum: its coarse waves get the amplitudes of another image's.
    equalise: the histogram is stretched or equalized. invert: polarity. margins: the picture is smaller, and
    anywhere on a black, white or gray ground. borders: edges of the picture are black or white, as behind a
    collimator or shutter, straight or slanting. markers: letters or bars are burned in; they say L or R by
    chance, so 0 where the side matters. noise: of photons and of electronics. blur: a Gaussian. resolution:
    of a coarser picture.
    """

    rotation: float = 12.0
    shift: float = 0.08
    zoom: float = 0.2
    flip: float = 0.5
    upside_down: float = 0.0
    crop: float = 0.0
    stretch: float = 0.0
    quarter: float = 0.0
    pair: float = 0.0
    greys: float = 0.0
    spectrum: float = 0.0
    equalise: float = 0.0
    brightness: float = 0.3
    contrast: float = 0.4
    gamma: float = 0.0
    invert: float = 0.1
    margins: float = 0.0
    borders: float = 0.0
    markers: float = 0.0
    noise: float = 0.0
    blur: float = 0.1
    resolution: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            highest = _HIGHEST.get(name, 1.0)
            if not 0 <= value <= highest:  # NaN is outside, too
                raise ValueError(f"augmentation '{name}' must be 0 to {highest:g}, not {value:g}")

    def as_dict(self) -> dict[str, float]:
        """Return the settings as JSON values."""
        return asdict(self)

    @classmethod
    def parse(cls, text: str) -> "Augmentation":
        """Read a preset's name, or changes to one: `strong`, `strong,flip=0`, `rotation=20`.

        Without a name the rest is that of `standard`. Raises UsageError with one line of what there is.
        """
        words = [word.strip() for word in text.split(",")]
        preset = words.pop(0) if "=" not in words[0] else "standard"
        if preset not in PRESETS:
            raise UsageError(f"augmentation '{preset}' is unknown: use {', '.join(PRESETS)}, or name=value")
        try:
            return replace(PRESETS[preset], **dict(_pair(word) for word in words))
        except ValueError as error:
            raise UsageError(str(error)) from error


def _pair(word: str) -> tuple[str, float]:
    name, equals, value = (part.strip() for part in word.partition("="))
    names = [field.name for field in fields(Augmentation)]
    if not equals or name not in names:
        raise UsageError(
            f"augmentation '{word}' is unknown: after a preset write name=value, with {', '.join(names)}"
        )
    try:
        return name, float(value)
    except ValueError as error:
        raise UsageError(f"augmentation '{name}' must be a number, not '{value}'") from error


_UNCHANGED = Augmentation(**dict.fromkeys((field.name for field in fields(Augmentation)), 0.0))

PRESETS: Mapping[str, Augmentation] = MappingProxyType(
    {
        "none": _UNCHANGED,
        "light": replace(_UNCHANGED, rotation=5.0, shift=0.03, zoom=0.08, flip=0.5),
        "standard": Augmentation(),
        "strong": Augmentation(
            rotation=20.0, shift=0.1, zoom=0.25, flip=0.5, upside_down=0.05, brightness=0.3, contrast=0.4,
            gamma=0.5, invert=0.2, borders=0.3, markers=0.3, noise=0.25, blur=0.2, resolution=0.2,
        ),
    }
)  # fmt: skip


def transform(augmentation: Augmentation) -> Change:
    """Return a function of an image, uint8 (1, size, size) to the same, 0 where it was empty.

    All randomness comes from torch's global generator, so `torch.manual_seed` makes it repeatable. Geometry
    comes first, then gray values and polarity, then what is put on the finished picture.
    """
    steps = [*_geometry(augmentation), *_tone(augmentation), *_finish(augmentation)]
    return v2.Compose(steps) if steps else _same


def shown(image: Canvas, augmentation: Augmentation, copies: int, seed: int) -> list[Canvas]:
    """Return an image, uint8 (size, size), and some changed copies of it, the same for the same seed.

    Sets the seed of torch's global generator.
    """
    torch.manual_seed(seed)
    change, original = transform(augmentation), torch.from_numpy(image.copy()).unsqueeze(0)
    return [image, *(change(original).squeeze(0).numpy() for _ in range(copies))]


def _same(image: Tensor) -> Tensor:
    return image


def _geometry(amount: Augmentation) -> list[Any]:
    steps = _some((Crop(), amount.crop), (Stretch(), amount.stretch), (Quarter(), amount.quarter))
    if amount.flip:
        steps.append(v2.RandomHorizontalFlip(amount.flip))
    if amount.upside_down:
        steps.append(v2.RandomVerticalFlip(amount.upside_down))
    if amount.rotation or amount.shift or amount.zoom:
        shift, scale = (amount.shift, amount.shift), (1 - amount.zoom, 1 + amount.zoom)
        steps.append(Affine(degrees=amount.rotation, translate=shift, scale=scale))
    return steps


def _some(*changes: tuple[v2.Transform, float]) -> list[Any]:
    """Return changes with their probabilities, without those that never happen."""
    return [v2.RandomApply([change], p=probability) for change, probability in changes if probability]


def _tone(amount: Augmentation) -> list[Any]:
    steps = _some((Equalize(), amount.equalise))
    if amount.brightness or amount.contrast:
        steps.append(v2.ColorJitter(brightness=amount.brightness, contrast=amount.contrast))
    if amount.gamma:
        steps.append(Gamma(amount.gamma))
    if amount.blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(3, (0.1, 1.5))], p=amount.blur))
    if amount.invert:
        steps.append(v2.RandomInvert(p=amount.invert))
    return steps


def _finish(amount: Augmentation) -> list[Any]:
    return _some(
        (Margins(), amount.margins),
        (Borders(), amount.borders),
        (Marker(), amount.markers),
        (Coarse(), amount.resolution),
        (Noise(), amount.noise),
    )
