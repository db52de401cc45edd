"""How a training begins: a network that takes images of a size, with the weights that it starts from."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from dicomsort.errors import UsageError
from dicomsort.model.networks import Network, spec_for
from dicomsort.model.ood import PREFIX
from dicomsort.model.spec import NetworkSpec
from dicomsort.training.recipe import HUB


def create_for_training(
    name: str, size: int, outputs: int, pretrained: str | None, hidden: Sequence[int] = ()
) -> tuple[Network, NetworkSpec]:
    """Make a network to train. pretrained: a safetensors file, `hub` for timm's own weights, or None.

    hidden: units of layers before the scores; they start at random.

    Raises UsageError for an unknown network, one that does not take images of `size` pixels, or weights that
    cannot be had or do not fit.
    """
    spec = replace(spec_for(name, size), hidden=tuple(hidden))
    if pretrained == HUB:
        spec = _as_on_the_hub(spec)
    network = Network(spec, outputs)
    if not isinstance(getattr(network.last, "bias", None), Tensor):
        raise UsageError(f"'{name}' does not end in one plain layer of scores; choose another network")
    _try_size(network, name, size)
    if pretrained == HUB:
        _start_from_state(network, _from_hub(spec), "--pretrained hub")
    elif pretrained is not None:
        start_from(network, Path(pretrained))
    return network, spec


def _try_size(network: Network, name: str, size: int) -> None:
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, size, size, dtype=torch.uint8))
    except (RuntimeError, AssertionError, ValueError) as error:
        message = str(error).splitlines()[0]
        raise UsageError(f"'{name}' does not take images of {size} pixels (--size): {message}") from error


def _as_on_the_hub(spec: NetworkSpec) -> NetworkSpec:
    """Return a network as timm's own weights were trained: timm's padding, their mean and deviation."""
    config = timm.get_pretrained_cfg(spec.timm)
    options = {name: value for name, value in spec.options.items() if name != "pad_type"}
    if config is None or not config.has_weights:
        raise UsageError(f"--pretrained hub: timm has no weights for '{spec.timm}'")
    return replace(spec, options=options, mean=sum(config.mean) / 3, std=sum(config.std) / 3)


def _from_hub(spec: NetworkSpec) -> dict[str, Tensor]:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every try
    try:
        model = timm.create_model(spec.timm, pretrained=True, **spec.options)
    except Exception as error:  # (each layer below timm has errors of its own for a missing connection)
        raise UsageError(
            f"--pretrained hub: the weights of '{spec.timm}' cannot be fetched; without a network connection "
            "give a safetensors file, or none"
        ) from error
    state: dict[str, Tensor] = model.state_dict()
    return state


def start_from(network: Network, weights: Path) -> None:
    """Load weights (safetensors, timm's names) into a network: ImageNet's, or those of a bundle.

    The first convolution's weights of three channels are summed over the colors, which is what a gray image
    repeated three times would give; the classifier keeps its random start. Raises UsageError if the file does
    not fit.
    """
    try:
        state = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"--pretrained '{weights}' cannot be read as safetensors: {error}") from error
    _start_from_state(network, state, f"--pretrained '{weights}'")


def _start_from_state(network: Network, state: dict[str, Tensor], origin: str) -> None:
    config = network.body.pretrained_cfg
    first, classifier = _names(config["first_conv"]), _names(config["classifier"])
    for name in (f"{layer}.weight" for layer in first):
        if name in state and state[name].ndim == 4 and state[name].shape[1] == 3:
            state[name] = state[name].float().sum(dim=1, keepdim=True)
    if hasattr(network.body, "pos_embed") and "pos_embed" in state:
        state["pos_embed"] = _positions(state["pos_embed"].float(), network.body)
    left_out = (*classifier, PREFIX)
    backbone = {name: value.float() for name, value in state.items() if not name.startswith(left_out)}
    try:
        result = network.body.load_state_dict(backbone, strict=False)
    except RuntimeError as error:
        raise UsageError(f"{origin} is of another network: {str(error).splitlines()[1].strip()}") from error
    missing = [name for name in result.missing_keys if not _optional(name, classifier)]
    if missing or result.unexpected_keys:
        odd = (missing or result.unexpected_keys)[0]
        raise UsageError(f"{origin} is of another network: '{odd}' does not match")


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _positions(embedding: Tensor, body: Any) -> Tensor:
    """Fit a transformer's positions, learned at another image size, to its own grid."""
    return cast(
        "Tensor",
        resample_abs_pos_embed(
            embedding, list(body.patch_embed.grid_size), num_prefix_tokens=body.num_prefix_tokens
        ),
    )


def _optional(name: str, classifier: tuple[str, ...]) -> bool:
    return name.startswith(classifier) or name.endswith("num_batches_tracked")
