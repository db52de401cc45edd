"""What a network is fed: which pictures stand side by side, and how often each is drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trainings import LEVELS, prepared_from

from dicomsort.data.cache import Cache
from dicomsort.data.dataset import Sample
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.imaging.montage import ROW, laid_out
from dicomsort.model.heads import Head
from dicomsort.system.pool_settings import PoolSettings
from dicomsort.training.augment import Augmentation
from dicomsort.training.loader import ROTATION, AugmentedImages, images_of, sampling_weights, turning_of


def test_only_images_with_the_same_labels_stand_side_by_side(pictures: Path, tmp_path: Path) -> None:
    images = prepared_from(pictures, tmp_path / "c").train
    paired = AugmentedImages(images, range(len(images)), Augmentation.parse("none,pair=1"), seed=0)
    alone = AugmentedImages(images, range(len(images)), Augmentation.parse("none"), seed=0)
    for at in range(len(images)):
        (both, known), (one, _) = paired[at], alone[at]
        assert both.shape == one.shape
        assert not torch.equal(both, one)
        gray = float(both[both > 0].float().mean())
        assert gray == pytest.approx(LEVELS["bright" if known[0] else "dark"], abs=25)
    again = AugmentedImages(images, range(len(images)), Augmentation.parse("none,pair=1"), seed=0)
    assert all(torch.equal(paired[at][0], again[at][0]) for at in range(len(images)))


def test_sampling_weights_lift_rare_classes_and_sources() -> None:
    labels = ["a"] * 100 + ["b"] * 25
    sources = ["big"] * 80 + ["small"] * 20 + ["big"] * 25
    for balance, shares in ((0.0, (80, 20, 25)), (1.0, (0.5, 0.5, 1.0)), (0.5, (80**0.5, 20**0.5, None))):
        weights = np.array(sampling_weights(labels, sources, balance))
        sums = [weights[:80].sum(), weights[80:100].sum(), weights[100:].sum()]
        assert sums[0] / sums[1] == pytest.approx(shares[0] / shares[1])
        assert (sums[0] + sums[1]) / sums[2] == pytest.approx((100 / 25) ** (1 - balance))


def test_views_of_a_study_lie_side_by_side_for_bundles_of_before() -> None:
    preprocessing = Preprocessing(size=64)
    one, two = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    one[:, 16:48], two[16:48, :] = 100, 200  # a tall picture and a wide one
    both = laid_out([one, two], preprocessing, ROW)
    assert both.shape == (64, 64)
    filled = np.flatnonzero((both > 0).any(axis=1))
    assert len(filled) == pytest.approx(64 * 32 / 80, abs=1)  # 32 x 16 and 32 x 64 pixels beside each other
    middle = both[32]
    assert (middle[2:11] == 100).all()
    assert (middle[15:62] == 200).all()


def test_a_turned_picture_says_by_how_much_it_is_turned_clockwise(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", Preprocessing(size=32))
    gray = np.zeros((32, 32), np.uint8)
    gray[:8, :8] = 200  # a mark in the upper left corner
    Image.fromarray(gray).save(tmp_path / "mark.png")
    sample = Sample(str(tmp_path / "mark.png"), "mark.png", ("a", "0"), "p", "k" * 16)
    assert not cache.fill([sample], PoolSettings(1))
    head = Head("part", ("a", "b"))
    images = images_of([sample], (head, ROTATION), cache)
    turning = turning_of((head, ROTATION), share=1.0)
    assert turning is not None
    shown = AugmentedImages(images, [0] * 30, Augmentation.parse("none"), seed=0, turning=turning)
    corner = {"90": (0, 31), "180": (31, 31), "270": (31, 0)}  # where a clockwise turn takes the upper left
    seen = set()
    for at in range(30):
        picture, truth = shown[at]
        label = ROTATION.labels[int(truth[2:].argmax())]
        assert picture[corner[label]] == 200
        assert truth[:2].tolist() == [1, 0]
        seen.add(label)
    assert seen == set(corner)


def test_what_validates_is_upright_and_turned_and_turned_ones_tell_nothing_else(
    pictures: Path, tmp_path: Path
) -> None:
    upright = prepared_from(pictures, tmp_path / "c").validation
    heads = (Head("light", ("bright", "dark")), ROTATION)
    truth = np.concatenate([upright.truth, np.eye(4, dtype=np.float32)[[0] * len(upright)]], axis=1)
    turning = turning_of(heads, 0.2)
    assert turning is not None
    both = turning.with_turned(replace(upright, truth=truth))
    assert len(both) == 2 * len(upright)
    for at in range(len(upright)):
        assert torch.equal(both.pixels(at), upright.pixels(at))
        quarters = int(both.truth[len(upright) + at, 2:].argmax())
        assert quarters == 1 + at % 3
        assert np.array_equal(
            np.rot90(both.pixels(len(upright) + at).numpy(), quarters), upright.pixels(at).numpy()
        )
    assert np.isnan(both.truth[len(upright) :, :2]).all()
    assert turning_of(heads[:1], 0.2) is None
