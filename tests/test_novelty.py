"""The reject score: low for what resembles the training, high for what does not, the same on every road."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dicomsort import bundle as bundles
from dicomsort import networks, novelty
from dicomsort.bundle import Bundle, Reject
from dicomsort.classifier import Classifier
from dicomsort.errors import ModelError
from dicomsort.train import rejecting


def plane(count: int, seed: int, dimensions: int = 64) -> NDArray[np.float32]:
    """Draw features that lie in eight of the dimensions but for a little noise."""
    axes = np.random.default_rng(0).normal(size=(8, dimensions))
    generator = np.random.default_rng(seed)
    noise = 0.1 * generator.normal(size=(count, dimensions))
    return np.asarray(5 + generator.normal(size=(count, 8)) @ axes + noise, np.float32)


def random_images(count: int, size: int = 64) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


@pytest.fixture
def rejecting_bundle(small_bundle: Bundle) -> Bundle:
    features = networks.build(small_bundle).eval().features(random_images(40)).numpy()
    spread = 0.1 * float(np.abs(features).mean())  # an untrained network sees no differences
    features += spread * np.random.default_rng(0).normal(size=features.shape).astype(np.float32)
    return rejecting(small_bundle, features[:20], features[20:])


def test_what_lies_where_the_training_lay_scores_about_one_and_the_rest_more() -> None:
    weights = novelty.fit(plane(400, 1))
    inside, outside = plane(200, 2), plane(200, 3)
    outside += np.float32(3) * np.random.default_rng(4).normal(size=outside.shape).astype(np.float32)
    assert novelty.scores(weights, plane(400, 1)).mean() == pytest.approx(1, rel=1e-3)
    assert novelty.scores(weights, inside).mean() == pytest.approx(1, abs=0.2)
    assert novelty.scores(weights, outside).min() > 5 * novelty.scores(weights, inside).max()


def test_the_score_is_what_the_components_leave_over() -> None:
    features = plane(300, 1)
    weights = novelty.fit(features)
    centred = features.astype(np.float64) - features.mean(axis=0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    rest = centred - centred @ axes[:8].T @ axes[:8]
    expected = np.square(rest).sum(axis=1)
    found = novelty.scores(weights, features)
    assert values[8] < 0.1 * values[7]
    assert np.corrcoef(found, expected)[0, 1] > 0.99


@pytest.mark.parametrize("shape", [(2, 64), (5, 3), (3, 1)])
def test_few_or_narrow_features_are_enough(shape: tuple[int, int]) -> None:
    features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert np.isfinite(novelty.scores(novelty.fit(features), features)).all()


def test_one_radiograph_of_a_hundred_may_be_rejected(small_bundle: Bundle) -> None:
    unseen = plane(1000, 2)
    bundle = rejecting(small_bundle, plane(400, 1), unseen)
    kept = {name: value for name, value in bundle.weights.items() if name.startswith(novelty.PREFIX)}
    assert bundle.reject is not None
    assert (novelty.scores(kept, unseen) > bundle.reject.threshold).mean() == pytest.approx(0.01, abs=0.002)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.1)])
def test_a_network_gives_the_score_behind_its_logits(
    rejecting_bundle: Bundle, small_bundle: Bundle, precision: str, tolerance: float
) -> None:
    images = random_images(6)
    features = networks.build(small_bundle).eval().features(images).numpy()
    kept = {
        name: value for name, value in rejecting_bundle.weights.items() if name.startswith(novelty.PREFIX)
    }
    expected = novelty.scores(kept, features)
    answers = Classifier(rejecting_bundle, "cpu", precision).logits(images.numpy())
    alone = Classifier(small_bundle, "cpu", precision).logits(images.numpy())
    assert answers.shape == (6, small_bundle.outputs + 1)
    assert np.array_equal(answers[:, :-1], alone)
    assert answers[:, -1] == pytest.approx(expected, rel=tolerance, abs=tolerance)


def test_a_bundle_with_a_score_is_the_same_after_saving(rejecting_bundle: Bundle, tmp_path: Path) -> None:
    rejecting_bundle.save(tmp_path / "m")
    again = bundles.load(tmp_path / "m")
    assert again.reject == rejecting_bundle.reject
    assert again.tag == rejecting_bundle.tag
    moved = replace(rejecting_bundle, reject=Reject(99.0))
    assert moved.tag != again.tag


@pytest.mark.parametrize("change", ["gone", "shape", "odd"])
def test_damaged_weights_of_the_score_are_a_damaged_model(rejecting_bundle: Bundle, change: str) -> None:
    weights = dict(rejecting_bundle.weights)
    if change == "gone":
        del weights[novelty.PREFIX + "basis"]
    elif change == "shape":
        weights[novelty.PREFIX + "mean"] = np.zeros(3, np.float32)
    else:
        weights[novelty.PREFIX + "odd"] = np.zeros(3, np.float32)
    with pytest.raises(ModelError, match="do not fit"):
        networks.build(replace(rejecting_bundle, weights=weights))
