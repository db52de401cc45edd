"""Fewer passes over memory for the same outputs: batch norm and activations go into the convolutions."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
_PACKED_FOR = 8  # images; another number gives the same outputs
_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.SiLU: ("swish", []),
    nn.Hardswish: ("hardswish", []),
}
"""oneDNN's names and numbers for what it can do to a convolution's output on the way."""

_WHOLE = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)


class _Tracer(fx.Tracer):
    """Keeps convolutions, batch norms and linear layers whole, with their hooks; timm's own kinds too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _WHOLE) or super().is_leaf_module(m, module_qualified_name)


def fold_batch_norm(body: nn.Module, example: Tensor) -> nn.Module:
    """Return a network in evaluation mode with its batch norms folded, or `body` itself where that fails.

    example: images (n, channels, size, size), for which both must give the same logits, but for rounding.
    """
    return _if_same(body, example, _fold)


def fuse_activations(body: nn.Module, example: Tensor) -> nn.Module:
    """Return what `fold_batch_norm` made with activations in its convolutions, for a processor, or `body`.

    oneDNN does both in one pass over weights that lie as it likes them best. PyTorch has no public name for
    that; its own compiler uses the same calls, and needs a C++ compiler at run time. example: as above, in
    the type and with the size that will be used.
    """
    return _if_same(body, example, _fuse) if isinstance(body, fx.GraphModule) else body


def _if_same(body: nn.Module, example: Tensor, change: Any) -> nn.Module:
    try:
        with torch.no_grad():
            changed = change(body, example)
            before, after = body(example).float(), changed(example).float()
    except Exception:  # noqa: BLE001  (what cannot be traced, or done by this PyTorch, runs as it is)
        return body
    far = _TOLERANCE[example.dtype] * max(1.0, float(before.abs().max()))
    return cast("nn.Module", changed) if torch.allclose(before, after, rtol=0, atol=far) else body


def _fold(body: nn.Module, example: Tensor) -> fx.GraphModule:
    network = fx.GraphModule(body, _Tracer().trace(body))
    for node, conv, norm in _pairs(network, nn.BatchNorm2d):
        _replace(network, node.args[0], fuse_conv_bn_eval(conv, norm))
        _replace(network, node, getattr(norm, "act", nn.Identity()))
    for node, size in _sizes(network, example):
        conv = network.get_submodule(str(node.target))
        if isinstance(conv, Conv2dSame):
            _replace(network, node, _with_fixed_padding(conv, size))
    for node in [node for node in network.graph.nodes if _does_nothing(network, node)]:
        node.replace_all_uses_with(node.args[0])
        network.graph.erase_node(node)
    network.recompile()
    return network.eval()


def _fuse(body: fx.GraphModule, example: Tensor) -> fx.GraphModule:
    network = fx.GraphModule(body, body.graph)
    sizes: dict[Any, list[int]] = dict(_sizes(network, example))
    for node, conv, activation in list(_pairs(network, *_ACTIVATIONS)):
        _replace(network, node.args[0], _Fused(conv, activation, sizes.pop(node.args[0])))
        _replace(network, node, nn.Identity())
    for node, size in sizes.items():
        conv = network.get_submodule(str(node.target))
        if type(conv) is nn.Conv2d:
            _replace(network, node, _Fused(conv, None, size))
    return network.eval()


class _Fused(nn.Module):
    """A convolution with its activation, by oneDNN."""

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None, size: list[int]) -> None:
        super().__init__()
        if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            raise TypeError("only zeros in a fixed number can be padded")
        name, numbers = ("none", []) if activation is None else _ACTIVATIONS[type(activation)]
        self._shape = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        self._activation = name, numbers, ""
        size = [_PACKED_FOR, *size[1:]]
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(conv.weight.detach(), *self._shape, size)

    def forward(self, images: Tensor) -> Tensor:
        call = torch.ops.mkldnn._convolution_pointwise
        return cast("Tensor", call(images, self._weight, self._bias, *self._shape, *self._activation))


def _with_fixed_padding(conv: Conv2dSame, size: list[int]) -> nn.Conv2d:
    """Return a convolution of images of one size whose "same" padding is the same number on every side.

    Where "same" pads one pixel more on the right and below, the kernel gets a row and a column of zeros on
    the left and above, and both sides the greater number: the same sums without a padded copy of the images.
    """
    total = [
        max((-(-side // stride) - 1) * stride + dilation * (kernel - 1) + 1 - side, 0)
        for side, stride, dilation, kernel in zip(
            size[2:], conv.stride, conv.dilation, conv.kernel_size, strict=True
        )
    ]
    odd = [pad % 2 for pad in total]
    if any(odd) and conv.dilation != (1, 1):
        return conv
    weight = functional.pad(conv.weight, (odd[1], 0, odd[0], 0))
    kernel: Any = weight.shape[2:]
    padding: Any = tuple(-(-pad // 2) for pad in total)
    strides: Any = conv.stride
    fixed = nn.Conv2d(
        conv.in_channels, conv.out_channels, kernel, strides, padding, groups=conv.groups,
        dilation=cast("Any", conv.dilation), bias=conv.bias is not None,
    )  # fmt: skip
    fixed.weight, fixed.bias = nn.Parameter(weight), conv.bias
    return fixed


def _pairs(network: nn.Module, *kinds: type[nn.Module]) -> Iterator[tuple[fx.Node, Any, Any]]:
    """Find modules of some kinds right after a convolution whose output nothing else uses.

    Yields the node of the module, the convolution, and the module.
    """
    for node in cast("fx.GraphModule", network).graph.nodes:
        before: Any = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        conv, module = network.get_submodule(str(before.target)), network.get_submodule(str(node.target))
        if isinstance(conv, nn.Conv2d) and isinstance(module, kinds) and len(before.users) == 1:
            yield node, conv, module


def _sizes(network: fx.GraphModule, example: Tensor) -> list[tuple[fx.Node, list[int]]]:
    """Return each convolution's node with the shape of its input."""
    sizes: list[tuple[fx.Node, list[int]]] = []

    class Looking(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            if n.op == "call_module" and isinstance(self.fetch_attr(str(n.target)), nn.Conv2d):
                (images,), _ = self.fetch_args_kwargs_from_env(n)
                sizes.append((n, list(images.shape)))
            return super().run_node(n)

    Looking(network).run(example)
    return sizes


def _does_nothing(network: nn.Module, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(network.get_submodule(str(node.target)), nn.Identity)


def _replace(network: nn.Module, node: Any, module: nn.Module) -> None:
    parent, _, last = str(node.target).rpartition(".")
    setattr(network.get_submodule(parent), last, module)
