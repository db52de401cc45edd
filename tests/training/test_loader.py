"""What a network is fed: which pictures stand side by side, and how often each is drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from trainings import LEVELS, prepared_from

from dicomsort.imaging.canvas import Preprocessing, beside
from dicomsort.training.augment import Augmentation
from dicomsort.training.loader import AugmentedImages, sampling_weights


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


def test_views_of_a_study_lie_side_by_side() -> None:
    preprocessing = Preprocessing(size=64)
    one, two = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    one[:, 16:48], two[16:48, :] = 100, 200  # a tall picture and a wide one
    both = beside([one, two], preprocessing)
    assert both.shape == (64, 64)
    filled = np.flatnonzero((both > 0).any(axis=1))
    assert len(filled) == pytest.approx(64 * 32 / 80, abs=1)  # 32 x 16 and 32 x 64 pixels beside each other
    middle = both[32]
    assert (middle[2:11] == 100).all()
    assert (middle[15:62] == 200).all()
