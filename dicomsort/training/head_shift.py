"""The last layer moved a little: logistic regression that stays near where it starts.

A penalty on the distance from the start keeps what a network knows (L2-SP: Li et al. 2018, Explicit Inductive
Bias for Transfer Learning with Convolutional Networks). The features stay as they are, so that nothing else
that rests on them changes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dicomsort.model.heads import Head

_HOLD = 0.6
"""How much a step away from the start costs: times half of the squared distance at unit features, against the
sum of the losses of all images. Chosen on three sources left out, see studies/RESULTS.md."""

_STEPS = 200
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Shift:
    """What is added to the last layer of a head: weight (width, dimensions) and bias (width,), float32."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def applied(self, features: NDArray[np.float32], logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (n, width) that the moved layer gives for features (n, dimensions)."""
        return np.asarray(logits + features @ self.weight.T + self.bias, np.float32)


def fit(
    features: NDArray[np.float32], logits: NDArray[np.float32], truth: NDArray[np.float32], head: Head
) -> Shift:
    """Fit the shift of a head to n images.

    features: (n, dimensions), the inputs of the last layer. logits: (n, head.width), its outputs. truth:
    (n, head.width), what `targets.encode` gives, none unknown. Every class that occurs counts alike in a
    multiclass head. Deterministic.
    """
    mean, scale = features.mean(axis=0), float(np.sqrt(features.var(axis=0).mean())) + _LEAST
    size = scale * float(np.sqrt(features.shape[1]))
    values = torch.from_numpy(np.asarray((features - mean) / size, np.float64))
    start = torch.from_numpy(np.asarray(logits / head.temperature, np.float64))
    slope, level = _regression(values, start, torch.from_numpy(np.asarray(truth, np.float64)), head)
    weight = head.temperature * slope / size
    bias = head.temperature * level / np.sqrt(features.shape[1]) - weight @ mean
    return Shift(weight.astype(np.float32), bias.astype(np.float32))


def _regression(
    values: Tensor, start: Tensor, truth: Tensor, head: Head
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the slope (width, dimensions) and level (width,), in units of `values`."""
    slope = nn.Parameter(torch.zeros(truth.shape[1], values.shape[1], dtype=torch.float64))
    level = nn.Parameter(torch.zeros(truth.shape[1], dtype=torch.float64))
    constant = values.shape[1] ** -0.5
    weights = _weights(truth, head)
    search = torch.optim.LBFGS([slope, level], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def step() -> float:
        search.zero_grad()
        logits = start + values @ slope.T + constant * level
        distance = slope.square().sum() + level.square().sum()
        loss = (weights * _losses(logits, truth, head)).sum() + _HOLD / len(values) / 2 * distance
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    search.step(step)  # type: ignore[no-untyped-call]
    return slope.detach().numpy(), level.detach().numpy()


def _losses(logits: Tensor, truth: Tensor, head: Head) -> Tensor:
    """Return the log loss of each image (n,)."""
    if head.kind == "multiclass":
        return nn.functional.cross_entropy(logits, truth, reduction="none")
    return nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(dim=1)


def _weights(truth: Tensor, head: Head) -> Tensor:
    """Return the weight of each image (n,), which add up to 1."""
    if head.kind != "multiclass":
        return torch.full((len(truth),), 1 / len(truth), dtype=torch.float64)
    each = truth @ (1 / truth.sum(dim=0).clamp(min=1))
    return each / each.sum()


def out_of_fold(
    features: NDArray[np.float32],
    logits: NDArray[np.float32],
    truth: NDArray[np.float32],
    head: Head,
    folds: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the logits (n, width) of every image by a layer that was fitted without the images of its fold.

    folds: the number of the fold of each image (n,); at least two different ones.
    """
    found = np.empty_like(logits)
    for fold in np.unique(folds):
        own = folds == fold
        shift = fit(features[~own], logits[~own], truth[~own], head)
        found[own] = shift.applied(features[own], logits[own])
    return found
