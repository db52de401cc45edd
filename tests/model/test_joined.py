"""Models that share a network but for its last layer are computed once, and each says what it says alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from dicomsort.imaging.canvas import Preprocessing
from dicomsort.model.bundle import Bundle, load, locate
from dicomsort.model.engines.openvino import OpenVinoClassifier
from dicomsort.model.engines.torch import TorchClassifier
from dicomsort.model.graph import widened
from dicomsort.model.heads import Head
from dicomsort.model.joined import Part, joined, ready
from dicomsort.model.load import predictors_for
from dicomsort.model.model_set import ModelSet
from dicomsort.outcome import ReadImage
from dicomsort.system.timing import StageTimer

METAL = Head("metal", ("no_metal", "metal"), kind="binary", thresholds=(0.3,))
SIGNS = Head("signs", ("x", "y", "z"), kind="multilabel")
VIEW = Head("label", ("frontal", "lateral"), temperature=2.0)
LAYER = ("classifier.weight", "classifier.bias")

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]


def rows_like(bundle: Bundle, name: str, seed: int, *heads: Head) -> Bundle:
    """The same network with a last layer of its own, and a graph of its own."""
    draw, outputs = np.random.default_rng(seed), sum(head.width for head in heads)
    features = bundle.weights[LAYER[0]].shape[1]
    new = {LAYER[0]: draw.normal(0, 0.3, (outputs, features)), LAYER[1]: draw.normal(0, 1, outputs)}
    weights = {**bundle.weights, **{each: new[each].astype(bundle.weights[each].dtype) for each in LAYER}}
    bundle = replace(bundle, graph=widened_to(bundle, weights))
    return replace(bundle, name=name, head=heads[0], further=heads[1:], weights=weights, evidence=None)


def widened_to(bundle: Bundle, weights: dict[str, Any]) -> bytes:
    """A graph for a last layer that only has other rows; these are not of the reject score's head."""
    assert bundle.graph is not None
    return widened(bundle.graph, bundle.weights, weights, "classifier", "model.safetensors")


@pytest.fixture(scope="module")
def plain(small_bundle: Bundle) -> list[Bundle]:
    first = rows_like(small_bundle, "first", 1, small_bundle.head, METAL)
    return [first, rows_like(small_bundle, "signs", 2, SIGNS), rows_like(small_bundle, "view", 3, VIEW)]


@pytest.fixture(scope="module")
def rejecting() -> list[Bundle]:
    """Each with a reject score of its own, which takes the energy of its own outputs and no other's."""
    router = load(locate("router5"))
    three = rows_like(router, "three", 4, Head("label", ("a", "b", "c")))
    line = {"reject.line": three.weights["reject.line"] * 2}
    return [router, replace(three, weights={**three.weights, **line})]


def alone(bundle: Bundle, engine: str) -> OpenVinoClassifier | TorchClassifier:
    whole = engine == "openvino"
    return OpenVinoClassifier(bundle, "float32") if whole else TorchClassifier(bundle, "cpu", "float32")


@pytest.fixture(scope="module")
def noise(small_bundle: Bundle) -> Images:
    size = small_bundle.preprocessing.size
    images = np.random.default_rng(0).integers(0, 256, (6, size, size), dtype=np.uint8)
    images[1:] //= np.array([2, 3, 5, 8, 13], np.uint8)[:, None, None]
    return images


def close(found: Floats, wanted: Floats) -> bool:
    return bool(np.abs(found - wanted).max() <= 1e-5 * max(1.0, float(np.abs(wanted).max())))


@pytest.mark.parametrize("engine", ["openvino", "torch"])
@pytest.mark.parametrize("kind", ["plain", "rejecting"])
def test_each_model_says_what_it_says_alone(
    kind: str, engine: str, noise: Images, request: pytest.FixtureRequest
) -> None:
    bundles: list[Bundle] = request.getfixturevalue(kind)
    beside = (bundles[0].preprocessing.size - noise.shape[1]) // 2
    images = np.pad(noise, ((0, 0), (beside, beside), (beside, beside)))
    with predictors_for(bundles, "cpu", "float32", engine) as together:
        assert [each.bundle for each in together] == bundles
        assert all(isinstance(each, Part) for each in together)
        assert len({id(each.whole) for each in together if isinstance(each, Part)}) == 1
        for place, (part, bundle) in enumerate(zip(together, bundles, strict=True)):
            wanted, found = alone(bundle, engine).logits(images), part.logits(images)
            assert found.shape == (6, bundle.width if place == 0 else bundle.outputs)
            assert wanted.std(axis=0).min() > 1e-3, "answers that are all alike show nothing"
            assert close(found, wanted[:, : found.shape[1]])
            labels = [[one.label for one in bundle.decisions(each)] for each in (found, wanted)]
            assert labels[0] == labels[1]


def test_a_set_of_models_computes_a_shared_network_once(plain: list[Bundle], noise: Images) -> None:
    asked: list[Bundle] = []

    class Counted(OpenVinoClassifier):
        def logits(self, images: Images) -> Floats:
            asked.append(self.bundle)
            return super().logits(images)

    stranger = replace(plain[1], name="other", preprocessing=Preprocessing(size=64, smooth="median"))
    several = ready([plain[0], stranger, *plain[1:]], lambda each: Counted(each, "float32"), with_graph=True)
    pictures = [ReadImage(image, further=(image,)) for image in noise]
    together = ModelSet(tuple(several)).decisions(pictures, None, StageTimer())
    assert [each.name for each in asked] == ["first+signs+view", "other"]
    apart = ModelSet(tuple(OpenVinoClassifier(each.bundle, "float32") for each in several))
    for found, wanted in zip(together, apart.decisions(pictures, None, StageTimer()), strict=True):
        rows = [[each, *each.further] for each in (found, wanted)]
        assert [each.label for each in rows[0]] == [each.label for each in rows[1]]
        for one, other in zip(*rows, strict=True):
            assert one.scores == pytest.approx(other.scores, abs=1e-5)


def test_models_on_another_canvas_or_of_other_weights_stay_apart(plain: list[Bundle]) -> None:
    first, second, _ = plain
    changed = {**second.weights, "bn1.weight": second.weights["bn1.weight"] + 0.5}
    wider = second.weights[LAYER[0]].astype(np.float32)
    others: dict[str, Bundle] = {
        "canvas": replace(second, preprocessing=Preprocessing(size=64, smooth="median")),
        "weights": replace(second, weights=changed),
        "network": replace(second, network=replace(second.network, std=0.4)),
        "numbers": replace(second, weights={**second.weights, LAYER[0]: wider}),
        "no bias": replace(second, weights={k: v for k, v in second.weights.items() if k != LAYER[1]}),
    }
    assert joined([first]) is None
    for name, other in others.items():
        assert joined([first, other]) is None, name
        made: list[Bundle] = []
        ready([first, other, second], lambda each, made=made: made.append(each) or Silent(each), True)  # type: ignore[misc]
        assert [each.name for each in made] == ["first+signs", "signs"], name


class Silent:
    engine, name, precision, concurrency, batch_size = "none", "cpu", "float32", 1, 4

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def logits(self, images: Images) -> Floats:
        return np.zeros((len(images), self.bundle.width), np.float32)


def test_a_single_bundle_is_made_ready_as_it_is(plain: list[Bundle]) -> None:
    [only] = ready(plain[:1], Silent, with_graph=True)
    assert isinstance(only, Silent)
    assert only.bundle is plain[0]


def test_without_a_graph_models_are_joined_for_torch_alone(plain: list[Bundle]) -> None:
    bare = [replace(each, graph=None) for each in plain]
    whole = joined(bare, with_graph=False)
    assert whole is not None
    assert whole.graph is None
    assert whole.outputs == sum(each.outputs for each in bare)
    assert joined(bare) is None


def first_layer(change: Callable[[onnx.NodeProto], Any]) -> Callable[[onnx.ModelProto], Any]:
    return lambda model: change(next(node for node in model.graph.node if node.op_type == "Gemm"))


def behind(*nodes: str) -> Callable[[onnx.ModelProto], Any]:
    """Send the layer's outputs through nodes before they are the graph's."""

    def change(model: onnx.ModelProto) -> None:
        names = [*(f"step{number}" for number in range(len(nodes))), "outputs"]
        next(node for node in model.graph.node if "outputs" in node.output).output[0] = names[0]
        for kind, given, result in zip(nodes, names, names[1:], strict=False):
            model.graph.node.append(helper.make_node(kind, [given], [result]))

    return change


def no_bytes(model: onnx.ModelProto) -> None:
    model.graph.initializer[3].external_data[1].value = "7"


@pytest.mark.parametrize(
    "change",
    [
        first_layer(lambda node: node.ClearField("attribute")),
        first_layer(lambda node: setattr(node, "op_type", "MatMul")),
        behind("Relu"),
        behind("Identity", "Softplus"),
        no_bytes,
    ],
    ids=["another order", "no Gemm", "a step behind", "two steps behind", "another place"],
)
def test_a_graph_that_does_not_show_its_last_layer_stays_alone(
    change: Callable[[onnx.ModelProto], Any], plain: Sequence[Bundle]
) -> None:
    assert plain[0].graph is not None
    model = onnx.load_model_from_string(plain[0].graph)
    change(model)
    odd = replace(plain[0], graph=model.SerializeToString())
    assert joined([plain[0], plain[1]]) is not None
    assert joined([odd, plain[1]]) is None
    assert joined([replace(odd, graph=b"no graph"), plain[1]]) is None


def test_what_looks_at_the_outputs_sees_its_own_alone(rejecting: list[Bundle], noise: Images) -> None:
    """Also where it has no need to choose its columns, since there are no others."""
    router, other = rejecting
    assert router.graph is not None
    model = onnx.load_model_from_string(router.graph)
    [layer] = [node for node in model.graph.node if node.op_type == "Gemm"]
    [chosen] = [
        node for node in model.graph.node if node.op_type == "Slice" and node.input[0] in layer.output
    ]
    chosen.op_type, chosen.input[:] = "Identity", layer.output
    router = replace(router, graph=model.SerializeToString())
    beside = (router.preprocessing.size - noise.shape[1]) // 2
    images = np.pad(noise, ((0, 0), (beside, beside), (beside, beside)))
    together, _ = ready([router, other], lambda each: OpenVinoClassifier(each, "float32"), with_graph=True)
    assert close(together.logits(images), OpenVinoClassifier(router, "float32").logits(images))


def test_what_stands_in_manifests_is_that_of_the_single_models(plain: list[Bundle]) -> None:
    panel = ModelSet(tuple(ready(plain, Silent, with_graph=True)))
    assert panel.tag == "+".join(each.tag for each in plain)
    assert panel.digest == "+".join(each.digest for each in plain)
    assert panel.canvases == (plain[0].preprocessing,)
    assert [each.digest for each in panel.bundles] == [replace(each).digest for each in plain]
