"""Networks by name: each is the one of its paper."""

import pytest

from dicomsort.model import networks

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
