#!/bin/sh
# A network with damaged weights gives finite, plausible scores in OpenVINO: ReLU and Clip turn what is not a number into 0.
#
# The guess: a weight that is not a number (NaN, from a training that diverged or half precision that overflowed) makes
#   the scores NaN, whatever runs the network; to check the scores of one image with isfinite finds such a model.
# What was seen (OpenVINO 2026.4.1, ONNX Runtime 1.32.0, x86-64): ONNX Runtime gives NaN. OpenVINO's CPU plugin gives 0 after
#   Relu and Clip(0, 6), in float32 and in bfloat16, so a classifier of which a whole layer is lost answers with the
#   probabilities of its last bias, for every image. After Sigmoid, HardSwish or no activation the NaN comes through.
# Why it hurts: most small networks for radiographs (MobileNet-V1 and V2, ResNet) have ReLU or ReLU6 behind every
#   convolution. Who moves from PyTorch or ONNX Runtime to OpenVINO loses the check that found damaged models.
# The way around: look at the weights themselves with isfinite before the network is compiled.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'EOF'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper


def classifier(activation: str) -> bytes:
    """A convolution that is lost, an activation, the mean over the image, and a layer of three classes."""
    bounds = ["low", "high"] if activation == "Clip" else []
    nodes = [
        helper.make_node("Conv", ["image", "lost"], ["found"], pads=[1, 1, 1, 1]),
        helper.make_node(activation, ["found", *bounds], ["active"]),
        helper.make_node("ReduceMean", ["active", "axes"], ["features"], keepdims=0),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"]),
    ]
    values = {
        "lost": np.full((4, 1, 3, 3), np.nan, np.float32),
        "axes": np.array([2, 3], np.int64),
        "weight": np.ones((4, 3), np.float32),
        "bias": np.array([0.0, 4.0, 1.0], np.float32),
    }
    values |= {"low": np.float32(0), "high": np.float32(6)} if bounds else {}
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 16, 16])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


image = np.random.default_rng(0).random((1, 1, 16, 16), np.float32)
core = openvino.Core()
for activation in ("Relu", "Clip", "Sigmoid", "Identity"):
    model = classifier(activation)
    wanted = onnxruntime.InferenceSession(model).run(None, {"image": image})[0][0]
    found = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image)[0][0]
    print(f"{activation}: ONNX Runtime {wanted}, OpenVINO {found}")
    assert np.isnan(wanted).all(), "changed: ONNX Runtime no longer gives NaN"
    swallowed = activation in ("Relu", "Clip")
    assert np.isfinite(found).all() == swallowed, f"changed: OpenVINO treats NaN before {activation} otherwise"
    assert not swallowed or found.argmax() == 1 and found.max() > 0.9, "changed: the scores are not those of the bias"
EOF
