"""The same steps of a training on a processor, by ways that cost less.

PyTorch's processor kernels for bfloat16 take ten to thirty times longer for the gradient of a depthwise
convolution with a stride than for one without (PyTorch 2.14, AVX-512 bf16): a quarter of a step of MobileNet.
The same gradient is a convolution without a stride, of the outputs' gradient with zeros between its values.
And activations in place that need their input for the gradient copy it first.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import get_same_padding
from torch import Tensor, nn
from torch.nn import functional

_COPIED = (nn.Hardtanh, nn.SiLU, nn.Hardswish)
"""Activations (ReLU6 is a Hardtanh) whose gradient needs their input."""


def quicken(network: nn.Module) -> None:
    """Let a network that is to be trained on a processor take cheaper ways to the same numbers."""
    for module in network.modules():
        if isinstance(module, _COPIED):
            module.inplace = False
        elif isinstance(module, nn.Conv2d) and _is_strided(module):
            module.forward = partial(_convolved, module, type(module).forward)  # type: ignore[method-assign]


def _is_strided(conv: nn.Conv2d) -> bool:
    """Return whether a convolution is depthwise with an odd kernel and a stride, and nothing else is odd."""
    return (
        type(conv) in (nn.Conv2d, Conv2dSame)
        and 1 < conv.groups == conv.in_channels == conv.out_channels
        and max(conv.stride) > 1
        and conv.dilation == (1, 1)
        and conv.bias is None
        and all(side % 2 for side in conv.kernel_size)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


def _convolved(conv: nn.Conv2d, plain: Any, images: Tensor) -> Tensor:
    """Do what a convolution does; plain: its own way, for all but bfloat16 on a processor with gradients."""
    quick = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
    borders = _borders(conv, images)
    if not quick or images.device.type != "cpu" or not torch.is_grad_enabled() or borders is None:
        return plain(conv, images)  # type: ignore[no-any-return]
    values, weight = images.to(torch.bfloat16), conv.weight.to(torch.bfloat16)
    return _Strided.apply(values, weight, conv.stride, borders)  # type: ignore[no-any-return]


class _Border(NamedTuple):
    """Zeros before and after the values of a side."""

    before: int
    after: int


Borders = tuple[_Border, _Border]
Stride = tuple[int, int]


def _borders(conv: nn.Conv2d, images: Tensor) -> Borders | None:
    """Return the zeros that a convolution puts around its images; None where `_spread` does not hold."""
    found = []
    paddings: Any = conv.padding
    for side, kernel, stride, given in zip(
        images.shape[2:], conv.kernel_size, conv.stride, paddings, strict=True
    ):
        total = 2 * given if type(conv) is nn.Conv2d else get_same_padding(side, kernel, stride, 1)
        border = _Border(total // 2, total - total // 2)
        last = (side + total - kernel) // stride * stride + kernel // 2 - border.before
        if border.before > kernel // 2 or last >= side:
            return None
        found.append(border)
    return found[0], found[1]


class _Strided(torch.autograd.Function):
    """A depthwise convolution with a stride; both gradients without one."""

    @staticmethod
    def forward(
        context: Any,
        images: Tensor,
        weight: Tensor,
        stride: Stride,
        borders: Borders,
    ) -> Tensor:
        padded = _padded(images, borders)
        context.save_for_backward(padded, weight)
        context.facts = images.shape, stride, borders
        return functional.conv2d(padded, weight, None, stride, 0, 1, len(weight))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        padded, weight = context.saved_tensors
        shape, stride, borders = context.facts
        of_images, of_weight = None, None
        if context.needs_input_grad[0]:
            spread = _spread(gradient, shape, weight.shape[2:], stride, borders)
            middle = [side // 2 for side in weight.shape[2:]]
            of_images = functional.conv2d(spread, weight.flip(2, 3), None, 1, middle, 1, len(weight))
        if context.needs_input_grad[1]:
            _, of_weight, _ = torch.ops.aten.convolution_backward(
                gradient, padded, weight, None, stride, [0, 0], [1, 1], False, [0, 0], len(weight),
                [False, True, False],
            )  # fmt: skip
        return of_images, of_weight, None, None


def _padded(images: Tensor, borders: Borders) -> Tensor:
    """Put zeros around images (n, channels, rows, columns)."""
    (above, below), (left, right) = borders
    rows, columns = images.shape[2:]
    padded = _empty(images, above + rows + below, left + columns + right)
    padded[:, :, :above] = padded[:, :, above + rows :] = 0
    padded[:, :, :, :left] = padded[:, :, :, left + columns :] = 0
    padded[:, :, above : above + rows, left : left + columns] = images
    return padded


def _spread(
    gradient: Tensor,
    shape: torch.Size,
    kernel: torch.Size,
    stride: Stride,
    borders: Borders,
) -> Tensor:
    """Put the outputs' gradient where the middle of the kernel was over the images, and zeros elsewhere."""
    spread = _empty(gradient, *shape[2:]).zero_()
    (top, left) = (side // 2 - border.before for side, border in zip(kernel, borders, strict=True))
    rows, columns = gradient.shape[2:]
    spread[:, :, top :: stride[0], left :: stride[1]][:, :, :rows, :columns] = gradient
    return spread


def _empty(like: Tensor, rows: int, columns: int) -> Tensor:
    shape = (*like.shape[:2], rows, columns)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
