"""How large a network is."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

_NOT_LEARNED = ("running_mean", "running_var", "num_batches_tracked")
"""Ends of the names of what batch normalization counts, which is no parameter."""


class Size(NamedTuple):
    """How many numbers are learned, and how many MB (of 10**6 bytes) all that is stored takes."""

    parameters: int
    megabytes: float


def size_of(weights: Mapping[str, NDArray[Any]]) -> Size:
    """Measure the weights of a network by name, as PyTorch names them."""
    learned = sum(value.size for name, value in weights.items() if not name.endswith(_NOT_LEARNED))
    return Size(int(learned), sum(value.nbytes for value in weights.values()) / 1e6)
