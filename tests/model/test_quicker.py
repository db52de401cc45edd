"""Cheaper ways to the same numbers: outputs and gradients are those of PyTorch's own kernels."""

from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from dicomsort.model import networks
from dicomsort.model.quicker import _borders, _is_strided, _Strided, quicken


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


NETWORKS = ["mobilenet_v1", "mobilenet_v2", "efficientnet_b0"]
IMAGES = torch.randint(0, 256, (4, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def twins(name: str) -> tuple[networks.Network, networks.Network]:
    """Return a network that is to learn, and the same network quickened."""
    torch.manual_seed(0)
    plain = networks.Network(networks.spec_for(name), 3).to(memory_format=torch.channels_last).train()
    quick = deepcopy(plain)
    quicken(quick)
    return plain, quick


def learned(network: nn.Module) -> tuple[float, list[Tensor]]:
    """Return the loss of a step, and its gradient for each of the network's parameters."""
    torch.manual_seed(1)
    loss = nn.functional.cross_entropy(network(IMAGES).float(), torch.tensor([0, 1, 2, 0]))
    loss.backward()  # type: ignore[no-untyped-call]
    grads = [each.grad for each in network.parameters()]
    return float(loss.detach()), [each for each in grads if each is not None]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns_the_same_the_cheaper_way(name: str) -> None:
    """In bfloat16 the gradients are compared as one: some are noise alone.

    A scale that the next normalization takes out again has no gradient but what was rounded, which differs
    from one processor to the next. The test below compares each, where nothing is rounded.
    """
    plain, quick = twins(name)
    assert not [one for one in quick.modules() if isinstance(one, nn.Hardtanh | nn.SiLU) and one.inplace]
    with torch.autocast("cpu", torch.bfloat16):
        (loss, wanted), (quick_loss, found) = learned(plain), learned(quick)
    assert loss == quick_loss
    assert len(wanted) == len(found) == len(list(plain.parameters()))
    whole, quick_whole = (torch.cat([grad.flatten() for grad in each]) for each in (wanted, found))
    assert float((whole - quick_whole).norm() / whole.norm()) < 0.05
    with torch.inference_mode():
        assert torch.equal(plain.eval()(IMAGES), quick.eval()(IMAGES))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns_the_same_where_nothing_is_rounded(name: str) -> None:
    plain, quick = (each.double() for each in twins(name))
    plain.precision = quick.precision = torch.float64
    taken = [each for each in quick.modules() if isinstance(each, nn.Conv2d) and _is_strided(each)]
    assert len(taken) >= 4
    for conv in taken:
        conv.forward = partial(strided, conv)  # type: ignore[method-assign]
    (loss, wanted), (quick_loss, found) = learned(plain), learned(quick)
    assert abs(loss - quick_loss) < 1e-6
    for (where, _), grad, quick_grad in zip(plain.named_parameters(), wanted, found, strict=True):
        assert float((grad - quick_grad).norm() / grad.norm().clamp(min=1e-9)) < 1e-5, where


def strided(conv: nn.Conv2d, images: Tensor) -> Tensor:
    """Do what a quickened convolution does, in the precision of its input."""
    borders = _borders(conv, images)
    assert borders is not None
    return _Strided.apply(images, conv.weight, conv.stride, borders)  # type: ignore[no-any-return]
