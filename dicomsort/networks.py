"""Architectures by name; normalising is their first layer."""

from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dicomsort.bundle import Bundle, NetworkSpec
from dicomsort.errors import ModelError, UsageError
from dicomsort.folding import folded, fused

ALIASES: dict[str, NetworkSpec] = {
    # MobileNet-V1 comes from TensorFlow: "same" padding and greys from -1 to 1.
    "mobilenet_v1": NetworkSpec("mobilenetv1_100", {"pad_type": "same"}, 0.5, 0.5),
    "mobilenet_v2": NetworkSpec("mobilenetv2_100", {}, 0.449, 0.226),
    "resnet18": NetworkSpec("resnet18", {}, 0.449, 0.226),
    "resnet34": NetworkSpec("resnet34", {}, 0.449, 0.226),
    "efficientnet_b0": NetworkSpec("efficientnet_b0", {}, 0.449, 0.226),
}
"""The names of the field's papers. mean and std: ImageNet's, averaged over the three colours."""


_OPTIONS = {"pad_type"}
"""Keyword arguments of timm.create_model that a bundle may set; others can fetch or load files."""


class Network(nn.Module):
    """A timm network for one grey channel that takes grey values 0..255 as they come.

    forward: (n, size, size) of uint8 or float -> logits (n, outputs) in the network's own type. precision:
    the type in which the body computes; greys are normalised in float32.
    """

    def __init__(self, spec: NetworkSpec, outputs: int) -> None:
        super().__init__()
        self.body: Any
        if not spec.std > 0:
            raise UsageError("a network's standard deviation of grey values must be above 0")
        self.precision = torch.float32
        self.scale, self.shift = 1.0 / (255.0 * spec.std), -spec.mean / spec.std
        try:
            if not timm.is_model(spec.timm) or not set(spec.options) <= _OPTIONS:
                raise TypeError("not a plain network of timm")  # noqa: TRY301  (never a hub or a file)
            self.body = timm.create_model(
                spec.timm, pretrained=False, in_chans=1, num_classes=outputs, **spec.options
            )
            _start_small(self.body.get_classifier())
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            known = ", ".join(ALIASES)
            raise UsageError(
                f"no network '{spec.timm}': use {known}, or a name of timm {timm.__version__}"
            ) from error

    def forward(self, grey: Tensor) -> Tensor:
        """Return logits (n, outputs) for grey images (n, size, size)."""
        images = grey.unsqueeze(1).float().mul(self.scale).add(self.shift)
        images = images.to(self.precision, memory_format=torch.channels_last)
        return cast("Tensor", self.body(images))


def _start_small(classifier: nn.Module) -> None:
    """Let all classes start about equal; timm starts a small head with wild scores."""
    if isinstance(classifier, nn.Linear):
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(classifier.bias)


def spec_for(name: str) -> NetworkSpec:
    """Look up an alias, else take the name as timm's with its own normalisation.

    Raises UsageError if timm does not know it.
    """
    if name in ALIASES:
        return ALIASES[name]
    if not timm.is_model(name):
        raise UsageError(
            f"no network '{name}': use {', '.join(ALIASES)}, or a name of timm {timm.__version__}"
        )
    config = timm.get_pretrained_cfg(name)
    if config is None:
        return NetworkSpec(name, {}, 0.449, 0.226)
    return NetworkSpec(name, {}, sum(config.mean) / 3, sum(config.std) / 3)


def build(bundle: Bundle) -> Network:
    """Make the network of a bundle with its weights. Raises ModelError if they do not fit each other."""
    try:
        network = Network(bundle.network, len(bundle.head.labels))
        state = {name: torch.from_numpy(value).float() for name, value in bundle.weights.items()}
        network.body.load_state_dict(state, strict=True)
    except (UsageError, RuntimeError, TypeError) as error:
        first_line = str(error).splitlines()[0]
        raise ModelError(f"model '{bundle.name}': weights and network do not fit: {first_line}") from error
    return network


def ready(network: Network, size: int, precision: torch.dtype, on_processor: bool) -> Network:
    """Make a network fast for images of `size` pixels a side.

    It is in evaluation mode then, and can no longer be trained. Batch norm is folded, weights lie channels
    last, and all but the last layer computes in `precision`: its few numbers are the scores, and cost nothing
    in float32.
    """
    classifier = network.body.get_classifier()
    scores = deepcopy(classifier.state_dict())
    network.body = folded(network.eval().body, _noise(size))
    network.body.to(precision, memory_format=torch.channels_last)
    if isinstance(classifier, nn.Linear):
        classifier.float().register_forward_pre_hook(_in_float32)
        classifier.load_state_dict(scores)
    network.precision = precision
    if on_processor:
        network.body = fused(network.body, _noise(size).to(precision, memory_format=torch.channels_last))
    return network


def _noise(size: int) -> Tensor:
    return torch.randn(2, 1, size, size, generator=torch.Generator().manual_seed(0))


def _in_float32(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.float() for tensor in inputs)


def weights_of(network: Network) -> dict[str, Any]:
    """Return the network's weights as NumPy arrays, without counters that inference does not use."""
    return {
        name: value.detach().cpu().contiguous().numpy()
        for name, value in network.body.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def start_from(network: Network, weights: Path) -> None:
    """Load ImageNet weights (safetensors, timm's names, three channels) into a network.

    The first convolution's weights are summed over the colours, which is what a grey image repeated three
    times would give; the classifier keeps its random start. Raises UsageError if the file does not fit.
    """
    try:
        state = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"--pretrained '{weights}' cannot be read as safetensors: {error}") from error
    config = network.body.pretrained_cfg
    first, classifier = f"{config['first_conv']}.weight", config["classifier"]
    if first in state and state[first].shape[1] == 3:
        state[first] = state[first].float().sum(dim=1, keepdim=True)
    backbone = {name: value.float() for name, value in state.items() if not name.startswith(f"{classifier}.")}
    try:
        result = network.body.load_state_dict(backbone, strict=False)
    except RuntimeError as error:
        raise UsageError(
            f"--pretrained '{weights}' is of another network: {str(error).splitlines()[1]}"
        ) from error
    missing = [name for name in result.missing_keys if not _optional(name, classifier)]
    if missing or result.unexpected_keys:
        odd = (missing or result.unexpected_keys)[0]
        raise UsageError(f"--pretrained '{weights}' is of another network: '{odd}' does not match")


def _optional(name: str, classifier: str) -> bool:
    return name.startswith(f"{classifier}.") or name.endswith("num_batches_tracked")
