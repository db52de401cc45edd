"""The reject score: low for what resembles the training, high for what does not, the same on every road."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dicomsort.errors import ModelError
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model import bundle as bundles
from dicomsort.model import networks, ood
from dicomsort.model.bundle import Bundle, Reject, compact
from dicomsort.model.engines.torch import TorchClassifier
from dicomsort.model.heads import Head
from dicomsort.training.finish import FALSE_REJECTIONS, with_reject_score
from dicomsort.training.pretrained import start_from

HEAD = Head("label", ("a", "b", "c"))
Seen = tuple[NDArray[np.float32], NDArray[np.float32]]


def plane(count: int, seed: int, energy: float = 8.0) -> Seen:
    """Draw features in eight of 64 dimensions but for a little noise, and logits sure of one class."""
    axes = np.random.default_rng(0).normal(size=(8, 64))
    generator = np.random.default_rng(seed)
    features = 5 + generator.normal(size=(count, 8)) @ axes + 0.1 * generator.normal(size=(count, 64))
    logits = np.zeros((count, 3)) + generator.normal(size=(count, 3))
    logits[:, 0] += energy
    return np.asarray(features, np.float32), np.asarray(logits, np.float32)


def scores(weights: dict[str, NDArray[Any]], seen: Seen, head: Head = HEAD) -> NDArray[np.float32]:
    return ood.scores(weights, *seen, head)


def random_images(count: int, size: int = 64) -> torch.Tensor:
    lot = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, size, size), dtype=torch.uint8, generator=lot)


def kept_of(bundle: Bundle) -> dict[str, NDArray[Any]]:
    return {name: value for name, value in bundle.weights.items() if name.startswith(ood.PREFIX)}


@pytest.fixture
def rejecting_bundle(small_bundle: Bundle) -> Bundle:
    seen = networks.build(small_bundle).eval().features(random_images(40))
    features, logits = (part.numpy() for part in seen)
    generator = np.random.default_rng(0)  # an untrained network sees no differences
    features += np.float32(0.1 * np.abs(features).mean()) * generator.normal(size=features.shape).astype(
        np.float32
    )
    logits += generator.normal(size=logits.shape).astype(np.float32)
    return with_reject_score(small_bundle, (features[:20], logits[:20]), (features[20:], logits[20:]))


def test_what_lies_where_the_training_lay_scores_about_0_and_the_rest_more() -> None:
    weights = ood.fit(*plane(400, 1), HEAD)
    inside, (features, logits) = plane(200, 2), plane(200, 3)
    features += np.float32(3) * np.random.default_rng(4).normal(size=features.shape).astype(np.float32)
    assert scores(weights, plane(400, 1)).mean() == pytest.approx(0, abs=1e-3)
    assert scores(weights, inside).mean() == pytest.approx(0, abs=0.5)
    assert scores(weights, (features, logits)).min() > 5 * scores(weights, inside).max()


def test_what_the_network_is_unsure_of_scores_more() -> None:
    weights = ood.fit(*plane(400, 1), HEAD)
    assert scores(weights, plane(200, 2, energy=0.0)).min() > scores(weights, plane(200, 2)).mean() + 3


def test_both_parts_count_though_there_are_fewer_images_than_dimensions() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 1024)).astype(np.float32)
    logits = generator.normal(size=(60, 3)).astype(np.float32)
    sure = logits + np.array([8, 0, 0], np.float32)
    weights = ood.fit(features[:30], sure[:30], HEAD)
    inside, unsure = (scores(weights, (features[30:], given[30:])) for given in (sure, logits))
    assert (unsure > np.quantile(inside, 0.99)).mean() > 0.9


def test_the_score_is_the_norm_of_the_rest_less_the_energy() -> None:
    features, logits = plane(300, 1)
    weights = ood.fit(features, logits, HEAD)
    centred = features.astype(np.float64) - features.mean(axis=0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    rest = np.linalg.norm(centred - centred @ axes[:12].T @ axes[:12], axis=1)
    energy = np.log(np.exp(logits.astype(np.float64)).sum(axis=1))
    expected = (rest - rest.mean()) / rest.std() - (energy - energy.mean()) / energy.std()
    assert values[8] < 0.1 * values[7]
    assert scores(weights, (features, logits)) == pytest.approx(expected, abs=0.05)


def test_of_several_labels_the_energies_add_up_and_of_a_yes_or_no_there_is_none() -> None:
    features, logits = plane(300, 1)
    several = Head("parts", ("a", "b", "c"), kind="multilabel")
    unsure = np.full_like(logits, -5)
    weights = ood.fit(features, logits, several)
    assert (scores(weights, (features, unsure), several) > scores(weights, (features, logits), several)).all()
    yes_or_no = Head("metal", ("no", "yes"), kind="binary")
    weights = ood.fit(features, logits[:, :1], yes_or_no)
    before = scores(weights, (features, logits[:, :1]), yes_or_no)
    assert np.array_equal(before, scores(weights, (features, unsure[:, :1]), yes_or_no))


@pytest.mark.parametrize("shape", [(2, 64), (5, 3), (3, 1)])
def test_few_or_narrow_features_are_enough(shape: tuple[int, int]) -> None:
    features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    logits = np.zeros((shape[0], 3), np.float32)
    assert np.isfinite(scores(ood.fit(features, logits, HEAD), (features, logits))).all()


def test_so_many_radiographs_are_rejected_as_it_says(small_bundle: Bundle) -> None:
    unseen = plane(2000, 2)
    bundle = with_reject_score(small_bundle, plane(400, 1), unseen)
    assert bundle.reject is not None
    rejected = scores(kept_of(bundle), unseen, small_bundle.head) > bundle.reject.threshold
    assert rejected.mean() == pytest.approx(FALSE_REJECTIONS, abs=0.001)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.1)])
def test_a_network_gives_the_score_behind_its_logits(
    rejecting_bundle: Bundle, small_bundle: Bundle, precision: str, tolerance: float
) -> None:
    images = random_images(6)
    features, logits = (part.numpy() for part in networks.build(small_bundle).eval().features(images))
    expected = ood.scores(kept_of(rejecting_bundle), features, logits, small_bundle.head)
    answers = TorchClassifier(rejecting_bundle, "cpu", precision).logits(images.numpy())
    alone = TorchClassifier(small_bundle, "cpu", precision).logits(images.numpy())
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


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_that_ends_in_a_convolution_has_a_score_too(precision: str) -> None:
    spec, images = networks.spec_for("dla46_c"), random_images(24)
    torch.manual_seed(0)
    network = networks.Network(spec, 3)
    assert isinstance(network.body.get_classifier(), torch.nn.Conv2d)
    plain = Bundle("m", spec, Preprocessing(size=64), HEAD, compact(networks.weights_of(network)))
    features, logits = (part.numpy() for part in networks.build(plain).eval().features(images))
    assert (features.shape, logits.shape) == ((24, 256), (24, 3))
    bundle = with_reject_score(plain, (features, logits), (features, logits))
    expected = ood.scores(kept_of(bundle), features, logits, HEAD)
    answers = TorchClassifier(bundle, "cpu", precision).logits(images.numpy())
    assert answers.shape == (24, 4)
    if precision == "float32":  # (an untrained network's small differences are lost in bfloat16)
        assert answers[:, -1] == pytest.approx(expected, abs=1e-3 * float(expected.std()))


def test_a_bundle_with_a_score_is_a_start_for_others(rejecting_bundle: Bundle, tmp_path: Path) -> None:
    rejecting_bundle.save(tmp_path)
    network = networks.Network(rejecting_bundle.network, 2)
    start_from(network, tmp_path / bundles.WEIGHTS)
    name = next(name for name, value in network.body.named_parameters() if value.ndim == 4)
    expected = np.asarray(rejecting_bundle.weights[name], np.float32)
    assert np.array_equal(network.body.get_parameter(name).detach().numpy(), expected)


@pytest.mark.parametrize("change", ["gone", "shape", "odd"])
def test_damaged_weights_of_the_score_are_a_damaged_model(rejecting_bundle: Bundle, change: str) -> None:
    weights = dict(rejecting_bundle.weights)
    if change == "gone":
        del weights[ood.PREFIX + "basis"]
    elif change == "shape":
        weights[ood.PREFIX + "mean"] = np.zeros(3, np.float32)
    else:
        weights[ood.PREFIX + "odd"] = np.zeros(3, np.float32)
    with pytest.raises(ModelError, match="do not fit"):
        networks.build(replace(rejecting_bundle, weights=weights))
