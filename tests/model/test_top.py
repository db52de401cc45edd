"""Layers on top of a network: hidden ones and dropout, through all that a model goes through."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from trainings import RECIPE, place, prepared_from

from dicomsort.errors import ModelError, UsageError
from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle
from dicomsort.model.engines.openvino import OpenVinoClassifier
from dicomsort.model.engines.torch import TorchClassifier
from dicomsort.model.export import with_graph
from dicomsort.model.features import FeatureExtractor
from dicomsort.model.heads import Head
from dicomsort.model.networks import Network
from dicomsort.training import train
from dicomsort.training.pretrained import create_for_training, start_from
from dicomsort.training.recipe import make_recipe
from dicomsort.training.trainer import Epoch, Prepared

HIDDEN = replace(RECIPE, hidden=(24, 12), dropout=0.4, epochs=2)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    from trainings import table

    folder = tmp_path_factory.mktemp("data")
    return prepared_from(table(folder), folder / "cache")


@pytest.fixture(scope="module")
def bundle(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model with two hidden layers and a reject score."""
    return train.train("m", prepared, HIDDEN, place(tmp_path_factory.mktemp("m")))


def noise(count: int = 5) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 32, 32), dtype=np.uint8)


def by_hand(bundle: Bundle, features: np.ndarray) -> np.ndarray:
    """Compute the layers on top with NumPy: linear, cut off below 0, linear, ..."""
    values, name = features, "fc"
    tensors = {key: np.asarray(value, np.float64) for key, value in bundle.weights.items()}
    for at in (0, 2):
        values = values @ tensors[f"{name}.{at}.weight"].T + tensors[f"{name}.{at}.bias"]
        values = np.maximum(values, 0)
    return values @ tensors[f"{name}.4.weight"].T + tensors[f"{name}.4.bias"]


def test_hidden_layers_are_what_they_say(bundle: Bundle) -> None:
    assert bundle.network.hidden == (24, 12)
    network = networks.build(bundle).eval()
    seen: list[torch.Tensor] = []
    network.body.get_classifier().register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    features, logits = network.features(torch.from_numpy(noise()))
    assert features.shape == (5, 12)
    assert logits.numpy()[:, :2] == pytest.approx(by_hand(bundle, seen[0].numpy()), abs=1e-4)


def test_a_bundle_with_hidden_layers_is_the_same_after_saving(bundle: Bundle, tmp_path: Path) -> None:
    bundle.save(tmp_path)
    again = bundles.load(tmp_path)
    assert (again.tag, again.network) == (bundle.tag, bundle.network)
    other = replace(bundle, network=replace(bundle.network, hidden=(24,)))
    assert other.digest != bundle.digest
    with pytest.raises(ModelError, match="do not fit"):
        networks.build(other)


@pytest.mark.parametrize("hidden", ["[0]", "[70000]", "[1,1,1,1,1,1,1,1,1]", '["a"]', "[1.5]", "3"])
def test_impossible_hidden_layers_of_a_bundle_are_refused(
    bundle: Bundle, hidden: str, tmp_path: Path
) -> None:
    bundle.save(tmp_path)
    config = tmp_path / bundles.CONFIG
    text = config.read_text(encoding="utf-8")
    start = text.index("[", text.index('"hidden"'))
    config.write_text(text[:start] + hidden + text[text.index("]", start) + 1 :], encoding="utf-8")
    with pytest.raises(ModelError, match="is damaged"):
        bundles.load(tmp_path)


def test_every_engine_and_precision_gives_the_same_scores(bundle: Bundle) -> None:
    images = noise()
    with torch.inference_mode():
        wanted = networks.build(bundle).eval()(torch.from_numpy(images)).numpy()
    assert wanted.shape == (5, bundle.outputs + 1)  # with the reject score
    ready = with_graph(bundle)
    for engine in (OpenVinoClassifier(ready, "float32"), TorchClassifier(bundle, "cpu", "float32")):
        assert engine.logits(images) == pytest.approx(wanted, rel=1e-3, abs=1e-3)
    quick = TorchClassifier(bundle, "cpu", "bfloat16").logits(images)[:, : bundle.outputs]
    assert quick == pytest.approx(
        wanted[:, : bundle.outputs], abs=0.1 * max(1.0, float(np.abs(wanted).max()))
    )
    assert FeatureExtractor(bundle, torch.device("cpu")).features(images).shape == (5, 12)


def test_bundles_without_layers_on_top_say_nothing_of_them(prepared: Prepared, tmp_path: Path) -> None:
    plain = train.train("m", prepared, replace(RECIPE, epochs=1), place(tmp_path / "m"))
    plain.save(tmp_path / "m")
    text = (tmp_path / "m" / bundles.CONFIG).read_text(encoding="utf-8")
    assert "hidden" not in text
    assert "dropout" not in text
    dropped = train.train("m", prepared, replace(RECIPE, epochs=1, dropout=0.5), place(tmp_path / "d"))
    assert set(dropped.weights) == set(plain.weights)
    assert dropped.network == plain.network
    assert dropped.digest != plain.digest
    assert dropped.training["recipe"]["dropout"] == 0.5


def test_dropout_leaves_out_its_share_in_training_alone() -> None:
    from dicomsort.model.top import drop

    network, _ = create_for_training("test_resnet", 32, 3, None, (64,))
    drop(network.body, 0.25)
    given: list[torch.Tensor] = []

    def look(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        given.append(inputs[0])

    network.last.register_forward_pre_hook(look)
    network.last.register_forward_pre_hook(look, prepend=True)
    torch.manual_seed(0)
    images = torch.from_numpy(noise(64))
    network.train()(images)
    before, after = given
    left_out = float(((after == 0) & (before > 0)).sum() / (before > 0).sum())
    assert left_out == pytest.approx(0.25, abs=0.05)
    kept = after[after > 0]
    assert torch.allclose(kept, before[after > 0] / 0.75)
    given.clear()
    network.eval()(images)
    assert torch.equal(given[0], given[1])


def test_an_interrupted_training_with_layers_on_top_ends_as_one_that_was_not(
    prepared: Prepared, bundle: Bundle, tmp_path: Path
) -> None:
    class KilledError(Exception):
        pass

    def kill(epoch: Epoch) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        train.train("m", prepared, HIDDEN, place(tmp_path), kill)
    assert train.train("m", prepared, HIDDEN, place(tmp_path, True)).tag == bundle.tag


def test_layers_on_top_go_with_auxiliary_heads_freezing_probing_and_interpolation(
    prepared: Prepared, bundle: Bundle, tmp_path: Path
) -> None:
    bundle.save(tmp_path / "start")
    start = str(tmp_path / "start" / bundles.WEIGHTS)
    further = (Head("more", ("x", "y")),)
    truth = np.tile(np.eye(2, dtype=np.float32), (len(prepared.train), 1))[: len(prepared.train)]
    images = replace(prepared.train, truth=np.concatenate([prepared.train.truth, truth], axis=1))
    with_more = replace(prepared, train=images, auxiliary=further)
    recipe = replace(HIDDEN, epochs=1, pretrained=start, freeze=1, probe=True, interpolate=0.5)
    found = train.train("m", with_more, recipe, place(tmp_path / "m"))
    assert networks.build(found).last.weight.shape == (2, 12)
    stem = next(name for name in bundle.weights if name.startswith("conv1"))
    assert np.array_equal(found.weights[stem], bundle.weights[stem])


def test_a_plain_model_is_a_start_for_one_with_hidden_layers(bundle: Bundle, tmp_path: Path) -> None:
    bundle.save(tmp_path)
    for hidden in ((), (7,)):
        network = Network(replace(bundle.network, hidden=hidden), 2)
        start_from(network, tmp_path / bundles.WEIGHTS)
        stem = next(name for name, value in network.body.named_parameters() if value.ndim == 4)
        wanted = np.asarray(bundle.weights[stem], np.float32)
        assert np.array_equal(network.body.get_parameter(stem).detach().numpy(), wanted)


def test_what_cannot_be_put_on_top_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--hidden: 'dla46_c' does not end in one linear layer"):
        create_for_training("dla46_c", 64, 2, None, (8,))
    with pytest.raises(UsageError, match="--dropout must lie between 0 and 1"):
        make_recipe(None, {"dropout": 1.0})
    with pytest.raises(UsageError, match="--hidden: at most 8 hidden layers of 1 to 65536 units"):
        make_recipe(None, {"hidden": (0,)})
