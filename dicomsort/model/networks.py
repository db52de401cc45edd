"""Architectures by name; normalizing is their first layer."""

from copy import deepcopy
from dataclasses import replace
from typing import Any, Self, cast

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from dicomsort.errors import ModelError, UsageError
from dicomsort.model.bundle import Bundle
from dicomsort.model.fusion import fold_batch_norm, fuse_activations
from dicomsort.model.ood import PREFIX, VimScore
from dicomsort.model.spec import NetworkSpec
from dicomsort.model.top import add_hidden, last_layer

_IMAGENET = (0.449, 0.226)

ALIASES: dict[str, NetworkSpec] = {
    # MobileNet-V1 comes from TensorFlow: "same" padding and grays from -1 to 1.
    "mobilenet_v1": NetworkSpec("mobilenetv1_100", {"pad_type": "same"}, 0.5, 0.5),
    "mobilenet_v2": NetworkSpec("mobilenetv2_100", {}, *_IMAGENET),
    "resnet18": NetworkSpec("resnet18", {}, *_IMAGENET),
    "resnet34": NetworkSpec("resnet34", {}, *_IMAGENET),
    "resnet101": NetworkSpec("resnet101", {}, *_IMAGENET),
    # EfficientNet-Lite comes from TensorFlow, too; its timm name says so.
    "efficientnet_lite0": NetworkSpec("tf_efficientnet_lite0", {}, 0.5, 0.5),
    "efficientnet_lite2": NetworkSpec("tf_efficientnet_lite2", {}, 0.5, 0.5),
    "efficientnet_b0": NetworkSpec("efficientnet_b0", {}, *_IMAGENET),
    "efficientnet_b1": NetworkSpec("efficientnet_b1", {}, *_IMAGENET),
    "efficientnet_b2": NetworkSpec("efficientnet_b2", {}, *_IMAGENET),
    "xception": NetworkSpec("legacy_xception", {}, 0.5, 0.5),
    "vit_small": NetworkSpec("vit_small_patch16_224", {}, 0.5, 0.5),
    "vit_base": NetworkSpec("vit_base_patch16_224", {}, 0.5, 0.5),
    "convnext_tiny": NetworkSpec("convnext_tiny", {}, *_IMAGENET),
}
"""The names of the field's papers. mean and std: ImageNet's, averaged over the three colors."""


_OPTIONS = {"pad_type", "img_size"}
"""Keyword arguments of timm.create_model that a bundle may set; others can fetch or load files."""


class Network(nn.Module):
    """A timm network for one gray channel that takes gray values 0..255 as they come.

    forward: (n, size, size) of uint8 or float -> logits (n, outputs) in the network's own type, and, with an
    `ood_score`, the reject score as one more column. precision: the type in which the body computes; grays
    are normalized in float32.
    """

    def __init__(self, spec: NetworkSpec, outputs: int) -> None:
        super().__init__()
        self.body: Any
        self.ood_score: VimScore | None = None
        self._watching: RemovableHandle | None = None
        if not spec.std > 0:
            raise UsageError("a network's standard deviation of grey values must be above 0")
        self.precision = torch.float32
        self.normalize(spec)
        try:
            if not timm.is_model(spec.timm) or not set(spec.options) <= _OPTIONS:
                raise TypeError("not a plain network of timm")  # noqa: TRY301  (never a hub or a file)
            self.body = timm.create_model(
                spec.timm, pretrained=False, in_chans=1, num_classes=outputs, **spec.options
            )
            _start_small(self.last)
        except (RuntimeError, TypeError, ValueError, AttributeError, AssertionError) as error:
            known = ", ".join(ALIASES)
            raise UsageError(
                f"no network '{spec.timm}': use {known}, or a name of timm {timm.__version__}"
            ) from error
        if spec.hidden:
            self._add_hidden(spec)

    def _add_hidden(self, spec: NetworkSpec) -> None:
        try:
            add_hidden(self.body, spec.hidden)
        except TypeError as error:
            raise UsageError(f"--hidden: '{spec.timm}' does not end in one linear layer") from error
        _start_small(self.last)

    @property
    def last(self) -> Any:
        """The layer of scores."""
        return last_layer(self.body)

    def normalize(self, spec: NetworkSpec) -> None:
        """Take mean and deviation of the grays from a spec."""
        self.scale, self.shift = 1.0 / (255.0 * spec.std), -spec.mean / spec.std

    def freeze(self, stages: int) -> None:
        """Keep the first stages of the body as they are, as timm counts them; the stem is the first.

        Their batch norms keep their statistics, too. Raises UsageError if there are not that many, or timm
        does not tell them.
        """
        if not stages:
            return
        try:
            groups = group_parameters(self.body, self.body.group_matcher(coarse=True))
        except (AttributeError, AssertionError) as error:
            raise UsageError(f"--freeze {stages}: timm does not tell the stages of this network") from error
        if not 0 < stages < len(groups) - 1:  # the last is the classifier
            raise UsageError(f"--freeze {stages}: this network has {len(groups) - 1} stages; keep fewer")
        kept = {name for stage in range(stages) for name in groups[stage]}
        for name, value in self.body.named_parameters():
            value.requires_grad_(name not in kept)

    @torch.inference_mode()
    def features(self, gray: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and outputs of the last layer: float32 (n, dimensions) and (n, outputs)."""
        seen: list[Tensor] = []
        layer = self.last
        with layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float())):
            logits = self(gray)
        return seen[0].flatten(1), logits.float()

    def attach_ood_score(self, layer: nn.Module, ood_score: VimScore) -> None:
        """Let the last layer append the reject score of its features to its logits."""

        def both(_: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
            score = ood_score(inputs[0].flatten(1), logits.flatten(1)).to(logits.dtype)
            return torch.cat([logits, score.reshape(-1, *[1] * (logits.ndim - 1))], dim=1)

        self.ood_score, self._watching = ood_score, layer.register_forward_hook(both)

    def detach_ood_score(self) -> VimScore | None:
        """Let the last layer give its logits alone; return the reject score."""
        if self._watching is not None:
            self._watching.remove()
        ood_score, self.ood_score, self._watching = self.ood_score, None, None
        return ood_score

    def keep(self, outputs: int) -> None:
        """Cut off all but the first outputs."""
        layer = self.last
        with torch.no_grad():
            layer.weight = nn.Parameter(layer.weight[:outputs].clone())
            layer.bias = nn.Parameter(layer.bias[:outputs].clone())

    def train(self, mode: bool = True) -> Self:
        """Switch to training; what is frozen stays as it is."""
        super().train(mode)
        for module in self.body.modules():
            if isinstance(module, _BatchNorm) and module.affine and not module.weight.requires_grad:
                module.eval()
        return self

    def forward(self, gray: Tensor) -> Tensor:
        """Return logits (n, outputs) for gray images (n, size, size)."""
        images = gray.unsqueeze(1).float().mul(self.scale).add(self.shift)
        images = images.to(self.precision, memory_format=torch.channels_last)
        return cast("Tensor", self.body(images))


def _start_small(classifier: nn.Module) -> None:
    """Let all classes start about equal; timm starts a small head with wild scores."""
    if isinstance(classifier, nn.Linear):
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(classifier.bias)


def spec_for(name: str, size: int | None = None) -> NetworkSpec:
    """Look up an alias, else take the name as timm's with its own normalization.

    size: of the images, for networks that are made for one size. Raises UsageError if timm does not know it.
    """
    if name not in ALIASES and not timm.is_model(name):
        raise UsageError(
            f"no network '{name}': use {', '.join(ALIASES)}, or a name of timm {timm.__version__}"
        )
    spec = ALIASES.get(name) or NetworkSpec(name, {}, *_IMAGENET)
    config = timm.get_pretrained_cfg(spec.timm)
    if config is None:
        return spec
    if name not in ALIASES:
        spec = replace(spec, mean=sum(config.mean) / 3, std=sum(config.std) / 3)
    if config.fixed_input_size and size is not None:
        spec = replace(spec, options={**spec.options, "img_size": size})
    return spec


def build(bundle: Bundle) -> Network:
    """Make the network of a bundle with its weights. Raises ModelError if they do not fit each other."""
    try:
        network = Network(bundle.network, bundle.outputs)
        state = {
            name: torch.from_numpy(value).float()
            for name, value in bundle.weights.items()
            if not name.startswith(PREFIX)
        }
        network.body.load_state_dict(state, strict=True)
        if bundle.reject is not None:
            kept = {name: value for name, value in bundle.weights.items() if name.startswith(PREFIX)}
            network.attach_ood_score(network.last, VimScore(kept, bundle.head))
    except (UsageError, RuntimeError, TypeError, OverflowError) as error:
        first_line = str(error).splitlines()[0]
        raise ModelError(f"model '{bundle.name}': weights and network do not fit: {first_line}") from error
    return network


def optimize_for_inference(
    network: Network, size: int, precision: torch.dtype, on_processor: bool
) -> Network:
    """Make a network fast for images of `size` pixels a side.

    It is in evaluation mode then, and can no longer be trained. Batch norm is folded, weights lie channels
    last, and all but the last layer computes in `precision`: its few numbers are the scores, and cost nothing
    in float32.
    """
    classifier = network.last
    ood_score = network.detach_ood_score()  # what is changed is compared by its logits alone
    scores = deepcopy(classifier.state_dict())
    network.body = fold_batch_norm(network.eval().body, _noise(size))
    network.body.to(precision, memory_format=torch.channels_last)
    if isinstance(classifier, nn.Linear):
        classifier.float().register_forward_pre_hook(_in_float32)
        classifier.load_state_dict(scores)
    network.precision = precision
    if on_processor and (ood_score is None or isinstance(classifier, nn.Linear)):  # (fused: no score)
        network.body = fuse_activations(
            network.body, _noise(size).to(precision, memory_format=torch.channels_last)
        )
    if ood_score is not None:
        network.attach_ood_score(classifier, ood_score)
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
