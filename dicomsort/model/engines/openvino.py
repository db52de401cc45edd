"""A bundle's graph on a processor, by OpenVINO."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomsort.errors import ModelError, UsageError
from dicomsort.model.bundle import WEIGHTS, Bundle
from dicomsort.model.graph import FEATURES, IMAGES, OUTPUTS, resolved
from dicomsort.system.imports import without
from dicomsort.system.malloc import memory_for
from dicomsort.system.threads import processors

with without("openvino_telemetry"):  # an import would report itself to Google, and write into the home folder
    import openvino

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]

_MOST_LANES = 8
_BATCH = 4  # larger ones do not fit the caches of a processor
_HINTS = {"float32": ("f32", "FP32"), "bfloat16": ("bf16", "BF16"), "float16": ("f16", "FP16")}
"""OpenVINO's words for a precision: what to ask for, and what a processor that has it tells."""

_MOST_ELEMENTS = 1 << 27  # of one tensor: half a GB in float32
_MOST_MEMORY, _COPIES = 1 << 30, 8  # while a graph is read: bytes, and so many times those of its weights
_LOADING = threading.Lock()  # a graph is read within bounds that another's compiler must not meet
_DEVICE = "CPU"


class OpenVinoClassifier:
    """A bundle's graph, ready on the processor; `logits` may be called by `concurrency` threads at a time.

    Each lane has its share of the threads. Batches are computed in one size, so that an answer does not
    depend on what else is in its batch. The body computes in `precision`; the last layer and the reject
    score, whose few numbers cost nothing, in float32.

    precision: float32, bfloat16 or float16. batch_size: images at a time that suit a processor.
    Raises UsageError for a precision that the processor does not have, ModelError for a graph that does not
    fit the bundle, or cannot be trusted.
    """

    engine = "openvino"
    name = "cpu"

    def __init__(self, bundle: Bundle, precision: str = "auto") -> None:
        self.bundle = bundle
        self.precision = choose_precision(
            precision, core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
        )
        self.concurrency = min(processors(), _MOST_LANES)
        self.batch_size = _BATCH
        _check_weights(bundle)
        model = _model_of(bundle)
        executor = ThreadPoolExecutor(1, thread_name_prefix="compile")
        self._network = executor.submit(self._checked, model)
        executor.shutdown(wait=False)

    def logits(self, images: Images) -> Floats:
        """Return float32 logits (n, bundle.width) for uint8 images (n, size, size).

        An answer beyond the range of the precision is computed again in float32.
        """
        answer = self._network.result().run(images)
        beyond = ~np.isfinite(answer).all(axis=1)
        if self.precision != "float32" and beyond.any():
            answer[beyond] = self._in_float32.run(images[beyond])
        return answer

    def features(self, images: Images) -> Floats:
        """Return what the last layer is given, float32 (n, dimensions), computed in float32."""
        return self._features.run(images)

    def _checked(self, model: Any) -> "_Compiled":
        """Compile, and run one black image. Raises ModelError unless that gives finite numbers."""
        size = self.bundle.preprocessing.size
        network = self._compiled(model, OUTPUTS, self.precision)
        if not np.isfinite(network.run(np.zeros((1, size, size), np.uint8))).all():
            raise _useless(self.bundle)
        return network

    def _compiled(self, model: Any, output: str, precision: str) -> "_Compiled":
        try:
            with _LOADING:
                return _Compiled(_parts(model, output), precision, self.concurrency)
        except RuntimeError as error:
            raise _damaged(self.bundle, error) from error

    @cached_property
    def _in_float32(self) -> "_Compiled":
        return self._compiled(_model_of(self.bundle), OUTPUTS, "float32")

    @cached_property
    def _features(self) -> "_Compiled":
        return self._compiled(_model_of(self.bundle), FEATURES, "float32")


def choose_precision(name: str, capabilities: Any) -> str:
    """Turn auto, float32, bfloat16 or float16 into one of the last three.

    capabilities: what OpenVINO tells of the processor. auto: bfloat16 where it has it, float32 elsewhere.
    Raises UsageError for any other word, and for a precision that the processor does not have.
    """
    if name == "auto":
        return "bfloat16" if "BF16" in capabilities else "float32"
    if name not in _HINTS:
        raise UsageError(f"--precision '{name}' is unknown: use auto, {', '.join(_HINTS)}")
    if _HINTS[name][1] not in capabilities:
        raise UsageError(
            f"--precision {name}: this processor does not compute in it; use auto or --engine torch"
        )
    return name


@cache
def core() -> Any:
    """Return OpenVINO's core, which stays until the program ends.

    It gives the thread that first asks it a stack for signal handlers, and takes that back in the thread that
    drops it: the first one would keep a stack that is no longer there, and a Ctrl-C would end in a crash.
    """
    return openvino.Core()


class _Compiled:
    """A graph in one precision, from images to one of its outputs; `run` may be called by several threads."""

    def __init__(self, parts: list[Any], precision: str, streams: int) -> None:
        self._requests = threading.local()
        self._parts = [
            core().compile_model(part, _DEVICE, _settings(kind, streams))
            for part, kind in zip(parts, (precision, "float32"), strict=False)
        ]

    def run(self, images: Images) -> Floats:
        """Return the output, float32 (n, width), for uint8 images (n, size, size)."""
        parts = [self._batch(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        return np.concatenate(parts)

    def _batch(self, images: Images) -> Floats:
        count, given = len(images), images
        if count < _BATCH:
            given = np.zeros((_BATCH, *images.shape[1:]), np.uint8)
            given[:count] = images
        answer: Any = np.ascontiguousarray(given)
        for request in self._own():
            request.infer([answer], share_inputs=True)
            answer = request.get_output_tensor(0).data
        return np.array(answer[:count], np.float32)

    def _own(self) -> list[Any]:
        """Return the calling thread's own requests."""
        if not hasattr(self._requests, "found"):
            self._requests.found = [part.create_infer_request() for part in self._parts]
        found: list[Any] = self._requests.found
        return found


def _settings(precision: str, streams: int) -> dict[str, Any]:
    """Share the processor between lanes, and with whoever reads: no thread is tied to a core."""
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[precision][0],
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": processors(),
        "ENABLE_CPU_PINNING": False,
    }


def _model_of(bundle: Bundle) -> Any:
    """Read a bundle's graph for batches of one size, and check what it would compute."""
    if bundle.graph is None:
        raise ModelError(
            f"model '{bundle.name}' has no graph: `dicomsort model export` adds it, or use --engine torch"
        )
    try:
        whole = resolved(bundle.graph, bundle.weights, WEIGHTS)
        bounds = memory_for(_MOST_MEMORY + _COPIES * len(whole))  # OpenVINO computes shapes as it reads
        with _LOADING, bounds:
            model = core().read_model(whole)
            _fit(model, bundle)
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise _damaged(bundle, error) from error
    return model


def _fit(model: Any, bundle: Bundle) -> None:
    """Fit a graph to batches of one size. Raises ValueError or RuntimeError unless it fits its bundle."""
    size = bundle.preprocessing.size
    if model.input(IMAGES).get_element_type() != openvino.Type.u8:
        raise ValueError("the graph does not take bytes")
    model.reshape({IMAGES: [_BATCH, size, size]})
    _check_sizes(model)
    wanted = [_BATCH, bundle.width]
    if list(model.output(OUTPUTS).shape) != wanted or len(model.output(FEATURES).shape) != 2:
        raise ValueError(
            f"the graph gives {model.output(OUTPUTS).shape[-1]} numbers instead of {bundle.width}"
        )


def _check_weights(bundle: Bundle) -> None:
    """Raise ModelError for a weight that is no number, or a negative variance: ReLU may make 0 of these."""
    for name, value in bundle.weights.items():
        if not np.isfinite(value).all() or (name.endswith("running_var") and (value < 0).any()):
            raise _useless(bundle)


def _useless(bundle: Bundle) -> ModelError:
    return ModelError(f"model '{bundle.name}' gives no usable scores: its weights are damaged")


def _damaged(bundle: Bundle, error: Exception) -> ModelError:
    last_line = (str(error).strip().splitlines() or ["it is too large"])[-1].removeprefix("-- ")
    return ModelError(
        f"model '{bundle.name}' has a damaged graph: {last_line}. Restore it, or run `dicomsort model export`"
    )


def _check_sizes(model: Any) -> None:
    """Raise ValueError if the size of anything on the way is not known, or absurd."""
    for step in model.get_ordered_ops():
        for output in step.outputs():
            shape = output.get_partial_shape()
            if shape.is_dynamic or int(np.prod(list(shape.to_shape()), dtype=np.float64)) > _MOST_ELEMENTS:
                raise ValueError(f"the graph has a step of absurd size ({shape})")


def _parts(model: Any, output: str) -> list[Any]:
    """Cut a graph before its last layer, where that sees nothing but features: the body, and what follows.

    Features alone are the body; a graph that cannot be cut is one part.
    """
    [images] = model.get_parameters()
    features = model.output(FEATURES).get_node().input_value(0)
    if output == FEATURES:
        return [openvino.Model([features], [images], "features")]
    results = [model.output(OUTPUTS).get_node()]
    given = openvino.opset13.parameter(features.get_partial_shape(), features.get_element_type(), FEATURES)
    body = openvino.Model([features], [images], "body")
    users = [user for user in features.get_target_inputs() if user.get_node().get_type_name() != "Result"]
    for user in users:
        user.replace_source_output(given.output(0))
    try:
        return [body, openvino.Model(results, [given], "tail")]
    except RuntimeError:  # it sees the images, too
        for user in users:
            user.replace_source_output(features)
        return [openvino.Model(results, [images], "network")]
