"""How unlike the training images an image is: what their principal components leave over, less its energy.

Wang et al. 2022, ViM: Out-Of-Distribution with Virtual-logit Matching. Energy: Liu et al. 2020, Energy-based
Out-of-distribution Detection; of several labels: Wang et al. 2021, Can multi-label classification networks
know what they don't know?
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dicomsort.model.heads import Head

PREFIX = "reject."
"""What the names of these weights begin with in a bundle."""

_NAMES = frozenset(PREFIX + name for name in ("mean", "basis", "line"))
_COMPONENTS = 256
_SHARE = 5  # at most every so many-th dimension becomes a component
_IMAGES = 2  # at least so many for each: components of as many as there are images leave nothing over
_LEAST = 1e-6


class VimScore(nn.Module):
    """Features and logits to reject scores: 0 for the average image of the training, higher for odd ones.

    weights: what `fit` gave. head: whose logits come first. Raises RuntimeError if the weights do not fit.
    """

    mean: Tensor
    basis: Tensor
    line: Tensor

    def __init__(self, weights: Mapping[str, NDArray[Any]], head: Head) -> None:
        super().__init__()
        if set(weights) != _NAMES:
            raise RuntimeError(f"the reject score has the weights {', '.join(sorted(weights)) or 'none'}")
        for name, value in weights.items():
            self.register_buffer(name.removeprefix(PREFIX), torch.from_numpy(np.array(value)).float())
        if self.basis.ndim != 2 or self.mean.shape != self.basis.shape[:1] or self.line.shape != (3,):
            raise RuntimeError("the weights of the reject score do not fit each other")
        self._head = head

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return the scores (n, 1) of features (n, dimensions) and logits (n, outputs)."""
        rest, energy = self.parts(features, logits)
        of_rest, of_energy, start = self.line
        score: Tensor = of_rest * rest - of_energy * energy + start
        return score.unsqueeze(1)

    def parts(self, features: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the norm of what the components leave over, and the first head's energy: (n,) each."""
        centered = features.float() - self.mean
        rest = centered - centered @ self.basis @ self.basis.T
        own = logits[:, : self._head.width].float()
        if self._head.kind == "multiclass":
            return rest.norm(dim=1), own.logsumexp(dim=1)
        return rest.norm(dim=1), nn.functional.softplus(own).sum(dim=1)


def fit(features: NDArray[np.float32], logits: NDArray[np.float32], head: Head) -> dict[str, NDArray[Any]]:
    """Fit the reject score to radiographs; return its weights for a bundle.

    features: (n, dimensions). logits: (n, outputs), the head's first. Both parts of the score count alike; of
    a yes or no, whose energy tells nothing, only the first does.
    """
    values = np.asarray(features, np.float64)
    count = max(1, min(_COMPONENTS, values.shape[1] // _SHARE, (len(values) - 1) // _IMAGES))
    _, axes = np.linalg.eigh(np.cov(values.T).reshape(values.shape[1], -1))
    weights: dict[str, NDArray[Any]] = {
        PREFIX + "mean": values.mean(axis=0).astype(np.float32),
        PREFIX + "basis": axes[:, -count:].astype(np.float16),
        PREFIX + "line": np.zeros(3, np.float32),
    }
    novelty = VimScore(weights, head)
    rest, energy = novelty.parts(torch.from_numpy(features), torch.from_numpy(logits))
    of_rest = 1 / max(float(rest.std(correction=0)), _LEAST)
    of_energy = 0.0 if head.kind == "binary" else 1 / max(float(energy.std(correction=0)), _LEAST)
    start = of_energy * float(energy.mean()) - of_rest * float(rest.mean())
    return {**weights, PREFIX + "line": np.array([of_rest, of_energy, start], np.float32)}


@torch.inference_mode()
def scores(
    weights: Mapping[str, NDArray[Any]],
    features: NDArray[np.float32],
    logits: NDArray[np.float32],
    head: Head,
) -> NDArray[np.float32]:
    """Return the reject scores (n,) of features (n, dimensions) and logits (n, outputs)."""
    found = VimScore(weights, head)(torch.from_numpy(features), torch.from_numpy(logits))
    values: NDArray[np.float32] = found[:, 0].numpy()
    return values
