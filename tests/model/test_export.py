"""A network becomes a graph that says the same, and shares the weights of its bundle."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from program import inside
from torch import nn

from dicomsort.errors import ExitCode, ModelError
from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model import export, networks
from dicomsort.model.bundle import Bundle, compact, load
from dicomsort.model.engines.openvino import OpenVinoClassifier
from dicomsort.model.engines.torch import TorchClassifier
from dicomsort.model.heads import Head
from dicomsort.model.networks import ALIASES


def bundle_of(name: str, size: int) -> Bundle:
    """A bundle of a network with random weights, whose batch norms have seen noise."""
    torch.manual_seed(0)
    spec = networks.spec_for(name, size)
    network = networks.Network(spec, 6)
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.randint(0, 256, (4, size, size)))
    weights = compact(networks.weights_of(network))
    return Bundle("random", spec, Preprocessing(size=size), Head("label", tuple("abcdef")), weights)


@pytest.fixture(scope="module")
def exported(small_bundle: Bundle) -> Bundle:
    return export.with_graph(replace(small_bundle, graph=None))


def test_the_graph_of_the_tests_is_what_an_export_gives(exported: Bundle, small_bundle: Bundle) -> None:
    """Where this fails after an update of PyTorch, tests/data/small-graph.onnx is to be made anew."""
    assert exported.graph is not None
    assert small_bundle.graph is not None
    kinds = [
        sorted(node.op_type for node in onnx.load_model_from_string(graph).graph.node)
        for graph in (exported.graph, small_bundle.graph)
    ]
    assert kinds[0] == kinds[1]


def test_a_graph_adds_nothing_to_the_digest(exported: Bundle, small_bundle: Bundle) -> None:
    assert exported.digest == replace(small_bundle, graph=None).digest


def test_a_graph_names_nothing_of_the_machine_that_wrote_it(exported: Bundle) -> None:
    assert exported.graph is not None
    assert b".py" not in exported.graph
    assert str(Path.home()).encode() not in exported.graph


def test_a_network_whose_graph_says_something_else_is_not_exported(
    small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = small_bundle.graph
    monkeypatch.setattr(export, "_graph_of", lambda *_: graph)
    moved = {**small_bundle.weights, "classifier.bias": small_bundle.weights["classifier.bias"] + 1}
    build = networks.build
    monkeypatch.setattr(networks, "build", lambda _: build(replace(small_bundle, weights=moved)))
    with pytest.raises(ModelError, match="stays on torch: its graph gives other outputs"):
        export.with_graph(small_bundle)


def test_a_network_that_cannot_be_exported_stays_on_torch(
    small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Restless(nn.Module):
        """Does what no graph can tell."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * float(x.mean().item())

    build = networks.build

    def restless(bundle: Bundle) -> Any:
        network = build(bundle)
        network.body.conv_stem = nn.Sequential(network.body.conv_stem, Restless())
        return network

    monkeypatch.setattr(networks, "build", restless)
    with pytest.raises(ModelError, match="cannot be exported, and stays on torch: ") as raised:
        export.with_graph(small_bundle)
    assert "\n" not in str(raised.value)


def test_a_bundle_gets_a_graph_by_a_command(
    small_bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_graph_of", lambda *_: small_bundle.graph)  # an export takes seconds
    folder = tmp_path / "old"
    replace(small_bundle, name="old", graph=None).save(folder)
    before = load(folder)
    assert not (folder / "graph.onnx").exists()
    ran = inside(capfd, "model", "export", folder, "--json")
    assert ran.code == 0
    after = load(folder)
    assert ran.json == {
        "model": before.tag, "graph": str(folder / "graph.onnx"), "bytes": len(after.graph or b""),
    }  # fmt: skip
    assert (after.digest, after.split, after.heads) == (before.digest, before.split, before.heads)
    (folder / "graph.onnx").write_bytes(b"damaged")
    with pytest.raises(
        ModelError, match=r"graph.onnx does not have the hash .*model export.* writes it anew"
    ):
        load(folder)
    said = inside(capfd, "model", "export", folder)
    assert (said.code, said.err.count("\n")) == (0, 1)
    assert load(folder).graph == after.graph


def test_a_shipped_model_is_left_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    ran = inside(capfd, "model", "export", "router5")
    assert ran.code == ExitCode.USAGE
    assert "has its graph already" in ran.err


def test_a_calibrated_copy_keeps_its_graph(small_bundle: Bundle, tmp_path: Path) -> None:
    warmer = replace(small_bundle, head=replace(small_bundle.head, temperature=2.0))
    warmer.save(tmp_path / "m")
    assert load(tmp_path / "m").graph == small_bundle.graph
    assert "graph_sha256" in json.loads((tmp_path / "m" / "config.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", ALIASES)
def test_every_network_of_the_table_answers_as_torch_does(name: str) -> None:
    bundle = export.with_graph(bundle_of(name, 224))
    images = np.random.default_rng(2).integers(0, 256, (8, 224, 224), dtype=np.uint8)
    wanted = TorchClassifier(bundle, "cpu", "float32").logits(images)
    found = OpenVinoClassifier(bundle, "float32").logits(images)
    assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()
    assert np.array_equal(found.argmax(axis=1), wanted.argmax(axis=1))
