"""Networks by name: each is the one of its paper."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from dicomsort.model import networks
from dicomsort.model.spec import NetworkSpec

PAPERS = {
    # millions of parameters with 1000 classes and three colors, as the papers give them
    "mobilenet_v1": 4.2, "mobilenet_v2": 3.5, "resnet18": 11.7, "resnet34": 21.8, "resnet101": 44.5,
    "efficientnet_b0": 5.3, "efficientnet_b1": 7.8, "efficientnet_b2": 9.2, "xception": 22.9,
    "vit_small": 22.1, "vit_base": 86.6, "convnext_tiny": 28.6,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.ALIASES)
def test_every_network_is_the_one_it_is_named_after(name: str) -> None:
    import timm

    spec = networks.spec_for(name)
    network = timm.create_model(spec.timm, **spec.options)
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert millions == pytest.approx(PAPERS[name], abs=0.1)


class _Sum(nn.Module):
    """Stands for a reject score: the sum of what the last layer is given."""

    def forward(self, features: Tensor, _: Tensor) -> Tensor:
        return features.sum(1)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "mobilenetv4_conv_small_035"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_a_network_that_was_made_fast_keeps_its_reject_score(name: str, precision: torch.dtype) -> None:
    """Timm has a linear layer of its own, of which a tracer sees only the function."""
    torch.manual_seed(0)
    network = networks.Network(NetworkSpec(name), 3).eval()
    network.attach_ood_score(network.last, cast("Any", _Sum()))
    images = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        before = network(images)
        after = networks.optimize_for_inference(network, 64, precision, on_processor=True)(images)
    assert before.shape == after.shape == (2, 4)
    assert torch.allclose(before, after.float(), rtol=0.05, atol=0.05)
