"""Makers of pictures that are no radiographs of a person, by kind."""

from collections.abc import Callable

from drawn import cards, pages, plates, scenes, slices
from drawn.basics import Dice, Gray

MAKERS: dict[str, Callable[[Dice], Gray]] = {
    "text_page": pages.text_page,
    "form": pages.form,
    "ecg": pages.ecg,
    "screenshot": pages.screenshot,
    "test_pattern": cards.card,
    "blank_plate": plates.blank_plate,
    "phantom": plates.phantom,
    "noise": plates.noise_field,
    "ct_like": slices.ct_like,
    "mr_like": slices.mr_like,
    "us_like": slices.us_like,
    "slide": scenes.slide,
    "scene": scenes.scene,
    "texture": scenes.texture,
}
"""Each draws one picture, gray, of at most 384 pixels a side."""
