"""How unlike the training images an image is: what their principal components leave over of its features.

Residual of the features before the last layer; Wang et al. 2022, ViM: Out-Of-Distribution with
Virtual-logit Matching.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

PREFIX = "reject."
"""What the names of these weights begin with in a bundle."""

_COMPONENTS = 128
_SHARE = 8  # at most every so many-th dimension becomes a component


class Novelty(nn.Module):
    """Features (n, dimensions) to reject scores (n, 1): about 1 for images like those of the training.

    weights: what `fit` gave. Raises RuntimeError if they do not fit each other.
    """

    mean: Tensor
    basis: Tensor
    scale: Tensor

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        if set(weights) != {PREFIX + name for name in ("mean", "basis", "scale")}:
            raise RuntimeError(f"the reject score has the weights {', '.join(sorted(weights))}")
        for name, value in weights.items():
            self.register_buffer(name.removeprefix(PREFIX), torch.from_numpy(np.array(value)).float())
        if self.basis.ndim != 2 or self.mean.shape != self.basis.shape[:1] or self.scale.shape != (1,):
            raise RuntimeError("the weights of the reject score do not fit each other")

    def forward(self, features: Tensor) -> Tensor:
        """Return the share of the features that the components do not explain, by its mean in training."""
        centred = features.float() - self.mean
        rest = centred - centred @ self.basis @ self.basis.T
        return rest.square().sum(dim=1, keepdim=True) / self.scale


def fit(features: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Fit the reject score to features (n, dimensions) of radiographs; return its weights for a bundle."""
    values = np.asarray(features, np.float64)
    count = max(1, min(_COMPONENTS, values.shape[1] // _SHARE, len(values) - 1))
    mean = values.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov(values.T).reshape(values.shape[1], -1))
    weights = {
        PREFIX + "mean": mean.astype(np.float32),
        PREFIX + "basis": axes[:, -count:].astype(np.float16),
        PREFIX + "scale": np.ones(1, np.float32),
    }
    rest = scores(weights, features)
    weights[PREFIX + "scale"] = np.array([max(float(rest.mean()), 1e-12)], np.float32)
    return weights


@torch.inference_mode()
def scores(weights: Mapping[str, NDArray[Any]], features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the reject scores (n,) of features (n, dimensions)."""
    found: NDArray[np.float32] = Novelty(weights)(torch.from_numpy(features))[:, 0].numpy()
    return found
