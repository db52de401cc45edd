"""graph.onnx: its weights are those of the bundle, and what is no plain network is refused in one line."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper
from program import command

from dicomsort.errors import ExitCode, ModelError
from dicomsort.model import graph as graphs
from dicomsort.model.bundle import Bundle, load, locate
from dicomsort.model.engines.openvino import OpenVinoClassifier

Change = Callable[[ModelProto], Any]

SHIPPED = ("bodypart", "fracture", "hardware", "router5")


def changed(bundle: Bundle, change: Change) -> Bundle:
    assert bundle.graph is not None
    model = onnx.load_model_from_string(bundle.graph)
    change(model)
    return replace(bundle, graph=model.SerializeToString())


def elsewhere(key: str, value: str) -> Change:
    """Point the fourth tensor somewhere else."""

    def change(model: ModelProto) -> None:
        [entry] = [each for each in model.graph.initializer[3].external_data if each.key == key]
        entry.value = value

    return change


def shaped(*dims: int) -> Change:
    def change(model: ModelProto) -> None:
        del model.graph.initializer[2].dims[:]
        model.graph.initializer[2].dims.extend(dims)

    return change


def first_conv(name: str, value: Any) -> Change:
    def change(model: ModelProto) -> None:
        conv = next(node for node in model.graph.node if node.op_type == "Conv")
        kept = [each for each in conv.attribute if each.name != name]
        del conv.attribute[:]
        conv.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def a_node(field: str, value: str) -> Change:
    return lambda model: setattr(model.graph.node[20], field, value)


def with_body_in_a_node(model: ModelProto) -> None:
    model.graph.node[20].attribute.append(helper.make_attribute("body", onnx.GraphProto(name="inner")))


def with_own_numbers(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1 << 19, np.float32), "own"))


def through(kind: str, *shape: int) -> Change:
    """Send the outputs through a tensor of that shape."""

    def change(model: ModelProto) -> None:
        given: dict[str, NDArray[Any]] = {
            "shape": np.array(shape, np.int64), "one": np.ones((1,) * len(shape), np.float32),
        }  # fmt: skip
        model.graph.initializer.extend(numpy_helper.from_array(each, name) for name, each in given.items())
        [last] = [node for node in model.graph.node if "outputs" in node.output]
        last.output[0] = "before"
        model.graph.node.extend(
            [
                helper.make_node(kind, ["one", "shape"], ["large"]),
                helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0),
                helper.make_node("Add", ["before", "sum"], ["outputs"]),
            ]
        )

    return change


def shape_from_many_numbers(model: ModelProto) -> None:
    """Take the shape of the outputs from the first of 2**30 numbers, which a compiler may want to lay out."""
    given: dict[str, list[int]] = {"many": [1 << 30], "four": [4], "none": [0], "rest": [-1]}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(each, np.int64), name) for name, each in given.items()
    )
    [last] = [node for node in model.graph.node if "outputs" in node.output]
    last.output[0] = "before"
    model.graph.node.extend(
        [
            helper.make_node("Expand", ["four", "many"], ["fours"]),
            helper.make_node("Gather", ["fours", "none"], ["first"]),
            helper.make_node("Concat", ["first", "rest"], ["shape"], axis=0),
            helper.make_node("Reshape", ["before", "shape"], ["outputs"]),
        ]
    )


def in_a_circle(model: ModelProto) -> None:
    model.graph.node[-1].input[0] = model.graph.node[-1].output[0]


HOSTILE: dict[str, tuple[Change, str]] = {
    "a file above the bundle": (elsewhere("location", "../../secret"), "lies outside of model.safetensors"),
    "any file": (elsewhere("location", "/etc/hostname"), "lies outside of model.safetensors"),
    "between two tensors": (elsewhere("offset", "7"), "is none of the weights"),
    "beyond the end": (elsewhere("offset", "9" * 30), "is none of the weights"),
    "before the start": (elsewhere("offset", "-5"), "has no place"),
    "a part of a tensor": (elsewhere("length", "4"), "is none of the weights"),
    "another shape": (shaped(1 << 40, 1 << 20), "is none of the weights"),
    "no shape": (shaped(), "is none of the weights"),
    "numbers of its own": (with_own_numbers, "holds numbers of its own"),
    "an operator of another": (a_node("domain", "com.example"), "unknown operator"),
    "an operator that there is not": (a_node("op_type", "Nonsense"), "unknown operator 'Nonsense'"),
    "a loop": (a_node("op_type", "Loop"), "unknown operator 'Loop'"),
    "a graph in a node": (with_body_in_a_node, "another graph"),
    "a function": (lambda model: model.functions.add(name="f"), "functions"),
    "no output": (lambda model: model.graph.output.pop(), "must have the input images"),
    "other input": (
        lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", onnx.TensorProto.FLOAT),
        "does not take bytes",
    ),
    "an absurd margin": (first_conv("pads", [10**9] * 4), "absurd size"),
    "no step": (first_conv("strides", [0, 0]), "Conv"),
    "an absurd picture": (through("Expand", 1 << 20, 1 << 20), "absurd size"),
    "a number too many": (through("Expand", 1 << 14, 1 << 14), "absurd size"),
    "a shape out of many numbers": (shape_from_many_numbers, "Reshape"),
    "a circle": (in_a_circle, "damaged graph"),
    "nothing": (lambda model: model.graph.ClearField("node"), "damaged graph"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_graph_is_refused_in_one_line(what: str, small_bundle: Bundle) -> None:
    change, message = HOSTILE[what]
    with pytest.raises(ModelError, match=message) as raised:
        OpenVinoClassifier(changed(small_bundle, change))
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code is ExitCode.MODEL


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x07"])
def test_what_is_no_graph_is_refused(content: bytes, small_bundle: Bundle) -> None:
    with pytest.raises(ModelError, match="damaged graph"):
        OpenVinoClassifier(replace(small_bundle, graph=content))


def test_a_cut_graph_is_refused_wherever_it_is_cut(small_bundle: Bundle) -> None:
    assert small_bundle.graph is not None
    for end in range(100, len(small_bundle.graph), 4001):
        with pytest.raises(ModelError, match="damaged graph"):
            OpenVinoClassifier(replace(small_bundle, graph=small_bundle.graph[:end]))


def test_a_command_ends_with_6_for_a_hostile_graph(small_bundle: Bundle, tmp_path: Path, inbox: Path) -> None:
    changed(small_bundle, elsewhere("location", "/etc/hostname")).save(tmp_path / "small")
    ran = command(
        "classify", inbox, "--out", tmp_path / "out", "--model", tmp_path / "small", "--device", "cpu"
    )
    assert ran.code == ExitCode.MODEL
    [line] = ran.err.splitlines()
    assert "lies outside of model.safetensors" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_graph_holds_no_weights_and_all_of_them_are_found(name: str) -> None:
    bundle = load(locate(name))
    assert bundle.graph is not None
    assert len(bundle.graph) < 100_000
    model = onnx.load_model_from_string(bundle.graph)
    stored = [each for each in model.graph.initializer if each.data_location == onnx.TensorProto.EXTERNAL]
    assert len(stored) == len(bundle.weights)
    whole = onnx.load_model_from_string(graphs.resolved(bundle.graph, bundle.weights, "model.safetensors"))
    found = {each.name: numpy_helper.to_array(each) for each in whole.graph.initializer}
    for name_, value in bundle.weights.items():
        given = f"body.{name_}" if not name_.startswith("reject.") else name_.replace("reject.", "ood_score.")
        stored_as = given if given in found and found[given].dtype == value.dtype else f"{given}.stored"
        assert np.array_equal(found[stored_as], value), name_


def test_others_can_read_the_graph_of_a_bundle_where_it_lies(small_model: Path, small_bundle: Bundle) -> None:
    """As ONNX tells it: location, offset and length of each tensor, in the folder of the graph."""
    model = onnx.load(small_model / "graph.onnx")
    found = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    assert np.array_equal(found["body.conv_stem.weight.stored"], small_bundle.weights["conv_stem.weight"])
    assert np.array_equal(found["body.bn1.bias"], small_bundle.weights["bn1.bias"])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nothing", "graph.onnx cannot be read: No such file or directory"),
        ("folder", "is no ordinary file"),
        ("pipe", "is no ordinary file"),
        ("device", "is no ordinary file"),
        ("large", "may have 16777216"),
    ],
)
def test_a_graph_that_is_no_file_of_sane_size_is_not_read(
    kind: str, message: str, small_bundle: Bundle, tmp_path: Path
) -> None:
    small_bundle.save(tmp_path / "small")
    graph = tmp_path / "small" / "graph.onnx"
    graph.unlink()
    if kind == "folder":
        graph.mkdir()
    elif kind == "pipe":
        os.mkfifo(graph)
    elif kind == "device":
        graph.symlink_to("/dev/zero")
    elif kind == "large":
        with graph.open("wb") as file:
            file.truncate(50 << 30)
    with pytest.raises(ModelError, match=rf"{message}.*`dicomsort model export` writes it anew"):
        load(tmp_path / "small")
