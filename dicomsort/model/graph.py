"""graph.onnx: what a network computes, as a graph that takes its weights from the bundle's own file.

ONNX (onnx.ai) can keep tensors as external data: a location, an offset and a length. Here they point at the
bytes of the tensors in model.safetensors, so that there is no second copy. A graph comes with a bundle and is
not trusted: what is not plain arithmetic on the bundle's own tensors is refused before anything is computed.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper
from safetensors.numpy import save as save_tensors

IMAGES, OUTPUTS, FEATURES = "images", "outputs", "features"
"""Names in the graph: uint8 (n, size, size) in; float32 (n, width) and (n, dimensions) out."""

_MOST_INLINE = 1 << 20  # bytes of numbers that stand in the graph itself
_DOMAINS = ("", "ai.onnx")
_TYPES = {"F16": TensorProto.FLOAT16, "F32": TensorProto.FLOAT, "I64": TensorProto.INT64}
_HEADER = 8  # bytes before the header of a safetensors file, which hold its length
_OPERATORS = frozenset(
    [
        "Abs",
        "Add",
        "And",
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "CastLike",
        "Ceil",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Conv",
        "Cos",
        "Div",
        "Dropout",
        "Einsum",
        "Elu",
        "Equal",
        "Erf",
        "Exp",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "Gelu",
        "Gemm",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Greater",
        "GreaterOrEqual",
        "GroupNormalization",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "InstanceNormalization",
        "LayerNormalization",
        "LeakyRelu",
        "Less",
        "LessOrEqual",
        "Log",
        "LogSoftmax",
        "LpNormalization",
        "MatMul",
        "Max",
        "MaxPool",
        "Mean",
        "Min",
        "Mish",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "PRelu",
        "Pad",
        "Pow",
        "RMSNormalization",
        "Range",
        "Reciprocal",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
        "Relu",
        "Reshape",
        "Round",
        "Selu",
        "Shape",
        "Sigmoid",
        "Sign",
        "Sin",
        "Size",
        "Slice",
        "Softmax",
        "Softplus",
        "Softsign",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Swish",
        "Tanh",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)

Weights = Mapping[str, NDArray[Any]]


class _Place(NamedTuple):
    """Where a tensor lies in the weights' file, and what it is."""

    offset: int
    length: int
    type: int
    shape: tuple[int, ...]


def linked(model: ModelProto, weights: Weights, location: str, name_of: Callable[[str], str]) -> bytes:
    """Return a graph whose tensors are those of `weights`, by reference, from a model that holds its own.

    location: the name of the file with the weights, beside the graph. name_of: turns the name of an
    initializer into that of a tensor. What is float16 in `weights` is cast to float32 first. Tensors of other
    names stay in the graph. Raises ValueError if one of those is too large, or a tensor has another shape.
    """
    places = _places(save_tensors(dict(weights)))
    casts: list[NodeProto] = []
    for tensor in model.graph.initializer:
        if (name := name_of(tensor.name)) in places:
            casts += _link(tensor, name, places[name], location)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    _without_remarks(model)
    graph: bytes = model.SerializeToString(deterministic=True)
    resolved(graph, weights, location)
    return graph


def widened(graph: bytes, old: Weights, new: Weights, layer: str, location: str) -> bytes:
    """Return the graph of a network whose last layer has further rows behind its own.

    old, new: its weights before and after, which differ in the rows of `layer`.weight and `layer`.bias.
    Whatever else looks at the layer's outputs, as the reject score does, goes on seeing the first ones alone.
    Raises ValueError for a graph whose last layer is none, or which does not fit `old`.
    """
    model = _parsed(graph)
    stored = _moved(model, old, new, location)
    of_cast = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}

    def tensors(node: NodeProto) -> list[str | None]:
        return [stored.get(of_cast.get(name, name)) for name in node.input[1:]]

    wanted = [f"{layer}.weight", f"{layer}.bias"]
    layers = [node for node in model.graph.node if node.op_type == "Gemm" and tensors(node) == wanted]
    if len(layers) != 1 or [each.i for each in layers[0].attribute if each.name == "transB"] != [1]:
        raise ValueError(f"the graph has no single layer '{layer}'")
    _narrow(model.graph, layers[0], len(old[f"{layer}.bias"]))
    further = len(new[f"{layer}.bias"]) - len(old[f"{layer}.bias"])
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value += further
    del model.graph.value_info[:]
    found: bytes = model.SerializeToString(deterministic=True)
    return found


def resolved(graph: bytes, weights: Weights, location: str) -> bytes:
    """Return the ONNX model of a graph with the tensors of `weights` in it; no file is opened.

    Raises ValueError for what is no graph, has an operator or a form that no network needs, or refers to
    anything but whole tensors of `weights` in the file `location`.
    """
    model = _parsed(graph)
    stored = save_tensors(dict(weights))
    by_range = {(place.offset, place.length): place for place in _places(stored).values()}
    inline = 0
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            place = by_range.get(_range_of(tensor, location))
            if place is None or (tensor.data_type, tuple(tensor.dims)) != place[2:]:
                raise ValueError(f"the graph's tensor {tensor.name[:99]!a} is none of the weights")
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
            tensor.raw_data = stored[place.offset : place.offset + place.length]
        else:
            inline += tensor.ByteSize()
    if inline > _MOST_INLINE:
        raise ValueError("the graph holds numbers of its own")
    found: bytes = model.SerializeToString()
    return found


def _parsed(graph: bytes) -> ModelProto:
    """Return the model that a graph's bytes are. Raises ValueError for one of another form than ours."""
    try:
        model = onnx.load_model_from_string(graph)
    except DecodeError as error:
        raise ValueError("the graph is not an ONNX model") from error
    _check_form(model)
    return model


def _moved(model: ModelProto, old: Weights, new: Weights, location: str) -> dict[str, str]:
    """Let tensors point at where they lie in the new weights; return those of the old by initializer."""
    names = {(place.offset, place.length): name for name, place in _places(save_tensors(dict(old))).items()}
    places = _places(save_tensors(dict(new)))
    stored: dict[str, str] = {}
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            name = names.get(_range_of(tensor, location))
            if name is None or name not in places:
                raise ValueError(f"the graph's tensor {tensor.name[:99]!a} is none of the weights")
            stored[tensor.name] = name
            _point(tensor, places[name], location)
            tensor.dims[:] = places[name].shape
    return stored


def _narrow(graph: GraphProto, layer: NodeProto, first: int) -> None:
    """Show the first outputs of a layer alone to all but the outputs of the graph.

    Raises ValueError if these are neither the layer's own nor begin with them.
    """
    whole, few = layer.output[0], f"{layer.output[0]}.first"
    if whole == OUTPUTS:
        return
    for node in graph.node:
        if OUTPUTS not in node.output:
            node.input[:] = [few if name == whole else name for name in node.input]
        elif node.op_type != "Concat" or node.input[0] != whole or whole in node.input[1:]:
            raise ValueError("the graph's outputs are not those of its last layer")
    bounds = {f"{few}.start": 0, f"{few}.end": first, f"{few}.axis": 1}
    cut = [helper.make_node("Constant", [], [name], value_ints=[at]) for name, at in bounds.items()]
    cut.append(helper.make_node("Slice", [whole, *bounds], [few]))
    at = list(graph.node).index(layer) + 1
    nodes = [*graph.node[:at], *cut, *graph.node[at:]]
    del graph.node[:]
    graph.node.extend(nodes)


def _link(tensor: TensorProto, name: str, place: _Place, location: str) -> list[NodeProto]:
    """Let a tensor point at its place; returns the cast that it needs, if any."""
    if tuple(tensor.dims) != place.shape:
        raise ValueError(f"the graph wants '{name}' in another shape than the weights have")
    for kept in ("raw_data", "float_data", "int64_data"):
        tensor.ClearField(kept)
    _point(tensor, place, location)
    wanted, tensor.data_type = tensor.data_type, place.type
    if wanted == place.type:
        return []
    given, tensor.name = tensor.name, f"{tensor.name}.stored"
    return [helper.make_node("Cast", [tensor.name], [given], to=wanted)]


def _point(tensor: TensorProto, place: _Place, location: str) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", place.offset), ("length", place.length)):
        tensor.external_data.add(key=key, value=str(value))


def _places(stored: bytes) -> dict[str, _Place]:
    """Read the header of a safetensors file (its format is told at github.com/huggingface/safetensors)."""
    start = _HEADER + int.from_bytes(stored[:_HEADER], "little")
    header = json.loads(stored[_HEADER:start])
    header.pop("__metadata__", None)
    return {
        name: _Place(start + first, end - first, _TYPES.get(kept["dtype"], 0), tuple(kept["shape"]))
        for name, kept in header.items()
        for first, end in [kept["data_offsets"]]
    }


def _without_remarks(model: ModelProto) -> None:
    """Remove what names the exporter's sources: the same network gives the same bytes."""
    graph = model.graph
    model.producer_name, model.producer_version, model.doc_string = "dicomsort", "", ""
    graph.name, graph.doc_string = "network", ""
    del model.metadata_props[:], graph.metadata_props[:]
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    for node in graph.node:
        node.name = ""


def _check_form(model: ModelProto) -> None:
    if len(model.functions) or len(model.training_info) or len(model.graph.sparse_initializer):
        raise ValueError("the graph has functions, training steps or sparse tensors")
    if any(used.domain not in _DOMAINS for used in model.opset_import):
        raise ValueError("the graph has operators that are not ONNX's own")
    for node in model.graph.node:
        if node.op_type not in _OPERATORS or node.domain not in _DOMAINS:
            raise ValueError(f"the graph has the unknown operator {node.op_type[:99]!a}")
        if any(each.HasField("g") or len(each.graphs) for each in node.attribute):
            raise ValueError(f"the graph has another graph in {node.op_type}")
    inputs = [given.name for given in model.graph.input]
    outputs = [given.name for given in model.graph.output]
    if inputs != [IMAGES] or outputs != [OUTPUTS, FEATURES]:
        raise ValueError(f"the graph must have the input {IMAGES}, and the outputs {OUTPUTS} and {FEATURES}")


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield every tensor of a graph: its initializers, and those of its constants."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor") or len(attribute.sparse_tensors):
                raise ValueError(f"the graph has a sparse tensor in {node.op_type}")
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _range_of(tensor: TensorProto, location: str) -> tuple[int, int]:
    """Return offset and length of an external tensor. Raises ValueError if it lies elsewhere."""
    told = {entry.key: entry.value for entry in tensor.external_data}
    if told.get("location") != location or set(told) != {"location", "offset", "length"}:
        raise ValueError(f"the graph's tensor {tensor.name[:99]!a} lies outside of {location}")
    if not all(told[key].isascii() and told[key].isdecimal() for key in ("offset", "length")):
        raise ValueError(f"the graph's tensor {tensor.name[:99]!a} has no place in {location}")
    return int(told["offset"][:19]), int(told["length"][:19])
