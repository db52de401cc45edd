"""What is changed to find shortcuts: each condition changes what its name says."""

from pathlib import Path

import numpy as np
import pytest
import shortcuts
from PIL import Image
from predictors import FixedPredictor
from shortcuts import AS_IS, STRIP

from dicomsort.data import dataset
from dicomsort.dicom import reader
from dicomsort.imaging.canvas import Preprocessing, fit
from dicomsort.outcome import ReadImage

GRAY = (np.add.outer(np.arange(120), np.arange(100)) % 256).astype(np.float32)
CHANGES = shortcuts.conditions()


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_gives_grays_and_leaves_the_picture_alone(name: str) -> None:
    before = GRAY.copy()
    changed = CHANGES[name](GRAY)
    assert np.array_equal(GRAY, before)
    assert changed.dtype == np.float32
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert np.array_equal(changed, GRAY) == (name == AS_IS)
    assert fit(changed, Preprocessing(size=64)).shape == (64, 64)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("white border of 10 %, all edges", (144, 120)),
        ("black border of 15 %, left and right", (120, 130)),
        ("white border of 5 %, top and bottom", (132, 100)),
        (STRIP, (200, 100)),
        ("padded with white to a wide strip (1 : 2)", (120, 240)),
        ("middle 60 % of the width", (120, 60)),
        ("middle 60 % of the height", (72, 100)),
        ("middle square", (100, 100)),
        ("turned by 90 degrees", (100, 120)),
        ("1.3 times as wide", (120, 130)),
        ("96 pixels and back", (120, 100)),
    ],
)
def test_a_change_of_shape(name: str, shape: tuple[int, int]) -> None:
    assert CHANGES[name](GRAY).shape == shape


def test_borders_have_their_color_and_hold_the_picture() -> None:
    white = CHANGES["white border of 10 %, all edges"](GRAY)
    assert (white[:12] == 255).all()
    assert (white[:, -10:] == 255).all()
    assert np.array_equal(white[12:-12, 10:-10], GRAY)
    strip = CHANGES[STRIP](GRAY)
    assert (strip[:40] == 0).all()
    assert np.array_equal(strip[40:160], GRAY)
    tall = np.ones((300, 100), np.float32)
    assert CHANGES[STRIP](tall).shape == tall.shape, "it is one already"


def test_grays_bend_as_they_say() -> None:
    assert np.array_equal(CHANGES["inverted"](GRAY), 255 - GRAY)
    assert (
        CHANGES["gamma 0.5 (brighter)"](GRAY).mean() > GRAY.mean() > CHANGES["gamma 2 (darker)"](GRAY).mean()
    )
    assert np.ptp(CHANGES["half the contrast"](GRAY)) == np.ptp(GRAY) / 2


def _pictures(folder: Path) -> list[dataset.Sample]:
    """Write pictures that FixedPredictor tells apart by their brightness, without padding."""
    lines = ["file,group,dataset,ambiguous"]
    brightness = {"abdominal": 20, "adult_chest": 65, "others": 110, "pediatric_chest": 155, "spine": 200}
    for number, (label, gray) in enumerate([*brightness.items()] * 2):
        image = np.full((64, 64), gray, np.uint8)
        image[0, 0] = number
        Image.fromarray(image).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{label},{'ab'[number // 5]},{int(number == 9)}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return list(shortcuts.load(folder / "labels.csv", "group", "dataset"))


def test_conditions_are_measured(tmp_path: Path, predictor: FixedPredictor) -> None:
    samples = _pictures(tmp_path)
    assert len(samples) == 9, "the ambiguous one is left out"
    answered = shortcuts.measure_conditions(predictor, samples)
    rows = {row.name: row for row in shortcuts.rows_of(answered)}
    assert rows[AS_IS].recall == rows[AS_IS].accuracy == 1
    assert rows["inverted"].recall < 1
    assert rows["inverted"].recalls["others"] == 0
    assert rows["half the contrast"].adult_as_child == 0
    assert shortcuts.becoming_spine(answered)["spine"][AS_IS] == 1
    assert shortcuts.by_source(answered, samples) == [], "both sources have chests of both ages"
    adults = [sample for sample in samples if sample.label != "pediatric_chest"]
    found = shortcuts.by_source(answered, adults)
    assert [(row.source, row.only, row.images, row.taken) for row in found] == [
        ("a", "adult_chest", 1, 0.0),
        ("b", "adult_chest", 1, 0.0),
    ]
    text = shortcuts.tables(answered, adults)
    assert all(f"| {name} |" in text for name in CHANGES)


def test_pictures_are_read_as_training_reads_them(tmp_path: Path) -> None:
    path, preprocessing = tmp_path / "a.webp", Preprocessing(size=48)
    Image.fromarray(np.tile(GRAY[..., None].astype(np.uint8), 3)).save(path, lossless=True)
    picture = reader.read_any(str(path), preprocessing)
    assert isinstance(picture, ReadImage)
    assert np.array_equal(fit(shortcuts.read_gray(path), preprocessing), picture.image)
