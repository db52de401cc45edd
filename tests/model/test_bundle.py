"""Bundles: what is saved is what is loaded, and anything odd is refused with a line."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicomsort.errors import ModelError, UsageError
from dicomsort.model import bundle as bundles
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle
from dicomsort.model.engines.devices import choose_device
from dicomsort.model.engines.torch import TorchClassifier
from dicomsort.model.heads import Head, decide
from dicomsort.model.spec import NetworkSpec
from dicomsort.training import pretrained


def test_round_trip(small_bundle: Bundle, small_model: Path) -> None:
    loaded = bundles.load(small_model)
    assert loaded.tag == small_bundle.tag
    assert (loaded.network, loaded.preprocessing, loaded.head) == (
        small_bundle.network, small_bundle.preprocessing, small_bundle.head,
    )  # fmt: skip
    assert loaded.split == small_bundle.split
    images = np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8)
    first, second = (TorchClassifier(one, "cpu").logits(images) for one in (small_bundle, loaded))
    assert first.shape == (3, 5)
    assert np.array_equal(first, second)


def test_the_digest_covers_all_that_changes_answers(small_bundle: Bundle) -> None:
    changed = [
        replace(small_bundle, head=replace(small_bundle.head, temperature=2.0)),
        replace(small_bundle, network=replace(small_bundle.network, mean=0.4)),
        replace(small_bundle, weights={**small_bundle.weights, "classifier.bias": np.ones(5, np.float32)}),
    ]
    assert len({one.digest for one in [small_bundle, *changed]}) == 4
    assert replace(small_bundle, metrics={"x": 1}, name="other").digest == small_bundle.digest


def edit(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config.update(changes)
        (folder / "config.json").write_text(json.dumps(config))

    return change


def write(name: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(text)

    return change


def spoil_weights(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (edit(format=99), "format 99 is unknown"),
    (edit(surprise=1), "unknown keys"),
    (edit(heads=[]), "at least one head"),
    (edit(heads=[{"name": "x", "labels": ["a", "b"]}, {"name": "X", "labels": ["c", "d"]}]), "one name"),
    (edit(heads=[{"name": "x", "labels": ["a", "b"], "kind": "ordinal"}]), "unknown kind"),
    (edit(heads=[{"name": "x", "labels": ["a", "b", "c"], "kind": "binary"}]), "exactly two labels"),
    (
        edit(heads=[{"name": "x", "labels": ["a", "b"], "kind": "multilabel", "thresholds": [1]}]),
        "2 thresholds",
    ),
    (edit(heads=[{"name": "x", "labels": ["a", "a"]}]), "each once"),
    (edit(heads=[{"name": "x", "labels": ["a", "Review"]}]), "cannot be a class"),
    (edit(heads=[{"name": "x", "labels": ["a", "manifest.csv"]}]), "cannot be a class"),
    (edit(heads=[{"name": "x", "labels": ["hand", "Hand"]}]), "each once"),
    (edit(preprocessing={"size": 7}), "canvas size"),
    (edit(preprocessing={"size": 64, "fill": 300}), "fill 0 to 255"),
    (edit(name="a\nb"), "cannot be a model's name"),
    (edit(preprocessing={"side": 64}), "damaged"),
    (spoil_weights, "does not have the hash"),
    (write("config.json", "{"), "damaged"),
    (lambda folder: (folder / "model.safetensors").unlink(), "cannot be read"),
    (write("split.csv", "nonsense\n"), "sha256,part"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_damage_is_refused(
    damage: Callable[[Path], None], message: str, small_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(small_model, folder)
    damage(folder)
    with pytest.raises(ModelError, match=message):
        bundles.load(folder)


def test_weights_of_another_width_or_network_are_refused(small_bundle: Bundle) -> None:
    wide = replace(small_bundle, head=Head("label", ("a", "b")))
    with pytest.raises(ModelError, match="do not fit"):
        networks.build(wide)
    with pytest.raises(ModelError, match="do not fit"):
        networks.build(replace(small_bundle, network=NetworkSpec("no_such_network")))


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec("hf-hub:timm/resnet18.a1_in1k"),
        NetworkSpec("local-dir:here"),
        NetworkSpec("mobilenetv1_100", {"pretrained": True}),
        NetworkSpec("mobilenetv1_100", {"checkpoint_path": "x.safetensors"}),
        NetworkSpec("mobilenetv1_100", {"pad_type": "same"}, 0.5, 0.0),
    ],
)
def test_a_bundle_can_neither_fetch_nor_load_other_files(small_bundle: Bundle, spec: NetworkSpec) -> None:
    with pytest.raises(ModelError, match="do not fit"):
        networks.build(replace(small_bundle, network=spec))


def test_weights_that_are_no_numbers_are_refused(small_bundle: Bundle) -> None:
    spoiled = {**small_bundle.weights, "classifier.bias": np.full(5, np.nan, np.float32)}
    with pytest.raises(ModelError, match="no usable scores"):
        TorchClassifier(replace(small_bundle, weights=spoiled), "cpu").check()


def test_unknown_models_and_devices() -> None:
    with pytest.raises(ModelError, match=r"no model 'nowhere'.*router5"):
        bundles.locate("nowhere")
    for name in ("gpu", "cpu:1", "cuda:x", "cuda:99", "mps:0"):
        with pytest.raises(UsageError, match="--device"):
            choose_device(name)


def test_scores_are_calibrated_probabilities() -> None:
    head = Head("label", ("a", "b", "c"), temperature=2.0, review_below=0.6)
    scores = head.scores(np.array([[2.0, 0.0, 0.0], [1000.0, -1000.0, 0.0]], np.float32))
    assert np.allclose(scores.sum(axis=1), 1)
    assert scores[0, 0] == pytest.approx(math.e / (math.e + 2))
    assert decide(scores[0], head).review
    assert not decide(scores[0], head, review_below=0.5).review
    assert decide(scores[1], head).label == "a"


@pytest.mark.parametrize("name", networks.ALIASES)
def test_every_alias_is_a_network_of_one_channel(name: str) -> None:
    network = networks.Network(networks.spec_for(name), 3)
    assert next(network.parameters()).shape[1] == 1
    assert network.body.get_classifier().out_features == 3


def test_a_gray_network_answers_as_its_color_original(tmp_path: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    spec = networks.spec_for("mobilenet_v1")
    color: Any = timm.create_model(spec.timm, num_classes=5, **spec.options).eval()
    save_file(color.state_dict(), tmp_path / "colour.safetensors")
    gray = networks.Network(spec, 5)
    pretrained.start_from(gray, tmp_path / "colour.safetensors")
    gray.eval().body.classifier.load_state_dict(color.get_classifier().state_dict())
    images = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8)
    wanted = color((images.float() / 255 - 0.5).div(0.5).unsqueeze(1).repeat(1, 3, 1, 1))
    assert torch.allclose(gray(images), wanted, atol=1e-4)


def test_weights_of_another_network_are_no_start(tmp_path: Path) -> None:
    network = networks.Network(networks.spec_for("mobilenet_v1"), 5)
    (tmp_path / "x.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="cannot be read as safetensors"):
        pretrained.start_from(network, tmp_path / "x.safetensors")
    other = networks.Network(networks.spec_for("resnet18"), 5)
    from safetensors.torch import save_file

    save_file(other.body.state_dict(), tmp_path / "resnet.safetensors")
    with pytest.raises(UsageError, match="of another network"):
        pretrained.start_from(network, tmp_path / "resnet.safetensors")


ODD_HEADS: list[dict[str, Any]] = [
    {"temperature": 10**400},
    {"temperature": 5e-324},
    {"temperature": "1"},
    {"name": "\ud800"},
    {"name": "a/b"},
    {"name": "x" * 300},
    {"review_below": 10**400},
]


@pytest.mark.parametrize("change", ODD_HEADS, ids=str)
def test_an_impossible_head_is_refused(change: dict[str, Any], small_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(small_model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["heads"][0].update(change)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="damaged"):
        bundles.load(folder)


def test_a_network_of_impossible_grays_is_refused(small_bundle: Bundle) -> None:
    odd: list[dict[str, Any]] = [{"mean": 10**400}, {"std": 10**400}]
    for changes in odd:
        with pytest.raises(ModelError, match="do not fit"):
            networks.build(replace(small_bundle, network=replace(small_bundle.network, **changes)))


def test_what_is_no_number_goes_to_review() -> None:
    assert decide(np.array([np.nan, np.nan]), Head("label", ("a", "b"))).review


def test_binary_and_multilabel_heads() -> None:
    binary = Head("metal", ("no_metal", "metal"), kind="binary", thresholds=(0.8,))
    scores = binary.scores(np.array([[2.0], [0.0], [-800.0]], np.float32))
    assert scores[:, 1] == pytest.approx([1 / (1 + np.exp(-2)), 0.5, 0])
    assert binary.chosen(scores).tolist() == [1, 0, 0]
    assert binary.confidence(scores) == pytest.approx([scores[0, 1], 1 - 0.5 / (2 * 0.8), 1])
    parts = Head("parts", ("a", "b", "c"), kind="multilabel", thresholds=(0.5, 0.9, 0.1), review_below=0.7)
    scores = parts.scores(np.array([[3.0, 1.0, -1.0], [-3.0, -3.0, -3.0]], np.float32))
    first, second = (decide(row, parts) for row in scores)
    assert (first.label, first.folder, first.review) == ("a|c", "review", True)
    assert first.confidence == pytest.approx(1 - (1 - scores[0, 2]) / (2 * 0.9))  # the least sure one
    assert (second.label, second.folder, second.review) == ("", "review", True)
    assert decide(scores[0], parts, review_below=0.0).folder == "a+c"


@pytest.mark.parametrize("threshold", [0.0106, 0.3, 0.5, 0.8343])
@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_confidence_says_how_far_a_score_is_from_its_threshold(kind: str, threshold: float) -> None:
    labels = ("no_metal", "metal") if kind == "binary" else ("a", "b")
    head = Head("h", labels, kind=kind, thresholds=(threshold,) if kind == "binary" else (threshold, 0.5))
    score = np.sort(np.append(np.linspace(0, 1, 1000), threshold))
    other = 1 - score if kind == "binary" else np.zeros_like(score)
    rows = np.stack([other, score] if kind == "binary" else [score, other], axis=1)
    sure = head.confidence(rows)
    chosen = head.chosen(rows) == 1 if kind == "binary" else head.chosen(rows)[:, 0]
    assert np.array_equal(chosen, score >= threshold)
    assert sure.min() >= 0.5
    assert (sure[0], sure[-1]) == (1, 1)
    assert (sure >= np.where(chosen, score, 1 - score)).all()
    assert sure[score == threshold][0] == max(0.5, threshold)
    easier = chosen == (threshold <= 0.5)
    distance = np.abs(score - threshold) / np.where(chosen, 1 - threshold, threshold)
    assert sure[easier] == pytest.approx(0.5 + distance[easier] / 2)
    assert np.array_equal(sure[~easier], np.where(chosen, score, 1 - score)[~easier])
    assert (np.diff(sure[chosen]) > 0).all()
    assert (np.diff(sure[~chosen]) < 0).all()
    if threshold == 0.5:
        assert np.array_equal(sure, np.maximum(score, 1 - score))


def test_a_score_at_its_threshold_is_chosen_and_half_sure_in_single_precision_too() -> None:
    for threshold in np.random.default_rng(0).random(200).astype(np.float32):
        for near in (
            threshold,
            np.nextafter(threshold, np.float32(0)),
            np.nextafter(threshold, np.float32(1)),
        ):
            head = Head("h", ("no", "yes"), kind="binary", thresholds=(float(threshold),))
            decision = decide(np.array([1 - near, near], np.float32), head)
            assert decision.confidence >= 0.5
            assert (decision.label == "yes") == (near >= threshold)
