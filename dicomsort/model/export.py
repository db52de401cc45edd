"""From a network to its graph: what runs on a processor without PyTorch."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from dicomsort.errors import DicomsortError, ModelError
from dicomsort.model import networks
from dicomsort.model.bundle import WEIGHTS, Bundle
from dicomsort.model.engines.openvino import OpenVinoClassifier
from dicomsort.model.graph import FEATURES, IMAGES, OUTPUTS, linked
from dicomsort.model.networks import Network
from dicomsort.model.ood import PREFIX
from dicomsort.model.top import last_layer

_OPSET = 20
_TOLERANCE = 1e-3  # of the largest output
_PROBES = 4  # images


def with_graph(bundle: Bundle) -> Bundle:
    """Return a bundle with the graph of its network, tried against the network on images of noise.

    Raises ModelError if the network cannot be exported, or its graph gives other outputs: by more than a
    thousandth of the largest. Such a bundle runs on PyTorch alone.
    """
    network = networks.build(bundle).eval()
    try:
        exported = replace(bundle, graph=_graph_of(network, bundle))
        _check(exported, network)
    except DicomsortError:
        raise
    except Exception as error:  # what an exporter raises is as many as its operators
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"model '{bundle.name}' cannot be exported, and stays on torch: {first_line}"
        ) from error
    return exported


class _Exported(nn.Module):
    """A network as its graph has it: outputs, and the features that its last layer is given."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.body, self.ood_score = network.body, network.ood_score
        self._scale, self._shift = network.scale, network.shift

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        given: list[Tensor] = []
        layer = last_layer(self.body)
        with layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0])):
            outputs = self.body(images.unsqueeze(1).float().mul(self._scale).add(self._shift))
        features = given[0]
        return outputs, features if features.ndim == 2 else features.flatten(1)


def _graph_of(network: Network, bundle: Bundle) -> bytes:
    size = bundle.preprocessing.size
    example = torch.zeros((2, size, size), dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            _Exported(network),
            (example,),
            input_names=[IMAGES],
            output_names=[OUTPUTS, FEATURES],
            opset_version=_OPSET,
            dynamo=True,
            optimize=False,  # else batch norms are folded, and the weights are no longer the bundle's
            verbose=False,
            dynamic_shapes={"images": {0: torch.export.Dim("n")}},
        )
    assert program is not None  # noqa: S101
    return linked(
        onnx.ModelProto.FromString(program.model_proto.SerializeToString()), bundle.weights, WEIGHTS, _tensor
    )


def _tensor(initializer: str) -> str:
    """Name the tensor of a bundle that an initializer stands for."""
    return initializer.removeprefix("body.").replace("ood_score.", PREFIX, 1)


def _check(bundle: Bundle, network: Network) -> None:
    size = bundle.preprocessing.size
    images = np.random.default_rng(0).integers(0, 256, (_PROBES, size, size), dtype=np.uint8)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(images)).float().numpy()
    found = OpenVinoClassifier(bundle, "float32").logits(images)
    if not np.abs(found - wanted).max() <= _TOLERANCE * max(1.0, float(np.abs(wanted).max())):  # NaN is far
        raise ModelError(f"model '{bundle.name}' stays on torch: its graph gives other outputs")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks to itself: they are for who writes one."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)
