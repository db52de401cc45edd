"""A linear probe: the last layer fitted to what a network knows already, before anything else is trained.

Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution.
"""

import numpy as np
import torch
from torch import Tensor, nn

from dicomsort.model.heads import Head
from dicomsort.model.networks import Network
from dicomsort.training.loader import CachedImages, sampling_weights
from dicomsort.training.recipe import Recipe
from dicomsort.training.trainer import features_of, loss_of

_RIDGE = 0.1  # penalty on the squares of the weights of standardized features
_DRAWN = 2  # images for each one of the training part
_STEPS = 60
_LEAST = 1e-3  # deviation of a feature


def fit(
    network: Network, images: CachedImages, heads: tuple[Head, ...], recipe: Recipe, precision: torch.dtype
) -> None:
    """Fit the last layer by penalized logistic regression to images that are not changed.

    heads: of the columns of the images' truth. Images are drawn as in training. The head that tells how a
    picture is turned keeps its start, for none is.
    """
    features, _ = features_of(network, images, precision)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + _LEAST
    weights = torch.tensor(sampling_weights(images.strata, images.sources, recipe.balance))
    lot = torch.Generator().manual_seed(recipe.seed)
    drawn = torch.multinomial(weights, _DRAWN * len(images), replacement=True, generator=lot)
    truth = images.truth if images.taught is None else images.taught
    values = torch.from_numpy((features - mean) / deviation)[drawn]
    slope, start = _regression(values, torch.from_numpy(truth)[drawn], heads, recipe)
    scale = torch.from_numpy((1 / deviation).astype(np.float32))
    layer = network.last
    with torch.no_grad():
        weight = slope * scale
        layer.weight.copy_(weight.reshape(layer.weight.shape))
        layer.bias.copy_(start - weight @ torch.from_numpy(mean))


def _regression(
    values: Tensor, truth: Tensor, heads: tuple[Head, ...], recipe: Recipe
) -> tuple[Tensor, Tensor]:
    """Return the weights (outputs, dimensions) and biases (outputs,) of the regression."""
    slope = nn.Parameter(torch.zeros(truth.shape[1], values.shape[1]))
    start = nn.Parameter(torch.zeros(truth.shape[1]))
    search = torch.optim.LBFGS([slope, start], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def step() -> float:
        search.zero_grad()
        logits = nn.functional.linear(values, slope, start)
        loss = loss_of(logits, truth, heads, recipe.label_smoothing) + _RIDGE * slope.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    search.step(step)  # type: ignore[no-untyped-call]
    return slope.detach(), start.detach()
