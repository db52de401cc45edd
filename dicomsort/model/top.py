"""What lies on top of a network: the layer of scores, and the hidden layers before it, if there are any."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class Top(nn.Sequential):
    """Hidden layers, each with ReLU, and the layer of scores behind them."""


def last_layer(body: Any) -> Any:
    """Return the layer that gives a body's scores."""
    top = body.get_classifier()
    return top[-1] if isinstance(top, Top) else top


def add_hidden(body: Any, units: Sequence[int]) -> None:
    """Put hidden layers of so many units before the layer of scores of a body.

    Raises TypeError unless the body ends in one plain linear layer.
    """
    plain = body.get_classifier()
    if not isinstance(plain, nn.Linear):
        raise TypeError("hidden layers need a network that ends in one linear layer")
    widths = [plain.in_features, *units]
    layers: list[nn.Module] = []
    for inputs, outputs in zip(widths, units, strict=False):
        hidden = nn.Linear(inputs, outputs)
        nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu")
        nn.init.zeros_(hidden.bias)
        layers += [hidden, nn.ReLU()]
    name = next(name for name, module in body.named_modules() if module is plain)
    parent, _, last = name.rpartition(".")
    setattr(body.get_submodule(parent), last, Top(*layers, nn.Linear(widths[-1], plain.out_features)))


def drop(body: Any, rate: float) -> None:
    """Let training leave out a share of what each layer on top is given (Srivastava et al. 2014, Dropout)."""

    def thinned(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (functional.dropout(inputs[0], rate, layer.training), *inputs[1:])

    top = body.get_classifier()
    for layer in top if isinstance(top, Top) else [top]:
        if not isinstance(layer, nn.ReLU):
            layer.register_forward_pre_hook(thinned)
