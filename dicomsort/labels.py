"""What a network's outputs mean: heads, labels, thresholds, decision."""

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

REVIEW = "review"
"""Folder and status of what a person should look at; no label may have this name."""

_RESERVED = frozenset({REVIEW, "manifest.csv", "manifest.csv.part", "run.json", "run.json.part"})

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Head:
    """A multiclass output: one score per label, the scores of an image add up to 1.

    temperature: logits are divided by it before the softmax (Guo et al. 2017, On Calibration of Modern
    Neural Networks). review_below: confidence 0..1 under which a person should look.
    """

    name: str
    labels: tuple[str, ...]
    temperature: float = 1.0
    review_below: float = 0.0
    kind: str = "multiclass"

    def __post_init__(self) -> None:
        if self.kind != "multiclass":
            raise ValueError(f"head '{self.name}' is of unknown kind '{self.kind}'")
        if len(self.labels) < 2 or len({label.casefold() for label in self.labels}) < len(self.labels):
            raise ValueError(f"head '{self.name}' needs at least two labels, each once")
        for label in self.labels:
            check_label(label)
        if not 0 < self.temperature < math.inf or not 0 <= self.review_below <= 1:
            raise ValueError(f"head '{self.name}' has an impossible temperature or review threshold")

    def as_dict(self) -> dict[str, Any]:
        """Return the head as JSON values."""
        return asdict(self)

    def scores(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn logits (n, labels) into calibrated probabilities (n, labels), each row adding up to 1."""
        scaled = np.asarray(logits, np.float64) / self.temperature
        exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), np.float32)


@dataclass(frozen=True, slots=True)
class Decision:
    """The label of one image, how sure the model is (0..1), every score, and whether a person should look."""

    label: str
    confidence: float
    scores: tuple[float, ...]
    review: bool


def check_label(label: str) -> None:
    """Raise ValueError unless a label can be a folder and part of a column name on any file system."""
    if not _LABEL.fullmatch(label) or label.casefold() in _RESERVED or label.endswith("."):
        raise ValueError(
            f"'{label}' cannot be a class: use at most 64 letters, digits, '_', '-', '.', and not 'review'"
        )


def decide(scores: NDArray[np.float32], head: Head, review_below: float | None = None) -> Decision:
    """Decide one image from its scores (labels,). `review_below` overrides the head's own threshold."""
    best = int(np.argmax(scores))
    threshold = head.review_below if review_below is None else review_below
    confidence = float(scores[best])
    return Decision(head.labels[best], confidence, tuple(map(float, scores)), confidence < threshold)
