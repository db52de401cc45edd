"""Cheaper ways to the same numbers: outputs and gradients are those of PyTorch's own kernels."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from dicomsort.model import networks
from dicomsort.model.quicker import _borders, _is_strided, quicken


def grads(conv: nn.Module, images: Tensor, weigh: Tensor | None = None) -> tuple[Tensor, ...]:
    """Return outputs and the gradients of the images and of the weight, in bfloat16 on a processor."""
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = conv(images)
    found.float().mul(torch.arange(found.numel()).reshape(found.shape) % 7 - 3.0).sum().backward()
    weight: Any = conv.weight
    assert images.grad is not None
    return found.detach(), images.grad, weight.grad


CONVOLUTIONS = [
    (kind, kernel, stride, padding, size)
    for kind, padding in ((Conv2dSame, 0), (nn.Conv2d, 1), (nn.Conv2d, 0), (nn.Conv2d, 2))
    for kernel, stride in ((3, 2), (5, 2), (3, 3))
    for size in (16, 17, (11, 14))
]


@pytest.mark.parametrize(("kind", "kernel", "stride", "padding", "size"), CONVOLUTIONS)
def test_a_depthwise_convolution_with_a_stride_has_the_gradients_of_pytorch(
    kind: type[nn.Conv2d], kernel: int, stride: int, padding: int, size: int | tuple[int, int]
) -> None:
    torch.manual_seed(0)
    plain = kind(6, 6, kernel, stride, padding, groups=6, bias=False)
    assert _is_strided(plain)
    quick = nn.Sequential(deepcopy(plain))
    quicken(quick)
    rows, columns = (size, size) if isinstance(size, int) else size
    images = torch.randn(3, 6, rows, columns).to(memory_format=torch.channels_last)
    for wanted, found in zip(grads(plain, images), grads(quick[0], images), strict=True):
        assert found.shape == wanted.shape
        assert torch.allclose(found.float(), wanted.float(), rtol=0.02, atol=0.02 * float(wanted.abs().max()))
    assert quick.state_dict().keys() == nn.Sequential(plain).state_dict().keys()


def test_most_of_these_convolutions_take_the_cheaper_way() -> None:
    taken = [
        _borders(kind(6, 6, kernel, stride, padding, groups=6, bias=False), torch.zeros(1, 6, size, size))
        for kind, kernel, stride, padding, size in CONVOLUTIONS
        if isinstance(size, int)
    ]
    assert sum(each is not None for each in taken) > len(taken) / 2


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 6, 3, 1, 1, groups=6, bias=False),
        nn.Conv2d(6, 6, 3, 2, 1, bias=False),
        nn.Conv2d(6, 12, 3, 2, 1, groups=6, bias=False),
        nn.Conv2d(6, 6, 4, 2, 1, groups=6, bias=False),
        nn.Conv2d(6, 6, 3, 2, 1, groups=6),
        nn.Conv2d(6, 6, 3, 2, 1, 2, groups=6, bias=False),
        nn.Conv2d(6, 6, 3, 2, 1, groups=6, bias=False, padding_mode="reflect"),
    ],
)
def test_other_convolutions_are_left_alone(conv: nn.Conv2d) -> None:
    assert not _is_strided(conv)


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "efficientnet_b0"])
def test_a_network_learns_the_same_the_cheaper_way(name: str) -> None:
    torch.manual_seed(0)
    plain = networks.Network(networks.spec_for(name), 3).to(memory_format=torch.channels_last).train()
    quick = deepcopy(plain)
    quicken(quick)
    assert not [one for one in quick.modules() if isinstance(one, nn.Hardtanh | nn.SiLU) and one.inplace]
    images = torch.randint(0, 256, (4, 64, 64), dtype=torch.uint8)
    losses = []
    for network in (plain, quick):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(images).float()
        loss = nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0]))
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(float(loss.detach()))
    assert losses[0] == losses[1]
    for (where, wanted), found in zip(plain.named_parameters(), quick.parameters(), strict=True):
        assert wanted.grad is not None
        assert found.grad is not None
        far = float((wanted.grad - found.grad).norm() / wanted.grad.norm().clamp(min=1e-6))
        assert far < 0.05, where
    with torch.inference_mode():
        assert torch.equal(plain.eval()(images), quick.eval()(images))
